"""The threshold between commands and what is none, and the shares that it makes."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from test_recognition import grammar_of, spoken

import tiny
from deepspeech2.cli.main import main
from deepspeech2.inference.voice_commands.recognition import (
    SCORE,
    WORST_WORD,
    Acceptance,
    Command,
    CommandRecogniser,
)
from deepspeech2.inference.voice_commands.rejection import (
    Judged,
    Share,
    find_acceptance,
    judge,
    near_misses,
    summary,
    trade_off,
    warning,
    write_judged,
)

ROOT = Path(__file__).resolve().parents[3]


def judged(score: float, meant: str | None = "x", best: str = "x") -> Judged:
    """A command that means `meant`, heard as `best` with a score."""
    return Judged("id", "text", (meant, {}) if meant else None, Command(best, best, "text", {}, score, 0.5, 0.0, 1.0))


def outside(*scores: float) -> list[Judged]:
    return [judged(score, None) for score in scores]


def test_the_threshold_lies_half_way_between_commands_and_the_rest():
    """No share of four may be one: -2 must be rejected, -1 is the lowest command above it."""
    inside = [judged(-0.1), judged(-1.0)]
    found = find_acceptance([*inside, *outside(-2, -3, -4, -5)], [], 0.2, 0.2)
    assert found.threshold == -1.5
    assert expit(found.slope * -0.1 + found.offset) > 0.6  # two, and one more that is wrong
    assert expit(found.slope * -5 + found.offset) < 0.01


@pytest.mark.parametrize("below", [-3.0, -9.0, -np.inf])
def test_the_threshold_stays_near_the_commands(below):
    """Half-way to -2 at the lowest, one nat below the command of -1."""
    assert find_acceptance([judged(-1.0), *outside(below)], [], 0.0, 0.0).threshold == -1.5


def test_a_confidence_is_the_share_of_such_scores_that_are_right():
    """Near 0 nine of ten are right, near -0.5 five of ten, and none far off, however far that is."""
    best = [judged(-0.001)] * 90 + [judged(-0.001, "x", "y")] * 9  # the tenth that is wrong is the one that is added
    even, far = [judged(-0.5)] * 10 + outside(*[-0.5] * 10), outside(*[-6.0] * 20, -np.inf)
    found = find_acceptance([*best, *even, *far], [], 0.0, 0.0)
    for score, share in ((0.0, 0.9), (-0.5, 0.5), (-6.0, 0.0)):
        assert expit(found.slope * score + found.offset) == pytest.approx(share, abs=0.05)


def test_scores_that_tell_all_apart_are_no_certainty():
    """Of three at 0 and one more that was wrong three quarters are right."""
    found = find_acceptance([*[judged(0.0)] * 3, *outside(-1.0, -2.0)], [], 0.0, 0.0)
    assert expit(found.offset) == pytest.approx(3 / 4, abs=0.01) and expit(found.offset - found.slope) < 0.1


def test_a_share_of_what_is_outside_may_be_accepted():
    """One of four may: -0.5. Between -1.25, rejected, and -0.75 is -1. Misheard -1.1 is no command to keep."""
    everything = [judged(-0.25), judged(-0.75), judged(-1.1, "x", "y"), *outside(-0.5, -1.25, -3, -4)]
    assert find_acceptance(everything, [], 0.25, 0.0).threshold == -1.0
    strict = find_acceptance(everything, [], 0.24, 0.0).threshold
    assert strict == -0.375  # -0.5 is rejected, and with it the command of -0.75


def test_near_misses_make_it_stricter():
    everything = [judged(-0.25), judged(-1), *outside(-1.75, -4)]
    assert find_acceptance(everything, [], 0.0, 0.0).threshold == -1.375
    assert find_acceptance(everything, outside(-0.75), 0.0, 0.0).threshold == -0.5
    assert find_acceptance(everything, outside(-0.75, -1.5), 0.0, 0.5).threshold == -1.25
    assert find_acceptance(everything[:2], outside(-1.5), 0.0, 0.0).threshold == -1.25  # there is nothing else


def test_where_no_command_is_above_what_must_be_rejected_nothing_is_accepted():
    found = find_acceptance([judged(-9), *outside(-2)], [], 0.0, 0.0)
    assert -2 < found.threshold < -1.999


@pytest.mark.parametrize(
    ("some", "counts"),
    [([judged(-1)], "1 are correctly recognised commands and 0 are out-of-grammar speech"), (outside(-1), "0 are")],
)
def test_one_kind_alone_is_refused(some, counts):
    with pytest.raises(ValueError, match=f"{counts}.*--outside"):
        find_acceptance(some, [], 0.01, 0.05)


def test_what_becomes_of_all():
    """Of four commands above -10: two right, one mistaken; one rejected. Of two outside one accepted."""
    everything = [judged(-1), judged(-2), judged(-3, "x", "y"), judged(-30), *outside(-5, -50)]
    found = summary(everything, outside(-1, -2, -20), -10)
    assert [(share.count, share.total) for share in found.values()] == [
        (2, 4),
        (1, 4),
        (1, 4),
        (3, 4),
        (0, 4),
        (1, 2),
        (2, 3),
    ]
    assert str(Share(0, 0)).startswith("0 of 0: -")


def test_none_of_a_hundred_is_not_none():
    """Wilson: z^2 / (n + z^2) = 3.84 / 103.84."""
    low, high = Share(0, 100).interval
    assert low == 0 and high == pytest.approx(3.8415 / 103.8415, abs=1e-4)


def test_too_few_to_show_a_share():
    warned = warning(outside(*[-1.0] * 50), 0.01)
    assert "50 out-of-grammar utterances cannot show 1 % of false accepts" in warned
    assert "even if none is accepted, the share can be 6.0 %" in warned
    assert "Give 300 or more" in warning(outside(-1.0), 0.01)
    assert "there is no out-of-grammar speech" in warning([judged(-1.0)], 0.01)
    assert warning(outside(*[-1.0] * 300), 0.01) == ""


def test_the_curve_goes_from_nothing_to_all():
    """Thresholds -1, -2, -3, -4: two commands, at -1 and -3, and a mistaken one; outside at -2 and -4."""
    curve = trade_off([judged(-1), judged(-3), judged(0, "x", "y")], outside(-2, -4), -2.5)
    points = list(zip(curve.accepted.tolist(), curve.lost.tolist(), strict=True))
    assert points[0] == (0, 1) and points[-1] == (1, pytest.approx(1 / 3))
    assert (0.5, pytest.approx(2 / 3)) in points and curve.chosen == (0.5, pytest.approx(2 / 3))


@pytest.fixture
def recogniser(tmp_path):
    text = "{commands: {x: 'a {s} {t}'}, slots: {s: [b, c], t: [ab]}}"
    return CommandRecogniser(grammar_of(tmp_path, text), tiny.new_model()[1], frame_s=0.04)


def test_utterances_are_judged_by_their_transcripts(recogniser, tmp_path):
    heard = [("1", "a b ab", "a b ab"), ("2", "a c ab", "a b ab"), ("3", "cab", "cab"), ("4", "a b ab", "ab b ab")]
    log_probs = [(name, text, spoken(recogniser.processor, sound)) for name, text, sound in heard]
    found = list(judge(recogniser, log_probs))
    assert [one.right for one in found] == [True, False, False, True]
    assert [one.meant for one in found] == [
        ("x", {"s": "b", "t": "ab"}),
        ("x", {"s": "c", "t": "ab"}),
        None,
        found[0].meant,
    ]
    assert [one.greedy == one.meant for one in found] == [True, False, True, False]
    write_judged(tmp_path / "a.jsonl", {"test": found}, Acceptance(-1.0))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["accepted"] for line in lines] == [True, True, False, False]
    assert lines[1] | {"score": 0} == {
        "split": "test", "id": "2", "said": "a c ab", "meant": ["x", {"s": "c", "t": "ab"}], "recognised": "a b ab",
        "score": 0, "accepted": True, "right": False,
    }  # fmt: skip


def test_a_near_miss_is_a_command_without_its_value(recogniser):
    """Of slot t no other value is left, so that only s is taken out; then c, which is not said, is likeliest."""
    (found,) = near_misses(recogniser, [("1", "a b ab", spoken(recogniser.processor, "a b ab")), ("2", "ab", None)])
    assert found.id == "1 without s b" and found.meant is None and found.command.text == "a c ab"
    # One of six letters, at 12 nats.
    assert found.command.score == pytest.approx(-12 / 6 - WORST_WORD * 12, abs=0.01)


def test_the_recipes_make_and_use_a_threshold(tmp_path, capsys, rendered):
    """From recordings to a threshold to a command: with a model of random weights, of which nothing is expected."""
    model, processor = tiny.new_model()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    (tmp_path / "grammar.yaml").write_text("{commands: {x: 'a {s}'}, slots: {s: [b, c, ab]}}")
    inside = tiny.write_corpus(tmp_path / "inside", "u", 6)
    calibrate = runpy.run_path(str(ROOT / "recipes" / "commands" / "calibrate.py"))["main"]
    given = [str(tmp_path / "model"), str(tmp_path / "grammar.yaml")]
    options = ["--dataset_name", str(inside), "--split", "train", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="name a split of other speech with --outside"):
        calibrate([*given, *options])
    (tmp_path / "commands.json").write_text(json.dumps({"score": SCORE, "threshold": -1e6, "slope": 1, "offset": 0}))
    assert calibrate([*given, *options, "--acceptance", str(tmp_path / "commands.json")]) == 0
    printed = capsys.readouterr().out
    assert "out-of-grammar speech, accepted: 6 of 6" in printed and "of --outside" not in printed
    lines = inside.read_text(encoding="utf-8").splitlines()
    lines[1] = ",".join(["u0.wav", "a ab", *lines[1].split(",")[2:]])
    (tmp_path / "inside" / "with_one.csv").write_text("\n".join(lines), encoding="utf-8")
    options += ["--outside", f"{tmp_path / 'inside' / 'with_one.csv'}::train"]
    assert calibrate([*given, *options, "--acceptance", str(tmp_path / "commands.json")]) == 0
    printed = capsys.readouterr().out
    assert "of --outside whose transcripts are in the grammar, which count as commands: 1\n" in printed
    assert "out-of-grammar speech, accepted: 11 of 11" in printed
    assert (tmp_path / "out" / "utterances.jsonl").is_file()
    recording = next((tmp_path / "inside").glob("**/*.wav"))
    (tmp_path / "none.wav").write_text("")
    assert main(["recognise", *given, str(recording), str(tmp_path / "none.wav"), "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["file"] == str(recording) and "none.wav: SKIPPED" in captured.err
