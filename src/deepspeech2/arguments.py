"""What a recipe can be told: typed dataclasses, and the strict parser of a YAML file and the command line."""

import argparse
import dataclasses
import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser, TrainingArguments


class RecipeError(ValueError):
    """Faults of a configuration, all of them at once."""

    def __init__(self, faults: Sequence[str]):
        self.faults = list(faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"the configuration has {count}:\n" + "\n".join(f"  - {fault}" for fault in faults))


@dataclass
class ModelArguments:
    """Where the weights come from."""

    model_name_or_path: str = field(
        default="", metadata={"help": "Folder or Hub id of a checkpoint to fine-tune; empty: random weights."}
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a Hub checkpoint."})
    model_config: dict = field(
        default_factory=dict, metadata={"help": "Sizes of a model from random weights: fields of DeepSpeech2Config."}
    )
    feature_config: dict = field(
        default_factory=dict,
        metadata={"help": "Features of a model from random weights: arguments of DeepSpeech2FeatureExtractor."},
    )
    characters: str = field(
        default=" 'abcdefghijklmnopqrstuvwxyz",
        metadata={"help": "Vocabulary of a model from random weights; empty: the characters of the transcripts."},
    )
    text_case: str = field(default="lower", metadata={"help": "lower, upper or keep."})


@dataclass
class DataArguments:
    """Which speech, and how it is batched."""

    dataset_name: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Hub id, folder (Hub layout, LibriSpeech tree, audiofolder), manifest file or 'synthetic'; "
            "several make a mixture."
        },
    )
    dataset_config: list[str] = field(
        default_factory=list, metadata={"help": "Config of each dataset_name, or one for all ('-' for none)."}
    )
    train_split: list[str] = field(
        default_factory=lambda: ["train"], metadata={"help": "Split of each dataset_name, or one for all; a+b joins."}
    )
    mixture_weights: list[float] = field(
        default_factory=list, metadata={"help": "Share of each dataset_name in a batch window; empty: joined whole."}
    )
    dataset_revision: str | None = field(default=None, metadata={"help": "Revision of Hub datasets."})
    eval_dataset_name: str = field(default="", metadata={"help": "Corpus to score on; empty: the first dataset_name."})
    eval_split: str = field(
        default="validation", metadata={"help": "Split, or config/split, scored during training; picks the best model."}
    )
    test_split: list[str] = field(
        default_factory=list, metadata={"help": "Splits, or config/split, scored before and after; empty: eval_split."}
    )
    text_column: str = field(default="text", metadata={"help": "Column of the transcripts."})
    audio_column: str = field(default="audio", metadata={"help": "Column of the audio."})
    batch_seconds: float = field(
        default=60.0,
        metadata={"help": "Audio of a batch on one process, padding included; 0: per_device_train_batch_size clips."},
    )
    window_size: int = field(default=512, metadata={"help": "Utterances shuffled and sorted by length together."})
    num_readers: int = field(
        default=0, metadata={"help": "Parts the stream is read in; fixes the order; 0: one a process and worker."}
    )
    min_duration_s: float = field(default=0.1, metadata={"help": "Shorter clips are left out of training."})
    max_duration_s: float = field(default=20.0, metadata={"help": "Longer clips are left out of training."})


@dataclass
class AugmentationArguments:
    """What happens to training audio on the fly; nothing by default, and never in validation."""

    speed_perturbation: float = field(default=0.0, metadata={"help": "Largest relative change of speed."})
    gain_db: float = field(default=0.0, metadata={"help": "Largest change of loudness, dB."})
    noise_probability: float = field(default=0.0, metadata={"help": "Share of clips with added noise."})
    noise_folder: str = field(default="", metadata={"help": "Folder of noise recordings; empty: generated noise."})
    noise_snr_db_min: float = field(default=5.0, metadata={"help": "Lowest signal-to-noise ratio, dB."})
    noise_snr_db_max: float = field(default=30.0, metadata={"help": "Highest signal-to-noise ratio, dB."})
    reverberation_probability: float = field(default=0.0, metadata={"help": "Share of clips with a room's echo."})
    spec_augment: bool = field(default=False, metadata={"help": "Mask spans of time and bands of frequency."})
    num_time_masks: int = field(default=2, metadata={"help": "Time masks a clip."})
    time_mask_max_frames: int = field(default=40, metadata={"help": "Longest time mask, input frames."})
    time_mask_max_ratio: float = field(default=0.1, metadata={"help": "Longest time mask, share of the clip."})
    num_frequency_masks: int = field(default=2, metadata={"help": "Frequency masks a clip."})
    frequency_mask_max_bins: int = field(default=27, metadata={"help": "Widest frequency mask, bins."})


