"""One recording: decoded, measured, and fetched from a server that has a bad day."""

import io
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

import tiny
from deepspeech2.data import preparation
from deepspeech2.data.audio import recordings
from deepspeech2.data.audio.recordings import AUDIO_SUFFIXES, AudioError, audio_duration_s, fetch_audio, open_audio
from deepspeech2.data.batching import Row
from deepspeech2.data.preparation import DropLog, Examples, Filters
from deepspeech2.system import network
from sounds import encoded, file_of, tone


def test_open_audio():
    stereo = {"bytes": encoded(0.5, 8000, "WAV", channels=2), "path": None}
    samples = open_audio(stereo, 16000)
    assert samples.dtype == np.float32 and samples.shape == (8000,)
    np.testing.assert_allclose(samples[1000:7000], tone(0.5)[1000:7000, 0], atol=1e-3)
    assert audio_duration_s(stereo) == 0.5
    assert audio_duration_s({"bytes": encoded(1.25, kind="OGG"), "path": None}) == 1.25


@pytest.mark.parametrize("suffix", AUDIO_SUFFIXES)
def test_every_suffix_is_of_a_file_that_is_decoded(tmp_path, suffix):
    kinds = {".ogg": ("OGG", "VORBIS"), ".opus": ("OGG", "OPUS"), ".sph": ("NIST", "PCM_16"), ".oga": ("OGG", None)}
    kinds |= {".aif": ("AIFF", None), ".aifc": ("AIFF", "ULAW")}
    kind, subtype = kinds.get(suffix, (suffix[1:].upper(), None))
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.zeros(16000), 16000, format=kind, subtype=subtype)
    assert open_audio({"bytes": None, "path": str(path)}, 16000).shape == (16000,)


def test_audio_errors(tmp_path):
    nan = io.BytesIO()
    soundfile.write(nan, np.full(100, np.nan), 16000, format="WAV", subtype="FLOAT")
    for recording, message in [
        ({"bytes": b"no sound", "path": "x.flac"}, r"'x.flac' \(8 bytes\) cannot be decoded"),
        ({"bytes": b"", "path": None}, "cannot be decoded"),
        ({"bytes": None, "path": str(tmp_path / "gone.wav")}, "gone.wav' is not a file"),
        ({"bytes": None, "path": None}, "neither the bytes nor the path"),
        ({"bytes": encoded(0.0, kind="WAV"), "path": None}, "has no samples"),
        ({"bytes": nan.getvalue(), "path": None}, "not finite"),
    ]:
        with pytest.raises(AudioError, match=message):
            open_audio(recording, 16000)


@pytest.fixture
def server(monkeypatch):
    """`answers`: HTTP statuses, one for each request, the last one for all that follow."""
    content = encoded(0.5)

    class Handler(BaseHTTPRequestHandler):
        answers: list[int] = []

        def do_GET(self):
            status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            body = content if status == 200 else b"busy"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(network, "PAUSES_S", (0.01,) * 5)
    Handler.url = f"http://127.0.0.1:{server.server_address[1]}/a.flac"
    yield Handler
    server.shutdown()
    server.server_close()


def test_a_busy_server_is_asked_again(server, caplog):
    server.answers = [429, 500, 503, 200]
    fetched = fetch_audio({"bytes": None, "path": server.url})
    assert audio_duration_s(fetched) == 0.5 and fetched["path"] == server.url
    assert "request failed; next attempt in" in caplog.text
    assert fetch_audio(fetched) is fetched  # once is enough


def test_a_server_that_stays_away_is_no_fault_of_the_recording(server):
    server.answers = [500]
    with pytest.raises(ConnectionError, match=r"could not be fetched in 6 attempts.*run the same command to resume"):
        fetch_audio({"bytes": None, "path": server.url})


def test_a_server_that_is_gone_is_given_up_once_not_for_each_recording(server, monkeypatch):
    """Of 60 recordings no more are asked for than the fetchers had in hand, and those that followed at once."""
    monkeypatch.setattr(network, "PAUSES_S", (0.5,))
    server.answers = [500]
    asked = []
    fetch = recordings.fetch_audio
    monkeypatch.setattr(preparation, "fetch_audio", lambda recording: asked.append(1) or fetch(recording))
    rows = [
        Row({"audio": {"bytes": None, "path": server.url}, "text": "a", "id": str(index), "speaker_id": ""}, "c")
        for index in range(60)
    ]
    processor = tiny.new_model()[1]
    with pytest.raises(ConnectionError):
        Examples(processor).items(rows, [0], DropLog(None, "log", resume=False))
    assert len(asked) <= 5 * preparation.FETCHERS


def test_a_recording_that_is_gone_is_left_out(server):
    server.answers = [404]
    with pytest.raises(AudioError, match="does not exist"):
        fetch_audio({"bytes": None, "path": server.url})


def test_a_local_recording_is_not_touched():
    local = {"bytes": None, "path": "a.wav"}
    assert fetch_audio(local) is local


