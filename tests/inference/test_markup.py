"""What the page shows of words, cues, differences and commands; nothing that was said is markup."""

import re

import pytest

from deepspeech2.decoding.words import Word
from deepspeech2.inference.captions import Cue
from deepspeech2.inference.markup import (
    clock,
    colour,
    command_html,
    cues_html,
    differences_html,
    problem_html,
    words_html,
)
from deepspeech2.inference.voice_commands.recognition import Command


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0, "rgb(232, 128, 116)"), (0.25, "rgb(238, 175, 128)"), (1, "rgb(150, 208, 152)"), (7, "rgb(150, 208, 152)")],
)
def test_colours_go_from_red_over_yellow_to_green(confidence, expected):
    assert colour(confidence) == expected


def test_a_word_has_its_times_and_its_colour():
    html = words_html([Word("ab", 0.5, 0.75, 1.0), Word("c", 1, 2, 0.0)])
    assert 'style="background: rgb(150, 208, 152)" title="0.50 to 0.75 s, confidence 1.00">ab</span>' in html
    assert re.sub("<[^>]*>", "", html) == "ab c" and "No words" in words_html([])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (59.96, "1:00.0"), (83.25, "1:23.2"), (3723.4, "1:02:03.4")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_differences_are_marked():
    html = differences_html(["a", "b", "c", "d"], ["a", "x", "c", "d", "e"])
    assert html == '<p class="result">a <del>b</del> <ins>x</ins> c d <ins>e</ins></p>'
    assert differences_html(["a"], []) == '<p class="result"><del>a</del></p>'
    assert "No words" in differences_html([], [])


def test_a_command_has_its_values_and_a_rejected_one_its_nearest():
    accepted = Command("light", "light", "light on", {"switch": "on", "level": 5}, -1.0, 0.9, 0.0, 1.0)
    html = command_html(accepted)
    assert "<b>light</b>" in html and "<td>level</td><td><b>5</b></td>" in html and "confidence 0.90" in html
    rejected = Command(None, "light", "light on", {}, -90.0, 0.1, 0.0, 1.0)
    assert "<b>rejected</b>, most likely <i>light on</i>" in command_html(rejected)
    assert "most likely" not in command_html(Command(None, None, "", {}, float("-inf"), 0.0, 0.0, 0.0))


def test_what_is_said_is_no_markup():
    evil = '<img src=x onerror="alert(1)">&'
    command = Command(evil, evil, evil, {evil: evil}, -1.0, 0.9, 0.0, 1.0)
    pages = [
        words_html([Word(evil, 0, 1, 0.5)]),
        cues_html([Cue(0, 1, evil)]),
        differences_html([evil], ["a", evil + "b"]),
        problem_html(evil),
        command_html(command),
        command_html(Command(None, evil, evil, {}, -9.0, 0.1, 0.0, 1.0)),
    ]
    for page in pages:
        assert "<img" not in page and "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&amp;" in page
