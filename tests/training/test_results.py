"""The decoder of a starting model beside the trained one: only where it helps, and never over another."""

import sys
from dataclasses import replace

import pytest
import torch

import tiny
from deepspeech2.data.splits import load_eval_splits
from deepspeech2.decoding.decoder import load_decoder, own_decoder
from deepspeech2.decoding.language_model import train_language_model
from deepspeech2.decoding.options import DecoderOptions, save_options, write_options
from deepspeech2.model.loading import load_model
from deepspeech2.training import results
from deepspeech2.training.results import carry_decoder


@pytest.fixture
def started(tmp_path):
    """A model that writes letters at random, in a folder with a decoder, and a run that ended with this model."""
    torch.manual_seed(0)
    model, processor = tiny.new_model()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "start")
    manifest = tiny.write_corpus(tmp_path / "speech", "u", 6)
    data = tiny.data_arguments(manifest)
    training = tiny.training_arguments(tmp_path / "out", eval_strategy="steps", eval_steps=6)
    run = tiny.new_run(data, training, load_model(str(tmp_path / "start")))
    return replace(run, speech=replace(run.speech, validation=load_eval_splits(data)[0]))


def with_decoder(run, folder, **options):
    train_language_model(["ab abc", "a bc", "cab a"], run.processor, 2, folder / "lm.arpa")
    given = DecoderOptions(beam_size=5, language_model=str(folder / "lm.arpa"), **options)
    return save_options(given, folder / "start")


def test_a_decoder_that_helps_comes_along(started, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(results, "_wer", lambda run, decoder: 0.4 if decoder else 0.5)
    source = with_decoder(started, tmp_path)
    said = f"{source} is carried along: on validation it has a WER of 40.00 %, and greedy decoding 50.00 %"
    assert carry_decoder(source, started) == {"decoder": said} and said in caplog.text
    for part in (started.model, started.processor):
        part.save_pretrained(tmp_path / "out")
    (tmp_path / "lm.arpa").unlink()
    loaded = load_model(str(tmp_path / "out"))
    assert own_decoder(loaded[0]) == tmp_path / "out" / "decoder.json"
    assert load_decoder(*loaded).options.language_model == str(tmp_path / "out" / "lm.arpa")
    assert carry_decoder(source, started) == {}  # the decoder that is there now may be the user's


def test_a_decoder_that_makes_it_worse_stays_behind(started, tmp_path, forked_workers):
    """A search that is paid for every word writes far too many."""
    source = with_decoder(started, tmp_path, alpha=0.0, beta=30.0)
    assert f"{source} is not carried along: on validation it has a WER of " in carry_decoder(source, started)["decoder"]
    unseen = replace(started, speech=replace(started.speech, validation=()))
    assert "the run has no eval_split to try it on" in carry_decoder(source, unseen)["decoder"]
    assert not (tmp_path / "out" / "decoder.json").exists()


def test_a_decoder_is_not_tried_if_the_run_scores_nothing(started, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_wer", lambda run, decoder: pytest.fail("eval_split was scored"))
    source, training = with_decoder(started, tmp_path), tiny.training_arguments(tmp_path / "out")
    found = carry_decoder(source, replace(started, recipe=replace(started.recipe, training=training)))
    assert found["decoder"].endswith("the run does not score eval_split (eval_strategy no)")
    assert not (tmp_path / "out" / "decoder.json").exists()


def test_a_calibration_alone_and_no_decoder_stay_behind(started, tmp_path):
    write_options(DecoderOptions(), tmp_path / "start" / "decoder.json")
    assert carry_decoder(None, started) == carry_decoder(tmp_path / "start" / "decoder.json", started) == {}


def test_a_decoder_that_cannot_be_tried_stays_behind(started, tmp_path, monkeypatch):
    source = with_decoder(started, tmp_path)
    monkeypatch.setitem(sys.modules, "ctc_beam_decoder", None)
    assert "because it cannot be tried: " in carry_decoder(source, started)["decoder"]
    assert not (tmp_path / "out" / "decoder.json").exists()


def test_a_decoder_that_names_another_file_of_the_machine_stays_behind(started, tmp_path):
    source = with_decoder(started, tmp_path)
    source.write_text(source.read_text().replace('"lm.arpa"', '"../lm.arpa"'))
    assert "lies outside the model's folder" in carry_decoder(source, started)["decoder"]
    assert not (tmp_path / "out" / "decoder.json").exists()
