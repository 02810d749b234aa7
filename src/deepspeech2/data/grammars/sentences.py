"""The sentences of a grammar: how many there are, and which of them have two meanings."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from .grammar import Grammar, Slot, Token, Value
from .positions import Fragment, PositionBuilder

Differences = tuple[tuple[str, tuple[Value | None, Value | None]], ...]  # slot -> the values of two readings
Pair = tuple[int, int, Differences]


@dataclass(frozen=True)
class Meaning:
    """A command with the values of its slots."""

    command: str
    slots: Mapping[str, Value]

    def __str__(self) -> str:
        return f"{self.command}({', '.join(f'{name} {value!r}' for name, value in self.slots.items())})"


@dataclass(frozen=True)
class Ambiguity:
    """A sentence with two meanings, the shortest of those that differ in the same commands, or slots of a command."""

    text: str
    meanings: tuple[Meaning, Meaning]


@dataclass(frozen=True)
class SentenceCount:
    """How many different sentences there are, and the words of the shortest and the longest of them."""

    count: int
    shortest: int
    longest: int


class SentenceGraph(PositionBuilder):
    """
    The automaton of a grammar's words. A position that ends a value of a slot holds the value.

    Args:
        grammar: the grammar.
        spell: how a word is compared with others, for example the model's `normalize_text`.
    """

    def __init__(self, grammar: Grammar, spell: Callable[[str], str] = str.lower) -> None:
        super().__init__()
        self.grammar, self.spell = grammar, spell
        self.words: list[str] = []
        self.commands: list[str] = []  # of each position
        self.values: list[tuple[str, Value] | None] = []
        self.first: dict[str, tuple[int, ...]] = {}  # command name -> positions
        self.last: set[int] = set()
        self._command = ""
        for self._command, part in grammar.commands.items():
            fragment = self.add(part)
            self.first[self._command] = fragment.first
            self.last.update(fragment.last)
        following: dict[int, set[int]] = {}
        for source, target in self.steps:
            following.setdefault(source, set()).add(target)
        self.follow = [frozenset(following.get(place, ())) for place in range(len(self.words))]

    def add_token(self, token: Token) -> Fragment:
        places = [self._new(word) for word in self.spell(token.text).split()]
        self.steps.update(pairwise(places))
        return Fragment(tuple(places[:1]), tuple(places[-1:]), not places)

    def add_slot(self, slot: Slot) -> Fragment:
        """Add a tree of the slot's words. A word that ends a value and begins another is there twice."""
        begun: dict[tuple[str, ...], int] = {}
        first, last = [], []
        for said, value in self.grammar.slots[slot.name].items():
            words = tuple(self.spell(said).split())
            if not words:
                continue
            before = None
            for end in range(1, len(words) + 1):
                if known := begun.get(words[:end]) if end < len(words) else None:
                    before = known
                    continue
                place = self._new(words[end - 1])
                if before is None:
                    first.append(place)
                else:
                    self.steps.add((before, place))
                if end < len(words):
                    begun[words[:end]] = place
                before = place
            self.values[place] = (slot.name, value)
            last.append(place)
        return Fragment(tuple(first), tuple(last))

    def _new(self, word: str) -> int:
        self.words.append(word)
        self.commands.append(self._command)
        self.values.append(None)
        return len(self.words) - 1

    def by_word(self, places: Iterable[int]) -> dict[str, list[int]]:
        """Group positions by their word."""
        groups: dict[str, list[int]] = {}
        for place in places:
            groups.setdefault(self.words[place], []).append(place)
        return groups

    def count(self, *commands: str) -> SentenceCount:
        """Count the different sentences of some commands, or of all. No sentence is written out."""
        known: dict[frozenset[int], SentenceCount] = {}

        def endings(places: frozenset[int]) -> SentenceCount:
            """Count the sequences of words that begin at one of these positions and end a sentence."""
            if places in known:
                return known[places]
            counts = []
            for group in self.by_word(places).values():
                if not self.last.isdisjoint(group):
                    counts.append(SentenceCount(1, 1, 1))
                if behind := frozenset[int]().union(*(self.follow[place] for place in group)):
                    rest = endings(behind)
                    counts.append(SentenceCount(rest.count, 1 + rest.shortest, 1 + rest.longest))
            known[places] = SentenceCount(
                sum(one.count for one in counts),
                min(one.shortest for one in counts),
                max(one.longest for one in counts),
            )
            return known[places]

        return endings(frozenset(place for name in commands or self.first for place in self.first[name]))

    def ambiguities(self) -> Iterator[Ambiguity]:
        """
        Find sentences with two meanings, one for each pair of commands or set of slots in which they differ.

        The search walks two readings of the same words side by side. It remembers in what they differ, not what they
        share, so it visits pairs of positions, not sentences. For this reason it may miss an ambiguity of a slot that
        occurs twice in a sentence.
        """
        before = self._shortest_ways()
        came: dict[Pair, Pair | None] = {}
        waiting: deque[Pair] = deque()

        def visit(pair: Pair, source: Pair | None) -> None:
            if (pair[0] != pair[1] or pair[2]) and pair not in came:
                came[pair] = source
                waiting.append(pair)

        starts = [frozenset(place for places in self.first.values() for place in places)]
        for places in starts + [self.follow[place] for place in before]:
            for group in self.by_word(sorted(places)).values():
                for number, one in enumerate(group):
                    for other in group[number + 1 :]:
                        visit(self._pair(one, other, ()), None)
        found: set[tuple[frozenset[str], frozenset[str]]] = set()
        while waiting:
            pair = waiting.popleft()
            one, other, differences = pair
            if one in self.last and other in self.last and (differences or self.commands[one] != self.commands[other]):
                ambiguity = self._read_back(pair, came, before)
                left, right = ambiguity.meanings
                names = {*left.slots, *right.slots}
                differing = frozenset(name for name in names if left.slots.get(name) != right.slots.get(name))
                same = left.command == right.command
                kind = (frozenset([left.command, right.command]), differing if same else frozenset[str]())
                if left != right and kind not in found:
                    found.add(kind)
                    yield ambiguity
            groups = self.by_word(self.follow[other])
            for following in sorted(self.follow[one]):
                for behind in groups.get(self.words[following], ()):
                    visit(self._pair(following, behind, differences), pair)

    def _pair(self, one: int, other: int, differences: Differences) -> Pair:
        """Return a pair of positions, with the slots whose values differ after them."""
        if self.commands[one] != self.commands[other]:
            return one, other, ()
        changed = dict(differences)
        if value := self.values[one]:
            changed[value[0]] = (value[1], changed.get(value[0], (None, None))[1])
        if value := self.values[other]:
            changed[value[0]] = (changed.get(value[0], (None, None))[0], value[1])
        return one, other, tuple(sorted((name, both) for name, both in changed.items() if both[0] != both[1]))

    def _shortest_ways(self) -> dict[int, int | None]:
        """Return for each position the one before it on a shortest way from the beginning, or None at the beginning."""
        before: dict[int, int | None] = {place: None for places in self.first.values() for place in places}
        waiting = deque(before)
        while waiting:
            place = waiting.popleft()
            for following in sorted(self.follow[place]):
                if following not in before:
                    before[following] = place
                    waiting.append(following)
        return before

    def _read_back(
        self, pair: Pair | None, came: Mapping[Pair, Pair | None], before: Mapping[int, int | None]
    ) -> Ambiguity:
        """Return the sentence that ends at a pair of positions, and its two meanings."""
        ways: list[tuple[int, int]] = []
        while pair is not None:
            ways.insert(0, pair[:2])
            pair = came[pair]
        shared = self._common_way(*ways[0], before)
        readings = [shared + [places[side] for places in ways] for side in (0, 1)]
        left, right = (
            Meaning(self.commands[way[-1]], dict(filter(None, (self.values[place] for place in way))))
            for way in readings
        )
        return Ambiguity(" ".join(self.words[place] for place in readings[0]), (left, right))

    def _common_way(self, one: int, other: int, before: Mapping[int, int | None]) -> list[int]:
        """Return a shortest way to a position that both may follow, or nothing if both may begin a sentence."""
        if before[one] is None and before[other] is None:
            return []
        place: int | None = next(place for place in before if {one, other} <= self.follow[place])
        way: list[int] = []
        while place is not None:
            way.insert(0, place)
            place = before[place]
        return way
