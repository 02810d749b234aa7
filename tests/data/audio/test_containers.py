"""The sizes in the headers of containers, right and wrong: the samples are those that went in."""

import numpy as np
import pytest
import soundfile

from deepspeech2.data.audio.recordings import AudioError, open_audio, read_header
from sounds import file_of, tone

RATE = 16_000
SPEECH = tone(1.0) + np.random.default_rng(0).normal(0, 0.05, (RATE, 1))
# Of each container: format, bytes of the size, their order, from where it is found to where it is, and what the size
# counts besides the audio.
SIZES = {
    "wav": ("WAV", b"data", 4, 4, "little", 0),
    "rifx": ("RIFX", b"data", 4, 4, "big", 0),
    "aiff": ("AIFF", b"SSND", 4, 4, "big", 8),
    "au": ("AU", b".snd", 8, 4, "big", 0),
    "caf": ("CAF", b"data", 4, 8, "big", 4),
}


def content_of(kind: str) -> bytes:
    if kind == "RIFX":
        import io

        buffer = io.BytesIO()
        soundfile.write(buffer, SPEECH, RATE, format="WAV", endian="BIG")
        return buffer.getvalue()
    return file_of(SPEECH, RATE, kind)


def with_size(content: bytes, name: str, size: int) -> bytes:
    _, magic, offset, width, order, _ = SIZES[name]
    place = content.index(magic) + offset
    return content[:place] + (size % (1 << 8 * width)).to_bytes(width, order) + content[place + width :]


def samples_of(content: bytes) -> np.ndarray:
    recording = {"bytes": content, "path": "a.wav"}
    header, samples = read_header(recording), open_audio(recording, RATE)
    assert (header.num_samples, header.sampling_rate) == (len(samples), RATE)
    return samples


def notes_of(content: bytes) -> list[str]:
    return [note.name for note in read_header({"bytes": content, "path": "a.wav"}).notes]


@pytest.fixture(params=SIZES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def whole(name: str) -> np.ndarray:
    samples = samples_of(content_of(SIZES[name][0]))
    np.testing.assert_allclose(samples, SPEECH[:, 0], atol=1e-4)
    return samples


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, -1])
def test_a_size_that_was_never_filled_in_means_up_to_the_end(name: str, whole: np.ndarray, size: int) -> None:
    if name == "caf" and size > 0:
        pytest.skip("its sizes have 64 bits: this one is a promise")
    content = with_size(content_of(SIZES[name][0]), name, size)
    np.testing.assert_array_equal(samples_of(content), whole)
    assert not notes_of(content)


def test_more_than_there_is_is_truncated(name: str, whole: np.ndarray) -> None:
    """16,000 samples of 2 bytes; the last 12,800 bytes are missing. 100 bytes, 3 ms, are the rounding of a header."""
    content = content_of(SIZES[name][0])
    with pytest.raises(AudioError, match=r"is truncated: according to its header .* bytes are missing") as caught:
        read_header({"bytes": content[:-12_800], "path": "a.wav"})
    assert caught.value.reason == "truncated"
    assert len(samples_of(content[:-100])) == RATE - 50
    # A span that is there is good.
    span = {"bytes": content[:-12_800], "path": "a.wav", "start_s": 0.1, "end_s": 0.4}
    np.testing.assert_array_equal(open_audio(span, RATE), whole[1600:6400])


def test_less_than_there_is_is_read_to_the_end_and_noted(name: str, whole: np.ndarray) -> None:
    content = with_size(content_of(SIZES[name][0]), name, SIZES[name][-1] + 10_000)
    np.testing.assert_array_equal(samples_of(content), whole)
    assert notes_of(content) == ["short_header"]


