"""Decoders tried on the stored output of a tiny model, and the recipes that do so."""

import json
import runpy

import numpy as np
import pytest
import torch

import tiny
from deepspeech2.data.splits import load_train_corpora
from deepspeech2.decoding.decoder import Decoder, frame_times
from deepspeech2.decoding.language_model import train_language_model
from deepspeech2.decoding.options import DecoderOptions, read_options
from deepspeech2.decoding.tuning import (
    StoredLogits,
    Trial,
    best_trial,
    edges_of,
    judge_words,
    store_logits,
    try_options,
)
from deepspeech2.evaluation.metrics import Utterance, score
from deepspeech2.training.plan import build_eval_stream


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """model/, a random one; u.csv, six recordings; lm.arpa, of what they say."""
    folder = tmp_path_factory.mktemp("tuning")
    torch.manual_seed(0)
    model, processor = tiny.new_model()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    tiny.write_corpus(folder, "u", 6)
    train_language_model(["ab abc", "a bc", "cab a"], processor, 2, folder / "lm.arpa")
    return folder


def stored_of(folder, tmp_path):
    model, processor = tiny.new_model()
    data = tiny.data_arguments(folder / "u.csv")
    stream = build_eval_stream(load_train_corpora(data)[0], processor, data, tiny.training_arguments(tmp_path))
    return model, processor, list(stream), tmp_path / "logits"


def test_what_is_stored_is_what_the_model_makes(folder, tmp_path):
    model, _, batches, path = stored_of(folder, tmp_path)
    stored = store_logits(model, batches, path)
    assert model.training and path.stat().st_size == 4 * 5 * sum(stored.lengths)
    read = {utterance.id: log_probs for utterance, log_probs in stored}
    assert len(read) == 6
    model.eval()
    for batch in batches:
        with torch.inference_mode():
            outputs = model(batch["input_features"], batch["attention_mask"])
        for index, name in enumerate(batch["ids"]):
            wanted = outputs.logits[index, : outputs.output_lengths[index]].log_softmax(-1)
            assert torch.equal(read[name][0], wanted)
    with pytest.raises(ValueError, match="no utterance"):
        store_logits(model, [], path)


def test_words_are_judged_by_the_alignment(tmp_path):
    """TimedCommand "ab c" for "ab b": the first word right at 0.9, the second wrong at 0.6."""
    _, processor = tiny.new_model()
    rows = np.full((4, 5), 0.025, np.float32)
    for frame, (symbol, probability) in enumerate([(2, 0.9), (3, 0.9), (1, 0.9), (4, 0.6)]):
        rows[frame] = (1 - probability) / 4
        rows[frame, symbol] = probability
    np.log(rows).tofile(tmp_path / "logits")
    stored = StoredLogits(tmp_path / "logits", (Utterance("x", "", 1.0, "ab b", ""),), (4,), 5)
    confidences, right = judge_words(stored, Decoder(processor, 0.02))
    assert confidences == pytest.approx([0.9, 0.6])
    assert right.tolist() == [True, False]


def trial(alpha, beta, hypothesis):
    utterances = [Utterance("x", "", 1.0, "a b c d", hypothesis)]
    return Trial(DecoderOptions(beam_size=5, alpha=alpha, beta=beta), score(utterances, bootstrap_samples=0))


def test_the_best_trial_and_whether_it_lies_at_an_edge():
    trials = [trial(0.0, 1.0, "a"), trial(0.5, 1.0, "a b c"), trial(0.5, 2.0, "a b c"), trial(1.0, 1.0, "a b")]
    assert best_trial(trials) is trials[1]
    assert edges_of(trials[1].options, trials) == ["beta"]
    assert edges_of(trials[3].options, trials) == ["alpha", "beta"]


