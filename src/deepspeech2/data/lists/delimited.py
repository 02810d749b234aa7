"""
Rows of a table of text: the delimiter and the header are found, and no quotation mark swallows a row.

`csv.reader` takes all that follows an unclosed quotation mark, rows and all, into one cell. Here each line is a row of
its own, unless it opens a quotation mark that a later line closes, with nothing between that looks like a row.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from .columns import folded, shown_columns
from .places import is_recording

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
LINES_LOOKED_AT = 50  # of a table whose columns have no known names, for its delimiter
MAX_LINES_OF_ROW = 100
SAME_WORDS = 0.3  # minimum share of words that a text and its normalised form have in common, on average
TEXT_FILES = (".txt", ".lab")
csv.field_size_limit(2**31 - 1)  # characters of a cell; beyond it a row would be read without its quotation marks


@dataclass
class Delimited:
    """
    The rows of a table, and what was found out about it.

    Args:
        columns: the header, or the columns that a list without one has.
        rows: the cells of each row, without spaces around them. A row may have fewer cells than there are columns.
        delimiter: what separates the cells.
        headerless: whether the first line is already a row.
        literal: the numbers of the lines with a quotation mark that closes nothing.
        comments: the number of lines that are comments.
        has_names: whether there are cells that end like the names of recordings.
    """

    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    delimiter: str = ","
    headerless: bool = False
    literal: list[int] = field(default_factory=list)
    comments: int = 0
    has_names: bool = False


def read_delimited(text: str, suffix: str, known: Sequence[str], is_name: Callable[[str], bool]) -> Delimited:
    """
    Read a table.

    Args:
        text: the content of the file.
        suffix: `.csv` or `.tsv`. It decides the delimiter where the content does not.
        known: names of columns that a header may have.
        is_name: tells whether a cell names a recording, for lists without a header.

    Raises:
        ValueError: a row has more cells than the header, or cannot be read with its quotation marks. The message names
            the line.
    """
    lines = re.split(r"\r\n|\n|\r", text)  # splitlines would also split inside a transcript
    first = 0
    while first < len(lines) and not lines[first].strip():
        first += 1
    delimiter = None
    if first < len(lines) and (told := re.fullmatch(r"sep=(.)", lines[first].strip("\ufeff\"' \r"))):  # Excel's hint
        delimiter, first = told[1], first + 1
    names = {folded(name) for name in known}
    table = Delimited([])
    while first < len(lines) and (not lines[first].strip() or _is_comment(lines[first], names)):
        table.comments += bool(lines[first].strip())
        first += 1
    if first == len(lines):
        return table
    lines[first] = re.sub(r"^\s*#\s*", "", lines[first])  # a header behind a number sign
    table.delimiter = delimiter or _guess(lines[first:], ".tsv" if suffix == ".tsv" else ".csv", names)
    header = _strict(lines[first], table.delimiter) or lines[first].split(table.delimiter)
    table.columns = [cell.strip().strip("\ufeff") for cell in header]
    table.headerless = _is_row(table.columns, names, is_name)
    cells_of_some = (line.split(table.delimiter) for line in lines[first : first + LINES_LOOKED_AT])
    table.has_names = any(is_recording(cell.strip(' "')) for some in cells_of_some for cell in some)
    width = len(table.columns)
    for number, cells in _rows(lines, first if table.headerless else first + 1, table):
        while len(cells) > width and not cells[-1].strip():  # a delimiter at the end of the line
            cells.pop()
        if len(cells) > width:
            raise ValueError(_too_many(number, cells, table))
        if any(cell.strip() for cell in cells):
            table.rows.append([cell.strip() for cell in cells])
    if table.headerless:
        table.columns = _columns_of_headerless(table.rows)
    else:
        _refuse_repeated(table.columns, names)
    return table


def _is_row(cells: Sequence[str], names: set[str], is_name: Callable[[str], bool]) -> bool:
    """Return whether the first line is a row, not a header. A command may be the word `text`."""
    if any(map(is_recording, cells)):
        return True
    return not names & {folded(name) for name in cells} and is_name(cells[0])


def _is_comment(line: str, names: set[str]) -> bool:
    """Return whether a line before the header is a comment. `# path,sentence` is a header."""
    if not line.lstrip("\ufeff ").startswith("#"):
        return False
    cells = re.split(r"[,;\t|]", line.lstrip("\ufeff #"))
    return len(cells) < 2 or not names & {folded(cell) for cell in cells}


def _guess(lines: Sequence[str], suffix: str, names: set[str]) -> str:
    """Return the delimiter by which the header has the most known names, or else all lines the same number of cells."""
    usual = "\t" if suffix == ".tsv" else ","
    order = [usual, *(one for one in DELIMITERS if one != usual)]
    found = {}
    for delimiter in order:
        cells = _strict(lines[0], delimiter) or lines[0].split(delimiter)
        found[delimiter] = len(names & {folded(cell) for cell in cells})
    best = max(found.values())
    if best and (found[usual] == best or list(found.values()).count(best) == 1):
        return max(order, key=lambda delimiter: (found[delimiter], delimiter == usual))
    counts = {}
    for delimiter in order:
        sample = [line for line in lines if line.strip()][:LINES_LOOKED_AT]
        widths = [len(_strict(line, delimiter) or line.split(delimiter)) for line in sample]
        counts[delimiter] = (len(set(widths)) == 1 and widths[0] > 1, widths[0] > 1, delimiter == usual, widths[0])
    return max(order, key=lambda delimiter: counts[delimiter])


def _rows(lines: Sequence[str], at: int, table: Delimited) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row's first line, from 1, and its cells."""
    width = len(table.columns)
    while at < len(lines):
        line, number = lines[at].strip("\ufeff"), at + 1
        at += 1
        if not line.strip():
            continue
        if line.startswith("#") and len(line.split(table.delimiter)) != width:
            table.comments += 1
        elif '"' not in line:
            yield number, line.split(table.delimiter)
        elif cells := _strict(line, table.delimiter):
            yield number, cells
        elif joined := _over_lines(lines, at - 1, table):
            cells, at = joined
            yield number, cells
        else:
            table.literal.append(number)
            yield number, _as_it_stands(line, number, table)


