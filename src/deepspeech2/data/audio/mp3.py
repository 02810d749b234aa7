"""
MPEG audio by its frames. libsndfile takes an MP3's length from the first Xing header, or guesses it from the first
frames: joined files, variable rates without a header and wrong headers lose their end. Here every frame is counted, and
where the header is not right, libsndfile gets the frames behind a header that is.

Format: ISO/IEC 11172-3 and 13818-3; http://gabriel.mp3-tech.org/mp3infotag.html for the Xing and LAME header.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from .layout import Layout, Note, Piece, read_at

RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version: 1, 2, 2.5
FIRST_VERSION = 3
LAYER_3, LAYER_2, LAYER_1 = 1, 2, 3
KILOBITS = {  # by (is version 1, layer)
    (True, LAYER_1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, LAYER_2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, LAYER_3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, LAYER_1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, LAYER_2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, LAYER_3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
WINDOW = 1 << 20
LEAD = 1 << 16  # bytes in which the first frame must begin
IN_ROW = 3  # frames that must follow each other before they are believed
ROOM = 200  # bytes of a header frame: enough for Xing's and LAME's fields
LAME_BYTES, LAME_NAME = 36, b"LAME3.100"
DECODER_DELAY = 529  # samples, of every decoder of layer 3


class Frame(NamedTuple):
    """A frame by its 4 bytes of header. Frames of one stream agree in `stream`: version, layer, rate, mono or not."""

    length: int
    samples: int
    rate: int
    side_bytes: int
    stream: tuple[int, int, int, bool]


@lru_cache(4096)
def parse_frame(head: bytes) -> Frame | None:
    """Return the frame that 4 bytes announce, or None. Free format, whose frames have no length, is None."""
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate_index, kilobit_index = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 0 or rate_index == 3 or kilobit_index in (0, 15) or head[3] & 3 == 2:
        return None
    first = version == FIRST_VERSION
    rate, bits = RATES_HZ[version][rate_index], 1000 * KILOBITS[first, layer][kilobit_index]
    padding, mono = head[2] >> 1 & 1, head[3] >> 6 == 3
    if layer == LAYER_1:
        samples, length = 384, (12 * bits // rate + padding) * 4
    else:
        samples = 576 if layer == LAYER_3 and not first else 1152
        length = samples // 8 * bits // rate + padding
    side_bytes = (17 if mono else 32) if first else (9 if mono else 17)
    return Frame(length, samples, rate, side_bytes, (version, layer, rate, mono))


@dataclass
class _Part:
    """Frames of one stream. `promised` is the number in its header, if there is one, `extra` LAME's fields there."""

    head: bytes
    frame: Frame
    has_header: bool = False
    promised: int | None = None
    extra: bytes = b""
    frames: int = 0
    damaged: int = 0
    spans: list[range] = field(default_factory=list)

    def add(self, place: int, length: int) -> None:
        self.frames += 1
        if self.spans and self.spans[-1].stop == place:
            self.spans[-1] = range(self.spans[-1].start, place + length)
        else:
            self.spans.append(range(place, place + length))

    @property
    def duration_s(self) -> float:
        return self.frames * self.frame.samples / self.frame.rate

    def missing_s(self) -> float:
        """Return the seconds of audio that its header promises and that are not there, without what LAME added."""
        padding = (self.extra[22] & 15) << 8 | self.extra[23] if self.extra else 0
        missing = ((self.promised or 0) - self.frames) * self.frame.samples - max(padding - DECODER_DELAY, 0)
        return missing / self.frame.rate

    def pieces(self) -> tuple[Piece, ...]:
        """Return its frames behind a Xing header with their true number. Layers 1 and 2 know no such header."""
        if self.frame.stream[1] != LAYER_3:
            return tuple(self.spans)
        _, version, rate, mode = self.head
        heads = [bytes([0xFF, version | 1, rate & 0x0D | kilobits << 4, mode]) for kilobits in range(1, 15)]
        head = next(head for head in heads if (frame := parse_frame(head)) and frame.length >= ROOM)
        whole = parse_frame(head)
        assert whole is not None
        frames, extra, silence = self.frames, self.extra, b""
        if not self.has_header:
            # With a header, libsndfile cuts off the delay of a decoder, without one it does not. So it is to cut off a
            # silent frame of ours, and no more.
            frames, silence = frames + 1, head.ljust(whole.length, b"\0")
            extra = _lame(LAME_NAME.ljust(LAME_BYTES, b"\0"), whole.samples - DECODER_DELAY)
        elif extra and self.promised != self.frames:  # what to cut at the end is known for the promised end only
            extra = _lame(extra, extra[21] << 4 | extra[22] >> 4)
        xing = b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big") + extra
        return ((head + bytes(whole.side_bytes) + xing).ljust(whole.length, b"\0") + silence, *self.spans)


def _lame(extra: bytes, delay: int) -> bytes:
    """Return LAME's fields with the samples to cut off at the start, and none at the end: 12 bits each."""
    return extra[:21] + (delay << 12).to_bytes(3, "big") + extra[24:]


