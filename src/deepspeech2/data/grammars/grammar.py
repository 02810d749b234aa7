"""A grammar as data: commands, the parts of their phrases, and the values of their slots."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

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
    """Alternatives and their weights. An empty row among them makes the choice optional."""

    options: tuple["Part", ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class AnyOrder:
    """Parts that are said in any order, each once. Those that may be nothing are said at most once."""

    parts: tuple["Part", ...]


Part = Token | Slot | Row | Choice | AnyOrder


@dataclass(frozen=True)
class Grammar:
    """
    The sentences that a device understands.

    Args:
        commands: command name -> what may be said.
        slots: slot name -> spoken words -> value.
        weights: slot name -> spoken words -> how often they are drawn, relative to the slot's other words. 1 if absent.
    """

    commands: Mapping[str, Part]
    slots: Slots
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def leaves(part: Part) -> Iterator[Token | Slot]:
    """Yield the words and slots of a part."""
    if isinstance(part, Token | Slot):
        yield part
    else:
        for one in part.options if isinstance(part, Choice) else part.parts:
            yield from leaves(one)


def spoken_texts(grammar: Grammar) -> list[str]:
    """Return the words and the phrases of slots that the commands of a grammar use, each leaf once."""
    found = dict.fromkeys(leaf for command in grammar.commands.values() for leaf in leaves(command))
    return [text for leaf in found for text in (grammar.slots[leaf.name] if isinstance(leaf, Slot) else [leaf.text])]


def may_be_nothing(part: Part) -> bool:
    """Return whether a part may be left out."""
    if isinstance(part, Row | AnyOrder):
        return all(map(may_be_nothing, part.parts))
    return isinstance(part, Choice) and any(map(may_be_nothing, part.options))
