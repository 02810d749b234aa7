"""
The sentences of a grammar, spoken by many synthetic voices: a corpus for a recogniser of voice commands.

>>> folder = speak_grammar(Path("speech"), read_grammar(Path("my.yaml")), minutes_train=90)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .. import augmentation
from ..grammars import sampling
from ..grammars.grammar import Grammar
from ..grammars.sampling import sample_sentences
from . import command_corpus, corpus_writer, kokoro, voices
from .command_corpus import home_sentences, with_punctuation
from .corpus_writer import (
    Clip,
    Description,
    Speaking,
    cache_key,
    check_amounts,
    estimate_duration_s,
    name_speakers,
    write_corpus,
)
from .voices import spread_voices

SENTENCES_A_MINUTE = 20  # more than fit in a minute
OTHER_SHARE = {"train": 0.25, "validation": 0.0, "test": 0.6}  # of the clips: other requests and mixed-up words
MIXED_UP = 0.3  # of the other clips
PAUSE, HESITATION = 0.08, 0.15  # shares of the places between words, and of the clips
FILLERS = ("uh,", "um,", "er,", "well,", "so,")
KOKORO_EVERY = 4  # training speakers, of which one has a natural voice if there are any
VOICES_SEED = 200  # other voices than those of the other synthetic corpora
DESCRIPTION = Description(
    title="Sentences of a grammar of voice commands",
    what="Sentences of a grammar, and other requests and mixed-up words of the grammar",
    voices=voices.CREDIT,
    division="Sentences of the splits differ if the grammar has enough of them. Hesitations are spoken but not in the "
    "texts.",
)


def speak_grammar(
    root: Path,
    grammar: Grammar,
    *,
    minutes_train: float = 90,
    minutes_validation: float = 3,
    minutes_test: float = 30,
    num_train_speakers: int = 200,
    num_validation_speakers: int = 10,
    num_test_speakers: int = 40,
    kokoro_voices: Path | None = None,
    seed: int = 0,
    num_proc: int = 2,
) -> Path:
    """
    Speak sentences of a grammar, and return the folder, in the layout of the Hub.

    The sentences are balanced over commands, alternatives, values and lengths. Some are spoken with pauses between
    words, or with hesitations, which are not in the text. A part of train and test are other requests and mixed-up
    words of the grammar. The columns are those of `synthesize_commands`. No speaker is in two splits. The corpus is
    made once, in a folder of `root` named by a hash of its inputs.

    Args:
        kokoro_voices: a folder of Kokoro voices (*.bin), for every fourth speaker of train.

    Raises:
        ImportError: hibari-tts, or the network of Kokoro, is missing.
        ValueError: the minutes or the speakers are not positive, or the folder has no voices.
    """
    minutes = {"test": minutes_test, "validation": minutes_validation, "train": minutes_train}
    num_speakers = {"test": num_test_speakers, "validation": num_validation_speakers, "train": num_train_speakers}
    arguments = {"minutes": minutes, "num_speakers": num_speakers, "kokoro": str(kokoro_voices or ""), "seed": seed}
    check_amounts(minutes, num_speakers)
    folder = Path(root) / _cache_key(grammar, arguments)
    if not folder.is_dir():
        chosen: list[Speaking] = [*spread_voices(sum(num_speakers.values()), VOICES_SEED + seed)]
        if kokoro_voices:
            kokoro.assemble_network()
            places = range(len(chosen) - num_train_speakers, len(chosen), KOKORO_EVERY)
            for place, voice in zip(places, kokoro.blend_voices(kokoro_voices, len(places), seed), strict=True):
                chosen[place] = voice
        plan = plan_grammar(grammar, chosen, minutes, num_speakers, seed)
        write_corpus(folder, plan, DESCRIPTION, arguments, num_proc)
    return folder


def _cache_key(grammar: Grammar, arguments: dict) -> str:
    """Return a hash of the grammar, the arguments, the versions of the voices, and the code."""
    modules = [str(one.__file__) for one in (sampling, command_corpus, corpus_writer, voices, kokoro, augmentation)]
    natural = sorted(Path(arguments["kokoro"]).glob("*.bin")) if arguments["kokoro"] else []
    sources = [Path(__file__), *map(Path, modules), *natural, command_corpus.GRAMMAR_FILE]
    return cache_key([asdict(grammar), arguments], sources)


def plan_grammar(
    grammar: Grammar,
    chosen: Sequence[Speaking],
    minutes: dict[str, float],
    num_speakers: dict[str, int],
    seed: int = 0,
) -> dict[str, list[Clip]]:
    """Plan the sentences and speakers of each split, without any audio."""
    rng = np.random.default_rng([seed, 40])
    sentences = _sentences(grammar, rng, round(SENTENCES_A_MINUTE * sum(minutes.values())))
    others = _others(grammar, rng, round(SENTENCES_A_MINUTE * sum(minutes.values())))
    unused_voices = iter(chosen)
    plan: dict[str, list[Clip]] = {}
    for split_number, (split, minutes_wanted) in enumerate(minutes.items()):
        speakers = name_speakers(split, split_number, num_speakers[split], unused_voices, seed)
        clips: list[Clip] = []
        planned_s = 0.0
        while planned_s < 60 * minutes_wanted:
            number = len(clips)
            speaker = speakers[number % len(speakers)]
            text = next(others if rng.random() < OTHER_SHARE[split] else sentences)
            spoken = perform(text, rng)
            clips.append(Clip(f"{split}-{number:05}", text, spoken, speaker, (seed, 42, split_number, number)))
            planned_s += estimate_duration_s(text, speaker.voice.rate)
        plan[split] = clips
    return plan


def _sentences(grammar: Grammar, rng: np.random.Generator, count: int) -> Iterator[str]:
    """Yield sentences of the grammar without end. A grammar with few of them begins again."""
    return itertools.cycle([sentence.text for sentence in itertools.islice(sample_sentences(grammar, rng), count)])


def _others(grammar: Grammar, rng: np.random.Generator, count: int) -> Iterator[str]:
    """Yield requests to a home, and words of the grammar in random order."""
    words = [
        word for sentence in itertools.islice(sample_sentences(grammar, rng), count) for word in sentence.text.split()
    ]
    requests = home_sentences(rng)
    while True:
        if rng.random() < MIXED_UP:
            yield " ".join(rng.choice(words, int(rng.integers(2, 9))).tolist())
        else:
            yield next(requests)


def perform(text: str, rng: np.random.Generator) -> str:
    """Return how a text is said: with punctuation, and at random with pauses and hesitations between words."""
    words = text.split()
    said = list(words)
    for place in range(len(words) - 1):
        if rng.random() < PAUSE:
            said[place] += "," if rng.random() < 0.7 else "..."
    if rng.random() < HESITATION:
        place = int(rng.integers(len(words)))
        said.insert(place, FILLERS[int(rng.integers(len(FILLERS)))])
    spoken = with_punctuation(text)
    return " ".join(said) + spoken[len(text) :]