def _strict(text: str, delimiter: str, escape: str | None = None) -> list[str] | None:
    """Return the cells of one row, or None if a quotation mark does not close, or closes before the end of its cell."""
    try:
        rows = list(
            csv.reader(
                [text],
                delimiter=delimiter,
                strict=True,
                skipinitialspace=delimiter != " ",
                escapechar=escape,
                doublequote=escape is None,
            )
        )
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _over_lines(lines: Sequence[str], first: int, table: Delimited) -> tuple[list[str], int] | None:
    """
    Return the cells of a row that goes on over several lines, and the line after it.

    None if the quotation mark is not closed, or if a line up to there is a row of its own.

    Raises:
        ValueError: a line up to there may be a row of its own.
    """
    width, doubtful = len(table.columns), False
    for last in range(first + 1, min(first + MAX_LINES_OF_ROW, len(lines))):
        inside = lines[last].replace('""', "").split('"')[0].split(table.delimiter)
        if table.has_names:
            own = any(is_recording(cell.strip()) for cell in inside)
        else:  # with tabs and bars, quotation marks are mostly characters
            own = len(inside) == width > 1 or (len(inside) > 1 and table.delimiter in "\t|")
            doubtful |= len(inside) > 1
        if own:
            return None
        if '"' in lines[last] and (joined := _strict("\n".join(lines[first : last + 1]), table.delimiter)):
            if doubtful:
                raise ValueError(
                    f"line {first + 1} opens a quotation mark that line {last + 1} closes, but the lines between may "
                    "be rows; write each text on one line, and a quotation mark inside a quoted cell twice"
                )
            return (joined, last + 1) if len(joined) <= width else None
    return None


def _as_it_stands(line: str, number: int, table: Delimited) -> list[str]:
    r"""
    Return the cells of a line whose quotation marks are no quotation: as `\"`, as characters, or to the line's end.

    Raises:
        ValueError: none of them has the cells of the header.
    """
    width, delimiter = len(table.columns), table.delimiter
    open_ended = next(csv.reader([line], delimiter=delimiter, skipinitialspace=delimiter != " "))
    escaped = _strict(line, delimiter, "\\") if '\\"' in line else None
    for cells in (escaped, line.split(delimiter), open_ended):
        if cells and len(cells) == width:
            return cells
    raise ValueError(
        f"line {number} has a quotation mark that does not close, or text behind a closing one; write it twice inside "
        "a quoted cell"
    )


def _too_many(number: int, cells: Sequence[str], table: Delimited) -> str:
    name = DELIMITERS.get(table.delimiter, repr(table.delimiter))
    what = "the first line" if table.headerless else "the header"
    told = (
        f"line {number} has {len(cells)} cells, but {what} has {len(table.columns)} ({shown_columns(table.columns)}), "
        f"separated by {name}"
    )
    return f"{told}; put a transcript with such a character in quotation marks, or separate the cells by tabs (.tsv)"


def _refuse_repeated(columns: Sequence[str], names: set[str]) -> None:
    seen = [folded(name) for name in columns]
    if repeated := sorted({name for name in columns if seen.count(folded(name)) > 1 and folded(name) in names}):
        raise ValueError(f"the header has the column {repeated[0]!r} more than once; rename all but one")


def _columns_of_headerless(rows: list[list[str]]) -> list[str]:
    """
    Return the columns of a list without a header: recordings, with files of texts, or texts, or LJSpeech's two texts.
    Texts with their recordings behind them are understood as well.

    Raises:
        ValueError: there are more columns, or the third is no normalised form of the second.
    """
    width = len(rows[0])
    if width == 1:
        return ["audio"]
    if width == 2 and is_recording(rows[0][1]) and not is_recording(rows[0][0]):
        return ["text", "audio"]
    if width == 2:
        return ["audio", "txt_path" if rows[0][1].endswith(TEXT_FILES) else "text"]
    pairs = [(row[1], row[2]) for row in rows if len(row) == 3 and row[2]]
    if width == 3 and pairs and fmean(_same_words(*pair) for pair in pairs) >= SAME_WORDS:
        for row in rows:
            if len(row) < 3 or not row[2]:
                row[:] = [*row[:2], row[1]] if len(row) > 1 else row
        return ["audio", "unnormalised", "text"]
    raise ValueError(
        f"there is no header, and the columns after the recording cannot be told apart: {shown_columns(rows[0])}. "
        "Write a first line that names them, such as audio, speaker and text, with the same delimiter"
    )


def _same_words(one: str, other: str) -> float:
    left, right = (set(re.findall(r"\w+", text.casefold())) for text in (one, other))
    return len(left & right) / max(1, len(left | right))
