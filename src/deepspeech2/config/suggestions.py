"""Faults of names in a command line: the nearest known name of an unknown one, and names that are given twice."""

import difflib
from argparse import Action, _AppendAction
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import takewhile

CUTOFF = 0.5  # of difflib's similarity, 0 to 1


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return `"; did you mean 'window_size'?"` if `name` is similar to a known name, else an empty string."""
    nearest = difflib.get_close_matches(str(name), map(str, known), n=1, cutoff=CUTOFF)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def given_twice(words: Iterable[str], actions: Mapping[str, Action]) -> list[str]:
    """
    Return a sentence for each option that a command line gives more than once. argparse would forget all but the last.

    Args:
        words: the command line.
        actions: the action of each option string. Options that collect their values may be given several times.
    """
    given = [word.partition("=")[0] for word in takewhile(lambda word: word != "--", words)]
    known = [actions[option] for option in given if option in actions]
    counts = Counter(action.dest for action in known if not isinstance(action, _AppendAction))
    return [
        f"--{name} is given {count} times; give it once, and all values of a list after it"
        for name, count in counts.items()
        if count > 1
    ]
