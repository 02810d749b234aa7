"""Teachers of other architectures, of a few units: batches say what single clips say, and long recordings are cut."""

import csv
import json
import runpy
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    GenerationConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

import tiny
from deepspeech2.data.splits import load_train_corpora
from deepspeech2.inference.pseudo_labels import load_teacher

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "pseudo_label.py"
CPU = torch.device("cpu")
LETTERS = ["a", "b", "7"]
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]


def write_whisper(folder: Path) -> str:
    """A Whisper of 2 s, 16 units and random weights, that writes the three letters."""
    vocab = {token: place for place, token in enumerate([*LETTERS, *SPECIAL])}
    end, start, english, transcribe, without_times = range(3, 8)
    tokenizer = WhisperTokenizer(
        vocab=vocab, merges=[], unk_token=SPECIAL[0], eos_token=SPECIAL[0], pad_token=SPECIAL[0],
        additional_special_tokens=SPECIAL[1:],
    )  # fmt: skip
    layers = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 16))}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = WhisperConfig(
        vocab_size=len(vocab), num_mel_bins=8, d_model=16, max_source_positions=100, max_target_positions=24,
        pad_token_id=end, bos_token_id=end, eos_token_id=end, decoder_start_token_id=start, **layers, **heads,
    )  # fmt: skip
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.4 * torch.randn_like(weight)
    model.generation_config = GenerationConfig(
        max_length=12, eos_token_id=end, pad_token_id=end, bos_token_id=end, decoder_start_token_id=start,
        no_timestamps_token_id=without_times, is_multilingual=True, lang_to_id={"<|en|>": english},
        task_to_id={"transcribe": transcribe}, suppress_tokens=[4, 5, 6, 7], begin_suppress_tokens=[end],
    )  # fmt: skip
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=2)
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


def write_wav2vec2(folder: Path, norm: str) -> str:
    """A wav2vec2 of random weights. With `norm` "group" it is one without a mask of the padding."""
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({"<pad>": 0, "|": 1, "a": 2, "b": 3, "c": 4}))
    none = dict.fromkeys(("bos_token", "eos_token", "unk_token"))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), pad_token="<pad>", **none)
    config = Wav2Vec2Config(
        vocab_size=5, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, pad_token_id=0,
        conv_dim=(8, 8), conv_kernel=(10, 8), conv_stride=(10, 8), num_feat_extract_layers=2, feat_extract_norm=norm,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    torch.manual_seed(0)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=8000, return_attention_mask=norm == "layer")
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return str(folder)


