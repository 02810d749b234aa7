"""Words into cues: nothing lost, every limit kept, the files as players and the parser read them."""

import json
import random
import re
from pathlib import Path

import av
import pytest

from deepspeech2.decoding.words import Word
from deepspeech2.inference.captions import (
    Cue,
    Limits,
    break_lines,
    make_cues,
    parse_captions,
    to_json,
    to_srt,
    to_txt,
    to_vtt,
    too_fast,
)

LIMITS = Limits()


def spoken(text: str, start_s: float = 0.0, word_s: float = 0.4, pause_s: float = 0.1) -> list[Word]:
    """Words of one length, at one distance."""
    starts = [start_s + index * (word_s + pause_s) for index in range(len(text.split()))]
    return [Word(word, start, start + word_s, 0.9) for word, start in zip(text.split(), starts, strict=True)]


@pytest.mark.parametrize("seed", range(8))
def test_no_word_is_lost_and_every_limit_is_kept(seed: int) -> None:
    """Random words at random distances; what cannot be read in time is where speech itself is faster."""
    rng = random.Random(seed)
    words, time_s = [], rng.random()
    for _ in range(300):
        letters = "".join(rng.choices("abcdefghij", k=rng.randint(1, 12)))
        length_s = len(letters) / rng.uniform(10, 25)
        words.append(Word(letters + rng.choice(["", "", "", ".", ","]), time_s, time_s + length_s, 1.0))
        time_s += length_s + rng.choice([0.02, 0.1, 0.3, 2.5])
    limits = Limits(line_length=rng.choice([28, 42]), max_lines=rng.choice([1, 2, 3]))
    cues = make_cues(words, limits)
    assert " ".join(cue.text.replace("\n", " ") for cue in cues) == " ".join(word.text for word in words)
    starts = [word.start_s for word in words]
    for cue, after in zip(cues, [*cues[1:], None], strict=True):
        lines = cue.text.split("\n")
        assert len(lines) <= limits.max_lines and max(map(len, lines)) <= limits.line_length
        assert cue.start_s in starts and cue.end_s - cue.start_s <= limits.max_duration_s + 1e-9
        if after:
            assert cue.end_s <= after.start_s - limits.min_gap_s + 1e-9
        room_s = (after.start_s if after else float("inf")) - limits.min_gap_s - cue.start_s
        readable_s = max(len(cue.text) / limits.max_characters_per_s, limits.min_duration_s)
        assert cue.end_s - cue.start_s >= min(readable_s, room_s) - 1e-9


def test_a_cue_stays_as_long_as_reading_takes() -> None:
    """20 characters in 0.3 s of speech: 20 / 20 = 1 s; two letters stay 5 / 6 s."""
    assert make_cues([Word("a" * 20, 5.0, 5.3, 1.0)], LIMITS) == [Cue(5.0, 6.0, "a" * 20)]
    assert make_cues([Word("no", 5.0, 5.1, 1.0)], LIMITS)[0].end_s == pytest.approx(5 + 5 / 6)


def test_the_next_cue_comes_first_and_what_is_too_fast_is_counted() -> None:
    """Thirty letters in 0.5 s, then the same again 1 s later: 1 - 2 / 24 s for each, of 1.5 s that reading takes."""
    words = [Word("a" * 30, 0.0, 0.5, 1.0), Word("b" * 30, 1.0, 1.5, 1.0), Word("c" * 30, 9.0, 9.5, 1.0)]
    cues = make_cues(words, Limits(max_lines=1))
    assert [(cue.start_s, round(cue.end_s, 4)) for cue in cues] == [
        (0.0, round(1 - 2 / 24, 4)),
        (1.0, 2.5),
        (9.0, 10.5),
    ]
    assert too_fast(cues, LIMITS) == 1


def test_cuts_are_made_at_pauses_and_ends_of_sentences() -> None:
    words = spoken("he came late") + spoken("she was gone", start_s=3.0)
    assert [cue.text for cue in make_cues(words, LIMITS)] == ["he came late", "she was gone"]
    words = spoken("It rained all day long. We stayed at home and read the old books again and again then slept")
    assert make_cues(words, LIMITS)[0].text == "It rained all day long."


def test_lines_are_few_and_even() -> None:
    assert break_lines("short", LIMITS) == ["short"]
    # 11 words of 4 letters are 54 characters: two lines, 29 and 24 rather than 39 and 14.
    assert [len(line) for line in break_lines(" ".join(["word"] * 11), LIMITS)] == [29, 24]
    assert break_lines("a " + "b" * 50 + " c", LIMITS) == ["a", "b" * 50, "c"]


def test_a_word_longer_than_a_line_is_shown_whole() -> None:
    cues = make_cues([Word("a", 0, 0.1, 1), Word("b" * 50, 0.2, 1.5, 1), Word("c", 1.6, 1.7, 1)], LIMITS)
    assert [cue.text for cue in cues] == ["a", "b" * 50, "c"]


