"""What may be said to a device: commands, their phrases and slots, as a YAML file declares them.

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

MAX_NUMBERS = 20_000  # of a slot; their spoken forms are written out
KEYS = ("commands", "slots", "language")
OPEN = {"(": ")", "[": "]"}
PIECE = re.compile(r"(\s*)(?:\{(\w+)\}|([()\[\]|])|([^\s()\[\]{}|]+)|(\S))")
SIGNS = re.compile(r"[()\[\]{}|]")

Value = str | int
Slots = Mapping[str, Mapping[str, Value]]  # name -> what is said -> what it means


@dataclass(frozen=True)
class Token:
    """A word that is said as it is written."""

    text: str


@dataclass(frozen=True)
class Slot:
    name: str


@dataclass(frozen=True)
class Row:
    """Parts, one after the other."""

    parts: tuple["Part", ...]


@dataclass(frozen=True)
class Choice:
    """One of several; an empty row among them makes it optional."""

    options: tuple["Part", ...]


Part = Token | Slot | Row | Choice


@dataclass(frozen=True)
class Grammar:
    """
    Args:
        commands: name -> its phrases.
        slots: name -> what may be said there -> its value.
    """

    commands: Mapping[str, tuple[Part, ...]]
    slots: Slots


def read_grammar(path: Path) -> Grammar:
    """
    Reads

        commands:
          light: ["[please] turn (on|off) the light in the {room}", "lights {level} percent"]
          timer: set a timer for {minutes} minutes
        slots:
          room: {kitchen: kitchen, living room: living room, parlour: living room}
          colour: [red, green]
          level: {numbers: [0, 100, 10]}
          minutes: {numbers: [1, 99]}

    `(a|b)` is one of both, `[a]` and `(a|)` may be left out; words, slots and brackets stand apart. A slot is a list of
    what may be said, or `said: value` pairs. Numbers, from, to and step, are spoken as num2words has them, in the
    `language` of the file, `en` unless given; an "and" and a hyphen in them may be left out.

    Raises:
        ValueError: every fault of the file, each with its place.
        ImportError: numbers without num2words.
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
            f"language is {language!r}; expected its code, such as 'en'; 'no' in quotes: YAML reads it as false"
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
        raise ValueError(f"{path} is no grammar:" + "".join(f"\n  {fault}" for fault in faults))
    return Grammar(commands, slots)


def _text_fault(where: str, value: Any, expected: str = "words, as they are said") -> str:
    if isinstance(value, bool):
        return f"{where} has {value}: YAML reads on, off, yes and no as true and false; put the word in quotes"
    return f"{where} has {value!r}; expected {expected}"


def _read_slot(where: str, name: Any, given: Any, language: Any, faults: list[str]) -> dict[str, Value]:
    if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
        faults.append(f"{where}: a slot's name is letters, digits and _; in quotes, where YAML reads another thing")
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
            faults.append(f"{where} has {said!r}; expected words alone: each thing that may be said is an entry")
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
        faults.append(f"{where} has numbers {bounds}; expected whole ones: from, to, and a step of 1 or more")
        return {}
    first, last, step = (*bounds, 1)[:3]
    count = (last - first) // step + 1
    if count > MAX_NUMBERS:
        faults.append(f"{where} has {count:,} numbers; expected up to {MAX_NUMBERS:,}: a step, or two slots")
        return {}
    if not isinstance(language, str):
        return {}
    try:
        return {said: number for number in range(first, last + 1, step) for said in _spoken(number, language)}
    except NotImplementedError:
        faults.append(f"language is {language!r}; num2words does not speak it: write the numbers out as a list")
    except OverflowError:
        faults.append(f"{where} has numbers that num2words cannot say; expected smaller ones")
    return {}


def _spoken(number: int, language: str) -> Iterator[str]:
    try:
        from num2words import CONVERTER_CLASSES, num2words
    except ImportError as error:
        raise ImportError(
            "numbers in a grammar need num2words: pip install -e '.[commands]', or write them out as a list"
        ) from error
    if language not in CONVERTER_CLASSES:  # it would take the first two letters: of estonian, Spanish
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
        faults.append(f"{where} has no phrase; expected one, or a list of them")
    read = []
    for phrase in phrases:
        if not isinstance(phrase, str):
            faults.append(_text_fault(where, phrase))
            continue
        found = list[str]()
        part = _parse(phrase, slots, found)
        if not found and _may_be_nothing(part):
            found.append("all of it may be left out; expected a word that must be said")
        faults += [f"{where}, phrase {phrase!r}: {fault}" for fault in found]
        read.append(part)
    return tuple(read)


def _parse(phrase: str, slots: Slots, faults: list[str]) -> Part:
    """Notes what is wrong with the phrase in `faults`."""
    open_brackets: list[str] = []
    levels: list[list[list[Part]]] = [[[]]]  # of each open bracket its alternatives, of each of them its parts
    apart = True
    for space, slot, bracket, word, stray in PIECE.findall(phrase):
        begins = bool(slot or word or bracket in OPEN)
        if begins and not (apart or space):
            found = f"{{{slot}}}" if slot else bracket or word
            faults.append(f"{found!r} touches what is before it; expected a space: a part is one word or more")
        apart = bracket in (*OPEN, "|") or bool(stray)
        if slot and slot not in slots:
            faults.append(f"there is no slot {slot!r}{did_you_mean(slot, slots)}")
        elif stray:
            faults.append(f"{stray!r} is not expected here; a slot is written as {{name}}")
        elif bracket in OPEN:
            open_brackets.append(bracket)
            levels.append([[]])
        elif bracket == "|":
            levels[-1].append([])
        elif bracket:
            if not open_brackets or OPEN[open_brackets[-1]] != bracket:
                faults.append(f"{bracket!r} closes nothing")
                continue
            options = [Row(tuple(parts)) for parts in levels.pop()]
            if open_brackets.pop() == "[":
                options.append(Row(()))
            levels[-1][-1].append(Choice(tuple(options)))
        else:
            levels[-1][-1].append(Slot(slot) if slot else Token(word))
    faults += [f"{bracket!r} is never closed" for bracket in open_brackets]
    return Choice(tuple(Row(tuple(parts)) for parts in levels[0]))


def _may_be_nothing(part: Part) -> bool:
    if isinstance(part, Row):
        return all(map(_may_be_nothing, part.parts))
    return isinstance(part, Choice) and any(map(_may_be_nothing, part.options))
