"""Captioned recordings into utterances: each is what is said there, what is doubtful is named, training reads them."""

import csv
import os
import resource
import runpy
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tiny
from deepspeech2.data.splits import load_train_corpora
from deepspeech2.inference.captioned_corpus import (
    CaptionedClip,
    Dropped,
    Rules,
    cut_clips,
    find_cue,
    find_utterances,
    spoken_text,
    write_corpus,
)
from deepspeech2.inference.captions import Cue, find_captions, to_srt, to_vtt
from tone_model import random_text, tone_listener, tone_model, write_tones

ROOT = Path(__file__).resolve().parents[2]
LETTER_S = tiny.LETTER_S


def cues_of(text: str, words_each: int = 5, shift_s: float = 0.0) -> list[Cue]:
    """Cues of some words each at the times of their tones, all of them shifted."""
    words, cues, place = text.split(), [], 0
    for start in range(0, len(words), words_each):
        said = " ".join(words[start : start + words_each])
        cues.append(Cue(max(place * LETTER_S + shift_s, 0), (place + len(said)) * LETTER_S + shift_s, said))
        place += len(said) + 1
    return cues


def heard(text: str) -> tuple:
    """A listener, and its log-probabilities of a text in tones."""
    listener = tone_listener()
    return listener, listener.whole([tiny.tones(text, np.random.default_rng(0)).astype(np.float32)])


@pytest.mark.parametrize(
    "written, said",
    [
        ("[MUSIC]", ""),
        ("♪ la la la ♪", ""),
        ("(laughs) Hello, (sighs) you", "Hello, you"),
        ("- Who is there?\n- It is me.", "Who is there? It is me."),
        ("MAN 2: Stop!", "Stop!"),
        ("THERE ARE THREE: ONE, TWO", "THERE ARE THREE: ONE, TWO"),
        (">> Thank you.", "Thank you."),
        ("I said: no", "I said: no"),
        (">> I said: no", "I said: no"),
        ("MÜLLER: Halt!", "Halt!"),
        ("[MAN]: Hello", "Hello"),
        ("– Yes.\n– No.", "Yes. No."),
        ("（笑）はい【音楽】", "はい"),
        ("at 12:30", "at 12:30"),
    ],
)
def test_what_is_written_but_not_said_is_taken_out(written: str, said: str) -> None:
    assert spoken_text(Cue(0, 1, written)) == said


@pytest.mark.parametrize("shift_s", [-0.6, 0.0, 0.6])
def test_a_cue_is_found_where_it_is_said_though_it_is_shifted(shift_s: float) -> None:
    """Within the margin of 1 s; its neighbours' words there are not mistaken for its own."""
    text = random_text(40)
    listener, log_probs = heard(text)
    for true, shifted in zip(cues_of(text)[1:-1], cues_of(text, shift_s=shift_s)[1:-1], strict=True):
        found = find_cue(shifted, log_probs, listener, Rules())
        assert isinstance(found, CaptionedClip)
        assert (found.start_s, found.end_s) == pytest.approx((true.start_s, true.end_s), abs=0.05)
        assert found.score > -0.1


@pytest.mark.parametrize(
    "cue, reason",
    [
        (Cue(3.0, 5.0, "[MUSIC]"), "nothing_said"),
        (Cue(3.0, 5.0, "ab 42"), "unknown_characters"),
        (Cue(3.0, 5.0, "abc " * 60), "too_much_text"),
        (Cue(900.0, 905.0, "abc"), "too_much_text"),
        (Cue(3.0, 4.5, random_text(5, seed=77)), "low_score"),
    ],
)
def test_a_cue_that_is_not_said_there_is_named(cue: Cue, reason: str) -> None:
    listener, log_probs = heard(random_text(40))
    found = find_cue(cue, log_probs, listener, Rules())
    assert isinstance(found, Dropped) and found.reason == reason


def test_a_cue_that_reaches_out_of_sight_is_cut_off() -> None:
    """The word is said from 6.0 s to 7.32 s; of a cue that ends at 6.26 s, 7.26 s is the last that is looked at."""
    listener, log_probs = heard("aba " * 12 + "  cacbabcbacb ab ab ab")
    for end_s, reason in ((6.26, "cut_off"), (6.5, None)):
        found = find_cue(Cue(5.5, end_s, "cacbabcbacb"), log_probs, listener, Rules())
        assert (found.reason if isinstance(found, Dropped) else None) == reason


