"""Captions as other programs and people write them: every cue is read or listed, and texts come out as they went in."""

import re
from pathlib import Path

import pytest

from deepspeech2.inference.captions import Captions, Cue, LeftOut, find_captions, parse_captions, read_captions

TWO = [Cue(1.0, 3.5, "Hello there"), Cue(4.0, 6.0, "and you")]
SRT = "1\n00:00:01,000 --> 00:00:03,500\nHello there\n\n2\n00:00:04,000 --> 00:00:06,000\nand you\n"


def cues(text: str) -> list[Cue]:
    """The cues of a text of which nothing is left out."""
    read = parse_captions(text)
    assert read.left_out == []
    return read.cues


@pytest.mark.parametrize(
    "text",
    [
        SRT,
        "\ufeff" + SRT.replace("\n", "\r\n"),
        SRT.replace("\n", "\r"),
        SRT.replace("\n", "\r\r\n"),  # converted twice
        SRT.replace("\n\n", "\n"),  # no empty lines
        SRT.replace("1\n00", "00").replace("2\n00", "00"),  # no numbers
        SRT.replace(",000", "").replace("03,500", "03,5"),  # no milliseconds
        SRT.replace(",", "."),
        SRT.replace("00:00:", "0:"),  # no hours
        SRT.replace("00:00:", "00: 00: ").replace("-->", "->"),  # after a machine translation
        SRT.replace(",", ":"),
        SRT.replace(",", "，").replace("00:0", "00：0").replace("-->", "–>"),
        SRT.replace(" --> ", "-->"),
        SRT.replace("00\n", "00 X1:40 X2:600 Y1:20 Y2:50\n"),
        SRT.replace("Hello there", "Hello\n\n there").replace("Hello\n\n there", "{\\an8}<i>Hello there</i>"),
        SRT.replace("Hello there", '<font color="#ffff00">Hello&nbsp;there</font>').replace("&nbsp;", "&#32;"),
        "WEBVTT\n\n" + SRT.replace(",", "."),
        "WEBVTT\nKind: captions\n\nNOTE x\ny --> z\n\n" + SRT.replace(",", ".").replace("1\n00", "intro\n00"),
        "WEBVTT\n\n" + SRT.replace(",", ".").replace("Hello there", "<v Ann>Hello <00:00:02.000><c>there</c></v>"),
        "0:00:01.000,0:00:03.500\nHello there\n\n0:00:04.000,0:00:06.000\nand you\n",
    ],
)
def test_the_same_two_cues(text: str) -> None:
    assert cues(text) == TWO


@pytest.mark.parametrize("header", ["WEBVTT", "WEBVTT - a title\nKind: captions", "WEBVTT\n1"])
def test_a_line_of_times_ends_the_header_of_webvtt(header: str) -> None:
    text = f"{header}\n00:01.000 --> 00:02.000\nHello\n\n00:03.000 --> 00:04.000\nthere\n"
    assert [cue.text for cue in parse_captions(text).cues] == ["Hello", "there"]


def test_an_empty_line_is_part_of_a_cue_of_srt() -> None:
    text = SRT.replace("Hello there", "\nHello\n\n\nthere\n")
    assert [cue.text for cue in cues(text)] == ["Hello\nthere", "and you"]


@pytest.mark.parametrize("said", ["1984", "42", "2", "3"])
def test_a_number_that_is_said_is_no_number_of_a_cue(said: str) -> None:
    numbered = f"1\n00:00:01,000 --> 00:00:02,000\n{said}\n\n2\n00:00:03,000 --> 00:00:04,000\nin the year\n{said}\n\n"
    numbered += "3\n00:00:05,000 --> 00:00:06,000\nend\n"
    bare = numbered.replace("1\n00", "00", 1).replace("\n2\n00", "\n00").replace("\n3\n00", "\n00")
    for text in (numbered, bare):
        assert [cue.text for cue in cues(text)] == [said, f"in the year\n{said}", "end"], text


