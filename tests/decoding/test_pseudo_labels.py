"""A model as its own teacher: its confidence by hand, its table as training reads it."""

import csv
import runpy
from pathlib import Path

import pytest
import torch

import tiny
from deepspeech2.data.splits import load_train_corpora
from deepspeech2.decoding.pseudo_labels import confidences, pseudo_labels

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "pseudo_label.py"


def test_confidence_is_the_geometric_mean_over_letters():
    """
    Blank (0) at 0.9, letters at 0.8 and 0.5, and a frame of padding that would say 1: sqrt(0.8 x 0.5); of nothing but
    blanks 0.
    """
    logits = torch.tensor(
        [
            [[0.9, 0.1], [0.2, 0.8], [0.5 - 1e-6, 0.5 + 1e-6], [1e-9, 1.0]],
            [[0.9, 0.1]] * 4,
        ]
    ).log()
    found = confidences(logits, torch.tensor([3, 4]), 0)
    assert found.tolist() == pytest.approx([(0.8 * 0.5) ** 0.5, 0.0], abs=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six recordings without a list, and a model of random weights, saved, that hears letters and hardly a blank."""
    folder = tmp_path_factory.mktemp("speech")
    tiny.write_corpus(folder / "recordings", "u", 6)
    (folder / "recordings" / "u.csv").unlink()
    torch.manual_seed(0)
    model, processor = tiny.new_model()
    with torch.no_grad():
        model.ctc_head.weight *= torch.tensor([0.0, 1, 3, 3, 3])[:, None]
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder


def label(folder, min_confidence: float) -> list[dict]:
    words = [str(folder / "model"), "--dataset_name", str(folder / "recordings")]
    words += ["--output_file", str(folder / "labels.csv"), "--min_confidence", str(min_confidence)]
    runpy.run_path(str(RECIPE))["main"](words)
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_recipe_keeps_what_the_model_is_sure_of(folder, capsys):
    every = label(folder, 0.0)
    assert [row["id"] for row in every] == [f"u{index}.wav" for index in range(6)]
    assert "6 of 6 utterances" in capsys.readouterr().out
    sure = sorted(float(row["confidence"]) for row in every)
    assert 0.2 < sure[0] < sure[-1] < 1  # of 5 symbols the likeliest has at least 1 / 5
    least = (sure[2] + sure[3]) / 2
    kept = label(folder, least)
    assert kept == [row for row in every if float(row["confidence"]) > least] and len(kept) == 3
    assert "3 of 6 utterances" in capsys.readouterr().out

    with pytest.raises(SystemExit, match=r"none of 6 utterances has a confidence of 0.999.*lower --min_confidence"):
        label(folder, 0.999)

    data = tiny.data_arguments(folder / "recordings", transcripts=[str(folder / "labels.csv")])
    ((corpus,),) = load_train_corpora(data)
    assert {row["id"]: row["text"] for row in corpus.stream} == {row["id"]: row["text"] for row in kept}


def test_labels_are_the_models_transcripts_sorted_by_id(folder):
    model, processor = tiny.new_model()
    (batch,) = tiny.batches(tiny.write_corpus(folder / "told", "u", 4), model, processor, 1, 4, folder)
    labels = pseudo_labels(model.eval(), processor, [batch])
    outputs = model(batch["input_features"], batch["attention_mask"])
    order = sorted(range(4), key=lambda place: batch["ids"][place])
    expected = {
        "id": batch["ids"],
        "duration_s": batch["durations_s"],
        "text": processor.batch_decode(outputs.logits.argmax(-1)),
        "confidence": confidences(outputs.logits.detach(), outputs.output_lengths, 0).tolist(),
    }
    for name, values in expected.items():
        found = [getattr(label, name) for label in labels]
        assert found == (pytest.approx if name == "confidence" else list)([values[place] for place in order])
