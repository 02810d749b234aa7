"""
Recordings: damaged bytes, and recordings of known content in every container, whose samples must all come back.

    .venv/bin/pytest tests/repository/fuzz -s
"""

import io
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tiny
from deepspeech2.data.audio.recordings import open_audio, read_header
from deepspeech2.inference.media import read_blocks
from repository.fuzz.audio_files import (
    AIFF,
    AU,
    CAF,
    FIELDS,
    FLAC,
    MP3,
    NOT_SEEKABLE,
    OPUS,
    OTHER_CODINGS,
    PLAIN,
    PROMISES,
    SIZES,
    VORBIS,
    W64,
    WAV,
    Container,
    alike,
    differences,
    mp3_frames,
    ogg_pages,
    with_xing,
    without_xing,
)
from repository.fuzz.check import Case, tally
from repository.fuzz.mutations import mutated

Read = Callable[[bytes, int], np.ndarray]


def as_corpus(content: bytes, rate: int) -> np.ndarray:
    """The samples as a corpus reads them."""
    recording = {"bytes": content, "path": "recording.x"}
    header, samples = read_header(recording), open_audio(recording, rate)
    assert header.duration_s > 0 and samples.dtype == np.float32 and samples.ndim == 1 and np.isfinite(samples).all()
    return samples


def as_media(folder: Path, content: bytes, rate: int) -> np.ndarray:
    """The samples as the commands read them."""
    path = folder / "recording.x"
    path.write_bytes(content)
    samples = np.concatenate([*read_blocks(path, rate), np.zeros(0, np.float32)])
    assert samples.dtype == np.float32 and samples.ndim == 1 and np.isfinite(samples).all()
    return samples


def readers(folder: Path) -> dict[str, Read]:
    return {"corpus": as_corpus, "media": partial(as_media, folder)}


# Damaged bytes -------------------------------------------------------------------------------------------------------


def damaged(folder: Path) -> Iterator[Case]:
    """Bytes changed anywhere: nobody can know what they were, so only a crash is a fault."""
    rng = random.Random(1)
    made = np.random.default_rng(1)
    for container in (*PLAIN, *OTHER_CODINGS, *NOT_SEEKABLE):
        content = container.write(container.clip(made))
        for index in range(45):
            bad = mutated(content, rng)
            yield Case(f"damaged {container.name}", str(index), partial(only_taken, as_corpus, bad, container.rate))
        for index in range(4):
            bad = mutated(content, rng)
            take = partial(only_taken, partial(as_media, folder), bad, container.rate)
            yield Case(f"damaged {container.name}, media", str(index), take)
    for index in range(40):
        yield Case("noise", str(index), partial(only_taken, as_corpus, rng.randbytes(rng.randrange(2000)), 8000))


def only_taken(read: Read, content: bytes, rate: int, said: list[str]) -> list[str]:
    read(content, rate)
    return []


# Known content -------------------------------------------------------------------------------------------------------


def compared(
    read: Read, content: bytes, expected: np.ndarray, container: Container, parts: int, said: list[str]
) -> list[str]:
    """What is missing or other. Any warning about the recording excuses it."""
    found = list(differences(expected, read(content, container.rate), container, parts))
    return [] if said else found


def known(folder: Path) -> Iterator[Case]:
    rng = np.random.default_rng(2)
    for makes in (whole, wrong_sizes, cut, mp3_files, ogg_files, joined):
        for kind, content, expected, container, parts in makes(rng):
            for name, read in readers(folder).items():
                yield Case(kind, name, partial(compared, read, content, expected, container, parts))


Made = tuple[str, bytes, np.ndarray, Container, int]  # kind, file, its samples, container, number of joined files


def whole(rng: np.random.Generator) -> Iterator[Made]:
    for container in (*PLAIN, *OTHER_CODINGS, *NOT_SEEKABLE):
        for _ in range(3):
            clip = container.clip(rng)
            yield f"whole {container.name}", container.write(clip), clip, container, 1
    for container in (WAV, *OTHER_CODINGS[:7]):
        clip = container.clip(rng)
        tagged = container.write(clip) + b"LIST\x0c\x00\x00\x00INFOISFT\x00\x00\x00\x00"
        yield f"{container.name} with a tag behind", tagged, clip, container, 1


def wrong_sizes(rng: np.random.Generator) -> Iterator[Made]:
    """All is there, but the header says something else."""
    for container, field, patch, unit in FIELDS:
        clip = container.clip(rng)
        content = container.write(clip)
        for name, promise in PROMISES.items():
            whole_size = len(content) if unit == "file" else clip.size * SIZES[unit]
            patched = patch(content, promise(whole_size))
            if container is WAV and field == "data":
                both = FIELDS[1][2](patched, promise(len(content)))
                yield f"WAV, RIFF and data {name}", both, clip, container, 1
            yield f"{container.name}, {field} {name}", patched, clip, container, 1


def cut(rng: np.random.Generator) -> Iterator[Made]:
    """The end is missing, and the header says how much there was: that has to be said."""
    for container in (*PLAIN, *OTHER_CODINGS, *NOT_SEEKABLE):
        clip = container.clip(rng, 6.0 if container in NOT_SEEKABLE else 0.8)  # of 33 bytes in 20 ms
        content = container.write(clip)
        for share in (0.35, 0.6, 0.85, 0.95):
            yield f"cut {container.name}", content[: round(share * len(content))], clip, container, 1


