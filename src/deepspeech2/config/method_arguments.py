"""The training settings of a recipe that select the trained parameters, the objective and the voice commands."""

from dataclasses import dataclass, field


@dataclass
class AdaptationArguments:
    """The trained parameters and their learning rates. By default, all parameters train at the same rate."""

    trained_groups: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Parts of the model to train: convs, layers.0, layers.1, ..., lookahead, head, norms, adapters. "
            "Empty: all of them, or with adapter_size or low_rank only those."
        },
    )
    layer_lr_decay: float = field(
        default=1.0,
        metadata={
            "help": "Learning rate of each part as a share of that of the part above it, above 0 and up to 1. 1: no "
            "decay."
        },
    )
    unfreeze_every: float = field(
        default=0.0,
        metadata={
            "help": "Number of steps, or below 1 share of all steps, between unfreezing one part and the next, from "
            "the head downward. 0: train all parts from the start."
        },
    )
    adapter_size: int = field(
        default=0,
        metadata={
            "help": "Width of a residual adapter added after each recurrent layer. Adapters start as the identity and "
            "stay in the model. 0: none."
        },
    )
    low_rank: int = field(
        default=0,
        metadata={
            "help": "Rank of the trained updates (LoRA) to the matrices of the recurrent layers and the head. 0: none."
        },
    )
    low_rank_scale: float = field(
        default=16.0, metadata={"help": "Scale of the low-rank updates before division by the rank (LoRA's alpha)."}
    )
    norm_statistics: str = field(
        default="update",
        metadata={
            "help": "Batch norm statistics: update (during training), frozen (those of the checkpoint), or reestimate "
            "(on the training speech, then frozen)."
        },
    )
    l2_sp: float = field(
        default=0.0,
        metadata={
            "help": "Strength of the L2 penalty on the distance of the weights from their starting values (L2-SP). 0: "
            "off."
        },
    )
    new_characters: str = field(
        default="",
        metadata={
            "help": "New alphabet for a checkpoint, or 'transcripts' for its own characters and those of the training "
            "corpora. Output rows of known characters are reused."
        },
    )


@dataclass
class ObjectiveArguments:
    """The objective: a weighted sum of losses, by default CTC alone."""

    ctc_weight: float = field(default=1.0, metadata={"help": "Weight of the CTC loss."})
    label_smoothing: float = field(
        default=0.0,
        metadata={
            "help": "Share of the CTC loss, from 0 to below 1, that is replaced by the cross-entropy of each frame "
            "with the uniform distribution."
        },
    )
    entropy_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the confidence penalty, which rewards the entropy of each frame's prediction. 0: off."
        },
    )
    consistency_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the divergence between the predictions for two augmented views of each clip. A step "
            "takes twice as long. 0: off."
        },
    )
    mwer_weight: float = field(
        default=0.0, metadata={"help": "Weight of the expected error rate (minimum WER training). 0: off."}
    )
    mwer_hypotheses: str = field(
        default="samples",
        metadata={
            "help": "Hypotheses of minimum WER training: samples (of the CTC posterior, with a baseline) or n_best "
            "(of a beam search, renormalised)."
        },
    )
    mwer_count: int = field(
        default=8, metadata={"help": "Number of hypotheses of an utterance in minimum WER training, at least 2."}
    )
    mwer_unit: str = field(
        default="word", metadata={"help": "Unit of an error in minimum WER training: word or character."}
    )
    domain_adversarial_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the reversed gradient of a classifier that tells labelled from unlabelled speech. 0: "
            "off."
        },
    )
    domain_layer: int = field(
        default=-1,
        metadata={
            "help": "Layer that the domain classifier reads: 0 the convolutions, 1 and up the recurrent layers, -1 "
            "the last one."
        },
    )
    distillation_weight: float = field(
        default=0.0,
        metadata={"help": "Weight of the KL divergence from the predictions of the starting model. 0: off."},
    )
    distillation_temperature: float = field(
        default=1.0, metadata={"help": "Temperature of both models in the distillation."}
    )
    distillation_speech: str = field(
        default="all", metadata={"help": "Speech that the distillation uses: all, labelled or unlabelled."}
    )

    @property
    def plain(self) -> bool:
        """Whether the objective is CTC alone."""
        return self == ObjectiveArguments()

    @property
    def takes_unlabelled(self) -> bool:
        """Whether a part of the objective uses speech without transcripts."""
        distilled = self.distillation_weight > 0 and self.distillation_speech != "labelled"
        return self.domain_adversarial_weight > 0 or distilled


@dataclass
class CommandArguments:
    """A grammar of voice commands to train a recogniser for, from synthetic speech."""

    grammar: str = field(
        default="",
        metadata={
            "help": "YAML grammar of voice commands. Its sentences, spoken by synthetic voices, are the first training "
            "corpus, with the splits train, validation and test. After training, the rejection threshold is "
            "calibrated, and output_dir holds all that recognises the commands. Empty: none."
        },
    )
    speech_minutes: float = field(
        default=90.0,
        metadata={"help": "Minutes of synthetic training speech. A third of it is added to calibrate the threshold."},
    )
    kokoro_voices: str = field(
        default="",
        metadata={
            "help": "Folder of Kokoro voices (*.bin) that speak a quarter of the training speech. They are more "
            "natural and slower. Empty: hibari-tts alone."
        },
    )
    false_accepts: float = field(
        default=0.01, metadata={"help": "Maximum share of out-of-grammar speech accepted, from 0 to below 1."}
    )
    hard_accepts: float = field(
        default=0.05,
        metadata={"help": "Maximum share of near misses accepted, commands with a value that is not in the grammar."},
    )