def test_a_line_of_one_space_is_text_of_webvtt() -> None:
    text = "WEBVTT\n\n00:00:01.000 --> 00:00:03.500\n \nHello there\n\n00:04.000 --> 00:06.000\nand you\n"
    assert cues(text) == TWO


def test_times_within_a_block_of_webvtt_begin_a_cue() -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:03.500\nHello there\n00:04.000 --> 00:06.000 align:start\nand you\n"
    assert cues(text) == TWO


def test_an_arrow_that_is_no_time_is_text() -> None:
    assert cues(SRT.replace("Hello there", "a --> b"))[0].text == "a --> b"


def test_what_cannot_be_a_cue_is_listed_and_the_rest_read() -> None:
    blocks = [
        "Subtitles by Ann",
        "1\n-00:00:02,000 --> -00:00:01,000\nbefore",
        "2\n00:00:01,000 --> 00:00:03,500\nHello there",
        "3\n00:00:09,000 --> 00:00:08,000\nbackwards",
        "4\n00:00:xx,000 --> 00:00:10,000\nunreadable",
        "5\n00:00:10,000 --> 00:00:75,000\ntoo many seconds",
        "6\n00:00:04,000 --> 00:00:06,000\nand you",
    ]
    read = parse_captions("\n\n".join(blocks))
    assert read.cues == TWO
    assert [(one.reason, one.start_s) for one in read.left_out] == [
        ("no_times", None),
        ("before_the_recording", -2.0),
        ("ends_before_it_begins", 9.0),
        ("bad_times", None),
        ("bad_times", None),
    ]
    assert read.left_out[3].text == "00:00:xx,000 --> 00:00:10,000 unreadable"


def test_text_without_times_in_webvtt_is_listed() -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:03.500\nHello there\n\nlost\n\n2\n00:04.000 --> 00:06.000\nand you\n"
    assert parse_captions(text) == Captions(TWO, [LeftOut("no_times", "lost")], [])


def test_a_cue_that_begins_before_0_begins_at_0() -> None:
    read = parse_captions(SRT.replace("00:00:01,000", "-00:00:00,200"))
    assert read.cues[0] == Cue(0.0, 3.5, "Hello there") and read.left_out == []
    assert read.notes == ["1 cue(s) begin before 0, and are taken from 0"]


def test_long_recordings_and_short_cues() -> None:
    text = "1\n123:04:05,006 --> 123:04:05,006\nlate\n"
    assert cues(text) == [Cue(123 * 3600 + 245.006, 123 * 3600 + 245.006, "late")]


@pytest.mark.parametrize(
    "written, read",
    [
        ("R&amp;D &lt;b&gt; &#39;x&#39; &quot;", "R&D <b> 'x' \""),
        ("AT&T &copy that", "AT&T &copy that"),
        ("3 < 4 > 2", "3 < 4 > 2"),
        ("one\\Ntwo\\hthree", "one\ntwo three"),
        ("<ruby>東京<rt>とうきょう</rt></ruby>", "東京"),
        ("{\\pos(10,20)\\c&HFFFFFF&}blue", "blue"),
    ],
)
def test_the_text_that_a_player_shows(written: str, read: str) -> None:
    assert cues(SRT.replace("Hello there", written))[0].text == read


def youtube(lines: list[str]) -> str:
    """Automatic captions as YouTube writes them: the line before, then the new one by words; then both for 10 ms."""
    blocks, before = ["WEBVTT\nKind: captions\nLanguage: en"], " "
    for index, line in enumerate(lines):
        first, *rest = line.split(" ")
        timed = first + "".join(f"<00:00:{2 * index:02}.500><c> {word}</c>" for word in rest)
        start, end = 2 * index, 2 * index + 2
        blocks.append(f"00:00:{start:02}.000 --> 00:00:{end:02}.000 align:start position:0%\n{before}\n{timed}")
        blocks.append(f"00:00:{end:02}.000 --> 00:00:{end:02}.010 align:start position:0%\n{line}\n ")
        before = line
    return "\n\n".join(blocks) + "\n"


