"""Greedy and beam search on lattices small enough to work out by hand, or by going through every path."""

import bz2
import gzip
import itertools
import json
import lzma
import math
import os
import re
import shutil
import sys
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tiny
from deepspeech2.decoding.beam_search import arpa_words, build_search, check_words
from deepspeech2.decoding.calibration import Calibration
from deepspeech2.decoding.decoder import Decoder, DecoderWorkers, frame_times, load_decoder
from deepspeech2.decoding.options import DecoderOptions, read_options, save_options, write_options
from deepspeech2.evaluation.metrics import Utterance
from deepspeech2.evaluation.scoring import score_model, transcribe
from deepspeech2.model.loading import load_model
from hub_repositories import Repository
from hub_server import HubServer

TOKENS = ["<pad>", " ", "a", "b", "c"]
# Probabilities of tenths and hundredths, so that ln p is what the names say.
ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-99\t<s>\t-0.5
-1\t</s>
-2\t<unk>
-1.5\ta\t-0.25
-1\tb\t-0.25

\\2-grams:
-0.5\t<s> a
-0.75\ta b
-0.5\tb </s>

\\end\\
"""
LN10 = math.log(10)


@pytest.fixture(scope="module")
def arpa(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    path.write_text(ARPA)
    return path


@pytest.fixture(scope="module")
def processor():
    return tiny.new_model()[1]  # 0 blank, 1 space, 2 a, 3 b, 4 c


def lattice(rng: np.random.Generator, frames: int) -> np.ndarray:
    return np.log(rng.dirichlet(np.full(len(TOKENS), 0.7), size=frames)).astype(np.float32)


def spelled(path: tuple[int, ...]) -> str:
    kept = [symbol for index, symbol in enumerate(path) if symbol and (index == 0 or path[index - 1] != symbol)]
    return " ".join("".join(TOKENS[symbol] for symbol in kept).split())


def totals(log_probs: np.ndarray) -> dict[str, float]:
    """ln p of every text: all paths that spell it, added up."""
    found = defaultdict(list)
    for path in itertools.product(range(len(TOKENS)), repeat=len(log_probs)):
        found[spelled(path)].append(float(log_probs[np.arange(len(path)), path].sum()))
    return {text: float(np.logaddexp.reduce(scores)) for text, scores in found.items()}


def log10_of(text: str) -> float:
    """Of ARPA, from <s> to </s>: bigrams where there are, else the history's back-off and the unigram."""
    unigrams, backoffs = {"a": -1.5, "b": -1.0, "</s>": -1.0}, {"<s>": -0.5, "a": -0.25, "b": -0.25}
    bigrams = {("<s>", "a"): -0.5, ("a", "b"): -0.75, ("b", "</s>"): -0.5}
    total, last = 0.0, "<s>"
    for word in [*text.split(), "</s>"]:
        total += bigrams.get((last, word), backoffs.get(last, 0.0) + unigrams.get(word, -2.0))
        last = word
    return total


def plain(**options) -> dict:
    base = {"language_model": None, "alpha": 0.0, "beta": 0.0, "unknown_score": 0.0, "beam_size": 100_000}
    return base | {"thorough": True} | options


@pytest.mark.parametrize("seed", range(8))
def test_a_huge_beam_finds_the_likeliest_text(seed):
    log_probs = lattice(np.random.default_rng(seed), 5)
    every = totals(log_probs)
    assert build_search(TOKENS, 0, **plain())(log_probs) == max(every, key=every.__getitem__)


@pytest.mark.parametrize("alpha, beta", [(0.4, 0.0), (0.4, 1.0), (1.2, 2.5)])
def test_alpha_and_beta_count_as_they_say(alpha, beta, arpa):
    """ln p(audio) + alpha ln p(text) + beta words, of all texts of known words, from "" to "a b a"."""
    differs = 0
    for seed in range(6):
        log_probs = lattice(np.random.default_rng(100 + seed), 5)
        known = {text: score for text, score in totals(log_probs).items() if set(text.split()) <= {"a", "b"}}
        scores = {
            text: score + alpha * LN10 * log10_of(text) + beta * len(text.split()) for text, score in known.items()
        }
        best = max(scores, key=scores.__getitem__)
        weights = {"language_model": arpa, "alpha": alpha, "beta": beta}
        found = build_search(TOKENS, 0, **plain(**weights, unknown_score=-1e6))(log_probs)
        assert found == best
        differs += best != max(known, key=known.__getitem__)
    assert differs > 0


