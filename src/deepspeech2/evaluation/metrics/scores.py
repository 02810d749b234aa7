"""Word and character error rates of a corpus, with confidence intervals over its speakers.

`score` aligns every utterance once and returns `Scores`, from which everything else is derived. The rules for empty
texts are in `edit_alignment.CONTRACT`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .bootstrap import BOOTSTRAP_SAMPLES, Interval, Unit, clusters_of, percentile_interval, rates, resample
from .edit_alignment import AlignedWord, Counts, align_words, count_characters

FEW = 20  # utterances


@dataclass(frozen=True)
class Utterance:
    """Reference and hypothesis, normalised with the same function. An unknown `speaker_id` is ""."""

    id: str
    speaker_id: str
    duration_s: float
    reference: str
    hypothesis: str


class _Rates:
    words: Counts
    characters: Counts

    @property
    def wer(self) -> float:
        return self.words.rate

    @property
    def cer(self) -> float:
        return self.characters.rate


@dataclass(frozen=True)
class ScoredUtterance(_Rates, Utterance):
    words: Counts
    characters: Counts
    alignment: tuple[AlignedWord, ...]

    def error_sums(self) -> tuple[int, int, int, int]:
        """Return word errors, reference words, character errors and reference characters, which a resample sums."""
        words, characters = self.words, self.characters
        return words.errors, words.reference_length, characters.errors, characters.reference_length

    def to_dict(self) -> dict[str, Any]:
        """Return a row for JSON: the texts, the rates and the counts, without the alignment."""
        return {
            "id": self.id,
            "speaker_id": self.speaker_id,
            "duration_s": self.duration_s,
            "reference": self.reference,
            "hypothesis": self.hypothesis,
            "wer": finite(self.wer),
            "cer": finite(self.cer),
            **asdict(self.words),
        }


@dataclass(frozen=True)
class Group(_Rates):
    """The utterances that share one value of a column."""

    num_utterances: int
    audio_s: float
    words: Counts
    characters: Counts

    def to_dict(self) -> dict[str, Any]:
        rates = {"wer": finite(self.wer), "cer": finite(self.cer)}
        return rates | asdict(self.words) | {"num_utterances": self.num_utterances, "audio_s": self.audio_s}


@dataclass(frozen=True)
class Scores(_Rates):
    """Error rates of a corpus, as fractions.

    `wer_interval` and `cer_interval` are 95 % percentile bootstrap intervals over `resampled_by`: "speaker", or
    "utterance" if fewer than two speakers are known or an utterance has no speaker. With one utterance or
    `bootstrap_samples=0` they are `None`, and `resampled_by` is "nothing". `groups` maps a column, then a value, to a
    `Group`. The column "speaker" exists if all speakers are known.
    """

    utterances: tuple[ScoredUtterance, ...]
    words: Counts
    characters: Counts
    wer_interval: Interval | None
    cer_interval: Interval | None
    resampled_by: Unit
    bootstrap_samples: int
    groups: dict[str, dict[str, Group]]

    @property
    def hits(self) -> int:
        return self.words.hits

    @property
    def substitutions(self) -> int:
        return self.words.substitutions

    @property
    def deletions(self) -> int:
        return self.words.deletions

    @property
    def insertions(self) -> int:
        return self.words.insertions

    @property
    def num_utterances(self) -> int:
        return len(self.utterances)

    @property
    def num_words(self) -> int:
        return self.words.reference_length

    @property
    def num_characters(self) -> int:
        return self.characters.reference_length

    @property
    def num_speakers(self) -> int:
        """The number of different known speakers."""
        return len({utterance.speaker_id for utterance in self.utterances} - {""})

    @property
    def audio_s(self) -> float:
        return math.fsum(utterance.duration_s for utterance in self.utterances)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for JSON, without the utterances. An infinite rate becomes `None`."""
        return {
            "wer": finite(self.wer),
            "wer_interval": finite_interval(self.wer_interval),
            "cer": finite(self.cer),
            "cer_interval": finite_interval(self.cer_interval),
            **asdict(self.words),
            "num_words": self.num_words,
            "num_characters": self.num_characters,
            "num_utterances": self.num_utterances,
            "num_speakers": self.num_speakers,
            "audio_s": self.audio_s,
            "resampled_by": self.resampled_by,
            "bootstrap_samples": self.bootstrap_samples,
            "groups": {
                column: {value: group.to_dict() for value, group in values.items()}
                for column, values in self.groups.items()
            },
        }

    def summary(self) -> str:
        """Return one line for a log."""
        speakers = f"{self.num_speakers} speakers" if self.num_speakers else "no speaker ids"
        parts = [
            f"WER {_percent(self.wer, self.wer_interval)}",
            f"CER {_percent(self.cer, self.cer_interval)}",
            f"{self.num_words} words: {self.substitutions} substituted, {self.deletions} deleted,"
            f" {self.insertions} inserted",
            f"{self.num_utterances} utterances, {speakers}, {self.audio_s / 60:.1f} min",
        ]
        if self.wer_interval:
            parts.append(f"95 % intervals by {self.resampled_by}")
        if self.num_utterances < FEW:
            parts.append("too few utterances for a reliable score, whatever the interval")
        return " · ".join(parts)


