"""What is wrong with utterances that were looked at: each problem with its weight, its ids and what to do."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...data.preparation import ASKED_FOR, MIN_DROPS
from ...evaluation.reports import Problem

TRAINING, UNLABELLED = "training", "unlabelled"
CLIPPED_SHARE = 1e-3
RATE_FACTOR, RATE_DEVIATIONS, RATE_UTTERANCES = 2.5, 5, 20
ADVICE = {
    "nothing_usable": "mend what is listed below for this split; nothing is left of it",
    "too_many_left_out": "more than max_dropped_share of the split: mend what is listed below, or raise it",
    "trained_on": "scores on these tell how well the model remembers: take them out of one of the two splits",
    "heard_unlabelled": "these are trained on without their transcripts: rates on them are lower than on new speech",
    "outside_corpus": "a dataset or an audio folder names files of its own; for others, give a manifest",
    "missing_file": "no such recording: mend the path; relative ones start at the manifest",
    "undecodable": "no audio that libsndfile reads (WAV, FLAC, Ogg, MP3): convert or fetch it again",
    "truncated": "cut off: fetch or copy it again",
    "empty_audio": "no samples: record it again or take it out",
    "absurd_header": "a damaged header, or a recording that is to be cut into utterances",
    "not_finite": "NaN or infinite samples: write it again from its source",
    "silent": "there is no sound: a wrong channel or a failed recording; training leaves it out",
    "missing_text": "no transcript: give one, or take it out",
    "empty_text": "nothing is left of the transcript after normalisation",
    "unknown_characters": "the vocabulary lacks characters: spell them out, or give a checkpoint those of the "
    "transcripts by new_characters transcripts, random weights by characters ''; or removed_characters, for marks",
    "ctc_infeasible": "the transcript has more letters than the model has frames: it belongs to another recording",
    "too_short": "below min_duration_s: left out",
    "too_long": "above max_duration_s: left out; cut it into utterances, or raise the bound",
    "same_id": "ids tell utterances apart in the records: give each its own",
    "same_audio": "the same recording again counts twice in training, or in a score",
    "same_id_in_training": "an id of the training data with other audio and text: are they really two utterances?",
    "speakers_in_training": "rates on speakers of the training speech are lower than on new ones: hold speakers out",
    "speaking_rate": "far more or fewer letters a second than the others: a transcript of another recording, a "
    "recording cut off, or a wrong rate in the header",
    "low_rate": "recorded at a lower rate than the model's: upsampling does not bring back what is missing",
    "mixed_rates": "recordings of several rates; each is resampled",
    "several_channels": "channels are averaged: speech on one of two loses 6 dB, two speakers are mixed",
    "clipped": "samples at full scale: recorded too loud",
    "unused_characters": "characters of the vocabulary that no usable transcript has: the model will not learn them",
}
FATAL = ("nothing_usable", "too_many_left_out", "trained_on")
NOTES = ("mixed_rates", "unused_characters")


@dataclass(frozen=True)
class Checked:
    """An utterance that was looked at; of one that is left out, `reason` and `detail` say why."""

    id: str
    speaker_id: str
    text: str = ""
    duration_s: float = 0.0
    sampling_rate: int = 0
    channels: int = 0
    silent: bool = False
    clipped: bool = False
    digest: bytes = b""
    reason: str = ""
    detail: str = ""
    unknown: Mapping[str, int] | None = None


Splits = Mapping[str, Sequence[Checked]]


def find_problems(
    splits: Splits,
    vocabulary: Iterable[str],
    sampling_rate: int,
    max_dropped_share: float,
    *,
    held_out_by_id: bool,
    sampled: bool,
) -> list[Problem]:
    """
    The problems of every split and between them, the worst first.

    Args:
        splits: what was read of each; those called `TRAINING` and `UNLABELLED` were filtered as training does.
        vocabulary: the characters that the model can write.
        sampling_rate: the model's, Hz.
        max_dropped_share: of a split; above it, and with ten at least, what is left out is fatal.
        held_out_by_id: whether the split `held-out` shares its speakers with training by design.
        sampled: that bounds of duration leave out all that was read is then no proof for the rest.
    """
    problems = []
    for split, utterances in splits.items():
        found = _of_split(split, utterances, sampling_rate, max_dropped_share, sampled)
        if split == TRAINING:
            found["unused_characters"] = _unused(utterances, vocabulary)
        elif split != UNLABELLED:
            found |= _shared(utterances, splits.get(TRAINING, ()))
            taken = {one.digest: one for one in splits.get(UNLABELLED, ()) if one.digest}
            found["heard_unlabelled"] = [
                (one.id, f"the samples of {taken[one.digest].id}") for one in utterances if one.digest in taken
            ]
        notes = (*NOTES, *(["speakers_in_training"] if held_out_by_id and split == "held-out" else []))
        problems += [
            Problem(
                "fatal" if name in FATAL else "note" if name in notes else "warning",
                name,
                split,
                # Characters and rates are no part of the utterances.
                len(entries) / len(utterances) if utterances and name not in NOTES else None,
                ADVICE[name],
                entries,
            )
            for name, entries in found.items()
            if entries
        ]
    order = ("fatal", "warning", "note")
    return sorted(problems, key=lambda problem: (order.index(problem.severity), -len(problem.entries)))


Entries = list[tuple[str, str]]  # of a problem: id and detail


def _of_split(
    split: str, utterances: Sequence[Checked], sampling_rate: int, max_share: float, sampled: bool
) -> dict[str, Entries]:
    found: dict[str, Entries] = defaultdict(list)
    for one in utterances:
        facts = {
            one.reason: one.detail,
            "silent": (one.silent or one.reason == "silent") and (one.detail or "no sound"),
            "unknown_characters": one.unknown and _counts(one.unknown),
            "low_rate": 0 < one.sampling_rate < sampling_rate and f"{one.sampling_rate} Hz",
            "several_channels": one.channels > 1 and f"{one.channels} channels",
            "clipped": one.clipped and f"{CLIPPED_SHARE:.1%} of the samples or more",
        }
        for name, detail in facts.items():
            if name and detail:
                found[name].append((one.id, str(detail)))
    faults = [one for one in utterances if one.reason and one.reason not in ASKED_FOR]
    useless = [one for one in utterances if _is_useless(one, sampled)]
    if len(useless) == len(utterances):
        found["nothing_usable"] = [(one.id, one.reason or _counts(one.unknown or {})) for one in useless] or [
            (split, "")
        ]
    elif len(faults) > max_share * len(utterances) and len(faults) >= MIN_DROPS:
        found["too_many_left_out"] = [(one.id, f"{one.reason}: {one.detail}") for one in faults]
    rates = Counter(one.sampling_rate for one in utterances if one.sampling_rate)
    if len(rates) > 1:
        found["mixed_rates"] = [(f"{rate} Hz", f"{count} recordings") for rate, count in rates.most_common()]
    for name, key in (("same_id", "id"), ("same_audio", "digest")):
        first: dict[str | bytes, Checked] = {}
        for one in utterances:
            if getattr(one, key) and (before := first.setdefault(getattr(one, key), one)) is not one:
                found[name].append((one.id, f"as {before.id}"))
    found["speaking_rate"] = _odd_rates(utterances)
    return found


def _is_useless(one: Checked, sampled: bool) -> bool:
    """Left out, or with a reference of which the model can write no character."""
    if one.reason:
        return not (sampled and one.reason in ASKED_FOR)
    return bool(one.unknown) and not set(one.text) - set(one.unknown or ()) - {" "}


def _shared(utterances: Sequence[Checked], training: Sequence[Checked]) -> dict[str, Entries]:
    """
    What a scored split has in common with training: an utterance is the same by its samples, or by its id and its
    text. An id alone may be no more than a number.
    """
    by_digest = {one.digest: one for one in training if one.digest}
    by_id = {one.id: one for one in training if not one.reason}
    speakers = Counter(one.speaker_id for one in training if one.speaker_id)
    found: dict[str, Entries] = defaultdict(list)
    for one in utterances:
        if same := by_digest.get(one.digest):
            found["trained_on"].append((one.id, f"the samples of {same.id}"))
        elif (same := by_id.get(one.id)) and not one.reason:
            name = "trained_on" if same.text == one.text else "same_id_in_training"
            found[name].append((one.id, f"{one.text!r}, and in training {same.text!r}"))
        if one.speaker_id in speakers:
            found["speakers_in_training"].append((one.id, f"speaker {one.speaker_id}"))
    return found


def _odd_rates(utterances: Sequence[Checked]) -> Entries:
    """Letters a second far from the median, in factors: at least 2.5 and five robust standard deviations."""
    spoken = [one for one in utterances if one.text and not one.reason]
    if len(spoken) < RATE_UTTERANCES:
        return []
    logs = np.log([len(one.text) / one.duration_s for one in spoken])
    away = np.abs(logs - np.median(logs))
    bound = max(math.log(RATE_FACTOR), RATE_DEVIATIONS * 1.4826 * float(np.median(away)))  # 1.4826 MAD: one sigma
    return [
        (spoken[place].id, f"{math.exp(logs[place]):.1f} letters a second, median {math.exp(np.median(logs)):.1f}")
        for place in np.argsort(-away)
        if away[place] > bound
    ]


def _unused(utterances: Sequence[Checked], vocabulary: Iterable[str]) -> Entries:
    used = set().union(*(one.text for one in utterances))
    return [(repr(character), "in no transcript") for character in vocabulary if character not in used]


def count_unknown(utterances: Iterable[Checked]) -> Counter[str]:
    """How often each character that the vocabulary lacks is found."""
    counts: Counter[str] = Counter()
    for one in utterances:
        counts.update(one.unknown or {})
    return counts


def _counts(characters: Mapping[str, int]) -> str:
    return ", ".join(f"{character!r} x{count}" for character, count in characters.items())
