"""The columns of a list: the names that are known, whatever their letter case, and the one that is meant."""

import re
from collections.abc import Iterable, Sequence

# If the column is the default one and absent, the first of these that exists replaces it.
AUDIO_COLUMNS: tuple[str, ...] = (
    "audio", "file_name", "audio_filepath", "wav_path", "wav", "path", "file", "wav_filename", "filename", "audio_path",
    "audio_file", "audio_filename", "wav_file", "file_path", "filepath",
)  # fmt: skip
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript", "wrd", "txt", "words")
TEXT_PATH_COLUMNS = ("transcript_path", "txt_path")
ID_COLUMNS = ("id",)
SPEAKER_COLUMNS = ("speaker_id", "speaker", "client_id", "spk_id")
# Pairs of columns that name a part of a recording, in seconds: start and end, or start and duration.
STARTS_AND_ENDS = (
    ("start", "end"), ("start_time", "end_time"), ("begin", "end"), ("begin_time", "end_time"), ("start_s", "end_s"),
    ("start_sec", "end_sec"), ("segment_start", "segment_end"),
)  # fmt: skip
STARTS_WITH_DURATION = ("offset", *(start for start, _ in STARTS_AND_ENDS))
DURATIONS = ("duration", "duration_s", "dur")
KNOWN = (*AUDIO_COLUMNS, *TEXT_COLUMNS, *TEXT_PATH_COLUMNS, *ID_COLUMNS, *SPEAKER_COLUMNS)
MAX_NAMED = 4  # expected columns in a message
MAX_SHOWN = 20  # columns in a message, and characters of a name there times two


def folded(name: str) -> str:
    """Return the name of a column without letter case, and with `_` for spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


def first_column(present: Iterable[str], known: Sequence[str]) -> str | None:
    """
    Return the column that is the first of `known`, in any letter case. None if there is none.

    Raises:
        ValueError: two columns differ only in letter case.
    """
    present = list(present)
    for name in known:
        if name in present:
            return name
        found = [column for column in present if folded(column) == folded(name)]
        if len(found) > 1:
            raise ValueError(f"the columns {' and '.join(map(repr, found))} are the same name; rename one of them")
        if found:
            return found[0]
    return None


def find_column(present: Sequence[str], wanted: str, known: Sequence[str], where: str, option: str) -> str:
    """
    Return the column `wanted`, or, if it is the default and absent, the first of `known` that exists.

    Raises:
        ValueError: there is no such column. The message lists the columns.
    """
    candidates = known if wanted == known[0] else (wanted,)
    found = first_column(present, candidates)
    if found is None:
        raise ValueError(
            f"{where} has no column {' or '.join(repr(column) for column in candidates[:MAX_NAMED])}; its columns are "
            f"{shown_columns(present)}. Name the right one with {option}"
        )
    return found


def shown_columns(present: Sequence[str]) -> str:
    """Return the names for a message, shortened: the first line of a list without a header can be a transcript."""
    limit = 2 * MAX_SHOWN
    names = [name if len(name) <= limit else f"{name[:limit]}..." for name in present[:MAX_SHOWN]]
    return ", ".join(names) + (f" and {len(present) - MAX_SHOWN} more" if len(present) > MAX_SHOWN else "")