@pytest.mark.slow
def test_ways_are_tried_in_processes(folder, tmp_path):
    """As they are decoded here."""
    model, processor, batches, path = stored_of(folder, tmp_path)
    stored = store_logits(model, batches, path)
    decoder = Decoder(processor, *frame_times(model, processor))
    beam = DecoderOptions(beam_size=10, language_model=str(folder / "lm.arpa"), alpha=0.5)
    trials = try_options(stored, decoder, [DecoderOptions(), beam], 1)
    for one in trials:
        own = Decoder(processor, *frame_times(model, processor), one.options)
        wanted = [own.texts(log_probs, torch.tensor([log_probs.shape[1]]))[0] for _, log_probs in stored]
        assert [utterance.hypothesis for utterance in one.scores.utterances] == wanted
    assert trials[0].scores.wer != trials[1].scores.wer or trials[0].scores.cer != trials[1].scores.cer


@pytest.mark.slow
def test_the_recipes_from_tuning_to_a_score(folder, repository, tmp_path, capsys, rendered):
    """tune_decoder.py writes what score.py takes."""
    mains = {name: runpy.run_path(str(repository / "recipes" / f"{name}.py"))["main"]
             for name in ("tune_decoder", "score")}  # fmt: skip
    data = ["--dataset_name", str(folder / "u.csv")]
    out = ["--output_dir", str(tmp_path / "decoder")]
    grid = ["--alphas", "0.2", "0.6", "--betas", "0", "2", "--beam_size", "10", "--num_workers", "1"]
    assert mains["tune_decoder"]([str(folder / "model"), str(folder / "lm.arpa"), *data, *grid, *out]) == 0
    assert "extend --" in capsys.readouterr().out
    assert len((tmp_path / "decoder" / "trials.md").read_text().splitlines()) == 2 + 1 + 4
    assert (tmp_path / "decoder" / "heat_map.png").stat().st_size > 5000
    assert not list((tmp_path / "decoder").glob("tmp*"))
    decoder = tmp_path / "decoder" / "decoder.json"
    chosen = read_options(decoder)
    assert (chosen.beam_size, chosen.language_model) == (10, str(tmp_path / "decoder" / "lm.arpa"))

    argv = [str(folder / "model"), *data, "--decoder", str(decoder)]
    assert mains["score"]([*argv, "--baseline", str(folder / "model"), "--output_dir", str(tmp_path / "score")]) == 0
    results = json.loads((tmp_path / "score" / "results.json").read_text())
    assert results["decoder"]["beam_size"] == 10 and results["comparison"]["wer_a"] >= 0
    assert f"model -> {folder / 'model'} with {decoder}: WER" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"none\.json' cannot be read as JSON"):
        mains["score"]([str(folder / "model"), *data, "--decoder", str(tmp_path / "none.json")])


def test_confidences_are_fitted_beside_the_model(repository, tmp_path, capsys, rendered):
    """By calibrate.py, to a model that has learnt half of what it hears; the words stay the same."""
    torch.manual_seed(0)
    model, processor = tiny.new_model()
    manifest = tiny.write_corpus(tmp_path / "speech", "u", 40)
    batches = tiny.batches(manifest, model, processor, 30, 8, tmp_path)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for batch in batches:
        model(batch["input_features"], batch["attention_mask"], labels=batch["labels"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    main = runpy.run_path(str(repository / "recipes" / "calibrate.py"))["main"]
    argv = [str(tmp_path / "model"), "--dataset_name", str(manifest), "--split", "test", "--check", "other"]
    assert main([*argv, "--output_dir", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "calibration.json").read_text())
    splits = found["splits"]
    assert splits["test calibrated"]["ece"] < splits["test raw"]["ece"]
    assert 0 < splits["test raw"]["right"] < 1 and splits["other raw"] == splits["test raw"]
    assert vars(read_options(tmp_path / "model" / "decoder.json").calibration) == found["calibration"]
    assert (tmp_path / "out" / "reliability.png").stat().st_size > 5000
    assert f"calibrated: ECE {100 * splits['test calibrated']['ece']:.1f} %" in capsys.readouterr().out


def test_a_model_of_the_hub_is_calibrated_into_a_file_that_is_named(repository, capsys):
    main = runpy.run_path(str(repository / "recipes" / "calibrate.py"))["main"]
    with pytest.raises(SystemExit):
        main(["USER/MODEL", "--dataset_name", "speech"])
    told = " ".join(capsys.readouterr().err.split())
    assert "Create a file with the content {} and name it with --decoder: it becomes the decoder.json" in told