def certain(symbols: str, probability: float = 0.9) -> np.ndarray:
    """(frames, 5): each frame one symbol, "_" the blank, the others sharing the rest."""
    rows = np.full((len(symbols), len(TOKENS)), (1 - probability) / (len(TOKENS) - 1), np.float32)
    rows[np.arange(len(symbols)), ["_ abc".index(symbol) for symbol in symbols]] = probability
    return np.log(rows)


def test_a_hotword_wins_against_what_is_a_little_likelier():
    """The last letter: c 0.5, b 0.4. The hotword's weight of 5 nats is more than ln(0.5 / 0.4) = 0.22."""
    log_probs = certain("a_a_")
    log_probs[2:3] = np.log([[0.04, 0.03, 0.03, 0.4, 0.5]])
    assert build_search(TOKENS, 0, **plain())(log_probs) == "ac"
    assert build_search(TOKENS, 0, **plain(hotwords=["ab"], hotword_weight=5.0))(log_probs) == "ab"


def test_a_hotword_may_be_one_that_the_language_model_lacks(arpa):
    """c is heard a little better than b. Unknown, it costs 0.5 * 10 * ln 10 = 11.5 nats; as a hotword it is paid 15."""
    log_probs = certain("a_ _c")
    log_probs[4] = np.log([0.04, 0.03, 0.03, 0.4, 0.5])
    weights = {"language_model": arpa, "alpha": 0.5, "beta": 1.0, "unknown_score": -10.0}
    assert build_search(TOKENS, 0, **plain(**weights))(log_probs) == "a b"
    assert build_search(TOKENS, 0, **plain(**weights, hotwords=["c"], hotword_weight=15.0))(log_probs) == "a c"


def decoder_of(processor, **options) -> Decoder:
    return Decoder(processor, 0.02, options=DecoderOptions(**options))


@pytest.mark.parametrize("options", [{}, {"beam_size": 20}], ids=["greedy", "beam"])
def test_times_and_confidences_of_words(options, processor):
    """Frames of 0.02 s about their middles; frame 0 has its middle at 0 s, and nothing is before it."""
    log_probs = torch.from_numpy(certain("aa_b ba__"))[None]
    (hypothesis,) = decoder_of(processor, **options).decode(log_probs, torch.tensor([9]))
    assert hypothesis.text == "ab ba"
    first, second = hypothesis.words
    assert (first.text, second.text) == ("ab", "ba")
    assert [letter.text for letter in first.characters] == ["a", "b"]
    # a in frames 0 and 1, b in 3: to the half of a frame behind its middle
    assert [first.start_s, first.end_s] == pytest.approx([0.0, 3.5 * 0.02])
    assert [second.start_s, second.end_s] == pytest.approx([4.5 * 0.02, 6.5 * 0.02])
    assert [first.characters[0].end_s, first.characters[1].start_s] == pytest.approx([1.5 * 0.02, 2.5 * 0.02])
    assert [first.confidence, second.confidence] == pytest.approx([0.9, 0.9])


def test_a_calibration_is_applied(processor):
    """Log-odds of 0.9 are ln 9; half of it are the odds of 3 to 1."""
    decoder = decoder_of(processor, calibration=Calibration(slope=0.5, offset=0.0))
    (hypothesis,) = decoder.decode(torch.from_numpy(certain("ab"))[None], torch.tensor([2]))
    assert hypothesis.words[0].confidence == pytest.approx(0.75)


@pytest.mark.parametrize("options", [{}, {"beam_size": 20}], ids=["greedy", "beam"])
def test_times_lie_inside_and_in_order(options, processor):
    decoder = decoder_of(processor, **options)
    for seed in range(20):
        log_probs = torch.from_numpy(lattice(np.random.default_rng(seed), 12))[None]
        (hypothesis,) = decoder.decode(log_probs, torch.tensor([12]))
        assert hypothesis.text.split() == [word.text for word in hypothesis.words]
        letters = [letter for word in hypothesis.words for letter in word.characters]
        edges = [edge for letter in letters for edge in (letter.start_s, letter.end_s)]
        assert edges == sorted(edges) and all(0 <= edge <= 11 * 0.02 for edge in edges)


