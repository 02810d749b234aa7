"""Strategies against each other: what is declared, what is run, what the figures say."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import tiny
from deepspeech2.metrics import Utterance, compare
from deepspeech2.parsing import RecipeError
from deepspeech2.reports import strategy_rows, strategy_table, write_strategy_report
from deepspeech2.strategies import (
    START,
    Experiment,
    Outcome,
    collect,
    plan_runs,
    pool,
    read_experiment,
    recommend,
)

ROOT = Path(__file__).resolve().parent.parent
DECLARED = {
    "title": "A question",
    "common": {
        "model_name_or_path": "recipes/quickstart/starter",
        "dataset_name": "synthetic",
        "max_steps": 5,
        "batch_seconds": 30,
    },
    "strategies": {"low": {"learning_rate": 1e-4}, "high": {"learning_rate": 1e-2}},
    "baseline": "low",
    "target": "test",
    "source": "synthetic::validation",
    "seeds": [1, 2],
}


def declare(path: Path, **changes) -> Path:
    path.write_text(yaml.safe_dump(DECLARED | changes, sort_keys=False))
    return path


def heard(wrong: int, speaker: str = "", count: int = 10) -> list[Utterance]:
    """Of ten words, a clip each, so many wrong."""
    return [Utterance(f"u{n}", speaker or f"s{n}", 1.0, "yes", "no" if n < wrong else "yes") for n in range(count)]


def outcome(name: str, target: int, source: int, num_trained: int = 0) -> Outcome:
    (pooled_target, wers), (pooled_source, source_wers) = pool({"1": heard(target)}), pool({"1": heard(source)})
    return Outcome(name, pooled_target, pooled_source, wers, source_wers, num_trained)


def test_an_experiment_is_read(tmp_path):
    experiment = read_experiment(declare(tmp_path / "a.yaml", strategies={"low": None, "high": {"learning_rate": 1}}))
    assert experiment.strategies == {"low": {}, "high": {"learning_rate": 1}} and experiment.seeds == [1, 2]
    assert experiment.max_source_loss == 1.0


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sedes": [1]}, "unknown key 'sedes'; did you mean 'seeds'?"),
        ({"common": "max_steps"}, "common is 'max_steps'; expected 'key: value' pairs"),
        ({"seeds": ["one"]}, r"seeds are \['one'\]; expected a list of whole numbers"),
        ({"common": {}}, "common names no model_name_or_path, which all strategies start from"),
        ({"baseline": "full"}, "the baseline 'full' is none of the strategies: low, high"),
        ({"strategies": {"low": {}, "start": {}}}, "cannot be called 'start'"),
        (
            {"strategies": {"low": {}, "long": {"max_steps": 9}}},
            "long has another budget than low: max_steps 9 instead of 5",
        ),
    ],
)
def test_faults_of_an_experiment(tmp_path, changes, fault):
    with pytest.raises(RecipeError, match=fault):
        read_experiment(declare(tmp_path / "a.yaml", **changes))


def test_the_faults_of_all_strategies_come_at_once(tmp_path):
    strategies = {"low": {}, "one": {"learning_rat": 1}, "two": {"ema_decay": 2}}
    experiment = read_experiment(declare(tmp_path / "a.yaml", strategies=strategies))
    with pytest.raises(RecipeError) as caught:
        plan_runs(experiment, tmp_path / "out")
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["one", "two"]
    assert "did you mean 'learning_rate'?" in caught.value.faults[0]


def test_a_run_is_the_common_settings_its_own_and_a_seed(tmp_path):
    common = DECLARED["common"] | {"dataset_name": "draw-{seed}", "transcripts": ["a{seed}.csv"]}
    experiment = read_experiment(declare(tmp_path / "a.yaml", common=common))
    runs = plan_runs(experiment, tmp_path / "out")
    assert [(run.strategy, run.seed) for run in runs] == [("low", 1), ("high", 1), ("low", 2), ("high", 2)]
    settings = runs[3].settings
    assert settings["dataset_name"] == "draw-2" and settings["transcripts"] == ["a2.csv"] and settings["seed"] == 2
    assert settings["learning_rate"] == 1e-2 and settings["max_steps"] == 5
    assert settings["test_split"] == ["test", "synthetic::validation"] and settings["eval_split"] == "test"
    assert settings["output_dir"] == str(tmp_path / "out" / "high" / "seed-2")


def test_seeds_are_pooled():
    """2 and 4 of 10 wrong: 6 of 20. A speaker alone is told apart by clips, several by themselves."""
    scores, wers = pool({"1": heard(2), "2": heard(4)})
    assert scores.wer == 6 / 20 and wers == [0.2, 0.4] and scores.num_speakers == 10
    scores, _ = pool({"1": heard(2, "ann"), "2": heard(4, "ann")})
    assert scores.num_speakers == 10 and scores.resampled_by == "speaker"


def test_the_recommendation():
    """
    Points of source lost: full 20, head 0, norms 10. Allowed are 11: full is out. Of the others head is as good as
    norms within the luck of 10 clips, and trains fewer parameters.
    """
    outcomes = {
        START: outcome(START, 8, 3),
        "full": outcome("full", 1, 5, 1000),
        "head": outcome("head", 3, 3, 10),
        "norms": outcome("norms", 2, 4, 20),
    }
    experiment = Experiment("", {}, {"full": {}}, "full", "", "", max_source_loss=11)
    name, reason = recommend(experiment, outcomes)
    assert name == "head" and "2 of 3 strategies" in reason and "+0.0 points" in reason
    outcomes["full"] = outcome("full", 0, 5, 1000)
    assert (
        recommend(replace(experiment, max_source_loss=21), outcomes)[0] == "norms"
    )  # 2 more wrong are luck, 3 are not


def test_table_and_page(tmp_path):
    outcomes = {START: outcome(START, 8, 3), "full": outcome("full", 1, 5, 1000), "<b>": outcome("<b>", 9, 3, 10)}
    comparisons = {name: compare(outcomes["full"].target, outcomes[name].target) for name in (START, "<b>")}
    rows = strategy_rows(outcomes, comparisons)
    assert rows[1][:2] == ["full", "1,000"] and rows[1][2].startswith("10.0 (") and rows[1][4:6] == ["", ""]
    assert rows[2][4].startswith("+80.0 (") and float(rows[2][5]) < 0.05
    assert strategy_table(rows).count("\n") == 5
    page = write_strategy_report(
        tmp_path,
        title="A question",
        command="python x",
        recommendation="Take full",
        outcomes=outcomes,
        comparisons=comparisons,
        settings={START: {}, "full": {}, "<b>": {"learning_rate": 1}},
        facts={"seeds": "1"},
    )
    html = page.read_text()
    assert "<b>" not in html and "&lt;b&gt;" in html and "learning_rate: 1" in html
    assert {"parameters.png", "retention.png", "strategies.md"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_a_comparison_from_end_to_end(tmp_path):
    """Two rates, two seeds, two at a time. A run that fails does not stop the others; what is done stays done."""
    manifests = {
        name: tiny.write_corpus(tmp_path / name, name, count, seed)
        for seed, (name, count) in enumerate({"train": 12, "new": 6, "old": 6}.items())
    }
    for one in tiny.new_model():
        one.save_pretrained(tmp_path / "start")
    common = {
        "model_name_or_path": str(tmp_path / "start"), "use_cpu": True,
        "dataset_name": str(manifests["train"]), "eval_dataset_name": str(manifests["new"]), "eval_split": "new",
        "batch_seconds": 3, "max_duration_s": 3, "window_size": 8, "max_steps": 4, "eval_strategy": "no",
        "save_strategy": "no", "load_best_model_at_end": False, "report_to": "none", "logging_steps": 1,
    }  # fmt: skip
    config = declare(
        tmp_path / "a.yaml",
        common=common,
        strategies={"low": {}, "high": {"learning_rate": 1e-2}, "bad": {"dataset_name": "{seed}.csv"}},
        target="new",
        source=f"{manifests['old']}::old",
        seeds=[1, 2],
        max_source_loss=1000,
    )
    (tmp_path / "1.csv").write_bytes(manifests["train"].read_bytes())
    command = [sys.executable, str(ROOT / "recipes" / "compare_strategies.py"), str(config)]
    command += ["--processes", "2", "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "bad with seed 1, bad with seed 2" in done.stderr, done.stderr
    assert "1.csv" in done.stderr  # the end of the log

    written = json.loads((tmp_path / "out" / "low" / "seed-1" / "results.json").read_text())
    declare(
        config, **(yaml.safe_load(config.read_text()) | {"strategies": {"low": {}, "high": {"learning_rate": 1e-2}}})
    )
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Take " in done.stdout and (tmp_path / "out" / "index.html").is_file()
    assert json.loads((tmp_path / "out" / "low" / "seed-1" / "results.json").read_text()) == written
    experiment = read_experiment(config)
    outcomes = collect(experiment, plan_runs(experiment, tmp_path / "out"))
    assert list(outcomes) == [START, "low", "high"] and outcomes["high"].target.num_utterances == 12
    assert outcomes["low"].num_trained > 0 and len(outcomes["low"].logs) == 2
