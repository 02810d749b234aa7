"""Make a training corpus of captioned recordings: forced alignment finds each cue, and doubtful ones are left out."""

import csv
import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ..data.audio.recordings import AudioError
from ..decoding.forced_alignment import Infeasible, align
from ..system.files import printable, write_whole
from .captions import Cue, find_captions, read_captions
from .long_form import Listener
from .media import read_blocks

logger = logging.getLogger(__name__)

JOURNAL = "journal.jsonl"
MAX_GAP_S = 0.5  # cues closer than this may be joined to one utterance
PAD_S = 0.2  # silence kept around the words
# Parts of captions that nobody says: [music], (laughs), songs.
NOT_SAID = re.compile(r"\[[^\]]*\]|\([^)]*\)|【[^】]*】|（[^）]*）|[♪♫][^♪♫\n]*[♪♫]?")
# What marks a speaker at the start of a line: ">> ", "- ", and a name in capitals of at most two words, "MAN 2: ".
TURN = re.compile(r"^\s*(?:>>+|[-–—])\s*", re.MULTILINE)
NAME = re.compile(r"^\s*([^\s:]+(?: [^\s:]+)?)?:(?=\s|$)", re.MULTILINE)


@dataclass(frozen=True)
class Rules:
    """
    Which cues become utterances.

    Args:
        min_score: the lowest score of a cue, in nats per letter. The score is the log-probability of the text minus
            that of the likeliest symbols. It is 0 if the model's transcript equals the caption.
        margin_s: by how many seconds captions may be early or late.
        min_duration_s, max_duration_s: duration of an utterance in seconds. Cues are joined up to the longest one.

    Raises:
        ValueError: a number is out of range.
    """

    min_score: float = -1.5
    margin_s: float = 1.0
    min_duration_s: float = 1.0
    max_duration_s: float = 15.0

    def __post_init__(self) -> None:
        if self.min_score >= 0:
            raise ValueError(f"min_score is {self.min_score}; expected less than 0, which is the best possible score")
        if self.margin_s < 0:
            raise ValueError(f"margin_s is {self.margin_s}; expected 0 or more seconds")
        if not 0 <= self.min_duration_s < self.max_duration_s:
            raise ValueError(
                f"min_duration_s is {self.min_duration_s} and max_duration_s is {self.max_duration_s}; expected 0 or "
                "more seconds, and max_duration_s above min_duration_s"
            )


@dataclass(frozen=True)
class CaptionedClip:
    """An utterance of a recording, from `start_s` to `end_s`, and the score of its text there."""

    start_s: float
    end_s: float
    text: str
    score: float


@dataclass(frozen=True)
class Dropped:
    """A cue that is left out, and the reason in one word."""

    cue: Cue
    reason: str
    score: float | None = None


def spoken_text(cue: Cue) -> str:
    """Return a cue's text without the parts that nobody says."""

    def unnamed(found: re.Match[str]) -> str:
        return " " if found[1] is None or found[1].isupper() else found[0]

    return " ".join(NAME.sub(unnamed, TURN.sub(" ", NOT_SAID.sub(" ", cue.text))).split())


def find_cue(cue: Cue, log_probs: np.ndarray, listener: Listener, rules: Rules) -> CaptionedClip | Dropped:
    """
    Find where a cue's words are said, within `margin_s` of its times.

    Args:
        log_probs: (T, V) log-probabilities of the whole recording.
    """
    text = spoken_text(cue)
    normalized = listener.processor.normalize_text(text)
    if not normalized:
        return Dropped(cue, "nothing_said")
    if listener.processor.unknown_characters(normalized):
        return Dropped(cue, "unknown_characters")
    first = max(round((cue.start_s - rules.margin_s) / listener.frame_s), 0)
    window = log_probs[first : max(round((cue.end_s + rules.margin_s) / listener.frame_s), 0)]
    labels = np.array(listener.processor.encode(normalized))
    try:
        alignment = align(window, labels, listener.blank, free_ends=True)
    except Infeasible:  # also if the recording ends before the captions do
        return Dropped(cue, "too_much_text")
    score = (alignment.score - float(window.max(axis=1).astype(np.float64).sum())) / len(labels)
    start, end = int(alignment.starts[0]), int(alignment.ends[-1])
    if score < rules.min_score:
        return Dropped(cue, "low_score", score)
    if (start == 0 and first > 0) or (end == len(window) and first + end < len(log_probs)):
        return Dropped(cue, "cut_off", score)  # it continues outside the window
    start_s, end_s = listener.span_s(first + start, first + end)
    return CaptionedClip(start_s, end_s, text, score)


