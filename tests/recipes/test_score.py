"""recipes/score.py on two tiny random models and generated recordings."""

import argparse
import csv
import json
import runpy
import shutil
import zlib

import numpy as np
import pytest
import soundfile
import torch

from deepspeech2 import DeepSpeech2Config, DeepSpeech2FeatureExtractor, DeepSpeech2ForCTC, DeepSpeech2Processor
from deepspeech2.config.options import add_split_options, split_arguments
from deepspeech2.data.splits import load_split
from deepspeech2.data.streams import EvaluationStream
from deepspeech2.decoding.options import DecoderOptions, write_options
from deepspeech2.model.loading import load_model
from deepspeech2.training.methods.adaptation import reestimate_norms

TEXTS = ["turn on", "stop", "go on", "turn"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`a` and `b`, checkpoints; manifest.csv, four recordings of two speakers."""
    folder = tmp_path_factory.mktemp("score")
    extractor = DeepSpeech2FeatureExtractor()
    processor = DeepSpeech2Processor(extractor, DeepSpeech2Processor.build_tokenizer(" enogprstu"))
    config = DeepSpeech2Config(
        vocab_size=len(processor.tokenizer),
        num_features=extractor.feature_size,
        hop_length=extractor.hop_length,
        hidden_size=8,
        num_hidden_layers=1,
    )
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        DeepSpeech2ForCTC(config).save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    rng = np.random.default_rng(0)
    with open(folder / "manifest.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "audio", "text", "speaker_id", "room"])
        for index, text in enumerate(TEXTS):
            soundfile.write(folder / f"{index}.wav", rng.normal(0, 0.1, 8000 * (1 + index)), 16000)
            rows.writerow([index, f"{index}.wav", text, "anna" if index < 2 else "ben", index % 3])
    return folder


@pytest.fixture(scope="module")
def main(repository):
    return runpy.run_path(str(repository / "recipes" / "score.py"))["main"]


def score_parser(words):
    parser = argparse.ArgumentParser()
    add_split_options(parser)
    return parser.parse_args(words)


def test_scores_one_model(folder, main, tmp_path, capsys):
    argv = [str(folder / "a"), "--dataset_name", str(folder / "manifest.csv"), "--output_dir", str(tmp_path)]
    assert main(argv) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "utterances.jsonl").read_text().splitlines()]
    assert sorted(line["reference"] for line in lines) == sorted(TEXTS)
    assert results["scores"]["num_words"] == 2 + 1 + 2 + 1
    assert (
        results["scores"]["wer"]
        == sum(line["substitutions"] + line["deletions"] + line["insertions"] for line in lines) / 6
    )
    assert results["scores"]["audio_s"] == pytest.approx(0.5 + 1.0 + 1.5 + 2.0)
    assert results["scores"]["resampled_by"] == "speaker"
    assert results["comparison"] is None and results["rtfx"] > 0
    assert f"a: WER {100 * results['scores']['wer']:.2f} %" in capsys.readouterr().out
    assert "python recipes/score.py" in (tmp_path / "index.html").read_text()


def test_the_held_out_part_and_groups(folder, main, tmp_path):
    """A fifth of the ids by their hash; one speaker each value of the column."""
    argv = [str(folder / "a"), "--dataset_name", str(folder / "manifest.csv"), "--output_dir", str(tmp_path)]
    assert main([*argv, "--split", "held-out", "--held_out_share", "0.6", "--group_by", "room"]) == 0
    scores = json.loads((tmp_path / "results.json").read_text())["scores"]
    held_out = sum(zlib.crc32(str(index).encode()) / 2**32 < 0.6 for index in range(4))
    assert 0 < scores["num_utterances"] == held_out < 4
    assert sum(group["num_utterances"] for group in scores["groups"]["room"].values()) == held_out
    with pytest.raises(ValueError, match="needs held_out_share or held_out_speakers"):
        main([*argv, "--split", "held-out"])


def test_statistics_found_anew_on_the_split(folder, main, tmp_path):
    """The model with the split's own statistics, as a second one beside it; on disk the first stays as it was."""
    argv = ["--dataset_name", str(folder / "manifest.csv")]
    data = split_arguments(score_parser(argv))
    model, processor = load_model(str(folder / "a"))
    reestimate_norms(model, EvaluationStream(load_split(data, "test"), processor, batch_seconds=60.0))
    for one in (model, processor):
        one.save_pretrained(tmp_path / "anew")
    wanted = []
    for name, more in ((folder / "a", ["--reestimate_norms"]), (tmp_path / "anew", []), (folder / "a", [])):
        assert main([str(name), *argv, *more, "--output_dir", str(tmp_path / "out")]) == 0
        lines = (tmp_path / "out" / "utterances.jsonl").read_text().splitlines()
        wanted.append({line["id"]: line["hypothesis"] for line in map(json.loads, lines)})
    assert wanted[0] == wanted[1] != wanted[2]


def test_faults_come_before_anything_is_scored(folder, main, tmp_path):
    argv = [str(folder / "a"), "--dataset_name", str(folder / "manifest.csv"), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="'nowhere' is not a model"):
        main([*argv, "--baseline", "nowhere"])
    shutil.copytree(folder / "a", tmp_path / "upper")
    config = json.loads((tmp_path / "upper" / "processor_config.json").read_text())
    (tmp_path / "upper" / "processor_config.json").write_text(json.dumps(config | {"text_case": "upper"}))
    with pytest.raises(ValueError, match="normalise text differently"):
        main([*argv, "--baseline", str(tmp_path / "upper")])
    assert not (tmp_path / "out").exists()


def test_compares_with_a_baseline(folder, main, tmp_path):
    argv = [str(folder / "a"), "--baseline", str(folder / "b"), "--output_dir", str(tmp_path)]
    assert main([*argv, "--dataset_name", str(folder / "manifest.csv")]) == 0
    comparison = json.loads((tmp_path / "results.json").read_text())["comparison"]
    assert comparison["wer_difference"] == pytest.approx(comparison["wer_b"] - comparison["wer_a"])
    assert "Comparison with the baseline" in (tmp_path / "index.html").read_text()


def test_a_models_own_decoder_is_scored_beside_greedy(folder, main, tmp_path, capsys, forked_workers):
    """As the baseline, unless another model is; `--decoder greedy` leaves it out."""
    shutil.copytree(folder / "a", tmp_path / "own")
    write_options(DecoderOptions(beam_size=5), tmp_path / "own" / "decoder.json")
    model, out = str(tmp_path / "own"), tmp_path / "out"
    argv = [model, "--dataset_name", str(folder / "manifest.csv"), "--num_workers", "1", "--output_dir", str(out)]

    def scored(*more):
        assert main([*argv, *more]) == 0
        return json.loads((out / "results.json").read_text()), capsys.readouterr().out

    greedy, _ = scored("--decoder", "greedy")
    assert greedy["decoder"] is None and greedy["greedy"] is None and greedy["comparison"] is None
    results, printed = scored()
    assert (
        results["decoder"]["beam_size"] == 5 and results["greedy"] == greedy["scores"] and results["baseline"] == model
    )
    assert results["comparison"]["wer_a"] == greedy["scores"]["wer"]
    assert f"{model} -> {model} with its own decoder.json: " in printed
    results, printed = scored("--baseline", str(folder / "b"))
    assert results["baseline"] == str(folder / "b") and results["greedy"] == greedy["scores"]
    assert (out / "utterances-greedy.jsonl").read_text() != (out / "utterances-baseline.jsonl").read_text()
