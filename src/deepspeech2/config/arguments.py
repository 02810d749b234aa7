"""The settings of a recipe: typed dataclasses, each field with its help text."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from .method_arguments import AdaptationArguments, CommandArguments, ObjectiveArguments


@dataclass
class ModelArguments:
    """The model: a checkpoint, or random weights of a given configuration, and the facts of its model card."""

    model_name_or_path: str = field(
        default="",
        metadata={"help": "Folder or Hub id of a checkpoint to fine-tune. Empty: train from random weights."},
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a checkpoint on the Hub."})
    model_config: dict = field(
        default_factory=dict,
        metadata={
            "help": "JSON object of DeepSpeech2Config fields for a model from random weights. With a checkpoint, only "
            "dropout may be set."
        },
    )
    feature_config: dict = field(
        default_factory=dict,
        metadata={"help": "JSON object of DeepSpeech2FeatureExtractor arguments for a model from random weights."},
    )
    characters: str = field(
        default=" 'abcdefghijklmnopqrstuvwxyz",
        metadata={
            "help": "Characters of the vocabulary for a model from random weights. Empty: the characters of the "
            "transcripts."
        },
    )
    text_case: str | None = field(
        default=None,
        metadata={
            "help": "Letter case of the normalised transcripts: lower, upper, keep, lower_turkish or upper_turkish. "
            "Not given: lower. With a checkpoint it needs new_characters; not given: that of the checkpoint."
        },
    )
    removed_characters: str | None = field(
        default=None,
        metadata={
            "help": "Characters that text normalisation replaces with a space. Not given: common punctuation. With a "
            "checkpoint it needs new_characters; not given: those of the checkpoint."
        },
    )
    language: str = field(default="en", metadata={"help": "ISO 639 code of the language, for the model card."})
    license: str = field(
        default="apache-2.0",
        metadata={"help": "Licence of the weights, for the model card, as an identifier of the Hub."},
    )
    credit: str = field(default="", metadata={"help": "Attribution of the training data, for the model card."})
    warm_start: str = field(
        default="",
        metadata={
            "help": "Folder or Hub id of a checkpoint that initialises a new model: each weight of equal name and "
            "shape is copied."
        },
    )


@dataclass
class DataArguments:
    """The speech to train and score on, and its batches."""

    dataset_name: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Training corpus: Hub id, folder (Hub layout, LibriSpeech tree or audiofolder), manifest file, or "
            "'synthetic'. Several names make a mixture. One name with several dataset_config or train_split gives all "
            "of them."
        },
    )
    dataset_config: list[str] = field(
        default_factory=list,
        metadata={"help": "Configuration of each training corpus, or one for all of them ('-' for none)."},
    )
    train_split: list[str] = field(
        default_factory=lambda: ["train"],
        metadata={"help": "Training split of each training corpus, or one for all of them. a+b joins two splits."},
    )
    mixture_weights: list[float] = field(
        default_factory=list,
        metadata={
            "help": "Relative share of each training corpus in a shuffling window. Empty: each is read once an epoch."
        },
    )
    dataset_revision: list[str] = field(
        default_factory=list,
        metadata={"help": "Commit or tag of each training corpus on the Hub, or one for all of them."},
    )
    eval_dataset_name: str = field(
        default="", metadata={"help": "Corpus of eval_split and test_split. Empty: the first dataset_name."}
    )
    eval_split: str = field(
        default="validation",
        metadata={
            "help": "Split, or config/split, that is scored during training. Its WER selects the best checkpoint."
        },
    )
    test_split: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Splits, or config/split, that are scored before and after training. Empty: eval_split. A split "
            "of another corpus is dataset_name::split or dataset_name::config/split."
        },
    )
    held_out_share: float = field(
        default=0.0,
        metadata={
            "help": "Share of the training utterances, from 0 to below 1, that is kept for scoring as the split "
            "'held-out'. The id of an utterance decides."
        },
    )
    held_out_speakers: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Speaker ids of the training corpora that are kept for scoring as the split 'held-out', in place "
            "of held_out_share."
        },
    )
    transcripts: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Table (.csv or .tsv with the columns id and text) of transcripts for each dataset_name, such as "
            "pseudo-labels; '-' keeps the corpus's own. Utterances without a row are left out."
        },
    )
    unlabelled_dataset_name: str = field(
        default="",
        metadata={
            "help": "Corpus without transcripts, or a folder of recordings. Each step adds a batch of it, for "
            "domain_adversarial_weight and distillation_weight."
        },
    )
    unlabelled_dataset_config: str = field(default="", metadata={"help": "Configuration of unlabelled_dataset_name."})
    unlabelled_split: str = field(
        default="train",
        metadata={
            "help": "Split of unlabelled_dataset_name; a+b joins two splits. A folder of recordings has one split."
        },
    )
    text_column: str = field(default="text", metadata={"help": "Column of the transcripts."})
    audio_column: str = field(default="audio", metadata={"help": "Column of the audio."})
    audio_root: str = field(
        default="",
        metadata={
            "help": "Folder of the recordings that lists name. Empty: relative paths start at the list. Absolute paths "
            "of another machine are found below it too."
        },
    )
    batch_seconds: float = field(
        default=60.0,
        metadata={
            "help": "Seconds of audio in a batch of one process, padding included. 0: batches of "
            "per_device_train_batch_size clips."
        },
    )
    window_size: int = field(
        default=512, metadata={"help": "Number of utterances that are shuffled and sorted by length together."}
    )
    num_readers: int = field(
        default=0,
        metadata={
            "help": "Number of parts in which the training stream is read; it fixes the order of training. 0: one for "
            "each process and data worker."
        },
    )
    min_duration_s: float = field(
        default=0.1, metadata={"help": "Minimum duration of a training clip, in seconds. Shorter clips are left out."}
    )
    max_duration_s: float = field(
        default=20.0, metadata={"help": "Maximum duration of a training clip, in seconds. Longer clips are left out."}
    )
    max_dropped_share: float = field(
        default=0.2,
        metadata={
            "help": "Maximum share of unusable utterances, from 0 to 1; above it training stops. Clips outside "
            "min_duration_s and max_duration_s do not count."
        },
    )
    check_utterances: int = field(
        default=64,
        metadata={
            "help": "Number of utterances of each local split that are checked before training. 0: none. "
            "recipes/check_data.py checks all of them unless this is given."
        },
    )

    @property
    def num_corpora(self) -> tuple[int, str]:
        """The number of training corpora, and the setting that gives it: the longest of those with one for each."""
        names = ("dataset_name", "dataset_config", "train_split")
        return max(((len(getattr(self, name)), name) for name in names), key=lambda counted: counted[0])


@dataclass
class AugmentationArguments:
    """Augmentation of the training audio, on the fly. It is off by default and never applies to evaluation."""

    speed_perturbation: float = field(
        default=0.0,
        metadata={"help": "Maximum relative change of speed, from 0 to 0.5; 0.1 means 0.9 to 1.1 times. 0: off."},
    )
    gain_db: float = field(default=0.0, metadata={"help": "Maximum change of loudness, in dB. 0: off."})
    silence_s: float = field(
        default=0.0,
        metadata={"help": "Maximum silence added before and after a clip, in seconds, as a stream has it. 0: off."},
    )
    noise_probability: float = field(
        default=0.0, metadata={"help": "Share of clips that get added noise, from 0 to 1."}
    )
    noise_folder: str = field(default="", metadata={"help": "Folder of noise recordings. Empty: generated noise."})
    noise_snr_db_min: float = field(default=5.0, metadata={"help": "Minimum signal-to-noise ratio, in dB."})
    noise_snr_db_max: float = field(default=30.0, metadata={"help": "Maximum signal-to-noise ratio, in dB."})
    reverberation_probability: float = field(
        default=0.0, metadata={"help": "Share of clips that get reverberation, from 0 to 1."}
    )
    band_limit_probability: float = field(
        default=0.0,
        metadata={"help": "Share of clips that get the band limits of a microphone or telephone, from 0 to 1."},
    )
    vocal_tract_perturbation: float = field(
        default=0.0,
        metadata={"help": "Maximum relative change of the vocal tract's resonance frequencies, from 0 to 0.5. 0: off."},
    )
    spec_augment: bool = field(
        default=False, metadata={"help": "Apply SpecAugment: mask spans of time and bands of frequency."}
    )
    num_time_masks: int = field(default=2, metadata={"help": "Number of time masks of a clip."})
    time_mask_max_frames: int = field(default=40, metadata={"help": "Maximum length of a time mask, in input frames."})
    time_mask_max_ratio: float = field(
        default=0.1, metadata={"help": "Maximum length of a time mask, as a share of the clip from 0 to 1."}
    )
    num_frequency_masks: int = field(default=2, metadata={"help": "Number of frequency masks of a clip."})
    frequency_mask_max_bins: int = field(default=27, metadata={"help": "Maximum width of a frequency mask, in bins."})


@dataclass
class RecipeTrainingArguments(TrainingArguments):
    """`TrainingArguments` of transformers with defaults for CTC training on a stream."""

    output_dir: str | None = field(
        default="outputs/run", metadata={"help": "Folder of the model, the reports and the log."}
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "Peak learning rate."})
    lr_scheduler_type: str = field(
        default="cosine", metadata={"help": "Learning rate schedule, by its name in transformers."}
    )
    warmup_steps: float = field(
        default=0.05, metadata={"help": "Number of warmup steps. A value below 1 is a share of all steps."}
    )
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of the optimizer."})
    num_train_epochs: float = field(
        default=10, metadata={"help": "Number of passes over the training corpus. max_steps overrides it."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to score eval_split: steps, epoch or no."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint: steps, epoch or no."})
    save_total_limit: int | None = field(
        default=2, metadata={"help": "Maximum number of checkpoints kept. The best one is always kept."}
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "Return to the best checkpoint at the end of training."}
    )
    metric_for_best_model: str | None = field(
        default="wer", metadata={"help": "Metric that selects the best checkpoint."}
    )
    greater_is_better: bool | None = field(
        default=False, metadata={"help": "Whether a higher value of metric_for_best_model is better."}
    )
    logging_steps: float = field(default=10, metadata={"help": "Number of steps between two log lines."})
    # HfArgumentParser wants None first in this union
    report_to: None | str | list[str] = field(  # noqa: RUF036
        default_factory=lambda: "tensorboard" if find_spec("tensorboard") else "none",
        metadata={
            "help": "Where to log the training curves, beside the report. tensorboard if it is installed, else none."
        },
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Search each step for parameters without a gradient. This model has none."}
    )
    ddp_broadcast_buffers: bool | None = field(
        default=False,
        metadata={
            "help": "Give all processes the batch-norm statistics of the first one at each step. Without it they get "
            "them for each evaluation."
        },
    )
    learning_anneal: float = field(
        default=0.0,
        metadata={
            "help": "Divisor of the learning rate after each epoch, such as 1.1, in place of a schedule. 0: off."
        },
    )
    ema_decay: float = field(
        default=0.0,
        metadata={
            "help": "Decay of an exponential moving average of the weights, from 0 to below 1. The averaged weights "
            "are scored and saved. 0: off."
        },
    )
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Number of evaluations without a lower WER after which training stops. 0: never."}
    )
    max_skipped_steps: int = field(
        default=20,
        metadata={"help": "Maximum number of consecutive steps with a non-finite gradient. Above it training stops."},
    )
    # All others wait while one waits for the Hub: 15 min if it is busy (`MAX_PATIENCE_S`), 30 if it is silent.
    ddp_timeout: int = field(
        default=2700,
        metadata={"help": "Seconds after which a process stops waiting for another one that does not answer."},
    )
    num_processes: int = field(
        default=0,
        metadata={
            "help": "Number of processes that the run requires; it stops if another number was started. 0: any number."
        },
    )
    hub_strategy: str = field(
        default="end",
        metadata={
            "help": "What to push to the Hub: end (the finished model) or every_save (the model of each checkpoint "
            "too)."
        },
    )
    cpu_threads: int = field(
        default=0, metadata={"help": "Number of CPU threads of a process. 0: its share of the cores."}
    )
    score_start: bool = field(
        default=True,
        metadata={"help": "Score the starting model before training. False saves that time."},
    )
    compare_with_scratch: bool = field(
        default=False,
        metadata={"help": "Train a second model from random weights with the same budget, and report both."},
    )

    @property
    def folder(self) -> Path:
        """The folder of the run, `output_dir`."""
        return Path(self.output_dir or ".")

    @property
    def stream_seed(self) -> int:
        """The seed of the order of the speech and of its augmentation: `data_seed`, or `seed` without one."""
        return self.seed if self.data_seed is None else self.data_seed


@dataclass(frozen=True)
class Recipe:
    """
    All settings of a run, from a YAML file and the command line.

    Args:
        settings: the settings that were given or differ from their defaults, by key, without access tokens.
    """

    model: ModelArguments = field(default_factory=ModelArguments)
    data: DataArguments = field(default_factory=DataArguments)
    augmentation: AugmentationArguments = field(default_factory=AugmentationArguments)
    adaptation: AdaptationArguments = field(default_factory=AdaptationArguments)
    objective: ObjectiveArguments = field(default_factory=ObjectiveArguments)
    commands: CommandArguments = field(default_factory=CommandArguments)
    training: RecipeTrainingArguments = field(default_factory=RecipeTrainingArguments)
    settings: dict[str, Any] = field(default_factory=dict)
