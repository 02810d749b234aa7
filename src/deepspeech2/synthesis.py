"""Speech made at run time: a voice-command corpus for a quickstart without a download.

>>> folder = synthesize_commands(Path("data"), minutes_train=15)
>>> datasets.load_dataset(str(folder), split="train", streaming=True)
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import multiprocessing
import os
import re
import shutil
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile
from filelock import FileLock
from tqdm.auto import tqdm

from . import augmentation, voices
from .augmentation import add_noise, generate_noise, limit_peak, reverberate, room_impulse_response
from .voices import SAMPLING_RATE, Voice, hibari_version, speak, spread_voices

TRAIN_SHARDS = 4
GRAMMAR_FILE = Path(__file__).with_name("home_commands.txt")
FEATURES = datasets.Features(
    {
        "audio": datasets.Audio(SAMPLING_RATE),
        "text": datasets.Value("string"),
        "id": datasets.Value("string"),
        "speaker_id": datasets.Value("string"),
    }
)


@dataclass(frozen=True)
class Speaker:
    """Somebody with a voice, who lives in one room with one kind of noise, both drawn from `seed`."""

    id: str
    voice: Voice
    seed: tuple[int, ...]


@dataclass(frozen=True)
class Clip:
    """A recording to be made: all that it depends on."""

    id: str
    text: str
    speaker: Speaker
    seed: tuple[int, ...]


def synthesize_commands(
    root: Path,
    *,
    minutes_train: float = 15,
    minutes_validation: float = 2,
    minutes_test: float = 5,
    num_train_speakers: int = 40,
    num_validation_speakers: int = 6,
    num_test_speakers: int = 10,
    seed: int = 0,
    num_proc: int = 2,
) -> Path:
    """Say commands to a home by many speakers in noisy rooms; give the folder, in the Hub's layout.

    Columns: audio (FLAC bytes, 16 kHz), text (lower-case), id, speaker_id. No speaker is in two splits. Every other
    sentence of a speaker of validation or test never occurs in training: the ids "test-unseen-0012" and
    "test-seen-0013" tell. A split comes within a few per cent of its minutes. The same arguments give the same bytes,
    whatever `num_proc` is; they are made once and kept in a folder of `root` named by a hash of all they depend on.

    Raises ImportError without hibari-tts, ValueError where the minutes or speakers are not positive.
    """
    minutes = {"train": minutes_train, "validation": minutes_validation, "test": minutes_test}
    num_speakers = {
        "train": num_train_speakers,
        "validation": num_validation_speakers,
        "test": num_test_speakers,
    }
    arguments = {"minutes": minutes, "num_speakers": num_speakers, "seed": seed}
    for split in minutes:
        if minutes[split] <= 0 or num_speakers[split] < 1:
            raise ValueError(f"split {split!r} needs minutes above 0 and at least one speaker, got {arguments}")
    folder = Path(root) / _cache_key(arguments)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():  # another process may have made it while this one waited
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            _write_corpus(partial, plan_commands(minutes, num_speakers, seed), arguments, num_proc)
            partial.rename(folder)
    return folder


def _cache_key(arguments: dict) -> str:
    """A hash of the arguments, the voice's version, and the text of the code and the grammar."""
    sources = [Path(module) for module in (__file__, voices.__file__, augmentation.__file__)]
    digest = sha256(json.dumps([arguments, hibari_version()]).encode())
    for source in [*sources, GRAMMAR_FILE]:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def plan_commands(minutes: dict[str, float], num_speakers: dict[str, int], seed: int = 0) -> dict[str, list[Clip]]:
    """Who says what in which split; no sound is made."""
    rng = np.random.default_rng([seed, 10])
    sentences = _distinct_sentences(rng)
    unused_voices = iter(spread_voices(sum(num_speakers.values()), seed))
    plan: dict[str, list[Clip]] = {}
    for split_number, (split, minutes_wanted) in enumerate(minutes.items()):
        speakers = [
            Speaker(f"{split}-speaker-{number:03}", next(unused_voices), (seed, 11, split_number, number))
            for number in range(num_speakers[split])
        ]
        clips: list[Clip] = []
        seen = itertools.cycle(rng.permutation([clip.text for clip in plan.get("train", [])]).tolist())
        planned_s = 0.0
        while planned_s < 60 * minutes_wanted:
            number = len(clips)
            turn, position = divmod(number, len(speakers))
            speaker = speakers[position]
            novelty = "" if split == "train" else ("-unseen", "-seen")[(turn + position) % 2]
            text = next(seen if novelty == "-seen" else sentences)
            clips.append(Clip(f"{split}{novelty}-{number:04}", text, speaker, (seed, 12, split_number, number)))
            planned_s += estimate_duration_s(text, speaker.voice.rate)
        plan[split] = clips
    return plan


