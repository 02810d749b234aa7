"""Decode a file in blocks: its parts by libsndfile, one after the other, each to its real end."""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import soundfile

from .containers import scan_aiff, scan_au, scan_caf, scan_riff, scan_sphere, scan_w64
from .flac import scan_flac
from .foreign import HEAD_BYTES, name_of
from .layout import Layout, Pieces, read_at, size_of
from .mp3 import scan_mp3
from .ogg import scan_ogg

BLOCK_VALUES = 1_000_000  # samples times channels decoded at once
SCANNERS = {
    b"RIFF": scan_riff,
    b"RIFX": scan_riff,
    b"RF64": scan_riff,
    b"BW64": scan_riff,
    b"riff": scan_w64,
    b"FORM": scan_aiff,
    b".snd": scan_au,
    b"dns.": scan_au,
    b"caff": scan_caf,
    b"NIST": scan_sphere,
    b"OggS": scan_ogg,
    b"fLaC": scan_flac,
}
MP3_LEAD = 20 * 1152  # samples


class NotAudioError(ValueError):
    """libsndfile cannot decode a file. The message says what it is, as far as it is known, or that it is cut off."""

    def __init__(self, message: str, layout: Layout) -> None:
        super().__init__(message)
        self.layout = layout


def scan(file: BinaryIO) -> Layout:
    """Return the layout of a file: what libsndfile is to decode, and what is missing or odd."""
    start, end = 0, size_of(file)
    head = read_at(file, 0, 10)
    if head[:3] == b"ID3" and len(head) == 10:  # before FLAC or WAV, too
        start = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    kind = read_at(file, start, 4)
    if kind in SCANNERS:
        found = SCANNERS[kind](file, start, end) or Layout()
        return found if found.parts or not start else Layout(((range(start, end),),), *_others(found))
    return scan_mp3(file, 0, end) or Layout()


def _others(layout: Layout) -> tuple[Any, ...]:
    return layout.missing, layout.missing_s, layout.promised_s, layout.notes


@lru_cache(256)
def _scan_path(path: str, size: int, changed_ns: int) -> Layout:
    with open(path, "rb") as file:
        return scan(file)


class _Memory(io.BytesIO):
    """A file in memory, for libsndfile, which looks for places before the start of a damaged file."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(max(offset, 0) if whence == io.SEEK_SET else offset, whence)


class AudioFile:
    """
    A file that is opened for decoding. It is closed by `with`.

    `layout` says what is missing or odd. `sampling_rate` and `channels` are those of the first part. `num_samples`
    counts the samples of all parts at `sampling_rate`, as `blocks` yields them if nothing is damaged.

    Args:
        source: the content of the file, or its path.

    Raises:
        NotAudioError: libsndfile does not know the format, or the header is damaged.
        OSError: the file cannot be read.
    """

    def __init__(self, source: bytes | str) -> None:
        self._close = ExitStack()
        try:
            self._open(source)
        except BaseException:
            self._close.close()
            raise

    def _open(self, source: bytes | str) -> None:
        if isinstance(source, bytes):
            self._file: BinaryIO = io.BytesIO(source)
            self.layout = scan(self._file)
        else:
            self._file = self._close.enter_context(open(source, "rb"))  # noqa: SIM115
            status = os.fstat(self._file.fileno())
            self.layout = _scan_path(source, status.st_size, status.st_mtime_ns)
        whole = [self._part(source)] if not self.layout.parts or self.layout.num_samples else []
        if whole and whole[0].frames >= self.layout.num_samples:
            self.parts = [(whole[0], self.layout.num_samples or whole[0].frames)]
        else:
            found = [self._part(Pieces(self._file, pieces)) for pieces in self.layout.parts]
            self.parts = [(part, part.frames) for part in found]
        first = self.parts[0][0]
        self.sampling_rate, self.channels = first.samplerate, first.channels
        self.num_samples = sum(round(length * first.samplerate / part.samplerate) for part, length in self.parts)

    def _part(self, source: bytes | str | Pieces) -> soundfile.SoundFile:
        whole: Any = _Memory(source) if isinstance(source, bytes) else source
        try:  # as bytes, names that are not UTF-8 are opened, too
            part = soundfile.SoundFile(os.fsencode(source) if isinstance(source, str) else whole)
        except Exception as error:  # also TypeError, for a name that ends in .raw
            message = getattr(error, "error_string", str(error))
            what = name_of(read_at(self._file, 0, HEAD_BYTES)) or self.layout.missing or f"libsndfile: {message}"
            raise NotAudioError(what, self.layout) from error
        return self._close.enter_context(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close.close()

    def blocks(self, start: int = 0, count: int | None = None) -> Iterator[tuple[np.ndarray, int]]:
        """
        Decode a part of the file.

        Args:
            start: the first sample, at the rate of the file.
            count: the number of samples; None up to the end.

        Yields:
            float32 (samples, channels), and the sampling rate of these samples. Not all parts of a file need have the
            same. Fewer samples than wanted mean that the file ends or is damaged.

        Raises:
            Exception: whatever libsndfile's wrapper raises at damage.
        """
        end = None if count is None else start + count
        place = 0  # at the rate of the file
        for part, length in self.parts:
            ratio = self.sampling_rate / part.samplerate
            first = max(round((start - place) / ratio), 0)
            last = length if end is None else min(round((end - place) / ratio), length)
            place += round(length * ratio)
            if first < last:
                yield from ((block, part.samplerate) for block in _read(part, first, last))


def _read(part: soundfile.SoundFile, first: int, last: int) -> Iterator[np.ndarray]:
    """Yield the samples of a part from `first` to `last`."""
    size = max(BLOCK_VALUES // part.channels, 1)
    place = 0
    if first and part.seekable():
        # A frame of an MP3 needs data of the frames before it.
        place = part.seek(max(first - (MP3_LEAD if part.format == "MP3" else 0), 0))
    while place < last:
        wanted = min(size, last - place)
        samples = part.read(wanted, dtype="float32", always_2d=True)
        if len(samples) and place + len(samples) > first:
            yield samples[max(first - place, 0) :]
        if len(samples) < wanted:  # the end, or a hole: reading on would begin at another place
            return
        place += wanted
