"""benchmarks/transfer.py: its tables, and that no training is taken for one of other settings."""

import json

import pytest
import transfer
import yaml


def test_the_report_pools_the_seeds(tmp_path, monkeypatch, capsys):
    """Two clips of two words a run: before, none is right; after, 1, 2 and 3 of 4 are; from random weights, none."""
    monkeypatch.setattr(transfer, "OUTPUT", tmp_path)
    for task in ("commands", "telephone", *(f"speaker-{minutes}min" for minutes in transfer.SPEAKER_MINUTES)):
        for seed in (1, 2, 3):
            for stage, right in (("before fine-tuning", 0), ("after fine-tuning", seed), ("from random weights", 0)):
                words = ["yes"] * right + ["no"] * (4 - right)
                rows = [
                    {"id": f"c{clip}", "speaker_id": "ann", "duration_s": 1.0, "reference": "yes yes",
                     "hypothesis": " ".join(words[2 * clip : 2 * clip + 2])}
                    for clip in (0, 1)
                ]  # fmt: skip
                path = tmp_path / f"{task}-{seed}" / transfer.STAGES[stage] / "test.jsonl"
                path.parent.mkdir(parents=True)
                path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    transfer.write_report([1, 2, 3])
    table = (tmp_path / "transfer.md").read_text()
    assert table == capsys.readouterr().out.rstrip("\n") + "\n"
    # 1 - (1 + 2 + 3) / 12 = 50 %, of the single runs 75, 50 and 25 %. A clip is drawn with all its seeds: c0 has
    # 1 + 0 + 0 of 6 words wrong, c1 2 + 2 + 1 of 6, so that the interval is 17 to 83 %.
    assert (
        "| voice commands | 100.0 (100.0-100.0) | 50.0 (16.7-83.3; 75.0, 50.0, 25.0) | 100.0 (100.0-100.0) | 50% |"
        in table
    )
    assert (tmp_path / "transfer.png").is_file() and (tmp_path / "new_speaker.png").is_file()


def test_results_of_other_settings_are_not_taken(tmp_path):
    settings = {"seed": 1, "max_steps": 5}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings | {"output_dir": str(tmp_path), "use_cpu": True}))
    (tmp_path / "results.json").write_text("{}")
    transfer.train_once(tmp_path, settings)  # nothing runs: there is no dataset_name
    with pytest.raises(SystemExit, match=r"max_steps was 5 and is 6\. Remove the folder"):
        transfer.train_once(tmp_path, settings | {"max_steps": 6})
