"""
Recognise commands in log-probabilities: the likeliest sentence of a grammar, its slots, and whether it is accepted.

>>> recogniser = load_recogniser(model, processor, Path("home.yaml"), Path("commands.json"))
>>> command = recogniser.recognise(log_probs)
>>> command.name, command.slots, command.confidence
('light', {'switch': 'on', 'room': 'kitchen'}, 0.98)
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ...data.grammars.grammar import Grammar, Value
from ...data.grammars.reading import read_grammar
from ...decoding.decoder import Speller, frame_times
from ...system.files import write_whole
from .automaton import build_graph

logger = logging.getLogger(__name__)

WORST_WORD = 0.3  # share of the loss of the worst word in a score
SCORE = "letters + 0.3 worst word"  # what a commands.json was calibrated with
GRAMMAR_NAME, ACCEPTANCE_NAME = "grammar.yaml", "commands.json"  # beside a model that was trained for its commands


@dataclass(frozen=True)
class Acceptance:
    """
    The rejection threshold, and the calibration of the confidence.

    The loss of a sentence is a log-likelihood ratio in nats: the log-probability of the garbage path, which may spell
    anything, minus that of the best path through the grammar. The score is minus the loss per letter, minus a share of
    the loss of the worst word. The best score is 0. Without the division any noise would score well as the shortest
    command. The worst word tells a wrong value in a long command from noise, which is in all words.

    Args:
        threshold: the lowest score that is accepted.
        slope, offset: the confidence, which is the probability that the command is right, is the logistic function of
            slope * score + offset.
    """

    threshold: float = -3.3
    slope: float = 1.1
    offset: float = 4.3


@dataclass(frozen=True)
class Command:
    """
    A recognised or rejected command.

    Args:
        name: the name of the command. None means rejected.
        best: the command of the likeliest sentence, even if it is rejected. None means that the speech is too short for
            any command.
        text: the likeliest sentence of the grammar.
        slots: slot name -> value. A slot that occurs twice has its last value.
        score, confidence: see `Acceptance`.
        start_s, end_s: start of the first letter and end of the last letter, in seconds.
    """

    name: str | None
    best: str | None
    text: str
    slots: Mapping[str, Value]
    score: float
    confidence: float
    start_s: float
    end_s: float

    @property
    def accepted(self) -> bool:
        return self.name is not None

    def __str__(self) -> str:
        if not self.accepted:
            return f"rejected, most likely {self.text!r}, {self.confidence:.2f}" if self.best else "rejected"
        values = ", ".join(f"{name} {value!r}" for name, value in self.slots.items())
        return f"{self.name}({values}) {self.confidence:.2f}, {self.text!r}"

    def to_dict(self) -> dict[str, object]:
        """Return the command as values for JSON."""
        score = round(self.score, 3) if np.isfinite(self.score) else None
        rounded = {
            "score": score,
            **{name: round(getattr(self, name), 3) for name in ("confidence", "start_s", "end_s")},
        }
        return asdict(self) | {"accepted": self.accepted, **rounded}


class CommandRecogniser:
    """
    Recognises the commands of a grammar.

    Args:
        grammar: the commands.
        processor: the model's processor.
        frame_s: seconds from one output frame to the next.
        first_frame_s: the middle of output frame 0, in seconds.
        acceptance: the rejection threshold and the calibration of the confidence.

    Raises:
        ValueError: words have characters outside the vocabulary, or two words of a slot have the same spelling but
            different values. The message lists all of them.
    """

    def __init__(
        self,
        grammar: Grammar,
        processor: Speller,
        frame_s: float,
        first_frame_s: float = 0.0,
        acceptance: Acceptance = Acceptance(),
    ) -> None:
        self.grammar, self.processor, self.acceptance = grammar, processor, acceptance
        self.frame_s, self.first_frame_s = frame_s, first_frame_s
        self.blank, self.space = processor.tokenizer.pad_token_id, processor.space_id
        self.graph = build_graph(grammar, processor)
        self._names = list(grammar.commands)
        self._values = _written_values(grammar, processor)

    @property
    def trims(self) -> bool:
        """
        Whether to trim the silence at the ends of a recording. Silence changes the mean and deviation of a clip's
        features, and so the transcript. It does not change fixed statistics, which are meant for streams with silence.
        """
        return self.processor.feature_extractor.normalization != "fixed"

    def with_grammar(self, grammar: Grammar) -> "CommandRecogniser":
        """Return a recogniser that differs only in its grammar."""
        return CommandRecogniser(grammar, self.processor, self.frame_s, self.first_frame_s, self.acceptance)

    def recognise(self, log_probs: np.ndarray) -> Command:
        """
        Recognise one utterance.

        Args:
            log_probs: (T, V) float32, with or without silence around the utterance.
        """
        path = self.graph.best_path(log_probs, self.blank) if len(log_probs) else None
        if path is None:
            return Command(None, None, "", {}, -np.inf, 0.0, 0.0, 0.0)
        losses = log_probs.max(axis=1) - path.gains
        worst = float(np.bincount(self.graph.words(path), losses).max())
        score = min(-float(losses.sum()) / len(path.letters) - WORST_WORD * worst, 0.0)  # rounding may exceed 0
        spoken = np.flatnonzero((path.states >= 0) & (path.states < path.count))
        start_s, end_s = (
            max(0.0, self.first_frame_s + float(frame + shift) * self.frame_s)
            for frame, shift in ((spoken[0], -0.5), (spoken[-1], 0.5))
        )
        name, text, slots = self.read(path.letters)
        confidence = np.exp(-np.logaddexp(0, -(self.acceptance.slope * score + self.acceptance.offset)))
        accepted = score >= self.acceptance.threshold
        return Command(name if accepted else None, name, text, slots, score, float(confidence), start_s, end_s)

    def parse(self, text: str) -> tuple[str, dict[str, Value]] | None:
        """Return the command and slots of a text after normalisation, or None if the grammar does not contain it."""
        normalized = self.processor.normalize_text(text)
        if not normalized or self.processor.unknown_characters(normalized):
            return None
        letters = self.graph.spell(self.processor.encode(normalized))
        return None if letters is None else self.read(letters)[::2]

    def read(self, letters: list[int]) -> tuple[str, str, dict[str, Value]]:
        """Return name, text and slots of a sentence, given the positions of its letters in the graph."""
        characters = self.processor.tokenizer.convert_ids_to_tokens(self.graph.letters[letters].tolist())
        text = "".join(characters)
        said: dict[int, str] = {}
        for letter, character in zip(letters, text, strict=True):
            if (slot := int(self.graph.slots[letter])) >= 0:
                said[slot] = said.get(slot, "") + character
        names = self.graph.slot_names
        slots = {names[slot]: self._values[names[slot]][words.strip()] for slot, words in said.items()}
        return self._names[self.graph.commands[letters[0]]], text.strip(), slots


def _written_values(grammar: Grammar, processor: Speller) -> dict[str, dict[str, Value]]:
    """Return for each slot a mapping from the model's spelling to the value."""
    written: dict[str, dict[str, Value]] = {}
    faults = []
    for name, values in grammar.slots.items():
        written[name] = {}
        for said, value in values.items():
            text = processor.normalize_text(said)
            if written[name].setdefault(text, value) != value:
                faults.append(f"slot {name!r} gives {text!r} two values, {written[name][text]!r} and {value!r}")
    if faults:
        raise ValueError(
            "the grammar has words with the same spelling but different values:"
            + "".join(f"\n  {fault}" for fault in faults)
        )
    return written