# Spans --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_span_is_those_samples_of_the_file(kind):
    """From 0.25 to 0.7 s at 8 kHz: samples 2,000 to 5,600."""
    recording = {"bytes": encoded(1.0, 8000, kind), "path": "a", "start_s": 0.25, "end_s": 0.7}
    whole = open_audio({"bytes": recording["bytes"], "path": "a"}, 8000)
    np.testing.assert_allclose(open_audio(recording, 8000), whole[2000:5600], atol=1e-6)
    assert audio_duration_s(recording) == 0.45
    assert open_audio(recording, 16000).size == 7200
    for start_s, end_s, span in [
        (None, 0.5, slice(0, 4000)),
        (0.5, None, slice(4000, 8000)),
        (0.9, 1.04, slice(7200, 8000)),
    ]:
        found = open_audio(recording | {"start_s": start_s, "end_s": end_s}, 8000)
        np.testing.assert_allclose(found, whole[span], atol=1e-6)


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [(-0.1, 0.5), (0.5, 0.5), (0.6, 0.5), (0.5, 1.06), (1.2, None), (float("nan"), None), (0.0, 1e-5)],
)
def test_a_span_that_is_not_in_the_file_is_refused(start_s, end_s):
    with pytest.raises(AudioError, match=rf"lasts 1.000 s, but its span is from {start_s} to {end_s} s") as caught:
        audio_duration_s({"bytes": encoded(1.0, 8000, "WAV"), "path": "a", "start_s": start_s, "end_s": end_s})
    assert caught.value.reason == "bad_span"


# What cannot be used ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (bytes(5000), "it holds zeros only"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "it is a web page or XML"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "it is a web page or XML"),
        (b'{"error": "not found"}', r"it is text, which begins with '\{\"error\": \"not found\"\}'"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "it is a Git LFS pointer.* git lfs",
        ),
        (bytes.fromhex("0005160700020000") + b"Mac OS X" + bytes(70), "it is a file that macOS made beside"),
        (b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(400), r"it is AAC \(ADTS\), whatever its name ends in"),
        (b"\0\0\0\x20ftypM4A " + bytes(400), "it is MP4, M4A or 3GP"),
        (b"\x1aE\xdf\xa3" + bytes(400), "it is Matroska or WebM"),
        (b"#!AMR\n" + bytes(range(256)), "it is AMR"),
        (b"PK\x03\x04" + bytes(400), "it is a ZIP archive"),
        (bytes(range(128, 256)), "libsndfile: Format not recognised"),
    ],
)
def test_what_is_no_audio_is_named(content, what, tmp_path):
    (tmp_path / "a.wav").write_bytes(content)
    for recording in ({"bytes": content, "path": "a.wav"}, {"bytes": None, "path": str(tmp_path / "a.wav")}):
        with pytest.raises(AudioError, match=rf"a.wav'.* cannot be decoded: {what}") as caught:
            audio_duration_s(recording)
        assert caught.value.reason == "undecodable"


@pytest.mark.parametrize("place", [22, 24, 32, 34])
def test_zeros_in_the_header_of_a_wav_are_refused(place):
    """Channels, rate, bytes of a sample, bits of a sample."""
    wav = encoded(0.5, kind="WAV")
    try:
        assert open_audio({"bytes": wav[:place] + bytes(2) + wav[place + 2 :], "path": "a.wav"}, 16000).size
    except AudioError as error:
        assert error.reason in ("undecodable", "absurd_header", "empty_audio")


@pytest.mark.parametrize(
    "error", [ValueError("frames"), RuntimeError("odd"), MemoryError(), ZeroDivisionError(), OSError(5, "I/O")]
)
def test_whatever_a_decoder_raises_names_the_recording(error, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    recording = {"bytes": encoded(0.5), "path": "a.flac"}
    monkeypatch.setattr("soundfile.SoundFile.read", fail)
    with pytest.raises(AudioError, match=r"the recording 'a.flac' \(\d+ bytes\) cannot be decoded: \S") as caught:
        open_audio(recording, 16000)
    assert caught.value.reason == "undecodable"


def test_clips_that_resampling_leaves_empty_are_left_out_by_name():
    """One sample at 48 kHz is a third of one at 16 kHz."""
    processor = tiny.new_model()[1]
    rate = processor.feature_extractor.sampling_rate
    contents = {"touched": file_of(np.full(1, 0.1), 6 * rate), "good": encoded(0.5, rate)}
    rows = [
        Row({"audio": {"bytes": content, "path": name}, "text": "a", "id": name, "speaker_id": ""}, "c")
        for name, content in contents.items()
    ]
    filters = Filters(lambda samples: samples // 80, 0.0)
    for examples in (Examples(processor), Examples(processor, filters), Examples(processor, trimmed=True)):
        log = DropLog(None, "log", resume=False)
        batch = examples.batch(examples.items(rows, [0], log), log)
        assert batch["ids"] == ["good"]
        assert [(drop["id"], drop["reason"]) for drop in log.drops] in (
            [("touched", "empty_audio")],
            [("touched", "ctc_infeasible")],
        )


def test_files_are_closed(tmp_path):
    """Many recordings, good and bad, leave no open file behind."""
    (tmp_path / "a.wav").write_bytes(encoded(0.1, kind="WAV"))
    (tmp_path / "b.wav").write_bytes(b"<html>")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        open_audio({"bytes": None, "path": str(tmp_path / "a.wav")}, 16000)
        with pytest.raises(AudioError):
            open_audio({"bytes": None, "path": str(tmp_path / "b.wav")}, 16000)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_read_with_a_change_is_said_once_of_each_kind(monkeypatch, caplog):
    monkeypatch.setattr(recordings, "_said", set())
    wav = encoded(0.5, kind="WAV")
    both = np.stack([tone(0.5)[:, 0], -tone(0.5)[:, 0]], axis=1)
    contents = {"good": wav, "short": wav[:40] + (1000).to_bytes(4, "little") + wav[44:], "inverted": file_of(both)}
    for name in ("good", "short", "inverted", "short", "inverted"):
        assert open_audio({"bytes": contents[name], "path": name}, 16000).size == 8000
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "the recording 'short'",
        "the recording 'inverted'",
    ]
    assert "recipes/check_data.py lists them as short_header" in caplog.text