def mp3_files(rng: np.random.Generator) -> Iterator[Made]:
    modes = {
        "CBR": {"bitrate_mode": "CONSTANT"},
        "ABR": {"bitrate_mode": "AVERAGE"},
        "VBR": {"bitrate_mode": "VARIABLE"},
    }
    for mode, options in modes.items():
        for _ in range(4):
            # First quiet, then loud: the bit rate changes, and with it a length guessed from the first frames.
            clip = MP3.clip(rng, 1.2)
            clip[: clip.size // 2] *= 1e-3
            content = MP3.write(clip, **options)
            frames = mp3_frames(content)
            bare = without_xing(content)
            yield f"MP3 {mode}", content, clip, MP3, 1
            yield f"MP3 {mode} without Xing", bare, clip, MP3, 1
            tag = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)
            yield f"MP3 {mode} without Xing, ID3", tag + bare, clip, MP3, 1
            yield f"MP3 {mode}, ID3v1", content + b"TAG" + bytes(125), clip, MP3, 1
            for name, share in {"none": 0, "half": 0.5, "double": 2}.items():
                wrong = with_xing(content, round(share * len(frames)))
                yield f"MP3 {mode}, Xing promises {name}", wrong, clip, MP3, 1
            # Without a header nothing promises the end, but all whole frames are there to be read.
            kept = len(frames) * 2 // 3
            half = bare[: frames[kept][0] - frames[0][1] + 7]
            yield f"MP3 {mode} without Xing, cut", half, clip[: 576 * (kept - 1)], MP3, 1


def ogg_files(rng: np.random.Generator) -> Iterator[Made]:
    for container in (VORBIS, OPUS):
        for seconds in (0.8, 3.0):
            clip = container.clip(rng, seconds)
            content = container.write(clip)
            last = ogg_pages(content)[-1]
            yield f"{container.name} without its last page", content[:last], clip, container, 1
            flagged = content[: last + 5] + bytes([content[last + 5] & ~4]) + content[last + 6 :]
            yield f"{container.name} without the end flag", flagged, clip, container, 1


def joined(rng: np.random.Generator) -> Iterator[Made]:
    """Files joined end to end (`cat`), as speech servers send them."""
    for container in (MP3, VORBIS, OPUS, FLAC, WAV):
        for count in (2, 3):
            clips = [container.clip(rng, 0.8) for _ in range(count)]
            files = [container.write(clip) for clip in clips]
            yield f"joined {container.name}", b"".join(files), np.concatenate(clips), container, count
            if container is MP3:
                bare = b"".join(map(without_xing, files))
                yield "joined MP3 without Xing", bare, np.concatenate(clips), container, count


# Channels ------------------------------------------------------------------------------------------------------------


def channels(folder: Path) -> Iterator[Case]:
    rng = np.random.default_rng(3)
    for container in (WAV, FLAC, AIFF, AU, CAF, W64, VORBIS, MP3):
        for name, gain in {"the same": 1.0, "one silent": 0.0, "softer": 0.5}.items():
            left = container.clip(rng)
            stereo = np.stack([left, gain * left], axis=1)
            for reader, read in readers(folder).items():
                take = partial(compared, read, container.write(stereo), stereo.mean(axis=1), container, 1)
                yield Case(f"stereo, {name}", f"{container.name}, {reader}", take)
        for gain in (1.0, 0.97, 0.9, 1.1):
            left = container.clip(rng)
            right = -gain * left + 1e-3 * rng.standard_normal(left.size).astype(np.float32)
            content = container.write(np.stack([left, right], axis=1))
            for reader, read in readers(folder).items():
                yield Case(
                    "stereo, one channel inverted",
                    f"{container.name}, {gain}, {reader}",
                    partial(still_heard, read, content, left, container.rate),
                )


def still_heard(read: Read, content: bytes, left: np.ndarray, rate: int, said: list[str]) -> list[str]:
    """Channels that cancel each other would leave nothing."""
    found = read(content, rate)
    level = np.sqrt(np.mean(found**2)) / np.sqrt(np.mean(left**2))
    likeness = alike(left, found)
    return [] if level > 0.3 and likeness > 0.6 else [f"level {level:.2f}, correlation {likeness:.2f}"]


def other_rates(folder: Path) -> Iterator[Case]:
    """Resampling keeps the duration, and the shortest clips are taken or refused."""
    rng = np.random.default_rng(4)
    for rate in (8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000):
        for count in (1, 2, 3, 7, 40, 1000, 20_000):
            clip = 0.3 * rng.standard_normal(count).astype(np.float32)
            buffer = io.BytesIO()
            soundfile.write(buffer, clip, rate, format="WAV", subtype="FLOAT")
            for reader, read in readers(folder).items():
                take = partial(same_duration, read, buffer.getvalue(), count / rate)
                yield Case("another rate", f"{count} at {rate} Hz, {reader}", take)


def same_duration(read: Read, content: bytes, seconds: float, said: list[str]) -> list[str]:
    found = read(content, tiny.RATE).size
    expected = seconds * tiny.RATE
    return [] if said or abs(found - expected) <= 1.5 else [f"{found} samples came of {expected:.1f}"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("one_of", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_audio(tmp_path, one_of):
    def cases() -> Iterator[Case]:
        for makes in (damaged, known, channels, other_rates):
            yield from makes(tmp_path)

    tally("audio", cases(), one_of)
