"""Find the problems of checked utterances: each with its severity, its ids and advice."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...data.preparation import ASKED_FOR, MIN_DROPS
from ...evaluation.reports import Problem
from ...system.characters import describe_character, describe_counts

TRAINING, UNLABELLED = "training", "unlabelled"
CLIPPED_SHARE = 1e-3
RATE_FACTOR, RATE_DEVIATIONS, RATE_UTTERANCES = 2.5, 5, 20
ADVICE = {
    "nothing_usable": "no utterance of this split is usable: fix the problems listed below for it",
    "too_many_left_out": "training drops more than max_dropped_share of the split: fix the problems listed below, or "
    "raise the limit",
    "trained_on": "the training data also contains these utterances, so scores on them measure memory: remove them "
    "from one of the two splits",
    "also_unlabelled": "these are also in the unlabelled training data, so error rates on them are lower than on new "
    "speech",
    "outside_corpus": "a dataset or an audio folder may only name files inside itself: use a manifest for other files",
    "missing_file": "the recording does not exist: fix the path. Relative paths start at the folder of the list, or at "
    "audio_root; a path such as C:\\x.wav is of Windows",
    "undecodable": "libsndfile cannot read this audio (it reads WAV, FLAC, Ogg, MP3), or it is damaged: convert it or "
    "download it again",
    "truncated": "the file is cut off: download or copy it again",
    "empty_audio": "the recording has no samples, or too few for one at the model's rate: record it again or remove it",
    "absurd_header": "the header is damaged, or the recording is far too long: split it into utterances",
    "bad_span": "the list names a part of the file that is not there: correct its start, end, offset or duration",
    "not_finite": "the samples contain NaN or infinity: create the file again from its source",
    "silent": "the recording is silent: a wrong channel or a failed recording. Training drops it",
    "missing_text": "there is no transcript: add one, or remove the recording",
    "not_text": "the transcript is no string but a list, a number, true or an object: write the words as one string",
    "empty_text": "the transcript is empty after normalisation",
    "unknown_characters": "the vocabulary lacks these characters. Write them in other characters, or extend the "
    "vocabulary: new_characters transcripts for a checkpoint, characters '' for random weights. For punctuation, use "
    "removed_characters",
    "ctc_infeasible": "the transcript has more letters than the model has frames: it belongs to another recording",
    "too_short": "shorter than min_duration_s, so it is dropped",
    "too_long": "longer than max_duration_s, so it is dropped: split it into utterances, or raise the limit",
    "same_id": "several utterances share an id: give each its own, because the records refer to ids",
    "same_audio": "the same recording occurs more than once, so it counts twice in training or in a score",
    "same_id_in_training": "the training data has the same id with other audio and text: are these two utterances?",
    "speakers_in_training": "these speakers are in the training data, so error rates on them are lower than on new "
    "speakers: hold out whole speakers",
    "speaking_rate": "far more or fewer letters per second than usual: the transcript of another recording, a "
    "recording cut off, or a wrong sampling rate in the header",
    "low_rate": "recorded at a lower sampling rate than the model's: upsampling cannot restore the missing frequencies",
    "mixed_rates": "the recordings have several sampling rates. Each is resampled",
    "several_channels": "the channels are averaged: speech on one of two channels loses 6 dB, and speakers are mixed",
    "channels_cancel": "one channel is the inverse of another, so that their mean would be silent: one is taken. "
    "Repair the cable or plug for further recordings",
    "short_header": "the header gives a smaller size than the audio has: all of it is read. Save the file again",
    "wrong_header": "the header gives another length than the audio has: all of it is read. Save the file again",
    "joined": "several recordings follow each other in one file: all are read. Check that the transcript is of all",
    "cut_frame": "the file ends in the middle of a frame: it may be cut off. Compare it with its source",
    "damaged_frames": "parts of the file are damaged and were skipped: download or copy it again",
    "clipped": "the recording is clipped: samples at full scale",
    "unused_characters": "no usable transcript has these characters of the vocabulary, so the model cannot learn them",
}
FATAL = ("nothing_usable", "too_many_left_out", "trained_on")
NOTES = ("mixed_rates", "unused_characters")
HARMLESS = (*NOTES, "joined")


@dataclass(frozen=True)
class Checked:
    """
    A checked utterance. If it was dropped, `reason` and `detail` say why. `notes`: the name and detail of what is odd
    about a file that is read all the same.
    """

    id: str
    speaker_id: str
    text: str = ""
    duration_s: float = 0.0
    sampling_rate: int = 0
    channels: int = 0
    channels_cancel: bool = False
    notes: Sequence[tuple[str, str]] = ()
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
    Find the problems in every split and between splits, the worst first.

    Args:
        splits: the checked utterances of each. `TRAINING` and `UNLABELLED` were filtered as training does.
        vocabulary: the characters that the model can predict.
        sampling_rate: the sampling rate of the model, Hz.
        max_dropped_share: the largest share of a split that may be dropped. More is fatal, if it is at least ten.
        held_out_by_id: whether the split `held-out` shares its speakers with training by design.
        sampled: whether only a part of each split was read. If the limits of duration drop all of that part, the rest
            may still be usable.
    """
    problems = []
    for split, utterances in splits.items():
        found = _of_split(split, utterances, sampling_rate, max_dropped_share, sampled)
        if split == TRAINING:
            found["unused_characters"] = _unused(utterances, vocabulary)
        elif split != UNLABELLED:
            found |= _shared(utterances, splits.get(TRAINING, ()))
            taken = {one.digest: one for one in splits.get(UNLABELLED, ()) if one.digest}
            found["also_unlabelled"] = [
                (one.id, f"the samples of {taken[one.digest].id}") for one in utterances if one.digest in taken
            ]
        notes = (*HARMLESS, *(["speakers_in_training"] if held_out_by_id and split == "held-out" else []))
        problems += [
            Problem(
                "fatal" if name in FATAL else "note" if name in notes else "warning",
                name,
                split,
                # Entries of these problems are characters and rates, not utterances, so they have no share.
                len(entries) / len(utterances) if utterances and name not in NOTES else None,
                ADVICE[name],
                entries,
            )
            for name, entries in found.items()
            if entries
        ]
    order = ("fatal", "warning", "note")
    return sorted(problems, key=lambda problem: (order.index(problem.severity), -len(problem.entries)))


