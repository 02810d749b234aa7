"""Synthesise planned clips with voices, room acoustics and noise, and write them as a corpus in the Hub's layout."""

from __future__ import annotations

import io
import itertools
import json
import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile
from filelock import FileLock
from tqdm.auto import tqdm

from ...system.files import write_whole
from ...system.markdown import markdown_table
from ..augmentation import (
    NOISE_KINDS,
    add_noise,
    generate_noise,
    limit_peak,
    reverberate,
    room_impulse_response,
)
from .voices import SAMPLING_RATE, hibari_version

TRAIN_SHARDS = 4
CLIPS_PER_SHARD = 200
PLAN_NAME = "plan.sha256"
FEATURES = datasets.Features(
    {
        "audio": datasets.Audio(SAMPLING_RATE),
        "text": datasets.Value("string"),
        "id": datasets.Value("string"),
        "speaker_id": datasets.Value("string"),
    }
)


class Speaking(Protocol):
    """A voice: `voices.Voice` or `kokoro.BlendedVoice`."""

    @property
    def rate(self) -> float: ...

    def speak(self, text: str, rng: np.random.Generator) -> np.ndarray: ...


@dataclass(frozen=True)
class Speaker:
    """A voice with one room and one kind of noise, both drawn from `seed`."""

    id: str
    voice: Speaking
    seed: tuple[int, ...]


@dataclass(frozen=True)
class Clip:
    """The inputs of a recording. `spoken` is `text` with the punctuation that the prosody follows."""

    id: str
    text: str
    spoken: str
    speaker: Speaker
    seed: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """The texts of a corpus card: the title, the kind of speech, the voices, and how sentences are split."""

    title: str
    what: str
    voices: str
    division: str


def check_amounts(minutes: dict[str, float], num_speakers: dict[str, int]) -> None:
    """Raise ValueError for a split without minutes or speakers."""
    for split in minutes:
        if minutes[split] <= 0 or num_speakers[split] < 1:
            raise ValueError(
                f"split {split!r} needs minutes above 0 and at least one speaker; got {minutes} and {num_speakers}"
            )


