"""
Evaluate transcription and captions of long recordings on real speech: word times, and errors at window boundaries.

    python benchmarks/word_times.py FOLDER
    python benchmarks/word_times.py FOLDER --model MODEL --split validation --clips 60

FOLDER is LibriSpeech in the Hub's layout. The clips of a split are joined into one long recording. The model
transcribes it in windows, and also transcribes each clip alone. Both are scored against the same transcripts, so words
that are lost or doubled at window boundaries count as deletions or insertions.

The reference times come from forced alignment of each clip with its transcript, by the same model. The benchmark
compares them with the times of the transcribed words, separately for correct and wrong words. It also compares them
with the alignment of the whole transcript to the whole recording. It writes outputs/benchmarks/word_times.json.
"""

import argparse
import json
import time
from pathlib import Path

import jiwer
import numpy as np
import torch

from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.data.corpora import load_corpus
from deepspeech2.decoding.decoder import load_decoder
from deepspeech2.decoding.words import Word
from deepspeech2.inference.long_form import Listener
from deepspeech2.inference.transcription import align_words, script_words, transcribe_words
from deepspeech2.model.loading import load_model
from deepspeech2.system.devices import set_up_cpu

OUTPUT = Path(__file__).parents[1] / "outputs" / "benchmarks" / "word_times.json"
STARTER = Path(__file__).parents[1] / "recipes" / "quickstart" / "starter"
BLOCK = 160_000


def time_errors_s(words_found: list[Word], aligned: list[Word], kind: str = "equal") -> np.ndarray:
    """Return errors (words, 2) of start and end in seconds, for the words of one kind: "equal" or "substitute"."""
    pieces = jiwer.process_words(
        *(" ".join(word.text for word in words) for words in (aligned, words_found))
    ).alignments[0]
    pairs = [
        (words_found[piece.hyp_start_idx + place], aligned[piece.ref_start_idx + place])
        for piece in pieces
        if piece.type == kind
        for place in range(piece.ref_end_idx - piece.ref_start_idx)
    ]
    return np.array([(one.start_s - other.start_s, one.end_s - other.end_s) for one, other in pairs]).reshape(-1, 2)


def spread_ms(errors: np.ndarray) -> dict[str, object]:
    """Return the median and 90th percentile of the absolute errors (words, 2), in ms."""
    return {"words": len(errors)} | {
        f"{side}, {name}": round(1000 * float(np.percentile(np.abs(errors[:, place]), share)))
        for place, side in enumerate(("start", "end"))
        for name, share in (("median", 50), ("90th percentile", 90))
        if len(errors)
    }


def counts(references: list[str], hypotheses: list[str]) -> dict[str, float]:
    """Return the WER in per cent, and the counts of each operation."""
    found = jiwer.process_words(references, hypotheses)
    parts = {name: getattr(found, name) for name in ("hits", "substitutions", "deletions", "insertions")}
    return {"wer": round(100 * found.wer, 2), **parts}


def measure(
    listener: Listener, clips: list[np.ndarray], texts: list[str], options: Path | None = None
) -> dict[str, object]:
    """Return all figures for clips (samples,) and their normalised texts, decoded with a decoder.json if given."""
    decoder, joined = load_decoder(listener.model, listener.processor, options or "greedy"), np.concatenate(clips)
    started = time.perf_counter()
    words_found = transcribe_words(
        listener, decoder, (joined[start : start + BLOCK] for start in range(0, len(joined), BLOCK))
    )
    elapsed_s, duration_s, left_out_s = time.perf_counter() - started, listener.duration_s, listener.left_out_s
    alone = [" ".join(word.text for word in transcribe_words(listener, decoder, [clip])) for clip in clips]
    log_probs = listener.whole([joined])
    script = script_words(" ".join(texts), listener.processor)
    started = time.perf_counter()
    aligned = align_words(script, log_probs, listener)
    aligned_s = time.perf_counter() - started
    reference: list[Word] = []
    offset_s = 0.0
    for clip, text in zip(clips, texts, strict=True):
        words = align_words(script_words(text, listener.processor), listener.whole([clip]), listener)
        reference += [word._replace(start_s=word.start_s + offset_s, end_s=word.end_s + offset_s) for word in words]
        offset_s += len(clip) / listener.sampling_rate
    return {
        "duration_s": round(duration_s, 1),
        "left_out_s": round(left_out_s, 1),
        "clip by clip": counts(texts, alone),
        "joined": counts([" ".join(texts)], [" ".join(word.text for word in words_found)]),
        "times of words recognised, ms": spread_ms(time_errors_s(words_found, reference)),
        "times of words mistaken, ms": spread_ms(time_errors_s(words_found, reference, "substitute")),
        "times of the script along the whole, ms": spread_ms(time_errors_s(aligned, reference)),
        "rtfx": round(duration_s / elapsed_s),
        "aligned_s": round(aligned_s, 1),
    }


def make_parser(description: str | None, clips: int) -> argparse.ArgumentParser:
    """Make the parser of a benchmark on the first `clips` clips of a split, which `load_speech` loads."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="LibriSpeech in the Hub's layout")
    parser.add_argument(
        "--dataset_config", default="clean", help="the configuration of the dataset (default: %(default)s)"
    )
    parser.add_argument("--split", default="validation", help="the split (default: %(default)s)")
    parser.add_argument("--model", default=str(STARTER), help="the checkpoint (default: the starter)")
    parser.add_argument("--clips", type=int, default=clips, help="number of clips of the split (default: %(default)s)")
    return parser


def load_speech(args: argparse.Namespace) -> tuple[Listener, list[np.ndarray], list[str]]:
    """Load the model on one thread, and the samples (N,) and normalised transcript of each clip."""
    set_up_cpu(1)
    model, processor = load_model(args.model)
    listener = Listener(model.eval(), processor)
    corpora = load_corpus(args.folder, args.dataset_config, args.split)
    rows = [row for corpus in corpora for row in corpus.stream][: args.clips]
    clips = [open_audio(row["audio"], listener.sampling_rate) for row in rows]
    return listener, clips, [processor.normalize_text(row["text"]) for row in rows]


def main() -> None:
    parser = make_parser(__doc__, clips=10**6)
    parser.add_argument("--decoder", type=Path, metavar="decoder.json", help="beam search settings (default: greedy)")
    args = parser.parse_args()
    with torch.inference_mode():
        result = measure(*load_speech(args), args.decoder)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