@dataclass
class RecipeTrainingArguments(TrainingArguments):
    """`TrainingArguments` with defaults for CTC on a stream."""

    output_dir: str | None = field(default="outputs/run", metadata={"help": "Folder of the model, report and log."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Peak learning rate."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the learning rate."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Steps, or below 1 the share of all steps."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay."})
    num_train_epochs: float = field(default=10, metadata={"help": "Passes over the corpus, if max_steps is not given."})
    eval_strategy: str = field(default="epoch", metadata={"help": "steps, epoch or no."})
    save_strategy: str = field(default="epoch", metadata={"help": "steps, epoch or no."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept; the best one always is."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the checkpoint of lowest WER."})
    metric_for_best_model: str | None = field(default="wer", metadata={"help": "What picks the best checkpoint."})
    greater_is_better: bool | None = field(default=False, metadata={"help": "A low WER is good."})
    logging_steps: float = field(default=10, metadata={"help": "Steps between two lines of the log."})
    report_to: None | str | list[str] = field(default="tensorboard", metadata={"help": "Where the curves go."})
    learning_anneal: float = field(
        default=0.0, metadata={"help": "Divide the learning rate by this after each epoch, instead of a schedule."}
    )
    ema_decay: float = field(
        default=0.0, metadata={"help": "Average the weights over steps with this decay; the average is what is scored."}
    )
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Stop after this many evaluations without a better WER; 0: never."}
    )
    num_processes: int = field(
        default=0, metadata={"help": "Refuse to run with another number of processes; 0: any number."}
    )
    cpu_threads: int = field(default=0, metadata={"help": "Threads of each process on a CPU; 0: share all cores."})
    compare_with_scratch: bool = field(
        default=False, metadata={"help": "Also train random weights with the same budget, and report both."}
    )


RECIPE_ARGUMENTS = (ModelArguments, DataArguments, AugmentationArguments, RecipeTrainingArguments)


