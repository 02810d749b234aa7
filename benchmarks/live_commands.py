"""
Recognise voice commands in one long recording, as `deepspeech2 listen` does.

    python benchmarks/live_commands.py outputs/streaming recipes/commands/home.yaml --acceptance commands.json

The utterances of a split become one stream, with pauses of 0.8 to 2.5 s and faint noise, processed on one thread. For
each chunk size the benchmark measures the CPU time and how many utterances are detected as exactly one. It measures the
latency of a command from the end of speech, which it finds by loudness. It counts the recognised commands and computes
the greedy WER in the stream. It also compares the log-probabilities of single clips in chunks with those of the whole
clip. It writes outputs/benchmarks/live_commands.json.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np
import torch

from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.data.corpora import load_corpus
from deepspeech2.inference.streaming import Endpointer, Stream
from deepspeech2.inference.voice_commands.listening import CommandListener, TimedCommand
from deepspeech2.inference.voice_commands.recognition import CommandRecogniser, load_recogniser
from deepspeech2.model.loading import load_model
from deepspeech2.system.devices import set_up_cpu

OUTPUT = Path(__file__).parents[1] / "outputs" / "benchmarks" / "live_commands.json"
PAUSES_S = (0.8, 2.5)
NOISE = 1e-4  # -80 dB
SPEECH_DB = 30.0  # below the loudest moment
CHUNKS_MS = (50, 100, 200)
SILENCES_S = (0.2, 0.3, 0.5, 0.8)


def spoken_s(clip: np.ndarray, rate: int) -> tuple[float, float]:
    """Return start and end of speech: the first and last 25 ms within 30 dB of the loudest 25 ms."""
    size = rate // 40
    power = np.convolve(np.square(clip, dtype=np.float64), np.ones(size) / size, "same")
    loud = np.flatnonzero(power > power.max() * 10 ** (-SPEECH_DB / 10))
    return float(loud[0]) / rate, float(loud[-1] + 1) / rate


def join(clips: Sequence[np.ndarray], rate: int) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Join clips into one recording. Return it with the start and end of speech of each clip, in seconds."""
    rng = np.random.default_rng(0)
    parts, spans, length = [], [], 0
    for clip in clips:
        pause = np.zeros(round(rng.uniform(*PAUSES_S) * rate), np.float32)
        length += len(pause)
        start_s, end_s = spoken_s(clip, rate)
        spans.append((length / rate + start_s, length / rate + end_s))
        length += len(clip)
        parts += [pause, clip]
    samples = np.concatenate([*parts, np.zeros(2 * rate, np.float32)])
    return samples + NOISE * rng.standard_normal(len(samples)).astype(np.float32), spans


def listen_to(stream: Stream, recogniser: CommandRecogniser, samples: np.ndarray, chunk_ms: float, silence_s: float):
    """Return the recognised utterances, and CPU seconds per second of audio."""
    size = round(chunk_ms / 1000 * stream.sampling_rate)
    listener = CommandListener(stream, recogniser, silence_s)
    started = time.process_time()
    commands = list(listener.listen(samples[start : start + size] for start in range(0, len(samples), size)))
    return commands, (time.process_time() - started) / listener.audio_s


def compare(
    recognised: list[TimedCommand],
    spans: list[tuple[float, float]],
    texts: Sequence[str],
    recogniser: CommandRecogniser,
) -> dict[str, object]:
    """Compare each utterance with what was recognised while it was spoken."""
    found = [[one for one in recognised if one.start_s < end_s and one.end_s > start_s] for start_s, end_s in spans]
    alone = [bool(some) and len(some) == 1 for some in found]
    merged = sum(sum(one.start_s < end_s and one.end_s > start_s for start_s, end_s in spans) > 1 for one in recognised)
    known = [some[-1].end_s + some[-1].latency_s - span[1] for some, span in zip(found, spans, strict=True) if some]
    meant = [recogniser.parse(text) for text in texts]
    commands = [some[0].command for some, meaning in zip(found, meant, strict=True) if meaning and len(some) == 1]
    inside = [meaning for some, meaning in zip(found, meant, strict=True) if meaning and len(some) == 1]
    likeliest = [(one.best, dict(one.slots)) == meaning for one, meaning in zip(commands, inside, strict=True)]
    accepted = sum(one.accepted and right for one, right in zip(commands, likeliest, strict=True))
    others = [some for some, meaning in zip(found, meant, strict=True) if not meaning]
    return {
        "utterances": len(spans),
        "found as one": sum(alone),
        "cut": sum(len(some) > 1 for some in found),
        "missed": sum(not some for some in found),
        "joined with another": merged,
        "recognised where nobody spoke": len(recognised) - len({id(one) for some in found for one in some}),
        "commands": sum(meaning is not None for meaning in meant),
        "of them likeliest is right": sum(likeliest),
        "understood": accepted,
        "score of commands, median": round(float(np.median([one.score for one in commands])), 1) if commands else None,
        "others accepted": sum(any(one.command.accepted for one in some) for some in others),
        "ms from the end of speech, median": round(1000 * float(np.median(known))) if known else None,
        "ms from the end of speech, longest": round(1000 * max(known)) if known else None,
    }


