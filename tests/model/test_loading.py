"""From arguments to models and streams."""

import json
import pickle
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from deepspeech2.config.arguments import AugmentationArguments, ModelArguments
from deepspeech2.data.splits import load_train_corpora
from deepspeech2.model.loading import load_model
from deepspeech2.training.plan import build_eval_stream, build_train_stream, estimate_epoch
from deepspeech2.training.start import build_model
from tiny import hub, names, new_run, one_split, write_hub


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_hub(tmp_path_factory.mktemp("corpora"))


def test_sizes_that_follow_from_the_features_and_the_vocabulary():
    model, processor = tiny.new_model()
    assert (model.config.vocab_size, model.config.num_features, model.config.hop_length) == (5, 20, 80)  # blank + 4
    assert processor.encode("ab c") == [2, 3, 1, 4]


def test_the_vocabulary_of_the_transcripts(root):
    """The space first, then by code point; in the case asked for."""
    arguments = ModelArguments(tiny.MODEL_ARGUMENTS.model_name_or_path, "main", tiny.MODEL, tiny.FEATURES, "", "upper")
    corpora = one_split(hub(root), "dev")
    model, processor = build_model(arguments, corpora)
    assert processor.tokenizer.get_vocab() == {"<pad>": 0, " ": 1, "A": 2, "B": 3, "C": 4}
    assert model.config.vocab_size == 5


@pytest.mark.parametrize(
    "given, message",
    [
        ({"model_config": {"hiden_size": 8}}, "model_config: unknown key 'hiden_size'; did you mean 'hidden_size'"),
        ({"model_config": {"hidden_size": 0}}, "model_config.*hidden_size is 0; expected at least 1"),
        ({"model_config": {"hidden_size": "wide"}}, "model_config.*hidden_size"),
        ({"feature_config": {"nfft": 8}}, "feature_config: unknown key 'nfft'; did you mean 'n_fft'"),
        ({"feature_config": {"features": "wavelet"}}, "features is 'wavelet'"),
        ({"characters": ""}, "all transcripts are empty"),
        ({"characters": "abC"}, "characters has 'C', which normalisation changes or removes"),
        ({"characters": "abc", "text_case": "upper"}, "characters has 'a', 'b', 'c', which"),
        ({"characters": "abc-"}, "characters has '-', which"),
        ({"characters": "ab’"}, "characters has '’', which"),
        ({"characters": "ß", "text_case": "upper"}, "characters has 'ß', which"),
        ({"model_config": {"conv_channels": []}}, "conv_channels is"),
        ({"model_config": {"conv_strides": [[2, 2], [0, 1]]}}, "conv_strides is.*at least 1"),
    ],
)
def test_models_that_cannot_be(given, message):
    with pytest.raises(ValueError, match=message):
        build_model(ModelArguments(**given), [])


@pytest.mark.parametrize("characters", [" a\N{ZERO WIDTH NON-JOINER}\N{COMBINING ACUTE ACCENT}é'", " abc", " क्ष"])
def test_characters_that_texts_have_are_taken(characters):
    _, processor = build_model(ModelArguments(characters=characters, model_config=tiny.MODEL), [])
    assert set(characters) <= set(processor.tokenizer.get_vocab())


def test_the_characters_that_normalisation_removes():
    _, processor = build_model(ModelArguments(removed_characters="#", model_config=tiny.MODEL), [])
    assert processor.normalize_text("A#b. C") == "a b. c"
    assert tiny.new_model()[1].normalize_text("A#b. C") == "a#b c"


def test_a_checkpoint_and_its_processor(tmp_path):
    model, processor = tiny.new_model()
    model.half().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, its_processor = load_model(str(tmp_path))
    assert loaded.dtype == torch.float32 and not loaded.training
    for name, tensor in model.float().state_dict().items():
        assert loaded.state_dict()[name].equal(tensor), name
    assert its_processor.encode("ab c") == [2, 3, 1, 4]
    assert its_processor.feature_extractor.to_dict() == processor.feature_extractor.to_dict()


def test_a_checkpoint_with_another_dropout(tmp_path):
    model, processor = tiny.new_model()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    changed, _ = load_model(str(tmp_path), dropout=0.25)
    assert {layer.dropout.p for layer in changed.model.layers} == {changed.config.dropout} == {0.25}
    assert changed.ctc_head.weight.equal(model.ctc_head.weight)
    with pytest.raises(ValueError, match=r"model_config: dropout is 1\.5; expected a probability in"):
        load_model(str(tmp_path), dropout=1.5)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dropout": 1.5}))
    with pytest.raises(ValueError, match=r"its config.json: dropout is 1\.5"):
        load_model(str(tmp_path))
    with pytest.raises(ValueError, match=r"its config.json: dropout is 1\.5"):  # the fault is not that of the given one
        load_model(str(tmp_path), dropout=0.25)


