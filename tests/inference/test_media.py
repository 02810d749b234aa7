"""Sound out of audio and video files: the samples, each in its place; what is no media refused by name."""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from deepspeech2.data.audio.recordings import AudioError, open_audio
from deepspeech2.inference.media import read_blocks, read_utterance

RATE = 16_000


def tone(seconds: float, rate: int, hz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_video(
    path: Path,
    samples: np.ndarray,
    rate: int,
    starts_s: float,
    codec: str,
    hole: range = range(0),
    broken: bool = False,
) -> None:
    """5 s of black picture, and sound that begins later; its frames `hole` are missing, or broken."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        audio = container.add_stream(codec, rate=rate, layout="stereo")
        for index in range(50):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            picture.pts = index
            container.mux(video.encode(picture))
        container.mux(video.encode())
        for number, start in enumerate(range(0, len(samples), 1024)):
            both = np.ascontiguousarray(np.stack([samples[start : start + 1024]] * 2))
            frame = av.AudioFrame.from_ndarray(both, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = rate, start + round(starts_s * rate), Fraction(1, rate)
            for packet in audio.encode(frame):
                if number in hole and broken:
                    garbage = av.Packet(bytes(len(bytes(packet))))
                    garbage.stream, garbage.time_base = packet.stream, packet.time_base
                    garbage.pts, garbage.dts, garbage.duration = packet.pts, packet.dts, packet.duration
                    container.mux(garbage)
                elif number not in hole:
                    container.mux(packet)
        container.mux(audio.encode())


def read(path: Path) -> np.ndarray:
    return np.concatenate(list(read_blocks(path, RATE)))


def test_samples_are_those_of_the_file_in_blocks_of_ten_seconds(tmp_path: Path) -> None:
    samples = tone(25, RATE)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    blocks = list(read_blocks(tmp_path / "a.wav", RATE))
    assert [len(block) for block in blocks] == [160_000, 160_000, 80_000]
    np.testing.assert_array_equal(np.concatenate(blocks), samples)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.wav"])
def test_other_rates_and_channels_become_one_channel_at_the_models_rate(name: str, tmp_path: Path) -> None:
    """44.1 kHz, 1.5 times the tone on the left and half of it on the right: their mean is the tone itself."""
    left = tone(3, 44_100)
    soundfile.write(tmp_path / name, np.stack([1.5 * left, 0.5 * left], axis=1), 44_100)
    samples = read(tmp_path / name)
    assert len(samples) == pytest.approx(3 * RATE, abs=0.08 * RATE)  # MP3 has a delay of its own
    middle = samples[RATE : 2 * RATE]
    assert np.abs(middle).max() == pytest.approx(0.3, abs=0.02)
    assert np.abs(np.fft.rfft(middle)).argmax() == 440


@pytest.mark.parametrize("name, codec", [("a.mp4", "aac"), ("a.mkv", "flac"), ("a.mkv", "libopus")])
def test_sound_that_begins_late_is_in_its_place(name: str, codec: str, tmp_path: Path) -> None:
    """2 s after the picture: captions count from the picture's start."""
    write_video(tmp_path / name, tone(3, 48_000), 48_000, 2.0, codec)
    samples = read(tmp_path / name)
    assert len(samples) == pytest.approx(5 * RATE, abs=0.05 * RATE)
    assert np.flatnonzero(np.abs(samples) > 0.1)[0] == pytest.approx(2 * RATE, abs=0.03 * RATE)
    assert not samples[: round(1.9 * RATE)].any()


@pytest.mark.parametrize("broken", [False, True])
def test_missing_and_broken_sound_is_silence(broken: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """47 of 140 frames of 1024 samples at 48 kHz: 1.003 s are missing after 1 s; what follows keeps its place."""
    write_video(tmp_path / "a.mkv", tone(3, 48_000), 48_000, 0.0, "flac", range(47, 94), broken)
    samples = read(tmp_path / "a.mkv")
    assert len(samples) == pytest.approx(3 * RATE, abs=0.05 * RATE)
    quiet = np.abs(samples[round(1.2 * RATE) : round(1.9 * RATE)]).max()
    assert quiet < 0.01 < np.abs(samples[round(2.2 * RATE) : round(2.9 * RATE)]).max()
    assert ("damaged packets were replaced by silence" in caplog.text) == broken


@pytest.mark.parametrize(
    "name, content, reason",
    [("a.mp3", b"no sound at all", "undecodable"), ("a.mp4", b"", "undecodable"), ("a.wav", b"RIFF", "undecodable")],
)
def test_what_is_no_media_is_refused(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match="cannot be decoded") as caught:
        read(tmp_path / name)
    assert caught.value.reason == reason and "Errno" not in str(caught.value)
    assert ("is empty (0 bytes)" in str(caught.value)) == (content == b"")


def test_a_missing_file_an_address_and_a_picture_are_refused(tmp_path: Path) -> None:
    for name in (tmp_path / "none.wav", Path("http://127.0.0.1/a.wav"), Path("/dev/zero")):
        with pytest.raises(AudioError, match=r"does not exist|is not a regular file"):
            read(name)
    with av.open(str(tmp_path / "silent.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(video.encode(picture))
        container.mux(video.encode())
    with pytest.raises(AudioError, match="has no audio stream; it has video"):
        read(tmp_path / "silent.mp4")


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.m3u8", "#EXTM3U\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"), ("a.mp3", "ffconcat version 1.0\nfile {}\n")],
)
def test_what_points_to_other_files_is_refused(name: str, text: str, tmp_path: Path) -> None:
    """An upload that has FFmpeg read another file of the machine."""
    soundfile.write(tmp_path / "secret.wav", tone(1, RATE), RATE)
    (tmp_path / name).write_text(text.format("secret.wav"))
    with pytest.raises(AudioError, match="cannot be decoded"):
        read(tmp_path / name)


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.0, np.nan, 0.0], np.float32), RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="not finite") as caught:
        read(tmp_path / "a.wav")
    assert caught.value.reason == "not_finite"


