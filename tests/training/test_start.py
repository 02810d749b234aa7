"""What a run starts from: statistics of the features, measured once and kept; weights that fit of a trained model."""

import json
import logging

import numpy as np
import pytest
import soundfile
import torch
import yaml
from transformers import AutoFeatureExtractor, AutoProcessor

import tiny
from deepspeech2 import DeepSpeech2FeatureExtractor
from deepspeech2.config.arguments import ModelArguments, Recipe
from deepspeech2.config.method_arguments import AdaptationArguments
from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.data.splits import Speech, load_train_corpora
from deepspeech2.training.start import build_model, fix_statistics, load_or_build, measure_statistics, take_weights
from finetuning import finetune, write_inputs

UNMEASURED = tiny.FEATURES | {"normalization": "fixed"}
FIXED = UNMEASURED | {"feature_mean": [0.1 * index for index in range(20)], "feature_std": [2.0] * 20}


def processor_with(features):
    return build_model(ModelArguments(model_config=tiny.MODEL, feature_config=features, characters=" abc"), [])[1]


def test_mean_and_deviation_are_those_of_the_real_frames() -> None:
    features = torch.tensor([[[1.0, 5.0], [3.0, 5.0]], [[5.0, 5.0], [100.0, 100.0]]])
    mask = torch.tensor([[1, 1], [1, 0]])
    mean, std = measure_statistics([(features, mask), (features[:, :0], mask[:, :0])])
    assert mean == [3.0, 5.0]
    assert std == [2.0, 1e-5]  # (4 + 0 + 4) / 2 = 2 ** 2; of a bin that never changes, not 0
    with pytest.raises(ValueError, match="the training speech has 1 frames"):
        measure_statistics([(features[:1, :1], mask[:1, :1])])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("tones"), "tones", 12)


def test_a_run_measures_its_training_speech(manifest, tmp_path) -> None:
    data = tiny.data_arguments(manifest)
    processor, again = processor_with(UNMEASURED), processor_with(UNMEASURED)
    speech = Speech(load_train_corpora(data))
    fix_statistics(processor, speech, data, tiny.training_arguments(tmp_path))
    plain = DeepSpeech2FeatureExtractor(**FIXED | {"feature_mean": [0.0] * 20, "feature_std": [1.0] * 20})
    clips = [open_audio({"bytes": None, "path": str(path)}, tiny.RATE) for path in manifest.parent.glob("*.wav")]
    frames = np.concatenate([plain(clip, sampling_rate=tiny.RATE)["input_features"][0] for clip in clips])
    extractor = processor.feature_extractor
    np.testing.assert_allclose(extractor.feature_mean, frames.mean(0), atol=2e-5)
    np.testing.assert_allclose(extractor.feature_std, frames.std(0, ddof=1), atol=2e-5)
    normalised = np.concatenate([extractor(clip, sampling_rate=tiny.RATE)["input_features"][0] for clip in clips])
    np.testing.assert_allclose(normalised.mean(0), 0.0, atol=1e-4)
    fix_statistics(again, speech, data, tiny.training_arguments(tmp_path))
    assert again.to_dict() == processor.to_dict()
    kept = processor_with(FIXED)
    fix_statistics(kept, speech, data, tiny.training_arguments(tmp_path))
    assert kept.feature_extractor.feature_mean == FIXED["feature_mean"]


def test_statistics_are_saved_with_the_processor(tmp_path) -> None:
    processor = processor_with(FIXED)
    processor.save_pretrained(tmp_path)
    clip = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    expected = processor(clip, sampling_rate=tiny.RATE)["input_features"]
    stored = json.loads((tmp_path / "processor_config.json").read_text())["feature_extractor"]
    assert stored["feature_mean"] == FIXED["feature_mean"] and stored["feature_std"] == FIXED["feature_std"]
    for loaded in (AutoProcessor.from_pretrained(tmp_path), AutoFeatureExtractor.from_pretrained(tmp_path)):
        np.testing.assert_array_equal(loaded(clip, sampling_rate=tiny.RATE)["input_features"], expected)