@pytest.mark.parametrize(
    "subtype", ["PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW", "GSM610", "MS_ADPCM", "IMA_ADPCM", "G721_32"]
)
def test_every_coding_of_wav_is_read_to_the_end(subtype: str) -> None:
    content = file_of(SPEECH, RATE, "WAV", subtype)
    whole = samples_of(content)
    assert np.corrcoef(whole[:RATE], SPEECH[:, 0])[0, 1] > 0.9
    for size in (0, 0xFFFFFFFF):
        np.testing.assert_array_equal(samples_of(with_size(content, "wav", size)), whole)
    with pytest.raises(AudioError, match="bytes are missing"):
        samples_of(content[: len(content) // 2])


def chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)


def test_chunks_around_the_audio_are_no_audio() -> None:
    wav = content_of("WAV")
    place = wav.index(b"data")
    tags = (
        chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0\0") + chunk(b"id3 ", b"ID3" + bytes(60)) + chunk(b"bext", bytes(603))
    )
    expected = samples_of(wav)
    for content in (
        wav + tags,
        wav[:place] + tags + wav[place:],
        wav[:place] + chunk(b"JUNK", bytes(27)) + chunk(b"cue ", bytes(4)) + wav[place:] + chunk(b"_PMX", b"x" * 999),
        wav + bytes(4096),
        wav + b"TAG" + bytes(125),
        wav + b"Recorded by a program that says so behind the audio. " * 9,
    ):
        np.testing.assert_array_equal(samples_of(content), expected)
        assert not notes_of(content)
    # The padding of a chunk of odd size is forgotten by some programs.
    unpadded = wav[:place] + b"LIST" + (13).to_bytes(4, "little") + b"INFOabcdefghi" + wav[place:]
    np.testing.assert_array_equal(samples_of(unpadded), expected)


def test_an_empty_wav_is_empty_whatever_follows() -> None:
    empty = file_of(np.zeros((0, 1)), RATE)
    for content in (empty, empty + chunk(b"LIST", b"INFOICMT\x04\0\0\0none")):
        with pytest.raises(AudioError, match="has no samples") as caught:
            read_header({"bytes": content, "path": "a.wav"})
        assert caught.value.reason == "empty_audio"


def test_a_header_in_the_audio_is_no_audio() -> None:
    """A program that takes a whole WAV file for samples."""
    wav = content_of("WAV")
    twice = wav[:40] + len(wav).to_bytes(4, "little") + wav
    np.testing.assert_array_equal(samples_of(twice), samples_of(wav))


def test_wav_files_that_follow_each_other_are_all_read() -> None:
    other = file_of(tone(0.5, 8000, hz=700), 8000)
    content = content_of("WAV") + other + other
    samples = open_audio({"bytes": content, "path": "a.wav"}, RATE)
    assert len(samples) == 2 * RATE and read_header({"bytes": content, "path": "a.wav"}).duration_s == 2.0
    np.testing.assert_array_equal(samples[:RATE], samples_of(content_of("WAV")))
    assert np.abs(np.fft.rfft(samples[RATE:])).argmax() == 700
    assert notes_of(content) == ["joined"]


def test_the_sizes_of_64_bits() -> None:
    """RF64, whose size stands in a chunk of its own, and W64, which libsndfile reads to the end of the file."""
    for kind in ("RF64", "W64"):
        content = content_of(kind)
        whole = samples_of(content)
        assert len(whole) == RATE
        with pytest.raises(AudioError, match=r"according to its header 12,800 bytes are missing"):
            samples_of(content[:-12_800])
    rf64 = content_of("RF64")
    place = rf64.index(b"ds64") + 16
    for size in (0, 2**64 - 1):
        unfilled = rf64[:place] + size.to_bytes(8, "little") + rf64[place + 8 :]
        np.testing.assert_array_equal(samples_of(unfilled), whole)


def test_a_sphere_file_that_is_cut_off() -> None:
    content = file_of(SPEECH, RATE, "NIST")
    assert len(samples_of(content)) == RATE
    with pytest.raises(AudioError, match=r"according to its header 12,800 bytes are missing"):
        samples_of(content[:-12_800])


def test_a_w64_file_from_a_pipe() -> None:
    """FFmpeg leaves both sizes unfilled: -1, and the largest number of 63 bits."""
    content = content_of("W64")
    place = content.index(b"data\xf3\xac\xd3\x11") + 16
    piped = content[:16] + b"\xff" * 8 + content[24:place] + b"\xff" * 7 + b"\x7f" + content[place + 8 :]
    np.testing.assert_array_equal(samples_of(piped), samples_of(content))


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "ULAW", "PCM_24"])
def test_an_aiff_file_of_any_coding_that_is_cut_off(subtype: str) -> None:
    """A tenth of a second is a few hundred bytes if it is compressed."""
    content = file_of(SPEECH, RATE, "AIFF", subtype)
    assert len(samples_of(content)) >= RATE
    with pytest.raises(AudioError, match="bytes are missing"):
        samples_of(content[: len(content) * 85 // 100])


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_pipes_that_were_joined_end_to_end(size: int) -> None:
    """Without a size, the audio ends where the next file begins: else its header and its rate would be taken for it."""
    first, second = content_of("WAV"), file_of(tone(0.5, 8000, hz=700), 8000)
    content = with_size(first, "wav", size) + with_size(second, "wav", size)
    samples = open_audio({"bytes": content, "path": "a.wav"}, RATE)
    np.testing.assert_array_equal(samples[:RATE], samples_of(first))
    assert len(samples) == RATE * 3 // 2 and np.abs(np.fft.rfft(samples[RATE:])).argmax() == 350
    assert notes_of(content) == ["joined"]


def test_an_aiff_of_a_sox_pipe() -> None:
    content = content_of("AIFF")
    np.testing.assert_array_equal(samples_of(with_size(content, "aiff", 0x7F000008)), samples_of(content))