def test_what_is_no_checkpoint(tmp_path):
    model, processor = tiny.new_model()
    with pytest.raises(ValueError, match=r"is not a model: expected a folder with config.json, or a Hub id"):
        load_model(str(tmp_path))
    with pytest.raises(ValueError, match="'nobody/nothing' cannot be loaded"):
        load_model("nobody/nothing")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    with pytest.raises(ValueError, match="has model_type 'wav2vec2'; expected 'deepspeech2'"):
        load_model(str(tmp_path))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"lacks processor_config.json and tokenizer_config.json and vocab.json: "):
        load_model(str(tmp_path))
    processor.save_pretrained(tmp_path)
    (tmp_path / "vocab.json").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"lacks vocab.json: save the processor into the same folder"):
        load_model(str(tmp_path))
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(ValueError, match=r"has a damaged JSON file: .*; copy or download its files again"):
        load_model(str(tmp_path))
    (tmp_path / "elsewhere").rename(tmp_path / "vocab.json")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"has damaged weights, .*: copy or download model.safetensors again"):
        load_model(str(tmp_path))


@pytest.fixture
def checkpoint(tmp_path):
    model, processor = tiny.new_model()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return tmp_path


def change_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.json", "processor_config.json"])
def test_a_pointer_of_git_lfs_is_named_with_the_remedy(checkpoint, name):
    (checkpoint / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ValueError, match=rf"{name} is a pointer of Git LFS, not the file itself: run `git lfs pull`"):
        load_model(str(checkpoint))


def test_weights_that_are_missing_are_not_made_up(checkpoint):
    change_weights(checkpoint, lambda weights: weights.pop("ctc_head.weight"))
    with pytest.raises(ValueError, match=r"different models: weights are missing \(ctc_head.weight\)"):
        load_model(str(checkpoint))


def test_weights_that_the_model_does_not_have_are_not_dropped(checkpoint):
    change_weights(checkpoint, lambda weights: weights.update(extra=torch.ones(1)))
    with pytest.raises(ValueError, match=r"weights that config.json does not have \(extra\)"):
        load_model(str(checkpoint))


def test_weights_of_another_size_are_named_with_both_shapes(checkpoint):
    change_json(checkpoint / "config.json", hidden_size=24)
    with pytest.raises(ValueError, match=r"another shape .*\(ctc_head.weight \(5, 16\) instead of \(5, 24\)"):
        load_model(str(checkpoint))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(checkpoint, value):
    change_weights(checkpoint, lambda weights: weights["ctc_head.weight"].fill_(value))
    with pytest.raises(ValueError, match=r"not finite \(ctc_head.weight\): its training diverged"):
        load_model(str(checkpoint))


def test_a_processor_of_another_model_is_refused(checkpoint):
    change_json(checkpoint / "vocab.json", ä=5)
    with pytest.raises(ValueError, match=r"vocab_size is 5 in config.json, but 6 in vocab.json"):
        load_model(str(checkpoint))


@pytest.mark.parametrize(
    ("sizes", "fault"),
    [
        ({"feature_size": 21}, "num_features is 20 in config.json, but 21"),
        ({"hop_length": 40}, "hop_length is 80 .* 40"),
    ],
)
def test_features_of_another_model_are_refused(checkpoint, sizes, fault):
    path = checkpoint / "processor_config.json"
    extractor = json.loads(path.read_text())["feature_extractor"]
    change_json(path, feature_extractor=extractor | sizes)
    with pytest.raises(ValueError, match=fault):
        load_model(str(checkpoint))


def test_new_adapters_are_no_missing_weights(checkpoint):
    model, _ = load_model(str(checkpoint), adapter_size=4)
    assert len(model.model.adapters) == 2
    model.save_pretrained(checkpoint)
    assert len(load_model(str(checkpoint))[0].model.adapters) == 2
    change_json(checkpoint / "config.json", adapter_size=0)
    with pytest.raises(ValueError, match=r"weights that config.json does not have"):
        load_model(str(checkpoint))


