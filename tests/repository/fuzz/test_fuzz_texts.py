"""
Texts of any script, as transcripts, ids and language models: letters stay, what cannot be seen goes, nothing crashes.

    .venv/bin/pytest tests/repository/fuzz -s
"""

import json
import random
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tiny
from deepspeech2 import DeepSpeech2FeatureExtractor, DeepSpeech2Processor
from deepspeech2.data.batching import Row
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.preparation import DropLog, Examples, Filters, summarize_drops
from deepspeech2.decoding.beam_search import build_search
from deepspeech2.decoding.language_model import train_language_model
from repository.fuzz.check import Case, tally
from repository.fuzz.mutations import mutated
from repository.fuzz.test_fuzz_lists import new_processor

WEIRD = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "a\udfffb",
    "\N{RIGHT-TO-LEFT OVERRIDE}abc",
    "שלום עולם",
    "a\N{COMBINING ACUTE ACCENT}" * 50,
    "\N{ZERO WIDTH SPACE}\N{BYTE ORDER MARK}",
    "\N{FAMILY}" * 10,
    "\x1b[2J\x07\x08",
    "ß" * 100,
    "İ",
    "ﬁ",
    "<script>alert(1)</script>",
    "{{ 7*7 }}",
    "%s%n%d",
    "a" * 1_000_000,
    "\n\r\t\x0b\x0c\x85\u2028\u2029",
    "../../etc/passwd",
    "null",
    "NaN",
    "-1",
    "1e999",
]
PLANES = [(0, 0x20), (0x20, 0x7F), (0x7F, 0x250), (0x300, 0x370), (0x590, 0x700), (0x2000, 0x2070)]
PLANES += [(0xD800, 0xE000), (0xE000, 0xF000), (0xFFF0, 0x10000), (0x1F000, 0x1FA00), (0xE0000, 0xE0100)]
# Words whose letters must all come out: (script or trap, text).
SCRIPTS = {
    "Latin": "straße élan naïve Ångström œuvre",
    "Turkish": "İSTANBUL ılık IĞDIR",
    "Greek": "Ὀδυσσεύς ΣΊΣΥΦΟΣ ΐ",
    "Cyrillic": "Ёлка ЙОД щека",
    "Hebrew": "שָׁלוֹם עולם",
    "Arabic": "مُحَمَّد كتاب",
    "Hindi": "क्षेत्र ज़रूर",
    "Persian": "می\N{ZERO WIDTH NON-JOINER}خواهم",
    "Thai": "น้ำ สวัสดี",
    "Korean": "한국어 사람",
    "Japanese": "がぎぐ パピプ",
    "Chinese": "你好 世界",
    "Vietnamese": "Nguyễn Đường ộ",
    "Georgian": "ᲡᲐᲥᲐᲠᲗᲕᲔᲚᲝ საქართველო",
    "ligatures": "ﬁn ﬂat Ǆ",
    "Armenian": "և Եւ",
}
JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
# Signs of number and annotation of this category: a vocabulary without them drops the text under their name.
NAMED = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\ufff9\ufffa\ufffb"
INVISIBLE = [
    "\N{SOFT HYPHEN}",
    "\N{ZERO WIDTH SPACE}",
    "\N{BYTE ORDER MARK}",
    "\N{RIGHT-TO-LEFT MARK}",
    "\N{LEFT-TO-RIGHT EMBEDDING}",
    "\N{WORD JOINER}",
    "\N{INVISIBLE TIMES}",
    "\N{TAG LATIN SMALL LETTER A}",
]
SPACES = "\u00a0\u2009\u3000\u202f\t"


def normalised(rng: random.Random) -> Iterator[Case]:
    for case in ("lower", "upper", "keep"):
        processor = DeepSpeech2Processor(
            DeepSpeech2FeatureExtractor(), DeepSpeech2Processor.build_tokenizer("abc"), text_case=case
        )
        for script, text in SCRIPTS.items():
            for form in ("NFC", "NFD", "NFKC"):
                written = unicodedata.normalize(form, text)
                take = partial(letters_kept, processor, written, written)
                yield Case(f"{script}, {case}", form, take)
                place = rng.randrange(len(text.split()[0]) + 1)
                for hidden in rng.sample(INVISIBLE, 2):
                    found = text[:place] + hidden + text[place:]
                    take = partial(letters_kept, processor, unicodedata.normalize(form, found), written)
                    yield Case(f"invisible characters, {case}", f"{script} {hidden!r}", take)
                space = rng.choice(SPACES)
                take = partial(letters_kept, processor, written.replace(" ", space), written)
                yield Case(f"odd spaces, {case}", f"{script} {space!r}", take)
        for index in range(80):
            low, high = rng.choice(PLANES)
            text = "".join(chr(rng.randrange(low, high)) for _ in range(rng.choice([1, 5, 60])))
            yield Case(f"random characters, {case}", f"{index} {text[:20]!r}", partial(stable, processor, text))


def stable(processor: DeepSpeech2Processor, text: str, said: list[str]) -> list[str]:
    """A normalised text is its own normal form, whatever form it was written in."""
    once = processor.normalize_text(text)
    found = []
    if processor.normalize_text(once) != once:
        found.append(f"{text[:30]!r} -> {once[:30]!r} -> {processor.normalize_text(once)[:30]!r}")
    if unicodedata.normalize("NFC", once) != once:
        found.append(f"{once[:30]!r} is not in normal form")
    if once != " ".join(once.split()):
        found.append(f"{once[:30]!r} has other spaces than single ones")
    if hidden := [one for one in once if unicodedata.category(one) == "Cf" and one not in JOINERS + NAMED]:
        found.append(f"{hidden[0]!r} cannot be seen")
    return found


