"""
Ogg by its pages (RFC 3533): streams that follow each other, of which libsndfile reads the first, and a missing end.
"""

from typing import BinaryIO

from .layout import Layout, Note, read_at

MAGIC = b"OggS"
HEADER = 27
BEGINS, ENDS = 2, 4  # flags of a page
WINDOW = 1 << 20


def scan_ogg(file: BinaryIO, start: int, end: int) -> Layout:
    """Find the streams in bytes `start` to `end` of a file. Streams side by side, as of a video, are one part."""
    starts, place, gaps = [start], start, 0
    only_begun, open_streams, is_cut = True, set[bytes](), False
    numbers: dict[bytes, int] = {}
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
        only_begun = bool(flags & BEGINS)
        if only_begun:
            open_streams.add(serial)
        if flags & ENDS:
            open_streams.discard(serial)
        gaps += serial in numbers and number > numbers[serial] + 1
        numbers[serial] = number
        place += size
    missing = "its last page is incomplete" if is_cut else "its stream has no last page" if open_streams else ""
    notes = []
    if len(starts) > 1:
        notes.append(Note("joined", f"{len(starts)} Ogg streams follow each other: all are read"))
    if gaps:
        notes.append(Note("damaged_frames", f"pages are missing at {gaps} places between others"))
    parts = tuple((range(first, after),) for first, after in zip(starts, [*starts[1:], end], strict=True))
    return Layout(
        parts if len(parts) > 1 or start else (), missing, float("inf") if missing else 0.0, 0.0, tuple(notes)
    )


def _next_page(file: BinaryIO, place: int, end: int) -> int | None:
    while place < end:
        some = read_at(file, place, min(WINDOW, end - place))
        if (inside := some.find(MAGIC)) >= 0:
            return place + inside
        if len(some) < len(MAGIC):
            return None
        place += len(some) - len(MAGIC) + 1
    return None