def clips(rate: int) -> list[np.ndarray]:
    """Two clips of 0.9 and 1.7 s."""
    rng = np.random.default_rng(0)
    return [tiny.tones("ab c" * 4, rng).repeat(rate // 8000)[: int(s * rate)].astype(np.float32) for s in (0.9, 1.7)]


@pytest.mark.parametrize("kind", ["whisper", "group", "layer"])
def test_a_batch_says_what_single_clips_say(kind, tmp_path):
    folder = tmp_path / "teacher"
    teacher = load_teacher(write_whisper(folder) if kind == "whisper" else write_wav2vec2(folder, kind), CPU)
    both = clips(teacher.sampling_rate)
    single = [teacher.transcribe(teacher.features([clip]))[0] for clip in both]
    batched = teacher.transcribe(teacher.features(both))
    assert [one.text for one in batched] == [one.text for one in single]
    assert [one.confidence for one in batched] == pytest.approx([one.confidence for one in single], abs=1e-4)
    assert all(one.text and 0 < one.confidence < 1 for one in batched)
    assert (teacher.longest_s, teacher.min_confidence) == ((2.0, 0.55) if kind == "whisper" else (None, 0.9))


@pytest.mark.parametrize(("clip", "length"), [(0, 12), (1, 1)])
def test_the_confidence_of_whisper_is_the_mean_over_its_letters(clip, length, tmp_path):
    """By one pass of the text itself, over the letters that may be written: without the prompt and the end."""
    teacher = load_teacher(write_whisper(tmp_path), CPU, "en")
    text, confidence = teacher.transcribe(teacher.features(clips(16000)))[clip]
    features = teacher.features(clips(16000)[clip : clip + 1])
    assert len(text) == length
    ids = [LETTERS.index(letter) for letter in text]
    prompt = [4, 5, 6, 7]
    model = WhisperForConditionalGeneration.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        logits = model(**features[0], decoder_input_ids=torch.tensor([prompt + ids])).logits[0, 3:-1].clone()
    logits[:, prompt], logits[0, 3] = -torch.inf, -torch.inf  # no end at the beginning
    expected = logits.log_softmax(-1)[range(len(ids)), ids].mean().exp().item()
    assert confidence == pytest.approx(expected, abs=1e-4)


def run(*words: str) -> None:
    runpy.run_path(str(RECIPE))["main"]([*words])


def test_long_recordings_become_parts_to_train_on(tmp_path, capsys):
    """
    5.2 s of tones with a short pause every 0.8 s, of which Whisper takes 2 s: its parts cover the recording from end to
    end, each is read again from the table as it was cut, and its digits are named.
    """
    teacher, speech = write_whisper(tmp_path / "teacher"), tmp_path / "speech"
    speech.mkdir()
    rng = np.random.default_rng(0)
    soundfile.write(speech / "talk.wav", tiny.tones("abcab  " * 6 + "a", rng), tiny.RATE)
    soundfile.write(speech / "short.wav", tiny.tones("abcabc", rng), tiny.RATE)
    given = [teacher, "--dataset_name", str(speech), "--output_file", str(tmp_path / "labels.csv"), "--device", "cpu"]
    with pytest.raises(ValueError, match=r"max_duration_s is 20.0, but this teacher takes clips of up to 2 s"):
        run(*given)
    (tmp_path / "labels.journal-0.jsonl").unlink()
    given += ["--max_duration_s", "2", "--min_confidence", "0", "--batch_seconds", "4", "--language", "en"]
    run(*given)
    printed = capsys.readouterr().out
    with (tmp_path / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts = [(float(row["start_s"]), float(row["end_s"])) for row in rows if row["audio"].endswith("talk.wav")]
    assert [row["id"] for row in rows if not row["start_s"]] == ["short.wav"]
    assert [row["id"] for row in rows][1:] == [f"talk.wav#t={start:g},{end:g}" for start, end in parts]
    assert parts[0][0] == 0 and parts[-1][1] == pytest.approx(43 * tiny.LETTER_S)
    assert all(before[1] == after[0] and after[1] - after[0] <= 2 for before, after in pairwise(parts))
    assert f"1 long recordings are cut into {len(parts)} parts" in printed and len(parts) >= 3
    assert "texts have digits, such as" in printed and "--spell_out" in printed
    assert f"train on it: --dataset_name {tmp_path / 'labels.csv'}" in printed

    ((corpus,),) = load_train_corpora(tiny.data_arguments(tmp_path / "labels.csv"))
    read = {row["id"]: (row["audio"]["start_s"], row["audio"]["end_s"], row["text"]) for row in corpus.stream}
    assert read == {
        row["id"]: (*(float(row[name]) if row[name] else None for name in ("start_s", "end_s")), row["text"])
        for row in rows
    }

    run(*given, "--spell_out")  # from the journal
    assert "texts have digits" not in capsys.readouterr().out
    assert "seven" in (tmp_path / "labels.csv").read_text()


def test_digits_are_dropped_in_training_as_unknown_characters():
    _, processor = tiny.new_model()
    assert dict(processor.unknown_characters(processor.normalize_text("A 7, b!"))) == {"7": 1}


def test_what_cannot_teach_is_named(tmp_path):
    whisper = write_whisper(tmp_path / "whisper")
    wav2vec2 = write_wav2vec2(tmp_path / "wav2vec2", "layer")
    with pytest.raises(ValueError, match=r"--language is for Whisper, but .* has model_type 'wav2vec2'; leave it out"):
        load_teacher(wav2vec2, CPU, "en")
    path = tmp_path / "whisper" / "generation_config.json"
    path.write_text(path.read_text().replace('"is_multilingual": true', '"is_multilingual": false'))
    with pytest.raises(ValueError, match=r"is a Whisper for English alone; leave out --language de"):
        load_teacher(whisper, CPU, "de")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"\(model_type 'bert'\) cannot be loaded by transformers' speech recognition"):
        load_teacher(str(tmp_path / "bert"), CPU)
    theirs = {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config", "AutoModelForCTC": "theirs.Model"}}
    (tmp_path / "bert" / "config.json").write_text(json.dumps(theirs))
    with pytest.raises(ValueError, match=r"Add --trust_remote_code if you trust its author"):
        load_teacher(str(tmp_path / "bert"), CPU)
    with pytest.raises(ValueError, match=r"the teacher 'no/such' cannot be loaded"):
        load_teacher("no/such", CPU)


def test_a_whisper_of_ctranslate2_is_run_by_faster_whisper(tmp_path, monkeypatch):
    """Two segments of 3 and 1 tokens: exp((3 x -0.1 + 1 x -0.5) / 4). The package is a stand-in."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ImportError, match=r"needs faster-whisper: pip install -e '.\[whisper\]'"):
        load_teacher(str(tmp_path), CPU)

    class WhisperModel:
        def __init__(self, folder: str, **options) -> None:
            assert folder == str(tmp_path) and options["compute_type"] == "int8"

        def transcribe(self, samples, language, **options):
            assert language == "en"
            spoken = [SimpleNamespace(text=" It is", avg_logprob=-0.1, tokens=[1, 2, 3])]
            spoken.append(SimpleNamespace(text=" so.", avg_logprob=-0.5, tokens=[4]))
            return (spoken if samples.any() else []), None

    module = ModuleType("faster_whisper")
    module.WhisperModel = WhisperModel
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    teacher = load_teacher(str(tmp_path), CPU, "en")
    said, nothing = teacher.transcribe(teacher.features([np.ones(9, np.float32), np.zeros(9, np.float32)]))
    assert said == ("It is so.", pytest.approx(np.exp(-0.2))) and nothing == ("", 0.0)