class _Parser(HfArgumentParser):
    """Collects what argparse would exit on."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.faults: list[str] = []

    def error(self, message: str) -> None:  # type: ignore[override]
        raise RecipeError([*self.faults, message])


def parse_recipe(argv: Sequence[str], default_config: Path, description: str = "") -> tuple[Any, ...]:
    """
    Reads `[config.yaml] [--key value ...]`: the file gives defaults, the command line wins.

    Args:
        argv: the command line without the program's name.
        default_config: the YAML file that is read when none is named.

    Returns:
        One instance of each of `RECIPE_ARGUMENTS`, then the path of the file that was read.

    Raises:
        RecipeError: every fault found: unknown keys with the nearest known one, wrong types, values that contradict.
    """
    parser = _Parser(RECIPE_ARGUMENTS, description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("config", nargs="?", default=str(default_config), help="YAML file with the run's settings")
    actions = {action.dest: action for action in parser._actions}
    known = set(actions) - {"config", "help"}
    for action in actions.values():
        if action.type is dict:
            action.type = _json_object

    config_path = _config_path(argv, default_config)
    parser.set_defaults(**_read_yaml(config_path, actions, known, parser.faults))
    namespace, unknown = parser.parse_known_args(list(argv))
    for argument in unknown:
        if argument.startswith("--"):
            parser.faults.append(_unknown_key(argument[2:].split("=")[0], known, "the command line"))
        else:
            parser.faults.append(f"the command line has the stray word {argument!r}")
    groups = []
    for dataclass_type in RECIPE_ARGUMENTS:
        names = [f.name for f in dataclasses.fields(dataclass_type) if f.init]
        values = {name: getattr(namespace, name) for name in names if hasattr(namespace, name)}
        try:
            groups.append(dataclass_type(**values))
        except (ValueError, TypeError, ImportError) as error:
            parser.faults.append(str(error))
    if len(groups) == len(RECIPE_ARGUMENTS):
        parser.faults += _contradictions(*groups)
    if parser.faults:
        raise RecipeError(parser.faults)
    return (*groups, config_path)


def _json_object(text: str) -> dict:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _config_path(argv: Sequence[str], default_config: Path) -> Path:
    named = next((Path(word) for word in argv[:1] if not word.startswith("-")), default_config)
    if not named.is_file():
        raise RecipeError([f"the config file {named} does not exist; expected a YAML file as the first word"])
    return named


def _read_yaml(path: Path, actions: dict, known: set[str], faults: list[str]) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError([f"{path} is not YAML: {error}"]) from error
    if not isinstance(content, dict):
        raise RecipeError([f"{path} holds a {type(content).__name__}; expected 'key: value' lines"])
    values = {}
    for key, value in content.items():
        if key not in known:
            faults.append(_unknown_key(str(key), known, str(path)))
            continue
        try:
            values[key] = _convert(value, actions[key])
        except (ValueError, TypeError, argparse.ArgumentTypeError, json.JSONDecodeError):
            expected = getattr(actions[key].type, "__name__", actions[key].type)
            faults.append(f"{path}: {key} is {value!r}; expected {'a list of ' * _takes_list(actions[key])}{expected}")
    return values


def _takes_list(action: argparse.Action) -> bool:
    return action.nargs in ("+", "*")


def _convert(value: Any, action: argparse.Action) -> Any:
    """A YAML value as the command line would have read it: `3e-4`, a string to YAML, becomes a float."""
    if value is None or isinstance(value, dict) or action.type is None:
        return value
    if _takes_list(action):
        return [_scalar(one, action) for one in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        raise TypeError("a list where one value is expected")
    return _scalar(value, action)


def _scalar(value: Any, action: argparse.Action) -> Any:
    convert = action.type
    if convert is int and isinstance(value, float):
        raise TypeError("a fraction where a whole number is expected")
    converted = convert(value if isinstance(value, bool) else str(value))  # type: ignore[operator, misc]
    if convert is str and isinstance(value, bool):
        raise TypeError("an unquoted yes or no where text is expected")
    return converted


def _unknown_key(key: str, known: set[str], where: str) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"{where}: unknown key {key!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else "")


def _contradictions(
    model: ModelArguments, data: DataArguments, augmentation: AugmentationArguments, training: RecipeTrainingArguments
) -> list[str]:
    faults = []
    if not data.dataset_name:
        faults.append("dataset_name is empty; expected a Hub id, a folder, a manifest or 'synthetic'")
    for name, expected in (("dataset_config", "config"), ("train_split", "split")):
        given = len(getattr(data, name))
        if given not in (0, 1, len(data.dataset_name)):
            faults.append(f"{name} has {given} entries for {len(data.dataset_name)} dataset_name; give one {expected} each")
    if data.mixture_weights and len(data.mixture_weights) != len(data.dataset_name):
        faults.append(
            f"mixture_weights has {len(data.mixture_weights)} entries for {len(data.dataset_name)} dataset_name"
        )
    if any(weight <= 0 for weight in data.mixture_weights):
        faults.append(f"mixture_weights are {data.mixture_weights}; expected positive numbers")
    for name in ("batch_seconds", "min_duration_s"):
        if getattr(data, name) < 0:
            faults.append(f"{name} is {getattr(data, name)}; expected 0 or more seconds")
    if data.max_duration_s <= data.min_duration_s:
        faults.append(f"max_duration_s {data.max_duration_s} is not above min_duration_s {data.min_duration_s}")
    if data.batch_seconds and data.batch_seconds < data.max_duration_s:
        faults.append(
            f"batch_seconds {data.batch_seconds} is below max_duration_s {data.max_duration_s}: "
            "the longest clip would not fit in a batch"
        )
    if data.window_size < 1:
        faults.append(f"window_size is {data.window_size}; expected at least 1 utterance")
    for name in ("speed_perturbation", "noise_probability", "reverberation_probability", "time_mask_max_ratio"):
        if not 0 <= getattr(augmentation, name) < 1.0001:
            faults.append(f"{name} is {getattr(augmentation, name)}; expected a share between 0 and 1")
    if not 0 <= training.ema_decay < 1:
        faults.append(f"ema_decay is {training.ema_decay}; expected a share in [0, 1)")
    if model.text_case not in ("lower", "upper", "keep"):
        faults.append(f"text_case is {model.text_case!r}; expected lower, upper or keep")
    if training.compare_with_scratch and not model.model_name_or_path:
        faults.append("compare_with_scratch needs model_name_or_path: without it the run starts from random weights anyway")
    return faults
