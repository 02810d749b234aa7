"""What the model learns from: CTC and, where asked for, a weighted sum of it with other losses."""

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
    The loss of a batch, a sum of what `arguments` give a weight:

    - `ctc_weight` x CTC. Of that the share `label_smoothing` goes to the cross-entropy of each frame's posteriors p
      with the uniform distribution, -1/V sum_k log p_k (Szegedy et al., 2016, https://arxiv.org/abs/1512.00567; for CTC
      frame by frame as in Kim et al., 2018, https://arxiv.org/abs/1711.02212).
    - `entropy_weight` x minus the entropy of each frame's posteriors, -sum_k p_k log p_k: the confidence penalty of
      Pereyra et al., 2017 (https://arxiv.org/abs/1701.06548).
    - `mwer_weight` x the expected error rate, of minimum_wer.py.
    - the cross-entropy of a classifier of domains, which learns with the weight 1 while the encoder gets the gradient
      times -`domain_adversarial_weight` x the schedule of domain_adversarial.py.
    - `distillation_weight` x T^2 KL(start || model), frame by frame, at the temperature T: Hinton et al., 2015
      (https://arxiv.org/abs/1503.02531), from the model as the run found it, as in Li and Hoiem, 2016
      (https://arxiv.org/abs/1606.09282). Its copy takes the same augmented features, and is never saved.

    All are means over the utterances, of what is a mean over the frames of each; of CTC it is a mean over the labels,
    of the error rate over the words. Labelled and unlabelled speech pass the model as one batch, with common statistics
    of batch norm, as the running ones are that evaluation uses. CTC, smoothing, entropy and error rate see the labelled
    part alone.

    `plain`: CTC is all there is, and the model's own loss is it. `heads` are trained beside the model and are part of
    the checkpoints, not of the model that is saved.

    Args:
        arguments: the weights.
        model: as the run found it; no checkpoint has been loaded into it yet.
        processor: its own; says what separates words.

    Raises:
        ValueError: a layer that the model does not have.
    """

    def __init__(self, arguments: ObjectiveArguments, model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor):
        self.arguments, self.plain = arguments, arguments.plain
        self.delimiter = None
        if arguments.mwer_weight and arguments.mwer_unit == "word":
            self.delimiter = processor.space_id
        num_layers = model.config.num_hidden_layers
        if not -num_layers - 1 <= arguments.domain_layer <= num_layers:
            raise ValueError(
                f"domain_layer is {arguments.domain_layer}; expected 0 for the convolutions, 1 to {num_layers} for the "
                "recurrent layers, or -1 for the last one"
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
        """To the model's device; the heads of all processes are those of the first one."""
        self.heads.to(device)
        for parameter in self.heads.parameters():
            broadcast(parameter.data)
        if self.start is not None:
            self.start.to(device)  # type: ignore[arg-type]

    def join(self, optimizer: torch.optim.Optimizer) -> None:
        """The heads' parameters, as a group of their own, without weight decay."""
        if len(self.heads):
            optimizer.add_param_group({"params": list(self.heads.parameters()), "weight_decay": 0.0})

    def average_gradients(self) -> None:
        """Over the processes, before a step; those of the model are DDP's business."""
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
        """Each part, without its weight, since this was last asked, over all processes."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        values = reduce(torch.stack([self._sums[name] for name in names]) / self._count, "mean")
        self._sums, self._count = {}, 0
        return dict(zip(names, values.tolist(), strict=True))

    def loss(self, model: nn.Module, bare: DeepSpeech2ForCTC, inputs: Inputs, progress: float) -> torch.Tensor:
        """
        Args:
            model: called once, for the pass that all processes share; DDP's wrapper or `bare`.
            bare: the `DeepSpeech2ForCTC` itself, with its configuration.
            inputs: `input_features`, `attention_mask`, `labels`; `unlabelled`, a batch too, of which the labels are
                not looked at.
            progress: share of the training that is over.
        """
        asked, labels = self.arguments, inputs["labels"]
        features, mask = joined(inputs)
        outputs = model(features, mask, output_hidden_states=bool(asked.domain_adversarial_weight))
        lengths = outputs.output_lengths
        log_probs = outputs.logits.float().log_softmax(-1)
        some = slice(0, len(labels))  # what has transcripts

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
    KL(reference || other) of a frame, the mean over the real frames of each utterance.

    Args:
        reference, log_probs: (B, T, V) log-probabilities.
        lengths: (B,) frames.

    Returns:
        (B,), nats.
    """
    return frame_mean((reference.exp() * (reference - log_probs)).sum(-1), lengths)


def frame_mean(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(B, T), (B,) frames -> (B,): the mean over the real frames of each utterance."""
    mask = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
    return values.where(mask, 0.0).sum(1) / lengths.clamp(min=1)


def joined(inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Features (B, T, F) and mask (B, T) of a batch, followed by those of its `unlabelled` one, if it has one, padded to
    the longer of the two.
    """
    some = [inputs, inputs["unlabelled"]] if "unlabelled" in inputs else [inputs]
    frames = max(one["attention_mask"].shape[1] for one in some)
    masks = [nn.functional.pad(one["attention_mask"], (0, frames - one["attention_mask"].shape[1])) for one in some]
    features = [
        nn.functional.pad(one["input_features"], (0, 0, 0, frames - one["input_features"].shape[1])) for one in some
    ]
    return torch.cat(features), torch.cat(masks)
