"""Read a grammar of voice commands from a YAML file.

>>> grammar = read_grammar(Path("recipes/commands/home.yaml"))
>>> grammar.commands["timer"], grammar.slots["minutes"]["twenty five"]
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...config.suggestions import did_you_mean
from ...config.yaml_loader import read_yaml
from .grammar import Choice, Grammar, Part, Slot, Value, leaves, may_be_nothing
from .phrases import parse_phrase
from .values import build_value, count_sayings, list_sayings, template_fault

MAX_VALUES = 20_000  # sayings of a slot, because all of them are written out
SECTIONS = ("commands", "parts", "slots")
KEYS = (*SECTIONS, "language")


def read_grammar(path: Path) -> Grammar:
    """
    Read a grammar from a YAML file such as this one:

        commands:
          light: ["[please] turn (on|off) the light in the {room}", "lights {level} percent"]
          timer: set a timer for {minutes} minutes
          drink: "[{opening}] [{size}] & [{roast}] coffee [with {milk}]"
        parts:
          opening: [make me a, /3/ i want a]
        slots:
          room: {kitchen: kitchen, living room: living room, parlour: living room}
          size: [small, large]
          roast: ["(light|dark) roast"]
          level: {numbers: [0, 100, 10]}
          minutes: {numbers: [1, 99]}
          amount: {some: some, a bit of: little, a little: little}
          milk: {milk: milk, "{amount} milk": "milk, {amount}"}

    `(a|b)` is a choice. `[a]` and `(a|)` are optional. `a & b` is said in any order. `/3/ a` is drawn three times as
    often as an alternative without a weight. Words, slots and brackets need spaces between them. A part is a phrase or
    a list of phrases. A slot is a list of phrases, whose value is the words with the values of other slots in them, or
    a mapping from phrase to value, in which `{name}` is the value of a slot in the phrase. `numbers` with a list is a
    range from, to and, optionally, step. num2words spells the numbers in the `language` of the file (default: `en`).
    The "and" in a number is optional, and hyphens are spaces.

    Raises:
        ValueError: the file is not a grammar. The message lists all faults with their places.
        ImportError: the grammar has numbers, but num2words is not installed.
    """
    if not path.is_file():
        raise ValueError(f"there is no grammar {str(path)!r}; expected a YAML file of commands")
    content = read_yaml(path)
    faults = [
        f"unknown key {key!r}; expected {', '.join(KEYS)}{did_you_mean(key, KEYS)}"
        for key in content
        if key not in KEYS
    ]
    language = content.get("language", "en")
    if not isinstance(language, str):
        faults.append(
            f"language is {language!r}; expected a language code such as 'en'. Put 'no' in quotes, because YAML reads "
            "it as false"
        )
    sections = {name: content.get(name, {}) for name in SECTIONS}
    for name, value in sections.items():
        if not isinstance(value, dict):
            faults.append(f"{name} is {value!r}; expected 'name: ...' pairs")
            sections[name] = {}
    if not content.get("commands"):
        faults.append("commands are missing; expected 'name: phrase' or 'name: [phrase, phrase]'")
    reader = _Reader(sections["parts"], sections["slots"], language, faults)
    reader.read_definitions()
    commands = {name: reader.read_command(name, given) for name, given in sections["commands"].items()}
    if faults:
        raise ValueError(f"{path} is not a valid grammar:" + "".join(f"\n  {fault}" for fault in faults))
    return Grammar(commands, reader.slots, reader.weights)


def _text_fault(where: str, value: Any, expected: str = "words as they are said") -> str:
    if isinstance(value, bool):
        return f"{where} has {value}: YAML reads on, off, yes and no as true and false. Put the word in quotes"
    return f"{where} has {value!r}; expected {expected}"


class _Reader:
    """
    Reads parts and slots in the order in which they need each other.

    Args:
        given_parts, given_slots: the sections of the file.
        language: of the numbers.
        faults: the list to add to.
    """

    def __init__(self, given_parts: dict, given_slots: dict, language: Any, faults: list[str]) -> None:
        self.given_parts, self.given_slots = given_parts, given_slots
        self.language, self.faults = language, faults
        self.parts: dict[str, Part] = {}
        self.slots: dict[str, dict[str, Value]] = {}
        self.weights: dict[str, dict[str, float]] = {}
        self._reading: list[str] = []  # the names that are being read, each needed by the one before it

    def read_definitions(self) -> None:
        for kind, names in (("part", self.given_parts), ("slot", self.given_slots)):
            for name in names:
                if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
                    self.faults.append(
                        f"{kind} {name!r}: expected a name of letters, digits and _. Put it in quotes if YAML reads "
                        "it as something else"
                    )
        for name in self.given_parts:
            if name in self.given_slots:
                self.faults.append(f"{name!r} is a part and a slot; expected two names")
            self._find_part(name)
        order = list(self.given_slots)
        for name in order:
            self._find_values(name)
        self.slots = {name: self.slots[name] for name in order}

    def read_command(self, name: Any, given: Any) -> Part:
        if not isinstance(name, str):
            self.faults.append(_text_fault("commands", name))
        return self._parse_phrases(f"command {name!r}", given, required=True)

    def _parse_phrases(self, where: str, given: Any, required: bool) -> Choice:
        """Return the alternatives of a phrase, or of a list of phrases."""
        phrases = given if isinstance(given, list) else [given]
        if not phrases:
            self.faults.append(f"{where} has no phrase; expected a phrase or a list of phrases")
        options: list[Part] = []
        weights: list[float] = []
        for phrase in phrases:
            if not isinstance(phrase, str):
                self.faults.append(_text_fault(where, phrase))
                continue
            choice = self._parse(where, phrase, required)
            options += choice.options
            weights += choice.weights
        return Choice(tuple(options), tuple(weights))

    def _parse(self, where: str, phrase: str, required: bool) -> Choice:
        found: list[str] = []
        choice = parse_phrase(phrase, self._find, found)
        if required and not found and may_be_nothing(choice):
            found.append("all of it is optional; expected at least one word that must be said")
        self.faults += [f"{where}, phrase {phrase!r}: {fault}" for fault in found]
        return choice

    def _find(self, name: str) -> Part | str:
        """Return the part that a `{name}` stands for, or what is wrong with the name."""
        if name in self._reading:
            return f"{{{name}}} contains itself: {' -> '.join([*self._reading[self._reading.index(name) :], name])}"
        if name in self.given_slots:
            return Slot(name)
        if name in self.given_parts:
            return self._find_part(name)
        known = [*self.given_slots, *self.given_parts]
        return f"there is no slot or part {name!r}{did_you_mean(name, known)}"

    def _find_part(self, name: str) -> Part:
        if name not in self.parts:
            self._reading.append(name)
            self.parts[name] = self._parse_phrases(f"part {name!r}", self.given_parts[name], required=False)
            self._reading.pop()
        return self.parts[name]

    def _find_values(self, name: str) -> dict[str, Value]:
        """Return the values of a slot by their spoken words."""
        if name not in self.slots:
            self._reading.append(name)
            given, where = self.given_slots[name], f"slot {name!r}"
            self.weights[name] = {}
            if isinstance(given, dict) and isinstance(given.get("numbers"), list):  # else the word "numbers"
                self.slots[name] = _read_numbers(where, given, self.language, self.faults)
            else:
                self.slots[name] = self._read_values(where, given, self.weights[name])
            self._reading.pop()
        return self.slots[name]

    def _read_values(self, where: str, given: Any, weights: dict[str, float]) -> dict[str, Value]:
        if not isinstance(given, (list, dict)) or not given:
            self.faults.append(
                f"{where} is {given!r}; expected a list of phrases, {{phrase: value}}, or {{numbers: [from, to]}}"
            )
            return {}
        values: dict[str, Value] = {}
        for phrase, value in given.items() if isinstance(given, dict) else [(phrase, None) for phrase in given]:
            if not isinstance(phrase, str) or not phrase.strip():
                self.faults.append(_text_fault(where, phrase))
            elif isinstance(given, dict) and (isinstance(value, bool) or not isinstance(value, (str, int))):
                expected = "text or a whole number" + ", or [from, to] for a range" * (phrase == "numbers")
                self.faults.append(_text_fault(f"the value of {phrase!r} in {where}", value, expected))
            else:
                self._add_values(where, phrase, value, values, weights)
        return values

    def _add_values(
        self, where: str, phrase: str, template: Value | None, values: dict[str, Value], weights: dict[str, float]
    ) -> None:
        """Add the values of one phrase of a slot."""
        before = len(self.faults)
        choice = self._parse(where, phrase, required=True)
        if len(self.faults) > before:
            return
        names = {leaf.name for leaf in leaves(choice) if isinstance(leaf, Slot)}
        if own := sorted(names.intersection(self._reading)):
            self.faults.append(f"{where}, phrase {phrase!r}: {{{own[0]}}} contains itself")
            return
        inner = {name: self._find_values(name) for name in sorted(names)}
        if fault := template_fault(template, names):
            self.faults.append(f"{where}, phrase {phrase!r}: {fault}")
        elif (count := len(values) + count_sayings(choice, inner)) > MAX_VALUES:
            self.faults.append(f"{where} has {count:,} values; expected at most {MAX_VALUES:,}: use two slots")
        else:
            self._write_out(where, choice, template, inner, values, weights)

    def _write_out(
        self,
        where: str,
        choice: Choice,
        template: Value | None,
        inner: Mapping[str, Mapping[str, Value]],
        values: dict[str, Value],
        weights: dict[str, float],
    ) -> None:
        for option, weight in zip(choice.options, choice.weights, strict=True):
            for saying in list_sayings(option, inner, self.weights):
                said, value = " ".join(saying.words), build_value(saying, template)
                if value == "":
                    self.faults.append(f"{where} gives {said!r} an empty value; expected text or a whole number")
                elif values.setdefault(said, value) != value:
                    self.faults.append(f"{where} gives {said!r} two values, {values[said]!r} and {value!r}")
                weights[said] = weights.get(said, 0.0) + weight * saying.share


def _read_numbers(where: str, given: dict, language: Any, faults: list[str]) -> dict[str, Value]:
    bounds = given["numbers"]
    if set(given) != {"numbers"} or len(bounds) not in (2, 3):
        faults.append(
            f"{where} is {given!r}; expected {{numbers: [from, to]}} or {{numbers: [from, to, step]}}, without other "
            "phrases. A list makes it a range; as a word that is said, numbers has text or a whole number as its value"
        )
        return {}
    if not all(type(bound) is int for bound in bounds) or bounds[0] > bounds[1] or (len(bounds) == 3 and bounds[2] < 1):
        faults.append(f"{where} has numbers {bounds}; expected whole numbers: from, to, and a step of 1 or more")
        return {}
    first, last, step = (*bounds, 1)[:3]
    count = (last - first) // step + 1
    if count > MAX_VALUES:
        faults.append(f"{where} has {count:,} numbers; expected at most {MAX_VALUES:,}: use a step, or two slots")
        return {}
    if not isinstance(language, str):
        return {}
    try:
        return {said: number for number in range(first, last + 1, step) for said in _spoken(number, language)}
    except NotImplementedError:
        faults.append(f"num2words does not support language {language!r}: write the numbers as a list of words")
    except OverflowError:
        faults.append(f"{where} has numbers that are too large for num2words; expected smaller ones")
    return {}


def _spoken(number: int, language: str) -> Iterator[str]:
    try:
        from num2words import CONVERTER_CLASSES, num2words
    except ImportError as error:
        raise ImportError(
            "numbers in a grammar need num2words: pip install -e '.[commands]', or write the numbers as a list of words"
        ) from error
    if language not in CONVERTER_CLASSES:  # num2words would use the first two letters: Spanish (es) for "estonian"
        raise NotImplementedError(language)
    said = " ".join(re.sub(r"[,-]", " ", num2words(number, lang=language)).split())
    yield said
    if " and " in said:
        yield said.replace(" and ", " ")
