"""
Captions of known cues, written in every habit: each cue comes back with its text and times, or is listed as left out.

    .venv/bin/pytest tests/repository/fuzz -s
"""

import random
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

from deepspeech2.inference.captions.cues import Cue
from deepspeech2.inference.captions.formats import to_srt, to_vtt
from deepspeech2.inference.captions.reading import read_captions
from repository.fuzz.check import Case, tally
from repository.fuzz.mutations import mutated

WORDS = ["so", "we", "go", "on", "to", "the", "old", "mill", "by", "the", "river", "and", "wait", "for", "rain"]


def cues(rng: random.Random, count: int | None = None) -> list[Cue]:
    """Cues of one or two lines, one behind the other, with times in whole milliseconds."""
    made, place = [], rng.randrange(0, 3000)
    for index in range(count or rng.randint(2, 8)):
        start, end = place, place + rng.randrange(700, 5000)
        lines = [" ".join([f"n{index}{part}", *rng.sample(WORDS, 4)]) for part in range(rng.choice([1, 1, 2]))]
        made.append(Cue(start / 1000, end / 1000, "\n".join(lines)))
        place = end + rng.randrange(1, 3000)
    return made


def clock(time_s: float, point: str = ",", hours: bool = True) -> str:
    milliseconds = round(1000 * abs(time_s))
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
    sign = "-" if time_s < 0 else ""
    return f"{sign}{minutes // 60:02}:{text}" if hours or minutes >= 60 else f"{sign}{text}"


def srt(made: list[Cue], gap: str = "\n", numbers: bool = True, arrow: str = " --> ", point: str = ",") -> str:
    blocks = []
    for number, cue in enumerate(made, 1):
        head = f"{number}\n" if numbers else ""
        blocks.append(f"{head}{clock(cue.start_s, point)}{arrow}{clock(cue.end_s, point)}\n{cue.text}\n")
    return gap.join(blocks)


def vtt(made: list[Cue], settings: str = "", hours: bool = False, head: str = "WEBVTT") -> str:
    blocks = [
        f"{clock(cue.start_s, '.', hours)} --> {clock(cue.end_s, '.', hours)}{settings}\n{cue.text}\n" for cue in made
    ]
    return "\n".join([f"{head}\n", *blocks])


def known(rng: random.Random, folder: Path) -> Iterator[Case]:
    for index in range(8):
        for kind, suffix, content, expected in habits(rng):
            yield Case(kind, str(index), partial(compared, folder, suffix, content.encode(), expected))
        for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "latin-1"):
            made = [cue._replace(text=f"{cue.text} café") for cue in cues(rng)]
            take = partial(compared, folder, "srt", srt(made).encode(encoding), made)
            yield Case(f"SRT in {encoding}", str(index), take)


Habit = tuple[str, str, str, list[Cue]]  # kind, suffix, content, its cues


def habits(rng: random.Random) -> Iterator[Habit]:
    made = cues(rng)
    yield "our SRT", "srt", to_srt(made), made
    yield "our VTT", "vtt", to_vtt(made), made
    odd = [cue._replace(text=f"a < b & c > d --> e\n{cue.text}") for cue in made]
    arrows = [cue._replace(text=cue.text.replace("-->", "→")) for cue in odd]
    yield "our SRT of signs", "srt", to_srt(odd), arrows
    yield "our VTT of signs", "vtt", to_vtt(odd), odd
    yield "SRT without empty lines", "srt", srt(made, gap=""), made
    yield "SRT with many empty lines", "srt", srt(made, gap="\n\n\n"), made
    yield "SRT with lines of one space", "srt", srt(made, gap=" \n"), made
    yield "SRT without numbers", "srt", srt(made, numbers=False), made
    yield "SRT with full stops", "srt", srt(made, point="."), made
    yield "SRT with a short arrow", "srt", srt(made, arrow=" -> "), made
    yield "SRT with a bare arrow", "srt", srt(made, arrow="-->"), made
    yield "SRT with CRLF", "srt", srt(made).replace("\n", "\r\n"), made
    yield "SRT with CR", "srt", srt(made).replace("\n", "\r"), made
    yield "SRT with doubled line ends", "srt", srt(made).replace("\n", "\r\r\n"), made
    tagged = [cue._replace(text=f"<i>{cue.text}</i>") for cue in made]
    yield "SRT with tags", "srt", srt(tagged), made
    placed = [cue._replace(text=f"{{\\an8}}{cue.text}") for cue in made]
    yield "SRT with places", "srt", srt(placed), made
    years = [cue._replace(text=f"{cue.text}\n1984") for cue in made]
    yield "SRT that ends with a number", "srt", srt(years), years
    apart = [cue._replace(text=f"{cue.text}\n\nand more") for cue in made]
    parts = [cue._replace(text=f"{cue.text}\nand more") for cue in made]
    yield "SRT with an empty line inside", "srt", srt(apart), parts
    early = [made[0]._replace(start_s=-0.2), *made[1:]]
    yield "SRT that begins before 0", "srt", srt(early), [made[0]._replace(start_s=0.0), *made[1:]]
    backwards = [*made[:-1], made[-1]._replace(start_s=made[-1].end_s, end_s=made[-1].start_s)]
    yield "SRT with a cue that ends before it begins", "srt", srt(backwards), made
    mixed = rng.sample(made, len(made))
    yield "SRT out of order", "srt", srt(mixed), made
    empty = [*made[:1], made[1]._replace(text=""), *made[2:]]
    yield "SRT with an empty cue", "srt", srt(empty), empty
    yield "SRT with text above", "srt", f"made by hand\n\n{srt(made)}", made
    yield "VTT with hours", "vtt", vtt(made, hours=True), made
    yield "VTT with settings", "vtt", vtt(made, settings=" align:start position:0%"), made
    yield "VTT with a header", "vtt", vtt(made, head="WEBVTT - talk\nKind: captions\nLanguage: en"), made
    notes = vtt(made, head="WEBVTT\n\nNOTE by hand\nof two lines\n\nSTYLE\n::cue { color: red }")
    yield "VTT with notes and styles", "vtt", notes, made
    voiced = [cue._replace(text=f"<v Ann>{cue.text}</v>") for cue in made]
    yield "VTT with voices", "vtt", vtt(voiced), made
    spaced = [cue._replace(text=f" \n{cue.text}") for cue in made]
    yield "VTT with a line of one space above", "vtt", vtt(spaced), made
    late = [cue._replace(start_s=cue.start_s + 360_000, end_s=cue.end_s + 360_000) for cue in made]
    yield "after a hundred hours", "srt", to_srt(late), late
    joined = [cue._replace(end_s=after.start_s) for cue, after in pairwise(made)]
    yield "rolling captions", "vtt", *rolling([*joined, made[-1]])


