"""Real speech, joined into one long recording: as many words heard as clip by clip, each where it is said."""

from pathlib import Path

import numpy as np
import pytest
import word_times

from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.data.corpora import load_corpus
from deepspeech2.inference.long_form import Listener
from deepspeech2.inference.transcription import align_words, script_words
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
