"""Edit operations between reference and hypothesis, from jiwer (minimum edit distance)."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jiwer

CONTRACT = """\
Texts are compared without normalisation. Only differences in white space are ignored. An empty hypothesis
deletes every word of its reference. An empty reference with n words in the hypothesis adds n insertions and no
reference words, so it raises the rate of the corpus. An empty reference with an empty hypothesis changes nothing. If
all references are empty, the rate is 0 without insertions and infinite with insertions (null in JSON). Scoring no
utterances is an error.
"""

Operation = Literal["hit", "substitution", "deletion", "insertion"]


class AlignedWord(NamedTuple):
    """One step of an alignment. `reference` is "" for an insertion, and `hypothesis` is "" for a deletion."""

    operation: Operation
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class Counts:
    """Edit operations on words or on characters (spaces are characters)."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """The error rate, errors / reference_length. Without a reference it is 0.0, or `inf` if there are errors."""
        if self.reference_length == 0:
            return math.inf if self.errors else 0.0
        return self.errors / self.reference_length

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def align_words(reference: str, hypothesis: str) -> tuple[Counts, tuple[AlignedWord, ...]]:
    output = jiwer.process_words(reference, hypothesis)
    words, predicted = output.references[0], output.hypotheses[0]
    steps: list[AlignedWord] = []
    for chunk in output.alignments[0]:
        left = words[chunk.ref_start_idx : chunk.ref_end_idx]
        right = predicted[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "delete":
            steps += [AlignedWord("deletion", word, "") for word in left]
        elif chunk.type == "insert":
            steps += [AlignedWord("insertion", "", word) for word in right]
        else:
            operation: Operation = "hit" if chunk.type == "equal" else "substitution"
            steps += [AlignedWord(operation, *pair) for pair in zip(left, right, strict=True)]
    return _counts(output), tuple(steps)


def count_characters(reference: str, hypothesis: str) -> Counts:
    return _counts(jiwer.process_characters(reference, hypothesis))


def _counts(output: jiwer.WordOutput | jiwer.CharacterOutput) -> Counts:
    return Counts(output.hits, output.substitutions, output.deletions, output.insertions)