def rolling(made: list[Cue]) -> tuple[str, list[Cue]]:
    """As YouTube writes them: the line before stays above, and a flash of it between two cues."""
    blocks, lines = [], []
    for cue in made:
        line = " ".join(cue.text.split())
        above = lines[-1] if lines else " "
        words = line.split()
        timed = words[0] + "".join(f"<{clock(cue.start_s + 0.01, '.')}><c> {word}</c>" for word in words[1:])
        times = f"{clock(cue.start_s, '.')} --> {clock(cue.end_s - 0.01, '.')} align:start position:0%"
        flash = f"{clock(cue.end_s - 0.01, '.')} --> {clock(cue.end_s, '.')} align:start position:0%"
        blocks += [f"{times}\n{above}\n{timed}\n", f"{flash}\n{line}\n \n"]
        lines.append(line)
    expected = [cue._replace(text=line) for cue, line in zip(made, lines, strict=True)]
    return "\n".join(["WEBVTT\nKind: captions\n", *blocks]), expected


def compared(folder: Path, suffix: str, content: bytes, expected: list[Cue], said: list[str]) -> list[str]:
    path = folder / f"captions.{suffix}"
    path.write_bytes(content)
    found = read_captions(path)
    listed = " ".join([*(one.text for one in found.left_out), *found.notes])
    lost = []
    waiting = [*found.cues]
    for cue in expected:
        own = next((one for one in waiting if same(one, cue)), None)
        if own is not None:
            waiting.remove(own)
        elif cue.text.split() and cue.text.split()[0] not in listed:
            lost.append(f"{cue} is lost")
    return lost + [f"nobody wrote {one}" for one in waiting if one.text.split()]


def same(found: Cue, expected: Cue) -> bool:
    close = abs(found.start_s - expected.start_s) < 0.02 and abs(found.end_s - expected.end_s) < 0.02
    return close and found.text.split() == expected.text.split()


def damaged(rng: random.Random, folder: Path) -> Iterator[Case]:
    for index in range(60):
        made = cues(rng)
        for suffix, content in (("srt", srt(made)), ("vtt", vtt(made))):
            take = partial(only_read, folder, suffix, mutated(content.encode(), rng))
            yield Case(f"damaged {suffix}", str(index), take)


def only_read(folder: Path, suffix: str, content: bytes, said: list[str]) -> list[str]:
    """Every line of times becomes a cue or is listed."""
    path = folder / f"captions.{suffix}"
    path.write_bytes(content)
    found = read_captions(path)
    assert all(0 <= cue.start_s <= cue.end_s for cue in found.cues)
    times = sum(b"-->" in line for line in content.splitlines())
    rows = len(found.cues) + len(found.left_out)
    return [] if rows >= times or found.notes else [f"{rows} came of {times} lines of times"]


def test_captions(tmp_path):
    def cases() -> Iterator[Case]:
        rng = random.Random(6)
        yield from known(rng, tmp_path)
        yield from damaged(rng, tmp_path)

    tally("captions", cases())
