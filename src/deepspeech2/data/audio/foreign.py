"""Names for files that are no audio which libsndfile reads, by their first bytes."""

import re

from ...system.files import LFS_POINTER

NAMES = (
    (LFS_POINTER, "a Git LFS pointer, not the recording itself: run git lfs pull"),
    (b"\x00\x05\x16\x07", "a file that macOS made beside the recording (._NAME): remove it"),
    (b"\x00\x05\x16\x00", "a file that macOS made beside the recording: remove it"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (b"#!AMR", "AMR, of a mobile phone"),
    (b"\x30\x26\xb2\x75", "Windows Media (WMA)"),
    (b"ADIF", "AAC"),
    (b"MAC ", "Monkey's Audio (APE)"),
    (b"wvpk", "WavPack"),
    (b"TTA1", "True Audio"),
    (b"ajkg", "Shorten"),
    (b".RMF", "RealMedia"),
    (b"\x1f\x8b", "gzip: decompress it"),
    (b"PK\x03\x04", "a ZIP archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"SQLite format", "a database"),
    (b"PAR1", "a Parquet file: give the folder of a data set as dataset_name"),
)
INSIDE_OGG = ((b"\x7fFLAC", "FLAC"), (b"Speex   ", "Speex"), (b"\x80theora", "video (Theora)"))
WEB_PAGE = re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml|<!--)", re.IGNORECASE)
SHOWN = 40
HEAD_BYTES = 512


def name_of(head: bytes) -> str:
    """Return what a file is that begins with `head`, HEAD_BYTES of it or all. "" if it is not known."""
    if not head:
        return "it is empty"
    for magic, name in NAMES:
        if head.startswith(magic):
            return f"it is {name}"
    if head[4:8] == b"ftyp":
        return "it is MP4, M4A or 3GP"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "it is AVI video"
    if head.startswith(b"OggS"):  # Vorbis and Opus are read
        inside = next((name for magic, name in INSIDE_OGG if magic in head[:64]), "")
        return f"it is Ogg with {inside} in it: convert it, such as by ffmpeg -i OLD NEW.flac" if inside else ""
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "it is AAC (ADTS), whatever its name ends in"
    text = head.removeprefix(b"\xef\xbb\xbf")
    if WEB_PAGE.match(text):
        return "it is a web page or XML, perhaps a server's error message: download the recording again"
    if not any(head):
        return "it holds zeros only: a download or copy that failed"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in text):
        first = text.split(b"\n")[0][:SHOWN].decode("ascii").strip()
        return f"it is text, which begins with {first!r}"
    return ""