def test_a_clip_is_normalised_by_itself_alone() -> None:
    """The second half of a longer clip has the frames that it has alone, but for the one that reflects its start."""
    extractor = DeepSpeech2FeatureExtractor(**FIXED)
    clip = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    whole, part = (extractor(one, sampling_rate=tiny.RATE)["input_features"][0] for one in (clip, clip[4000:]))
    np.testing.assert_allclose(whole[52:], part[2:], atol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"feature_std": None}, "have 20 and 0 numbers; expected 20 .feature_size. in each"),
        ({"feature_mean": [0.0] * 3, "feature_std": [1.0] * 3}, "have 3 and 3 numbers"),
        ({"feature_std": [0.0] * 20}, "standard deviations above 0"),
        ({"normalization": "bin"}, "need normalization 'fixed', but it is 'bin'"),
    ],
)
def test_wrong_statistics_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeepSpeech2FeatureExtractor(**FIXED | options)


def test_features_before_the_measurement_are_refused() -> None:
    with pytest.raises(ValueError, match="have not been measured"):
        DeepSpeech2FeatureExtractor(**UNMEASURED)(np.zeros(800, np.float32), sampling_rate=tiny.RATE)


def test_a_run_that_goes_on_keeps_them(tmp_path, caplog) -> None:
    write_inputs(tmp_path)
    config, out = tmp_path / "config.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"feature_config": UNMEASURED}))
    with caplog.at_level(logging.INFO):
        finetune(str(config), "--output_dir", str(out))
    assert "with statistics measured over" in caplog.text
    # As if it had been stopped after its second step, and had measured what no measurement would give now.
    (out / "model.safetensors").unlink()
    (out / "checkpoint-4").rename(out / "copy of checkpoint-4")
    path, sizes = (out / "checkpoint-2" / name for name in ("processor_config.json", "files.json"))
    content = json.loads(path.read_text())
    content["feature_extractor"]["feature_mean"] = [7.0] * 20
    path.write_text(json.dumps(content))
    sizes.write_text(json.dumps(json.loads(sizes.read_text()) | {path.name: path.stat().st_size}))
    finetune(str(config), "--output_dir", str(out))
    after = json.loads((out / "processor_config.json").read_text())["feature_extractor"]
    assert after["feature_mean"] == [7.0] * 20
    assert after["feature_std"] == content["feature_extractor"]["feature_std"]


# Warm start --------------------------------------------------------------------------------------------------------


def test_a_unidirectional_model_takes_the_forward_direction(tmp_path, caplog) -> None:
    source, processor = tiny.new_model()
    source.model.norms[0].running_mean.fill_(3.0)
    source.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    sizes = tiny.MODEL | {"bidirectional": False, "lookahead_context": 3}
    arguments = ModelArguments(
        model_config=sizes, feature_config=tiny.FEATURES, characters=" abc", warm_start=str(tmp_path)
    )
    with caplog.at_level(logging.INFO):
        model, _ = load_or_build(Recipe(model=arguments), [])
    theirs = source.state_dict()
    for name, own in model.state_dict().items():
        if name != "model.lookahead.conv.weight":
            assert torch.equal(own, theirs[name]), name
    lookahead = model.model.lookahead.conv.weight
    assert torch.equal(lookahead, torch.tensor([1.0, 0.0, 0.0]).expand(16, 1, 3))
    total = model.num_parameters()
    assert (
        f"{total - 16 * 3:,} of {total:,} weights come from the checkpoint. Tensors that stay random: model.lookahead"
        in caplog.text
    )


