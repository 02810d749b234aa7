"""Compile a grammar to an automaton of letters, and find the likeliest CTC path through it.

It is a Glushkov automaton (V. Glushkov, 1961): one state per letter of the grammar, and no empty transitions. The words
of a slot share their beginnings and ends, so ten thousand numbers take about a hundred letters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...data.grammars.grammar import Grammar, Slot, Token, spoken_texts
from ...data.grammars.positions import Fragment, PositionBuilder
from ...decoding.decoder import Speller
from ...system.characters import describe_character

BEGIN, FINISH = -1, -2  # silence before and after a command
BEFORE, AFTER = -3, -4  # fillers there
NEVER = np.float32(-np.inf)
# Fillers: speech that is not in the grammar, before, between and after the words of a sentence, such as hesitations,
# false starts and noise. A filler counts as the garbage path does, less a cost in nats: to begin, and for each frame
# whose likeliest symbol is not the blank.
FILLER_COST, FILLER_LETTER_COST = 8.0, 2.0


@dataclass
class Graph:
    """
    The letters of a grammar and the transitions between them. Each word except the first begins with a space.

    Args:
        letters: (N,) the id of each letter.
        commands: (N,) the index of each letter's command.
        slots: (N,) each letter's slot, as an index of `slot_names`. -1 means no slot.
        slot_names: the name of each occurrence of a slot in the phrases.
        first, last: the positions of the letters that a command may begin and end with.
        sources, targets: (E,) the transitions from a letter to one that may follow it, ordered by target.
        space: the id of the space, which begins a word.
    """

    letters: np.ndarray
    commands: np.ndarray
    slots: np.ndarray
    slot_names: list[str]
    first: np.ndarray
    last: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    space: int
    _starts: np.ndarray = field(init=False, repr=False)
    _reached: np.ndarray = field(init=False, repr=False)
    _same: np.ndarray = field(init=False, repr=False)
    _by_source: np.ndarray = field(init=False, repr=False)
    _targets_by_source: np.ndarray = field(init=False, repr=False)
    _ends: np.ndarray = field(init=False, repr=False)
    _gaps: np.ndarray = field(init=False, repr=False)
    _end_of_gap: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._reached, self._starts = np.unique(self.targets, return_index=True)
        self._same = self.letters[self.sources] == self.letters[self.targets]
        self._gaps = np.flatnonzero(self.letters[self.targets] == self.space)  # transitions from word to word
        self._ends, self._end_of_gap = np.unique(self.sources[self._gaps], return_inverse=True)
        order = np.argsort(self.sources, kind="stable")
        self._by_source, self._targets_by_source = self.sources[order], self.targets[order]

    def best_path(self, log_probs: np.ndarray, blank: int) -> "BestPath | None":
        """
        Find the likeliest path that spells one complete command. Blanks, spaces and, at a cost, any other speech may
        come before, between and after its words.

        Args:
            log_probs: (T, V) float32.
            blank: id of the blank.

        Returns:
            The path, or None if T frames are too few for any command.
        """
        count, num_frames = len(self.letters), len(log_probs)
        # Scores after each frame: of the letters, of the blanks and the fillers after them, and of BEGIN, BEFORE,
        # FINISH and AFTER.
        letter = np.full((num_frames + 1, count), NEVER)
        silent = np.full((num_frames + 1, count), NEVER)
        filler = np.full((num_frames + 1, len(self._ends)), NEVER)
        outside = np.full((num_frames + 1, 4), NEVER)
        outside[0, :2] = 0.0, -FILLER_COST
        emitted = log_probs[:, self.letters]
        best = log_probs.argmax(axis=1)
        skipped = log_probs.max(axis=1) - np.where(best == blank, 0, np.float32(FILLER_LETTER_COST))
        free = np.maximum(log_probs[:, blank], log_probs[:, self.space])
        for frame in range(num_frames):
            here, between = letter[frame], silent[frame]
            either = np.maximum(here, between)
            steps = np.maximum(between[self.sources], np.where(self._same, NEVER, here[self.sources]))
            steps[self._gaps] = np.maximum(steps[self._gaps], filler[frame, self._end_of_gap])
            entered = np.full(count, NEVER)
            if len(steps):
                entered[self._reached] = np.maximum.reduceat(steps, self._starts)
            entered[self.first] = np.maximum(entered[self.first], outside[frame, :2].max())
            letter[frame + 1] = emitted[frame] + np.maximum(here, entered)
            silent[frame + 1] = log_probs[frame, blank] + either
            filler[frame + 1] = skipped[frame] + np.maximum(filler[frame], either[self._ends] - FILLER_COST)
            begun, before, finished, after = outside[frame]
            finished = max(finished, either[self.last].max())
            outside[frame + 1] = (
                free[frame] + begun,
                skipped[frame] + before,
                free[frame] + finished,
                skipped[frame] + max(after, finished - FILLER_COST),
            )
        ends = np.concatenate([outside[-1, 2:], letter[-1, self.last], silent[-1, self.last]])
        if not np.isfinite(ends.max()):
            return None
        states = [(FINISH, AFTER, *self.last, *(count + self.last))[int(ends.argmax())]]
        for frame in range(num_frames - 1, 0, -1):
            states.append(self._before(states[-1], letter[frame], silent[frame], filler[frame], outside[frame]))
        states.reverse()
        scores = [
            self._score(state, letter[frame], silent[frame], filler[frame], outside[frame])
            for frame, state in enumerate(states, start=1)
        ]
        return BestPath(np.array(states), np.diff(scores, prepend=0.0), count)

    def _score(
        self, state: int, letter: np.ndarray, silent: np.ndarray, filler: np.ndarray, outside: np.ndarray
    ) -> float:
        """Return the score of a state, given the scores of its frame."""
        count = len(self.letters)
        if state < 0:
            return float(outside[(BEGIN, BEFORE, FINISH, AFTER).index(state)])
        if state >= 2 * count:
            return float(filler[np.searchsorted(self._ends, state - 2 * count)])
        return float(silent[state - count] if state >= count else letter[state])

    def words(self, path: "BestPath") -> np.ndarray:
        """Return the word of each frame of a path, (T,), from 0. What is outside belongs to the first or last word."""
        inside = path.states >= 0
        letters = path.states % path.count
        begins = inside & (self.letters[letters] == self.space) & np.r_[True, np.diff(letters) != 0]
        return np.cumsum(begins)

    def _before(
        self, state: int, letter: np.ndarray, silent: np.ndarray, filler: np.ndarray, outside: np.ndarray
    ) -> int:
        """Return the previous state of the best path to `state`, given the scores of the previous frame."""
        count = len(self.letters)
        if state in (BEGIN, BEFORE):
            return state
        if state in (FINISH, AFTER):
            cost = FILLER_COST if state == AFTER else 0.0
            choices = [(outside[2] - cost, FINISH)] + ([(outside[3], AFTER)] if state == AFTER else [])
            choices += [(letter[place] - cost, place) for place in self.last]
            choices += [(silent[place] - cost, count + place) for place in self.last]
        elif state >= 2 * count:
            end = state - 2 * count
            choices = [(filler[np.searchsorted(self._ends, end)], state)]
            choices += [(letter[end] - FILLER_COST, end), (silent[end] - FILLER_COST, count + end)]
        elif state >= count:
            choices = [(silent[state - count], state), (letter[state - count], state - count)]
        else:
            choices = [(letter[state], state)]
            for step in range(*np.searchsorted(self.targets, [state, state + 1])):
                source = self.sources[step]
                choices.append((silent[source], count + source))
                if not self._same[step]:
                    choices.append((letter[source], source))
                if self.letters[state] == self.space:
                    choices.append((filler[np.searchsorted(self._ends, source)], 2 * count + source))
            if state in self.first:
                choices += [(outside[0], BEGIN), (outside[1], BEFORE)]
        return int(max(choices, key=lambda choice: choice[0])[1])

    def spell(self, ids: Sequence[int]) -> list[int] | None:
        """Return the positions of the letters that spell a text of at least one letter, or None if there are none."""
        paths = {int(place): [int(place)] for place in self.first if self.letters[place] == ids[0]}
        for letter in ids[1:]:
            longer: dict[int, list[int]] = {}
            for source, path in paths.items():
                steps = slice(*np.searchsorted(self._by_source, [source, source + 1]))
                for target in self._targets_by_source[steps]:
                    if self.letters[target] == letter:
                        longer.setdefault(int(target), [*path, int(target)])
            paths = longer
        return next((path for place, path in paths.items() if place in self.last), None)


@dataclass(frozen=True)
class BestPath:
    """
    A path through the automaton.

    Args:
        states: (T,) the state of each frame: the position of a letter, N + the position of the letter before a blank,
            2 N + that of the letter before a filler, or BEGIN, BEFORE, AFTER or FINISH.
        gains: (T,) the log-probability of each frame, less the cost of a filler.
        count: the number of letters, N.
    """

    states: np.ndarray
    gains: np.ndarray
    count: int

    @property
    def score(self) -> float:
        """The log-probability of the path."""
        return float(self.gains.sum())

    @property
    def letters(self) -> list[int]:
        """The positions of the letters, each once, in order."""
        inside = self.states[self.states >= 0] % self.count
        return inside[np.r_[True, np.diff(inside) != 0]].tolist() if len(inside) else []


def build_graph(grammar: Grammar, processor: Speller) -> Graph:
    """
    Build the automaton of a grammar in the model's spelling.

    Raises:
        ValueError: words have characters outside the vocabulary, or are empty after normalisation. The message lists
            all of them.
    """
    if faults := unwritable_words(grammar, processor):
        raise ValueError(
            f"the grammar has {len(faults)} words that the model cannot write: "
            + "; ".join(faults)
            + ". Write them as they are said, with letters of the model's vocabulary"
        )
    builder = _Builder(grammar, processor)
    first: list[int] = []
    last: list[int] = []
    for builder.command, command in enumerate(grammar.commands.values()):
        fragment = builder.add(command)
        first += fragment.first
        last += fragment.last
    spaces = set(first)  # the first word has no space before it
    first = sorted({target for source, target in builder.steps if source in spaces})
    steps = np.array(sorted(builder.steps, key=lambda step: step[::-1]), np.int64).reshape(-1, 2)
    return Graph(
        letters=np.array(builder.letters),
        commands=np.array(builder.commands),
        slots=np.array(builder.slots),
        slot_names=builder.slot_names,
        first=np.array(first),
        last=np.array(last),
        sources=steps[:, 0],
        targets=steps[:, 1],
        space=processor.space_id,
    )


def unwritable_words(grammar: Grammar, processor: Speller) -> list[str]:
    """Return the words with characters outside the vocabulary, or empty after normalisation, each with its reason."""
    faults: dict[str, str] = {}
    for text in spoken_texts(grammar):
        normalized = processor.normalize_text(text)
        if not normalized:
            faults[text] = "empty after normalisation"
        elif processor.unknown_characters(normalized):
            for word in text.split():
                if unknown := processor.unknown_characters(processor.normalize_text(word)):
                    faults[word] = ", ".join(map(describe_character, unknown))
    return [f"{text!r} ({reason})" for text, reason in faults.items()]


class _Builder(PositionBuilder):
    """Collects the letters of a grammar and their transitions."""

    def __init__(self, grammar: Grammar, processor: Speller) -> None:
        super().__init__()
        self.grammar, self.processor = grammar, processor
        self.space = processor.space_id
        self.letters: list[int] = []
        self.commands: list[int] = []
        self.slots: list[int] = []
        self.slot_names: list[str] = []
        self.command = 0

    def add_token(self, token: Token) -> Fragment:
        return self._add_words([token.text], -1)

    def add_slot(self, slot: Slot) -> Fragment:
        self.slot_names.append(slot.name)
        return self._add_words(self.grammar.slots[slot.name], len(self.slot_names) - 1)

    def _new(self, letter: int, slot: int) -> int:
        self.letters.append(letter)
        self.commands.append(self.command)
        self.slots.append(slot)
        return len(self.letters) - 1

    def _add_words(self, texts: Iterable[str], slot: int) -> Fragment:
        """Add a choice of texts as the smallest acyclic automaton, in which equal nodes of their trie are merged."""
        root = _trie([self.space, *self.processor.encode(self.processor.normalize_text(text))] for text in texts)
        entries: dict[tuple[int, int], int] = {}  # the position of a letter, by its node and the letter
        into: dict[int, list[int]] = {id(root): []}
        nodes, waiting = {id(root): root}, [root]
        last: list[int] = []
        while waiting:
            node = waiting.pop()
            for letter, child in node.items():
                if letter is not None and id(child) not in nodes:
                    nodes[id(child)] = child
                    into[id(child)] = []
                    waiting.append(child)
        for node in nodes.values():
            for letter, child in node.items():
                if letter is not None and (id(child), letter) not in entries:
                    entries[id(child), letter] = place = self._new(letter, slot)
                    into[id(child)].append(place)
                    if None in child:
                        last.append(place)
        for key, node in nodes.items():
            targets = [entries[id(child), letter] for letter, child in node.items() if letter is not None]
            self.connect(into[key], targets)
        return Fragment(tuple(entries[id(child), letter] for letter, child in root.items()), tuple(last))


def _trie(texts: Iterable[Sequence[int]]) -> dict:
    """Return the root of a trie: nodes by letter, and `None` if a text may end. Equal subtrees are one object."""
    root: dict = {}
    for text in texts:
        node = root
        for letter in text:
            node = node.setdefault(letter, {})
        node[None] = {}
    known: dict[tuple, dict] = {}

    def shared(node: dict) -> dict:
        own = {letter: shared(child) for letter, child in node.items()}
        key = tuple(sorted((-1 if letter is None else letter, id(child)) for letter, child in own.items()))
        return known.setdefault(key, own)

    return shared(root)
