"""Recordings into files: words as heard or as written, nothing lost, what is done or damaged said."""

import json
import os
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

import forked
import tiny
from deepspeech2.cli.main import main
from deepspeech2.decoding.forced_alignment import Infeasible
from deepspeech2.decoding.options import DecoderOptions, write_options
from deepspeech2.inference.captions import Limits, make_cues, parse_captions, to_srt
from deepspeech2.inference.transcription import (
    CaptionOptions,
    Job,
    align_words,
    plan_jobs,
    read_script,
    script_words,
    transcribe_jobs,
)
from deepspeech2.model.onnx_export import export_onnx
from tone_model import random_text, tone_decoder, tone_listener, tone_model, write_tones

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits()


def outputs(jobs: list[Job]) -> list[str]:
    return sorted(path.name for job in jobs for path in job.outputs.values() if path.is_file())


def run(files: list[Path], folder: Path, **options) -> tuple[list[Job], list[str], list[str]]:
    """Jobs, failures, and what was said."""
    jobs, said = plan_jobs(files, folder, options.pop("formats", ["srt", "txt", "json", "vtt"])), []
    listener = tone_listener()
    how = CaptionOptions(LIMITS, facts={"model": "tones"}, **options)
    failures = transcribe_jobs(jobs, listener, tone_decoder(listener), how, said.append)
    return jobs, failures, said


def test_a_script_keeps_its_spelling() -> None:
    """What is aligned is lower case without punctuation; a number has no labels, a hyphen makes two words of one."""
    _, processor = tone_model()
    words = script_words("Ab, c-A! 42 bé", processor)
    assert [word.text for word in words] == ["Ab,", "c-A!", "42", "bé"]
    assert [word.labels for word in words] == [processor.encode(text) for text in ("ab", "c a", "", "b")]


def test_a_script_is_found_where_it_is_said() -> None:
    """Each letter of 0.12 s; the number that the model cannot write stands between its neighbours."""
    text, listener = "ab cab ac ba", tone_listener()
    log_probs = listener.whole([tiny.tones(text, np.random.default_rng(0)).astype(np.float32)])
    words = align_words(script_words("Ab cab, 7 AC ba.", listener.processor), log_probs, listener)
    assert [word.text for word in words] == ["Ab", "cab,", "7", "AC", "ba."]
    starts = [0, 0.36, 0.72, 0.84, 1.2]
    assert [word.start_s for word in words] == pytest.approx(starts, abs=0.03)
    assert [word.end_s for word in words] == pytest.approx([0.24, 0.72, 0.84, 1.08, 1.44], abs=0.03)
    assert words[2].confidence == 0 and min(word.confidence for word in words if word.text != "7") > 0.5


def test_words_that_cannot_be_written_share_their_place() -> None:
    """Sixty numbers between two words: each has its time, and no cue has none."""
    listener = tone_listener()
    log_probs = listener.whole([tiny.tones("ab   ac", np.random.default_rng(0)).astype(np.float32)])
    for script in ("ab " + "100,000 " * 60 + "ac", "100,000 " * 60 + "ab", "ab ac " + "100,000 " * 60):
        words = align_words(script_words(script, listener.processor), log_probs, listener)
        cues = make_cues(words, LIMITS)
        assert " ".join(cue.text for cue in cues).split() == script.split()
        assert all(one.end_s <= other.start_s + 1e-9 for one, other in pairwise(words))
        read = parse_captions(to_srt(cues)).cues
        assert len(read) == len(cues) and all(cue.end_s > cue.start_s for cue in read)


@pytest.mark.parametrize("script", ["42 !", "abc " * 100])
def test_a_script_that_cannot_be_said_is_refused(script: str) -> None:
    listener = tone_listener()
    log_probs = listener.whole([tiny.tones("ab", np.random.default_rng(0)).astype(np.float32)])
    with pytest.raises(Infeasible, match="labels need"):
        align_words(script_words(script, listener.processor), log_probs, listener)


def test_files_hold_the_words_that_are_said(tmp_path: Path) -> None:
    """120 words, some 65 s: the text in all four files, cues at the words' times."""
    text = random_text(120)
    jobs, failures, said = run([write_tones(tmp_path / "talk.flac", text)], tmp_path / "out")
    assert failures == [] and outputs(jobs) == ["talk.json", "talk.srt", "talk.txt", "talk.vtt"]
    read = {name: path.read_text(encoding="utf-8") for name, path in jobs[0].outputs.items()}
    assert read["txt"].split() == text.split()
    cues = parse_captions(read["srt"]).cues
    assert [cue.text for cue in parse_captions(read["vtt"]).cues] == [cue.text for cue in cues]
    assert " ".join(cue.text.replace("\n", " ") for cue in cues) == text
    content = json.loads(read["json"])
    assert content["model"] == "tones" and content["source"] == "talk.flac"
    assert content["duration_s"] == pytest.approx(len(text) * tiny.LETTER_S)
    places = [match.start() * tiny.LETTER_S for match in re.finditer(r"\w+", text)]
    assert [word["start_s"] for word in content["words"]] == pytest.approx(places, abs=0.03)
    assert "120 words" in said[0] and str(jobs[0].outputs["srt"]) in said[0]


