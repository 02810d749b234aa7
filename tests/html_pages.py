"""A report as a browser would read it."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

from deepspeech2.evaluation.reports.plots import (
    INK,
    SERIES,
)


def page(path: Path) -> str:
    """The text of a page, checked to be well-formed and to need nothing but itself."""
    text = path.read_text(encoding="utf-8")
    checker = TagChecker()
    checker.feed(text)
    assert not checker.open, checker.open
    addresses = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']([^"\')\s>]+)', text)
    assert [address for address in addresses if not address.startswith("#")] == []
    assert not re.search(r"@import|<script|<link", text)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for svg in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        ElementTree.fromstring(svg)
        assert not [colour for colour in (INK, *SERIES) if colour in svg], "a colour that no theme can change"
        references = re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)
        assert set(references) <= set(ids)
    return text


class TagChecker(HTMLParser):
    VOID = frozenset({"meta", "br", "img", "hr", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
