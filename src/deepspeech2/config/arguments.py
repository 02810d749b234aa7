"""What a recipe can be told: typed dataclasses, each field with its help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from .method_arguments import AdaptationArguments, ObjectiveArguments


@dataclass
class ModelArguments:
    """Where the weights come from."""

    model_name_or_path: str = field(
        default="", metadata={"help": "Folder or Hub id of a checkpoint to fine-tune; empty: random weights."}
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a Hub checkpoint."})
    model_config: dict = field(
        default_factory=dict,
        metadata={"help": "Of a model from random weights: fields of DeepSpeech2Config. Of a checkpoint: dropout."},
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
    removed_characters: str | None = field(
        default=None,
        metadata={"help": "Characters that normalisation turns into a space; not given: common punctuation."},
    )
    language: str = field(default="en", metadata={"help": "ISO 639-1 code of the language, for the model card."})
    license: str = field(default="apache-2.0", metadata={"help": "Licence of the weights, for the model card."})
    credit: str = field(default="", metadata={"help": "Attribution of the training data, for the model card."})
    warm_start: str = field(
        default="",
        metadata={
            "help": "Folder or Hub id of a checkpoint whose weights of equal name and shape replace random ones."
        },
    )


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
    dataset_revision: list[str] = field(
        default_factory=list, metadata={"help": "Commit or tag of each dataset_name on the Hub, or one for all."}
    )
    eval_dataset_name: str = field(default="", metadata={"help": "Corpus to score on; empty: the first dataset_name."})
    eval_split: str = field(
        default="validation", metadata={"help": "Split, or config/split, scored during training; picks the best model."}
    )
    test_split: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Splits, or config/split, scored before and after; empty: eval_split. One of another corpus is "
            "dataset_name::split or dataset_name::config/split."
        },
    )
    held_out_share: float = field(
        default=0.0,
        metadata={"help": "Share of the training corpora's utterances kept for scoring, by id: the split 'held-out'."},
    )
    held_out_speakers: list[str] = field(
        default_factory=list,
        metadata={"help": "Speaker ids of the training corpora kept for scoring, instead: the split 'held-out'."},
    )
    transcripts: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Table (.csv .tsv; columns id and text) with the texts of each dataset_name ('-' for its own), "
            "such as pseudo-labels; what it lacks is left out."
        },
    )
    unlabelled_dataset_name: str = field(
        default="",
        metadata={
            "help": "Corpus without transcripts, or a bare folder of recordings; each step has a batch of it, for what "
            "learns from such speech."
        },
    )
    unlabelled_dataset_config: str = field(default="", metadata={"help": "Config of unlabelled_dataset_name."})
    unlabelled_split: str = field(
        default="train", metadata={"help": "Split of unlabelled_dataset_name; a+b joins. A bare folder is one split."}
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
    max_dropped_share: float = field(
        default=0.2,
        metadata={"help": "Stop where more of the utterances cannot be used; the bounds of duration do not count."},
    )
    check_utterances: int = field(
        default=64,
        metadata={
            "help": "Utterances of each local split that are looked at, for a second, before training; 0: none. "
            "recipes/check_data.py reads all of them, unless told how many."
        },
    )


@dataclass
class AugmentationArguments:
    """What happens to training audio on the fly; nothing by default, and never in validation."""

    speed_perturbation: float = field(default=0.0, metadata={"help": "Largest relative change of speed."})
    gain_db: float = field(default=0.0, metadata={"help": "Largest change of loudness, dB."})
    silence_s: float = field(
        default=0.0, metadata={"help": "Longest silence before and after a clip, as there is in a stream."}
    )
    noise_probability: float = field(default=0.0, metadata={"help": "Share of clips with added noise."})
    noise_folder: str = field(default="", metadata={"help": "Folder of noise recordings; empty: generated noise."})
    noise_snr_db_min: float = field(default=5.0, metadata={"help": "Lowest signal-to-noise ratio, dB."})
    noise_snr_db_max: float = field(default=30.0, metadata={"help": "Highest signal-to-noise ratio, dB."})
    reverberation_probability: float = field(default=0.0, metadata={"help": "Share of clips with reverberation."})
    vocal_tract_perturbation: float = field(
        default=0.0, metadata={"help": "Largest relative change of the vocal tract's resonances."}
    )
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
    # HfArgumentParser wants None first in this union
    report_to: None | str | list[str] = field(  # noqa: RUF036
        default="tensorboard", metadata={"help": "Where the curves go."}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Search each step for parameters without gradient; this model has none."}
    )
    learning_anneal: float = field(
        default=0.0, metadata={"help": "Divide the learning rate by this after each epoch, instead of a schedule."}
    )
    ema_decay: float = field(
        default=0.0, metadata={"help": "Average the weights over steps with this decay; the average is what is scored."}
    )
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Stop after this many evaluations without a better WER; 0: never."}
    )
    max_skipped_steps: int = field(
        default=20, metadata={"help": "Stop after more steps in a row than this whose gradient is not finite."}
    )
    ddp_timeout: int = field(
        default=600, metadata={"help": "Seconds after which processes give up waiting for one that does not answer."}
    )
    num_processes: int = field(
        default=0, metadata={"help": "Refuse to run with another number of processes; 0: any number."}
    )
    hub_strategy: str = field(
        default="end", metadata={"help": "end: push the finished model; every_save: also that of each checkpoint."}
    )
    cpu_threads: int = field(default=0, metadata={"help": "Threads of a process on a CPU; 0: its share of the cores."})
    compare_with_scratch: bool = field(
        default=False, metadata={"help": "Also train random weights with the same budget, and report both."}
    )

    @property
    def folder(self) -> Path:
        """Of the run: `output_dir`."""
        return Path(self.output_dir or ".")

    @property
    def stream_seed(self) -> int:
        """Of the order of the speech and its augmentation."""
        return self.seed if self.data_seed is None else self.data_seed


@dataclass(frozen=True)
class Recipe:
    """
    A whole run, as a YAML file and the command line declare it.

    Args:
        settings: what was given or is no default, by key, without tokens.
    """

    model: ModelArguments = field(default_factory=ModelArguments)
    data: DataArguments = field(default_factory=DataArguments)
    augmentation: AugmentationArguments = field(default_factory=AugmentationArguments)
    adaptation: AdaptationArguments = field(default_factory=AdaptationArguments)
    objective: ObjectiveArguments = field(default_factory=ObjectiveArguments)
    training: RecipeTrainingArguments = field(default_factory=RecipeTrainingArguments)
    settings: dict[str, Any] = field(default_factory=dict)
