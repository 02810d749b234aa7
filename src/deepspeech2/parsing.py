"""The strict parser of a recipe: a YAML file gives defaults, the command line wins, all faults come at once."""

import argparse
import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool
from transformers.trainer_utils import HubStrategy

from .arguments import AugmentationArguments, DataArguments, ModelArguments, RecipeTrainingArguments
from .yaml_files import read_yaml

RECIPE_ARGUMENTS = (ModelArguments, DataArguments, AugmentationArguments, RecipeTrainingArguments)
# Keys of TrainingArguments that this recipe answers in its own way.
ANSWERED_ELSEWHERE = {
    "resume_from_checkpoint": "a run goes on from the last checkpoint in its output_dir by itself",
    "per_device_eval_batch_size": "evaluation is cut into batches as training is",
    "train_sampling_strategy": "the stream is shuffled and sorted by length in windows of window_size",
    "dataloader_drop_last": "the stream has no last batch",
    "hub_revision": "the push goes to main",
    "label_smoothing_factor": "CTC has no labels by frame to smooth",
    "save_only_model": "a checkpoint without the optimizer and the data position cannot be resumed",
    "dataloader_prefetch_factor": "a worker holds two batches",
    "dataloader_persistent_workers": "the training workers live as long as the run",
}


class RecipeError(ValueError):
    """Faults of a configuration, all of them at once."""

    def __init__(self, faults: Sequence[str]):
        self.faults = list(faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"the configuration has {count}:\n" + "\n".join(f"  - {fault}" for fault in faults))