def test_what_has_no_time_of_its_own_stands_with_what_follows() -> None:
    words = [Word("a", 0, 1, 1), *[Word("b" * 30, 1, 1, 0) for _ in range(5)], Word("c", 1, 2, 1)]
    cues = make_cues(words, LIMITS)
    assert " ".join(cue.text for cue in cues).split() == [word.text for word in words]
    assert all(cue.end_s > cue.start_s for cue in cues) and len(cues) == 2


def test_nothing_heard_is_no_cue() -> None:
    assert make_cues([], LIMITS) == []
    assert to_srt([]) == "" and to_vtt([]) == "WEBVTT\n" and to_txt([]) == ""


def test_srt() -> None:
    """3,723.0456 s are 1 h, 2 min, 3 s and 46 ms; 59.9996 s are a minute."""
    text = to_srt([Cue(59.9996, 61.5, "Füße, a --> b"), Cue(3723.0456, 3725.0, "two\nlines")])
    assert text == ("1\n00:01:00,000 --> 00:01:01,500\nFüße, a → b\n\n2\n01:02:03,046 --> 01:02:05,000\ntwo\nlines\n")


def test_vtt_is_escaped() -> None:
    assert to_vtt([Cue(0.0, 1.0, "R&D <b>--> x")]) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nR&amp;D &lt;b&gt;--&gt; x\n"
    )


def test_txt_has_a_line_for_each_stretch_between_pauses() -> None:
    words = spoken("one two") + spoken("three", start_s=2.0)  # after 2.0 - 0.9 = 1.1 s
    assert to_txt(words) == "one two\nthree\n"


def test_json_has_words_cues_and_facts() -> None:
    words = spoken("é one")
    content = json.loads(to_json(words, make_cues(words, LIMITS), {"model": "m"}))
    assert content["model"] == "m" and content["text"] == "é one"
    assert content["words"][1] == {"text": "one", "start_s": 0.5, "end_s": 0.9, "confidence": 0.9}
    assert content["cues"] == [{"start_s": 0.0, "end_s": 0.9, "text": "é one"}]


@pytest.mark.parametrize("write", [to_srt, to_vtt])
def test_what_is_written_is_read_back(write) -> None:
    cues = [Cue(0.04, 1.5, "R&D"), Cue(1.6, 4.0, "two\nlines, 3 > 2"), Cue(360000.0, 360001.0, "late")]
    assert parse_captions(write(cues)).cues == cues


@pytest.mark.parametrize("kind, write", [("srt", to_srt), ("vtt", to_vtt)])
def test_players_read_what_is_written(kind: str, write, tmp_path: Path) -> None:
    """FFmpeg, which most of them are built on, finds every cue at its time."""
    cues = [Cue(0.04, 1.5, "R&D é"), Cue(1.6, 4.0, "two\nlines"), Cue(3600.0, 3601.25, "late")]
    (tmp_path / f"a.{kind}").write_text(write(cues), encoding="utf-8")
    with av.open(str(tmp_path / f"a.{kind}")) as container:
        found = [(packet.pts, packet.duration, bytes(packet)) for packet in container.demux() if packet.size]
    assert [times[:2] for times in found] == [(40, 1460), (1600, 2400), (3_600_000, 1250)]
    assert found[1][2].decode() == "two\nlines"


def test_captions_of_others_are_read() -> None:
    """BOM, Windows line ends, tags, positions, settings, ids, notes, styles, times without hours, disorder."""
    srt = (
        "\ufeff1\r\n00:00:05,500 --> 00:00:07,000 X1:40\r\n{\\an8}<i>Second</i> &amp;\r\n\r\n\r\n"
        "2\r\n0:00:01,5 --> 0:00:03,000\r\n- First\r\n"
    )
    assert parse_captions(srt).cues == [Cue(1.5, 3.0, "- First"), Cue(5.5, 7.0, "Second &")]
    vtt = (
        "WEBVTT - a title\nKind: captions\n\nNOTE 00:00:00.000 --> 00:00:09.000\nno cue\n\n"
        "STYLE\n::cue { color: red }\n\n"
        "NOTEBOOK 1\n00:00.000 --> 00:01.000\n3 < 4 and 5 &gt; 2<00:00:00.500>\n\n"
        "intro\n00:01.000 --> 00:02.000 align:start position:10%\n<v Ann>Hello &lt;there&gt;</v>\n"
    )
    assert parse_captions(vtt).cues == [Cue(0.0, 1.0, "3 < 4 and 5 > 2"), Cue(1.0, 2.0, "Hello <there>")]


@pytest.mark.parametrize(
    "text, message",
    [("", "no cues"), ("{0}{25}hello", "MicroDVD"), ("<!DOCTYPE html><p>no", "a web page")],
)
def test_what_is_no_captions_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_captions(text)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"line_length": 0}, "line_length is 0"),
        ({"min_gap_s": -1.0}, "expected 0 or more"),
        ({"min_duration_s": 8.0}, re.escape("expected at most max_duration_s (7.000)")),
    ],
)
def test_limits_that_nothing_keeps_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**given)
