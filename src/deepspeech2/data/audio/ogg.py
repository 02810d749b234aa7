"""
Ogg by its pages (RFC 3533): streams that follow each other, of which libsndfile reads the first, a missing end, and
damaged pages, which libsndfile leaves out without a word.
"""

import zlib
from typing import BinaryIO

from .layout import Layout, Note, read_at

MAGIC = b"OggS"
HEADER = 27
BEGINS, ENDS = 2, 4  # flags of a page
WINDOW = 1 << 20
CHECKSUM_AT = 22
NO_POSITION = (1 << 64) - 1  # of a page on which no packet ends
LARGEST_LOSS = 0.02  # of the samples. Beside a damaged page, those of the next one count as lost
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def scan_ogg(file: BinaryIO, start: int, end: int) -> Layout:
    """Find the streams in bytes `start` to `end` of a file. Streams side by side, as of a video, are one part."""
    starts, place, gaps = [start], start, 0
    only_begun, open_streams, is_cut = True, set[bytes](), False
    numbers: dict[bytes, int] = {}
    positions: dict[bytes, int] = {}  # how many samples end on the last page, by stream
    holes = set[bytes]()  # streams whose last pages are damaged
    lost, total = 0, 0  # samples
    while place < end:
        head = read_at(file, place, HEADER + 255)
        if head[:4] != MAGIC:
            found = _next_page(file, place, end)
            if found is None:
                break
            place, gaps = found, gaps + 1
            continue
        table = head[HEADER : HEADER + head[26]] if len(head) >= HEADER else b""
        size = HEADER + len(table) + sum(table)
        if len(head) < HEADER or len(table) < head[26] or place + size > end:
            is_cut = True
            break
        flags, serial, number = head[5], head[14:18], int.from_bytes(head[18:22], "little")
        if flags & BEGINS and not only_begun:
            starts.append(place)
            open_streams.clear()
            numbers.clear()
            positions.clear()
        only_begun = bool(flags & BEGINS)
        if only_begun:
            open_streams.add(serial)
        if flags & ENDS:
            open_streams.discard(serial)
        whole = _is_whole(read_at(file, place, size))
        gaps += not whole or (serial in numbers and number > numbers[serial] + 1)
        if not whole:  # at the start or the end, libsndfile takes the rest for the whole
            holes.add(serial)
        numbers[serial] = number
        position = int.from_bytes(head[6:14], "little")
        if whole and position != NO_POSITION:
            step = max(position - positions.get(serial, 0), 0)
            total, lost = total + step, lost + (step if serial in holes else 0)
            positions[serial] = position
            holes.discard(serial)
        place += size
    missing = "its last page is incomplete" if is_cut else "its stream has no last page" if open_streams else ""
    if not missing and (holes or lost > LARGEST_LOSS * total):
        missing = f"pages are damaged or missing at {gaps} place(s)"
    notes = []
    if len(starts) > 1:
        notes.append(Note("joined", f"{len(starts)} Ogg streams follow each other: all are read"))
    if gaps:
        notes.append(Note("damaged_frames", f"pages are missing or damaged at {gaps} places"))
    parts = tuple((range(first, after),) for first, after in zip(starts, [*starts[1:], end], strict=True))
    return Layout(
        parts if len(parts) > 1 or start else (), missing, float("inf") if missing else 0.0, 0.0, tuple(notes)
    )


def _is_whole(page: bytes) -> bool:
    """Return whether the checksum of a page is right: a CRC-32 as of zlib, but of mirrored bytes and from 0."""
    content = page[:CHECKSUM_AT] + bytes(4) + page[CHECKSUM_AT + 4 :]
    found = zlib.crc32(content.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return found.to_bytes(4, "big").translate(MIRRORED) == page[CHECKSUM_AT : CHECKSUM_AT + 4]


def _next_page(file: BinaryIO, place: int, end: int) -> int | None:
    while place < end:
        some = read_at(file, place, min(WINDOW, end - place))
        if (inside := some.find(MAGIC)) >= 0:
            return place + inside
        if len(some) < len(MAGIC):
            return None
        place += len(some) - len(MAGIC) + 1
    return None
