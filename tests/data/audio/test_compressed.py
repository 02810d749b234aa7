"""MP3, Ogg and FLAC: all that is in a file is read, what is missing is said, and ordinary files stay as they were."""

import io
import logging

import av
import numpy as np
import pytest
import soundfile

from deepspeech2.data.audio.decoding import AudioFile
from deepspeech2.data.audio.recordings import AudioError, open_audio, read_header
from sounds import file_of, tone

logging.getLogger("libav").setLevel(logging.ERROR)


def mp3(duration_s: float, rate: int = 22_050, layout: str = "mono", hz: float = 440.0, **options: str) -> bytes:
    """LAME by FFmpeg, without ID3. Options: write_xing, abr, b (bits per second)."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3", options={"id3v2_version": "0", **options}) as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout)
        stream.bit_rate = int(options.get("b", 64_000))
        stream.options = {"abr": options.get("abr", "0")}
        samples = tone(duration_s, rate, 1 if layout == "mono" else 2, hz).astype(np.float32)
        for start in range(0, len(samples), 1152):
            part = np.ascontiguousarray(samples[start : start + 1152].T)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def by_libsndfile(content: bytes) -> np.ndarray:
    """(samples,), as libsndfile reads the file from its start"""
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        return file.read(file.frames, dtype="float32", always_2d=True).mean(axis=1)


def decoded(content: bytes) -> np.ndarray:
    """(samples,) at the rate of the file; the length is that of the header"""
    recording = {"bytes": content, "path": "a.mp3"}
    header = read_header(recording)
    samples = open_audio(recording, header.sampling_rate)
    assert len(samples) == header.num_samples
    return samples


def notes_of(content: bytes) -> list[str]:
    return [note.name for note in read_header({"bytes": content, "path": "a"}).notes]


ORDINARY = [
    {"rate": 44_100, "b": "128000"},
    {"rate": 22_050, "layout": "stereo"},
    {"rate": 16_000, "b": "32000", "id3v2_version": "3"},
    {"rate": 8_000, "b": "16000"},
    {"rate": 48_000, "b": "320000", "layout": "stereo"},
    {"rate": 44_100, "b": "128000", "write_xing": "0"},
    {"rate": 16_000, "b": "24000", "write_xing": "0"},
]


@pytest.mark.parametrize("options", ORDINARY)
def test_ordinary_mp3_stays_as_libsndfile_decodes_it(options: dict) -> None:
    content = mp3(2.0, **options)
    np.testing.assert_array_equal(decoded(content), by_libsndfile(content))
    for quality in (0.0, 0.9):  # LAME in libsndfile: constant and variable rates
        buffer = io.BytesIO()
        with soundfile.SoundFile(buffer, "w", 22_050, 1, format="MP3", compression_level=quality) as file:
            file.write(tone(2.0, 22_050))
        np.testing.assert_array_equal(decoded(buffer.getvalue()), by_libsndfile(buffer.getvalue()))


@pytest.mark.parametrize("abr", ["0", "1"])
def test_an_mp3_without_header_has_all_its_frames(abr: str) -> None:
    """
    4 s at 22.05 kHz: 88,200 samples and LAME's delay, in frames of 576. A variable rate begins with small frames, so
    libsndfile's guess is half of it.
    """
    content = mp3(4.0, write_xing="0", abr=abr)
    samples = decoded(content)
    assert len(samples) % 576 == 0 and 88_200 + 1105 <= len(samples) < 88_200 + 3 * 576
    expected = decoded(mp3(4.0, abr=abr))
    np.testing.assert_allclose(samples[1105 : 1105 + 88_200], expected, atol=1e-6)


@pytest.mark.parametrize("header", ["0", "1"])
def test_mp3_files_joined_end_to_end_are_all_read(header: str) -> None:
    first, second = mp3(1.5, write_xing=header), mp3(1.0, hz=880.0, write_xing=header)
    samples = decoded(first + second + first)
    assert len(samples) == pytest.approx(4.0 * 22_050, abs=3 * 2000 if header == "0" else 0)
    assert (notes_of(first + second + first) == ["joined"]) == (header == "1")
    if header == "1":
        np.testing.assert_array_equal(samples[: len(decoded(first))], decoded(first))
        np.testing.assert_array_equal(samples[-len(decoded(first)) :], decoded(first))
    tagged = b"ID3\x04\0\0\0\0\0\x14" + bytes(20) + first + b"TAG" + bytes(125) + second + b"TAG" + bytes(125)
    assert len(decoded(tagged)) == len(decoded(first + second))


def test_joined_mp3_of_several_rates_and_channels() -> None:
    content = mp3(1.0, 44_100, "stereo") + mp3(1.0, 16_000, hz=880.0)
    recording = {"bytes": content, "path": "a.mp3"}
    assert read_header(recording).duration_s == pytest.approx(2.0, abs=1e-3)
    samples = open_audio(recording, 16_000)
    assert len(samples) == 32_000
    assert [int(np.abs(np.fft.rfft(half)).argmax()) for half in np.split(samples, 2)] == [440, 880]


def test_an_mp3_is_truncated_only_if_its_header_promises_more() -> None:
    content = mp3(4.0)
    with pytest.raises(AudioError, match=r"is truncated: according to its header 2.0 s are missing") as caught:
        read_header({"bytes": content[: len(content) // 2], "path": "a.mp3"})
    assert caught.value.reason == "truncated"
    without = mp3(4.0, write_xing="0")
    assert len(decoded(without[: len(without) // 2 - 50])) == pytest.approx(2.0 * 22_050, abs=1500)
    assert notes_of(without[: len(without) // 2 - 50]) == ["cut_frame"]


@pytest.mark.parametrize("frames", [10, 0, 10_000])
def test_a_wrong_number_in_the_header(frames: int) -> None:
    """Fewer than there are, as of a file that was appended to; 0; more is a file that is cut off."""
    content = mp3(4.0)
    place = content.index(b"Xing" if b"Xing" in content else b"Info") + 8
    wrong = content[:place] + frames.to_bytes(4, "big") + content[place + 4 :]
    if frames > 1000:
        with pytest.raises(AudioError, match="is truncated"):
            decoded(wrong)
        return
    samples = decoded(wrong)
    np.testing.assert_allclose(samples[:88_200], decoded(content), atol=1e-6)  # the end holds what LAME added
    assert 88_200 <= len(samples) < 88_200 + 1152


def test_junk_before_between_and_behind_the_frames() -> None:
    content = mp3(2.0, write_xing="0")
    expected = decoded(content)
    length = 72 * 64_000 // 22_050  # bytes of a frame, and one more in some
    for lead in (bytes(700), b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n", b"\xff" * 90):
        np.testing.assert_allclose(decoded(lead + content), expected, atol=1e-6)
    assert len(decoded(content + bytes(3000))) == len(decoded(content + b"\xff\xfb junk" * 40)) == len(expected)
    damaged = content[: 20 * length] + bytes(40) + content[20 * length + 40 :]
    assert len(expected) - 3 * 576 <= len(decoded(damaged)) < len(expected)
    assert notes_of(damaged) == ["damaged_frames"]


def test_mp3_in_a_wav_file() -> None:
    content = mp3(2.0)
    form = b"\x55\0\1\0" + (22_050).to_bytes(4, "little") + (8000).to_bytes(4, "little") + bytes.fromhex("01000000")
    form += bytes.fromhex("0c000100000005010100") + bytes(4)
    riff = b"WAVEfmt " + len(form).to_bytes(4, "little") + form + b"data" + len(content).to_bytes(4, "little") + content
    np.testing.assert_array_equal(decoded(b"RIFF" + len(riff).to_bytes(4, "little") + riff), decoded(content))


def test_a_span_of_an_mp3_is_that_of_the_whole() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 80_000)
    for content in (file_of(noise, 16_000, "MP3"), file_of(noise, 16_000, "MP3") + file_of(noise, 16_000, "MP3")):
        whole = decoded(content)
        for start_s in (0.5, 2.34, 3.9):
            span = {"bytes": content, "path": "a", "start_s": start_s, "end_s": start_s + 1.0}
            start = round(start_s * 16_000)
            np.testing.assert_allclose(open_audio(span, 16_000), whole[start : start + 16_000], atol=1e-6)


# Ogg and FLAC -------------------------------------------------------------------------------------------------------

KINDS = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16")]


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_streams_that_follow_each_other_are_all_read(kind: str, subtype: str) -> None:
    first, second = file_of(tone(1.0), 16_000, kind, subtype), file_of(tone(2.0, hz=880), 16_000, kind, subtype)
    samples = decoded(first + second)
    np.testing.assert_array_equal(samples, np.concatenate([decoded(first), decoded(second)]))
    assert notes_of(first + second) == ["joined"] and not notes_of(first)


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_a_stream_that_is_cut_off_is_truncated(kind: str, subtype: str, share: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 80_000)
    content = file_of(noise, 16_000, kind, subtype)
    with pytest.raises(
        AudioError, match=r"is truncated: (its last page is|its stream has no|according to its header)"
    ) as caught:
        read_header({"bytes": content[: round(share * len(content))], "path": "a"})
    assert caught.value.reason == "truncated"


def test_a_flac_file_that_ends_inside_its_last_frame_is_refused() -> None:
    content = file_of(np.random.default_rng(0).normal(0, 0.1, 80_000), 16_000, "FLAC")
    with pytest.raises(AudioError, match=r"'a' \(.* bytes\) cannot be decoded"):
        open_audio({"bytes": content[:-100], "path": "a"}, 16_000)


def test_an_ogg_whose_last_page_is_gone() -> None:
    content = file_of(np.random.default_rng(0).normal(0, 0.1, 80_000), 16_000, "OGG")
    with pytest.raises(AudioError, match="its stream has no last page"):
        read_header({"bytes": content[: content.rindex(b"OggS")], "path": "a.ogg"})


def test_an_ogg_without_a_page_in_its_middle() -> None:
    """
    libsndfile ends early by the length of the gap, and would then repeat samples. A gap of over 1 % is refused, and
    check_data names any.
    """
    content = file_of(np.random.default_rng(0).normal(0, 0.1, 16_000 * 60), 16_000, "OGG")
    pages = [place for place in range(len(content)) if content.startswith(b"OggS", place)]
    recording = {"bytes": content[: pages[9]] + content[pages[10] :], "path": "a.ogg"}
    assert [note.name for note in read_header(recording).notes] == ["damaged_frames"]
    with pytest.raises(AudioError, match=r"is truncated: 5\d.\d\d s of the 60.00 s"):
        open_audio(recording, 16_000)


@pytest.mark.parametrize("total", [0, 1000, 80_000, 90_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_number_of_samples_in_a_flac_header(total: int, channels: int) -> None:
    """0: unknown, of a stream. Fewer than there are: all are read. More: the end is missing."""
    noise = np.random.default_rng(0).normal(0, 0.1, (80_000, channels))
    content = file_of(noise, 16_000, "FLAC")
    bits = int.from_bytes(content[21:26], "big") >> 36 << 36 | total
    changed = content[:21] + bits.to_bytes(5, "big") + content[26:]
    if total > 80_000:
        with pytest.raises(AudioError, match=r"according to its header 0.6 s are missing"):
            decoded(changed)
    else:
        np.testing.assert_array_equal(decoded(changed), by_libsndfile(content))
        assert notes_of(changed) == (["wrong_header"] if total == 1000 else [])
    # Without a promise, what there is counts up to the last whole frame.
    if total == 0:
        cut = decoded(changed[: len(changed) * 3 // 5])
        np.testing.assert_array_equal(cut, by_libsndfile(content)[: len(cut)])
        assert len(cut) == pytest.approx(48_000, abs=4608) and notes_of(changed[: len(changed) * 3 // 5]) == [
            "cut_frame"
        ]


def test_ordinary_files_are_given_to_libsndfile_as_they_are() -> None:
    for kind, subtype in [*KINDS, ("WAV", None), ("AIFF", None), ("AU", None), ("CAF", None), ("W64", None)]:
        content = file_of(tone(1.0, 16_000, 2) * [0.5, 1.0], 16_000, kind, subtype)
        with AudioFile(content) as file:
            assert not file.layout.parts and not file.layout.missing and not file.layout.notes
        np.testing.assert_array_equal(decoded(content), by_libsndfile(content))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("page", [-1, 3])
def test_an_ogg_with_a_damaged_page_is_not_shortened_without_a_word(subtype: str, page: int) -> None:
    """libsndfile drops a page whose checksum is wrong. At the start or the end, it takes the rest for the whole."""
    content = bytearray(file_of(np.random.default_rng(0).normal(0, 0.1, 80_000), 16_000, "OGG", subtype))
    pages = [place for place in range(len(content)) if content.startswith(b"OggS", place)]
    assert not notes_of(bytes(content))
    content[pages[page] + 300] ^= 0xFF
    with pytest.raises(AudioError, match=r"truncated: pages are damaged or missing at 1 place") as caught:
        read_header({"bytes": bytes(content), "path": "a.ogg"})
    assert caught.value.reason == "truncated"


def test_a_header_behind_a_checksum_is_a_header() -> None:
    """lame -p: libsndfile takes the frame of the header for sound, and does not see that the end is missing."""
    whole = mp3(3.0, 16_000)
    place = whole.index(b"\xff\xf3")
    assert b"Info" in whole[:100] or b"Xing" in whole[:100]
    content = whole[:place] + b"\xff\xf2" + whole[place + 2 : place + 4] + b"\x34\xcd" + whole[place + 6 :]
    assert read_header({"bytes": content, "path": "a"}).duration_s == pytest.approx(3.0, abs=0.15)
    with pytest.raises(AudioError, match=r"according to its header .* s are missing"):
        read_header({"bytes": content[: len(content) // 2], "path": "a"})