def test_a_name_from_the_home_folder_and_one_that_cannot_be(checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert load_model(f"~/{checkpoint.name}")
    with pytest.raises(ValueError, match="cannot be loaded: Repo id must"):
        load_model("no one/model")


# Streams -----------------------------------------------------------------------------------------------------------


def test_a_mixture_keeps_its_weights(root, tmp_path):
    """Weights 3 to 1; train and dev share the 3 as 12 to 4: windows of 16 hold 9, 3 and 4."""
    data = hub(root, train_split=["train+dev", "train"], mixture_weights=[3.0, 1.0], window_size=16)
    training = tiny.training_arguments(tmp_path, per_device_train_batch_size=4)
    stream = build_train_stream(new_run(data, training))
    found = [name for batch in islice(stream, 4) for name in batch["ids"]]
    counts = [sum(name.startswith(prefix) for name in found) for prefix in ("clean-train", "clean-dev", "other-train")]
    assert counts == [9, 3, 4]


def test_without_weights_an_epoch_has_everything_once(root, tmp_path):
    data = hub(root, window_size=18)
    training = tiny.training_arguments(tmp_path)
    stream = build_train_stream(new_run(data, training))
    found = [name for batch in islice(stream, 6) for name in batch["ids"]]
    assert sorted(found) == sorted(names("clean-train", 12) + names("other-train", 6))


def test_training_speech_is_augmented_and_evaluation_speech_is_not(root, tmp_path):
    data = hub(root, dataset_name=[str(root / "hub")], dataset_config=["clean"], train_split=["dev"], window_size=4)
    training = tiny.training_arguments(tmp_path, per_device_train_batch_size=1)
    built = tiny.new_model()
    clips = {}
    for gain_db in (0.0, 30.0):
        augmentation = AugmentationArguments(noise_probability=gain_db / 30)
        stream = build_train_stream(new_run(data, training, built, augmentation=augmentation))
        clips[gain_db] = {batch["ids"][0]: batch["input_features"] for batch in islice(stream, 4)}
    evaluation = build_eval_stream(one_split(data, "dev"), built[1], data, training)
    for batch in evaluation:
        (name,) = batch["ids"]
        assert batch["input_features"].equal(clips[0.0][name])
        assert not batch["input_features"].equal(clips[30.0][name])


def test_each_process_scores_its_part(root, tmp_path):
    data = hub(root)
    training = tiny.training_arguments(tmp_path)
    _, processor = tiny.new_model()

    class Second:
        per_device_train_batch_size, folder = training.per_device_train_batch_size, training.folder
        process_index, world_size = 1, 2

    corpora = one_split(data, "train")
    everything = [batch["ids"] for batch in build_eval_stream(corpora, processor, data, training)]
    part = [batch["ids"] for batch in build_eval_stream(corpora, processor, data, Second)]
    assert sorted(name for batch in everything for name in batch) == names("clean-train", 12)
    assert part == everything[1::2] and len(everything) == 4  # 12 by threes


@pytest.mark.parametrize("given, expected", [({}, 6.0), ({"batch_seconds": 3.0}, None)])
def test_the_batches_of_an_epoch(root, tmp_path, given, expected):
    """18 clips by threes in whole windows of 6; by seconds, what the stream of one epoch has, about."""
    data = hub(root, max_duration_s=3.0, **given)
    training = tiny.training_arguments(tmp_path)
    run = new_run(data, training)
    if expected is None:
        stream = build_train_stream(run)
        seen, expected = 0, 0
        for batch in stream:
            seen, expected = seen + len(batch["ids"]), expected + 1
            if seen == 18:
                break
    assert estimate_epoch(run.speech.trained_on, data, training) == pytest.approx(expected, rel=0.2)


def test_streams_travel_to_workers_that_are_started_afresh(root, tmp_path):
    """As on macOS, and on Linux from Python 3.14 on; the weights stay behind."""
    data = hub(root, held_out_share=0.4)
    training = tiny.training_arguments(tmp_path)
    run = new_run(data, training)
    train = build_train_stream(run)
    evaluation = build_eval_stream(one_split(data, "held-out"), run.processor, data, training)
    for stream in (train, evaluation):
        content = pickle.dumps(stream)
        copy = pickle.loads(content)
        assert [batch["ids"] for batch in islice(copy, 3)] == [batch["ids"] for batch in islice(stream, 3)]
        assert b"ctc_head" not in content


def test_a_damaged_file_is_named_where_a_vocabulary_is_built_or_a_part_held_out(tmp_path):
    write_hub(tmp_path)
    path = tmp_path / "hub" / "clean" / "train" / "0000.parquet"
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)  # its end, which lists the columns, is whole
    path.write_bytes(content)
    corpora = [corpus for joined in load_train_corpora(hub(tmp_path)) for corpus in joined]
    with pytest.raises(ValueError, match=r"a file of .*hub.* is damaged: .*Download or write the file again"):
        build_model(ModelArguments(characters=""), corpora)
    with pytest.raises(ValueError, match=r"is damaged: .*Download or write the file again"):
        one_split(hub(tmp_path, held_out_share=0.5), "held-out")