def score(
    utterances: Sequence[Utterance],
    *,
    bootstrap_samples: int = BOOTSTRAP_SAMPLES,
    seed: int = 0,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Scores:
    """Score a corpus.

    Args:
        utterances: at least one. `edit_alignment.CONTRACT` gives the rules for empty texts.
        bootstrap_samples: number of resamples for the intervals; 0 computes no intervals.
        seed: the seed of the resampling. The same seed gives the same intervals.
        groups: column name -> one value per utterance, in the order of `utterances`.

    Raises:
        ValueError: there are no utterances, or a column has another length.
    """
    if not utterances:
        raise ValueError("There are no utterances to score. Check the name of the split and what the filters dropped.")
    columns = {name: [str(value) for value in values] for name, values in (groups or {}).items()}
    for name, values in columns.items():
        if len(values) != len(utterances):
            raise ValueError(
                f"The group column {name!r} has {len(values)} values for {len(utterances)} utterances;"
                " expected one value per utterance, in the same order."
            )
    scored = tuple(_score_one(utterance) for utterance in utterances)
    speakers = [utterance.speaker_id for utterance in scored]
    if all(speakers):
        columns.setdefault("speaker", speakers)

    unit, clusters = clusters_of(speakers)
    if bootstrap_samples == 0:
        unit = "nothing"
    wer_interval = cer_interval = None
    if unit != "nothing":
        sums = np.array([utterance.error_sums() for utterance in scored])
        drawn = resample(sums, clusters, bootstrap_samples, seed).T
        wer_interval = percentile_interval(rates(drawn[0], drawn[1]))
        cer_interval = percentile_interval(rates(drawn[2], drawn[3]))
    return Scores(
        utterances=scored,
        words=sum((utterance.words for utterance in scored), Counts()),
        characters=sum((utterance.characters for utterance in scored), Counts()),
        wer_interval=wer_interval,
        cer_interval=cer_interval,
        resampled_by=unit,
        bootstrap_samples=bootstrap_samples if unit != "nothing" else 0,
        groups={name: _group(scored, values) for name, values in columns.items()},
    )


def _score_one(utterance: Utterance) -> ScoredUtterance:
    reference, hypothesis = " ".join(utterance.reference.split()), " ".join(utterance.hypothesis.split())
    words, alignment = align_words(reference, hypothesis)
    return ScoredUtterance(
        id=utterance.id,
        speaker_id=utterance.speaker_id,
        duration_s=utterance.duration_s,
        reference=reference,
        hypothesis=hypothesis,
        words=words,
        characters=count_characters(reference, hypothesis),
        alignment=alignment,
    )


def _group(utterances: Sequence[ScoredUtterance], values: Sequence[str]) -> dict[str, Group]:
    members: dict[str, list[ScoredUtterance]] = {}
    for utterance, value in zip(utterances, values, strict=True):
        members.setdefault(value, []).append(utterance)
    return {
        value: Group(
            num_utterances=len(rows),
            audio_s=math.fsum(row.duration_s for row in rows),
            words=sum((row.words for row in rows), Counts()),
            characters=sum((row.characters for row in rows), Counts()),
        )
        for value, rows in sorted(members.items())
    }


def finite(rate: float) -> float | None:
    """Return the rate, or None if it is infinite, because JSON has no infinity."""
    return rate if math.isfinite(rate) else None


def finite_interval(interval: Interval | None) -> list[float | None] | None:
    return [finite(bound) for bound in interval] if interval else None


def _percent(rate: float, interval: Interval | None) -> str:
    bounds = f" ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})" if interval else ""
    return f"{100 * rate:.2f} %{bounds}"