@pytest.mark.parametrize("options", [{}, {"beam_size": 20}], ids=["greedy", "beam"])
def test_padding_changes_nothing(options, processor):
    decoder = decoder_of(processor, **options)
    rng = np.random.default_rng(3)
    clips = [torch.from_numpy(lattice(rng, frames)) for frames in (9, 14)]
    padded = torch.full((2, 14, len(TOKENS)), 7.0)
    padded[0, :9], padded[1] = clips
    padded[0, 9:, 2] = 9.0
    together = decoder.decode(padded, torch.tensor([9, 14]))
    alone = [decoder.decode(clip[None], torch.tensor([len(clip)]))[0] for clip in clips]
    assert together == alone
    assert decoder.texts(padded, torch.tensor([9, 14])) == [one.text for one in alone]


def test_a_hotword_may_have_letters_that_are_skipped_else(processor):
    """ln 0.01 is -4.6: below the limit of -3.5, above that with hotwords of -5."""
    logits = torch.full((1, 1, 5), 0.01).log()
    logits[0, 0, 2] = math.log(0.96)
    for options, wanted in (({}, "a"), ({"hotwords": ("b",), "hotword_weight": 30.0}, "b")):
        assert decoder_of(processor, beam_size=5, **options).texts(logits, torch.tensor([1])) == [wanted]


def test_nothing_heard_is_no_word(processor):
    for options in ({}, {"beam_size": 20}):
        (hypothesis,) = decoder_of(processor, **options).decode(
            torch.from_numpy(certain("___"))[None], torch.tensor([3])
        )
        assert (hypothesis.text, hypothesis.words) == ("", ())


def test_greedy_texts_are_those_of_the_processor(processor):
    logits = torch.from_numpy(np.random.default_rng(5).normal(size=(3, 20, 5)).astype(np.float32))
    wanted = processor.batch_decode(logits.argmax(-1))
    assert decoder_of(processor).texts(logits, torch.tensor([20, 20, 20])) == wanted


def test_a_decoder_for_a_model():
    """Frames of 160 samples at 8 kHz, two of 80 each; padded by half their kernels the convolutions start at 0."""
    model, processor = tiny.new_model()
    assert frame_times(model, processor) == (0.02, 0.0)
    assert load_decoder(model, processor).options == DecoderOptions()