def test_time_stamps_that_jump_by_hours_are_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", tone(1, 48_000), 48_000, 5 * 3600.0, "flac")
    with pytest.raises(AudioError, match="time stamps jump by 18,000 s"):
        read(tmp_path / "a.mkv")


def test_an_utterance_lasts_up_to_a_minute(tmp_path):
    for seconds in (60, 61):
        soundfile.write(tmp_path / f"{seconds}.wav", np.zeros(seconds * 8000, np.float32), 8000)
    assert sum(map(len, read_utterance(tmp_path / "60.wav", 8000))) == 60 * 8000
    with pytest.raises(AudioError, match=r"61.wav' is longer than 60 s; expected a single utterance"):
        read_utterance(tmp_path / "61.wav", 8000)


def test_a_recording_that_was_cut_off_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a broken download: FFmpeg takes what there is for the whole."""
    soundfile.write(tmp_path / "a.wav", tone(10, RATE), RATE)
    whole = (tmp_path / "a.wav").read_bytes()
    assert len(read(tmp_path / "a.wav")) == 10 * RATE and not caplog.records
    (tmp_path / "b.wav").write_bytes(whole[: len(whole) // 2])
    assert len(read(tmp_path / "b.wav")) == pytest.approx(5 * RATE, abs=100)
    assert f"according to its header {len(whole) - len(whole) // 2:,} bytes are missing" in caplog.text
    caplog.clear()
    (tmp_path / "c.wav").write_bytes(whole[:4] + b"\xff\xff\xff\xff" + whole[8:])  # of a pipe
    assert len(read(tmp_path / "c.wav")) == 10 * RATE and not caplog.records


# Tracks and channels ------------------------------------------------------------------------------------------------


def write_tracks(path: Path, *tracks: tuple[np.ndarray, str, str]) -> None:
    """Matroska with audio tracks of 48 kHz: samples, language, title."""
    with av.open(str(path), "w") as container:
        streams = []
        for _, language, title in tracks:
            streams.append(container.add_stream("flac", rate=48_000, layout="mono"))
            streams[-1].metadata["language"] = language
            streams[-1].metadata["title"] = title
        for stream, (samples, *_) in zip(streams, tracks, strict=True):
            for start in range(0, len(samples), 4608):
                part = (samples[None, start : start + 4608] * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())


def test_several_audio_tracks_are_said_and_one_is_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "film.mkv"
    write_tracks(path, (tone(2, 48_000, 440), "eng", "Original"), (tone(2, 48_000, 880), "deu", "Kommentar"))
    for track, hz in ((None, 440), (1, 440), (2, 880)):
        caplog.clear()
        samples = np.concatenate(list(read_blocks(path, RATE, track)))
        assert len(samples) == 2 * RATE and np.abs(np.fft.rfft(samples)).argmax() / 2 == hz
        assert "has 2 audio tracks: 1 (eng, Original, flac, mono), 2 (deu, Kommentar, flac, mono)" in caplog.text
        assert f"Track {track or 1} is used" in caplog.text and ("--track takes another" in caplog.text) == (not track)
    for wrong in (0, 3, -1):
        with pytest.raises(AudioError, match=rf"film.mkv' has no audio track {wrong}; expected one of 1 \(eng"):
            list(read_blocks(path, RATE, wrong))


def test_a_silent_track_beside_one_with_sound_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    silence = np.zeros(48_000, np.float32)
    write_tracks(tmp_path / "a.mkv", (silence, "und", ""), (silence, "und", ""), (tone(1, 48_000), "und", ""))
    assert not read(tmp_path / "a.mkv").any()
    assert "audio track 1 is silent, but track 3 is not: --track 3 takes it" in caplog.text
    caplog.clear()
    list(read_blocks(tmp_path / "a.mkv", RATE, 3))
    assert "is silent" not in caplog.text


def test_a_recording_has_one_track(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1, RATE), RATE)
    assert len(np.concatenate(list(read_blocks(tmp_path / "a.wav", RATE, 1)))) == RATE
    with pytest.raises(AudioError, match=r"a.wav' has one audio track, but track 2 was asked for"):
        list(read_blocks(tmp_path / "a.wav", RATE, 2))


@pytest.mark.parametrize("name", ["a.wav", "a.mka"])
def test_of_channels_that_cancel_one_is_taken_and_it_is_said(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By soundfile, and by PyAV."""
    left = tone(3, RATE)
    if name == "a.wav":
        soundfile.write(tmp_path / name, np.stack([left, -left], axis=1), RATE)
    else:
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("flac", rate=RATE, layout="stereo")
            for start in range(0, len(left), 4608):
                both = (np.stack([left, -left], 1)[start : start + 4608] * 32767).astype(np.int16).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    np.testing.assert_allclose(read(tmp_path / name), left, atol=1e-4)
    assert caplog.text.count("its channels cancel each other") == 1


