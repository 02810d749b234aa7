"""benchmarks/learning_curve.py: the law that it fits and the picture that it draws."""

import json
import sys

import learning_curve as curve
import numpy as np
import pytest


def test_the_law_is_found():
    """900 / sqrt(steps) reaches 10 at 90 ** 2."""
    steps = np.array([400, 900, 1600, 2500])
    wers = np.array([45, 30, 22.5, 18])
    assert curve.power_law(steps, wers, 10) == pytest.approx((-0.5, 900, 8100))


@pytest.mark.parametrize(("wers", "message"), [([30, 40, 50], "does not fall"), ([50, 40], "expected at least 3")])
def test_without_a_falling_curve_there_is_no_law(wers, message):
    with pytest.raises(SystemExit, match=message):
        curve.power_law(np.arange(1, 1 + len(wers)), np.array(wers), 10)


def test_a_run_is_drawn_with_the_steps_that_it_still_needs(tmp_path, monkeypatch, capsys):
    evaluations = [{"step": step, "eval_wer": 9 / step**0.5} for step in (400, 900, 1600)]
    evaluations = [{"step": 100, "eval_wer": 0.99}, *evaluations, {"step": 2500, "eval_wer": 0.9}]  # of other laws
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": 1, "loss": 2.0}, *evaluations]}))
    options = ["--target", "10", "--first_step", "400", "--last_step", "1600"]
    monkeypatch.setattr(sys, "argv", ["learning_curve.py", str(tmp_path), *options])
    curve.main()
    assert "WER = 900 % x steps^-0.500: 10 after some 8,100 steps" in capsys.readouterr().out
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
