"""Recordings of known content in every container: whole, cut, joined, with sizes in the header that are wrong."""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import soundfile
from scipy.signal import correlate

LONG_S = 0.8  # of formats in blocks, whose last one is padded
SHORT_S = 0.15


@dataclass(frozen=True)
class Container:
    """
    A format of soundfile.

    Args:
        rate: sampling rate in Hz.
        error: the largest difference of a sample from what was written. 0 means a lossy coding, whose samples are
            compared by correlation.
        slack: how many samples more or less there may be: padding of blocks, delay of the coder.
        seconds: duration of the clips.
    """

    name: str
    format: str
    subtype: str
    rate: int = 8000
    error: float = 0.0
    slack: int = 0
    seconds: float = SHORT_S

    def write(self, samples: np.ndarray, **options: object) -> bytes:
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, self.rate, format=self.format, subtype=self.subtype, **options)
        return buffer.getvalue()

    def clip(self, rng: np.random.Generator, seconds: float | None = None) -> np.ndarray:
        return voice(rng, self.rate, seconds or self.seconds)


BITS_16, BITS_24 = 2 / 2**15, 2 / 2**23
WAV = Container("WAV", "WAV", "PCM_16", error=BITS_16)
RF64 = Container("RF64", "RF64", "PCM_16", error=BITS_16)
W64 = Container("W64", "W64", "PCM_16", error=BITS_16)
AIFF = Container("AIFF", "AIFF", "PCM_16", error=BITS_16)
AU = Container("AU", "AU", "PCM_16", error=BITS_16)
CAF = Container("CAF", "CAF", "PCM_16", error=BITS_16)
NIST = Container("NIST", "NIST", "PCM_16", error=BITS_16)
FLAC = Container("FLAC", "FLAC", "PCM_16", error=BITS_16)
MP3 = Container("MP3", "MP3", "MPEG_LAYER_III", 16_000, slack=2400, seconds=LONG_S)
VORBIS = Container("Vorbis", "OGG", "VORBIS", slack=64, seconds=LONG_S)
OPUS = Container("Opus", "OGG", "OPUS", 16_000, slack=320, seconds=LONG_S)
PLAIN = [WAV, RF64, W64, AIFF, AU, CAF, NIST, FLAC]
OTHER_CODINGS = [
    Container("WAV 24", "WAV", "PCM_24", error=BITS_24),
    Container("WAV float", "WAV", "FLOAT", error=1e-6),
    Container("WAV double", "WAV", "DOUBLE", error=1e-6),
    Container("WAV 8", "WAV", "PCM_U8", error=2 / 2**7),
    Container("WAV u-law", "WAV", "ULAW", error=0.05),
    Container("WAV a-law", "WAV", "ALAW", error=0.05),
    Container("WAVEX", "WAVEX", "PCM_16", error=BITS_16),
    Container("WAV IMA ADPCM", "WAV", "IMA_ADPCM", slack=1100, seconds=LONG_S),
    Container("WAV MS ADPCM", "WAV", "MS_ADPCM", slack=1100, seconds=LONG_S),
    Container("AIFF float", "AIFF", "FLOAT", error=1e-6),
    Container("AIFF u-law", "AIFF", "ULAW", error=0.05),
    Container("AU float", "AU", "FLOAT", error=1e-6),
    Container("AU u-law", "AU", "ULAW", error=0.05),
    Container("CAF ALAC", "CAF", "ALAC_16", error=BITS_16),
    Container("FLAC 24", "FLAC", "PCM_24", error=BITS_24),
    MP3,
    VORBIS,
    OPUS,
]
# Codings in which libsndfile cannot seek, so that it cannot read to the end at once.
NOT_SEEKABLE = [
    Container("WAV GSM 6.10", "WAV", "GSM610", slack=320, seconds=LONG_S),
    Container("W64 GSM 6.10", "W64", "GSM610", slack=320, seconds=LONG_S),
    Container("AIFF GSM 6.10", "AIFF", "GSM610", slack=320, seconds=LONG_S),
    Container("AU G.721", "AU", "G721_32", slack=320, seconds=LONG_S),
    Container("AU G.723", "AU", "G723_24", slack=320, seconds=LONG_S),
    Container("WAV NMS ADPCM", "WAV", "NMS_ADPCM_16", slack=320, seconds=LONG_S),
]


def voice(rng: np.random.Generator, rate: int, seconds: float) -> np.ndarray:
    """(samples,): gliding partials in syllables, which no other clip resembles."""
    time_s = np.arange(round(rate * seconds)) / rate
    low, high = rng.uniform(150, 500, 2)
    phase = 2 * np.pi * np.cumsum(np.linspace(low, high, time_s.size)) / rate
    tones = sum(rng.uniform(0.3, 1) * np.sin(count * phase + rng.uniform(0, 6)) for count in (1, 2, 3))
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(5, 9) * time_s + rng.uniform(0, 6))
    return (0.2 * tones * syllables).astype(np.float32)