def test_odd_files_are_read_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2, RATE), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    for size, said in ((0, ""), (0x7FFFF000, ""), (0x7FFFFFFF, ""), (1000, "its header tells of 1,000 bytes of audio")):
        caplog.clear()
        (tmp_path / "a.wav").write_bytes(content[:40] + size.to_bytes(4, "little") + content[44:])
        assert len(read(tmp_path / "a.wav")) == 2 * RATE
        assert said in caplog.text if said else not caplog.records


def test_a_gap_in_an_ogg_file_is_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """20 s of noise; one page of about 1 s is missing: what follows is at its time."""
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.ogg", noise, RATE)
    content, whole = (tmp_path / "a.ogg").read_bytes(), read(tmp_path / "a.ogg")
    pages = [place for place in range(len(content)) if content.startswith(b"OggS", place)]
    (tmp_path / "a.ogg").write_bytes(content[: pages[9]] + content[pages[10] :])
    samples = read(tmp_path / "a.ogg")
    assert len(samples) == pytest.approx(20 * RATE, abs=100)
    assert np.corrcoef(samples[-5 * RATE : -RATE], whole[-5 * RATE : -RATE])[0, 1] > 0.99
    assert "pages are missing or damaged at 1 places" in caplog.text


def test_a_damaged_flac_file_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """FFmpeg leaves out the damaged frame without a word, and all that follows comes too early."""
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", noise, RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.flac").write_bytes(content)
    if len(read(tmp_path / "a.flac")) < 5 * RATE:
        assert "a.flac' is damaged (" in caplog.text and "s are lost" in caplog.text


def test_a_single_sample_of_a_high_rate_is_no_audio(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(1, 0.1), 48_000)
    with pytest.raises(AudioError, match=r"a.wav' has no audio that can be decoded") as caught:
        read(tmp_path / "a.wav")
    assert caught.value.reason == "empty_audio"


# By soundfile ------------------------------------------------------------------------------------------------------


