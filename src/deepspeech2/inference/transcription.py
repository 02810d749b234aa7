"""Transcribe recordings, or align them with a known script, and write the words with times to caption files."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from ..data.audio.recordings import AudioError
from ..decoding.decoder import GREEDY, Decoder, Speller, load_decoder
from ..decoding.forced_alignment import Infeasible, align
from ..decoding.words import Hypothesis, Word
from ..system.files import printable, write_whole
from .captions import (
    MIN_CONFIDENCE,
    Cue,
    Limits,
    Unsure,
    caption_files,
    cue_entry,
    leave_out_unsure,
    make_cues,
    too_fast,
)
from .long_form import Listener
from .media import read_blocks

if TYPE_CHECKING:
    from ..model.modeling_deepspeech2 import DeepSpeech2ForCTC
    from ..model.processing_deepspeech2 import DeepSpeech2Processor

logger = logging.getLogger(__name__)

POOR_CONFIDENCE = 0.2  # if half of a script's words are below it, the script may belong to another recording


def transcribe_phrases(listener: Listener, decoder: Decoder, blocks: Iterable[np.ndarray]) -> Iterator[list[Word]]:
    """Yield the words of a recording, phrase by phrase, while the model processes it."""
    for first, log_probs in listener.phrases(blocks):
        yield _decoded(first * listener.frame_s, log_probs, decoder)


def _decoded(start_s: float, log_probs: np.ndarray, decoder: Decoder) -> list[Word]:
    """Return the words of log-probabilities (frames, V) that begin at a time."""
    words = decoder.decode_clip(log_probs).words
    return [Word(word.text, start_s + word.start_s, start_s + word.end_s, word.confidence) for word in words]


def transcribe_words(listener: Listener, decoder: Decoder, blocks: Iterable[np.ndarray]) -> list[Word]:
    """Return all words of a recording."""
    return [word for phrase in transcribe_phrases(listener, decoder, blocks) for word in phrase]


class ScriptWord(NamedTuple):
    """A word as it is written, and its labels. It may have none, such as a number in digits."""

    text: str
    labels: list[int]


def script_words(text: str, processor: Speller) -> list[ScriptWord]:
    """
    Return the words of a script in its own spelling, with the label ids of their normalised characters. Characters
    outside the vocabulary have no label.
    """
    words = []
    for written in text.split():
        normalized = processor.normalize_text(written)
        unknown = processor.unknown_characters(normalized)
        known = "".join(character for character in normalized if character not in unknown)
        words.append(ScriptWord(written, processor.encode(" ".join(known.split()))))
    return words


def align_words(script: Sequence[ScriptWord], log_probs: np.ndarray, listener: Listener) -> list[Word]:
    """
    Return a script's words with times, by forced alignment with (T, V) log-probabilities. Words without labels share
    the time between their neighbours, up to a second each, and have confidence 0.

    Raises:
        Infeasible: the script has no words that the model can write, or is too long for the recording.
    """
    blank, space = listener.blank, listener.space
    labels: list[int] = []
    places: list[tuple[int, int] | None] = []
    for word in script:
        if not word.labels:
            places.append(None)
            continue
        labels += [space] if labels else []
        places.append((len(labels), len(labels) + len(word.labels)))
        labels += word.labels
    alignment = align(log_probs, np.array(labels), blank)
    words: list[Word] = []
    last_s, end_s = 0.0, len(log_probs) * listener.frame_s
    for index, (word, place) in enumerate(zip(script, places, strict=True)):
        if place is not None:
            start_s, last_s = listener.span_s(int(alignment.starts[place[0]]), int(alignment.ends[place[1] - 1]))
            confidence = float(np.exp(alignment.log_probs[slice(*place)].mean()))
            words.append(Word(word.text, start_s, last_s, confidence))
            continue
        later = next((later for later in range(index, len(places)) if places[later] is not None), len(places))
        behind = places[later] if later < len(places) else None
        until_s = end_s if behind is None else listener.span_s(int(alignment.starts[behind[0]]), 0)[0]
        start_s, last_s = last_s, last_s + min(max(until_s - last_s, 0.0) / (later - index), 1.0)
        words.append(Word(word.text, start_s, last_s, 0.0))
    return words


def read_script(path: Path) -> str:
    """
    Read a script from a text file in UTF-8.

    Raises:
        ValueError: the file does not exist, is not text, or has no words.
    """
    if not path.is_file():
        raise ValueError(f"the script {str(path)!r} is not a file (the current folder is {str(Path.cwd())!r})")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the script {str(path)!r} is not text in UTF-8: {error}") from error
    if not text.split():
        raise ValueError(f"the script {str(path)!r} has no words; expected the words of the recording")
    return text


@dataclass(frozen=True)
class Job:
    """A recording, and the output file of each format."""

    source: Path
    outputs: dict[str, Path]

    def is_done(self) -> bool:
        """Return whether all files exist and are newer than the recording."""
        if not all(path.is_file() for path in self.outputs.values()):
            return False
        written = min(path.stat().st_mtime for path in self.outputs.values())
        return not self.source.is_file() or self.source.stat().st_mtime <= written


def plan_jobs(files: Sequence[Path], output_dir: Path | None, formats: Sequence[str]) -> list[Job]:
    """
    Name the output files after the recordings: talk.srt for talk.mp4, next to it if there is no `output_dir`.

    Raises:
        ValueError: two recordings would write the same file, or a recording would be overwritten.
    """
    jobs, writers = [], {file.resolve(): file for file in files}
    for file in dict.fromkeys(files):
        outputs = {one: (output_dir or file.parent) / f"{file.stem}.{one}" for one in dict.fromkeys(formats)}
        for path in outputs.values():
            other = writers.setdefault(path.resolve(), file)
            if other != file or path.resolve() == file.resolve():
                raise ValueError(
                    f"{str(path)!r} would be written for {str(file)!r}, but it belongs to {str(other)!r}; rename one, "
                    "or transcribe them in two runs with different --output_dir"
                )
        jobs.append(Job(file, outputs))
    return jobs


@dataclass(frozen=True)
class CaptionOptions:
    """
    How recordings become words and captions.

    Args:
        limits: the limits of a cue.
        script: the known text of the recording, to be aligned. None transcribes.
        min_confidence: see `leave_out_unsure`. A script is never left out.
        track: the audio track of each recording, from 1. None is the first.
        facts: additional entries for the JSON.
    """

    limits: Limits = field(default_factory=Limits)
    script: str | None = None
    min_confidence: float = MIN_CONFIDENCE
    track: int | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


def transcribe_jobs(
    jobs: Sequence[Job],
    listener: Listener,
    decoder: Decoder,
    options: CaptionOptions,
    report: Callable[[str], None] = print,
) -> list[str]:
    """
    Write the files of each recording. Recordings whose files exist and are newer are left alone.

    Args:
        jobs: the recordings and their output files.
        listener: the model.
        decoder: a decoder of the model. It is not used with a script.
        options: how to transcribe or align them.
        report: is called with a line about each recording.

    Returns:
        A line with name and error for each recording that was skipped.
    """
    failures = []
    for number, job in enumerate(jobs, 1):
        where = f"[{number}/{len(jobs)}] {printable(job.source)}"
        if job.is_done():
            report(f"{where}: already done, {_named(job)}; remove one of these files to transcribe it again")
            continue
        try:
            report(f"{where}: {_write_captions(job, listener, decoder, options)}")
        except (AudioError, Infeasible, OSError, UnicodeError) as error:
            why = printable(str(error))  # it may hold the name
            failures.append(f"{printable(job.source)}: {why}")
            report(f"{where}: SKIPPED, {why}")
    return failures


def _named(job: Job) -> str:
    return ", ".join(printable(path) for path in job.outputs.values())


def _write_captions(job: Job, listener: Listener, decoder: Decoder, options: CaptionOptions) -> str:
    """Write the files of a recording, and return what the report says about it."""
    start = time.perf_counter()
    name = printable(job.source.name)
    blocks = _counted(read_blocks(job.source, listener.sampling_rate, options.track), name, listener.sampling_rate)
    if options.script is None:
        cues, words, left_out = _transcribe(blocks, listener, decoder, options)
    else:
        words, left_out = _align(blocks, listener, options.script, printable(job.source)), []
        cues = make_cues(words, options.limits)
    about = {
        "source": name,
        "duration_s": round(listener.duration_s, 3),
        "left_out_silence_s": round(listener.left_out_s, 3),
        "min_confidence": options.min_confidence if options.script is None else 0.0,
        "left_out_low_confidence": [cue_entry(one.cue) | {"confidence": round(one.confidence, 4)} for one in left_out],
        **options.facts,
    }
    written = caption_files(words, cues, about)
    for kind, path in job.outputs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, written[kind])
    if left_out:
        logger.warning(
            "%s: %d cues are left out, because their confidence is below %s, as in music and noise; "
            "--min_confidence 0 keeps them: %s",
            name,
            len(left_out),
            options.min_confidence,
            "; ".join(f"{one.cue.start_s:.1f} s {' '.join(one.cue.text.split())!r}" for one in left_out),
        )
    duration = f"{listener.duration_s:,.0f} s" + (f" ({silent:,.0f} silent)" if (silent := listener.left_out_s) else "")
    hurried = f", {fast} of them too fast to read" if (fast := too_fast(cues, options.limits)) else ""
    noise = f", {len(left_out):,} cues left out (no speech)" if left_out else ""
    rtfx = listener.duration_s / (time.perf_counter() - start)
    return f"{duration}, {len(words):,} words, {len(cues):,} cues{hurried}{noise}, RTFx {rtfx:.0f} -> {_named(job)}"


def _transcribe(
    blocks: Iterable[np.ndarray], listener: Listener, decoder: Decoder, options: CaptionOptions
) -> tuple[list[Cue], list[Word], list[Unsure]]:
    """Return cues and words, and the cues that are left out because greedy decoding is unsure of them."""
    plain = decoder.options == GREEDY
    greedy = decoder if plain else Decoder(listener.processor, listener.frame_s, listener.first_frame_s)
    words, raw_words = list[Word](), list[Word]()
    for first, log_probs in listener.phrases(blocks):
        decoded = _decoded(first * listener.frame_s, log_probs, decoder)
        words += decoded
        raw_words += decoded if plain else _decoded(first * listener.frame_s, log_probs, greedy)
    return leave_out_unsure(make_cues(words, options.limits), words, raw_words, options.min_confidence)


def _align(blocks: Iterable[np.ndarray], listener: Listener, script: str, name: str) -> list[Word]:
    """Return the words of a script with their times, and warn if it seems to belong to another recording."""
    words = align_words(script_words(script, listener.processor), listener.whole(blocks), listener)
    poor = sum(word.confidence < POOR_CONFIDENCE for word in words)
    if poor > len(words) / 2:
        logger.warning(
            "%s: %d of the script's %d words have a confidence below %s: check that the script belongs to this "
            "recording",
            name,
            poor,
            len(words),
            POOR_CONFIDENCE,
        )
    return words


def _counted(blocks: Iterable[np.ndarray], name: str, sampling_rate: int) -> Iterator[np.ndarray]:
    """Yield the blocks, with a progress bar in seconds on a terminal."""
    with tqdm(desc=name, unit=" s", dynamic_ncols=True, disable=None, leave=False) as bar:
        for block in blocks:
            yield block
            bar.update(round(len(block) / sampling_rate))


def transcribe(
    model: DeepSpeech2ForCTC,
    processor: DeepSpeech2Processor,
    recording: str | Path,
    decoder: Decoder | None = None,
    track: int | None = None,
) -> Hypothesis:
    """
    Transcribe a recording of any length.

    Args:
        model: the model, from `load_model`. It is put in evaluation mode and stays on its device.
        processor: the processor of the model.
        recording: path of the recording: WAV, FLAC, Ogg or MP3. With PyAV everything that FFmpeg reads.
        decoder: the decoder, from `load_decoder` (default: the model's own). Load it once for many recordings.
        track: the audio track, from 1 (default: the first; a warning lists the others).

    Returns:
        The text, and its words with times in seconds and confidences.

    Raises:
        AudioError: the file does not exist, is not a recording, or is damaged.
    """
    listener = Listener(model.eval(), processor)
    blocks = read_blocks(Path(recording), listener.sampling_rate, track)
    words = transcribe_words(listener, decoder or load_decoder(model, processor), blocks)
    return Hypothesis(" ".join(word.text for word in words), tuple(words))