def load_recogniser(model: Any, processor: Speller, grammar: Path, acceptance: Path | None = None) -> CommandRecogniser:
    """
    Return a recogniser for a model.

    Args:
        model, processor: as loaded.
        grammar: a YAML grammar.
        acceptance: the commands.json of recipes/commands/calibrate.py. None uses the default rejection threshold.

    Raises:
        ValueError: one of the files is wrong.
    """
    when = read_acceptance(acceptance) if acceptance else Acceptance()
    return CommandRecogniser(read_grammar(grammar), processor, *frame_times(model, processor), when)


def find_commands(folder: str | None, grammar: Path | None, acceptance: Path | None) -> tuple[Path, Path | None]:
    """
    Return the grammar and the commands.json to use with a model: those that are given, or those in its folder. The
    threshold of a folder is for its own grammar only.

    Args:
        folder: the folder of the loaded model, `model.name_or_path`.
        grammar, acceptance: the files that the user gave, or None.

    Raises:
        ValueError: no grammar is given, and the folder has none.
    """
    own, calibrated = (Path(folder or "") / name for name in (GRAMMAR_NAME, ACCEPTANCE_NAME))
    if grammar is None and not own.is_file():
        raise ValueError(
            f"{folder} has no {GRAMMAR_NAME}; name a grammar (.yaml) after the model, or a folder that "
            "recipes/finetune.py wrote with --grammar"
        )
    if grammar is None or (own.is_file() and grammar.is_file() and own.read_bytes() == grammar.read_bytes()):
        grammar = own
        if acceptance is None and calibrated.is_file():
            acceptance = calibrated
    if acceptance is None:
        logger.info(
            "%s has no %s for this grammar: the rejection threshold is a rough one. recipes/commands/calibrate.py "
            "finds a better one",
            folder,
            ACCEPTANCE_NAME,
        )
    return grammar, acceptance


def copy_own_commands(model: Any, folder: Path, calibrated: bool = True) -> None:
    """
    Copy a model's own grammar, if it has one, into another folder.

    Args:
        model: the loaded model.
        folder: the folder of a model for the same commands.
        calibrated: whether to copy commands.json too, whose rejection threshold is for the same weights only.
    """
    own = Path(model.name_or_path)
    names = (GRAMMAR_NAME, ACCEPTANCE_NAME) if calibrated else (GRAMMAR_NAME,)
    if (own / GRAMMAR_NAME).is_file():
        for path in filter(Path.is_file, (own / name for name in names)):
            shutil.copyfile(path, folder / path.name)


def read_acceptance(path: Path) -> Acceptance:
    """
    Read a commands.json.

    Raises:
        ValueError: the file does not exist, is not JSON, or lacks a number for threshold, slope or offset.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("score") != SCORE:
            raise ValueError(f"its score is {content.get('score')!r}; expected {SCORE!r}")
        numbers = {one.name: float(content[one.name]) for one in fields(Acceptance)}
        if not np.isfinite(list(numbers.values())).all():
            raise ValueError(f"{numbers}")
        return Acceptance(**numbers)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r} is not a commands.json of this version: {error!r}; expected score, threshold, slope and "
            "offset. recipes/commands/calibrate.py writes it again"
        ) from error


def write_acceptance(path: Path, acceptance: Acceptance, facts: Mapping[str, object]) -> None:
    """Write a commands.json, with additional facts about its calibration."""
    write_whole(
        path, json.dumps({"score": SCORE} | asdict(acceptance) | dict(facts), indent=2, ensure_ascii=False) + "\n"
    )
