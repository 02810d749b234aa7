"""Suggest the nearest known name at the end of a message about an unknown one."""

import difflib
from collections.abc import Iterable

CUTOFF = 0.5  # of difflib's similarity, 0 to 1


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return `"; did you mean 'window_size'?"` if `name` is similar to a known name, else an empty string."""
    nearest = difflib.get_close_matches(str(name), map(str, known), n=1, cutoff=CUTOFF)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
