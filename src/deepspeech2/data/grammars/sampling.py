"""
Draw sentences of a grammar, balanced over commands, alternatives, values and lengths.

>>> sentences = sample_sentences(grammar, np.random.default_rng(0))
>>> next(sentences)
Sentence(text='turn on the light in the kitchen', command='light', slots={'switch': 'on', ...})
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .grammar import AnyOrder, Choice, Grammar, Part, Row, Token, Value

SPREAD = 3.0  # draws by which equal alternatives may differ. With 1, sentences would come in opposite pairs
CANDIDATES = 8  # sentences drawn for each one that is given: the one whose length is rarest so far
MAX_REPEATS = 1000  # sentences in a row that were given before, after which the grammar has run out


@dataclass(frozen=True)
class Sentence:
    """
    A sentence of a grammar.

    Args:
        text: the words as the grammar has them.
        command: the name of the command.
        slots: slot name -> value. A slot that occurs twice has its last value.
    """

    text: str
    command: str
    slots: dict[str, Value]


def sample_sentences(grammar: Grammar, rng: np.random.Generator) -> Iterator[Sentence]:
    """
    Yield different sentences, until there are no more or 1,000 in a row were given before.

    Commands take turns. At each choice, the alternative or value comes next that was drawn least for its weight, and at
    random among equals. So a hundred sentences already have each value about as often as they should. Of eight
    sentences that are equally good by this, the one is taken whose length is the rarest so far.
    """
    sampler = _Sampler(grammar, rng)
    given: set[str] = set()
    repeats = 0
    while repeats < MAX_REPEATS:
        sentence = sampler.draw(given)
        repeats = repeats + 1 if sentence.text in given else 0
        if not repeats:
            given.add(sentence.text)
            yield sentence


@dataclass
class _Draft:
    """A sentence that is being drawn: its words, values, and what was chosen at each choice."""

    words: list[str] = field(default_factory=list)
    slots: dict[str, Value] = field(default_factory=dict)
    chosen: list[tuple[object, int]] = field(default_factory=list)


class _Sampler:
    """Draws sentences, and remembers how often each alternative was drawn."""

    def __init__(self, grammar: Grammar, rng: np.random.Generator) -> None:
        self.grammar, self.rng = grammar, rng
        self.names = list(grammar.commands)
        self.sayings = {name: list(values) for name, values in grammar.slots.items()}
        self.weights = {
            name: np.array([grammar.weights.get(name, {}).get(said, 1.0) for said in sayings])
            for name, sayings in self.sayings.items()
        }
        self.drawn: dict[object, np.ndarray] = {}  # how often each option of a choice was drawn
        self.lengths: Counter[tuple[str, int]] = Counter()

    def draw(self, given: set[str]) -> Sentence:
        """Draw a sentence, if possible one that is not in `given`."""
        turn = self._choose(None, np.ones(len(self.names)))
        self._remember([(None, turn)])
        name = self.names[turn]
        drafts = []
        for _ in range(CANDIDATES):
            draft = _Draft()
            self._extend(draft, self.grammar.commands[name])
            drafts.append(draft)
        best = min(drafts, key=lambda one: (" ".join(one.words) in given, self.lengths[name, len(one.words)]))
        self._remember(best.chosen)
        self.lengths[name, len(best.words)] += 1
        return Sentence(" ".join(best.words), name, best.slots)

    def _extend(self, draft: _Draft, part: Part) -> None:
        if isinstance(part, Token):
            draft.words.append(part.text)
        elif isinstance(part, Row):
            for one in part.parts:
                self._extend(draft, one)
        elif isinstance(part, AnyOrder):
            for one in self.rng.permutation(len(part.parts)):
                self._extend(draft, part.parts[one])
        elif isinstance(part, Choice):
            option = self._choose(id(part), part.weights)
            draft.chosen.append((id(part), option))
            self._extend(draft, part.options[option])
        else:
            option = self._choose(("slot", part.name), self.weights[part.name])
            draft.chosen.append((("slot", part.name), option))
            said = self.sayings[part.name][option]
            draft.words += said.split()
            draft.slots[part.name] = self.grammar.slots[part.name][said]

    def _choose(self, key: object, weights: Sequence[float] | np.ndarray) -> int:
        """Return the option that was drawn least for its weight, and a random one of those that are about equal."""
        if key not in self.drawn:
            self.drawn[key] = np.zeros(len(weights))
        return int(np.argmin((self.drawn[key] + SPREAD * self.rng.random(len(weights))) / weights))

    def _remember(self, chosen: Sequence[tuple[object, int]]) -> None:
        for key, option in chosen:
            self.drawn[key][option] += 1
