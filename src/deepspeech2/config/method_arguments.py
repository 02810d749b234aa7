"""What a recipe can be told about learning: what of the model learns, and what it learns from."""

from dataclasses import dataclass, field


@dataclass
class AdaptationArguments:
    """What of the model learns, and how fast; all of it alike by default."""

    trained_groups: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Parts that learn: convs, layers.0, layers.1, ..., lookahead, head, norms, adapters; empty: all, "
            "with adapter_size and low_rank none but these."
        },
    )
    layer_lr_decay: float = field(
        default=1.0, metadata={"help": "Learning rate of each part, as a share of that of the part above it."}
    )
    unfreeze_every: float = field(
        default=0.0,
        metadata={"help": "Parts begin to learn from the head downward, one every so many steps, or share of all."},
    )
    adapter_size: int = field(
        default=0,
        metadata={
            "help": "Add a residual adapter of this width after each recurrent layer, which learns; they start as "
            "nothing and stay in the model; 0: none."
        },
    )
    low_rank: int = field(
        default=0, metadata={"help": "Learn updates of this rank of the recurrent and the head's matrices; 0: none."}
    )
    low_rank_scale: float = field(default=16.0, metadata={"help": "Weight of these updates, times the rank."})
    norm_statistics: str = field(
        default="update",
        metadata={
            "help": "Of batch norms: update; frozen, as they are; reestimate, on the training speech, then frozen."
        },
    )
    l2_sp: float = field(
        default=0.0, metadata={"help": "Pull of the weights towards where they started, per unit of distance."}
    )
    new_characters: str = field(
        default="",
        metadata={
            "help": "Another alphabet for a checkpoint, or 'transcripts' for that of the training corpora; rows of the "
            "head are reused by character."
        },
    )


@dataclass
class ObjectiveArguments:
    """What the model learns from: a weighted sum, CTC alone by default."""

    ctc_weight: float = field(default=1.0, metadata={"help": "Weight of the CTC loss."})
    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "Share of the CTC loss given to the cross-entropy of each frame with all symbols."},
    )
    entropy_weight: float = field(
        default=0.0, metadata={"help": "Reward of the entropy of each frame, against overconfidence."}
    )
    mwer_weight: float = field(default=0.0, metadata={"help": "Weight of the expected error rate (minimum WER)."})
    mwer_hypotheses: str = field(
        default="samples",
        metadata={"help": "samples: of the CTC posterior, with a baseline; n_best: of a beam search, renormalised."},
    )
    mwer_count: int = field(default=8, metadata={"help": "Hypotheses of each utterance."})
    mwer_unit: str = field(default="word", metadata={"help": "What is an error: word or character."})
    domain_adversarial_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the reversed gradient of a classifier that tells labelled from unlabelled speech."
        },
    )
    domain_layer: int = field(
        default=-1,
        metadata={"help": "What that classifier sees: 0 the convolutions, 1.. the recurrent layers, -1 the last one."},
    )
    distillation_weight: float = field(
        default=0.0, metadata={"help": "Weight of the divergence from the starting model's posteriors."}
    )
    distillation_temperature: float = field(
        default=1.0, metadata={"help": "Temperature of both models in the distillation."}
    )
    distillation_speech: str = field(
        default="all", metadata={"help": "Speech on which this model is followed: all, labelled or unlabelled."}
    )

    @property
    def plain(self) -> bool:
        """Whether CTC is all there is."""
        return self == ObjectiveArguments()

    @property
    def takes_unlabelled(self) -> bool:
        """Whether anything learns from speech without transcripts."""
        distilled = self.distillation_weight > 0 and self.distillation_speech != "labelled"
        return self.domain_adversarial_weight > 0 or distilled
