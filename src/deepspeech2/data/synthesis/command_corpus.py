"""Synthetic voice commands, made at run time: a corpus for a quickstart without a download.

>>> folder = synthesize_commands(Path("data"), minutes_train=30)
>>> datasets.load_dataset(str(folder), split="train", streaming=True)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .. import augmentation
from ..grammars import sampling
from ..grammars.reading import read_grammar
from ..grammars.sampling import sample_sentences
from . import corpus_writer, voices
from .corpus_writer import Clip, Description, cache_key, check_amounts, estimate_duration_s, name_speakers, write_corpus
from .voices import spread_voices

GRAMMAR_FILE = Path(__file__).with_name("home_requests.yaml")
DESCRIPTION = Description(
    title="Synthetic home voice commands",
    what="Home voice commands, made from a grammar",
    voices=voices.CREDIT,
    division="In validation and test, the sentences of clips named `-unseen-` do not occur in train. Those of clips "
    "named `-seen-` occur in train, spoken by other speakers.",
)


def synthesize_commands(
    root: Path,
    *,
    minutes_train: float = 30,
    minutes_validation: float = 2,
    minutes_test: float = 5,
    num_train_speakers: int = 80,
    num_validation_speakers: int = 6,
    num_test_speakers: int = 10,
    seed: int = 0,
    num_proc: int = 2,
) -> Path:
    """
    Synthesise home voice commands by many speakers in noisy rooms, and return the folder, in the layout of the Hub.

    Columns: audio (FLAC bytes, 16 kHz), text (lower case), id, speaker_id. No speaker is in two splits. Every second
    sentence of a speaker of validation or test does not occur in training. The ids "test-unseen-0012" and
    "test-seen-0013" tell them apart. The minutes of a split are exact within a few per cent. The same arguments give
    the same bytes for any `num_proc`. The corpus is made once, in a folder of `root` named by a hash of its inputs.

    Raises:
        ImportError: hibari-tts is missing.
        ValueError: the minutes or the speakers are not positive.
    """
    minutes = {"train": minutes_train, "validation": minutes_validation, "test": minutes_test}
    num_speakers = {
        "train": num_train_speakers,
        "validation": num_validation_speakers,
        "test": num_test_speakers,
    }
    arguments = {"minutes": minutes, "num_speakers": num_speakers, "seed": seed}
    check_amounts(minutes, num_speakers)
    folder = Path(root) / _cache_key(arguments)
    if not folder.is_dir():
        write_corpus(folder, plan_commands(minutes, num_speakers, seed), DESCRIPTION, arguments, num_proc)
    return folder


def _cache_key(arguments: dict) -> str:
    """Return a hash of the arguments, the version of the voice, the code and the grammar."""
    modules = [str(one.__file__) for one in (sampling, corpus_writer, voices, augmentation)]
    return cache_key([arguments], [Path(__file__), *map(Path, modules), GRAMMAR_FILE])


def plan_commands(minutes: dict[str, float], num_speakers: dict[str, int], seed: int = 0) -> dict[str, list[Clip]]:
    """Plan the sentences and speakers of each split, without any audio."""
    rng = np.random.default_rng([seed, 10])
    sentences = home_sentences(rng)
    unused_voices = iter(spread_voices(sum(num_speakers.values()), seed))
    plan: dict[str, list[Clip]] = {}
    for split_number, (split, minutes_wanted) in enumerate(minutes.items()):
        speakers = name_speakers(split, split_number, num_speakers[split], unused_voices, seed)
        clips: list[Clip] = []
        seen = itertools.cycle(rng.permutation([clip.text for clip in plan.get("train", [])]).tolist())
        planned_s = 0.0
        while planned_s < 60 * minutes_wanted:
            number = len(clips)
            turn, position = divmod(number, len(speakers))
            speaker = speakers[position]
            novelty = "" if split == "train" else ("-unseen", "-seen")[(turn + position) % 2]
            text = next(seen if novelty == "-seen" else sentences)
            clip_id = f"{split}{novelty}-{number:04}"
            clips.append(Clip(clip_id, text, with_punctuation(text), speaker, (seed, 12, split_number, number)))
            planned_s += estimate_duration_s(text, speaker.voice.rate)
        plan[split] = clips
    return plan


def with_punctuation(text: str) -> str:
    """Add a full stop or a question mark, which the prosody follows."""
    is_question = re.match(r"(what|when|how|is|are|will|do|did|can|could) ", text)
    return text + ("?" if is_question else ".")


def home_sentences(rng: np.random.Generator) -> Iterator[str]:
    """
    Yield different requests to a home, in lower case without punctuation, balanced over their phrases and words.

    Raises:
        ValueError: the grammar has no more.
    """
    count = 0
    for sentence in sample_sentences(read_grammar(GRAMMAR_FILE), rng):
        yield sentence.text
        count += 1
    raise ValueError(f"the grammar has run out after {count} different sentences; ask for fewer minutes")
