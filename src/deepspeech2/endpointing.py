"""Where an utterance ends in a stream of log-probabilities: pauses by the model's blanks, and by the sound."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FLOOR_S = 10.0  # the noise is as loud as the quietest moment of so long
LEAST_DB = -60.0  # below full scale: nothing fainter is noise, where a file has digital silence
LOUD_DB = 12.0  # above the noise
LOUD_COUNTS = 0.5  # a loud blank frame, of a quiet one


@dataclass(frozen=True)
class Utterance:
    """
    Args:
        start_s, end_s: what `log_probs` spans, in the stream.
        spoken_s: from the first symbol's frame to the end of the last one's, in the stream.
        log_probs: (t, V), with the silence around that was heard.
    """

    start_s: float
    end_s: float
    spoken_s: tuple[float, float]
    log_probs: np.ndarray


class Endpointer:
    """
    Finds utterances. One begins with a symbol that is neither blank nor space, and ends with a run of frames that are;
    before the first symbol nothing is kept but the last `lead_s`.

    Args:
        blank, space: ids.
        frame_s: seconds from one frame to the next.
        first_frame_s: the middle of frame 0.
        silence_s: of blanks and spaces that end an utterance.
        longest_s: an utterance without a pause is ended at its longest one in the second half.
        lead_s: what is kept before the first symbol.

    Raises:
        ValueError: durations that leave no frame, or no room for a pause.
    """

    def __init__(
        self,
        blank: int,
        space: int,
        frame_s: float,
        first_frame_s: float = 0.0,
        *,
        silence_s: float = 0.5,
        longest_s: float = 15.0,
        lead_s: float = 0.4,
    ) -> None:
        if silence_s < frame_s or lead_s < 0 or longest_s < 2 * (silence_s + lead_s):
            raise ValueError(
                f"silence_s is {silence_s}, lead_s {lead_s}, longest_s {longest_s}; expected a silence of at least a "
                f"frame of {frame_s} s, and a longest utterance of at least twice silence and lead together"
            )
        self.quiet_ids, self.frame_s, self.first_s = (blank, space), frame_s, first_frame_s - frame_s / 2
        self.silence, self.lead = silence_s / frame_s, round(lead_s / frame_s)
        self.longest = round(longest_s / frame_s)
        self.reset()

    def reset(self) -> None:
        """The next frame is frame 0."""
        self._rows: list[np.ndarray] = []  # of the utterance, or of the lead before it
        self._spoken: list[bool] = []
        self._start = 0  # frame of the first row
        self._run = 0.0  # quiet frames since the last symbol
        self._floor: deque[float] = deque(maxlen=round(FLOOR_S / self.frame_s))

    def push(self, log_probs: np.ndarray, levels_db: np.ndarray | None = None) -> Iterator[Utterance]:
        """
        Args:
            log_probs: (t, V), the next frames.
            levels_db: (t,) loudness of each. With it a blank frame that is louder than the noise by 12 dB counts half:
                somebody still speaks. The noise is the quietest frame of the last 10 s.

        Yields:
            Utterances that these frames end.
        """
        for place, row in enumerate(log_probs):
            loud = levels_db is not None and self._is_loud(float(levels_db[place]))
            spoken = int(row.argmax()) not in self.quiet_ids
            self._rows.append(row)
            self._spoken.append(spoken)
            self._run = 0.0 if spoken else self._run + (LOUD_COUNTS if loud else 1.0)
            if not any(self._spoken):
                self._drop(len(self._rows) - self.lead)
            elif self._run >= self.silence - 1e-6:
                yield self._end(len(self._rows))
            elif len(self._rows) >= self.longest:
                yield self._end(self._longest_pause())

    def finish(self) -> Iterator[Utterance]:
        """The last utterance, if one has begun; the next frame is frame 0 of another stream."""
        if any(self._spoken):
            yield self._end(len(self._rows))
        self.reset()

    def _is_loud(self, level_db: float) -> bool:
        self._floor.append(level_db)
        return level_db > max(min(self._floor), LEAST_DB) + LOUD_DB

    def _end(self, count: int) -> Utterance:
        symbols = np.flatnonzero(self._spoken[:count])
        log_probs = np.stack(self._rows[:count])
        spoken_s = (self._time_s(int(symbols[0])), self._time_s(int(symbols[-1]) + 1))
        found = Utterance(self._time_s(0), self._time_s(count), spoken_s, log_probs)
        self._drop(count)
        if not any(self._spoken):
            self._drop(len(self._rows) - self.lead)
        return found

    def _longest_pause(self) -> int:
        """Its middle; all frames where there is none."""
        half = len(self._spoken) // 2
        best, start = (0, len(self._spoken)), half
        for place in range(half, len(self._spoken) + 1):
            if place == len(self._spoken) or self._spoken[place]:
                best = max(best, (place - start, (start + place + 1) // 2)) if place > start else best
                start = place + 1
        return best[1]

    def _drop(self, count: int) -> None:
        if count > 0:
            self._rows, self._spoken = self._rows[count:], self._spoken[count:]
            self._start += count

    def _time_s(self, row: int) -> float:
        return max(self.first_s + (self._start + row) * self.frame_s, 0.0)
