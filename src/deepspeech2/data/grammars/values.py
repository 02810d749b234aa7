"""The values of a slot that is given by a rule: all that its phrase may say, and the value of each."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

from ...config.suggestions import did_you_mean
from .grammar import AnyOrder, Choice, Part, Row, Slot, Slots, Token, Value

PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Saying:
    """
    One of the things that a phrase may say.

    Args:
        words: what is said.
        pieces: the same with the values of slots in place of their words.
        named: slot name -> value.
        share: how often it is drawn, 0 to 1.
    """

    words: tuple[str, ...] = ()
    pieces: tuple[Value, ...] = ()
    named: tuple[tuple[str, Value], ...] = ()
    share: float = 1.0

    def then(self, other: "Saying", share: float = 1.0) -> "Saying":
        return Saying(
            self.words + other.words,
            self.pieces + other.pieces,
            self.named + other.named,
            self.share * other.share * share,
        )


def template_fault(template: Value | None, slots: Collection[str]) -> str | None:
    """Return what is wrong with a value such as `{hour}:30`, given the slots of its phrase."""
    if not isinstance(template, str):
        return None
    if re.search(r"[{}]", PLACE.sub("", template)):
        return f"the value {template!r} has a stray brace; expected {{name}} for the value of a slot"
    for name in PLACE.findall(template):
        if name not in slots:
            return f"the value {template!r} has {{{name}}}, but the phrase has no such slot{did_you_mean(name, slots)}"
    return None


def build_value(saying: Saying, template: Value | None) -> Value:
    """Return the value of a saying: by its template, or, if there is none, its words with the values of slots."""
    named = dict(saying.named)
    if template is None:
        return saying.pieces[0] if len(saying.pieces) == 1 else " ".join(map(str, saying.pieces))
    if not isinstance(template, str):
        return template
    if whole := PLACE.fullmatch(template):
        return named.get(whole[1], "")
    return " ".join(PLACE.sub(lambda place: str(named.get(place[1], "")), template).split())


def count_sayings(part: Part, slots: Slots) -> int:
    """Return how many sayings `list_sayings` yields."""
    if isinstance(part, Token):
        return 1
    if isinstance(part, Slot):
        return len(slots[part.name])
    if isinstance(part, Choice):
        return sum(count_sayings(option, slots) for option in part.options)
    orders = math.factorial(len(part.parts)) if isinstance(part, AnyOrder) else 1
    return orders * math.prod(count_sayings(one, slots) for one in part.parts)


def list_sayings(part: Part, slots: Slots, weights: Mapping[str, Mapping[str, float]]) -> Iterator[Saying]:
    """Yield all that a part may say. What it may say in two ways is yielded twice."""
    if isinstance(part, Token):
        yield Saying((part.text,), (part.text,))
    elif isinstance(part, Slot):
        drawn = {said: weights[part.name].get(said, 1.0) for said in slots[part.name]}
        total = sum(drawn.values())
        for said, value in slots[part.name].items():
            yield Saying(tuple(said.split()), (value,), ((part.name, value),), drawn[said] / total)
    elif isinstance(part, Choice):
        for option, weight in zip(part.options, part.weights, strict=True):
            for saying in list_sayings(option, slots, weights):
                yield Saying().then(saying, weight / sum(part.weights))
    elif isinstance(part, Row):
        sayings = [Saying()]
        for one in part.parts:
            longer = list(list_sayings(one, slots, weights))
            sayings = [saying.then(more) for saying in sayings for more in longer]
        yield from sayings
    else:
        for order in permutations(part.parts):
            for saying in list_sayings(Row(order), slots, weights):
                yield Saying().then(saying, 1 / math.factorial(len(order)))
