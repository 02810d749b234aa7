"""Forced alignment: the likeliest CTC path (A. Graves et al., 2006) that spells a known text, in hours of audio."""

from dataclasses import dataclass
from math import isqrt

import numpy as np

SKIP = 2  # move by two states; a step is 1, staying is 0
RENORMALISE_FRAMES = 64


@dataclass(frozen=True)
class Alignment:
    """
    Where each label of a text is.

    Args:
        starts, ends: (labels,) the first frame of each label, and the frame after its last.
        log_probs: (labels,) the mean log-probability of each label over its frames.
        score: the log-probability of the whole path, over all frames.
    """

    starts: np.ndarray
    ends: np.ndarray
    log_probs: np.ndarray
    score: float


class Infeasible(ValueError):
    """The text needs more frames than there are."""


def align(log_probs: np.ndarray, labels: np.ndarray, blank: int, free_ends: bool = False) -> Alignment:
    """
    Find the likeliest path by the Viterbi algorithm over T frames and 2 * labels + 1 states.

    All states of a frame are computed at once. Only the scores of every sqrt(T)-th frame are kept. The path is then
    found from the last stretch to the first, computing each stretch again. This takes twice the time, but memory of
    sqrt(T) * labels instead of T * labels.

    Args:
        log_probs: (T, V) float32.
        labels: (labels,) ids, at least one, without blanks.
        blank: the id of the blank.
        free_ends: whether other speech may come before and after the text. Such frames score as their likeliest symbol.
            After ctc-segmentation (L. Kürzinger et al., 2020), where only the start is free.

    Raises:
        Infeasible: T frames are too few. Each label takes one, and so does the blank between two equal labels.
    """
    labels = np.asarray(labels, np.int64)
    num_frames, num_states = len(log_probs), 2 * len(labels) + 1
    needed = len(labels) + int((labels[1:] == labels[:-1]).sum())
    if not len(labels) or num_frames < needed:
        raise Infeasible(f"{len(labels)} labels need at least {max(needed, 1)} frames, but there are {num_frames}")
    symbols = np.full(num_states, blank)
    symbols[1::2] = labels
    skippable = np.zeros(num_states, bool)  # a label that differs from the one before needs no blank
    skippable[3::2] = labels[1:] != labels[:-1]
    log_probs = np.asarray(log_probs, np.float32)
    edges = log_probs.max(axis=1) if free_ends else None

    def advance(scores: np.ndarray | None, frame: int, choices: np.ndarray | None = None) -> np.ndarray:
        """Return the scores (states,) after a frame from those before it, and store the best steps in `choices`."""
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
        if frame % RENORMALISE_FRAMES == 0:  # sums over hours would lose precision
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
    if edges is not None:  # at the edges, inside and outside a letter cost the same: count it as inside
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