def test_other_sizes_keep_their_random_weights(caplog) -> None:
    model, source = tiny.new_model(hidden_size=8)[0], tiny.new_model()[0]
    before = model.ctc_head.weight.clone()
    convs = sum(parameter.numel() for parameter in model.model.convs.parameters())
    with caplog.at_level(logging.INFO):
        take_weights(model, source)
    assert f"warm start: {convs:,} of " in caplog.text
    assert torch.equal(model.ctc_head.weight, before)
    assert torch.equal(model.model.convs[1].conv.weight, source.model.convs[1].conv.weight)


def test_nothing_that_fits_is_refused() -> None:
    wide = tiny.new_model(conv_channels=[3, 3], hidden_size=8)[0]
    with pytest.raises(ValueError, match="no weight of the checkpoint has the same name and shape"):
        take_weights(wide, tiny.new_model()[0])


TURKISH = ["İstanbul", "Işık", "ILIK su", "I\u0307zmir\u200b"]


def turkish(folder) -> list:
    """The corpus of a manifest of Turkish transcripts, one of them with a dot of its own and an invisible space."""
    folder.mkdir()
    for index in range(len(TURKISH)):
        soundfile.write(folder / f"{index}.wav", np.zeros(400), tiny.RATE)
    rows = [f"{index}.wav,{text}\n" for index, text in enumerate(TURKISH)]
    (folder / "list.csv").write_text("".join(["audio,text\n", *rows]), encoding="utf-8")
    return Speech(load_train_corpora(tiny.data_arguments(folder / "list.csv"))).trained_on


def start(folder, corpora, **options):
    """The processor of a run from random weights, or with the new characters of the transcripts."""
    if "model_name_or_path" in options:
        return load_or_build(
            Recipe(model=ModelArguments(**options), adaptation=AdaptationArguments(new_characters="transcripts")),
            corpora,
        )[1]
    sizes = {"model_config": tiny.MODEL, "feature_config": tiny.FEATURES, "characters": ""}
    return load_or_build(Recipe(model=ModelArguments(**sizes, **options)), corpora)[1]


@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_turkish_gets_its_letters(from_checkpoint: bool, tmp_path, caplog) -> None:
    options = {}
    if from_checkpoint:
        for made in tiny.new_model():
            made.save_pretrained(tmp_path / "checkpoint")
        options["model_name_or_path"] = str(tmp_path / "checkpoint")
    corpora = turkish(tmp_path / "data")
    processor = start(tmp_path, corpora, text_case="lower_turkish", **options)
    assert "takes I for the capital of i" not in caplog.text
    kept = "c" if from_checkpoint else ""  # a letter of the checkpoint that no transcript has
    assert set(processor.tokenizer.get_vocab()) - {"<pad>"} == set(" abiklmnrstuzış" + kept)
    processor.save_pretrained(tmp_path / "saved")
    loaded = AutoProcessor.from_pretrained(tmp_path / "saved")
    assert loaded.text_case == "lower_turkish" and loaded.normalize_text("ILIK İz") == "ılık iz"

    processor = start(tmp_path, corpora, **options)  # the case of other languages
    assert (
        "text_case lower takes I for the capital of i" in caplog.text and "set text_case lower_turkish" in caplog.text
    )
    assert not {"\u0307", "\u200b"} & processor.tokenizer.get_vocab().keys()
    assert processor.text_case == "lower"


def test_characters_that_no_text_should_have_are_said(tmp_path, caplog) -> None:
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "data" / "a.wav", np.zeros(400), tiny.RATE)
    (tmp_path / "data" / "list.csv").write_text("audio,text\na.wav,a\x07b\ufffd می\u200cخ\n", encoding="utf-8")
    corpora = Speech(load_train_corpora(tiny.data_arguments(tmp_path / "data" / "list.csv"))).trained_on
    processor = start(tmp_path, corpora)
    assert "should have: U+0007 control character x1, '\ufffd' x1. Correct" in caplog.text
    assert "\u200c" in processor.tokenizer.get_vocab()  # a joiner that Persian needs
