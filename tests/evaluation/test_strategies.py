"""Strategies against each other: what is declared, what is run, what the figures say."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import forked
import tiny
from deepspeech2.evaluation.experiments import START, Experiment, plan_runs, read_experiment
from deepspeech2.evaluation.metrics import Utterance, compare_over_seeds, over_seeds
from deepspeech2.evaluation.reports import few_speakers, strategy_rows, strategy_table, write_strategy_report
from deepspeech2.evaluation.scoring import read_utterances
from deepspeech2.evaluation.strategies import Outcome, collect, recommend
from killed_runs import wait_for

ROOT = Path(__file__).resolve().parents[2]


def heard(wrong: int, count: int = 10) -> list[Utterance]:
    """Of ten words, a clip and a speaker each, so many wrong."""
    return [Utterance(f"u{n}", f"s{n}", 1.0, "yes", "no" if n < wrong else "yes") for n in range(count)]


def outcome(name: str, target: int, source: int, num_trained: int = 0, own_budget: bool = False) -> Outcome:
    scores = (over_seeds({1: heard(wrong)}) for wrong in (target, source))
    return Outcome(name, *scores, num_trained=num_trained, own_budget=own_budget)


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
    strategies: dict = {"full": {}, "head": {}, "norms": {}, "longer": {"budget": "own"}}
    experiment = Experiment("", {}, strategies, "full", "", "", max_source_loss=11)
    name, reason = recommend(experiment, outcomes)
    assert name == "head" and "2 of 3 strategies" in reason and "+0.0 points" in reason
    outcomes |= {"full": outcome("full", 0, 5, 1000), "head": outcome("head", 6, 3, 10)}
    outcomes["longer"] = outcome("longer", 0, 3, 5)  # out of competition
    allowed = replace(experiment, max_source_loss=21)
    assert recommend(allowed, outcomes)[0] == "norms"  # 2 more wrong than full's are luck, 6 are not


def test_the_start_is_recommended_where_nothing_is_better():
    """Of ten words the start has 3 wrong; 2 fewer are luck."""
    experiment = Experiment("", {}, {"full": {}}, "full", "", "")
    name, reason = recommend(experiment, {START: outcome(START, 3, 3), "full": outcome("full", 4, 3, 10)})
    assert name == START and "None of them has a lower target WER than the start, 30.0 %" in reason
    name, reason = recommend(experiment, {START: outcome(START, 3, 3), "full": outcome("full", 1, 3, 10)})
    assert name == START and "10.0 %. This is not significantly lower than that of the start, 30.0 %" in reason
    name, reason = recommend(experiment, {START: outcome(START, 3, 3), "full": outcome("full", 0, 5, 10)})
    assert name == START and reason.startswith("0 of 1 strategies")


def test_few_speakers_are_doubted():
    """Two of five have nearly all the words."""
    words = {"a": 100, "b": 73, "c": 5, "d": 2, "e": 1}
    said = [Utterance(name, name, 1.0, " ".join(["yes"] * count), "") for name, count in words.items()]
    doubt = few_speakers(over_seeds({1: said, 2: said}))
    assert "5 speakers (or clips) of the target count like 2.1 of equal size" in doubt and "too small" in doubt
    many = [Utterance(str(place), str(place), 1.0, "yes", "") for place in range(8)]
    assert few_speakers(over_seeds({1: many})) == ""


def test_table_and_page(tmp_path, rendered):
    outcomes = {START: outcome(START, 8, 3), "full": outcome("full", 1, 5, 1000), "<b>": outcome("<b>", 9, 3, 10, True)}
    comparisons = {name: compare_over_seeds(outcomes["full"].target, outcomes[name].target) for name in (START, "<b>")}
    rows = strategy_rows(outcomes, comparisons)
    assert rows[1][:2] == ["full", "1,000"] and rows[1][2].startswith("10.0 (") and rows[1][4:6] == ["", ""]
    assert rows[2][0] == "<b> (own budget)" and rows[2][4].startswith("+80.0 (") and float(rows[2][5]) < 0.05
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
    assert "vary like" not in html  # ten clips of a word each
    assert "<b>" not in html and "&lt;b&gt;" in html and "learning_rate: 1" in html
    assert {"parameters.png", "retention.png", "strategies.md"} <= {path.name for path in tmp_path.iterdir()}


def declare(folder: Path, **changes) -> tuple[Path, list[str]]:
    """An experiment on tones, and the command that carries it out."""
    manifests = {
        name: tiny.write_corpus(folder / name, name, count, seed)
        for seed, (name, count) in enumerate({"train": 12, "new": 6, "old": 6}.items())
    }
    model, processor = tiny.new_model()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    common = {
        "model_name_or_path": str(folder / "model"), "use_cpu": True, "dataset_name": str(manifests["train"]),
        "eval_dataset_name": str(manifests["new"]), "eval_split": "new", "batch_seconds": 3, "max_duration_s": 3,
        "window_size": 8, "max_steps": 4, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False,
        "report_to": "none", "logging_steps": 1,
    }  # fmt: skip
    experiment = {
        "title": "A question", "common": common | changes.pop("common", {}), "baseline": "low",
        "strategies": {"low": {}, "high": {"learning_rate": 1e-2}}, "target": "new",
        "source": f"{manifests['old']}::old", "seeds": [1, 2], "max_source_loss": 1000,
    }  # fmt: skip
    config = folder / "experiment.yaml"
    config.write_text(yaml.safe_dump(experiment | changes, sort_keys=False))
    recipe = str(ROOT / "recipes" / "compare_strategies.py")
    return config, ["python", recipe, str(config), "--output_dir", str(folder / "out")]


@pytest.mark.slow
def test_a_comparison_from_end_to_end(tmp_path):
    """Two rates, two seeds, two at a time. A run that fails does not stop the others; what is done stays done."""
    strategies = {"low": {}, "high": {"learning_rate": 1e-2}, "bad": {"dataset_name": "{seed}.csv"}}
    config, command = declare(tmp_path, strategies=strategies, common={"score_start": False})
    (tmp_path / "1.csv").write_text("audio,text\nnothing.wav,a\n")
    done = forked.run([*command, "--num_workers", "2"], cwd=tmp_path)
    assert done.returncode == 1 and "bad with seed 1; bad with seed 2" in done.stderr, done.stderr
    assert "nothing.wav" in done.stderr and "2.csv" in done.stderr  # the end of each log
    assert "| high |" in done.stdout and "| bad |" not in done.stdout and "Take " in done.stdout

    results = tmp_path / "out" / "low" / "seed-1" / "results.json"
    written = results.stat().st_mtime_ns
    _, command = declare(tmp_path)
    os.utime(tmp_path / "model" / "model.safetensors", (0, 0))
    done = forked.run(command, cwd=tmp_path)
    assert done.returncode == 0 and "4 of them finished" in done.stdout, done.stderr
    assert results.stat().st_mtime_ns == written and (tmp_path / "out" / "index.html").is_file()
    experiment = read_experiment(config)
    outcomes = collect(experiment, plan_runs(experiment, tmp_path / "out"))
    scored = sorted(path.parent.parent.name for path in (tmp_path / "out").glob("*/*/scores-before"))
    assert scored == [experiment.baseline] * len(experiment.seeds)  # the others start from the same weights
    assert list(outcomes) == [START, "low", "high"]
    before = read_utterances(tmp_path / "out" / "low" / "seed-1" / "scores-before" / "new.jsonl")
    assert [one.hypothesis for one in outcomes[START].target.runs[1].utterances] == [one.hypothesis for one in before]
    assert [scores.num_utterances for scores in outcomes["high"].target.runs.values()] == [6, 6]
    swapped = replace(experiment, baseline="high")
    again = collect(swapped, plan_runs(swapped, tmp_path / "out"))
    assert again[START].target.runs.keys() == {1, 2} and again[START].target.wer == outcomes[START].target.wer
    assert outcomes["low"].num_trained > 0 and len(outcomes["low"].logs) == 2

    done = forked.run([*command, "--set", "learning_rate=0.5"], cwd=tmp_path)
    assert done.returncode != 0 and "low/seed-1 holds a run with other settings" in done.stderr
    assert "learning_rate was None and is 0.5" in done.stderr and "high: " not in done.stderr


@pytest.mark.slow
def test_a_comparison_that_is_stopped_goes_on(tmp_path):
    """SIGTERM during the second of two runs: the first stays, the second goes on from the checkpoint that it left."""
    saving = {"max_steps": 60, "save_strategy": "steps", "save_steps": 60}
    _, command = declare(tmp_path, common=saving, seeds=[1])
    second = tmp_path / "out" / "high" / "seed-1"
    printed, log = tmp_path / "printed.txt", second / "log.txt"
    with printed.open("w") as file:
        process = forked.Forked(command, cwd=tmp_path, stdout=file, stderr=file)
    wait_for(lambda: log.is_file() and "loss=" in log.read_text(), printed, limit_s=300)
    assert "1 of 2: low" in printed.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) != 0 and "run the same command to resume" in printed.read_text()
    (checkpoint,) = second.glob("checkpoint-*")
    assert checkpoint.name != "checkpoint-60" and not (second / "results.json").exists()

    first = tmp_path / "out" / "low" / "seed-1" / "results.json"
    written = first.stat().st_mtime_ns
    done = forked.run(command, cwd=tmp_path)
    assert done.returncode == 0 and "1 of them finished" in done.stdout, done.stderr
    assert first.stat().st_mtime_ns == written
    steps = [line["step"] for line in json.loads((second / "trainer_state.json").read_text())["log_history"]]
    assert max(steps) == 60 and checkpoint.name in (second / "log.txt").read_text()
    assert not list(second.glob("checkpoint-*"))  # of a finished run the model is enough