@pytest.mark.parametrize("lines", [["a b", "c d e", "f"], ["yes yes", "yes yes", "no"]])
def test_automatic_captions_of_youtube_are_unrolled(lines: list[str]) -> None:
    read = parse_captions(youtube(lines))
    assert [(cue.start_s, cue.text) for cue in read.cues] == [(2.0 * index, line) for index, line in enumerate(lines)]
    assert read.left_out == []
    assert read.notes == [f"rolling captions: {2 * len(lines) - 1} repeated line(s) removed"]


def test_automatic_captions_of_youtube_as_srt() -> None:
    """As a downloader converts them: the times by words are gone."""
    lines = ["a b", "c d e", "f", "g h"]
    text = re.sub(r"<[^>]*>| align.*|^WEBVTT\n.*\n.*\n", "", youtube(lines)).replace(".", ",")
    read = parse_captions(text)
    assert [(cue.start_s, cue.text) for cue in read.cues] == [(2.0 * index, line) for index, line in enumerate(lines)]


def test_rolling_captions_without_word_times_are_unrolled() -> None:
    lines = ["one two", "three four", "five six", "seven"]
    text = "".join(
        f"{index}\n00:00:0{index},000 --> 00:00:0{index + 1},000\n{before}\n{line}\n\n"
        for index, (before, line) in enumerate(zip(["", *lines], lines, strict=False))
    )
    read = parse_captions(text)
    assert [cue.text for cue in read.cues] == lines and "3 repeated line(s)" in read.notes[0]


def test_what_is_said_twice_stays_twice() -> None:
    text = "".join(
        f"{index}\n00:00:0{index},000 --> 00:00:0{index + 1},000\n{line}\n\n"
        for index, line in enumerate(["No!", "No!", "Why?\nNo!", "No!\nNever!", "Well\nthen", "we\ngo"])
    )
    read = parse_captions(text)
    assert [cue.text for cue in read.cues] == ["No!", "No!", "Why?\nNo!", "No!\nNever!", "Well\nthen", "we\ngo"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_bytes(SRT.replace("Hello", "Füße 日").encode(encoding))
    assert read_captions(tmp_path / "a.srt").cues[0].text == "Füße 日 there"


def test_another_encoding_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_bytes(SRT.replace("Hello", "Füße").encode("cp1252"))
    with pytest.raises(ValueError, match=r"a.srt' are not in UTF-8 \(byte 0xfc in line 3\). Convert them: iconv -f"):
        read_captions(tmp_path / "a.srt")


@pytest.mark.parametrize(
    "content, name",
    [
        ("[Script Info]\nTitle: x", "Advanced SubStation"),
        ('<?xml version="1.0"?>\n<tt xmlns="http://www.w3.org/ns/ttml">', "TTML"),
        ("<SAMI><BODY>", "SAMI"),
        ("{0}{25}Hello", "MicroDVD"),
        ("[00:12.00]Hello", "LRC"),
        ("Scenarist_SCC V1.0", "SCC"),
        ("\n<!DOCTYPE html>", "a web page"),
    ],
)
def test_other_formats_are_recognised(content: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"this is {name}; expected SRT, WebVTT or SBV"):
        parse_captions(content)


def test_captions_are_found_whatever_the_name_holds(tmp_path: Path) -> None:
    media = tmp_path / "Talk [abc*1].mp4"
    (tmp_path / "Talk [abc*1].ass").touch()
    with pytest.raises(ValueError, match=r"found none; Talk \[abc\*1\].ass is Advanced SubStation. Convert it to SRT"):
        find_captions(media)
    (tmp_path / "Talk [abc*1].en.VTT").touch()
    assert find_captions(media).name == "Talk [abc*1].en.VTT"
    (tmp_path / "Talk [abc*1].SRT").touch()
    assert find_captions(media).name == "Talk [abc*1].SRT"