def find_utterances(
    cues: Sequence[Cue], log_probs: np.ndarray, listener: Listener, rules: Rules
) -> tuple[list[CaptionedClip], list[Dropped]]:
    """
    Turn cues into utterances: join neighbours, keep a little silence around them, drop what is too short or too long.

    Args:
        log_probs: (T, V) log-probabilities of the whole recording.
    """
    found = [find_cue(cue, log_probs, listener, rules) for cue in cues]
    dropped = [one for one in found if isinstance(one, Dropped)]
    groups: list[list[tuple[Cue, CaptionedClip]]] = []
    previous: CaptionedClip | None = None  # the clip that the next one may be joined with
    kept: CaptionedClip | None = None
    for cue, one in zip(cues, found, strict=True):
        if isinstance(one, Dropped):
            previous = None  # its words are somewhere here, so do not join across it
            continue
        # An overlap of up to PAD_S, a letter or two that fit both cues, is accepted.
        if kept and one.start_s < max(kept.end_s - PAD_S, kept.start_s):
            dropped.append(Dropped(cue, "overlapping", one.score))
            previous = None
            continue
        joins = previous and one.start_s - previous.end_s <= MAX_GAP_S
        if joins and one.end_s - groups[-1][0][1].start_s + 2 * PAD_S <= rules.max_duration_s:
            groups[-1].append((cue, one))
        else:
            groups.append([(cue, one)])
        previous = kept = one
    utterances = []
    joined = [_joined([one for _, one in group]) for group in groups]
    for group, one in zip(groups, _padded(joined, log_probs, listener), strict=True):
        duration_s = one.end_s - one.start_s
        if rules.min_duration_s <= duration_s <= rules.max_duration_s:
            utterances.append(one)
        else:
            reason = "too_short" if duration_s < rules.min_duration_s else "too_long"
            dropped += [Dropped(cue, reason, part.score) for cue, part in group]
    return utterances, dropped


def _joined(parts: Sequence[CaptionedClip]) -> CaptionedClip:
    letters = [len(part.text) for part in parts]
    score = float(np.average([part.score for part in parts], weights=letters))
    return CaptionedClip(parts[0].start_s, parts[-1].end_s, " ".join(part.text for part in parts), score)


def _padded(utterances: Sequence[CaptionedClip], log_probs: np.ndarray, listener: Listener) -> Iterator[CaptionedClip]:
    """
    Extend utterances by up to PAD_S on each side, but not over letters that the model predicts, nor beyond the middle
    of the gap to a neighbour.
    """
    loud = ~np.isin(log_probs.argmax(axis=1), (listener.blank, listener.space))
    for before, one, after in zip([None, *utterances], utterances, [*utterances[1:], None], strict=False):
        earliest = max(one.start_s - PAD_S, (before.end_s + one.start_s) / 2 if before else 0.0)
        latest = min(one.end_s + PAD_S, (one.end_s + after.start_s) / 2 if after else float("inf"))
        frames = [round(time_s / listener.frame_s) for time_s in (earliest, one.start_s, one.end_s, latest)]
        letters_before = np.flatnonzero(loud[frames[0] : frames[1]])
        letters_after = np.flatnonzero(loud[frames[2] : frames[3]])
        if len(letters_before):
            earliest = one.start_s - (frames[1] - frames[0] - 1 - letters_before[-1]) * listener.frame_s
        if len(letters_after):
            latest = one.end_s + letters_after[0] * listener.frame_s
        yield replace(one, start_s=max(float(min(earliest, one.start_s)), 0.0), end_s=float(max(latest, one.end_s)))


def cut_clips(
    blocks: Iterable[np.ndarray], utterances: Sequence[CaptionedClip], sampling_rate: int
) -> Iterator[np.ndarray]:
    """Yield the samples of each utterance, in order, from a stream of blocks. Memory holds one utterance at a time."""
    spans = [(round(one.start_s * sampling_rate), round(one.end_s * sampling_rate)) for one in utterances]
    kept, first = np.zeros(0, np.float32), 0
    waiting = iter(blocks)
    for start, end in spans:
        assert start >= first, "what came before it is gone"
        while first + len(kept) < end and (block := next(waiting, None)) is not None:
            done = min(max(start - first, 0), len(kept))
            kept, first = np.concatenate([kept[done:], block]), first + done
        yield kept[max(start - first, 0) : end - first]


