"""The plain implementation for comparison: DeepSpeech2 as deepspeech.pytorch runs it, reimplemented.

It masks in a Python loop over the clips, uses packed bidirectional LSTMs and batch norm that includes padding, computes
features with librosa file by file, and batches clips in their given order.
"""

from collections.abc import Sequence

import librosa
import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from deepspeech2.model.modeling_deepspeech2 import DeepSpeech2ForCTC


class PlainDeepSpeech2(nn.Module):
    """The plain forward pass of a bidirectional `model` with a linear spectrogram. The weights are shared."""

    def __init__(self, model: DeepSpeech2ForCTC) -> None:
        super().__init__()
        self.convs, self.norms, self.head = model.model.convs, model.model.norms, model.ctc_head
        self.rnns = nn.ModuleList(layer.rnn for layer in model.model.layers)
        for rnn in self.rnns:
            rnn.flatten_parameters()
        self.output_lengths = model.get_output_lengths

    def forward(self, spectrograms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (batch, frames, bins), longest clip first, to log-probabilities (frames', batch, labels) and lengths."""
        x = spectrograms.transpose(1, 2)[:, None]
        lengths = self.output_lengths(lengths)
        for layer in self.convs:
            for module in (layer.conv, layer.batch_norm, layer.activation):
                x = _mask(module(x), lengths)
        x = x.flatten(1, 2).permute(2, 0, 1).contiguous()
        for index, rnn in enumerate(self.rnns):
            if index > 0:
                x = self._norm(self.norms[index - 1], x)
            packed, _ = rnn(pack_padded_sequence(x.transpose(0, 1), lengths, batch_first=True))
            x, _ = pad_packed_sequence(packed, batch_first=True)
            x = x.transpose(0, 1)
            x = x.view(x.shape[0], x.shape[1], 2, -1).sum(2)
        x = self.head(self._norm(self.norms[-1], x))
        return x.log_softmax(-1), lengths

    @staticmethod
    def _norm(norm: nn.BatchNorm1d, x: torch.Tensor) -> torch.Tensor:
        return norm(x.reshape(-1, x.shape[-1])).view_as(x)

    def loss(self, spectrograms: torch.Tensor, lengths: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the CTC loss, summed over the batch. `targets` are the label ids of each clip."""
        log_probs, output_lengths = self(spectrograms, lengths)
        sizes = torch.tensor([len(target) for target in targets])
        return nn.functional.ctc_loss(
            log_probs, torch.cat(list(targets)), output_lengths, sizes, reduction="sum", zero_infinity=True
        )


def _mask(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Zero (batch, channels, rows, frames) after the end of each clip, clip by clip."""
    mask = torch.zeros(x.shape, dtype=torch.bool)
    for i, length in enumerate(lengths.tolist()):
        if x.shape[-1] > length:
            mask[i].narrow(2, length, x.shape[-1] - length).fill_(True)
    return x.masked_fill(mask, 0)


def plain_features(path: str) -> np.ndarray:
    """Compute features (frames, 161) of a file at 16 kHz."""
    return plain_spectrogram(librosa.load(path, sr=None)[0])


def plain_spectrogram(samples: np.ndarray) -> np.ndarray:
    """Compute librosa's log spectrogram (frames, 161), normalised over the clip, from samples at 16 kHz."""
    spectrum = librosa.stft(samples, n_fft=320, hop_length=160, win_length=320, window="hamming", pad_mode="reflect")
    values = np.log1p(np.abs(spectrum)).T
    return (values - values.mean()) / values.std(ddof=1)


def pad(clips: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad clips of (frames, bins) to (batch, frames, bins), longest first, clip by clip. Also return the lengths."""
    ordered = sorted(clips, key=len, reverse=True)
    batch = torch.zeros(len(ordered), len(ordered[0]), ordered[0].shape[1])
    for row, clip in zip(batch, ordered, strict=True):
        row.narrow(0, 0, len(clip)).copy_(torch.from_numpy(clip))
    return batch, torch.tensor([len(clip) for clip in ordered])
