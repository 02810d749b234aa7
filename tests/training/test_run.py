"""recipes/finetune.py as its user runs it, on a tiny corpus: stages, files, resumes, refusals."""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
import torch
from filelock import FileLock
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForCTC, AutoProcessor

import forked
import pictures
import tiny
from deepspeech2.config.arguments import AugmentationArguments, Recipe
from deepspeech2.config.method_arguments import AdaptationArguments
from deepspeech2.data.splits import load_speech
from deepspeech2.evaluation import scoring
from deepspeech2.evaluation.metrics import Utterance, score
from deepspeech2.evaluation.scoring import say_what_it_brought
from deepspeech2.system.command_line import end_run, run
from deepspeech2.training import results as write_up
from deepspeech2.training import rival
from deepspeech2.training import run as runs
from deepspeech2.training.plan import plan_training
from deepspeech2.training.run import hold_to_recipe, set_up_training, train
from deepspeech2.training.start import Run
from finetuning import (
    RECIPE,
    ROOT,
    arguments,
    exit_message,
    finetune,
    launch,
    results,
    write_inputs,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("finetune")
    write_inputs(root)
    return root


@pytest.fixture(scope="module")
def first(folder):
    """A run from random weights."""
    with pictures.rendered():
        finetune(str(folder / "config.yaml"), "--output_dir", str(folder / "first"))
    return folder / "first"


@pytest.fixture(scope="module")
def second(folder, first):
    """A run from the checkpoint of the first one, and then one from random weights."""
    options = ["--model_name_or_path", str(first), "--compare_with_scratch", "--ema_decay", "0.5", "--seed", "4"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rival, "available_cpus", lambda: 1)  # a process beside it would import for seconds
        finetune(str(folder / "tune.yaml"), "--output_dir", str(folder / "second"), *options)
    return folder / "second"


def test_a_run_from_random_weights(first, folder):
    found = results(first)
    assert list(found["results"]) == ["after training"]
    assert list(found["results"]["after training"]) == ["other/test", "clean/test"]
    for scores in found["results"]["after training"].values():
        assert scores["num_utterances"] == 5 and scores["num_words"] == 10 and scores["num_speakers"] == 3
    assert found["run"]["optimizer steps"] == "4 of 4" and found["run"]["seed"] == "3"
    command = f"python recipes/finetune.py {folder / 'config.yaml'} --output_dir {first}"
    assert found["run"]["command"] == command
    model = AutoModelForCTC.from_pretrained(first)
    assert model.config.hidden_size == 16 and found["run"]["parameters"] == f"{model.num_parameters():,}"
    assert AutoProcessor.from_pretrained(first).feature_extractor.feature_size == 20


def test_what_a_run_leaves(first):
    for name in ("other-test", "clean-test"):
        rows = [json.loads(line) for line in (first / "scores-after" / f"{name}.jsonl").read_text().splitlines()]
        assert sorted(row["id"] for row in rows) == [f"test{i}" for i in range(5)]
        assert all(set(row["reference"]) <= set(" abc") and row["duration_s"] > 0 for row in rows)
    page = (first / "report" / "index.html").read_text()
    assert "after training" in page and "finetune.py" in page
    assert all((first / "report" / name).stat().st_size > 5000 for name in ("results.png", "training.png"))
    assert list(first.glob("runs/*/events.out.tfevents.*"))
    assert {path.name for path in first.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}


def test_the_card_is_the_hubs(first):
    card = ModelCard.load(first / "README.md")
    assert card.data.library_name == "transformers" and card.data.pipeline_tag == "automatic-speech-recognition"
    after = results(first)["results"]["after training"]
    measured = {(r.dataset_config, r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    for config, name in (("other", "other/test"), ("clean", "clean/test")):
        for metric in ("wer", "cer"):
            assert measured[config, "test", metric] == pytest.approx(100 * after[name][metric], abs=0.005)
    assert "max_steps: 4" in card.content


def test_before_after_and_from_random_weights(first, second):
    found, origin = results(second)["results"], results(first)["results"]
    assert list(found) == ["before fine-tuning", "after training", "same budget from random weights"]
    assert found["before fine-tuning"] == origin["after training"]  # the same weights
    for name in ("scores-before", "scores-after", "scores-from-random-weights"):
        assert (second / name / "clean-test.jsonl").is_file()
    own, rival = (load_file(run / "model.safetensors") for run in (second, second / "from-random-weights"))
    start = load_file(first / "model.safetensors")

    def distance(weights):
        return sum((weights[name] - start[name]).float().square().sum() for name in start if "weight" in name).sqrt()

    assert 0 < distance(own) < distance(rival) / 10
    card = ModelCard.load(second / "README.md")
    assert "Fine-tuned from the local checkpoint `first`" in card.content
    page = (second / "report" / "index.html").read_text()
    assert all(stage in page for stage in found)
    assert all(list(run.glob("runs/*/*")) for run in (second, second / "from-random-weights"))


def test_the_rival_starts_from_the_seed(second, folder, tmp_path):
    """A third run of the rival, all by itself, starts where it started: at the same first loss."""
    logs = json.loads((second / "from-random-weights" / "trainer_state.json").read_text())["log_history"]
    options = ["--output_dir", str(tmp_path), "--ema_decay", "0.5", "--seed", "4", "--max_steps", "2"]
    finetune(str(folder / "config.yaml"), *options)
    alone = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    assert alone[0]["loss"] == logs[0]["loss"]


def test_the_same_command_again_only_scores(folder, first):
    files = [first / "model.safetensors", first / "trainer_state.json"]
    before = results(first), [path.stat().st_mtime_ns for path in files]
    finetune(str(folder / "config.yaml"), "--output_dir", str(first))
    assert (results(first), [path.stat().st_mtime_ns for path in files]) == before


def test_a_run_that_stopped_early_is_finished(folder, tmp_path, monkeypatch, caplog):
    """One evaluation without a better WER, the second, ends it after step 2 of 9; the same again trains no more."""
    every_step = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    options = {"max_steps": 9, "load_best_model_at_end": True, "early_stopping_patience": 1, **every_step}
    caplog.set_level("INFO")
    found = iter([0.4, 0.5])
    own_score = scoring.score

    def score(utterances):
        scores = own_score(utterances)
        facts = {"num_utterances": scores.num_utterances, "utterances": scores.utterances}
        return type("Scores", (), {"wer": next(found), "cer": 0.0} | facts)

    monkeypatch.setattr(scoring, "score", score)
    for _ in range(2):
        model = train(*arguments(folder, tmp_path, **options))
        best = load_file(tmp_path / "checkpoint-1" / "model.safetensors")
        assert all(tensor.equal(best[name]) for name, tensor in model.state_dict().items())
    assert json.loads((tmp_path / "trainer_state.json").read_text())["global_step"] == 2
    assert "stopped early at step 2 of 9" in caplog.text
    assert "kept the best checkpoint, from step 1" in caplog.text


def test_the_last_step_is_not_called_the_best(folder, tmp_path, caplog):
    every_step = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    caplog.set_level("INFO")
    model = train(*arguments(folder, tmp_path, max_steps=2, load_best_model_at_end=False, **every_step))
    last = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    assert all(tensor.equal(last[name]) for name, tensor in model.state_dict().items())
    assert "kept the best" not in caplog.text


def losses(run: Path) -> list[float]:
    lines = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("changed", ["processes", "batch size"])
def test_another_order_is_a_new_beginning_and_said(folder, tmp_path, caplog, changed):
    """Weights and steps go on, the samples start anew; what is resumed after that goes on from there, exactly."""
    every_step = {"save_strategy": "steps", "save_steps": 1}
    for name in ("whole", "again"):
        run = tmp_path / name
        train(*arguments(folder, run, max_steps=2, **every_step))
        (run / "model.safetensors").unlink()  # as if killed before the end
        options = every_step | {"max_steps": 4}
        if changed == "processes":
            path = run / "checkpoint-2" / "data_position_0_of_1.pt"
            position = torch.load(path, weights_only=True)
            torch.save(position | {"order": position["order"] | {"world_size": 2}}, path)
        else:
            options["per_device_train_batch_size"] = 2
        if name == "again":
            train(*arguments(folder, run, **options | {"max_steps": 3}))
            (run / "model.safetensors").unlink()
        train(*arguments(folder, run, **options))
    words = {"processes": "world_size was 2 and is 1", "batch size": "batch_size was 3 and is 2"}[changed]
    assert f"{words}: weights, optimizer and schedule resume from step 2, but the order" in caplog.text
    assert len(losses(tmp_path / "whole")) == 4
    assert losses(tmp_path / "again")[:3] == losses(tmp_path / "whole")[:3]
    plain = tmp_path / "plain"
    train(*arguments(folder, plain, max_steps=4))
    assert losses(plain)[:1] == losses(tmp_path / "whole")[:1]
    assert losses(plain)[2] != losses(tmp_path / "whole")[2]


def test_a_checkpoint_that_is_not_whole_is_passed_over(folder, tmp_path, caplog):
    train(*arguments(folder, tmp_path, max_steps=2, save_strategy="steps", save_steps=1))
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "checkpoint-2" / "optimizer.pt").unlink()
    train(*arguments(folder, tmp_path, max_steps=3))
    assert (
        "checkpoint-2 is incomplete (no optimizer.pt), so it is ignored" in caplog.text and len(losses(tmp_path)) == 3
    )


def test_a_run_beside_another_is_refused(folder, tmp_path, monkeypatch):
    tmp_path.joinpath("run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        message = exit_message(monkeypatch, str(folder / "config.yaml"), "--output_dir", str(tmp_path / "run"))
    assert "another run is writing to" in message


@pytest.mark.parametrize("given", [{}, {"low_rank": 2}])
def test_a_run_that_was_moved_is_finished(folder, tmp_path, given):
    every_step = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    options = {"max_steps": 2, "load_best_model_at_end": True, **every_step}

    def train_in(name: str) -> None:
        train(*arguments(folder, tmp_path / name, AdaptationArguments(**given), **options))

    train_in("a")
    (tmp_path / "a" / "model.safetensors").unlink()  # as if killed before the end
    (tmp_path / "a" / "trainer_state.json").unlink()
    (tmp_path / "a").rename(tmp_path / "b")
    train_in("b")
    assert (tmp_path / "b" / "trainer_state.json").is_file()


def test_statistics_are_found_anew_on_what_is_trained_on(folder, tmp_path, monkeypatch):
    """Shuffled, in the shares of the mixture, as it is recorded; each process as many batches."""
    heard = []

    def reestimate(model, batches):
        heard.extend(batches)
        return len(heard)

    monkeypatch.setattr(runs, "reestimate_norms", reestimate)
    monkeypatch.setattr(runs, "NORM_BATCHES", 20)
    names = [str(folder / name / f"{name}.csv") for name in ("test", "train")]
    data = tiny.data_arguments(folder / "train" / "train.csv", dataset_name=names, mixture_weights=[0.25, 0.75])
    training = tiny.training_arguments(tmp_path, max_steps=1)
    louder = AugmentationArguments(gain_db=12.0, speed_perturbation=0.3)
    adaptation = AdaptationArguments(norm_statistics="reestimate")
    recipe = Recipe(data=data, training=training, augmentation=louder, adaptation=adaptation)
    run = Run(recipe, load_speech(data), *tiny.new_model())
    train(run, plan_training(run))
    ids = [one for batch in heard for one in batch["ids"]]
    assert 5 <= len(heard) <= 8 and ids != sorted(ids)  # one pass over 17 clips
    assert sum(one.startswith("test") for one in ids) / len(ids) == pytest.approx(0.25, abs=0.1)
    recordings = [path for name in ("test", "train") for path in (folder / name).glob("*.wav")]
    spoken_s = {path.stem: soundfile.info(path).duration for path in recordings}
    for batch in heard:
        assert batch["durations_s"] == pytest.approx([spoken_s[one] for one in batch["ids"]], abs=1e-3)


def test_what_is_left_out_is_said_while_training_goes_on(folder, tmp_path, caplog):
    run, plan = arguments(folder, tmp_path)
    examples = plan.stream.examples
    examples.filters = dataclasses.replace(examples.filters, max_duration_s=0.9)
    train(run, plan)
    said = [record for record in caplog.records if record.name == "deepspeech2.training.callbacks"]
    assert said and said[0].levelname == "WARNING" and "too_long" in said[0].message


def test_epochs_are_counted_by_the_corpus(folder, tmp_path):
    """12 clips in batches of 3: 4 steps an epoch, of which an evaluation and a checkpoint each."""
    epochs = {"max_steps": -1, "num_train_epochs": 2, "eval_strategy": "epoch", "save_strategy": "epoch"}
    train(*arguments(folder, tmp_path, **epochs))
    lines = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    assert [(line["step"], line["epoch"]) for line in lines if "eval_wer" in line] == [(4, 1.0), (8, 2.0)]
    assert (tmp_path / "checkpoint-4").is_dir() and (tmp_path / "checkpoint-8").is_dir()


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv, parts",
    [
        (["--dataset_name", "nowhere.csv"], ["no file or folder 'nowhere.csv'"]),
        (["--dataset_name", "nobody/nothing"], ["'nobody/nothing'"]),
        (["--eval_split", "dev"], ["dev", "hub"]),
        (["--test_split", "clean/test", "clean/exam"], ["exam", "hub"]),
        (["--lerning_rate", "1"], ["unknown key 'lerning_rate'", "learning_rate"]),
        (["--model_config", '{"hiden_size": 8}'], ["model_config: unknown key 'hiden_size'", "hidden_size"]),
        (["--model_config", '{"hidden_size": 0}'], ["hidden_size is 0"]),
        (["--num_processes", "2"], ["num_processes is 2, but 1 process(es) run"]),
        (["--characters", "xyz"], ["fatal problems", "nothing_usable", "unknown_characters"]),
    ],
)
def test_a_mistake_ends_in_one_message(folder, tmp_path, monkeypatch, argv, parts):
    message = exit_message(monkeypatch, str(folder / "config.yaml"), "--output_dir", str(tmp_path / "out"), *argv)
    assert message.startswith("finetune.py: ")
    for part in parts:
        assert part in message
    assert not list(tmp_path.glob("out/checkpoint-*"))


@pytest.mark.parametrize(
    "name, part", [("nowhere", "is not a model"), ("nobody/nothing", "cannot be loaded"), ("{folder}", "wav2vec2")]
)
def test_what_is_no_checkpoint_ends_in_one_message(folder, tmp_path, monkeypatch, name, part):
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    name = name.format(folder=tmp_path)
    options = ["--output_dir", str(tmp_path / "out"), "--model_name_or_path", name]
    message = exit_message(monkeypatch, str(folder / "tune.yaml"), *options)
    assert name in message and part in message and "\n" not in message.strip()


@pytest.mark.slow
def test_a_mistake_shows_no_traceback(folder):
    command = [sys.executable, str(RECIPE), str(folder / "config.yaml"), "--eval_split", "dev"]
    done = forked.run(command)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("finetune.py: ")


def test_processes_that_would_train_alone_are_refused(tmp_path, monkeypatch):
    training = tiny.training_arguments(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ValueError, match=r"2 processes were launched, but each of them would train a separate model.*--use_cpu true"
    ):
        set_up_training(training)


def test_the_hub_token_is_not_published(folder, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text((folder / "config.yaml").read_text() + "hub_token: hf_secret\n")
    out = tmp_path / "out"
    finetune(
        str(tmp_path / "config.yaml"),
        "--output_dir",
        str(out),
        "--hub_token",
        "hf_secret",
        "--test_split",
        "clean/test",
    )
    assert "--hub_token <token> " in results(out)["run"]["command"]
    pages = [out / "README.md", out / "results.json", out / "report" / "index.html"]
    assert not [path for path in pages if "hf_secret" in path.read_text()]
    assert "hf_secret" not in capsys.readouterr().out


def test_no_git_no_commit(monkeypatch):
    assert len(write_up._commit().removesuffix("-dirty")) == 40
    monkeypatch.setenv("PATH", "")
    assert write_up._commit() == "unknown: git is not installed"


# Several processes -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_train_as_one_that_accumulates(folder, tmp_path):
    """
    The same two readers feed two processes side by side, or one that adds up two batches a step.

    Losses agree to 1e-4: sums are made in another order. Batch-norm statistics are those of each process's own
    batch in training, here and there; only the running ones differ (two processes keep the first one's), so that
    evaluations are not compared.
    """
    options = ["--max_steps", "8", "--num_readers", "2", "--ema_decay", "0.9", "--test_split", "clean/test"]
    done = launch(str(folder / "config.yaml"), *options, "--num_processes", "2", "--output_dir", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert "2 process(es) on " in done.stderr
    alone = [*options, "--gradient_accumulation_steps", "2", "--output_dir", str(tmp_path / "one")]
    finetune(str(folder / "config.yaml"), *alone)
    losses = []
    for name in ("one", "two"):
        lines = json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"]
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert len(losses[0]) == 8 and max(losses[0]) > 1.2 * min(losses[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for name in ("data_position_0_of_2.pt", "data_position_1_of_2.pt"):
        assert (tmp_path / "two" / "checkpoint-8" / name).is_file()


@pytest.mark.slow
def test_two_processes_without_use_cpu_are_refused(folder, tmp_path):
    done = launch(str(folder / "config.yaml"), "--use_cpu", "false", "--output_dir", str(tmp_path))
    assert done.returncode != 0 and not list(tmp_path.glob("checkpoint-*"))
    assert "2 processes were launched, but each of them would train a separate model" in done.stderr


def test_a_started_run_is_held_to_its_settings(tmp_path):
    training = tiny.training_arguments(tmp_path)

    def hold(**settings) -> None:
        hold_to_recipe(Recipe(training=training, settings=settings))

    hold(seed=1, dataset_name=["mistyped"])
    (tmp_path / "drops").mkdir()
    hold(seed=1, dataset_name=["speech"])  # nothing was trained: the note is replaced
    assert not (tmp_path / "drops").exists()
    (tmp_path / "checkpoint-2").mkdir()
    hold(seed=1, dataset_name=["speech"], logging_steps=7)
    with pytest.raises(ValueError, match=r"learning_rate was 0\.001 and is 0\.1; seed was 1 and is 2"):
        hold(seed=2, dataset_name=["speech"], learning_rate=0.1)


def test_a_model_of_another_origin_is_not_replaced(tmp_path):
    model = tmp_path / "model.safetensors"
    for path in (model, tmp_path / "drops" / "a.jsonl"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("weights")
    with pytest.raises(ValueError, match=r"holds a model without the recipe\.json of a run.*--model_name_or_path"):
        hold_to_recipe(Recipe(training=tiny.training_arguments(tmp_path), settings={"seed": 1}))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.jsonl", "drops", "model.safetensors"]


def test_folders_that_are_not_shared_are_refused(tmp_path, monkeypatch):
    """Two machines, each with a folder of its own by the same name."""
    training = SimpleNamespace(folder=tmp_path, process_index=0, world_size=2)
    monkeypatch.setattr(runs, "gather_object", lambda own: [*own, ("nothing", [])])
    with pytest.raises(ValueError, match=r"process\(es\) 1 see other files.*file system that all of them share"):
        hold_to_recipe(Recipe(training=training, settings={"seed": 1}))
    monkeypatch.setattr(runs, "gather_object", lambda own: own * 2)
    hold_to_recipe(Recipe(training=training, settings={"seed": 1}))


def test_a_training_that_brought_nothing_is_said(caplog):
    def heard(text: str):
        return score([Utterance("u", "s", 1.0, "a b", text)])

    say_what_it_brought({"x": heard("a c"), "y": heard("a c")}, {"x": heard("c c"), "y": heard("a b"), "z": heard("c")})
    assert [record.message.partition(":")[0] for record in caplog.records] == ["x"]
    assert "50.00 % before, 100.00 % after" in caplog.text


@pytest.mark.parametrize(
    "error",
    [OSError(30, "Read-only file system", "out/x"), OSError(28, "No space left on device", "out/x"),
     OSError("2320 requested and 0 written"), PermissionError(13, "Permission denied", "out/x")],
)  # fmt: skip
def test_a_folder_that_takes_nothing_is_a_message(error):
    with pytest.raises(SystemExit, match=r"score.py: .*; expected a writable folder with free space"):
        end_run("score.py", error)


def test_ctrl_c_is_a_message(monkeypatch):
    def interrupted(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["recipes/score.py"])
    with pytest.raises(SystemExit, match=r"^score\.py: stopped by Ctrl-C$"):
        run(interrupted)


def test_an_error_of_ours_is_a_message_and_another_a_traceback():
    with pytest.raises(ValueError) as ours:
        hold_up = tiny.training_arguments("unused")
        hold_up.num_processes = 2
        set_up_training(hold_up)
    with pytest.raises(SystemExit, match=r"finetune\.py: num_processes is 2"):
        end_run("finetune.py", ours.value)
    worker = ValueError(
        f"Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        f'  File "/x/torch/fetch.py", line 2, in fetch\n  File "{runs.__file__}", line 9, in run\n'
        "    raise ValueError(\n"
        "ValueError: nothing in a.csv can be used\n"
    )
    with pytest.raises(SystemExit, match=r"^finetune\.py: nothing in a\.csv can be used$"):
        try:
            raise worker
        except ValueError as error:
            end_run("finetune.py", error)
    with pytest.raises(ValueError) as other:
        int("x")
    with pytest.raises(ValueError, match="invalid literal"):
        end_run("finetune.py", other.value)


@pytest.mark.slow
def test_the_card_names_the_launch(folder, tmp_path):
    """`accelerate launch` with its own options, as the run was started; and two processes score as one."""
    options = ["--num_processes", "2", "--max_steps", "2", "--output_dir", str(tmp_path)]
    done = launch(str(folder / "config.yaml"), *options, fork=False)
    assert done.returncode == 0, done.stderr
    command = results(tmp_path)["run"]["command"]
    config = ROOT / "accelerate_configs" / "cpu_ddp.yaml"
    assert command.startswith(f"accelerate launch --config_file {config} recipes/finetune.py {folder}")
    assert results(tmp_path)["results"]["after training"]["clean/test"]["num_utterances"] == 5
