"""Faults of names in a command line: the nearest known name of an unknown one, and names that are given twice."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import takewhile

CUTOFF = 0.5  # of difflib's similarity, 0 to 1


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return `"; did you mean 'window_size'?"` if `name` is similar to a known name, else an empty string."""
    nearest = difflib.get_close_matches(str(name), map(str, known), n=1, cutoff=CUTOFF)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def given_twice(words: Iterable[str], options: Mapping[str, str]) -> list[str]:
    """
    Return a sentence for each option that a command line gives more than once. argparse would forget all but the last.

    Args:
        words: the command line.
        options: each option string (`--name`) with the name of its setting, which `--no_name` shares.
    """
    given = [word.partition("=")[0] for word in takewhile(lambda word: word != "--", words)]
    by_setting = Counter(options[option] for option in given if option in options)
    return [
        f"--{setting} is given {count} times; give it once, and all values of a list after it"
        for setting, count in by_setting.items()
        if count > 1
    ]