def letters_kept(processor: DeepSpeech2Processor, text: str, meant: str, said: list[str]) -> list[str]:
    """The letters, marks and digits of what was meant are those that come out, in the case asked for."""
    found = processor.normalize_text(text)
    change = {"lower": str.lower, "upper": str.upper, "keep": str}[processor.text_case]
    if processor.text_case == "lower" and "İ" in unicodedata.normalize("NFC", meant):
        meant = unicodedata.normalize("NFC", meant).replace("İ", "i")  # not i and a dot above
        found = found.replace("i\N{COMBINING DOT ABOVE}", "?")
    expected = unicodedata.normalize("NFC", change(unicodedata.normalize("NFC", meant)))
    kept = [one for one in expected if unicodedata.category(one)[0] in "LMN"]
    got = [one for one in found if unicodedata.category(one)[0] in "LMN"]
    lost = [] if kept == got else [f"{text!r} came out as {found!r}"]
    if len(found.split()) != len(meant.split()):
        lost.append(f"{len(meant.split())} words came out as {len(found.split())}: {found!r}")
    return lost + stable(processor, text, said)


# Texts as transcripts and ids ----------------------------------------------------------------------------------------


def used(rng: random.Random, processor: DeepSpeech2Processor, folder: Path) -> Iterator[Case]:
    texts = [*WEIRD]
    for _ in range(45):
        low, high = rng.choice(PLANES)
        own = "".join(chr(rng.randrange(low, high)) for _ in range(rng.choice([1, 5, 300])))
        texts.append(rng.choice([own, f"a {own} b", own + "abc" * 20]))
    for text in texts:
        yield Case("encoded", f"{text[:20]!r}", partial(encoded, processor, text))
    for place, text in enumerate(texts):
        yield Case("trained on", f"{text[:20]!r}", partial(trained_on, processor, text, folder / str(place)))


def encoded(processor: DeepSpeech2Processor, text: str, said: list[str]) -> list[str]:
    text = processor.normalize_text(text)
    ids = processor.encode(text)
    return [] if len(ids) == len(text) else [f"{len(ids)} labels came of {len(text)} characters"]


def trained_on(processor: DeepSpeech2Processor, text: str, folder: Path, said: list[str]) -> list[str]:
    """One recording with this text as id, speaker and transcript, from the list to the record of drops."""
    folder.mkdir()
    soundfile.write(folder / "a.wav", tiny.tones("ab cab", np.random.default_rng(0)), tiny.RATE)
    row = {"audio": "a.wav", "text": text, "id": text, "speaker_id": text}
    (folder / "m.json").write_text(json.dumps([row]), encoding="utf-8")
    (corpus,) = load_corpus(str(folder / "m.json"))
    log = DropLog(folder, "reader", resume=False)
    examples = Examples(processor, Filters(lambda num_samples: num_samples // 160, 0.1, 3.0))
    rows = [Row(example, corpus.name) for example in corpus.stream]
    batch = examples.batch(examples.items(rows, [0], log), log)
    assert (batch is None) == bool(log.drops)
    assert summarize_drops(folder, [log], [corpus.name])
    DropLog(folder, "reader", resume=True)
    if batch is None:
        return []
    (found,) = batch["texts"]
    return [] if found == processor.normalize_text(text) else [f"the text came out as {found[:60]!r}"]


# Language models -----------------------------------------------------------------------------------------------------


def language_models(rng: random.Random, processor: DeepSpeech2Processor, folder: Path) -> Iterator[Case]:
    sentences = [" ".join(rng.choice(["ab", "cab", "bad", "a"]) for _ in range(4)) for _ in range(30)]
    path = folder / "lm.arpa"
    train_language_model(sentences, processor, 2, path)
    good = path.read_bytes()
    for index in range(60):
        yield Case(
            "a damaged language model", str(index), partial(searched, mutated(good, rng), folder / "bad.arpa", False)
        )
    text = good.decode()
    foreign = text.translate(str.maketrans("abcd", "äöüß"))
    for name, content, wrong in [
        ("as it is", text, False),
        (
            "in capitals",
            text.replace("ab", "AB").replace("cab", "CAB").replace("bad", "BAD").replace("\ta", "\tA"),
            True,
        ),
        ("of another alphabet", foreign, True),
        ("with CRLF", text.replace("\n", "\r\n"), False),
        ("empty", "", False),
        ("without words", "\\data\\\nngram 1=0\n\n\\1-grams:\n\n\\end\\\n", True),
    ]:
        take = partial(searched, content.encode(), folder / "other.arpa", wrong)
        yield Case(f"a language model {name}", name, take)


def searched(content: bytes, path: Path, wrong: bool, said: list[str]) -> list[str]:
    """A language model whose words the alphabet cannot write would do nothing; that has to be said."""
    path.write_bytes(content)
    tokens = ["<pad>", " ", *"abcd"]
    options = {"alpha": 0.5, "beta": 1.0, "unknown_score": -10.0, "beam_size": 8}
    search = build_search(tokens, 0, language_model=path, **options)
    text = search(np.log(np.full((4, len(tokens)), 1 / len(tokens), np.float32)))
    assert isinstance(text, str)
    return ["its words cannot be written"] if wrong and not said else []


@pytest.mark.parametrize("one_of", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_texts(tmp_path, one_of):
    processor = new_processor()

    def cases() -> Iterator[Case]:
        rng = random.Random(3)
        yield from normalised(rng)
        yield from used(rng, processor, tmp_path)
        yield from language_models(rng, processor, tmp_path)

    tally("texts", cases(), one_of)