@pytest.fixture
def without_av(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an installation without extras."""
    monkeypatch.setitem(sys.modules, "av", None)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.usefixtures("without_av")
def test_samples_are_those_of_the_training_reader(
    name: str, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 s at 44.1 kHz, read in pieces of 100,000 values: 11 or 23 of them, resampled as one."""
    monkeypatch.setattr("deepspeech2.data.audio.decoding.BLOCK_VALUES", 100_000)
    samples = tone(25, 44_100)[:, None] * np.linspace(0.5, 1, channels)
    soundfile.write(tmp_path / name, samples + np.random.default_rng(0).normal(0, 0.01, samples.shape), 44_100)
    expected = open_audio({"bytes": None, "path": str(tmp_path / name)}, RATE)
    assert len(expected) >= 25 * RATE
    tolerance = 1e-6 if name == "a.mp3" else 0  # its decoder rounds differently after a seek
    np.testing.assert_allclose(read(tmp_path / name), expected, rtol=0, atol=tolerance)


@pytest.mark.usefixtures("without_av")
def test_without_pyav_what_is_not_soundfiles_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    with pytest.raises(
        AudioError,
        match=r"a.mp4' cannot be decoded after 0.0 s: it is MP4, M4A or 3GP \(12 bytes\). PyAV reads damaged files, "
        r"other formats and video: pip install av==18.1.0",
    ):
        read(tmp_path / "a.mp4")
    (tmp_path / "a.x").write_bytes(b"\x80\x90\xa0")
    with pytest.raises(AudioError, match=r"it is not WAV, FLAC, Ogg or MP3 \(libsndfile: Format not recognised.\)"):
        read(tmp_path / "a.x")
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"cannot be decoded: it is empty \(0 bytes\)$"):
        read(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", np.zeros(0), RATE)
    with pytest.raises(AudioError, match="has no audio that can be decoded"):
        read(tmp_path / "b.wav")


def test_pyav_goes_on_where_soundfile_meets_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 s of FLAC with zeros in its middle: silence there, the rest in its place; without PyAV they end with it."""
    speech = tone(10, RATE)
    soundfile.write(tmp_path / "a.flac", speech, RATE)
    content = (tmp_path / "a.flac").read_bytes()
    middle = len(content) // 2
    (tmp_path / "a.flac").write_bytes(content[:middle] + bytes(2000) + content[middle + 2000 :])
    samples = read(tmp_path / "a.flac")
    assert len(samples) == 10 * RATE
    wrong = np.flatnonzero(np.abs(samples - speech) > 0.001)
    assert 4096 <= np.count_nonzero(samples == 0) <= np.ptp(wrong) < 0.5 * RATE
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("deepspeech2.data.audio.decoding.BLOCK_VALUES", RATE)
    blocks = read_blocks(tmp_path / "a.flac", RATE)
    with pytest.raises(AudioError, match=r"cannot be decoded after 4.0 s: it is damaged .*PyAV reads .*: pip install"):
        list(blocks)


@pytest.mark.parametrize("with_av", [True, False])
def test_a_compressed_recording_that_was_cut_off_is_said(
    with_av: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "a.mp3", tone(10, RATE), RATE)
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(content[: len(content) // 2])
    if not with_av:
        monkeypatch.setitem(sys.modules, "av", None)
    assert len(read(tmp_path / "a.mp3")) == pytest.approx(4.8 * RATE, abs=0.1 * RATE)  # the rate varies
    assert "is cut off: according to its header 5.2 s are missing. It ends after 4.8 s" in caplog.text


@pytest.mark.usefixtures("without_av")
@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.wav"])
def test_recordings_that_follow_each_other_in_a_file_are_all_read(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a station's stream is recorded, or parts are joined by `cat`: libsndfile ends with the first, of 5 s."""
    soundfile.write(tmp_path / name, tone(5, RATE), RATE)
    first = (tmp_path / name).read_bytes()
    soundfile.write(tmp_path / name, tone(5, RATE, 880.0), RATE)
    (tmp_path / name).write_bytes(first + (tmp_path / name).read_bytes())
    samples = read(tmp_path / name)
    assert len(samples) == pytest.approx(10 * RATE, abs=0.15 * RATE) and not caplog.records
    assert np.abs(np.fft.rfft(samples[-4 * RATE : -2 * RATE])).argmax() / 2 == 880.0
    np.testing.assert_allclose(samples, open_audio({"bytes": None, "path": str(tmp_path / name)}, RATE), atol=1e-6)
    (tmp_path / name).write_bytes(first + b"TAG" + bytes(125))
    assert len(read(tmp_path / name)) == pytest.approx(5 * RATE, abs=1) and not caplog.records


def test_a_rate_that_nothing_records_at_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1, RATE), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:24] + (3).to_bytes(4, "little") + content[28:])
    with pytest.raises(
        AudioError, match="has a sampling rate of 3 Hz in its header; expected 1000 to 768000 Hz"
    ) as caught:
        read(tmp_path / "a.wav")
    assert caught.value.reason == "absurd_header"