def test_neighbours_are_joined_up_to_the_longest() -> None:
    """8 cues of about 2.5 s, one of them with another's words: utterances of several cues, none over that one."""
    text = random_text(40)
    listener, log_probs = heard(text)
    cues = cues_of(text)
    cues[4] = cues[4]._replace(text=cues[0].text)
    utterances, dropped = find_utterances(cues, log_probs, listener, Rules(max_duration_s=8.0))
    assert [one.reason for one in dropped] == ["low_score"] and dropped[0].cue == cues[4]
    assert " ".join(one.text for one in utterances) == " ".join(cue.text for cue in [*cues[:4], *cues[5:]])
    assert all(one.end_s - one.start_s <= 8.0 for one in utterances) and len(utterances) < 7
    parts = text.split()
    edges = [0, *np.cumsum([len(word) + 1 for word in parts])]
    for one in utterances:
        inside = [
            word
            for word, start in zip(parts, edges, strict=False)
            if one.start_s <= (start + len(word) / 2) * LETTER_S <= one.end_s
        ]
        assert " ".join(inside) == one.text


@pytest.mark.parametrize("between", ["same", "[MUSIC]"])
def test_what_is_said_once_is_kept_once(between: str) -> None:
    """Rolling captions, as of videos, say each line again; so may a cue behind another that was left out."""
    text = random_text(30)
    listener, log_probs = heard(text)
    cues = cues_of(text)
    again = cues[1] if between == "same" else cues[1]._replace(text=between)
    utterances, dropped = find_utterances([*cues[:2], again, cues[1], *cues[2:]], log_probs, listener, Rules())
    assert " ".join(one.text for one in utterances) == text
    reason = "overlapping" if between == "same" else "nothing_said"
    assert sorted(one.reason for one in dropped) == sorted([reason, "overlapping"])


def test_an_earlier_utterance_behind_one_that_was_left_out_is_not_cut() -> None:
    """The samples of what comes before a clip that was cut are gone."""
    text = random_text(30)
    listener, log_probs = heard(text)
    cues = cues_of(text)
    late = cues[1]._replace(start_s=cues[2].start_s + 0.01, end_s=cues[2].end_s + 0.01)
    order = [cues[0], cues[2], late._replace(text="[MUSIC]"), late, *cues[3:]]
    utterances, dropped = find_utterances(order, log_probs, listener, Rules(margin_s=4.0))
    assert [one.reason for one in dropped if one.cue.text != "[MUSIC]"] == ["overlapping"]
    starts = [one.start_s for one in utterances]
    assert starts == sorted(starts)


def test_what_is_too_short_or_too_long_is_dropped() -> None:
    """Cues of 5 words take some 2 to 3 s: none lasts 5 s, nor less than 1 s."""
    text = random_text(20)
    listener, log_probs = heard(text)
    for rules, reason in [
        (Rules(min_duration_s=20.0, max_duration_s=30.0), "too_short"),
        (Rules(min_duration_s=0.1, max_duration_s=0.5), "too_long"),
    ]:
        utterances, dropped = find_utterances(cues_of(text), log_probs, listener, rules)
        assert utterances == [] and {one.reason for one in dropped} == {reason} and len(dropped) == 4


@pytest.mark.parametrize("size", [100, 4000, 100_000])
def test_clips_are_those_parts_of_the_stream(size: int) -> None:
    samples = np.arange(50_000, dtype=np.float32)
    spans = [(0.0, 1.0), (1.0, 2.5), (3.25, 5.0), (5.5, 6.25)]
    blocks = [samples[start : start + size] for start in range(0, len(samples), size)]
    clips = list(cut_clips(blocks, [CaptionedClip(start, end, "", 0) for start, end in spans], 8000))
    for (start, end), clip in zip(spans, clips, strict=True):
        np.testing.assert_array_equal(clip, samples[round(start * 8000) : round(end * 8000)])


def captioned(folder: Path, name: str, seed: int) -> Path:
    """A recording of 60 words, and its captions, one of them wrong and one only [MUSIC]."""
    text = random_text(60, seed)
    cues = cues_of(text, shift_s=0.3)
    cues[5] = cues[5]._replace(text=cues[0].text)
    cues.append(Cue(cues[-1].end_s, cues[-1].end_s + 1, "[MUSIC]"))
    folder.mkdir(exist_ok=True)
    write = to_srt if seed % 2 else to_vtt
    (folder / f"{name}.{'srt' if seed % 2 else 'vtt'}").write_text(write(cues), encoding="utf-8")
    return write_tones(folder / f"{name}.flac", text, seed)