def test_options_are_written_and_read(tmp_path, arpa, monkeypatch):
    """A file beside decoder.json is found from anywhere; unknown keys, wrong types and contradictions are named."""
    options = DecoderOptions(
        beam_size=50, language_model=str(arpa), hotwords=("a b",), calibration=Calibration(2.0, 0.5)
    )
    monkeypatch.chdir(arpa.parent)
    write_options(DecoderOptions(**{**vars(options), "language_model": arpa.name}), tmp_path / "decoder.json")
    assert read_options(tmp_path / "decoder.json") == options
    assert json.loads((tmp_path / "decoder.json").read_text())["language_model"] == os.path.relpath(arpa, tmp_path)
    (tmp_path / "earlier.json").write_text('{"lexicon": ""}')
    assert read_options(tmp_path / "earlier.json") == DecoderOptions()
    (arpa.parent / "beside.json").write_text('{"beam_size": 5, "language_model": "lm.arpa", "alpha": 1}')
    monkeypatch.chdir("/")
    assert read_options(arpa.parent / "beside.json").language_model == str(arpa)
    for text, message in {
        '{"beamsize": 5}': "unknown key 'beamsize'; did you mean 'beam_size'",
        '{"beam_size": "5"}': "beam_size is '5'",
        '{"beam_size": 5, "lexicon": "x.txt"}': r"wrong\.json: lexicon: the lexicon search was removed, .*Remove",
        '{"language_model": "lm.arpa"}': "beam_size is 0",
        '{"hotwords": ["a"]}': "beam_size is 0",
        '{"calibration": {"slop": 1}}': "expected slope and offset",
        '{"calibration": {"slope": "steep"}}': "expected slope and offset",
        "[]": "holds a list",
        "{": "cannot be read as JSON",
    }.items():
        (tmp_path / "wrong.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_options(tmp_path / "wrong.json")


@pytest.fixture
def own(tmp_path, arpa):
    """A model folder with a decoder.json and the language model that it names."""
    for part in tiny.new_model():
        part.save_pretrained(tmp_path / "model")
    save_options(DecoderOptions(beam_size=5, language_model=str(arpa), alpha=0.25), tmp_path / "model")
    return tmp_path / "model"


def test_a_model_is_decoded_with_its_own_decoder(own, arpa, tmp_path):
    """Unless another or greedy is asked for. The language model is that of the folder, also when both have moved."""
    assert json.loads((own / "decoder.json").read_text())["language_model"] == arpa.name
    moved = shutil.move(own, tmp_path / "moved")
    model, processor = load_model(str(moved))
    decoder = load_decoder(model, processor)
    assert decoder.name == "its own decoder.json" and decoder.options.alpha == 0.25
    assert decoder.options.language_model == str(tmp_path / "moved" / arpa.name) != str(arpa)
    greedy = load_decoder(model, processor, "greedy")
    assert greedy.name == "greedy" and greedy.options == DecoderOptions()
    write_options(DecoderOptions(beam_size=7), tmp_path / "other.json")
    other = load_decoder(model, processor, str(tmp_path / "other.json"))
    assert other.name == str(tmp_path / "other.json") and other.options.beam_size == 7
    save_options(decoder.options, tmp_path / "moved")  # onto itself
    assert (tmp_path / "moved" / arpa.name).read_text() == arpa.read_text()


def test_without_beam_search_a_models_own_decoder_is_greedy(own, caplog, monkeypatch):
    """With one warning that says how to install it. A decoder that was asked for is an error."""
    monkeypatch.setitem(sys.modules, "ctc_beam_decoder", None)
    model, processor = load_model(str(own))
    assert load_decoder(model, processor).options == DecoderOptions()
    (line,) = caplog.messages
    assert line.startswith(f"decoding is greedy, without {own / 'decoder.json'}: ") and "pip install ctc-beam" in line
    with pytest.raises(ImportError, match="pip install ctc-beam-decoder"):
        load_decoder(model, processor, own / "decoder.json")


def test_an_own_decoder_without_its_language_model_is_an_error(own, arpa, tmp_path):
    (own / arpa.name).unlink()
    model, processor = load_model(str(own))
    with pytest.raises(
        ValueError, match=r"decoder\.json: language_model .* does not exist.*To decode .*--decoder greedy"
    ):
        load_decoder(model, processor)
    write_options(DecoderOptions(beam_size=5, language_model=str(arpa)), own / "decoder.json")
    with pytest.raises(ValueError, match=r"lm\.arpa' lies outside the model's folder. Put it there, or .*--decoder"):
        load_decoder(model, processor)
    assert load_decoder(model, processor, own / "decoder.json").options.language_model == str(arpa)


def test_a_decoder_comes_from_the_hub_with_its_model(own, arpa, endpoint):
    """Its files are links into a cache; a language model elsewhere on this machine is not read."""
    files = {path.name: path.read_bytes() for path in own.iterdir()}
    with HubServer() as hub:
        hub.repositories["models/me/read"] = Repository(history=[files])
        options = json.loads(files["decoder.json"])
        planted = {"decoder.json": json.dumps(options | {"language_model": str(arpa)}).encode()}
        hub.repositories["models/me/planted"] = Repository(history=[files | planted])
        endpoint(hub.url)
        model, processor = load_model("me/read")
        decoder = load_decoder(model, processor)
        assert decoder.options.alpha == 0.25 and decoder.options.language_model.endswith(f"/{arpa.name}")
        with pytest.raises(ValueError, match="lies outside the model's folder"):
            load_decoder(*load_model("me/planted"))


def test_files_that_cannot_be_used_are_named(tmp_path, processor):
    (tmp_path / "lm.arpa").write_text("the cat\n")
    (tmp_path / "cut.arpa").write_text(ARPA[:120])
    for options, message in (
        ({"language_model": str(tmp_path / "lm.arpa")}, "is not an ARPA file"),
        ({"language_model": str(tmp_path / "none.arpa")}, "none.arpa' does not exist; recipes/train_lm.py makes one"),
        ({"language_model": str(tmp_path / "cut.arpa")}, "cut.arpa' cannot be read"),
        (
            {"hotwords": ("A-b", "Xyz", "7 a", "…")},
            r"hotwords: the model cannot write 'Xyz' \('x', 'y', 'z'\), '7 a' \('7'\), '…' \(nothing to say\)\. Spell",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            decoder_of(processor, beam_size=5, **options)


def test_a_fault_names_the_file_of_the_decoder(tmp_path, processor):
    model = tiny.new_model()[0]
    for content, message in {
        '{"beam_size": 5, "hotwords": ["a1", "a2"]}': r"json: hotwords: the model cannot write 'a1' \('1'\), 'a2'",
        '{"beam_size": 5, "language_model": "no.arpa"}': r"decoder.json: language_model '.*no.arpa' does not exist",
        '{"beam_size": 5, "hotwords": "ab"}': r"decoder.json: hotwords is 'ab'; expected a value such as \[",
        '{"beam_size": 5, "hotwords": ["ab", 7, null]}': r"decoder.json: hotwords has 7, None; expected texts",
    }.items():
        (tmp_path / "decoder.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            load_decoder(model, processor, tmp_path / "decoder.json")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("lm.binary", b"mmap lm http://kheafield.com/code format version 5\n\0\x80", "is a KenLM binary, .* ARPA file"),
        ("lm.arpa.bz2", bz2.compress(ARPA.encode()), "is compressed by bzip2; decompress it"),
        ("lm.arpa.xz", lzma.compress(ARPA.encode()), "is compressed by xz; decompress it"),
        ("lm.zip", b"PK\x03\x04rest", "is a ZIP archive"),
        ("cut.gz", gzip.compress(ARPA.encode())[:-20], "cannot be read"),
        ("bad.gz", b"\x1f\x8bnonsense", "cannot be read"),
        ("latin.arpa", ARPA.replace("\ta\t", "\t\xe9\t").encode("latin-1"), "cannot be read: it is not in UTF-8"),
        ("text.gz", gzip.compress(b"the cat", mtime=0), "is not an ARPA file"),
    ],
)
def test_other_kinds_of_language_models_are_recognised(name, content, message, tmp_path, processor):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(name)}' {message}"):
        decoder_of(processor, beam_size=5, language_model=str(tmp_path / name))


@pytest.mark.parametrize(
    "written",
    [
        gzip.compress(ARPA.encode()),
        b"\n" + ARPA.encode(),  # as SRILM writes it
        ARPA.replace("<unk>", "<UNK>").encode(),
        ARPA.replace("\n", "\r\n").encode(),
    ],
)
def test_every_spelling_of_an_arpa_file_decodes_alike(written, arpa, processor, tmp_path):
    (tmp_path / "lm").write_bytes(written)
    assert arpa_words(tmp_path / "lm") == ["a", "b"]
    logits = torch.from_numpy(np.stack([lattice(np.random.default_rng(seed), 12) for seed in range(6)]))
    texts = [
        decoder_of(processor, beam_size=20, language_model=str(path), alpha=1.0).texts(logits, torch.full((6,), 12))
        for path in (arpa, tmp_path / "lm")
    ]
    assert texts[0] == texts[1] and any(texts[0])


@pytest.mark.parametrize(
    "words, message",
    [
        (["a", "b", "xyz", "9"], None),
        (["a", "x", "y", "9"], "can write 1 of its 4 words, and not 'x', 'y', '9'. Train it with"),
        (
            ["A", "BA", "b", "C"],
            "can write 1 of its 4 words, .*the model writes lower case, and the language model does not",
        ),
        (["日", "9"], "error: the model can write 0 of its 2 words, and not '日', '9'"),
        (["A", "AB"], "error: .*0 of its 2 words, and not 'A', 'AB': the model writes lower case"),
        (["Abc", "Cab"], "error: .*0 of its 2 words, and not 'Abc', 'Cab': the model writes lower case"),
        ([], "error: .*lm.arpa' has no words; .*with tabs between the columns"),
    ],
)
def test_the_words_of_a_language_model_are_counted(words, message, caplog):
    if message and message.startswith("error: "):
        with pytest.raises(ValueError, match=message.removeprefix("error: ")):
            check_words(words, {"", *" abc"}, "lm.arpa")
        return
    check_words(words, {"", *" abc"}, "lm.arpa")
    assert re.search(message, caplog.text) if message else not caplog.text


def test_a_language_model_in_capitals_is_named(arpa, tmp_path, processor):
    text = (
        ARPA.replace("a\t", "A\t")
        .replace("b\t", "B\t")
        .replace("s> a", "s> A")
        .replace("a b", "A B")
        .replace("b <", "B <")
    )
    (tmp_path / "upper.arpa").write_text(text)
    with pytest.raises(ValueError, match=r"upper.arpa': .*: the model writes lower case, and the language model"):
        decoder_of(processor, beam_size=5, language_model=str(tmp_path / "upper.arpa"))


@pytest.mark.parametrize(
    "written, message",
    [
        (ARPA.replace("\t", " "), "has no words; .*with tabs between the columns"),
        ("\ufeff" + ARPA, "begins with a byte order mark"),
        (ARPA[:-8], r"cannot be read: [^/]*If it is cut off, copy or make it again$"),
        (ARPA.replace("<s>", "<S>"), r"cannot be read: The ARPA file is missing <s> [^/]*$"),
    ],
)
def test_a_damaged_arpa_file_is_refused_without_the_names_of_kenlms_sources(written, message, tmp_path, processor):
    (tmp_path / "lm.arpa").write_text(written, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"(?s)lm.arpa' {message}"):
        decoder_of(processor, beam_size=5, language_model=str(tmp_path / "lm.arpa"))


def test_a_missing_package_is_named_with_its_command(processor, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctc_beam_decoder", None)
    with pytest.raises(ImportError, match=r"pip install ctc-beam-decoder==[\d.]+ \(on Linux with glibc 2\.35 or newer"):
        decoder_of(processor, beam_size=5)


def test_words_of_an_arpa_file(arpa):
    assert arpa_words(arpa) == ["a", "b"]


class Says(torch.nn.Module):
    """A model that hears what is written in its features: (B, T, V) log-probabilities."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_features, attention_mask, labels=None):
        return SimpleNamespace(logits=input_features, output_lengths=attention_mask.sum(1), loss=None)


@pytest.mark.slow
def test_scoring_decodes_in_processes(processor, arpa):
    """Seven batches of two clips, in their order, more than the processes have waiting; the same texts as here."""
    rng = np.random.default_rng(0)
    options = DecoderOptions(beam_size=20, language_model=str(arpa), alpha=0.4, beta=1.0)
    decoder = Decoder(processor, 0.02, options=options)
    batches, wanted = [], []
    for index in range(7):
        logits, lengths = torch.from_numpy(np.stack([lattice(rng, 10) for _ in "ab"])), torch.tensor([10, 8])
        wanted += decoder.texts(logits, lengths)
        batch = {"input_features": logits, "attention_mask": (torch.arange(10) < lengths[:, None]).long()}
        names = [f"{index}{one}" for one in "ab"]
        batch |= {"ids": names, "speaker_ids": ["s"] * 2, "durations_s": [1.0] * 2, "texts": ["a b"] * 2}
        batches.append(batch | {"columns": [{}] * 2})
    with DecoderWorkers(decoder, 1) as decoding:
        found = [one for some, _ in transcribe(Says(), processor, batches, decoding) for one in some]
        scores, _ = score_model(Says(), processor, batches, decoding)
    assert [utterance.hypothesis for utterance in found] == wanted
    assert found[0] == Utterance("0a", "s", 1.0, "a b", wanted[0])
    assert [utterance.hypothesis for utterance in scores.utterances] == wanted
    with pytest.raises(ValueError, match="num_workers is 0"):
        DecoderWorkers(decoder, 0)
