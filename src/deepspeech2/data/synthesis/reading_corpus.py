"""Synthetic read speech from plain text, with many speakers and varied sentences.

>>> sentences = read_sentences([Path("book.txt")], np.random.default_rng(0))
>>> synthesize_reading(Path("data/reading"), sentences, minutes_train=600)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...system.files import read_plain_text
from .corpus_writer import Clip, Description, Speaking, check_amounts, estimate_duration_s, name_speakers, write_corpus
from .voices import CREDIT, spread_voices

WORDS_A_CLIP = (4, 36)
VOICES_SEED = 1000  # keeps the readers' voices apart from those of the commands, whose seeds start at 0
# Texts whose pronunciation differs from their spelling are left out: digits, abbreviations, foreign letters.
_SAYABLE = re.compile(r"[A-Za-z][A-Za-z' ,;:.?!-]*")
_ABBREVIATION = re.compile(r"\b(?:[A-Za-z]\.)+|\b(?:Mr|Mrs|Dr|St|etc|vs|Jr|Sr|Co|Inc|Prof|Rev|Gen)\.")


def synthesize_reading(
    folder: Path,
    sentences: Sequence[str],
    voices: Callable[[int], Sequence[Speaking]] | None = None,
    credit: str = CREDIT,
    *,
    minutes_train: float = 600,
    minutes_validation: float = 10,
    minutes_test: float = 20,
    num_train_speakers: int = 400,
    num_validation_speakers: int = 10,
    num_test_speakers: int = 20,
    seed: int = 0,
    num_proc: int = 2,
) -> Path:
    """
    Synthesise sentences by many speakers in noisy rooms, and return the `folder`, in the layout of the Hub.

    Columns: audio (FLAC bytes, 16 kHz), text (lower case, no punctuation except apostrophes), id, speaker_id. No
        speaker
    and no sentence is in two splits. The minutes of a split are exact within about twenty per cent.

    `voices` returns the given number of voices, and `credit` names them in the card. By default they are hibari-tts's.

    Raises:
        ImportError: hibari-tts is missing.
        ValueError: the folder exists, or there are too few sentences.
    """
    minutes = {"test": minutes_test, "validation": minutes_validation, "train": minutes_train}
    num_speakers = {"test": num_test_speakers, "validation": num_validation_speakers, "train": num_train_speakers}
    check_amounts(minutes, num_speakers)
    if folder.exists():
        raise ValueError(f"{str(folder)!r} already exists; name a new folder, or remove it")
    count = sum(num_speakers.values())
    chosen = voices(count) if voices else spread_voices(count, VOICES_SEED + seed)
    plan = plan_reading(sentences, chosen, minutes, num_speakers, seed)
    description = Description(
        title="Synthetic read speech",
        what="Sentences and parts of sentences from plain text",
        voices=credit,
        division="No sentence occurs twice.",
    )
    arguments = {"minutes": minutes, "num_speakers": num_speakers, "seed": seed}
    write_corpus(folder, plan, description, arguments, num_proc)
    return folder


def plan_reading(
    sentences: Sequence[str],
    voices: Sequence[Speaking],
    minutes: dict[str, float],
    num_speakers: dict[str, int],
    seed: int = 0,
) -> dict[str, list[Clip]]:
    """Plan the sentences and speakers of each split, in the order of `sentences`, without any audio."""
    unused = iter(sentences)
    unused_voices = iter(voices)
    plan: dict[str, list[Clip]] = {}
    for split_number, (split, minutes_wanted) in enumerate(minutes.items()):
        speakers = name_speakers(split, split_number, num_speakers[split], unused_voices, seed)
        clips: list[Clip] = []
        planned_s = 0.0
        while planned_s < 60 * minutes_wanted:
            number = len(clips)
            spoken = next(unused, None)
            if spoken is None:
                enough_s = planned_s + sum(clip_s(clip) for earlier in plan.values() for clip in earlier)
                raise ValueError(
                    f"the text's {len(sentences)} passages are enough for {enough_s / 60:.1f} minutes of speech, but "
                    f"{sum(minutes.values()):g} are requested; give more text, or request fewer minutes of training, "
                    "test and validation"
                )
            speaker = speakers[number % len(speakers)]
            text = transcript(spoken)
            clips.append(Clip(f"{split}-{number:05}", text, spoken, speaker, (seed, 12, split_number, number)))
            planned_s += clip_s(clips[-1])
        plan[split] = clips
    return plan


def clip_s(clip: Clip) -> float:
    """Estimate the duration of a clip in seconds."""
    return estimate_duration_s(clip.text, clip.speaker.voice.rate)


def transcript(spoken: str) -> str:
    """Return the lower-case words, with apostrophes and single spaces."""
    return " ".join(re.sub(r"[^a-z' ]", " ", spoken.lower()).split())


def read_sentences(files: Sequence[Path], rng: np.random.Generator) -> list[str]:
    """
    Read distinct passages of 4 to 36 words from plain text in UTF-8, in random order. The files take turns.

    Passages end at punctuation and do not cross paragraphs. A paragraph ends at an empty line or at a line with only %
    (as in fortune files). Text with digits, abbreviations or non-English letters is left out.

    Raises:
        ValueError: a file is missing or is not UTF-8 text, or no file has a passage.
    """
    seen: set[str] = set()
    by_file: list[list[str]] = []
    for file in files:
        text = read_plain_text(file)
        passages: dict[str, str] = {}
        for paragraph in re.split(r"\n\s*(?:%\s*)?\n|\n%\n", text):
            for passage in _passages(" ".join(paragraph.split()), rng):
                passages.setdefault(transcript(passage), passage)
        distinct = [passage for text, passage in passages.items() if text not in seen]
        seen.update(passages)
        by_file.append([distinct[place] for place in rng.permutation(len(distinct))])
    if not seen:
        raise ValueError(f"{', '.join(map(str, files))}: no passage of {WORDS_A_CLIP[0]} or more English words")
    return [passage for turn in itertools.zip_longest(*by_file) for passage in turn if passage is not None]


def _passages(paragraph: str, rng: np.random.Generator) -> list[str]:
    shortest, longest = WORDS_A_CLIP
    passages: list[str] = []
    words: list[str] = []
    wanted = int(rng.integers(shortest, longest + 1))
    # Quotation marks and brackets do not change the pronunciation.
    for piece in re.split(r"(?<=[.,;:?!])\s+", re.sub(r"[\"()“”]|(?<!\w)'|'(?!\w)", "", paragraph.replace("’", "'"))):
        new = [word.capitalize() if word.isupper() and len(word) > 1 else word for word in piece.split()]
        sayable = bool(_SAYABLE.fullmatch(piece)) and not _ABBREVIATION.search(piece)
        if words and (not sayable or len(words) + len(new) > wanted):
            passages.append(" ".join(words))
            words, wanted = [], int(rng.integers(shortest, longest + 1))
        if sayable:
            words += new
    passages.append(" ".join(words))
    return [passage for passage in passages if shortest <= len(passage.split()) <= longest]
