"""Greedy transcription of batches, and its figures."""

from types import SimpleNamespace

import pytest
import torch

import tiny
from deepspeech2.data.splits import load_train_corpora
from deepspeech2.evaluation import scoring
from deepspeech2.evaluation.metrics import Utterance, score
from deepspeech2.evaluation.scoring import read_utterances, score_model, transcribe, write_utterances
from deepspeech2.training.plan import build_eval_stream


class Says(torch.nn.Module):
    """A model that hears the token ids written in its features: (B, T, 1) holds one id a frame."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.modes = []

    def forward(self, input_features, attention_mask, labels=None):
        self.modes.append((self.training, torch.is_inference_mode_enabled()))
        logits = torch.nn.functional.one_hot(input_features[..., 0].long(), 5).float()
        return SimpleNamespace(logits=logits, loss=None if labels is None else torch.tensor(1.5))


def batch_of(names: list[str], frames: list[list[int]], texts: list[str], labels: bool = True) -> dict:
    features = torch.tensor(frames)[..., None].float()
    batch = {"input_features": features, "attention_mask": torch.ones(features.shape[:2]), "ids": names, "texts": texts}
    batch |= {"speaker_ids": ["s"] * len(names), "durations_s": [2.0] * len(names)}
    batch["columns"] = [{"name": name} for name in names]
    return batch | ({"labels": torch.zeros(1)} if labels else {})


@pytest.fixture(scope="module")
def processor():
    return tiny.new_model()[1]  # 0 blank, 1 space, 2 a, 3 b, 4 c


def test_frames_are_collapsed_and_blanks_dropped(processor):
    """a a _ a b -> "aab"; the reference comes from the text, not from the labels."""
    batches = [batch_of(["x", "y"], [[2, 2, 0, 2, 3], [4, 1, 4, 0, 0]], ["aab b", "c c"])]
    ((utterances, loss),) = transcribe(Says(), processor, batches)
    assert [(u.id, u.speaker_id, u.duration_s, u.reference, u.hypothesis) for u in utterances] == [
        ("x", "s", 2.0, "aab b", "aab"),
        ("y", "s", 2.0, "c c", "c c"),
    ]
    assert loss == 1.5


def test_without_labels_there_is_no_loss(processor):
    ((_, loss),) = transcribe(Says(), processor, [batch_of(["x"], [[2]], ["a"], labels=False)])
    assert loss is None


def test_scores_and_speed(processor, monkeypatch):
    """1 of 4 words wrong; 3 clips of 2 s by a clock that shows 0 and 0.5 s: 12 times real time."""
    clock = iter([0.0, 0.5])
    monkeypatch.setattr(scoring.time, "perf_counter", lambda: next(clock))
    batches = [
        batch_of(["x", "y"], [[2, 1, 3], [4, 4, 0]], ["a b", "c"]),
        batch_of(["z"], [[2, 0, 2]], ["b"]),
    ]
    model = Says().train()
    scores, rtfx = score_model(model, processor, batches)
    assert (scores.wer, scores.num_words, scores.audio_s, rtfx) == (1 / 4, 4, 6.0, 6.0 / 0.5)
    assert [utterance.id for utterance in scores.utterances] == ["x", "y", "z"]
    assert {name: group.wer for name, group in scores.groups["name"].items()} == {"x": 0, "y": 0, "z": 1}
    assert model.training and model.modes == [(False, True)] * 2
    score_again = Says().eval()
    monkeypatch.undo()
    score_model(score_again, processor, batches)
    assert not score_again.training


def test_a_real_model_hears_the_same_alone_and_in_a_batch(tmp_path, processor):
    manifest = tiny.write_corpus(tmp_path, "u", 5)
    model = tiny.new_model()[0]
    texts = []
    for size in (1, 5):
        training = tiny.training_arguments(tmp_path, per_device_train_batch_size=size)
        data = tiny.data_arguments(manifest)
        stream = build_eval_stream(load_train_corpora(data)[0], processor, data, training)
        scores, rtfx = score_model(model, processor, stream)
        assert rtfx > 0 and scores.num_utterances == 5
        texts.append({utterance.id: utterance.hypothesis for utterance in scores.utterances})
    assert texts[0] == texts[1] and any(texts[0].values())


def test_utterances_come_back_from_their_file(tmp_path):
    """U+2028 in an id is a line separator for str.splitlines, and not for JSON."""
    written = [Utterance(name, "s", 1.0, "yes", text) for name, text in (("a\u2028b", "yes"), ("c", "no"))]
    write_utterances(score(written), tmp_path / "test.jsonl")
    assert read_utterances(tmp_path / "test.jsonl") == written