def test_the_corpus_is_one_that_training_reads(tmp_path: Path, monkeypatch, capsys) -> None:
    """Through the recipe: two good recordings, one without captions. Each clip, heard again, says its text."""
    monkeypatch.setattr("deepspeech2.model.loading.load_model", lambda name: tone_model())
    main = runpy.run_path(str(ROOT / "recipes" / "captions" / "segment.py"))["main"]
    media = [captioned(tmp_path / "media", "one", 1), captioned(tmp_path / "media", "two", 2)]
    bare = write_tones(tmp_path / "media" / "bare.wav", "ab")
    out = tmp_path / "corpus"
    words = ["tones", *map(str, media), str(bare), "--max_duration_s", "6", "--output_dir", str(out)]
    assert main(words) == 1
    printed = capsys.readouterr()
    assert "4 cues left out (2 low_score, 2 nothing_said)" in printed.out
    assert "1 of 3 recordings were skipped" in printed.err and "bare.wav" in printed.err
    with (out / "dropped.csv").open(encoding="utf-8") as file:
        dropped = [(row["media"], row["reason"]) for row in csv.DictReader(file)]
    assert sorted(dropped) == [
        (f"{name}.flac", why) for name in ("one", "two") for why in ("low_score", "nothing_said")
    ]
    (corpus,) = load_train_corpora(tiny.data_arguments(out))[0]
    rows = list(corpus.stream)
    assert {row["speaker_id"] for row in rows} == {"one", "two"}
    listener = tone_listener()
    for row in rows:
        samples, rate = soundfile.read(row["audio"]["path"], dtype="float32")
        assert rate == tiny.RATE and 1.0 <= len(samples) / rate <= 6.0
        symbols = listener.whole([samples]).argmax(-1)
        assert listener.processor.decode(symbols).strip() == row["text"]
    with pytest.raises(ValueError, match="already exists"):
        write_corpus(out, media, listener, Rules())


def test_captions_of_another_recording_make_no_corpus(tmp_path: Path) -> None:
    media = captioned(tmp_path / "media", "one", 1)
    write_tones(media, random_text(60, 9), 9)
    with pytest.raises(ValueError, match=r"no cue could be used .*dropped.csv lists them"):
        write_corpus(tmp_path / "corpus", [media], tone_listener(), Rules())
    assert not (tmp_path / "corpus").exists() and (tmp_path / "corpus.part" / "dropped.csv").is_file()


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stop_in(recording: str, monkeypatch) -> list[str]:
    """Stop writing at the third clip of a recording, and return a list that names the recording of each clip."""
    write, written = soundfile.write, []

    def stop(path: Path, *given: object) -> None:
        if (path.parent.name, path.name) == (recording, "00002.flac"):
            raise KeyboardInterrupt
        written.append(path.parent.name)
        write(path, *given)

    monkeypatch.setattr("soundfile.write", stop)
    return written


def test_a_stopped_run_goes_on_with_the_recordings_that_are_left(tmp_path: Path, monkeypatch) -> None:
    """It stops in the last of three, and then is as one of two that was not stopped. Other rules take nothing of it."""
    media = [captioned(tmp_path / "media", name, seed) for seed, name in enumerate(["one", "two", "six"], 1)]
    listener, rules, others = tone_listener(), Rules(max_duration_s=6), Rules()
    for name, some in (("rules", rules), ("others", others)):
        write_corpus(tmp_path / name, media[:2], listener, some)
    for name, some, left in (("rules", rules, {"two"}), ("others", others, {"one", "two"})):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            stop_in("two", patched)
            write_corpus(tmp_path / "out" / name, [media[2], *media[:2]], listener, rules)
        with (tmp_path / "out" / f"{name}.part" / "journal.jsonl").open("a", encoding="utf-8") as journal:
            journal.write('{"stem": "si')  # killed while it wrote
        with monkeypatch.context() as patched:
            written = stop_in("none", patched)
            writer, _ = write_corpus(tmp_path / "out" / name, media[:2], listener, some)
        assert set(written) == left and files_of(tmp_path / "out" / name) == files_of(tmp_path / name)
        assert writer.reasons.total() == 4 and writer.duration_s > 20