def cache_key(inputs: list, sources: Iterable[Path]) -> str:
    """Return a name for a corpus that is made once: a hash of its inputs, of the voice's version and of files."""
    digest = sha256(json.dumps([*inputs, hibari_version()]).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def name_speakers(
    split: str, split_number: int, count: int, unused_voices: Iterator[Speaking], seed: int
) -> list[Speaker]:
    """Return `count` speakers of a split, with the next unused voices."""
    return [
        Speaker(f"{split}-speaker-{number:03}", next(unused_voices), (seed, 11, split_number, number))
        for number in range(count)
    ]


def write_corpus(
    folder: Path, plan: dict[str, list[Clip]], description: Description, arguments: dict, num_proc: int
) -> None:
    """
    Synthesise the clips of each split into `folder`, which appears when it is complete.

    Args:
        folder: the new folder. If another process makes it at the same time, it is kept. A run that was stopped goes
            on after its last whole file, if its plan was the same.
        plan: the clips of each split.
        description: texts for the card.
        arguments: the arguments of the plan, for the card.
        num_proc: the number of processes, which does not change the bytes.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not folder.is_dir():  # another process may have made it while this one waited
            partial = folder.parent / f"{folder.name}.partial"
            _begin(partial, plan)
            _write_shards(partial, plan, description, arguments, num_proc)
            (partial / PLAN_NAME).unlink()
            partial.rename(folder)


def _begin(partial: Path, plan: dict[str, list[Clip]]) -> None:
    """Note the plan in a folder, and remove what is there of another plan."""
    digest = sha256(repr(plan).encode()).hexdigest()
    noted = partial / PLAN_NAME
    if not (noted.is_file() and noted.read_text(encoding="utf-8") == digest):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_whole(noted, digest)


def estimate_duration_s(text: str, rate: float = 1.0) -> float:
    """Estimate the seconds of a recording from its letters, by a fit to `record`, within about 15 % for a clip."""
    return 0.43 + (0.27 + 0.043 * len(text)) / rate


def record(clip: Clip) -> bytes:
    """Synthesise a clip as a FLAC file: voice, echo of the speaker's room, noise and level."""
    rng = np.random.default_rng(clip.seed)
    home = np.random.default_rng(clip.speaker.seed)
    samples = clip.speaker.voice.speak(clip.spoken, rng)
    samples = np.pad(_trim(samples), rng.integers(SAMPLING_RATE // 10, SAMPLING_RATE // 3, 2))
    room = room_impulse_response(home, SAMPLING_RATE, rt60_s=home.uniform(0.1, 0.5))
    if rng.random() < 0.6:
        samples = reverberate(samples, room)
    noise_kind = str(home.choice(NOISE_KINDS))
    if rng.random() < 0.8:
        noise = generate_noise(rng, samples.size, SAMPLING_RATE, noise_kind)
        samples = add_noise(samples, noise, snr_db=rng.uniform(10, 35))
    level_db = rng.uniform(-32, -18)
    samples = samples * np.float32(10 ** (level_db / 20) / samples.std())
    file = io.BytesIO()
    soundfile.write(file, limit_peak(samples), SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _trim(samples: np.ndarray) -> np.ndarray:
    """Cut both ends that are 50 dB below the peak, except for 20 ms."""
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() / 316)
    margin = SAMPLING_RATE // 50
    return samples[max(loud[0] - margin, 0) : loud[-1] + margin]


def _write_shards(
    folder: Path, plan: dict[str, list[Clip]], description: Description, arguments: dict, num_proc: int
) -> None:
    shards_of = {
        split: _shards(clips, max(TRAIN_SHARDS, len(clips) // CLIPS_PER_SHARD) if split == "train" else 1)
        for split, clips in plan.items()
    }
    files = {
        folder / split / f"{number:04}.parquet": shard
        for split, shards in shards_of.items()
        for number, shard in enumerate(shards)
    }
    missing = {path: shard for path, shard in files.items() if not path.is_file()}
    clips = [clip for shard in missing.values() for clip in shard]
    done = sum(len(shard) for path, shard in files.items() if path not in missing)
    progress = tqdm(total=done + len(clips), initial=done, desc="synthesising speech", unit="clip", smoothing=0)
    with progress, closing(_record_all(clips, num_proc)) as recordings:
        for path, shard in missing.items():
            rows = []
            for clip in shard:
                audio = {"bytes": next(recordings), "path": f"{clip.id}.flac"}
                rows.append({"audio": audio, "text": clip.text, "id": clip.id, "speaker_id": clip.speaker.id})
                progress.update()
            path.parent.mkdir(exist_ok=True)
            # Not with datasets, which needs torchcodec to write audio.
            table = pyarrow.Table.from_pylist(rows, schema=FEATURES.arrow_schema)
            content = io.BytesIO()
            pyarrow.parquet.write_table(table, content, row_group_size=100)
            write_whole(path, content.getvalue())
    minutes = {split: sum(map(_minutes, sorted((folder / split).glob("*.parquet")))) for split in plan}
    (folder / "README.md").write_text(_dataset_card(plan, minutes, description, arguments), encoding="utf-8")


def _minutes(path: Path) -> float:
    recordings = pyarrow.parquet.read_table(path, columns=["audio"])["audio"].to_pylist()
    return sum(soundfile.info(io.BytesIO(one["bytes"])).duration for one in recordings) / 60


def _shards(clips: list[Clip], count: int) -> list[list[Clip]]:
    """Split the clips into consecutive shards. The speakers take turns, so every shard has most of them."""
    bounds = np.linspace(0, len(clips), min(count, len(clips)) + 1).astype(int).tolist()
    return [clips[start:stop] for start, stop in itertools.pairwise(bounds)]


def _record_all(clips: list[Clip], num_proc: int) -> Generator[bytes, None, None]:
    """Yield the recordings in the order of the clips."""
    if num_proc <= 1:
        yield from map(record, clips)
        return
    # A fork avoids the import of torch in each worker. It is safe: this process has not loaded a network yet.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(num_proc, context, initializer=_end_with_parent) as pool:
        try:
            yield from pool.map(record, clips, chunksize=4)
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker when its parent is killed. Otherwise it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _dataset_card(
    plan: dict[str, list[Clip]], minutes: dict[str, float], description: Description, arguments: dict
) -> str:
    configs = "\n".join(f"      - split: {split}\n        path: {split}/*.parquet" for split in plan)
    head = ["split", "clips", "minutes", "speakers", "sentences"]
    rows = [
        [
            split,
            len(clips),
            f"{minutes[split]:.1f}",
            len({clip.speaker.id for clip in clips}),
            len({clip.text for clip in clips}),
        ]
        for split, clips in plan.items()
    ]
    return f"""---
license: apache-2.0
language: [en]
task_categories: [automatic-speech-recognition]
pretty_name: {description.title}
tags: [synthetic]
configs:
  - config_name: default
    data_files:
{configs}
---

# {description.title}

{description.what}, spoken by {description.voices}, in generated rooms and noise. There are no recordings
of people. deepspeech2 made it from

```json
{json.dumps(arguments)}
```

{markdown_table(head, rows)}
Columns: `audio` (16 kHz FLAC), `text` (lower-case), `id`, `speaker_id`. No speaker is in two splits.
{description.division}
"""