Entries = list[tuple[str, str]]  # id and detail of each utterance of a problem


def _of_split(
    split: str, utterances: Sequence[Checked], sampling_rate: int, max_share: float, sampled: bool
) -> dict[str, Entries]:
    found: dict[str, Entries] = defaultdict(list)
    for one in utterances:
        facts = {
            one.reason: one.detail,
            "silent": (one.silent or one.reason == "silent") and (one.detail or "no sound"),
            "unknown_characters": one.unknown and describe_counts(one.unknown),
            "low_rate": 0 < one.sampling_rate < sampling_rate and f"{one.sampling_rate} Hz",
            "several_channels": one.channels > 1 and not one.channels_cancel and f"{one.channels} channels",
            "channels_cancel": one.channels_cancel and f"{one.channels} channels",
            **dict(one.notes),
            "clipped": one.clipped and f"{CLIPPED_SHARE:.1%} of the samples or more",
        }
        for name, detail in facts.items():
            if name and detail:
                found[name].append((one.id, str(detail)))
    faults = [one for one in utterances if one.reason and one.reason not in ASKED_FOR]
    useless = [one for one in utterances if _is_useless(one, sampled)]
    if len(useless) == len(utterances):
        found["nothing_usable"] = [(one.id, one.reason or describe_counts(one.unknown or {})) for one in useless] or [
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
    """Return whether an utterance is dropped, or has a reference without any character that the model knows."""
    if one.reason:
        return not (sampled and one.reason in ASKED_FOR)
    return bool(one.unknown) and not set(one.text) - set(one.unknown or ()) - {" "}


def _shared(utterances: Sequence[Checked], training: Sequence[Checked]) -> dict[str, Entries]:
    """
    Find what a scored split shares with training.

    Utterances are the same if their samples match, or their id and text. An id alone may be just a number.
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
    """Find speaking rates far from the median: by a factor of at least 2.5 and five robust standard deviations."""
    spoken = [one for one in utterances if one.text and not one.reason]
    if len(spoken) < RATE_UTTERANCES:
        return []
    logs = np.log([len(one.text) / one.duration_s for one in spoken])
    away = np.abs(logs - np.median(logs))
    bound = max(math.log(RATE_FACTOR), RATE_DEVIATIONS * 1.4826 * float(np.median(away)))  # 1.4826 MAD: one sigma
    return [
        (spoken[place].id, f"{math.exp(logs[place]):.1f} letters per second, median {math.exp(np.median(logs)):.1f}")
        for place in np.argsort(-away)
        if away[place] > bound
    ]


def _unused(utterances: Sequence[Checked], vocabulary: Iterable[str]) -> Entries:
    used = set().union(*(one.text for one in utterances))
    return [(describe_character(character), "in no transcript") for character in vocabulary if character not in used]


def count_unknown(utterances: Iterable[Checked]) -> Counter[str]:
    """Count the characters that the vocabulary lacks."""
    counts: Counter[str] = Counter()
    for one in utterances:
        counts.update(one.unknown or {})
    return counts