def word_error_rate(
    stream: Stream,
    recogniser: CommandRecogniser,
    samples: np.ndarray,
    spans: list[tuple[float, float]],
    texts: list[str],
) -> float:
    """Return the WER of the greedy text that is recognised while each utterance is spoken."""
    endpointer = Endpointer(recogniser.blank, recogniser.space, recogniser.frame_s, recogniser.first_frame_s)
    log_probs = torch.cat([stream.push(samples), stream.finish()]).numpy()
    found = [*endpointer.push(log_probs), *endpointer.finish()]
    written = []
    for start_s, end_s in spans:
        ids = [one.log_probs.argmax(1) for one in found if one.spoken_s[0] < end_s and one.spoken_s[1] > start_s]
        written.append(" ".join(recogniser.processor.batch_decode(one[None])[0] for one in ids))
    return jiwer.wer([recogniser.processor.normalize_text(text) for text in texts], written)


def furthest(model, processor, clips: Sequence[np.ndarray], chunk_ms: float) -> float:
    """Return the largest difference of log-probabilities between clips in chunks and whole clips."""
    stream, differences = Stream(model, processor), []
    size = round(chunk_ms / 1000 * stream.sampling_rate)
    for clip in clips:
        inputs = processor(clip, sampling_rate=stream.sampling_rate, return_tensors="pt")
        with torch.inference_mode():
            whole = model(**inputs).logits[0].log_softmax(-1)
        pieces = [stream.push(clip[start : start + size]) for start in range(0, len(clip), size)]
        differences.append(float((torch.cat([*pieces, stream.finish()]) - whole).abs().max()))
    return max(differences)


def measure(model, processor, recogniser: CommandRecogniser, clips: list[np.ndarray], texts: list[str]) -> dict:
    """Return all figures for clips (samples,), at the sampling rate of the model, and their texts."""
    stream = Stream(model, processor)
    samples, spans = join(clips, stream.sampling_rate)
    by_chunk, by_silence = {}, {}
    for chunk_ms in CHUNKS_MS:
        commands, cost = listen_to(stream, recogniser, samples, chunk_ms, 0.5)
        by_chunk[chunk_ms] = {"CPU s of a second": round(cost, 4), **compare(commands, spans, texts, recogniser)}
    for silence_s in SILENCES_S:
        commands, _ = listen_to(stream, recogniser, samples, 100, silence_s)
        by_silence[silence_s] = compare(commands, spans, texts, recogniser)
    return {
        "minutes": round(len(samples) / stream.sampling_rate / 60, 2),
        "delay of a frame, ms": round(1000 * stream.delay_s),
        "in chunks against the whole, at most": {
            chunk_ms: furthest(model, processor, clips[:8], chunk_ms) for chunk_ms in (10, *CHUNKS_MS)
        },
        "greedy WER in the stream, %": round(100 * word_error_rate(stream, recogniser, samples, spans, texts), 2),
        "chunk_ms": by_chunk,
        "silence_s": by_silence,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="a unidirectional checkpoint")
    parser.add_argument("grammar", type=Path, metavar="GRAMMAR", help="YAML file of the commands")
    parser.add_argument(
        "--acceptance", type=Path, metavar="commands.json", help="file from recipes/commands/calibrate.py"
    )
    parser.add_argument("--dataset_name", default="synthetic", help="the corpus (default: %(default)s)")
    parser.add_argument("--dataset_config", help="the configuration of the dataset, if it has several")
    parser.add_argument("--split", default="test", help="the split (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=10**6, help="number of clips of the split (default: all)")
    args = parser.parse_args()
    set_up_cpu(1)
    model, processor = load_model(args.model)
    recogniser = load_recogniser(model.eval(), processor, args.grammar, args.acceptance)
    corpora = load_corpus(args.dataset_name, args.dataset_config, args.split)
    rows = [row for corpus in corpora for row in corpus.stream][: args.clips]
    clips = [open_audio(row["audio"], processor.feature_extractor.sampling_rate) for row in rows]
    result = measure(model, processor, recogniser, clips, [row["text"] for row in rows])
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
