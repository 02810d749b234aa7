"""A model over a recording of any length: what it says of each frame, window by window, joined without a seam."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch

from .decoding import frame_times
from .modeling_deepspeech2 import DeepSpeech2ForCTC
from .processing_deepspeech2 import DeepSpeech2Processor
from .windows import Cutter, Window

PHRASE_S = 15.0
LEAST_S = 0.5  # shorter windows are filled up with silence: unpadded convolutions need some frames


@dataclass
class Listener:
    """
    A model that listens to recordings; its mode and device are left as they are.

    Args:
        model, processor: as loaded; the model in evaluation mode.
        batch_windows: how many windows, of up to 20 s, go through the model at once.
    """

    model: DeepSpeech2ForCTC
    processor: DeepSpeech2Processor
    batch_windows: int = 4
    duration_s: float = field(default=0.0, init=False)  # of the recording that was heard last
    left_out_s: float = field(default=0.0, init=False)  # of it silence, which the model did not hear

    def __post_init__(self) -> None:
        if self.batch_windows < 1:
            raise ValueError(f"batch_windows is {self.batch_windows}; expected 1 or more")

    @property
    def sampling_rate(self) -> int:
        return self.processor.feature_extractor.sampling_rate

    @property
    def blank(self) -> int:
        return self.model.config.pad_token_id

    @property
    def space(self) -> int:
        return self.processor.space_id

    @property
    def frame_s(self) -> float:
        """Seconds from one output frame to the next."""
        return frame_times(self.model, self.processor)[0]

    @property
    def first_frame_s(self) -> float:
        """The middle of output frame 0."""
        return frame_times(self.model, self.processor)[1]

    def span_s(self, start: int, end: int) -> tuple[float, float]:
        """Seconds of the frames from `start` to before `end`: each lasts half a step on both sides of its middle."""
        first_s = self.first_frame_s - self.frame_s / 2
        return max(first_s + start * self.frame_s, 0.0), first_s + end * self.frame_s

    def listen(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, torch.Tensor]]:
        """
        Args:
            blocks: float32 (samples,) one after another, at the model's rate.

        Yields:
            Of each window the index of its first frame in the recording and the log-probabilities (frames, V) on the
            CPU; in order, without overlap. Frames in between belong to long silences and are blank.
        """
        stride = self.model.config.inputs_to_logits_ratio
        cutter = Cutter(self.sampling_rate, stride)
        windows = cutter(blocks)
        while batch := list(islice(windows, self.batch_windows)):
            for window, log_probs in zip(batch, self._log_probs(batch), strict=True):
                skipped = (window.seam_start - window.start) // stride
                count = -(-(window.seam_end - window.seam_start) // stride)
                yield window.seam_start // stride, log_probs[skipped : skipped + count]
        self.duration_s = cutter.length / self.sampling_rate
        self.left_out_s = cutter.left_out / self.sampling_rate

    def phrases(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, torch.Tensor]]:
        """
        As `listen`, in stretches of 15 s or more from pause to pause, so that no word is in two of them. Where nobody
        pauses, they are as long as it takes; an hour of 40 ms frames and 29 symbols is 10 MB.
        """
        first, kept = 0, torch.zeros(0, self.model.config.vocab_size)
        for start, log_probs in self.listen(blocks):
            if start > first + len(kept):  # behind a silence that was left out
                yield first, kept
                first, kept = start, log_probs
            else:
                kept = torch.cat([kept, log_probs])
            if len(kept) * self.frame_s >= PHRASE_S and (cut := self._longest_pause(kept)):
                yield first, kept[:cut]
                first, kept = first + cut, kept[cut:]
        yield first, kept

    def _longest_pause(self, log_probs: torch.Tensor) -> int:
        """
        Behind the space in the longest stretch of blanks and spaces; 0 where there is none. Blanks alone prove no
        pause: a model may write a word's first letter long before the rest.
        """
        ids = log_probs.argmax(-1).numpy()
        edges = np.flatnonzero(np.diff(np.isin(ids, [self.blank, self.space]), prepend=False, append=False))
        pauses = [
            (end - start, start + 1 + int(np.argmax(ids[start:end] == self.space)))
            for start, end in zip(edges[::2], edges[1::2], strict=True)
            if self.space in ids[start:end]
        ]
        return int(max(pauses, default=(0, 0))[1])

    def whole(self, blocks: Iterable[np.ndarray]) -> torch.Tensor:
        """
        Log-probabilities (T, V) of all frames of a recording; silences that were left out are blank. An hour of 40 ms
        frames and 29 symbols is 10 MB.
        """
        pieces: list[torch.Tensor] = []
        place = 0
        for first, log_probs in self.listen(blocks):
            pieces += [self._blanks(first - place, log_probs), log_probs]
            place = first + len(log_probs)
        missing = round(self.duration_s / self.frame_s) - place
        like = pieces[-1] if pieces else torch.zeros(0, self.model.config.vocab_size)
        return torch.cat([*pieces, self._blanks(max(missing, 0), like)])

    def _blanks(self, count: int, like: torch.Tensor) -> torch.Tensor:
        """(count, V); not quite certain, so that a text that must be there can still be aligned."""
        rows = like.new_full((count, like.shape[1]), -20.0)
        rows[:, self.blank] = 0.0
        return rows

    @torch.inference_mode()
    def _log_probs(self, windows: list[Window]) -> list[torch.Tensor]:
        least = round(LEAST_S * self.sampling_rate)
        clips = [np.pad(window.samples, (0, max(least - len(window.samples), 0))) for window in windows]
        inputs = self.processor(clips, sampling_rate=self.sampling_rate, return_tensors="pt").to(self.model.device)
        outputs = self.model(inputs["input_features"], inputs["attention_mask"])
        log_probs = outputs.logits.float().log_softmax(-1).cpu()
        return [one[:length] for one, length in zip(log_probs, outputs.output_lengths.tolist(), strict=True)]
