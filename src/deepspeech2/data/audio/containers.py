"""
Containers that say how many bytes of audio they hold: WAV (RIFF, RF64, W64), AIFF, AU, CAF, NIST SPHERE.

libsndfile believes the size. Here it is compared with the file: a size that was never filled in means up to the end,
more than there is means that the file is cut off, less than there is means that the header was not brought up to date.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, Literal, NamedTuple

from .layout import UNKNOWN_FROM, Layout, Note, Piece, read_at
from .mp3 import scan_mp3

MPEG_LAYER_3 = 0x55  # as a format of WAV
FEW_BYTES = 64  # behind the audio: less than a millisecond, or the header's own length counted as audio
TEXT_BYTES = 256
MAX_CHUNKS = 10_000
# Bytes of a sample, by encoding.
AU_BYTES = {1: 1.0, 2: 1.0, 3: 2.0, 4: 3.0, 5: 4.0, 6: 4.0, 7: 8.0, 23: 0.5, 25: 0.375, 26: 0.625, 27: 1.0}
UNCOMPRESSED = (b"none", b"twos", b"sowt", b"raw ", b"in24", b"in32", b"fl32", b"fl64")  # of AIFF-C, in any case
SPHERE_NUMBERS = ((b"sample_count", b""), (b"sample_rate", b""), (b"sample_n_bytes", b"2"), (b"channel_count", b"1"))
Order = Literal["little", "big"]


class Chain(NamedTuple):
    """How chunks follow each other in a container: the byte order and the bytes of their sizes, and their padding."""

    order: Order
    width: int = 4
    even: bool = True


class Chunk(NamedTuple):
    """
    A chunk of a container: its name, the place of its content, and the size that its header gives. `shifted`: it is
    not where the sizes of the chunks before it say, because a padding was forgotten.
    """

    name: bytes
    place: int
    size: int
    shifted: bool = False


def scan_riff(file: BinaryIO, start: int, end: int) -> Layout | None:
    """
    Find the audio of a WAV file: RIFF, RIFX (big-endian), RF64 or BW64.

    Returns:
        None if it has no format or no data, which libsndfile refuses.
    """
    order: Order = "big" if read_at(file, start, 4) == b"RIFX" else "little"
    large, form = None, b""
    for chunk in _chunks(file, start + 12, end, order):
        if chunk.name == b"ds64":
            large = int.from_bytes(read_at(file, chunk.place + 8, 8), "little")
        elif chunk.name == b"fmt ":
            form = read_at(file, chunk.place, chunk.size)
        elif chunk.name == b"data":
            return _wav(file, start, end, chunk, form, order, large) if len(form) >= 16 else None
    return None


def _wav(
    file: BinaryIO, start: int, end: int, data: Chunk, form: bytes, order: Order, large: int | None
) -> Layout | None:
    inner = read_at(file, data.place, 12)
    if inner[:4] in (b"RIFF", b"RIFX") and inner[8:] == b"WAVE":  # a WAV file in a WAV file
        return _as_part(scan_riff(file, data.place, end), data.place, end)
    size = large if large is not None and data.size == 0xFFFFFFFF else data.size
    size, missing, notes, follows = _check_size(file, data.place, size, end, Chain(order))
    if int.from_bytes(form[:2], order) == MPEG_LAYER_3:
        inside = scan_mp3(file, data.place, data.place + size)
        return replace(inside, notes=(*inside.notes, *notes)) if inside else None
    if size != data.size and not missing and (follows := _next_recording(file, data.place, end)):
        size, notes = follows - data.place, ()
    rate_bytes = max(int.from_bytes(form[8:12], order), 1)
    is_right = start == 0 and size == data.size and not follows and not data.shifted
    layout = Layout(
        () if is_right else ((_header(form, size, order), range(data.place, data.place + size)),),
        _bytes_missing(missing),
        missing / rate_bytes,
        (size + missing) / rate_bytes,
        notes,
    )
    if not follows:
        return layout
    rest = _as_part(scan_riff(file, follows, end), follows, end)
    if rest is None:
        detail = f"{end - follows:,} bytes follow that look like another WAV file and cannot be read"
        return replace(layout, notes=(*layout.notes, Note("damaged_frames", detail)))
    return replace(
        rest,
        parts=layout.parts + rest.parts,
        promised_s=layout.promised_s + rest.promised_s,
        notes=(Note("joined", f"{len(layout.parts + rest.parts)} WAV files follow each other: all are read"),),
    )


def _header(form: bytes, size: int, order: Order) -> bytes:
    """Return the header of a WAV file with `size` bytes of data, as RF64 if they need it."""
    form = form + b"\0" * (len(form) % 2)
    body = b"WAVEfmt " + len(form).to_bytes(4, order) + form + b"data"
    if size + len(body) + 8 < UNKNOWN_FROM or order == "big":
        total = (len(body) + 4 + size).to_bytes(4, order)
        return (b"RIFX" if order == "big" else b"RIFF") + total + body + size.to_bytes(4, order)
    sizes = b"ds64" + (28).to_bytes(4, "little") + bytes(8) + size.to_bytes(8, "little") + bytes(12)
    return b"RF64\xff\xff\xff\xffWAVE" + sizes + body[4:] + b"\xff\xff\xff\xff"


def _as_part(layout: Layout | None, start: int, end: int) -> Layout | None:
    """Return a layout with its parts named, if it is that of a whole file."""
    if layout is None or layout.parts:
        return layout
    return replace(layout, parts=((range(start, end),),))


def _bytes_missing(missing: int) -> str:
    return f"according to its header {missing:,} bytes are missing" if missing else ""


def _check_size(
    file: BinaryIO, place: int, size: int, end: int, chain: Chain | None
) -> tuple[int, int, tuple[Note, ...], int]:
    """
    Compare the size of the audio in a header with the file.

    Args:
        place: where the audio begins.
        chain: how chunks may follow it. None if none may.

    Returns:
        The true size, how many bytes are missing, notes, and the place of another WAV file that follows, or 0.
    """
    there = end - place
    if size > there:
        unknown = size >= UNKNOWN_FROM
        return there, 0 if unknown else size - there, (), 0
    kind, follows = _what_follows(file, place + size, end, chain)
    if size == 0 and kind in ("audio", "zeros"):
        return there, 0, (), 0
    if kind != "audio":
        return size, 0, (), follows
    detail = f"its header tells of {size:,} bytes of audio, but there are {there:,}: all are read"
    return there, 0, (Note("short_header", detail),), 0


def _what_follows(file: BinaryIO, place: int, end: int, chain: Chain | None) -> tuple[str, int]:
    """Return what is behind the audio of a container: chunks, another recording (and its place), or audio."""
    for start in (place + place % 2, place) if chain and chain.even else (place,):
        head = read_at(file, start, 12)
        if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
            return "recording", start
        if chain and _is_chain(file, start, end, chain):
            return "chunks", 0
    if end - place < FEW_BYTES:
        return "chunks", 0
    head = read_at(file, place, TEXT_BYTES)
    text = head.strip(b"\0")
    if head[:3] in (b"TAG", b"ID3") or (text and all(9 <= byte < 127 for byte in text)):
        return "text", 0
    return ("audio" if _has_content(file, place, end) else "zeros"), 0


def _next_recording(file: BinaryIO, place: int, end: int) -> int:
    """Return where another WAV file begins behind audio without a size, or 0: pipes that were joined end to end."""
    while place < end:
        some = read_at(file, place, min(1 << 20, end - place))
        inside = some.find(b"WAVE", 8)
        while inside >= 0:
            if some[inside - 8 : inside - 4] in (b"RIFF", b"RF64"):
                return place + inside - 8
            inside = some.find(b"WAVE", inside + 1)
        if len(some) < 1 << 20:
            break
        place += len(some) - 11
    return 0


def _is_chain(file: BinaryIO, start: int, end: int, chain: Chain) -> bool:
    """Return whether chunks with printable names fill the file from `start` to its end, one at least."""
    place, header = start, 4 + chain.width
    while place + header <= end:
        head = read_at(file, place, header)
        if not all(0x20 <= byte < 0x7F for byte in head[:4]):
            return place > start and not _has_content(file, place, end)
        place += header + int.from_bytes(head[4:], chain.order)
        place += place % 2 if chain.even else 0
    return start < place and place <= end + 1


def _has_content(file: BinaryIO, place: int, end: int) -> bool:
    while place < end and (some := read_at(file, place, min(1 << 20, end - place))):
        if some.count(0) != len(some):
            return True
        place += len(some)
    return False


def _chunks(file: BinaryIO, place: int, end: int, order: Order) -> Iterator[Chunk]:
    """Yield the chunks of a RIFF or AIFF file. A chunk of odd size whose padding was forgotten is followed as well."""
    shifted = False
    for _ in range(MAX_CHUNKS):
        head = read_at(file, place, 8)
        if len(head) < 8 or place >= end:
            return
        chunk = Chunk(head[:4], place + 8, int.from_bytes(head[4:], order), shifted)
        yield chunk
        place = chunk.place + chunk.size
        if chunk.size % 2:
            unpadded = read_at(file, place, 4)
            forgotten = len(unpadded) == 4 and unpadded.strip(b" ").isalnum()
            shifted |= forgotten
            place += not forgotten


def scan_w64(file: BinaryIO, start: int, end: int) -> Layout | None:
    """Find the audio of a Sony Wave64 file, whose chunks are named by GUIDs and whose sizes include their 24 bytes."""
    place, form = start + 40, b""
    for _ in range(MAX_CHUNKS):
        head = read_at(file, place, 24)
        if len(head) < 24:
            return None
        size = int.from_bytes(head[16:], "little")
        if head[:4] == b"fmt ":
            form = read_at(file, place + 24, min(max(size - 24, 0), 1024))
        if head[:4] == b"data" and len(form) >= 16:
            there, promised = end - place - 24, size - 24
            unknown = promised <= 0 or size >= 1 << 62
            missing = 0 if unknown else max(promised - there, 0)
            true = there if unknown or missing else promised
            is_right = start == 0 and not unknown and int.from_bytes(read_at(file, start + 16, 8), "little") <= end
            pieces = (_header(form, true, "little"), range(place + 24, place + 24 + true))
            rate_bytes = max(int.from_bytes(form[8:12], "little"), 1)
            parts = () if is_right else (pieces,)
            return Layout(parts, _bytes_missing(missing), missing / rate_bytes, (true + missing) / rate_bytes)
        if size < 24:
            return None
        place += size + -size % 8
    return None


def scan_aiff(file: BinaryIO, start: int, end: int) -> Layout | None:
    """Find the audio of an AIFF or AIFF-C file."""
    rate_bytes = 0.0
    for chunk in _chunks(file, start + 12, end, "big"):
        if chunk.name == b"COMM":
            rate_bytes = _aiff_rate_bytes(read_at(file, chunk.place, min(chunk.size, 22)))
        elif chunk.name == b"SSND":
            return _patched(file, start, end, chunk, chunk.place - 4, 4, rate_bytes, Chain("big"))
    return None


def _aiff_rate_bytes(common: bytes) -> float:
    """Return the bytes of a second, from the content of a COMM chunk. 0 if it is compressed: then it is not known."""
    if len(common) == 22 and common[18:].lower() not in UNCOMPRESSED:
        return 0.0
    channels, bits = int.from_bytes(common[:2], "big"), int.from_bytes(common[6:8], "big")
    exponent, mantissa = int.from_bytes(common[8:10], "big") & 0x7FFF, int.from_bytes(common[10:18], "big")
    rate = mantissa * 2.0 ** (min(exponent, 16383 + 62) - 16383 - 63)
    return channels * -(-bits // 8) * rate


def scan_au(file: BinaryIO, start: int, end: int) -> Layout | None:
    """Find the audio of a Sun or NeXT .au file."""
    head = read_at(file, start, 24)
    if len(head) < 24:
        return None
    order: Order = "big" if head[:4] == b".snd" else "little"
    offset, size, encoding, rate, channels = (int.from_bytes(head[at : at + 4], order) for at in range(4, 24, 4))
    data = Chunk(b"data", start + offset, size)
    return _patched(file, start, end, data, start + 8, 4, rate * channels * AU_BYTES.get(encoding, 2.0), None, order)


def scan_caf(file: BinaryIO, start: int, end: int) -> Layout | None:
    """Find the audio of a Core Audio file."""
    place, rate_bytes = start + 8, 0.0
    for _ in range(MAX_CHUNKS):
        head = read_at(file, place, 12)
        if len(head) < 12:
            return None
        size = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"desc":
            form = read_at(file, place + 12, 32)
            per_packet, frames = int.from_bytes(form[16:20], "big"), int.from_bytes(form[20:24], "big")
            rate_bytes = struct.unpack(">d", form[:8].ljust(8, b"\0"))[0] * per_packet / frames if frames else 0.0
        elif head[:4] == b"data":
            unknown = Chunk(b"data", place + 12, size if 0 <= size < 1 << 62 else 0)
            return _patched(file, start, end, unknown, place + 4, 8, rate_bytes, Chain("big", 8, even=False))
        if size < 0:
            return None
        place += 12 + size
    return None


def _patched(
    file: BinaryIO,
    start: int,
    end: int,
    data: Chunk,
    field: int,
    width: int,
    rate_bytes: float,
    chain: Chain | None,
    order: Order = "big",
) -> Layout | None:
    """Return the layout of a container with the true size of its audio in the `width` bytes at `field`."""
    if data.place > end:
        return None
    size, missing, notes, _ = _check_size(file, data.place, data.size, end, chain)
    pieces: tuple[Piece, ...] = ()
    if size != data.size:
        pieces = (range(start, field), size.to_bytes(width, order), range(field + width, end))
    missing_s = missing / rate_bytes if rate_bytes else float("inf") if missing else 0.0
    promised_s = (size + missing) / rate_bytes if rate_bytes else 0.0
    return Layout((pieces,) if pieces else (), _bytes_missing(missing), missing_s, promised_s, notes)


def scan_sphere(file: BinaryIO, start: int, end: int) -> Layout | None:
    """Compare the number of samples in a NIST SPHERE header with the file."""
    known = dict(re.findall(rb"(\w+) -[irs]\d* (\S+)", read_at(file, start, 1024)))
    numbers = [known.get(name, default) for name, default in SPHERE_NUMBERS]
    head = read_at(file, start + 8, 8).strip()
    if b"shorten" in known.get(b"sample_coding", b"") or not all(number.isdigit() for number in (head, *numbers)):
        return None
    count, rate, width, channels = map(int, numbers)
    there = end - start - int(head)
    missing = max(count * width * channels - there, 0)
    rate_bytes = max(rate * width * channels, 1)
    return Layout((), _bytes_missing(missing), missing / rate_bytes, (there + missing) / rate_bytes)