def estimate_duration_s(text: str, rate: float = 1.0) -> float:
    """Seconds of a recording by its letters, a fit to what `record` makes; right within some 15 % for a clip."""
    return 0.43 + (0.27 + 0.043 * len(text)) / rate


def record(clip: Clip) -> bytes:
    """The clip as the FLAC file of a microphone in the speaker's room: voice, echo, noise, level."""
    rng = np.random.default_rng(clip.seed)
    home = np.random.default_rng(clip.speaker.seed)
    samples = speak(_with_punctuation(clip.text), clip.speaker.voice, rng)
    samples = np.pad(_trim(samples), rng.integers(SAMPLING_RATE // 10, SAMPLING_RATE // 3, 2))
    room = room_impulse_response(home, SAMPLING_RATE, rt60_s=home.uniform(0.1, 0.5))
    if rng.random() < 0.6:
        samples = reverberate(samples, room)
    noise_kind = str(home.choice(augmentation.NOISE_KINDS))
    if rng.random() < 0.8:
        noise = generate_noise(rng, samples.size, SAMPLING_RATE, noise_kind)
        samples = add_noise(samples, noise, snr_db=rng.uniform(10, 35))
    level_db = rng.uniform(-32, -18)
    samples = samples * np.float32(10 ** (level_db / 20) / samples.std())
    file = io.BytesIO()
    soundfile.write(file, limit_peak(samples), SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _with_punctuation(text: str) -> str:
    """Prosody follows punctuation."""
    is_question = re.match(r"(what|when|how|is|are|will|do|did|can|could) ", text)
    return text + ("?" if is_question else ".")


def _trim(samples: np.ndarray) -> np.ndarray:
    """Cut off what is 50 dB below the peak at both ends, but for 20 ms."""
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() / 316)
    margin = SAMPLING_RATE // 50
    return samples[max(loud[0] - margin, 0) : loud[-1] + margin]


def _write_corpus(folder: Path, plan: dict[str, list[Clip]], arguments: dict, num_proc: int) -> None:
    shards_of = {split: _shards(clips, TRAIN_SHARDS if split == "train" else 1) for split, clips in plan.items()}
    clips = [clip for shards in shards_of.values() for shard in shards for clip in shard]
    minutes = dict.fromkeys(plan, 0.0)
    progress = tqdm(total=len(clips), desc="synthesising speech", unit="clip", smoothing=0)
    with progress, closing(_record_all(clips, num_proc)) as recordings:
        for split, shards in shards_of.items():
            (folder / split).mkdir(parents=True)
            for number, shard in enumerate(shards):
                rows = []
                for clip in shard:
                    content = next(recordings)
                    minutes[split] += soundfile.info(io.BytesIO(content)).duration / 60
                    audio = {"bytes": content, "path": f"{clip.id}.flac"}
                    rows.append({"audio": audio, "text": clip.text, "id": clip.id, "speaker_id": clip.speaker.id})
                    progress.update()
                # Not by datasets, which would want torchcodec to write audio.
                table = pyarrow.Table.from_pylist(rows, schema=FEATURES.arrow_schema)
                pyarrow.parquet.write_table(table, folder / split / f"{number:04}.parquet", row_group_size=100)
    (folder / "README.md").write_text(_dataset_card(plan, minutes, arguments), encoding="utf-8")


def _shards(clips: list[Clip], count: int) -> list[list[Clip]]:
    """Neighbours together: the speakers take turns, so that every shard has most of them."""
    bounds = np.linspace(0, len(clips), min(count, len(clips)) + 1).astype(int).tolist()
    return [clips[start:stop] for start, stop in itertools.pairwise(bounds)]


def _record_all(clips: list[Clip], num_proc: int) -> Generator[bytes, None, None]:
    """The recordings in the order of the clips."""
    if num_proc <= 1:
        yield from map(record, clips)
        return
    # A fork spares each worker the import of torch; no network has been loaded in this process's threads.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(num_proc, context, initializer=_end_with_parent) as pool:
        try:
            yield from pool.map(record, clips, chunksize=4)
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Without this a worker outlives a parent that is killed, waiting for work."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _dataset_card(plan: dict[str, list[Clip]], minutes: dict[str, float], arguments: dict) -> str:
    configs = "\n".join(f"      - split: {split}\n        path: {split}/*.parquet" for split in plan)
    table = "\n".join(
        f"| {split} | {len(clips)} | {minutes[split]:.1f} | {len({clip.speaker.id for clip in clips})} "
        f"| {len({clip.text for clip in clips})} |"
        for split, clips in plan.items()
    )
    return f"""---
license: apache-2.0
language: [en]
task_categories: [automatic-speech-recognition]
pretty_name: Synthetic home voice commands
tags: [synthetic]
configs:
  - config_name: default
    data_files:
{configs}
---

# Synthetic home voice commands

Commands to a home, made from a grammar and said by [hibari-tts](https://pypi.org/project/hibari-tts/)
{hibari_version()}, whose one voice (code and voice Apache-2.0) is warped into many speakers, in generated rooms and
noise. No human being was recorded. Made by `deepspeech2.synthesis.synthesize_commands` from

```json
{json.dumps(arguments)}
```

| split | clips | minutes | speakers | sentences |
|---|---|---|---|---|
{table}

Columns: `audio` (16 kHz FLAC), `text` (lower-case), `id`, `speaker_id`. No speaker is in two splits. In validation and
test, sentences of clips named `-unseen-` never occur in train; those named `-seen-` do, by other speakers.
"""


def command_sentences(rng: np.random.Generator, n: int) -> list[str]:
    """`n` distinct commands, lower-case without punctuation. Raises ValueError where the grammar has fewer."""
    return list(itertools.islice(_distinct_sentences(rng), n))


def _distinct_sentences(rng: np.random.Generator) -> Iterator[str]:
    given: set[str] = set()
    while True:
        for _ in range(1000):
            sentence = _expand("{sentence}", rng)
            if sentence not in given:
                break
        else:
            raise ValueError(f"the grammar has run out after {len(given)} distinct sentences")
        given.add(sentence)
        yield sentence


def _expand(pattern: str, rng: np.random.Generator) -> str:
    """Draw from the innermost brackets outwards until none is left."""
    grammar = read_grammar(GRAMMAR_FILE)

    def draw(match: re.Match[str]) -> str:
        options = grammar[match[1]] if match[1] else tuple(match[2].split("|"))
        return options[int(rng.integers(len(options)))]

    while (expanded := re.sub(r"\{(\w+)\}|\(([^(){}]*)\)", draw, pattern)) != pattern:
        pattern = expanded
    return " ".join(pattern.split())


@functools.cache
def read_grammar(path: Path) -> dict[str, tuple[str, ...]]:
    """Section name -> its lines; the top of the file explains the format."""
    sections: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            lines = sections.setdefault(heading[1], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return {name: tuple(lines) for name, lines in sections.items()}
