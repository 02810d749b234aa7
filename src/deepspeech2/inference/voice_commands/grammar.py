"""Grammars of voice commands: commands, their phrases and slots, read from a YAML file.

>>> grammar = read_grammar(Path("recipes/commands/home.yaml"))
>>> grammar.commands["timer"], grammar.slots["minutes"]["twenty five"]
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config.suggestions import did_you_mean
from ...config.yaml_loader import read_yaml

MAX_NUMBERS = 20_000  # numbers in a slot, because all their spoken forms are written out
KEYS = ("commands", "slots", "language")
OPEN = {"(": ")", "[": "]"}
PIECE = re.compile(r"(\s*)(?:\{(\w+)\}|([()\[\]|])|([^\s()\[\]{}|]+)|(\S))")
SIGNS = re.compile(r"[()\[\]{}|]")

Value = str | int
Slots = Mapping[str, Mapping[str, Value]]  # slot name -> spoken words -> value


@dataclass(frozen=True)
class Token:
    """A word of a phrase."""

    text: str


@dataclass(frozen=True)
class Slot:
    """The place of a slot in a phrase."""

    name: str


@dataclass(frozen=True)
class Row:
    """A sequence of parts."""

    parts: tuple["Part", ...]


@dataclass(frozen=True)
class Choice:
    """Alternatives. An empty row among them makes the choice optional."""

    options: tuple["Part", ...]


Part = Token | Slot | Row | Choice


@dataclass(frozen=True)
class Grammar:
    """
    The sentences that a device understands.

    Args:
        commands: command name -> its phrases.
        slots: slot name -> spoken words -> value.
    """

    commands: Mapping[str, tuple[Part, ...]]
    slots: Slots


def read_grammar(path: Path) -> Grammar:
    """
    Read a grammar from a YAML file such as this one:

        commands:
          light: ["[please] turn (on|off) the light in the {room}", "lights {level} percent"]
          timer: set a timer for {minutes} minutes
        slots:
          room: {kitchen: kitchen, living room: living room, parlour: living room}
          colour: [red, green]
          level: {numbers: [0, 100, 10]}
          minutes: {numbers: [1, 99]}

    `(a|b)` is a choice. `[a]` and `(a|)` are optional. Words, slots and brackets need spaces between them. A slot is a
    list of words, or of `words: value` pairs. `numbers` is a range from, to and, optionally, step. num2words spells the
    numbers in the `language` of the file (default: `en`). The "and" in a number is optional, and hyphens are spaces.

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
    slots, commands = {}, {}
    given = {name: content.get(name, {}) for name in ("slots", "commands")}
    for name, value in given.items():
        if not isinstance(value, dict):
            faults.append(f"{name} is {value!r}; expected 'name: ...' pairs")
            given[name] = {}
    for name, value in given["slots"].items():
        slots[name] = _read_slot(f"slot {name!r}", name, value, language, faults)
    for name, value in given["commands"].items():
        commands[name] = _read_command(f"command {name!r}", name, value, slots, faults)
    if not content.get("commands"):
        faults.append("commands are missing; expected 'name: phrase' or 'name: [phrase, phrase]'")
    if faults:
        raise ValueError(f"{path} is not a valid grammar:" + "".join(f"\n  {fault}" for fault in faults))
    return Grammar(commands, slots)


def _text_fault(where: str, value: Any, expected: str = "words as they are said") -> str:
    if isinstance(value, bool):
        return f"{where} has {value}: YAML reads on, off, yes and no as true and false. Put the word in quotes"
    return f"{where} has {value!r}; expected {expected}"


def _read_slot(where: str, name: Any, given: Any, language: Any, faults: list[str]) -> dict[str, Value]:
    if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
        faults.append(
            f"{where}: expected a name of letters, digits and _. Put it in quotes if YAML reads it as something else"
        )
    if isinstance(given, dict) and "numbers" in given:
        return _read_numbers(where, given, language, faults)
    if not isinstance(given, (list, dict)) or not given:
        faults.append(f"{where} is {given!r}; expected a list of words, {{said: value}}, or {{numbers: [from, to]}}")
        return {}
    values: dict[str, Value] = {}
    for text, value in given.items() if isinstance(given, dict) else [(said, None) for said in given]:
        if not isinstance(text, str) or not text.strip():
            faults.append(_text_fault(where, text))
            continue
        said = " ".join(text.split())
        value = value if isinstance(given, dict) else said
        if SIGNS.search(said):
            faults.append(f"{where} has {said!r}; expected only words: make each alternative an entry of its own")
        elif isinstance(value, bool) or not isinstance(value, (str, int)):
            faults.append(_text_fault(f"the value of {said!r} in {where}", value, "text or a whole number"))
        elif values.setdefault(said, value) != value:
            faults.append(f"{where} gives {said!r} two values, {values[said]!r} and {value!r}")
    return values


