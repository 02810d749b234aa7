"""Waveform to normalised log spectrogram, in the ways of every deepspeech.pytorch version and as log-mel."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.audio_utils import hertz_to_mel, mel_filter_bank, mel_to_hertz
from transformers.utils import TensorType

MAX_CHANNELS = 8
LARGEST_SAMPLE = 1e9  # squares of sums of larger ones overflow
SMALLEST_STD = 1e-5  # a silent clip has none: its features become zeros, not NaN
SMALLEST_MEL_POWER = 1e-6  # about -60 dB below a full-scale tone's power in one bin


class DeepSpeech2FeatureExtractor(SequenceFeatureExtractor):
    r"""
    Short-time spectra of clips, normalised clip by clip. Frames are centred: `num_samples // hop_length + 1` of them.

    Args:
        feature_size (`int`): bins of a frame: `n_fft // 2 + 1` for a linear spectrogram, or the mel bins.
        sampling_rate (`int`): Hz.
        n_fft, win_length, hop_length (`int`): samples.
        features (`str`): `"linear"`, log(1 + magnitude) as in deepspeech.pytorch, or `"mel"`, log mel power.
        normalization (`str`): `"clip"`, one mean and unbiased standard deviation a clip, as in deepspeech.pytorch, or
            `"bin"`, one of each for every bin of a clip, or `"fixed"`, one of each for every bin of all speech: the one
            that needs no end of a clip, as in a stream.
        feature_mean, feature_std (`list[float]`): (feature_size,) of `"fixed"`, measured over training speech; until
            they are there, no features are made.
        window_periodic (`bool`): periodic Hamming window instead of the symmetric one.
        pad_mode (`str`): `"reflect"` or `"constant"` (zeros) beyond the clip's ends.
        audio_scale (`float`): factor from samples in [-1, 1] to those that the checkpoint was trained on.
        return_attention_mask (`bool`): 1 on real frames.
    """

    model_input_names = ["input_features", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 161,
        sampling_rate: int = 16_000,
        n_fft: int = 320,
        win_length: int = 320,
        hop_length: int = 160,
        features: Literal["linear", "mel"] = "linear",
        normalization: Literal["clip", "bin", "fixed"] = "clip",
        window_periodic: bool = True,
        pad_mode: Literal["reflect", "constant"] = "reflect",
        audio_scale: float = 1.0,
        padding_value: float = 0.0,
        return_attention_mask: bool = True,
        feature_mean: Sequence[float] | None = None,
        feature_std: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        for name, value, expected in (
            ("features", features, ("linear", "mel")),
            ("normalization", normalization, ("clip", "bin", "fixed")),
            ("pad_mode", pad_mode, ("reflect", "constant")),
        ):
            if value not in expected:
                raise ValueError(f"{name} is {value!r}; expected one of {expected}")
        if features == "linear" and feature_size != n_fft // 2 + 1:
            raise ValueError(
                f"feature_size is {feature_size}; a linear spectrogram of n_fft {n_fft} has {n_fft // 2 + 1} bins"
            )
        if self.padding_side != "right":
            raise ValueError(f"padding_side is {self.padding_side!r}; the model knows padding on the right alone")
        if win_length > n_fft:
            raise ValueError(f"win_length {win_length} is longer than n_fft {n_fft}")
        statistics = [feature_mean, feature_std]
        if normalization != "fixed" and statistics != [None, None]:
            raise ValueError(f"feature_mean and feature_std are of normalization 'fixed', but it is {normalization!r}")
        sizes = [0 if one is None else len(one) for one in statistics]
        if sizes not in ([0, 0], [feature_size, feature_size]) or min(feature_std or [1.0]) <= 0:
            raise ValueError(
                f"feature_mean and feature_std have {sizes[0]} and {sizes[1]} numbers; expected feature_size "
                f"{feature_size} of each, the standard deviations above 0"
            )
        self.n_fft = n_fft
        self.win_length = win_length
        self.hop_length = hop_length
        self.features = features
        self.normalization = normalization
        self.window_periodic = window_periodic
        self.pad_mode = pad_mode
        self.audio_scale = audio_scale
        self.return_attention_mask = return_attention_mask
        self.feature_mean = None if feature_mean is None else [float(one) for one in feature_mean]
        self.feature_std = None if feature_std is None else [float(one) for one in feature_std]

    def get_num_frames(self, num_samples: int) -> int:
        """Frames of a clip of `num_samples` samples."""
        return num_samples // self.hop_length + 1

    @property
    def bin_frequencies_hz(self) -> np.ndarray:
        """(feature_size,), the centre of each bin."""
        highest_hz = self.sampling_rate / 2
        if self.features == "linear":
            return np.linspace(0.0, highest_hz, self.feature_size)
        highest_mel = hertz_to_mel(highest_hz, mel_scale="slaney")
        return np.asarray(mel_to_hertz(np.linspace(0.0, highest_mel, self.feature_size + 2)[1:-1], mel_scale="slaney"))

    def __call__(
        self,
        raw_speech: np.ndarray | torch.Tensor | Sequence,
        sampling_rate: int | None = None,
        padding: bool | str = "longest",
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
        **kwargs,
    ) -> BatchFeature:
        """
        Args:
            raw_speech: one clip or a list of clips, samples in [-1, 1]: each (samples,), or (samples, channels) or
                (channels, samples) with at most 8 channels, which are averaged. A 2-D array that is not in a list is
                a batch (clips, samples), unless it is (samples, channels) with at most 8 of them.
            sampling_rate: Hz of `raw_speech`; needed, since an array does not tell. Another rate than the
                extractor's is resampled by librosa.
            padding, max_length, truncation, pad_to_multiple_of: as in `SequenceFeatureExtractor.pad`; in frames.

        Returns:
            `input_features` (batch, frames, feature_size) float32, zero behind each clip's end, and
            `attention_mask` (batch, frames) int32.

        Raises:
            ValueError: no rate, an empty clip, samples that are integers or not finite, more than two dimensions.
        """
        if sampling_rate is None:
            raise ValueError(
                "sampling_rate is missing: an array does not tell its rate. "
                f"Pass sampling_rate=<Hz of your audio>; {self.sampling_rate} Hz stays as it is, others are resampled."
            )
        clips = [self._prepare(clip, index, sampling_rate) for index, clip in enumerate(self._as_clips(raw_speech))]
        if not clips:
            raise ValueError("raw_speech holds no clips; expected at least one")
        spectra = self._spectra(clips)
        padded = self.pad(
            BatchFeature({"input_features": [spectrum.numpy() for spectrum in spectra]}),
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=return_attention_mask,
            return_tensors=return_tensors,
        )
        return padded

    def _as_clips(self, raw_speech: np.ndarray | torch.Tensor | Sequence) -> list:
        if isinstance(raw_speech, (np.ndarray, torch.Tensor)):
            if raw_speech.ndim <= 1 or (raw_speech.ndim == 2 and raw_speech.shape[1] <= MAX_CHANNELS):
                return [raw_speech]
            return list(raw_speech)
        if not isinstance(raw_speech, Sequence):
            return [raw_speech]
        if len(raw_speech) and np.ndim(raw_speech[0]) == 0:
            return [raw_speech]
        return list(raw_speech)

    def _prepare(self, clip: np.ndarray | torch.Tensor | Sequence, index: int, sampling_rate: int) -> np.ndarray:
        """One clip -> (samples,) float32 at the extractor's rate."""
        if isinstance(clip, torch.Tensor):
            clip = clip.detach().cpu().numpy()
        samples = np.asarray(clip)
        if np.issubdtype(samples.dtype, np.integer):
            raise ValueError(
                f"clip {index} holds {samples.dtype} samples; expected floats in [-1, 1]: divide 16-bit audio by 32768"
            )
        if not np.issubdtype(samples.dtype, np.floating):
            raise ValueError(
                f"clip {index} is of {type(clip).__name__} and holds {samples.dtype}; expected float samples"
            )
        samples = samples.astype(np.float32, copy=False)
        if samples.size == 0:
            raise ValueError(f"clip {index} is empty (0 samples); expected at least one sample")
        if samples.ndim == 2 and min(samples.shape) <= MAX_CHANNELS:
            samples = samples.mean(axis=int(np.argmin(samples.shape)))
        if samples.ndim != 1:
            raise ValueError(
                f"clip {index} has shape {samples.shape}; expected (samples,), or (samples, channels) with at most "
                f"{MAX_CHANNELS} channels"
            )
        if not np.abs(samples).max() < LARGEST_SAMPLE:  # nor where one is NaN
            raise ValueError(f"clip {index} holds NaN, infinite or enormous samples; expected finite ones in [-1, 1]")
        if sampling_rate != self.sampling_rate:
            samples = _resample(samples, sampling_rate, self.sampling_rate)
        return samples

    def _spectra(self, clips: list[np.ndarray]) -> list[torch.Tensor]:
        """Normalised spectra (frames, feature_size) of the clips."""
        make = self.framer()
        # NumPy reflects over and over where the clip is shorter than the margin; torch refuses.
        return [make(torch.from_numpy(np.pad(clip, self.n_fft // 2, mode=self.pad_mode))) for clip in clips]

    def framer(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """
        What makes normalised features (frames, feature_size) of (samples,) at the extractor's rate: one frame of
        every whole window, none centred on what is beyond the ends.

        Raises:
            ValueError: `"fixed"` normalisation without its statistics.
        """
        if self.normalization == "fixed" and self.feature_mean is None:
            raise ValueError(
                "normalization is 'fixed', but feature_mean and feature_std have not been measured: "
                "deepspeech2.training.start does it, and recipes/finetune.py before it trains"
            )
        window = self._window() * self.audio_scale
        filters = self._mel_filters() if self.features == "mel" else None
        return lambda samples: self._normalise(self._spectrum(samples, window, filters))

    def _spectrum(self, samples: torch.Tensor, window: torch.Tensor, filters: torch.Tensor | None) -> torch.Tensor:
        # Clip by clip and in place: what a batch of spectra needs of fresh memory costs more than its arithmetic.
        frames = samples.unfold(0, self.n_fft, self.hop_length) * window
        parts = torch.view_as_real(torch.fft.rfft(frames))
        parts.mul_(parts)
        power = parts[..., 0] + parts[..., 1]
        if filters is None:
            return power.sqrt_().log1p_()
        return (power @ filters).clamp_(min=SMALLEST_MEL_POWER).log_()

    def _window(self) -> torch.Tensor:
        """(n_fft,), a Hamming window in the middle."""
        window = torch.hamming_window(self.win_length, periodic=self.window_periodic)
        before = (self.n_fft - self.win_length) // 2
        return torch.nn.functional.pad(window, (before, self.n_fft - self.win_length - before))

    def _mel_filters(self) -> torch.Tensor:
        """(n_fft // 2 + 1, feature_size)"""
        filters = mel_filter_bank(
            num_frequency_bins=self.n_fft // 2 + 1,
            num_mel_filters=self.feature_size,
            min_frequency=0.0,
            max_frequency=self.sampling_rate / 2,
            sampling_rate=self.sampling_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        return torch.from_numpy(filters.astype(np.float32))

    def _normalise(self, values: torch.Tensor) -> torch.Tensor:
        """(frames, feature_size), in place: less the mean, over the unbiased standard deviation."""
        if self.normalization == "fixed":
            mean, std = (torch.tensor(one, dtype=values.dtype) for one in (self.feature_mean, self.feature_std))
            return values.sub_(mean).div_(std.clamp_(min=SMALLEST_STD))
        dims = (0, 1) if self.normalization == "clip" else (0,)
        values -= values.mean(dims, keepdim=True)
        count = values.numel() if self.normalization == "clip" else values.shape[0]
        std = torch.linalg.vector_norm(values, dim=dims, keepdim=True) / max(count - 1, 1) ** 0.5
        return values.div_(std.clamp_(min=SMALLEST_STD))


def _resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    if from_rate <= 0:
        raise ValueError(f"sampling_rate is {from_rate}; expected a positive number of Hz")
    try:
        import librosa
    except ImportError as error:
        raise ImportError(
            f"the audio has {from_rate} Hz and the model expects {to_rate} Hz: install librosa (pip install librosa) "
            "to have it resampled here, or resample it first"
        ) from error
    return librosa.resample(samples, orig_sr=from_rate, target_sr=to_rate, res_type="soxr_hq")


__all__ = ["DeepSpeech2FeatureExtractor"]