class _Parser(HfArgumentParser):
    """Collects what argparse would exit on; takes no shortened keys."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.faults: list[str] = []
        self.words: list[str] = []
        self.known: set[str] = set()

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            self.faults.append(f"the command line: {error}")
            return action.default

    def error(self, message: str) -> None:  # type: ignore[override]
        flags = [word[2:].split("=")[0] for word in self.words if word.startswith("--")]
        unknown = [_unknown_key(flag, self.known, "the command line") for flag in flags if flag not in self.known]
        raise RecipeError([*self.faults, f"the command line: {message}", *unknown])


def parse_recipe(argv: Sequence[str], default_config: Path, description: str = "") -> tuple[Any, ...]:
    """
    Reads `[config.yaml] [--key value ...]`: the file gives defaults, the command line wins, in objects key by key.

    Args:
        argv: the command line without the program's name.
        default_config: the YAML file that is read when none is named.

    Returns:
        One instance of each of `RECIPE_ARGUMENTS`, then what was given or is no default, as one dict without tokens.

    Raises:
        RecipeError: every fault found: unknown keys with the nearest known one, wrong types, values that contradict.
    """
    parser = _Parser(RECIPE_ARGUMENTS, description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("config", nargs="?", help="YAML file with the run's settings, the first word")
    parser.set_defaults(config=None)
    actions: dict[str, argparse.Action] = {}
    for action in parser._actions:
        if action.type is dict:
            action.type = _json_object
        actions.setdefault(action.dest, action)  # the first of --key and --no_key
    known = set(actions) - {"config", "help"}

    defaults = default_settings()

    parser.words, parser.known = list(argv), known | {"help"} | {f"no_{name}" for name in known}
    named = bool(argv) and not argv[0].startswith("-")
    config_path = Path(argv[0]) if named else default_config
    written = _read_yaml(config_path, actions, known, parser.faults)
    parser.set_defaults(**written)
    namespace, unknown = parser.parse_known_args(list(argv[named:]))
    objects: dict[str, Any] = {name: {} for name, value in defaults.items() if isinstance(value, dict)}
    for name, value in (objects | written).items():
        given_now = getattr(namespace, name)
        if isinstance(value, dict) and isinstance(given_now, str):  # a field that may be a string too
            try:
                given_now = _json_object(given_now)
            except ValueError:
                parser.faults.append(
                    f"the command line: {name} is {given_now!r}; expected a JSON object, or null for none"
                )
                continue
        if isinstance(value, dict):
            setattr(namespace, name, {} if given_now is None else value | given_now)
    flags = [word for word in unknown if word.startswith("--")]
    parser.faults += [_unknown_key(flag[2:].split("=")[0], known, "the command line") for flag in flags]
    if not flags:  # else the words may be what an unknown key was given
        parser.faults += [
            f"the command line has the stray word {word!r}; a config file is the first word"
            for word in [namespace.config, *unknown]
            if word is not None
        ]
    groups: list[Any] = []
    for dataclass_type in RECIPE_ARGUMENTS:
        values = {f.name: getattr(namespace, f.name) for f in fields(dataclass_type) if f.init}
        try:
            groups.append(dataclass_type(**values))
        except (ValueError, TypeError, ImportError, OSError) as error:
            groups.append(None)
            parser.faults.append(str(error))
    given = {word[2:].split("=")[0].replace("-", "_") for word in argv if word.startswith("--")} | written.keys()
    settings = {
        name: getattr(namespace, name)
        for name in sorted(known)
        if not name.endswith("token") and (name in given or getattr(namespace, name) != defaults[name])
    }
    parser.faults += _without_effect({name: value for name, value in settings.items() if value != defaults[name]})
    parser.faults += _contradictions(*groups)
    if parser.faults:
        raise RecipeError(parser.faults)
    return (*groups, settings)


def default_settings() -> dict[str, Any]:
    """Every key of a recipe with its default."""
    return vars(_Parser(RECIPE_ARGUMENTS).parse_known_args([])[0])


def _json_object(text: str) -> dict | None:
    value = json.loads(text)
    if not (value is None or isinstance(value, dict)):
        raise ValueError("neither a JSON object nor null")
    return value


def _read_yaml(path: Path, actions: dict, known: set[str], faults: list[str]) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise RecipeError([str(error)]) from error
    hints = {name: hint for group in RECIPE_ARGUMENTS for name, hint in get_type_hints(group).items()}
    values = {}
    for key, value in content.items():
        if key not in known:
            faults.append(_unknown_key(str(key), known, str(path)))
            continue
        try:
            values[key] = _convert(value, actions[key], hints[key])
        except (ValueError, TypeError, argparse.ArgumentTypeError):
            faults.append(f"{path}: {key} is {value!r}; expected {_expected(actions[key])}")
    return values


def _expected(action: argparse.Action) -> str:
    if action.choices:
        return f"one of {', '.join(map(str, action.choices))}"
    names = {string_to_bool: "true or false", _json_object: "'key: value' pairs", str: "str; quote a word such as 'no'"}
    name = names.get(action.type) or action.type.__name__  # type: ignore[union-attr]
    return f"a list of {name}" if action.nargs == "+" else name


def _convert(value: Any, action: argparse.Action, hint: Any) -> Any:
    """A YAML value as the command line would have read it: `3e-4`, a string to YAML, becomes a float."""
    if action.nargs == "+":
        return [_scalar(one, action) for one in (value if isinstance(value, list) else [value])]
    if value is None or isinstance(value, dict | list):
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if type(value) not in [get_origin(kind) or kind for kind in kinds]:
            raise TypeError
        return value
    return _scalar(value, action)


def _scalar(value: Any, action: argparse.Action) -> Any:
    convert: Any = action.type
    if (isinstance(value, bool) and convert is not string_to_bool) or (isinstance(value, float) and convert is int):
        raise TypeError
    converted = convert(str(value))
    if action.choices and converted not in action.choices:
        raise ValueError
    return converted


def _unknown_key(key: str, known: set[str], where: str) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"{where}: unknown key {key!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else "")


def _without_effect(settings: dict[str, Any]) -> list[str]:
    """A key that would be read and then ignored is a fault too."""
    faults = [f"{name} has no effect: {why}" for name, why in ANSWERED_ELSEWHERE.items() if name in settings]
    if "model_name_or_path" in settings:
        brought = ("feature_config", "characters", "text_case", "removed_characters")
        faults += [
            f"{name} has no effect with model_name_or_path: the checkpoint brings its own; remove the key"
            for name in brought
            if name in settings
        ]
        faults += [
            f"model_config {name!r} has no effect with model_name_or_path: the checkpoint's weights have their sizes; "
            "only dropout can be another"
            for name in settings.get("model_config", {})
            if name != "dropout"
        ]
    if "per_device_train_batch_size" in settings and settings.get("batch_seconds", True):
        faults.append("per_device_train_batch_size has no effect with batch_seconds; set that to 0 to count clips")
    if "learning_anneal" in settings and settings.get("lr_scheduler_type", "constant") != "constant":
        faults.append("lr_scheduler_type has no effect with learning_anneal, which is a schedule of its own")
    if "learning_anneal" in settings and settings.get("warmup_steps"):
        faults.append("warmup_steps has no effect with learning_anneal, which is a schedule of its own")
    return faults


def _contradictions(
    model: ModelArguments,
    data: DataArguments,
    augmentation: AugmentationArguments,
    training: RecipeTrainingArguments | None,
) -> list[str]:
    """`training` is None where it is at fault itself."""
    faults = [*_contradictions_of_data(data), *augmentation.faults()]
    if model.text_case not in ("lower", "upper", "keep"):
        faults.append(f"text_case is {model.text_case!r}; expected lower, upper or keep")
    if not re.fullmatch(r"[a-z]{2,3}", model.language):
        faults.append(
            f"language is {model.language!r}; expected a code of ISO 639, such as en or gsw: the Hub wants one"
        )
    if not re.fullmatch(r"[a-z0-9.+-]+", model.license):
        faults.append(f"license is {model.license!r}; expected the Hub's identifier, such as apache-2.0 or cc-by-4.0")
    if training is None:
        return faults
    if data.num_readers % max(1, training.world_size * training.dataloader_num_workers):
        faults.append(
            f"num_readers is {data.num_readers}; expected a multiple of {training.world_size} process(es) times "
            f"{training.dataloader_num_workers} data workers, or 0"
        )
    if not 0 <= training.ema_decay < 1:
        faults.append(f"ema_decay is {training.ema_decay}; expected a share in [0, 1)")
    if training.learning_anneal < 0:
        faults.append(f"learning_anneal is {training.learning_anneal}; expected a divisor such as 1.1, or 0 for none")
    if training.early_stopping_patience and not training.load_best_model_at_end:
        faults.append("early_stopping_patience needs load_best_model_at_end, which knows the best WER; 0 turns it off")
    if training.hub_strategy not in ("end", "every_save"):
        faults.append(f"hub_strategy is {HubStrategy(training.hub_strategy).value!r}; expected end or every_save")
    if training.compare_with_scratch and not model.model_name_or_path:
        faults.append("compare_with_scratch needs model_name_or_path: without it the run itself is from random weights")
    return faults


def _contradictions_of_data(data: DataArguments) -> list[str]:
    faults = []
    if not data.dataset_name:
        faults.append("dataset_name is empty; expected a Hub id, a folder, a manifest or 'synthetic'")
    for name, expected in (
        ("dataset_config", "config"),
        ("train_split", "split"),
        ("dataset_revision", "revision"),
        ("transcripts", "table"),
    ):
        given = len(getattr(data, name))
        if given not in (0, 1, len(data.dataset_name)):
            count = len(data.dataset_name)
            faults.append(f"{name} has {given} entries for {count} dataset_name; give one {expected} each")
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
    if 0 < data.batch_seconds < data.max_duration_s:
        faults.append(
            f"batch_seconds {data.batch_seconds} is below max_duration_s {data.max_duration_s}: "
            "the longest clip would not fit in a batch"
        )
    if not 0 <= data.held_out_share < 1:
        faults.append(f"held_out_share is {data.held_out_share}; expected a share in [0, 1)")
    if not 0 <= data.max_dropped_share <= 1:
        faults.append(f"max_dropped_share is {data.max_dropped_share}; expected a share in [0, 1]")
    held_out = "held-out" in [data.eval_split, *data.test_split]
    if data.held_out_share and data.held_out_speakers:
        faults.append("held_out_share and held_out_speakers are both given; one of them makes the split 'held-out'")
    elif held_out != bool(data.held_out_share) and not data.held_out_speakers:
        faults.append(
            f"held_out_share is {data.held_out_share} and eval_split {data.eval_split!r}; "
            "a share above 0 (or held_out_speakers) and the split 'held-out' go together"
        )
    if data.eval_dataset_name and {data.eval_split, *data.test_split} == {"held-out"}:
        faults.append(
            f"eval_dataset_name {data.eval_dataset_name!r} has no effect: only the held-out part of dataset_name is "
            "scored. Give held_out_share 0 and an eval_split of that corpus"
        )
    if data.window_size < 1:
        faults.append(f"window_size is {data.window_size}; expected at least 1 utterance")
    for name in ("num_readers", "check_utterances"):
        if getattr(data, name) < 0:
            faults.append(f"{name} is {getattr(data, name)}; expected 0 or more")
    return faults
