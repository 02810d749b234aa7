"""
FLAC by its frames (RFC 9639): files that follow each other, and a number of samples in the header that is 0 or wrong,
which libsndfile believes.
"""

from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

from .layout import Layout, Note, Piece, read_at

MAGIC = b"fLaC"
FIRST_BLOCKS = (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22")  # STREAMINFO has 34 bytes and comes first; 0x80: no others
CRC_8, CRC_16 = (0x07, 8), (0x8005, 16)  # of a frame's header and of a frame
WINDOW = 1 << 20
LARGEST_FRAME = 1 << 18
BLOCKS = {1: 192, **{code: 144 << code for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}


@dataclass(frozen=True)
class _Info:
    """STREAMINFO: the largest block in samples, the longest frame in bytes, the samples or 0."""

    block: int
    longest: int
    rate: int
    total: int


def scan_flac(file: BinaryIO, start: int, end: int) -> Layout | None:
    """Find the files in bytes `start` to `end` of a file."""
    starts = list(_starts(file, start, end))
    if not starts:
        return None
    parts, notes = list[tuple[Piece, ...]](), list[Note]()
    missing, missing_s, promised_s, is_whole = "", 0.0, 0.0, start == 0
    for first, after in zip(starts, [*starts[1:], end], strict=True):
        info = _info(read_at(file, first + 8, 34))
        total, is_cut = _count(file, first, after, info)
        promised_s += max(info.total, total or 0) / info.rate
        if total is None or total == info.total:
            parts.append((range(first, after),))
            continue
        is_whole = False
        field = int.from_bytes(read_at(file, first + 21, 5), "big") >> 36 << 36 | total
        parts.append((range(first, first + 21), field.to_bytes(5, "big"), range(first + 26, after)))
        if info.total > total and after == end:
            missing_s = (info.total - total) / info.rate
            missing = f"according to its header {missing_s:,.1f} s are missing"
        elif info.total:
            detail = f"its header tells of {info.total:,} samples, but there are {total:,}"
            notes.append(Note("wrong_header", detail))
        if is_cut and not missing and after == end:
            notes.append(Note("cut_frame", f"the file ends inside a frame, after {total / info.rate:.2f} s"))
    if len(parts) > 1:
        notes.append(Note("joined", f"{len(parts)} FLAC files follow each other: all are read"))
        is_whole = False
    return Layout(() if is_whole else tuple(parts), missing, missing_s, promised_s, tuple(notes))


def _starts(file: BinaryIO, start: int, end: int) -> list[int]:
    """Return the places of the headers of FLAC files."""
    found, place = [], start
    while place < end:
        some = read_at(file, place, min(WINDOW, end - place))
        inside = -1
        while (inside := some.find(MAGIC, inside + 1)) >= 0:
            if read_at(file, place + inside + 4, 4) in FIRST_BLOCKS:
                found.append(place + inside)
        if len(some) < WINDOW:
            break
        place += len(some) - len(MAGIC) + 1
    return found


def _info(content: bytes) -> _Info:
    rate = int.from_bytes(content[10:13], "big") >> 4
    total = int.from_bytes(content[13:18], "big") & (1 << 36) - 1
    longest = int.from_bytes(content[7:10], "big")
    return _Info(int.from_bytes(content[2:4], "big"), longest, max(rate, 1), total)


def _count(file: BinaryIO, first: int, end: int, info: _Info) -> tuple[int | None, bool]:
    """
    Return the number of samples up to the end of the last whole frame, and whether there is a part of another frame.

    None if no frame is found. Frames are checked in full only if the last one does not confirm the header.
    """
    size = min(end - first - 42, 2 * (info.longest or LARGEST_FRAME) + 4096)
    tail = read_at(file, end - size, size) if size > 0 else b""
    if tail[-128:-125] == b"TAG":
        tail = tail[:-128]
    frames, place = [(len(tail), 0, 0)], len(tail)  # where each begins, its first sample and number of samples
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        if (frame := _parse_frame(tail[place : place + 16], info)) is None:
            continue
        if len(frames) == 1 and sum(frame) == info.total:
            return info.total, False
        frames.append((place, *frame))
    for index, (place, sample, samples) in enumerate(frames[1:], 1):
        for later, *_ in frames[:index]:
            if _checksum(tail[place:later], *CRC_16) == 0:
                return sample + samples, later < len(tail)
    return None, False


def _parse_frame(head: bytes, info: _Info) -> tuple[int, int] | None:
    """Return the first sample and the number of samples of the frame that begins with `head`, or None."""
    if len(head) < 6 or head[1] not in (0xF8, 0xF9) or head[3] & 1 or head[3] >> 4 > 10:
        return None
    block, rate = head[2] >> 4, head[2] & 15
    more = 0 if head[4] < 0x80 else 8 - (~head[4] & 0xFF).bit_length() - 1  # bytes of the number, coded as in UTF-8
    extra = {6: 1, 7: 2}.get(block, 0)
    size = 5 + more + extra + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if block == 0 or rate == 15 or (head[4] >= 0x80 and not 1 <= more <= 6) or len(head) <= size:
        return None
    if _checksum(head[: size + 1], *CRC_8):
        return None
    number = head[4] if not more else head[4] & (0x3F >> more)
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    samples = int.from_bytes(head[5 + more : 5 + more + extra], "big") + 1 if extra else BLOCKS[block]
    return (number if head[1] & 1 else number * info.block), samples


@cache
def _table(polynomial: int, bits: int) -> list[int]:
    table = []
    for value in range(256):
        rest = value << bits - 8
        for _ in range(8):
            rest = (rest << 1 ^ polynomial if rest >> bits - 1 else rest << 1) & (1 << bits) - 1
        table.append(rest)
    return table


def _checksum(content: bytes, polynomial: int, bits: int) -> int:
    """Return the cyclic redundancy check of bytes; of bytes that end in their own check it is 0."""
    table, rest, mask = _table(polynomial, bits), 0, (1 << bits) - 1
    for byte in content:
        rest = (rest << 8 ^ table[rest >> bits - 8 ^ byte]) & mask
    return rest
