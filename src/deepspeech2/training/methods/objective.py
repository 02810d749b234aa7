"""The training loss: CTC, or a weighted sum of CTC and other losses."""

import copy
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast, reduce
from safetensors.torch import load_file, save_file
from torch import nn

from ...config.method_arguments import ObjectiveArguments
from ...model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ...model.processing_deepspeech2 import DeepSpeech2Processor
from .domain_adversarial import DomainClassifier, domain_loss, reversal_weight, reverse_gradient
from .minimum_wer import expected_errors

HEADS_NAME = "objective_heads.safetensors"

Inputs = dict[str, Any]


class Objective:
    """
    The loss of a batch: the sum of the losses to which `arguments` give a weight.

    - `ctc_weight` x CTC. The share `label_smoothing` of it is replaced by the cross-entropy of each frame's posteriors
      p with the uniform distribution, -1/V sum_k log p_k (Szegedy et al., 2016, https://arxiv.org/abs/1512.00567; frame
      by frame for CTC as in Kim et al., 2018, https://arxiv.org/abs/1711.02212).
    - `entropy_weight` x the negative entropy of each frame's posteriors, where the entropy is -sum_k p_k log p_k. This
      is the confidence penalty of Pereyra et al., 2017 (https://arxiv.org/abs/1701.06548).
    - `consistency_weight` x (KL(a || b) + KL(b || a)) / 2, frame by frame, between the posteriors of two augmented
      views of each clip, where the first argument of KL has no gradient (CR-CTC, Yao et al., 2025,
      https://arxiv.org/abs/2410.05101). There, both sums are over the frames, and the weight is 0.2. Here CTC is a mean
      over labels and KL a mean over frames: with 14 labels a second, that is 0.36 at 25 frames a second, 0.71 at 50.
      Both views are labelled clips to all other losses.
    - `mwer_weight` x the expected error rate of minimum_wer.py.
    - The cross-entropy of a domain classifier. The classifier is trained with weight 1. The encoder gets the gradient
      times -`domain_adversarial_weight` x the schedule of domain_adversarial.py.
    - `distillation_weight` x T^2 KL(start || model), frame by frame, at the temperature T (Hinton et al., 2015,
      https://arxiv.org/abs/1503.02531). The teacher is the starting model, as in Li and Hoiem, 2016
      (https://arxiv.org/abs/1606.09282). It sees the same augmented features and is never saved.

    Each loss is a mean over the utterances. Per utterance it is a mean over frames, for CTC over labels, and for the
    error rate over words. Labelled and unlabelled speech pass through the model as one batch, so they share batch-norm
    statistics, like the running statistics of evaluation. CTC, smoothing, entropy and error rate use only the labelled
    part.

    `plain` says that CTC is the only loss, so the loss of the model is used. `heads` are trained beside the model. They
    are saved in checkpoints, but not with the final model.

    Args:
        arguments: the weights.
        model: the starting model, before a checkpoint is loaded into it.
        processor: the processor of the model, which gives the word delimiter.

    Raises:
        ValueError: `domain_layer` does not exist.
    """

    def __init__(self, arguments: ObjectiveArguments, model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor):
        self.arguments, self.plain = arguments, arguments.plain
        self.delimiter = None
        if arguments.mwer_weight and arguments.mwer_unit == "word":
            self.delimiter = processor.space_id
        num_layers = model.config.num_hidden_layers
        if not -num_layers - 1 <= arguments.domain_layer <= num_layers:
            raise ValueError(
                f"domain_layer is {arguments.domain_layer}; expected 0 for the convolutions, 1 to {num_layers} for a "
                "recurrent layer, or -1 for the last layer"
            )
        self.heads = nn.ModuleDict()
        if arguments.domain_adversarial_weight:
            convs = arguments.domain_layer in (0, -num_layers - 1)
            self.heads["domain"] = DomainClassifier(model.config.rnn_input_size if convs else model.config.hidden_size)
        self.start: DeepSpeech2ForCTC | None = None
        if arguments.distillation_weight:
            self.start = copy.deepcopy(model).eval().requires_grad_(False)
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0

    def begin(self, device: torch.device) -> None:
        """Move the state to the device of the model, and give all processes the heads of the first one."""
        self.heads.to(device)
        for parameter in self.heads.parameters():
            broadcast(parameter.data)
        if self.start is not None:
            self.start.to(device)  # type: ignore[arg-type]

    def join(self, optimizer: torch.optim.Optimizer) -> None:
        """Add the parameters of the heads to the optimizer as a separate group, without weight decay."""
        if len(self.heads):
            optimizer.add_param_group({"params": list(self.heads.parameters()), "weight_decay": 0.0})

    def average_gradients(self) -> None:
        """Average the gradients of the heads over the processes, before a step. DDP averages those of the model."""
        for parameter in self.heads.parameters():
            if parameter.grad is not None:
                parameter.grad = reduce(parameter.grad, "mean")

    def save(self, folder: Path) -> None:
        if len(self.heads):
            save_file(self.heads.state_dict(), folder / HEADS_NAME)

    def load(self, folder: Path) -> None:
        if len(self.heads):
            self.heads.load_state_dict(load_file(folder / HEADS_NAME))

    def means(self) -> dict[str, float]:
        """Return the mean of each loss since the last call, without its weight, over all processes."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        values = reduce(torch.stack([self._sums[name] for name in names]) / self._count, "mean")
        self._sums, self._count = {}, 0
        return dict(zip(names, values.tolist(), strict=True))

    def loss(self, model: nn.Module, bare: DeepSpeech2ForCTC, inputs: Inputs, progress: float) -> torch.Tensor:
        """
        Return the loss of a batch.

        Args:
            model: DDP's wrapper or `bare`. It is called once, so that the processes stay in step.
            bare: the `DeepSpeech2ForCTC` itself, with its configuration.
            inputs: `input_features`, `attention_mask`, `labels`, and optionally `second_view`, other features of the
                same clips, and `unlabelled`, another batch whose labels are ignored.
            progress: the finished share of the training, 0 to 1.
        """
        asked, labels = self.arguments, inputs["labels"].repeat(2 if "second_view" in inputs else 1, 1)
        features, mask = joined(inputs)
        outputs = model(features, mask, output_hidden_states=bool(asked.domain_adversarial_weight))
        lengths = outputs.output_lengths
        log_probs = outputs.logits.float().log_softmax(-1)
        some = slice(0, len(labels))  # the utterances with transcripts

        ctc = bare.loss_function(
            logits=outputs.logits[some],
            labels=labels,
            logit_lengths=lengths[some],
            blank_token_id=bare.config.pad_token_id,
            reduction=bare.config.ctc_loss_reduction,
            zero_infinity=bare.config.ctc_zero_infinity,
        )
        loss = asked.ctc_weight * (1 - asked.label_smoothing) * ctc
        parts = {"ctc_loss": ctc}
        if asked.label_smoothing:
            uniform = -frame_mean(log_probs[some].mean(-1), lengths[some]).mean()
            loss = loss + asked.ctc_weight * asked.label_smoothing * uniform
            parts["uniform_cross_entropy"] = uniform
        if asked.entropy_weight:
            surprise = (log_probs[some].exp() * log_probs[some]).sum(-1)
            parts["entropy"] = -frame_mean(surprise, lengths[some]).mean()
            loss = loss - asked.entropy_weight * parts["entropy"]
        if "second_view" in inputs:
            first, second = log_probs[some].chunk(2)
            own_lengths = lengths[: len(first)]
            forth = divergence(first.detach(), second, own_lengths)
            back = divergence(second.detach(), first, own_lengths)
            parts["consistency"] = (forth + back).mean() / 2
            loss = loss + asked.consistency_weight * parts["consistency"]
        if asked.mwer_weight:
            parts["expected_error_rate"] = expected_errors(
                outputs.logits[some],
                lengths[some],
                [tuple(label for label in row if label != -100) for row in labels.tolist()],
                hypotheses=asked.mwer_hypotheses,
                count=asked.mwer_count,
                blank=bare.config.pad_token_id,
                delimiter=self.delimiter,
            ).mean()
            loss = loss + asked.mwer_weight * parts["expected_error_rate"]
        if asked.domain_adversarial_weight:
            weight = asked.domain_adversarial_weight * reversal_weight(progress)
            states = reverse_gradient(outputs.hidden_states[asked.domain_layer], weight)
            parts["domain_loss"], parts["domain_accuracy"] = domain_loss(
                self.heads["domain"](states, lengths), len(labels)
            )
            loss = loss + parts["domain_loss"]
        if self.start is not None:
            chosen = {"all": slice(None), "labelled": some, "unlabelled": slice(len(labels), None)}
            parts["distillation"] = self._distillation(
                outputs.logits, lengths, features, mask, chosen[asked.distillation_speech]
            )
            loss = loss + asked.distillation_weight * parts["distillation"]
        for name, part in parts.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(part)) + part.detach()
        self._count += 1
        return loss

    def _distillation(
        self, logits: torch.Tensor, lengths: torch.Tensor, features: torch.Tensor, mask: torch.Tensor, chosen: slice
    ) -> torch.Tensor:
        assert self.start is not None
        temperature = self.arguments.distillation_temperature
        with torch.no_grad():
            taught = self.start(features[chosen], mask[chosen]).logits
        wanted, given = ((one.float() / temperature).log_softmax(-1) for one in (taught, logits[chosen]))
        return temperature**2 * divergence(wanted, given, lengths[chosen]).mean()


def divergence(reference: torch.Tensor, log_probs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """
    Return the divergence KL(reference || other) of each utterance, as a mean over its real frames.

    Args:
        reference, log_probs: (B, T, V) log-probabilities.
        lengths: (B,) frames.

    Returns:
        (B,), in nats.
    """
    return frame_mean((reference.exp() * (reference - log_probs)).sum(-1), lengths)


def frame_mean(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Average values (B, T) over the real frames of each utterance, given lengths (B,). The result is (B,)."""
    mask = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
    return values.where(mask, 0.0).sum(1) / lengths.clamp(min=1)


def joined(inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Join a batch with its second view and then its `unlabelled` batch, as far as it has them.

    Returns:
        Features (B, T, F) and mask (B, T), padded to the longest of them.
    """
    some = [inputs]
    if "second_view" in inputs:
        some.append({"input_features": inputs["second_view"], "attention_mask": inputs["attention_mask"]})
    if "unlabelled" in inputs:
        some.append(inputs["unlabelled"])
    frames = max(one["attention_mask"].shape[1] for one in some)
    masks = [nn.functional.pad(one["attention_mask"], (0, frames - one["attention_mask"].shape[1])) for one in some]
    features = [
        nn.functional.pad(one["input_features"], (0, 0, 0, frames - one["input_features"].shape[1])) for one in some
    ]
    return torch.cat(features), torch.cat(masks)
