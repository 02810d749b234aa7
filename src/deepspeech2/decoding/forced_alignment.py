"""Forced alignment: the likeliest CTC path (A. Graves et al., 2006) that spells a known text, for hours of audio."""

from dataclasses import dataclass
from math import isqrt

import numpy as np

SKIP = 2  # states; a step is 1, staying 0
RENORMALISE_FRAMES = 64


@dataclass(frozen=True)
class Alignment:
    """
    Args:
        starts, ends: (labels,) the first frame of each label and the one after its last.
        log_probs: (labels,) the mean log-probability of each label over its frames.
        score: log-probability of the whole path, all frames.
    """

    starts: np.ndarray
    ends: np.ndarray
    log_probs: np.ndarray
    score: float


class Infeasible(ValueError):
    """A text that has more labels than there are frames for them."""


def align(log_probs: np.ndarray, labels: np.ndarray, blank: int, free_ends: bool = False) -> Alignment:
    """
    Viterbi over the trellis of T frames and 2 * labels + 1 states, all states of a frame at once. Only every sqrt(T)-th
    frame's scores are kept, and the path is found from the last stretch to the first by going through each again: twice
    the time for memory of sqrt(T) * labels instead of T * labels.

    Args:
        log_probs: (T, V) float32.
        labels: (labels,) ids, at least one, none of them the blank.
        blank: the blank's id.
        free_ends: the text may begin late and end early: anything may be said before and after it, at the price of
            each frame's likeliest symbol. After ctc-segmentation (L. Kürzinger et al., 2020), whose start is free.

    Raises:
        Infeasible: T frames cannot spell the labels: each takes one, and so does the blank between two equal ones.
    """
    labels = np.asarray(labels, np.int64)
    num_frames, num_states = len(log_probs), 2 * len(labels) + 1
    needed = len(labels) + int((labels[1:] == labels[:-1]).sum())
    if not len(labels) or num_frames < needed:
        raise Infeasible(f"{len(labels)} labels need {max(needed, 1)} frames; there are {num_frames}")
    symbols = np.full(num_states, blank)
    symbols[1::2] = labels
    skippable = np.zeros(num_states, bool)  # a label other than the one before it may follow without a blank
    skippable[3::2] = labels[1:] != labels[:-1]
    log_probs = np.asarray(log_probs, np.float32)
    edges = log_probs.max(axis=1) if free_ends else None

    def advance(scores: np.ndarray | None, frame: int, choices: np.ndarray | None = None) -> np.ndarray:
        """Scores (states,) after a frame from those before it; which step led to each is noted in `choices`."""
        emitted = log_probs[frame][symbols]
        if edges is not None:
            emitted[0] = emitted[-1] = edges[frame]
        if scores is None:
            emitted[2:] = -np.inf
            return emitted
        best = scores.copy()
        np.maximum(best[1:], scores[:-1], out=best[1:])
        skips = np.where(skippable[2:], scores[:-2], -np.inf)
        if choices is not None:
            choices[1:] = scores[:-1] > scores[1:]
            choices[2:][skips > best[2:]] = SKIP
        np.maximum(best[2:], skips, out=best[2:])
        best += emitted
        if frame % RENORMALISE_FRAMES == 0:  # sums over hours would lose their digits
            best -= best.max()
        return best

    stretch = isqrt(num_frames - 1) + 1
    kept: list[np.ndarray] = []
    scores = advance(None, 0)
    for frame in range(1, num_frames):
        if (frame - 1) % stretch == 0:
            kept.append(scores)
        scores = advance(scores, frame)
    state = num_states - 1 if scores[-1] >= scores[-2] else num_states - 2
    path = np.empty(num_frames, np.int64)
    for index in range(len(kept) - 1, -1, -1):
        frames = range(1 + index * stretch, min(1 + (index + 1) * stretch, num_frames))
        choices = np.zeros((len(frames), num_states), np.int8)
        scores = kept.pop()
        for row, frame in enumerate(frames):
            scores = advance(scores, frame, choices[row])
        for row in range(len(frames) - 1, -1, -1):
            path[frames[row]] = state
            state -= int(choices[row, state])
    path[0] = state
    return _alignment(path, log_probs, symbols, edges, len(labels))


def _alignment(
    path: np.ndarray, log_probs: np.ndarray, symbols: np.ndarray, edges: np.ndarray | None, num_labels: int
) -> Alignment:
    frames = np.arange(len(path))
    emitted = log_probs[frames, symbols[path]].astype(np.float64)
    if edges is not None:
        outside = (path == 0) | (path == len(symbols) - 1)
        emitted[outside] = edges[outside]
    of_label = np.flatnonzero(path % 2 == 1)
    index = path[of_label] // 2
    counts = np.bincount(index, minlength=num_labels)
    ends = np.searchsorted(index, np.arange(num_labels), side="right")
    starts, ends = of_label[ends - counts], of_label[ends - 1] + 1
    if edges is not None:  # inside and outside a letter at the edge cost the same: all of it is inside
        likeliest = log_probs.argmax(axis=1)
        while starts[0] and likeliest[starts[0] - 1] == symbols[1]:
            starts[0] -= 1
        while ends[-1] < len(likeliest) and likeliest[ends[-1]] == symbols[-2]:
            ends[-1] += 1
    return Alignment(
        starts=starts,
        ends=ends,
        log_probs=np.bincount(index, emitted[of_label], num_labels) / counts,
        score=float(emitted.sum()),
    )