class _Walk:
    """The frames of a file between two places."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self.file, self.end = file, end
        self._window, self._from = b"", start

    def at(self, place: int, count: int) -> bytes:
        inside = place - self._from
        if inside < 0 or inside + count > len(self._window):
            self._window, self._from = read_at(self.file, place, min(WINDOW, max(self.end - place, 0))), place
            inside = 0
        return self._window[inside : inside + count]

    def begins(self, place: int) -> Frame | None:
        """Return the frame at a place if two more of its stream, a tag or the end follow it."""
        found = first = parse_frame(self.at(place, 4))
        for _ in range(IN_ROW - 1):
            if found is None:
                return None
            place += found.length
            if place >= self.end or self.tag(place):
                return first
            after = parse_frame(self.at(place, 4))
            found = after if after and first and after.stream == first.stream else None
        return first if found else None

    def tag(self, place: int) -> int:
        """Return the bytes of a tag at a place, 0 if there is none: ID3v1, ID3v2, APE, Lyrics3."""
        head = self.at(place, 32)
        if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            return 10 + size + (10 if head[5] & 0x10 else 0)
        if head[:3] == b"TAG":
            return 227 if head[:4] == b"TAG+" else 128
        if head[:8] == b"APETAGEX":
            flags = int.from_bytes(head[20:24], "little")
            return 32 + (int.from_bytes(head[12:16], "little") if flags & 1 << 29 else 0)
        if head[:11] == b"LYRICSBEGIN":
            close = read_at(self.file, place, 1 << 16).find(b"LYRICS200")
            return close + 9 if close > 0 else 11
        return 0

    def next_frame(self, place: int, until: int) -> int | None:
        """Return the place of the next frame that is believed."""
        while place < until:
            ahead = self.at(place, min(4096, until - place))
            inside = ahead.find(b"\xff")
            if inside < 0:
                place += max(len(ahead), 1)
            elif self.begins(place + inside):
                return place + inside
            else:
                place += inside + 1
        return None

    def header(self, place: int, frame: Frame) -> tuple[bool, int | None, bytes] | None:
        """
        Return whether libsndfile knows the header, its number of frames and LAME's fields, if the frame is a header:
        Xing and Info, which it knows if there is no checksum before them, or VBRI.
        """
        if frame.stream[1] != LAYER_3:
            return None
        offset = 4 + frame.side_bytes
        checksum = 0 if self.at(place + 1, 1)[0] & 1 else 2  # bytes, which LAME counts as a part of the side bytes
        silent = not any(self.at(place + 4 + checksum, frame.side_bytes - checksum))
        if self.at(place + offset, 4) in (b"Xing", b"Info") and silent:
            content = self.at(place + offset, min(frame.length - offset, ROOM))
            flags = int.from_bytes(content[4:8], "big")
            after = 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
            extra = content[after : after + LAME_BYTES]
            known = int.from_bytes(content[8:12], "big") if flags & 1 else None
            if checksum:
                return False, known, b""
            return True, known, extra if len(extra) == LAME_BYTES and extra[0] else b""
        if self.at(place + 36, 4) == b"VBRI":
            return False, int.from_bytes(self.at(place + 50, 4), "big"), b""
        return None


def scan_mp3(file: BinaryIO, start: int, end: int) -> Layout | None:
    """
    Find the streams of MPEG frames in bytes `start` to `end` of a file.

    Returns:
        The layout, with no parts if the whole file is one stream with a right header. None if there are no frames.
    """
    walk, parts = _Walk(file, start, end), list[_Part]()
    place = start
    while size := walk.tag(place):
        place += size
    first = walk.next_frame(place, min(place + LEAD, end))
    if first is None and place > start:  # a tag whose size is wrong
        first = walk.next_frame(start, min(start + LEAD, end))
    if first is None:
        return None
    junk, damaged, is_cut = first != place, 0, False
    place = first
    while place + 4 <= end:
        head = walk.at(place, 4)
        frame = parse_frame(head)
        part = parts[-1] if parts else None
        if frame is None or ((part is None or frame.stream != part.frame.stream) and not walk.begins(place)):
            size = walk.tag(place)
            if not size and (found := walk.next_frame(place + 1, end)) is None:
                break
            if not size:
                damaged += 1
                assert part is not None
                part.damaged += 1
            place = place + size if size else found or end
            continue
        if place + frame.length > end:
            is_cut = True
            break
        header = walk.header(place, frame)
        if header or part is None or frame.stream != part.frame.stream:
            parts.append(part := _Part(head, frame, *(header or ())))
        if not header:
            part.add(place, frame.length)
        place += frame.length
    return _layout([part for part in parts if part.frames], junk, damaged, is_cut, start, end)


def _layout(parts: list[_Part], junk: bool, damaged: int, is_cut: bool, start: int, end: int) -> Layout | None:
    if not parts:
        return None
    last, notes, missing, missing_s = parts[-1], list[Note](), "", 0.0
    total = sum(part.frames for part in parts)
    promised = last.promised or 0
    lost = promised - last.frames - last.damaged - 1  # some programs count the header as a frame
    duration_s = sum(part.duration_s for part in parts)
    promised_s = duration_s
    if lost > 0:
        missing_s = last.missing_s()
        promised_s = duration_s + missing_s
        missing = f"according to its header {missing_s:,.1f} s are missing"
    elif is_cut:
        notes.append(Note("cut_frame", f"the file ends inside a frame, after {duration_s:.2f} s"))
    if len(parts) > 1:
        notes.append(Note("joined", f"{len(parts)} MP3 streams follow each other: all are read"))
    elif last.promised and not missing and abs(last.promised - total) > 1:
        notes.append(Note("wrong_header", f"its header tells of {last.promised:,} frames, but there are {total:,}"))
    if damaged:
        notes.append(Note("damaged_frames", f"{damaged} damaged places between the MP3 frames were skipped"))
    parts_of = tuple(part.pieces() for part in parts)
    num_samples = 0
    if len(parts) == 1 and not junk and not damaged and start == 0:
        if (last.has_header and last.promised == last.frames) or last.frame.stream[1] != LAYER_3:
            parts_of = ()
        elif not last.has_header:
            num_samples = last.frames * last.frame.samples
    return Layout(parts_of, missing, missing_s, promised_s, tuple(notes), num_samples)