def test_noise_is_left_out_and_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Faint tones between letters make a model less sure than the limit; with 0 they are kept."""
    text = random_text(30)
    recording = write_tones(tmp_path / "talk.wav", text)
    for limit, kept in ((0.0, True), (0.9999, False)):
        folder = tmp_path / str(limit)
        jobs, failures, said = run([recording], folder, min_confidence=limit)
        content = json.loads(jobs[0].outputs["json"].read_text(encoding="utf-8"))
        assert failures == [] and content["min_confidence"] == limit
        listed = [entry["text"] for entry in content["left_out_low_confidence"]]
        assert all(entry["confidence"] < limit for entry in content["left_out_low_confidence"])
        shown = [cue["text"] for cue in content["cues"]]
        assert sorted(" ".join([*listed, *shown]).split()) == sorted(text.split())
        assert (not listed) == kept and ("cues left out (no speech)" in said[0]) != kept
        assert [cue.text for cue in parse_captions(jobs[0].outputs["srt"].read_text()).cues] == shown if shown else True
    assert "--min_confidence 0 keeps them" in caplog.text and listed[0].split()[0] in caplog.text


def test_a_script_is_never_left_out(tmp_path: Path) -> None:
    recording = write_tones(tmp_path / "a.wav", random_text(20))
    jobs, _, _ = run([recording], tmp_path / "out", script=random_text(20, seed=5), min_confidence=0.9)
    assert jobs[0].outputs["txt"].read_text().split() == random_text(20, seed=5).split()


def test_names_that_are_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    r"""The outputs have the recording's own name; JSON and messages show caf\xe9; the file after it is done."""
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    write_tones(tmp_path / "plain.wav", "ab ca").rename(strange)
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/no\xff.wav"))
    bad.write_text("no sound")
    after = write_tones(tmp_path / "after.wav", "ab ca")
    jobs, failures, said = run([strange, bad, after], tmp_path / "out")
    names = sorted(os.listdir(os.fsencode(tmp_path / "out")))
    assert names == sorted(
        stem + kind for stem in (b"after", b"caf\xe9") for kind in (b".json", b".srt", b".txt", b".vtt")
    )
    assert json.loads(jobs[0].outputs["json"].read_text(encoding="utf-8"))["source"] == r"caf\xe9.wav"
    assert len(failures) == 1
    "\n".join([*said, *failures]).encode()  # can be printed
    assert r"caf\xe9.wav" in said[0] and r"no\xff.wav" in failures[0]


def test_what_cannot_be_written_stops_no_other(tmp_path: Path) -> None:
    long = write_tones(tmp_path / ("x" * 249 + ".wav"), "ab ca")  # with .json.part its name has 259 characters
    after = write_tones(tmp_path / "after.wav", "ab ca")
    jobs, failures, _ = run([long, after], tmp_path / "out", formats=["json"])
    assert outputs(jobs) == ["after.json"] and os.listdir(tmp_path / "out") == ["after.json"]
    assert len(failures) == 1 and "File name too long" in failures[0]


def test_what_is_damaged_is_named_and_the_rest_done(tmp_path: Path) -> None:
    good = [write_tones(tmp_path / f"{name}.wav", "ab ca") for name in ("one", "two")]
    (tmp_path / "bad.mp3").write_text("no sound")
    files = [good[0], tmp_path / "bad.mp3", tmp_path / "none.wav", good[1]]
    jobs, failures, _ = run(files, tmp_path / "out", formats=["txt"])
    assert outputs(jobs) == ["one.txt", "two.txt"]
    assert len(failures) == 2 and "bad.mp3" in failures[0] and "none.wav" in failures[1]


def test_what_is_done_is_left_alone_unless_the_recording_is_newer(tmp_path: Path) -> None:
    recording = write_tones(tmp_path / "talk.wav", "ab ca")
    jobs, _, _ = run([recording], tmp_path, formats=["txt", "srt"])
    jobs[0].outputs["txt"].write_text("mine\n", encoding="utf-8")
    assert "already done" in run([recording], tmp_path, formats=["txt", "srt"])[2][0]
    assert jobs[0].outputs["txt"].read_text() == "mine\n"
    jobs[0].outputs["srt"].unlink()  # a run that was stopped between the two
    run([recording], tmp_path, formats=["txt", "srt"])
    assert jobs[0].outputs["txt"].read_text() == "ab ca\n"
    write_tones(recording, "cab")
    later = recording.stat().st_mtime + 5
    os.utime(recording, (later, later))
    run([recording], tmp_path, formats=["txt", "srt"])
    assert jobs[0].outputs["txt"].read_text() == "cab\n"


