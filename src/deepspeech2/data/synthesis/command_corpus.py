"""Synthetic voice commands, made at run time: a corpus for a quickstart without a download.

>>> folder = synthesize_commands(Path("data"), minutes_train=30)
>>> datasets.load_dataset(str(folder), split="train", streaming=True)
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .. import augmentation
from . import corpus_writer, voices
from .corpus_writer import Clip, Description, cache_key, check_amounts, estimate_duration_s, name_speakers, write_corpus
from .voices import spread_voices

GRAMMAR_FILE = Path(__file__).with_name("home_commands.txt")
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
    sources = [Path(module) for module in (__file__, corpus_writer.__file__, voices.__file__, augmentation.__file__)]
    return cache_key([arguments], [*sources, GRAMMAR_FILE])


def plan_commands(minutes: dict[str, float], num_speakers: dict[str, int], seed: int = 0) -> dict[str, list[Clip]]:
    """Plan the sentences and speakers of each split, without any audio."""
    rng = np.random.default_rng([seed, 10])
    sentences = _distinct_sentences(rng)
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


def command_sentences(rng: np.random.Generator, n: int) -> list[str]:
    """Return `n` distinct commands, in lower case without punctuation. Raises ValueError if the grammar has fewer."""
    return list(itertools.islice(_distinct_sentences(rng), n))


def _distinct_sentences(rng: np.random.Generator) -> Iterator[str]:
    given: set[str] = set()
    while True:
        for _ in range(1000):
            sentence = _expand("{sentence}", rng)
            if sentence not in given:
                break
        else:
            raise ValueError(f"the grammar has run out after {len(given)} distinct sentences; ask for fewer minutes")
        given.add(sentence)
        yield sentence


def _expand(pattern: str, rng: np.random.Generator) -> str:
    """Replace brackets by random options, from the innermost outwards, until none is left."""
    grammar = read_grammar(GRAMMAR_FILE)

    def draw(match: re.Match[str]) -> str:
        options = grammar[match[1]] if match[1] else tuple(match[2].split("|"))
        return options[int(rng.integers(len(options)))]

    while (expanded := re.sub(r"\{(\w+)\}|\(([^(){}]*)\)", draw, pattern)) != pattern:
        pattern = expanded
    return " ".join(pattern.split())


@functools.cache
def read_grammar(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the lines of each section by its name. The top of the file explains the format."""
    sections: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            lines = sections.setdefault(heading[1], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return {name: tuple(lines) for name, lines in sections.items()}