def differences(expected: np.ndarray, found: np.ndarray, container: Container, parts: int = 1) -> Iterator[str]:
    """Yield what distinguishes the samples read from those written, (n,) each. `parts` files were joined."""
    slack = container.slack * parts
    if abs(found.size - expected.size) > slack:
        yield f"{found.size} samples came of {expected.size}"
        return
    both = min(found.size, expected.size)
    if container.error and not slack:
        worst = np.abs(found - expected).max(initial=0.0)
        if not worst <= container.error:
            yield f"samples differ by {worst:.4f}"
        return
    likeness = alike(expected[:both], found[:both])
    if not likeness > (0.6 if parts == 1 else 0.3):  # the padding between joined files shifts all but one
        yield f"the samples are others: correlation {likeness:.2f}"


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest correlation of two clips for any delay, 0 to 1 whatever the sign."""
    scale = np.linalg.norm(one) * np.linalg.norm(other)
    return float(np.abs(correlate(one, other, "full", "fft")).max(initial=0.0) / scale) if scale else 0.0


# Headers ------------------------------------------------------------------------------------------------------------

Patch = Callable[[bytes, int], bytes]  # the file and the number of bytes or samples that its header shall promise


def _at(place: Callable[[bytes], int], layout: str, offset: int = 0) -> Patch:
    def patch(content: bytes, promised: int) -> bytes:
        size = struct.calcsize(layout)
        bits = 8 * size
        start = place(content) + offset
        return content[:start] + struct.pack(layout, promised % 2**bits) + content[start + size :]

    return patch


def _behind(tag: bytes) -> Callable[[bytes], int]:
    return lambda content: content.index(tag) + len(tag)


def _nist(content: bytes, promised: int) -> bytes:
    start = content.index(b"sample_count -i ")
    end = content.index(b"\n", start)
    line = f"sample_count -i {promised}".encode()
    head = content[:start] + line + content[end:1024]
    return head[:1024].ljust(1024, b" ") + content[1024:]


def _flac(content: bytes, promised: int) -> bytes:
    packed = (int.from_bytes(content[18:26], "big") >> 36 << 36) | promised % 2**36
    return content[:18] + packed.to_bytes(8, "big") + content[26:]


# Where a container says how much there is: the field, and the unit: bytes of the data, of the file, or samples.
FIELDS: list[tuple[Container, str, Patch, str]] = [
    (WAV, "data", _at(_behind(b"data"), "<I"), "data"),
    (WAV, "RIFF", _at(_behind(b"RIFF"), "<I"), "file"),
    (RF64, "ds64 data", _at(_behind(b"ds64"), "<Q", 12), "data"),
    (RF64, "ds64 RIFF", _at(_behind(b"ds64"), "<Q", 4), "file"),
    (RF64, "ds64 samples", _at(_behind(b"ds64"), "<Q", 20), "samples"),
    (W64, "data", _at(_behind(b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"), "<Q"), "data"),
    (AIFF, "SSND", _at(_behind(b"SSND"), ">I"), "data"),
    (AIFF, "FORM", _at(_behind(b"FORM"), ">I"), "file"),
    (AIFF, "COMM", _at(_behind(b"COMM"), ">I", 6), "samples"),
    (AU, "data", _at(lambda content: 8, ">I"), "data"),
    (CAF, "data", _at(_behind(b"data"), ">Q"), "data"),
    (NIST, "sample_count", _nist, "samples"),
    (FLAC, "STREAMINFO", _flac, "samples"),
]
SIZES = {"data": 2, "file": 2, "samples": 1}  # bytes of a sample, in each unit
PROMISES = {
    "0": lambda whole: 0,
    "1": lambda whole: 1,
    "half": lambda whole: whole // 2,
    "tenth less": lambda whole: whole * 9 // 10,
    "tenth more": lambda whole: whole * 11 // 10,
    "double": lambda whole: whole * 2,
    "of a pipe": lambda whole: 0x7FFFF000,
    "2 GiB": lambda whole: 0x7FFFFFFF,
    "sign bit": lambda whole: 0x80000000,
    "all ones": lambda whole: 2**64 - 1,
}


def mp3_frames(content: bytes) -> list[tuple[int, int]]:
    """Return the start and the end of each frame of an MP3 file without tags (MPEG 1 to 2.5, layer III)."""
    kbit_s = {3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)}
    kbit_s[2] = kbit_s[0] = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    rates = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
    place, frames = 0, []
    while place + 4 <= len(content):
        head = int.from_bytes(content[place : place + 4], "big")
        if head >> 21 != 0x7FF:
            break
        version = head >> 19 & 3
        rate, bits = rates[version][head >> 10 & 3], 1000 * kbit_s[version][head >> 12 & 15]
        size = (144 if version == 3 else 72) * bits // rate + (head >> 9 & 1)
        frames.append((place, place + size))
        place += size
    return frames


def without_xing(content: bytes) -> bytes:
    """Return an MP3 file without its first frame, which holds the number of frames."""
    frames = mp3_frames(content)
    assert b"Xing" in content[: frames[0][1]] or b"Info" in content[: frames[0][1]]
    return content[frames[0][1] :]


def with_xing(content: bytes, frames: int) -> bytes:
    """Return an MP3 file whose first frame promises another number of frames."""
    tag = next(tag for tag in (b"Xing", b"Info") if tag in content[:200])
    place = content.index(tag) + 8
    return content[:place] + struct.pack(">I", frames) + content[place + 4 :]


def ogg_pages(content: bytes) -> list[int]:
    """Return the starts of the pages of an Ogg file."""
    starts, place = [], content.find(b"OggS")
    while place >= 0:
        starts.append(place)
        place = content.find(b"OggS", place + 1)
    return starts