def test_silence_gives_empty_captions(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(50_000), tiny.RATE)
    jobs, failures, said = run([tmp_path / "a.wav"], tmp_path, formats=["vtt", "txt"])
    assert failures == [] and "0 words, 0 cues" in said[0]
    assert jobs[0].outputs["vtt"].read_text() == "WEBVTT\n" and jobs[0].outputs["txt"].read_text() == ""


def test_the_script_of_another_recording_is_doubted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recording = write_tones(tmp_path / "a.wav", random_text(40))
    run([recording], tmp_path / "right", script=random_text(40))
    assert "check that the script belongs to this recording" not in caplog.text
    run([recording], tmp_path / "wrong", script=random_text(20, seed=5))
    assert "check that the script belongs to this recording" in caplog.text


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / "a" / "talk.wav", tmp_path / "b" / "talk.mp3"]
    with pytest.raises(ValueError, match=r"talk.srt' would be written for .*talk.mp3', but it belongs to .*talk.wav'"):
        plan_jobs(files, tmp_path, ["srt"])
    assert len(plan_jobs(files, None, ["srt"])) == 2
    with pytest.raises(ValueError, match="would be written"):
        plan_jobs([tmp_path / "notes.txt"], None, ["txt"])


@pytest.mark.parametrize(
    "content, message", [(None, "is not a file"), (b" \n", "no words"), (b"\xff\xfe\x00", "UTF-8")]
)
def test_a_script_that_is_no_text_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "script.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_script(tmp_path / "script.txt")


def test_the_command_ends_with_1_where_a_recording_was_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("deepspeech2.model.loading.load_model", lambda name: tone_model())
    recording = str(write_tones(tmp_path / "talk.wav", random_text(20)))
    (tmp_path / "script.txt").write_text(random_text(20).upper(), encoding="utf-8")
    options = ["--output_dir", str(tmp_path / "out"), "--formats", "srt", "--line_length", "20", "--max_lines", "1"]
    assert main(["transcribe", "tones", recording, *options, "--align", str(tmp_path / "script.txt")]) == 0
    cues = parse_captions((tmp_path / "out" / "talk.srt").read_text()).cues
    assert " ".join(cue.text for cue in cues) == random_text(20).upper()
    assert max(len(cue.text) for cue in cues) <= 20
    assert main(["transcribe", "tones", recording, str(tmp_path / "none.mp4"), *options]) == 1
    printed = capsys.readouterr()
    assert "already done" in printed.out and "1 of 2 recordings were skipped" in printed.err


def test_a_models_own_decoder_is_used_and_named(tmp_path: Path) -> None:
    for part in tiny.new_model():
        part.save_pretrained(tmp_path / "model")
    write_options(DecoderOptions(beam_size=5), tmp_path / "model" / "decoder.json")
    soundfile.write(tmp_path / "a.wav", tiny.tones("ab cab", np.random.default_rng(0)), tiny.RATE)
    for given, name in ([], "its own decoder.json"), (["--decoder", "greedy"], "greedy"):
        folder = tmp_path / name
        argv = [str(tmp_path / "model"), str(tmp_path / "a.wav"), "--formats", "json", "--output_dir", str(folder)]
        assert main(["transcribe", *argv, *given]) == 0
        assert json.loads((folder / "a.json").read_text())["decoder"] == name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PyTorch", "ONNX"])
def test_two_processes_share_the_files(kind: str, tmp_path: Path) -> None:
    """Four recordings and a damaged one over two processes: each is written once, the status is that of a failure."""
    model, processor = tiny.new_model()
    if kind == "ONNX":
        export_onnx(model, processor, tmp_path / "model")
    else:
        model.save_pretrained(tmp_path / "model")
        processor.save_pretrained(tmp_path / "model")
    files = [write_tones(tmp_path / f"{index}.wav", random_text(20, index)) for index in range(4)]
    (tmp_path / "bad.mp3").write_text("no sound")
    launch = [str(Path(sys.executable).with_name("accelerate")), "launch", "--quiet"]
    command = [*launch, "--config_file", "accelerate_configs/cpu_ddp.yaml", "-m", "deepspeech2"]
    words = [
        *command,
        "transcribe",
        str(tmp_path / "model"),
        *map(str, files),
        str(tmp_path / "bad.mp3"),
        "--formats",
        "txt",
    ]
    done = forked.run(words, cwd=ROOT)
    assert done.returncode == 1
    assert "1 of 5 recordings were skipped" in done.stderr and "bad.mp3" in done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["0.txt", "1.txt", "2.txt", "3.txt"]
    assert done.stdout.count("[1/3]") == done.stdout.count("[1/2]") == 1
