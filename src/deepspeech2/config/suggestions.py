"""The nearest known name, for the end of a message about an unknown one."""

import difflib
from collections.abc import Iterable

CUTOFF = 0.5  # of difflib's similarity, 0 to 1


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """`"; did you mean 'window_size'?"` for a name that is like a known one, else an empty text."""
    nearest = difflib.get_close_matches(str(name), map(str, known), n=1, cutoff=CUTOFF)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
