"""
Test recipes/captions/segment.py on captioned recordings whose words are all known.

    python benchmarks/captioned.py FOLDER
    accelerate launch recipes/finetune.py recipes/captions/config.yaml \
        --dataset_name outputs/benchmarks/captioned/corpus --num_train_epochs 4

FOLDER is LibriSpeech in the Hub's layout. The benchmark joins the clips of a split, 40 at a time, into recordings. It
aligns their texts and makes cues from them. Each cue is shifted by up to half a second, and every tenth cue gets the
words of another one. The benchmark then compares the text of each resulting utterance with the words between its start
and end. It also compares the scores of cues with their own words and with other words. It writes media, corpus and
captioned.json to outputs/benchmarks/captioned.
"""

import csv
import json
import random
import shutil
from pathlib import Path

import jiwer
import numpy as np
import soundfile
import torch
from word_times import load_speech, make_parser

from deepspeech2.decoding.words import Word
from deepspeech2.inference.captioned_corpus import CaptionedClip, Rules, find_cue, write_corpus
from deepspeech2.inference.captions import Cue, Limits, make_cues, to_srt
from deepspeech2.inference.long_form import Listener
from deepspeech2.inference.transcription import align_words, script_words

OUTPUT = Path(__file__).parents[1] / "outputs" / "benchmarks" / "captioned"
SHIFT_S = 0.5
EVERY = 10  # every tenth cue gets the words of another


def spoil(cues: list[Cue], rng: random.Random) -> list[Cue]:
    """Shift each cue by up to SHIFT_S, and give every tenth the words of another."""
    shifts = [rng.uniform(-SHIFT_S, SHIFT_S) for _ in cues]
    texts = [swapped(cues, place) if place % EVERY == EVERY // 2 else cue.text for place, cue in enumerate(cues)]
    return [
        Cue(max(cue.start_s + shift, 0.0), cue.end_s + shift, text)
        for cue, shift, text in zip(cues, shifts, texts, strict=True)
    ]


def swapped(cues: list[Cue], place: int) -> str:
    """Return the words of the cue that is half the recording away."""
    return cues[(place + len(cues) // 2) % len(cues)].text


def scores(cues: list[Cue], log_probs: np.ndarray, listener: Listener) -> list[float]:
    """Return the scores of the cues that can be aligned."""
    found = [find_cue(cue, log_probs, listener, Rules()) for cue in cues]
    return [one.score for one in found if isinstance(one, CaptionedClip) or one.score is not None]


def compare(corpus: Path, truth: dict[str, list[Word]]) -> dict[str, int]:
    """Compare the text of each utterance with the true words whose middle lies between its start and end."""
    with (corpus / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    said = [
        " ".join(
            word.text
            for word in truth[row["speaker_id"]]
            if float(row["start_s"]) <= (word.start_s + word.end_s) / 2 < float(row["end_s"])
        )
        for row in rows
    ]
    found = jiwer.process_words(said, [row["text"] for row in rows])
    wrong = {f"words {name}": getattr(found, name) for name in ("substitutions", "deletions", "insertions")}
    same = sum(text == row["text"] for text, row in zip(said, rows, strict=True))
    return {"utterances": len(rows), "with just the words": same, "words": sum(map(len, map(str.split, said))), **wrong}


def measure(listener: Listener, clips: list[np.ndarray], texts: list[str], folder: Path, together: int) -> dict:
    """Return all figures for clips (samples,) and their normalised texts. `together` clips make one recording."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "media").mkdir(parents=True)
    rng, truth, media = random.Random(0), {}, []
    as_they_are, with_others_words = [], []
    for start in range(0, len(clips), together):
        part = slice(start, start + together)
        samples, name = np.concatenate(clips[part]), f"part{start}"
        log_probs = listener.whole([samples])
        truth[name] = align_words(script_words(" ".join(texts[part]), listener.processor), log_probs, listener)
        cues = make_cues(truth[name], Limits())
        as_they_are += scores(cues, log_probs, listener)
        others = [cue._replace(text=swapped(cues, place)) for place, cue in enumerate(cues)]
        with_others_words += scores(others, log_probs, listener)
        media.append(folder / "media" / f"{name}.flac")
        soundfile.write(media[-1], samples, listener.sampling_rate)
        media[-1].with_suffix(".srt").write_text(to_srt(spoil(cues, rng)), encoding="utf-8")
    corpus, _ = write_corpus(folder / "corpus", media, listener, Rules())
    return {
        "kept": corpus.summary(),
        **compare(folder / "corpus", truth),
        "cues": len(as_they_are),
        "scores, percentiles 5, 50, 95": np.percentile(as_they_are, [5, 50, 95]).round(2).tolist(),
        "with others' words": np.percentile(with_others_words, [5, 50, 95]).round(2).tolist(),
        "right ones kept": round(float(np.mean(np.array(as_they_are) >= Rules().min_score)), 4),
        "wrong ones kept": round(float(np.mean(np.array(with_others_words) >= Rules().min_score)), 4),
    }


def main() -> None:
    args = make_parser(__doc__, clips=160).parse_args()
    with torch.inference_mode():
        result = measure(*load_speech(args), OUTPUT, 40)
    text = json.dumps(result, indent=1)
    (OUTPUT / "captioned.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
