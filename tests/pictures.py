"""Pictures of reports, drawn or left blank: to render those of one run takes longer than to train a tiny model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pytest
from matplotlib.figure import Figure

BLANK = {"svg": '<svg width="1pt" height="1pt" xmlns="http://www.w3.org/2000/svg"></svg>', "png": b"\x89PNG"}
_render = Figure.savefig


def leave_blank(figure: Figure, file: IO[Any], *, format: str, **options: Any) -> None:
    """What is drawn has been computed and placed by now; no more than the rendering is left out."""
    file.write(BLANK[format])


@contextmanager
def rendered() -> Iterator[None]:
    """Pictures are what their readers see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _render)
        yield
