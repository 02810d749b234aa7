"""Real speech, joined into one long recording: as many words heard as clip by clip, each where it is said."""

from pathlib import Path

import jiwer
import numpy as np
import pytest
import word_times

from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.data.corpora import load_corpus
from deepspeech2.decoding.decoder import load_decoder
from deepspeech2.inference.long_form import Listener
from deepspeech2.inference.transcription import align_words, script_words, transcribe_words
from deepspeech2.model.loading import load_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def speech(librispeech_root: Path, repository: Path):
    """The starter, and the clips and texts of 40 utterances, nearly 9 minutes."""
    model, processor = load_model(str(repository / "recipes" / "quickstart" / "starter"))
    rows = [row for corpus in load_corpus(str(librispeech_root), "clean", "validation") for row in corpus.stream][:40]
    clips = [open_audio(row["audio"], 16_000) for row in rows]
    return Listener(model.eval(), processor), clips, [processor.normalize_text(row["text"]) for row in rows]


def test_no_word_is_lost_or_doubled_at_a_seam(speech) -> None:
    """
    Of some 1,300 words the starter gets more than half wrong, and others with other neighbours: what is compared is
    how many, and how many are missing or too many. Thirty seams that each cost a word would add 2 points; here the
    recording as a whole was 1.6 points better than its clips.
    """
    figures = word_times.measure(*speech)
    joined, alone = figures["joined"], figures["clip by clip"]
    assert joined["wer"] <= alone["wer"] + 1
    assert joined["deletions"] == pytest.approx(alone["deletions"], abs=13)
    assert joined["insertions"] == pytest.approx(alone["insertions"], abs=13)
    times = figures["times of words recognised, ms"]
    assert times["words"] > 400 and times["start, median"] <= 40 and times["end, median"] <= 40


def test_a_recording_of_a_speaker_is_as_good_as_its_clips(speech, librispeech_root: Path) -> None:
    """
    Twelve recordings of a speaker each, 18 minutes: the WER of all is at most 0.5 points above that of their clips.

    A single recording is a matter of chance: over eleven of one speaker each the difference was -1.0 points on average,
    with a standard deviation of 1.5. Readers who take turns every ten seconds cost more (docs/captions.md).
    """
    listener = speech[0]
    decoder = load_decoder(listener.model, listener.processor)
    clips_of: dict[str, list[tuple[np.ndarray, str]]] = {}
    for config, split in (("other", "test"), ("clean", "validation")):
        for row in (row for corpus in load_corpus(str(librispeech_root), config, split) for row in corpus.stream):
            kept = clips_of.setdefault(row["speaker_id"], [])
            if len(kept) < 16:
                text = listener.processor.normalize_text(row["text"])
                kept.append((open_audio(row["audio"], listener.sampling_rate), text))
    recordings = [clips for clips in clips_of.values() if len(clips) >= 10]
    assert len(recordings) == 12

    def transcribe(samples: np.ndarray) -> str:
        return " ".join(word.text for word in transcribe_words(listener, decoder, [samples]))

    texts = [text for clips in recordings for _, text in clips]
    alone = jiwer.wer(texts, [transcribe(samples) for clips in recordings for samples, _ in clips])
    whole = jiwer.wer(
        [" ".join(text for _, text in clips) for clips in recordings],
        [transcribe(np.concatenate([samples for samples, _ in clips])) for clips in recordings],
    )
    assert whole <= alone + 0.005


def test_the_words_of_a_script_lie_in_their_clips(speech) -> None:
    """The whole text along the whole recording: the middle of every word within its own clip, give or take 0.2 s."""
    listener, clips, texts = speech
    joined = np.concatenate(clips)
    words = align_words(script_words(" ".join(texts), listener.processor), listener.whole([joined]), listener)
    ends_s = np.cumsum([len(clip) for clip in clips]) / 16_000
    of_clip = np.repeat(np.arange(len(clips)), [len(text.split()) for text in texts])
    for word, clip in zip(words, of_clip, strict=True):
        start_s = ends_s[clip] - len(clips[clip]) / 16_000
        assert start_s - 0.2 <= (word.start_s + word.end_s) / 2 <= ends_s[clip] + 0.2, word
