"""
What becomes of an input: accepted, refused, or one of two faults that a test counts, a crash or a silent change.

Refused is a `ValueError` that this package raised itself, with a message. Any other exception is a crash. For an input
of known content, what comes out is compared with what went in. A difference that nothing says is a silent change: no
error, no warning, no entry in the record of drops.
"""

import logging
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from deepspeech2.system.command_line import OURS

# The numbers of inputs that the tests of this folder feed at least.
LEAST = {"audio": 2700, "samples": 320, "lists": 820, "texts": 1000, "captions": 380, "recipes": 180}
ACCEPTED, REFUSED, CRASH, SILENT = "accepted", "refused", "crash", "silent change"


@dataclass(frozen=True)
class Case:
    """
    An input.

    Args:
        kind: what is odd about it, for the count.
        name: which input of this kind it is.
        take: feeds it. It gets the messages that were said so far, and returns the differences between what went in
            and what came out that these messages do not excuse.
    """

    kind: str
    name: str
    take: Callable[[list[str]], Iterable[str]]


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what this package warns of, in logs and by `warnings`."""
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, logger = Handler(logging.WARNING), logging.getLogger("deepspeech2")
    logger.addHandler(handler)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        try:
            yield said
        finally:
            logger.removeHandler(handler)
            said += [str(one.message) for one in warned]


def outcome(case: Case) -> tuple[str, str]:
    """Feed an input, and return what became of it, with the fault."""
    try:
        with listening() as said:
            differences = list(case.take(said))
    except ValueError as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1]
        if str(error) and Path(raised_in.filename).is_relative_to(OURS):
            return REFUSED, str(error)
        return CRASH, _described(error, raised_in)
    except Exception as error:  # any other error is a fault of this package, which is what is counted
        return CRASH, _described(error, traceback.extract_tb(error.__traceback__)[-1])
    return (SILENT, "; ".join(differences)) if differences else (ACCEPTED, "")


def _described(error: Exception, place: traceback.FrameSummary) -> str:
    return f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {' '.join(str(error).split())[:300]}"


def tally(group: str, cases: Iterable[Case], one_of: int = 1) -> None:
    """Feed every `one_of`th input, print the counts, fail on crashes and silent changes, and name one of each kind."""
    counts: Counter[str] = Counter()
    faults: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in islice(cases, 0, None, one_of):
        found, detail = outcome(case)
        counts[found] += 1
        if found in (CRASH, SILENT):
            faults[found, case.kind].append(f"{case.name[:120]!r}: {detail[:400]}")
    total = counts.total()
    print(f"\n{group}: {total:,} inputs, {', '.join(f'{counts[one]:,} {one}' for one in (ACCEPTED, REFUSED))}")
    assert not faults, _listed(counts, faults)
    assert total * one_of >= LEAST[group] and counts[REFUSED] and counts[ACCEPTED], counts


def _listed(counts: Counter[str], faults: dict[tuple[str, str], list[str]]) -> str:
    head = f"{counts[CRASH]:,} crashes and {counts[SILENT]:,} silent changes of {counts.total():,} inputs"
    lines = [f"  {len(found)} x {fault}: {kind}: {found[0]}" for (fault, kind), found in sorted(faults.items())]
    return "\n".join([head, *lines])


def excused(name: str, said: Sequence[str]) -> bool:
    """Return whether a message names what is missing."""
    return any(name in message for message in said)