class CorpusWriter:
    """
    Writes a folder for recipes/finetune.py: FLAC files, metadata.csv with their texts, and dropped.csv with the cues
    that were left out and the reasons. The folder is FOLDER.part until `finish` renames it. In it a journal has a line
    for each recording that is done, so that the same command goes on with a killed run.

    Raises:
        ValueError: the folder exists, or FOLDER.part is not of such a run.
    """

    def __init__(self, folder: Path, listener: Listener, rules: Rules) -> None:
        if folder.exists():
            raise ValueError(f"{str(folder)!r} already exists; name a new folder, or remove it")
        self.folder, self._listener, self._rules = folder, listener, rules
        self._aside = folder.with_name(f"{folder.name}.part")
        self._journal = self._aside / JOURNAL
        if self._aside.exists() and not self._journal.is_file():
            raise ValueError(f"{str(self._aside)!r} exists without a {JOURNAL}; remove it, or name another folder")
        self._aside.mkdir(parents=True, exist_ok=True)
        self._journal.touch()
        lines = self._journal.read_text(encoding="utf-8").split("\n")[:-1]  # a killed run may not have ended its last
        write_whole(self._journal, "".join(f"{line}\n" for line in lines))
        self._entries = {entry["stem"]: entry for entry in map(json.loads, lines)}
        self._rows: list[list[str]] = []
        self._dropped: list[list[str]] = []
        self.duration_s = 0.0

    @property
    def reasons(self) -> Counter[str]:
        """The number of cues that were left out, by reason."""
        return Counter(row[3] for row in self._dropped)

    def add(self, media: Path, captions: Path, track: int | None = None) -> int:
        """
        Add the utterances of an audio track of a recording and return their number. Those of an earlier run that was
        made with the same files, model and rules are taken as they are.

        Raises:
            AudioError: see `read_blocks`.
            ValueError: the captions cannot be read.
            RuntimeError: a file of the corpus cannot be written.
        """
        name, stem = printable(media.name), _stem(media)
        model = self._listener.model.name_or_path
        files = [media, captions, *sorted(Path(model).glob("*.safetensors"))]
        made_with = {"model": model, "track": track} | asdict(self._rules)
        made_with |= {"files": [[printable(path.absolute()), path.stat().st_mtime_ns] for path in files]}
        entry = self._entries.get(stem)
        if entry is None or entry["made_with"] != made_with:
            self._note({"stem": stem, "made_with": None})  # from here on its clips are no longer the earlier ones
            with _writing(self._aside / stem):
                shutil.rmtree(self._aside / stem, ignore_errors=True)
                (self._aside / stem).mkdir()
            entry = {"stem": stem, "made_with": made_with, **self._segment(media, captions, track, name, stem)}
            self._note(entry)
        self._rows += entry["rows"]
        self._dropped += entry["dropped"]
        self.duration_s += entry["duration_s"]
        return len(entry["rows"])

    def _note(self, entry: dict[str, Any]) -> None:
        """Add a line to the journal. The last one of a recording counts."""
        self._entries[entry["stem"]] = entry
        with _writing(self._journal), self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def _segment(self, media: Path, captions: Path, track: int | None, name: str, stem: str) -> dict[str, Any]:
        """Write the clips of a recording, and return the rows of the lists."""
        rate = self._listener.sampling_rate
        read = read_captions(captions)
        for note in read.notes:
            logger.info("%s: %s", captions, note)
        log_probs = self._listener.whole(read_blocks(media, rate, track))
        utterances, dropped = find_utterances(read.cues, log_probs, self._listener, self._rules)
        clips = cut_clips(read_blocks(media, rate, track), utterances, rate)
        rows, duration_s = [], 0.0
        for number, (one, samples) in enumerate(zip(utterances, clips, strict=True)):
            clip = f"{stem}/{number:05}.flac"
            with _writing(self._aside / clip):
                soundfile.write(self._aside / clip, samples, rate)
            times = [f"{one.start_s:.3f}", f"{one.end_s:.3f}", f"{one.score:.3f}"]
            rows.append([clip, one.text, f"{stem}-{number:05}", stem, *times])
            duration_s += len(samples) / rate
        left_out = [_left_out(name, part.reason, part.text, part.start_s, part.end_s) for part in read.left_out]
        left_out += [
            _left_out(name, drop.reason, drop.cue.text, drop.cue.start_s, drop.cue.end_s, drop.score)
            for drop in dropped
        ]
        return {"rows": rows, "dropped": left_out, "duration_s": duration_s}

    def summary(self) -> str:
        """Describe the utterances in the folder and the cues that were left out."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
        return (
            f"{self.folder}: {len(self._rows):,} utterances, {self.duration_s / 60:.1f} minutes; "
            f"{self.reasons.total():,} cues left out{f' ({reasons})' if reasons else ''}, listed in dropped.csv"
        )

    def finish(self) -> None:
        """
        Write the lists and rename the folder.

        Raises:
            ValueError: no cue could be used.
        """
        _write(self._aside / "dropped.csv", ["media", "start_s", "end_s", "reason", "score", "text"], self._dropped)
        if not self._rows and not self.reasons:
            raise ValueError("no recording has readable captions; expected a file such as talk.srt next to talk.mp4")
        if not self._rows:
            raise ValueError(
                f"no cue could be used ({dict(self.reasons)}; {self._aside / 'dropped.csv'} lists them). Check that "
                "the captions belong to the recordings. If the model is weak, lower --min_score to trust captions more"
            )
        header = ["file_name", "text", "id", "speaker_id", "start_s", "end_s", "score"]
        _write(self._aside / "metadata.csv", header, self._rows)
        for stem in self._entries.keys() - {row[3] for row in self._rows}:
            shutil.rmtree(
                self._aside / stem, ignore_errors=True
            )  # of recordings that failed, or that this run was not given
        self._aside.rename(self.folder)
        (self.folder / JOURNAL).unlink()


def _stem(media: Path) -> str:
    """Return the name of a recording in ids. Lists are in UTF-8, and a backslash would be a folder on Windows."""
    return printable(media.stem).replace("\\", "_")


def _left_out(name: str, reason: str, text: str, *numbers: float | None) -> list[str]:
    """Return the row of a part of the captions; `numbers` are start and end in seconds, and the score."""
    written = ["" if one is None else f"{one:.3f}" for one in (*numbers, None)[:3]]
    return [name, *written[:2], reason, written[2], " ".join(text.split())]


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say which file could not be written, and how much space is free: libsndfile only says "System error"."""
    try:
        yield
    except (OSError, soundfile.LibsndfileError) as error:
        free_mb, why = shutil.disk_usage(path.parent).free / 1e6, str(error).rstrip(".")
        raise RuntimeError(
            f"{path} could not be written: {why}. {free_mb:,.1f} MB are free there; expected a writable folder with "
            "free space. Free some: the same command then goes on after the last recording that was done"
        ) from error


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def write_corpus(
    folder: Path, media: Sequence[Path], listener: Listener, rules: Rules, track: int | None = None
) -> tuple[CorpusWriter, list[str]]:
    """
    Write the utterances of captioned recordings to a folder.

    Args:
        folder: the new folder.
        media: the recordings, with captions beside them.
        listener: the model.
        rules: which cues are kept.
        track: the audio track of each recording, from 1. None is the first.

    Returns:
        The writer of the folder, and a line with name and error for each recording that was skipped.

    Raises:
        ValueError: the folder exists, two recordings have the same name, or no cue could be used.
        RuntimeError: a file of the corpus cannot be written.
    """
    twice = [stem for stem, count in Counter(map(_stem, media)).items() if count > 1]
    if twice:
        raise ValueError(f"several recordings are called {', '.join(twice)}; rename them, because ids use the names")
    writer, failures = CorpusWriter(folder, listener, rules), []
    for number, path in enumerate(media, 1):
        try:
            count = writer.add(path, find_captions(path), track)
        except (AudioError, OSError, ValueError) as error:
            failures.append(f"{path}: {error}")
            logger.warning("[%d/%d] skipped: %s: %s", number, len(media), path, error)
            continue
        logger.info("[%d/%d] %s: %d utterances", number, len(media), path, count)
    writer.finish()
    return writer, failures
