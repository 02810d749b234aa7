"""Tables in Markdown, of reports and of dataset cards."""

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """A table whose first `left` columns are aligned to the left, the others, of figures, to the right."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in [head, rule, *rows])
