"""
The automaton of a grammar after V. Glushkov (1961): one position per symbol, and no empty transitions.

A symbol is a word here or a letter elsewhere. What a word or a slot is, the classes made from this one say.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .grammar import AnyOrder, Part, Row, Slot, Token


@dataclass(frozen=True)
class Fragment:
    """A part of the automaton: the positions that it may begin and end with, and whether it may be skipped."""

    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()
    optional: bool = False


class PositionBuilder:
    """
    Collects the positions of a grammar and the transitions between them.

    Attributes:
        steps: the transitions, from a position to one that may follow it.
    """

    def __init__(self) -> None:
        self.steps: set[tuple[int, int]] = set()

    def add_token(self, token: Token) -> Fragment:
        """Add a word."""
        raise NotImplementedError

    def add_slot(self, slot: Slot) -> Fragment:
        """Add the words of a slot."""
        raise NotImplementedError

    def add(self, part: Part) -> Fragment:
        """Add a part and all that is in it."""
        if isinstance(part, Token):
            return self.add_token(part)
        if isinstance(part, Slot):
            return self.add_slot(part)
        if isinstance(part, AnyOrder):
            return self._add_any_order(part.parts)
        if isinstance(part, Row):
            whole = Fragment(optional=True)
            for one in map(self.add, part.parts):
                self.connect(whole.last, one.first)
                whole = Fragment(
                    whole.first + (one.first if whole.optional else ()),
                    one.last + (whole.last if one.optional else ()),
                    whole.optional and one.optional,
                )
            return whole
        options = [self.add(option) for option in part.options]
        return Fragment(
            tuple(place for option in options for place in option.first),
            tuple(place for option in options for place in option.last),
            any(option.optional for option in options),
        )

    def connect(self, before: Iterable[int], behind: Sequence[int]) -> None:
        self.steps.update((source, target) for source in before for target in behind)

    def _add_any_order(self, parts: Sequence[Part]) -> Fragment:
        """Add parts in any order: a copy of each part for every set of the others that may have been said before it."""
        count = len(parts)
        copies = {
            (said, one): self.add(parts[one]) for said in range(2**count) for one in range(count) if not said >> one & 1
        }
        needed = sum(1 << one for one in range(count) if not copies[0, one].optional)  # a set, as bits
        first: tuple[int, ...] = ()
        last: tuple[int, ...] = ()
        for (said, one), copy in copies.items():
            after = said | 1 << one
            for other in range(count):
                if not after >> other & 1:
                    self.connect(copy.last, copies[after, other].first)
            if not said:
                first += copy.first
            if not needed & ~after:
                last += copy.last
        return Fragment(first, last, not needed)
