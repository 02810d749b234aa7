"""Parse the phrases of a grammar: words, slots, choices, optional parts, parts in any order, and weights."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .grammar import AnyOrder, Choice, Part, Row, Token

MAX_ANY_ORDER = 5  # parts in any order: the automaton has a copy of each for every set before it, 5 * 2**4 = 80
OPEN = {"(": ")", "[": "]"}
PIECE = re.compile(r"(\s*)(?:\{(\w+)\}|([()\[\]|])|([^\s()\[\]{}|]+)|(\S))")
WEIGHT = re.compile(r"/([0-9]+(?:\.[0-9]+)?)/$")


@dataclass
class _Alternative:
    """An alternative as it is read: the parts of each of its pieces between `&`, and its weight."""

    pieces: list[list[Part]] = field(default_factory=lambda: [[]])
    weight: float | None = None

    @property
    def begins(self) -> bool:
        return self.weight is None and self.pieces == [[]]

    def close(self, faults: list[str]) -> Part:
        rows = [Row(tuple(parts)) for parts in self.pieces]
        if len(rows) == 1:
            return rows[0]
        if any(len(parts) != 1 for parts in self.pieces):
            faults.append(
                "'&' joins parts in any order; expected one word, slot or bracket on each side: write a ([b] & (c d)) e"
            )
        if len(rows) > MAX_ANY_ORDER:
            faults.append(f"'&' joins {len(rows)} parts in any order; expected at most {MAX_ANY_ORDER}")
        return AnyOrder(tuple(rows[:MAX_ANY_ORDER]))


def parse_phrase(phrase: str, find: Callable[[str], Part | str], faults: list[str]) -> Choice:
    """
    Return the alternatives of a phrase, and add what is wrong with it to `faults`.

    Args:
        phrase: for example `[/3/ please] turn {switch} (the light | /0.5/ all lights)`.
        find: returns the part that a `{name}` stands for, or what is wrong with the name.
        faults: the list to add to.
    """
    open_brackets: list[str] = []
    levels = [[_Alternative()]]  # for each open bracket its alternatives
    apart = True
    for space, name, bracket, word, stray in PIECE.findall(phrase):
        begins = bool(name or word or bracket in OPEN)
        if begins and not (apart or space):
            found = f"{{{name}}}" if name else bracket or word
            faults.append(f"{found!r} needs a space before it: only whole words can be optional or alternatives")
        apart = bracket in (*OPEN, "|") or bool(stray)
        alternative = levels[-1][-1]
        if stray:
            faults.append(f"unexpected {stray!r}; a slot or a part is written as {{name}}")
        elif name:
            part = find(name)
            if isinstance(part, str):
                faults.append(part)
            else:
                alternative.pieces[-1].append(part)
        elif bracket in OPEN:
            open_brackets.append(bracket)
            levels.append([_Alternative()])
        elif bracket == "|":
            levels[-1].append(_Alternative())
        elif bracket:
            if not open_brackets or OPEN[open_brackets[-1]] != bracket:
                faults.append(f"{bracket!r} has no opening bracket")
                continue
            choice = _close(levels.pop(), faults)
            if open_brackets.pop() == "[":
                choice = Choice((*choice.options, Row(())), (*choice.weights, 1.0))
            levels[-1][-1].pieces[-1].append(choice)
        elif word == "&":
            alternative.pieces.append([])
        elif weight := WEIGHT.match(word):
            if not alternative.begins or not float(weight[1]):
                faults.append(f"the weight {word!r} is 0 or in the middle; expected one above 0 before an alternative")
            alternative.weight = float(weight[1])
        else:
            alternative.pieces[-1].append(Token(word))
    faults += [f"{bracket!r} has no closing bracket" for bracket in open_brackets]
    return _close(levels[0], faults)


def _close(alternatives: list[_Alternative], faults: list[str]) -> Choice:
    options = tuple(alternative.close(faults) for alternative in alternatives)
    return Choice(options, tuple(1.0 if one.weight is None else one.weight for one in alternatives))
