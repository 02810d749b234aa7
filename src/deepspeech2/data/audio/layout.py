"""What of a file libsndfile is to decode: its parts, with headers that say the truth, and what is missing or odd."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO, NamedTuple

# Sizes that programs write before they know the real one: 0, or something at the end of 31 or 32 bits (FFmpeg, and sox,
# which writes 0x7F000000 into AIFF).
UNKNOWN_FROM = 0x7F000000
Piece = bytes | range


class Note(NamedTuple):
    """Something odd about a file that is read all the same. `name` is the problem under which check_data lists it."""

    name: str
    detail: str


@dataclass(frozen=True)
class Layout:
    """
    The recordings in a file.

    Args:
        parts: each recording, as bytes of its own and ranges of bytes of the file. () is the whole file as it is.
        missing: what the file promises and does not have, as a clause: "according to its header 20 bytes are missing".
        missing_s: seconds of audio that are missing. Infinity if they cannot be known.
        promised_s: seconds of audio that the file promises.
        notes: what is odd about the file.
        num_samples: samples per channel, if the parts are needed only where libsndfile finds fewer in the whole file.
    """

    parts: tuple[tuple[Piece, ...], ...] = ()
    missing: str = ""
    missing_s: float = 0.0
    promised_s: float = 0.0
    notes: tuple[Note, ...] = ()
    num_samples: int = 0

    @property
    def is_truncated(self) -> bool:
        """Return whether more is missing than a header's rounding: 1 % of the audio, at least 20 and at most 100 ms."""
        return self.missing_s > min(max(0.01 * self.promised_s, 0.02), 0.1)


class Pieces(io.RawIOBase):
    """A file made of pieces: bytes, and ranges of the bytes of `file`, which is read when it is needed."""

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]) -> None:
        self._file, self._pieces = file, [piece for piece in pieces if len(piece)]
        self._starts = list(accumulate((len(piece) for piece in self._pieces), initial=0))
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        self._place = max(base + offset, 0)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._place < self._starts[-1]:
            index = bisect_right(self._starts, self._place) - 1
            piece, inside = self._pieces[index], self._place - self._starts[index]
            wanted = min(len(view) - done, len(piece) - inside)
            if isinstance(piece, bytes):
                found = piece[inside : inside + wanted]
            else:
                found = read_at(self._file, piece.start + inside, wanted)
            if not found:
                break
            view[done : done + len(found)] = found
            done += len(found)
            self._place += len(found)
        return done


def read_at(file: BinaryIO, place: int, count: int) -> bytes:
    """Return up to `count` bytes of a file from `place`. Sizes in damaged headers lead to places beyond any file."""
    if not 0 <= place < 1 << 62:
        return b""
    file.seek(place)
    return file.read(count)


def size_of(file: BinaryIO) -> int:
    """Return the size of a file in bytes."""
    return file.seek(0, io.SEEK_END)
