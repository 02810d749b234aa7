"""Markdown tables for reports and dataset cards."""

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """Return a table with its first `left` columns aligned to the left and the other ones, of numbers, to the right."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in [head, rule, *rows])
