"""benchmarks/startup.py: the sets that it writes, a first batch, and the moments of a launch."""

import json
import os
import time

import pyarrow.parquet as pq
import pytest
import startup

from deepspeech2.config.parser import parse_recipe
from deepspeech2.data.corpora import load_corpus


def test_a_set_is_a_corpus_and_written_once(tmp_path):
    folder = tmp_path / "20"
    startup.write_corpus(folder, 20)
    files = sorted((folder / "train").iterdir())
    assert [pq.read_metadata(file).num_rows for file in files] == [3] * 4 + [2] * 4  # 20 over 8 files
    (corpus,) = load_corpus(str(folder), None, "train")
    rows = list(corpus.stream)
    assert corpus.num_examples == 20 and [row["id"] for row in rows] == [f"utterance-{i:07d}" for i in range(20)]
    assert [row["text"] for row in rows[:5]] == ["yes", "no", "go", "up", "yes"]
    startup.write_scored(folder)
    (scored,) = load_corpus(str(folder), None, "validation")
    assert not {row["audio"]["bytes"] for row in scored.stream} & {row["audio"]["bytes"] for row in rows}
    assert rows[0]["audio"]["bytes"] == rows[4]["audio"]["bytes"] != rows[1]["audio"]["bytes"]
    written = [file.stat().st_mtime_ns for file in files]
    startup.write_corpus(folder, 20)
    assert [file.stat().st_mtime_ns for file in files] == written


def test_larger_sets_have_more_files_and_row_groups(tmp_path, monkeypatch):
    """50 rows in files of at most 5: 10 files; row groups of at most 2: 3 in each."""
    monkeypatch.setattr(startup, "SHARD_ROWS", 5)
    monkeypatch.setattr(startup, "GROUP_ROWS", 2)
    startup.write_corpus(tmp_path / "50", 50)
    files = list((tmp_path / "50" / "train").iterdir())
    assert [pq.read_metadata(file).num_row_groups for file in files] == [3] * 10


def test_a_first_batch_is_all_of_a_small_set(tmp_path):
    """20 clips of 0.2 s are below the 60 s of mini.yaml."""
    startup.write_corpus(tmp_path / "20", 20)
    assert startup.measure(tmp_path / "20", seed=1)["clips"] == 20


SCRIPT = """
import torch

def main(argv):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        print("step", step, *argv, flush=True)
        model(torch.ones(1, 1)).backward()
        optimizer.step()
"""


def test_a_launch_ends_at_the_first_step(tmp_path, capfd):
    script = tmp_path / "finetune.py"
    script.write_text(SCRIPT)
    now = time.time()
    with pytest.raises(SystemExit) as ended:
        startup.first_step(now - 2, now - 1, ["--seed", "1"], script)
    assert ended.value.code is None
    *said, times = capfd.readouterr().out.splitlines()
    times = json.loads(times)
    assert said == ["step 0 --seed 1"] and list(times) == list(startup.STAGES)
    assert list(times.values()) == sorted(times.values())


def test_nothing_is_noted_after_a_launch(tmp_path, capfd):
    """The hooks on modules and optimizers, which are global, are gone."""
    test_a_launch_ends_at_the_first_step(tmp_path, capfd)
    namespace: dict = {}
    exec(SCRIPT, namespace)
    namespace["main"]([])
    assert capfd.readouterr().out == "step 0\nstep 1\n"


def test_stages_of_launches():
    """Two launches: 2 and 4 s to the script, 6 and 8 to have imported, then 1 and 3 and 5 and 5 s; in all 14 and 20."""
    moments = [[100, 102, 108, 109, 114], [200, 204, 212, 215, 220]]
    rows = startup.in_stages([dict(zip(startup.STAGES, own, strict=True)) for own in moments])
    assert [figures for _, figures in rows] == [
        "3.0 (2.0-4.0)",
        "7.0 (6.0-8.0)",
        "2.0 (1.0-3.0)",
        "5.0 (5.0-5.0)",
        "10.0 (8.0-12.0)",  # all imports
        "17.0 (14.0-20.0)",  # whole
    ]


def test_a_launch_is_a_recipe(tmp_path):
    words = startup.of_corpus(tmp_path, str(tmp_path / "run"))
    recipe = parse_recipe(words, startup.MINI)
    data = recipe.data
    assert (data.dataset_name, data.train_split, data.eval_split) == ([str(tmp_path)], ["train"], "validation")
    assert recipe.augmentation.spec_augment and recipe.training.output_dir == str(tmp_path / "run")


def test_the_launcher_is_there():
    assert os.access(startup.ACCELERATE[0], os.X_OK)
