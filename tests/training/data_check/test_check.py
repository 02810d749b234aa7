"""Every kind of bad input is found before training and left out in it; what is fatal stops a run."""

import io
import json
import logging
import runpy
import struct
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

import tiny
from deepspeech2.config.arguments import Recipe
from deepspeech2.data.batching import Position, RowSource, Shards
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.preparation import MIN_DROPS, Examples
from deepspeech2.data.splits import load_speech
from deepspeech2.data.streams import SpeechStream, build_loader
from deepspeech2.model.loading import load_model
from deepspeech2.training.data_check import check as preflight
from deepspeech2.training.data_check.check import CheckStream, check_before_training, judge, read_splits
from deepspeech2.training.data_check.problems import TRAINING, UNLABELLED
from deepspeech2.training.plan import build_train_stream
from deepspeech2.training.start import Run
from finetuning import CONFIG, SIZES, launch
from html_pages import page

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "recipes" / "check_data.py"
RATE = tiny.RATE
HOUR_S = 3600


def sound(text: str = "ab c", seed: int = 0) -> np.ndarray:
    return tiny.tones(text, np.random.default_rng(seed))


def encoded(samples: np.ndarray, kind: str = "WAV", subtype: str | None = None, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def flac_of_ten_hours() -> bytes:
    """A clip of half a second whose STREAMINFO, 36 bits from the middle of byte 21 on, promises ten hours."""
    content = bytearray(encoded(sound(), "FLAC"))
    samples = 10 * HOUR_S * RATE
    content[21] = (content[21] & 0xF0) | samples >> 32
    content[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
    return bytes(content)


def with_a_hole(value: float) -> bytes:
    samples = sound()
    samples[100] = value
    return encoded(samples, subtype="FLOAT")


def wav_with_rate(rate: int) -> bytes:
    content = bytearray(encoded(sound()))
    content[24:28] = struct.pack("<I", rate)
    return bytes(content)


def bad_recordings() -> dict[str, tuple[bytes | None, str, str]]:
    """By id: the file, its transcript, and why training leaves it out."""
    good = encoded(sound())
    flac = encoded(sound(), "FLAC")
    return {
        "gone": (None, "ab c", "missing_file"),
        "no_audio": (b"<html>404 Not Found</html>", "ab c", "undecodable"),
        "no_bytes": (b"", "ab c", "undecodable"),
        "cut_flac": (flac[: len(flac) // 2], "ab c", "undecodable"),
        "cut_header": (flac[:30], "ab c", "undecodable"),
        "cut_mp3": (encoded(np.tile(sound(), 4), "MP3")[:1500], "ab c", "truncated"),
        "no_samples": (encoded(np.zeros(0)), "ab c", "empty_audio"),
        "zeros": (encoded(np.zeros(4000)), "ab c", "silent"),
        "offset": (encoded(np.full(4000, 0.25)), "ab c", "silent"),
        "nan": (with_a_hole(np.nan), "ab c", "not_finite"),
        "infinite": (with_a_hole(np.inf), "ab c", "not_finite"),
        "ten_hours": (flac_of_ten_hours(), "ab c", "absurd_header"),
        "one_hertz": (wav_with_rate(1), "ab c", "absurd_header"),
        "gigahertz": (wav_with_rate(2**30), "ab c", "absurd_header"),
        "half_rate": (wav_with_rate(RATE // 8), "ab c", "too_long"),  # 0.48 s played for 3.84 s
        "long": (encoded(np.tile(sound(), 8)), "ab c", "too_long"),
        "short": (encoded(sound()[:100]), "a", "too_short"),
        "no_text": (good, "", "empty_text"),
        "punctuation": (good, " ... ", "empty_text"),
        "greek": (good, "αβγ", "unknown_characters"),
        "latin_1": (good, "a\N{REPLACEMENT CHARACTER}b", "unknown_characters"),
        "dense": (good, "abc" * 20, "ctc_infeasible"),
    }


GOOD = {
    "plain": encoded(sound("ab c", 1)),
    "stereo": encoded(np.stack([sound("ab c", 2)] * 2, axis=1)),
    "telephone": encoded(sound("ab c", 3)[::2], rate=RATE // 2),
    "studio": encoded(np.repeat(sound("ab c", 4), 6), "FLAC", rate=6 * RATE),
    "vorbis": encoded(sound("ab c", 5), "OGG"),
}


def write_manifest(folder: Path, recordings: dict[str, tuple[bytes | None, str]], name: str = "train") -> Path:
    """`name`.jsonl of recordings, each of a speaker of its own; None: a file that is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for id_, (content, text) in recordings.items():
        if content is not None:
            (folder / f"{id_}.audio").write_bytes(content)
        rows.append({"audio": f"{id_}.audio", "text": text, "id": id_, "speaker_id": f"{name}-{id_}"})
    manifest = folder / f"{name}.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    good = {id_: (content, "ab c") for id_, content in GOOD.items()}
    folder = tmp_path_factory.mktemp("bad")
    return write_manifest(folder, good | {id_: one[:2] for id_, one in bad_recordings().items()})


@pytest.fixture(scope="module")
def validation(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("validation")
    return write_manifest(folder, {f"v{i}": (encoded(sound("ab c", 90 + i)), "ab c") for i in range(4)}, "validation")


@pytest.fixture(scope="module")
def built():
    return tiny.new_model()


def run_of(manifest: Path, validation: Path | None, built, training, **options) -> Run:
    options = {"max_duration_s": 3.0, "max_dropped_share": 1.0} | options
    data = tiny.data_arguments(manifest, validation, **options)
    return Run(Recipe(data=data, training=training), load_speech(data), *built)


def stream_of(*given, **options) -> SpeechStream:
    """That of training; `given` and `options` as for `run_of`."""
    return build_train_stream(run_of(*given, **options))


def check(run: Run) -> None:
    check_before_training(run, build_train_stream(run))


def problems_of(manifest: Path, validation: Path, built, folder: Path, **options):
    run = run_of(manifest, validation, built, tiny.training_arguments(folder), **options)
    splits = read_splits(run, build_train_stream(run), None)
    return splits, judge(run, splits, sampled=False)


def test_training_leaves_out_every_kind_and_says_why(bad, validation, built, tmp_path):
    stream = stream_of(bad, validation, built, tiny.training_arguments(tmp_path))
    heard = {id_ for batch in islice(stream, 12) for id_ in batch["ids"]}
    assert heard == set(GOOD)
    lines = [line for path in (tmp_path / "drops").glob("*.jsonl") for line in path.open(encoding="utf-8")]
    records = [json.loads(line) for line in lines]
    assert {one["id"]: one["reason"] for one in records} == {id_: one[2] for id_, one in bad_recordings().items()}
    assert all(one["detail"] for one in records)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_check_finds_what_training_leaves_out(bad, validation, built, tmp_path, num_workers):
    training = tiny.training_arguments(tmp_path, dataloader_num_workers=num_workers)
    run = run_of(bad, validation, built, training)
    splits = read_splits(run, build_train_stream(run), None)
    assert len(splits[TRAINING]) == len(GOOD) + len(bad_recordings()) and len(splits["validation"]) == 4
    found = {one.id: one.reason for one in splits[TRAINING]}
    assert found == {id_: one[2] for id_, one in bad_recordings().items()} | dict.fromkeys(GOOD, "")
    problems = judge(run, splits, sampled=False)
    by_name = {problem.name: [id_ for id_, _ in problem.entries] for problem in problems if problem.split == TRAINING}
    for id_, (_, _, reason) in bad_recordings().items():
        assert id_ in by_name[reason]
    assert by_name["several_channels"] == ["stereo"] and by_name["low_rate"] == ["telephone"]
    assert sorted(by_name["mixed_rates"]) == ["4000 Hz", "48000 Hz", "8000 Hz"]
    assert [problem.severity for problem in problems] == sorted(
        [problem.severity for problem in problems], key=("fatal", "warning", "note").index
    )
    assert not [problem for problem in problems if problem.severity == "fatal"]  # max_dropped_share is 1


def test_odd_files_are_read_and_listed(validation, built, tmp_path):
    """Each under its name; only the one that is cut off is left out."""
    wav = {place: encoded(sound("ab c", place)) for place in range(40, 46)}
    mp3 = encoded(sound("ab c", 47), "MP3", rate=16_000)
    flac = encoded(sound("ab c", 48), "FLAC")
    inverted = sound("ab c", 46)
    odd = {
        "never_filled_in": wav[40][:40] + bytes(4) + wav[40][44:],
        "pipe": wav[41][:40] + struct.pack("<I", 0x7FFFF000) + wav[41][44:],
        "short": wav[42][:40] + struct.pack("<I", 1000) + wav[42][44:],
        "cut": wav[43][: len(wav[43]) * 3 // 5],
        "inverted": encoded(np.stack([inverted, -inverted], axis=1)),
        "telephone_exchange": encoded(sound("ab c", 45), subtype="GSM610"),
        "joined": mp3 + mp3,
        "stream": flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:],
    }
    train = write_manifest(tmp_path / "train", {name: (content, "ab c") for name, content in odd.items()})
    splits, problems = problems_of(train, validation, built, tmp_path)
    found = {problem.name: [id_ for id_, _ in problem.entries] for problem in problems if problem.split == TRAINING}
    assert found["truncated"] == ["cut"] and found["short_header"] == ["short"]
    assert found["channels_cancel"] == ["inverted"] and found["joined"] == ["joined"]
    assert not {"undecodable", "empty_audio", "silent", "several_channels"} & set(found)
    lasting = {one.id: one.duration_s for one in splits[TRAINING] if not one.reason}
    whole = len(sound("ab c")) / RATE
    assert lasting == {
        name: pytest.approx(2 * whole * RATE / 16_000 if name == "joined" else whole, abs=0.05)
        for name in odd
        if name != "cut"
    }


def test_too_many_left_out_is_fatal(bad, validation, built, tmp_path):
    """22 recordings are bad, three of them by the bounds of duration: 19 of 27."""
    assert len(bad_recordings()) == 22
    _, problems = problems_of(bad, validation, built, tmp_path, max_dropped_share=19 / 27 - 0.001)
    assert (problems[0].severity, problems[0].name, len(problems[0].entries)) == ("fatal", "too_many_left_out", 19)
    _, problems = problems_of(bad, validation, built, tmp_path, max_dropped_share=19 / 27)
    assert problems[0].severity != "fatal"


def test_overlap_of_training_and_scoring(validation, built, tmp_path):
    """The same samples in another file, the same id and text, the same number for another utterance, a speaker."""
    samples, _ = soundfile.read(validation.parent / "v0.audio", dtype="int16")
    shared = encoded(samples, "FLAC")
    train = write_manifest(
        tmp_path / "train",
        {
            "copy": (shared, "ab c"),
            "v1": (encoded(0.5 * sound("ab c", 7)), "ab c"),
            "v2": (encoded(sound("ba", 8)), "ba"),
            "own": (encoded(sound("cab", 9)), "cab"),
        },
        "validation",
    )
    _, problems = problems_of(train, validation, built, tmp_path)
    found = {problem.name: (problem.severity, dict(problem.entries)) for problem in problems}
    severity, entries = found["trained_on"]
    assert severity == "fatal" and list(entries) == ["v0", "v1"] and entries["v0"] == "the samples of copy"
    assert found["same_id_in_training"] == ("warning", {"v2": "'ab c', and in training 'ba'"})
    assert found["speakers_in_training"][0] == "warning" and set(found["speakers_in_training"][1]) == {"v1", "v2"}


def test_unlabelled_speech_is_looked_at_and_may_not_be_what_is_scored(validation, built, tmp_path):
    manifest = write_manifest(tmp_path, {f"t{i}": (encoded(sound("ab c", i)), "ab c") for i in range(4)})
    spoken = {f"u{i}": (encoded(sound("ab c", 60 + i)), "") for i in range(3)}
    same, broken = (validation.parent / "v2.audio").read_bytes(), b"no sound"
    speech = write_manifest(tmp_path, spoken | {"u3": (same, ""), "u4": (broken, "")}, "speech")
    training = tiny.training_arguments(tmp_path / "run")
    run = run_of(manifest, validation, built, training, unlabelled_dataset_name=str(speech))
    splits = read_splits(run, build_train_stream(run), None)
    assert sorted(one.id for one in splits[UNLABELLED]) == ["u0", "u1", "u2", "u3", "u4"]
    found = {(one.split, one.name): one for one in judge(run, splits, sampled=False)}
    assert [id_ for id_, _ in found[UNLABELLED, "undecodable"].entries] == ["u4"]
    heard = found["validation", "also_unlabelled"]
    assert heard.severity == "warning" and heard.entries == [("v2", "the samples of u3")]
    assert (UNLABELLED, "empty_text") not in found


def test_speakers_are_shared_by_design_where_utterances_are_held_out(built, tmp_path):
    manifest = tiny.write_corpus(tmp_path, "u", 12)
    data = {"held_out_share": 0.3, "eval_split": "held-out"}
    run = run_of(manifest, None, built, tiny.training_arguments(tmp_path), **data)
    splits = read_splits(run, build_train_stream(run), None)
    problems = judge(run, splits, sampled=False)
    assert {problem.severity for problem in problems if problem.name == "speakers_in_training"} == {"note"}
    assert not [problem for problem in problems if problem.severity == "fatal"]


def test_duplicates_and_odd_transcripts(validation, built, tmp_path):
    """30 clips of 4 letters in 0.48 s, 8.3 a second; one clip with two letters in 1.92 s, 1.0 a second; one copy."""
    recordings = {f"u{i}": (encoded(sound("ab c", i)), "ab c") for i in range(30)}
    recordings |= {"slow": (encoded(sound("ab c" * 4, 77)), "ab"), "again": (recordings["u3"][0], "ab c")}
    _, problems = problems_of(write_manifest(tmp_path, recordings), validation, built, tmp_path)
    found = {problem.name: problem.entries for problem in problems if problem.split == TRAINING}
    assert found["speaking_rate"] == [("slow", "1.0 letters per second, median 8.3")]
    (twice,) = found["same_audio"]
    assert set(twice[1].split()[1:]) | {twice[0]} == {"u3", "again"}


def test_nothing_usable_is_fatal(validation, built, tmp_path):
    greek = write_manifest(tmp_path, {f"g{i}": (encoded(sound(seed=i)), "αβγ") for i in range(3)})
    for train, scored, split in [(greek, validation, TRAINING), (validation, greek, "validation")]:
        _, problems = problems_of(train, scored, built, tmp_path)
        assert (problems[0].severity, problems[0].name, problems[0].split) == ("fatal", "nothing_usable", split)


# In training -------------------------------------------------------------------------------------------------------


def half_bad(folder: Path, count: int = 40, bad: int = 20) -> Path:
    """Of `count` recordings the last `bad` are no audio; the list is shuffled when it is read."""
    recordings = {f"u{i:02d}": (encoded(sound("ab c", i)), "ab c") for i in range(count - bad)}
    return write_manifest(folder, recordings | {f"x{i:02d}": (b"no audio", "ab c") for i in range(bad)})


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_run_stops_above_the_share_with_the_list(validation, built, tmp_path, num_workers):
    training = tiny.training_arguments(tmp_path, dataloader_num_workers=num_workers)
    stream = stream_of(half_bad(tmp_path), validation, built, training, max_dropped_share=0.4)
    with pytest.raises(ValueError, match=r"cannot be used, more than max_dropped_share 0.4") as stopped:
        list(islice(build_loader(stream, num_workers), 100))
    listed = [line for line in str(stopped.value).splitlines() if line.startswith("  x")]
    assert len(listed) >= MIN_DROPS and all(": undecodable: the recording" in line for line in listed)


def test_a_few_bad_files_do_not_stop_a_run(validation, built, tmp_path):
    """9 of 12, below the ten that it takes; 20 of 40 with a share of a half; 30 that are too long for the bounds."""
    training = tiny.training_arguments(tmp_path)
    for manifest, options in [
        (half_bad(tmp_path / "few", 12, MIN_DROPS - 1), {"max_dropped_share": 0.1}),
        (half_bad(tmp_path / "half"), {"max_dropped_share": 0.6}),
    ]:
        stream = stream_of(manifest, validation, built, training, window_size=64, **options)
        assert len(list(islice(stream, 3))) == 3
    long = {f"l{i}": (encoded(sound("ab c" * 3, i)), "ab c") for i in range(30)} | {"u": (encoded(sound()), "ab c")}
    manifest = write_manifest(tmp_path / "long", long)
    stream = stream_of(manifest, validation, built, training, max_dropped_share=0.1, max_duration_s=1.0)
    assert len(list(islice(stream, 2))) == 2


def test_a_resumed_run_stops_where_the_uninterrupted_one_does(validation, built, tmp_path):
    """The records on disk are ahead of the checkpoint; the tally is not."""
    silent = encoded(np.zeros(4000))  # found when it is decoded, the text when the window is planned
    recordings = {
        f"u{i:03d}": (silent if i % 5 == 1 else encoded(sound("ab c", i)), "ab c" if i % 3 else "αβγ")
        for i in range(60)
    }
    manifest = write_manifest(tmp_path, recordings)

    def stream(folder: str, share: float):
        training = tiny.training_arguments(tmp_path / folder)
        return stream_of(manifest, validation, built, training, max_dropped_share=share, window_size=12)

    whole, states, tallies = stream("whole", 1.0), [], []
    for _ in islice(whole, 16):
        states.append(json.loads(json.dumps(whole.state_dict())))
        tallies.append(states[-1]["readers"]["0"]["tally"])
    assert tallies[-1]["faults"] / tallies[-1]["rows"] == pytest.approx((20 + 12 - 4) / 60, abs=0.1)
    for done in (0, 3, 7):
        resumed = stream("whole", 1.0)
        resumed.load_state_dict(states[done])
        for expected, _ in zip(tallies[done + 1 : done + 6], resumed, strict=False):
            assert resumed.state_dict()["readers"]["0"]["tally"] == expected


@pytest.mark.slow
def test_one_process_that_stops_stops_the_other(validation, tmp_path):
    """All that the second process would read is bad; the first has enough good data for a long run."""
    recordings = {f"u{i:02d}": (encoded(sound("ab c", i)), "ab c") for i in range(60)}
    manifest = write_manifest(tmp_path, recordings)
    second = RowSource(Shards(load_corpus(str(manifest)), 2), 1, CONFIG["seed"], Position()).rest_of_epoch()
    for row in list(second):
        Path(row.example["audio"]["path"]).write_bytes(b"no audio")
    run = {"dataset_name": str(manifest), "eval_dataset_name": str(validation), "eval_split": "validation"}
    run |= {"test_split": "validation", "window_size": 64, "max_steps": 2000, "dataloader_num_workers": 1}
    config = tmp_path / "config.yaml"
    config.write_text(
        yaml.safe_dump(CONFIG | SIZES | run | {"check_utterances": 0, "eval_steps": 500, "save_steps": 500})
    )
    done = launch(str(config), "--num_processes", "2", "--output_dir", str(tmp_path / "run"))
    assert done.returncode != 0
    assert "finetune.py: 30 of the 30 utterances read so far (100%) cannot be used" in done.stderr
    assert "undecodable: the recording" in done.stderr


# The recipe ---------------------------------------------------------------------------------------------------------


def check_data(folder: Path, manifest: Path, validation: Path, **options) -> int:
    settings = {
        "dataset_name": str(manifest),
        "eval_dataset_name": str(validation),
        "model_config": tiny.MODEL,
        "feature_config": tiny.FEATURES,
        "characters": " abc",
        "batch_seconds": 3,
        "max_duration_s": 3,
        "use_cpu": True,
        "output_dir": str(folder / "run"),
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(settings | options), encoding="utf-8")
    return runpy.run_path(str(RECIPE))["main"]([str(config)])


def test_the_recipe_writes_a_table_a_page_and_the_list(validation, tmp_path, capsys, rendered):
    evil = "<script>alert('id')</script>"
    recordings = {f"u{i}": (encoded(sound("ab c", i)), "ab c") for i in range(12)}
    manifest = write_manifest(tmp_path / "train", recordings)
    with manifest.open("a", encoding="utf-8") as file:
        row = {"audio": "<img src=x onerror=alert(1)>.wav", "text": "<b>x</b>", "id": evil, "speaker_id": "$x_$"}
        file.write(json.dumps(row) + "\n")
        file.write(json.dumps({"audio": "u1.audio", "text": "<i>&", "id": "\x1b[31mred\x07", "speaker_id": "x"}) + "\n")
    assert check_data(tmp_path, manifest, validation) == 0
    printed = capsys.readouterr().out
    assert "warning" in printed and "missing_file" in printed and "\x1b" not in printed
    for fact in ("training: 14 utterances", "usable for training: 12", "speed: ", "memory: ", "an epoch: "):
        assert fact in printed
    text = page(tmp_path / "run" / "check" / "index.html")
    assert "&lt;script&gt;alert(&#39;id&#39;)&lt;/script&gt;" in text and "<script" not in text and "<img" not in text
    assert text.count("<svg") == 2
    lines = [json.loads(line) for line in (tmp_path / "run" / "check" / "problems.jsonl").open(encoding="utf-8")]
    assert {"missing_file", "unknown_characters"} <= {line["problem"] for line in lines}
    assert evil in {line["id"] for line in lines}


def test_the_recipe_fails_on_what_is_fatal(validation, tmp_path, capsys):
    assert check_data(tmp_path, validation, validation) == 1
    assert "trained_on" in capsys.readouterr().out
    assert (tmp_path / "run" / "check" / "index.html").is_file()


def test_a_sample_is_the_first_of_each_split(validation, tmp_path, capsys):
    manifest = tiny.write_corpus(tmp_path, "u", 12)
    assert check_data(tmp_path, manifest, validation, check_utterances=5) == 0
    assert "training: 5 utterances" in capsys.readouterr().out


def test_a_sample_of_a_mixture_has_a_part_of_each_corpus(built, tmp_path):
    corpora = [load_corpus(str(tiny.write_corpus(tmp_path / name, name, 6)))[0] for name in "ab"]
    looked_at = [one.id[0] for some in CheckStream(corpora, Examples(built[1]), 5) for one in some]
    assert looked_at == ["a"] * 3 + ["b"] * 3  # 5 / 2, rounded up


# Before training ---------------------------------------------------------------------------------------------------


def test_the_short_check_says_nothing_much_of_good_data(validation, built, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    manifest = tiny.write_corpus(tmp_path, "u", 12)
    state = torch.get_rng_state()
    training = tiny.training_arguments(tmp_path / "run")
    run = run_of(manifest, validation, built, training)
    check(run)
    assert [record.getMessage() for record in caplog.records if "rows from" not in record.getMessage()] == [
        "the checked data (training: 12, validation: 4) has no problems"
    ]
    assert torch.equal(state, torch.get_rng_state())
    assert not list((tmp_path / "run").rglob("*.jsonl"))


def test_the_short_check_stops_or_warns_and_can_be_switched_off(bad, validation, built, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(preflight, "SHORT_CHECK_S", 60)
    training = tiny.training_arguments(tmp_path / "run")
    run = run_of(bad, validation, built, training)
    check(run)
    assert "has problems" in caplog.text and "undecodable" in caplog.text
    run.recipe.data.max_dropped_share = 0.2
    with pytest.raises(
        ValueError, match=r"(?s)fatal problems. To train anyway, set check_utterances 0:.*too_many_left_out +training"
    ):
        check(run)
    (tmp_path / "run" / "checkpoint-2").mkdir(parents=True)
    check(run)  # it was checked when it began
    (tmp_path / "run" / "checkpoint-2").rmdir()
    run.recipe.data.check_utterances = 0
    check(run)


def test_the_short_check_fetches_nothing(validation, built, tmp_path, monkeypatch):
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"audio": "http://127.0.0.1:9/a.wav", "text": "a", "id": "a"}) + "\n")
    training = tiny.training_arguments(tmp_path / "run")
    run = run_of(manifest, validation, built, training)
    monkeypatch.setattr("deepspeech2.data.preparation.fetch_audio", lambda audio: pytest.fail("fetched"))
    check(run)


def test_the_short_check_is_short(librispeech_root, tmp_path, caplog, monkeypatch):
    """Where its time is over, at once here, it ends after the window that it is in."""
    monkeypatch.setattr(preflight, "SHORT_CHECK_S", 0)
    caplog.set_level(logging.INFO)
    built = load_model(str(ROOT / "recipes" / "quickstart" / "starter"))
    training = tiny.training_arguments(tmp_path)
    options = {"dataset_config": ["clean"], "train_split": ["train.100"], "max_duration_s": 20.0}
    run = run_of(librispeech_root, None, built, training, **options)
    check(run)
    assert f"training: {preflight.ROWS_AT_ONCE}" in caplog.text