def test_clips_of_other_rules_do_not_stand_for_those_they_replaced(tmp_path: Path, monkeypatch) -> None:
    media = [captioned(tmp_path / "media", name, seed) for seed, name in enumerate(["one", "two"], 1)]
    listener, rules = tone_listener(), Rules(max_duration_s=6)
    write_corpus(tmp_path / "whole", media, listener, rules)
    for recording, some in (("two", rules), ("one", Rules())):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            stop_in(recording, patched)
            write_corpus(tmp_path / "out", media, listener, some)
    write_corpus(tmp_path / "out", media, listener, rules)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_a_full_disk_is_named_and_skips_no_recording(tmp_path: Path) -> None:
    """A file may have 30,000 bytes here, fewer than a clip."""
    media = captioned(tmp_path / "media", "one", 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        with pytest.raises(RuntimeError, match=r"0000\d.flac could not be written: .* MB are free there; expected a"):
            write_corpus(tmp_path / "corpus", [media], tone_listener(), Rules())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_folder_of_something_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "corpus.part").mkdir()
    with pytest.raises(ValueError, match=r"exists without a journal.jsonl; remove it, or name another folder"):
        write_corpus(tmp_path / "corpus", [tmp_path / "a.wav"], tone_listener(), Rules())


@pytest.mark.parametrize("given", [{"margin_s": -1.0}, {"min_score": 1.0}, {"min_duration_s": 20.0}])
def test_rules_that_nothing_keeps_are_refused(given: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))} is .*; expected"):
        Rules(**given)


def test_captions_are_sought_beside_the_recording(tmp_path: Path) -> None:
    media = tmp_path / "talk.mp4"
    with pytest.raises(ValueError, match=r"talk.srt or talk.vtt; found none"):
        find_captions(media)
    (tmp_path / "talk.en.srt").touch()
    assert find_captions(media) == tmp_path / "talk.en.srt"
    (tmp_path / "talk.de.vtt").touch()
    with pytest.raises(ValueError, match=r"found talk.de.vtt, talk.en.srt"):
        find_captions(media)
    (tmp_path / "talk.vtt").touch()
    assert find_captions(media) == tmp_path / "talk.vtt"
    cues = [Cue(0.0, 1.5, "one & two"), Cue(2.0, 3.0, "three")]
    (tmp_path / "talk.vtt").write_text(to_vtt(cues))
    (tmp_path / "talk.srt").write_text(to_srt(cues))
    assert find_captions(media) == tmp_path / "talk.srt"  # both as `deepspeech2 transcribe` writes them
    (tmp_path / "talk.srt").write_text(to_srt(cues[:1]))
    with pytest.raises(ValueError, match=r"found talk.srt, talk.vtt"):
        find_captions(media)


def test_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="several recordings are called a"):
        write_corpus(tmp_path / "out", [Path("x/a.wav"), Path("y/a.mp3")], tone_listener(), Rules())
    with pytest.raises(ValueError, match="several recordings are called a_b"):
        write_corpus(tmp_path / "out", [Path("a_b.wav"), Path("a\\b.mp3")], tone_listener(), Rules())


def test_a_name_that_is_not_utf8_and_captions_with_faults(tmp_path: Path) -> None:
    r"""The corpus has the name as caf_xe9; two parts of the captions are listed, and the rest is used."""
    text = random_text(30)
    media = write_tones(tmp_path / "plain.wav", text).rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")))
    cues = cues_of(text)
    written = to_srt([*cues, Cue(90.0, 80.0, "backwards")]) + "\n9\n00:0x:00,000 --> 00:00:01,000\nunreadable\n"
    media.with_suffix(".srt").write_text(written, encoding="utf-8")
    writer, failures = write_corpus(tmp_path / "corpus", [media], tone_listener(), Rules())
    assert failures == [] and writer.reasons == {"ends_before_it_begins": 1, "bad_times": 1}
    with (tmp_path / "corpus" / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert " ".join(row["text"] for row in rows) == text
    assert all((tmp_path / "corpus" / row["file_name"]).is_file() for row in rows)
    assert {row["speaker_id"] for row in rows} == {"caf_xe9"}
    with (tmp_path / "corpus" / "dropped.csv").open(encoding="utf-8", newline="") as file:
        dropped = list(csv.DictReader(file))
    assert [(row["media"], row["start_s"], row["reason"], row["text"]) for row in dropped] == [
        (r"caf\xe9.wav", "90.000", "ends_before_it_begins", "backwards"),
        (r"caf\xe9.wav", "", "bad_times", "00:0x:00,000 --> 00:00:01,000 unreadable"),
    ]
