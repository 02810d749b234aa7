"""Waveforms to normalised spectrograms: the linear ones of every deepspeech.pytorch version, and log-mel."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.audio_utils import hertz_to_mel, mel_filter_bank, mel_to_hertz
from transformers.utils import TensorType

MAX_CHANNELS = 8
LARGEST_SAMPLE = 1e9  # squares of sums of larger ones overflow
SMALLEST_STD = 1e-5  # the features of a silent clip, with standard deviation 0, become zeros, not NaN
SMALLEST_MEL_POWER = 1e-6  # about -60 dB below a full-scale tone's power in one bin


class DeepSpeech2FeatureExtractor(SequenceFeatureExtractor):
    r"""
    Compute normalised short-time spectra. Frames are centred, so a clip has `num_samples // hop_length + 1` of them.

    Args:
        feature_size (`int`): bins per frame: `n_fft // 2 + 1` for a linear spectrogram, or the number of mel bins.
        sampling_rate (`int`): sampling rate in Hz.
        n_fft, win_length, hop_length (`int`): sizes of the FFT, the window and the step, in samples.
        features (`str`): `"linear"` for log(1 + magnitude) as in deepspeech.pytorch, or `"mel"` for log mel power.
        normalization (`str`): which mean and unbiased standard deviation normalise the features. `"clip"`: those of
            the whole clip, as in deepspeech.pytorch. `"bin"`: those of each bin of the clip. `"fixed"`: those of each
            bin over the training speech. Only `"fixed"` works for a stream, because it does not need the whole clip.
        feature_mean, feature_std (`list[float]`): (feature_size,) statistics of `"fixed"`, measured over the training
            speech. Without them `"fixed"` raises an error when features are computed.
        window_periodic (`bool`): whether the Hamming window is periodic rather than symmetric.
        pad_mode (`str`): `"reflect"` or `"constant"` (zeros) beyond the ends of the clip.
        audio_scale (`float`): factor from samples in [-1, 1] to the scale that the checkpoint was trained on.
        return_attention_mask (`bool`): whether to return a mask that is 1 on real frames.

    Raises:
        ValueError: an option has an unknown value, or the sizes contradict each other.
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
            raise ValueError(f"padding_side is {self.padding_side!r}; the model expects padding on the right")
        if win_length > n_fft:
            raise ValueError(f"win_length is {win_length}; expected at most n_fft {n_fft}")
        statistics = [feature_mean, feature_std]
        if normalization != "fixed" and statistics != [None, None]:
            raise ValueError(
                f"feature_mean and feature_std need normalization 'fixed', but it is {normalization!r}; leave them out"
            )
        sizes = [0 if one is None else len(one) for one in statistics]
        if sizes not in ([0, 0], [feature_size, feature_size]) or min(feature_std or [1.0]) <= 0:
            raise ValueError(
                f"feature_mean and feature_std have {sizes[0]} and {sizes[1]} numbers; expected {feature_size} "
                "(feature_size) in each, and standard deviations above 0"
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
        """Return the number of frames of a clip of `num_samples` samples."""
        return num_samples // self.hop_length + 1

    @property
    def bin_frequencies_hz(self) -> np.ndarray:
        """The centre frequency of each bin in Hz, (feature_size,)."""
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
        Return the features of one clip or several.

        Args:
            raw_speech: one clip or a list of clips, with samples in [-1, 1]. Each has the shape (samples,), or
                (samples, channels) or (channels, samples) with at most 8 channels, which are averaged. A 2-D array
                outside a list is a batch (clips, samples), unless it is (samples, channels) with at most 8 channels.
            sampling_rate: sampling rate of `raw_speech` in Hz. It is required, because an array does not hold it.
                soxr resamples audio that has another rate than the extractor.
            padding, max_length, truncation, pad_to_multiple_of: as in `SequenceFeatureExtractor.pad`, in frames.

        Returns:
            `input_features` (batch, frames, feature_size) float32, zero in the padding, and `attention_mask`
            (batch, frames) int32.

        Raises:
            ValueError: the rate is missing, a clip is empty, samples are integers or not finite, or an array has more
                than two dimensions.
        """
        if sampling_rate is None:
            raise ValueError(
                "sampling_rate is missing: an array does not hold its sampling rate. Pass sampling_rate=<Hz of your "
                f"audio>. The model expects {self.sampling_rate} Hz, and other rates are resampled to it."
            )
        clips = [self._prepare(clip, index, sampling_rate) for index, clip in enumerate(self._as_clips(raw_speech))]
        if not clips:
            raise ValueError("raw_speech is empty; expected at least one clip")
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
        """Return one clip as (samples,) float32 at the extractor's rate."""
        if isinstance(clip, torch.Tensor):
            clip = clip.detach().cpu().numpy()
        samples = np.asarray(clip)
        if np.issubdtype(samples.dtype, np.integer):
            raise ValueError(
                f"clip {index} has {samples.dtype} samples; expected floats in [-1, 1]: divide 16-bit audio by 32768"
            )
        if not np.issubdtype(samples.dtype, np.floating):
            raise ValueError(
                f"clip {index} is a {type(clip).__name__} of {samples.dtype}; expected an array of float samples"
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
        if not np.abs(samples).max() < LARGEST_SAMPLE:  # also true for NaN
            raise ValueError(f"clip {index} has NaN, infinite or huge samples; expected finite samples in [-1, 1]")
        if sampling_rate != self.sampling_rate:
            samples = _resample(samples, sampling_rate, self.sampling_rate)
        return samples

    def _spectra(self, clips: list[np.ndarray]) -> list[torch.Tensor]:
        """Return the normalised spectra (frames, feature_size) of the clips."""
        make = self.framer()
        # If a clip is shorter than the margin, NumPy reflects it repeatedly. torch raises an error.
        return [make(torch.from_numpy(np.pad(clip, self.n_fft // 2, mode=self.pad_mode))) for clip in clips]

    def framer(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """
        Return a function from (samples,) at the extractor's rate to normalised features (frames, feature_size). It
        makes one frame for every full window and does not pad the ends.

        Raises:
            ValueError: the normalisation is `"fixed"` and its statistics are missing.
        """
        if self.normalization == "fixed" and self.feature_mean is None:
            raise ValueError(
                "normalization is 'fixed', but feature_mean and feature_std have not been measured: "
                "recipes/finetune.py measures them before training (in code: deepspeech2.training.start)"
            )
        window = self._window() * self.audio_scale
        filters = self._mel_filters() if self.features == "mel" else None
        return lambda samples: self._normalise(self._spectrum(samples, window, filters))

    def _spectrum(self, samples: torch.Tensor, window: torch.Tensor, filters: torch.Tensor | None) -> torch.Tensor:
        # Clip by clip and in place: allocating memory for a batch of spectra takes longer than computing them.
        frames = samples.unfold(0, self.n_fft, self.hop_length) * window
        parts = torch.view_as_real(torch.fft.rfft(frames))
        parts.mul_(parts)
        power = parts[..., 0] + parts[..., 1]
        if filters is None:
            return power.sqrt_().log1p_()
        return (power @ filters).clamp_(min=SMALLEST_MEL_POWER).log_()

    def _window(self) -> torch.Tensor:
        """Return (n_fft,) with a Hamming window in the middle."""
        window = torch.hamming_window(self.win_length, periodic=self.window_periodic)
        before = (self.n_fft - self.win_length) // 2
        return torch.nn.functional.pad(window, (before, self.n_fft - self.win_length - before))

    def _mel_filters(self) -> torch.Tensor:
        """Return the mel filter bank, (n_fft // 2 + 1, feature_size)."""
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
        """Subtract the mean from (frames, feature_size) and divide by the unbiased standard deviation, in place."""
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
        import soxr
    except ImportError as error:
        raise ImportError(
            f"the audio has {from_rate} Hz, but the model expects {to_rate} Hz. Install soxr for resampling "
            "(pip install soxr), or resample the audio first"
        ) from error
    return soxr.resample(samples, from_rate, to_rate)


__all__ = ["DeepSpeech2FeatureExtractor"]