def _read_numbers(where: str, given: dict, language: Any, faults: list[str]) -> dict[str, Value]:
    bounds = given.get("numbers")
    if set(given) != {"numbers"} or not isinstance(bounds, list) or len(bounds) not in (2, 3):
        faults.append(f"{where} is {given!r}; expected {{numbers: [from, to]}} or {{numbers: [from, to, step]}}")
        return {}
    if not all(type(bound) is int for bound in bounds) or bounds[0] > bounds[1] or (len(bounds) == 3 and bounds[2] < 1):
        faults.append(f"{where} has numbers {bounds}; expected whole numbers: from, to, and a step of 1 or more")
        return {}
    first, last, step = (*bounds, 1)[:3]
    count = (last - first) // step + 1
    if count > MAX_NUMBERS:
        faults.append(f"{where} has {count:,} numbers; expected at most {MAX_NUMBERS:,}: use a step, or two slots")
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


def _read_command(where: str, name: Any, given: Any, slots: Slots, faults: list[str]) -> tuple[Part, ...]:
    if not isinstance(name, str):
        faults.append(_text_fault("commands", name))
    phrases = given if isinstance(given, list) else [given]
    if not phrases:
        faults.append(f"{where} has no phrase; expected a phrase or a list of phrases")
    read = []
    for phrase in phrases:
        if not isinstance(phrase, str):
            faults.append(_text_fault(where, phrase))
            continue
        found = list[str]()
        part = _parse(phrase, slots, found)
        if not found and _may_be_nothing(part):
            found.append("all of it is optional; expected at least one word that must be said")
        faults += [f"{where}, phrase {phrase!r}: {fault}" for fault in found]
        read.append(part)
    return tuple(read)


def _parse(phrase: str, slots: Slots, faults: list[str]) -> Part:
    """Parse a phrase, and add what is wrong with it to `faults`."""
    open_brackets: list[str] = []
    levels: list[list[list[Part]]] = [[[]]]  # for each open bracket its alternatives, and for each of those its parts
    apart = True
    for space, slot, bracket, word, stray in PIECE.findall(phrase):
        begins = bool(slot or word or bracket in OPEN)
        if begins and not (apart or space):
            found = f"{{{slot}}}" if slot else bracket or word
            faults.append(f"{found!r} needs a space before it: only whole words can be optional or alternatives")
        apart = bracket in (*OPEN, "|") or bool(stray)
        if slot and slot not in slots:
            faults.append(f"there is no slot {slot!r}{did_you_mean(slot, slots)}")
        elif stray:
            faults.append(f"unexpected {stray!r}; a slot is written as {{name}}")
        elif bracket in OPEN:
            open_brackets.append(bracket)
            levels.append([[]])
        elif bracket == "|":
            levels[-1].append([])
        elif bracket:
            if not open_brackets or OPEN[open_brackets[-1]] != bracket:
                faults.append(f"{bracket!r} has no opening bracket")
                continue
            options = [Row(tuple(parts)) for parts in levels.pop()]
            if open_brackets.pop() == "[":
                options.append(Row(()))
            levels[-1][-1].append(Choice(tuple(options)))
        else:
            levels[-1][-1].append(Slot(slot) if slot else Token(word))
    faults += [f"{bracket!r} has no closing bracket" for bracket in open_brackets]
    return Choice(tuple(Row(tuple(parts)) for parts in levels[0]))


def _may_be_nothing(part: Part) -> bool:
    if isinstance(part, Row):
        return all(map(_may_be_nothing, part.parts))
    return isinstance(part, Choice) and any(map(_may_be_nothing, part.options))
