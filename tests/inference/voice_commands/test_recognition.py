"""A grammar's graph has its sentences and no others; its best path is the best; what is outside is rejected."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import tiny
from deepspeech2.data.grammars.reading import read_grammar
from deepspeech2.data.synthesis.command_corpus import home_sentences
from deepspeech2.inference.long_form import Listener
from deepspeech2.inference.voice_commands import automaton, recognition
from deepspeech2.inference.voice_commands.automaton import build_graph
from deepspeech2.inference.voice_commands.recognition import (
    SCORE,
    Acceptance,
    CommandRecogniser,
    load_recogniser,
    read_acceptance,
    write_acceptance,
)
from deepspeech2.model.loading import load_model
from deepspeech2.model.processing_deepspeech2 import DeepSpeech2Processor

ROOT = Path(__file__).resolve().parents[3]
SMALL = """
commands:
  one: "[c] {ab} (b|c a)"
  two: ["{ab} {ab}", bb]
slots:
  ab: {a: 1, ab: 2, ba: 2}
"""
AB = {"a": 1, "ab": 2, "ba": 2}


@pytest.fixture(scope="module")
def processor():
    return tiny.new_model()[1]


def grammar_of(folder: Path, text: str):
    path = folder / "grammar.yaml"
    path.write_text(text, encoding="utf-8")
    return read_grammar(path)


@pytest.fixture(scope="module")
def recogniser(processor, tmp_path_factory):
    return CommandRecogniser(grammar_of(tmp_path_factory.mktemp("small"), SMALL), processor, frame_s=0.5)


def sentences() -> dict[str, tuple[str, dict]]:
    """All of SMALL's, with what they mean: 2 * 3 * 2, 3 * 3, and 1, of which "bb" is its own."""
    found = {}
    for first, ab, last in itertools.product(["", "c "], AB, ["b", "c a"]):
        found[f"{first}{ab} {last}"] = ("one", {"ab": AB[ab]})
    for first, second in itertools.product(AB, AB):
        found[f"{first} {second}"] = ("two", {"ab": AB[second]})
    return found | {"bb": ("two", {})}


def test_the_graph_has_all_sentences_and_no_others(recogniser):
    inside = sentences()
    assert len(inside) == 22
    for text, meaning in inside.items():
        assert recogniser.parse(text) == meaning, text
    for letters in itertools.product("abc ", repeat=4):
        text = " ".join("".join(letters).split())
        assert (recogniser.parse(text) is not None) == (text in inside), text
    assert recogniser.parse("") is None and recogniser.parse("x") is None and recogniser.parse("A, b!") is not None


def test_parts_are_recognised_in_any_order(processor, tmp_path):
    text = "{commands: {one: '([{x}] & c & [b a]) bb {y}'}, slots: {x: [a, ab], y: ['[{x}] b']}}"
    recogniser = CommandRecogniser(grammar_of(tmp_path, text), processor, frame_s=0.04)
    for x, y in itertools.product(["", "a", "ab"], ["b", "a b", "ab b"]):
        for chosen in [["c"], ["c", "b a"]]:
            for order in itertools.permutations([*chosen, x] if x else chosen):
                meaning = recogniser.parse(" ".join([*order, "bb", y]))
                assert meaning == ("one", {"x": x, "y": y} if x else {"y": y}), (order, y)
    for outside in ("b a bb b", "c c bb b", "c bb", "a a c bb b", "c b bb b", "c bb a"):
        assert recogniser.parse(outside) is None


def test_ten_thousand_numbers_are_some_hundred_letters(processor, tmp_path):
    letters = "abcdefghijklmnopqrstuvwxyz "
    processor = type(processor)(processor.feature_extractor, processor.build_tokenizer(letters))
    text = "{commands: {set: 'to {n}'}, slots: {n: {numbers: [0, 9999]}}}"
    recogniser = CommandRecogniser(grammar_of(tmp_path, text), processor, frame_s=0.04)
    assert len(recogniser.graph.letters) < 400
    for number, said in {
        0: "zero",
        14: "fourteen",
        33: "thirty three",
        905: "nine hundred and five",
        1900: "one thousand nine hundred",
        9999: "nine thousand nine hundred ninety nine",
    }.items():
        assert recogniser.parse(f"to {said}") == ("set", {"n": number})
    assert recogniser.parse("to three three") is None and recogniser.parse("to") is None


def test_the_grammar_of_the_home_is_that_of_its_commands():
    """What the synthetic corpus says of light, timers and the like is in it, reminders and questions are not."""
    folder = ROOT / "recipes"
    processor = DeepSpeech2Processor.from_pretrained(folder / "quickstart" / "starter")
    recogniser = CommandRecogniser(read_grammar(folder / "commands" / "home.yaml"), processor, frame_s=0.04)
    for text, meaning in {
        "please dim the hall lamp to ninety percent": ("light", {"room": "hall", "light": "lamp", "level": 90}),
        "set the heating in the bathroom to twenty two degrees": (
            "heating",
            {"room": "bathroom", "degrees": 22},
        ),
        "set a timer for forty five minutes for the bread": ("timer", {"minutes": 45, "dish": "bread"}),
        "turn the radio off": ("device", {"device": "radio", "switch": "off"}),
        "what is the weather in paris tomorrow": None,
        "remind me to feed the cat at ten": None,
    }.items():
        assert recogniser.parse(text) == meaning
    said = list(itertools.islice(home_sentences(np.random.default_rng(0)), 500))
    assert 0.4 < np.mean([recogniser.parse(text) is not None for text in said]) < 0.7


def alignments(text: str, num_frames: int, processor, blank: int) -> set[tuple[int, ...]]:
    """Every CTC path of so many frames that spells a text."""
    found = set()
    for path in itertools.product(range(len(processor.tokenizer)), repeat=num_frames):
        labels = [label for label, _ in itertools.groupby(path) if label != blank]
        if labels == processor.encode(text):
            found.add(path)
    return found


def test_the_best_path_is_the_best_of_all_paths(processor, tmp_path, monkeypatch):
    """Against every path of five frames that spells a sentence, with free blanks and spaces on both sides."""
    monkeypatch.setattr(automaton, "FILLER_COST", np.inf)
    monkeypatch.setattr(recognition, "WORST_WORD", 0.0)
    recogniser = CommandRecogniser(grammar_of(tmp_path, "{commands: {x: 'a [b]', y: bb, z: c a}}"), processor, 0.5)
    blank, space = recogniser.blank, recogniser.space
    texts = [
        f"{before}{text}{behind}" for text in ("a", "a b", "bb", "c a") for before in ("", " ") for behind in ("", " ")
    ]
    paths = {path: text.strip() for text in texts for path in alignments(text, 5, processor, blank)}
    rows = np.array(list(paths))
    for seed in range(20):
        log_probs = np.log(np.random.default_rng(seed).dirichlet(np.full(len(processor.tokenizer), 0.3), 5))
        log_probs = np.maximum(log_probs, -30).astype(np.float32)
        scores = log_probs[np.arange(5), rows].sum(axis=1)
        best = recogniser.graph.best_path(log_probs, blank)
        command = recogniser.recognise(log_probs)
        # Beyond the ends a frame may be blank and the next one a space, as often as it likes.
        assert best.score >= scores.max() - 1e-4
        if best.score < scores.max() + 1e-4:
            assert command.text == list(paths.values())[int(scores.argmax())]
        states, count = best.states, best.count
        own = np.where(states >= count, blank, recogniser.graph.letters[states % count])
        emitted = np.where(states < 0, log_probs[:, [blank, space]].max(axis=1), log_probs[np.arange(5), own])
        assert emitted.sum() == pytest.approx(best.score, abs=1e-4)
        ratio = best.score - log_probs.max(axis=1).sum()
        assert command.score == pytest.approx(ratio / len(command.text), abs=1e-4)


@pytest.mark.parametrize(
    ("said", "meant", "num_letters"),  # of the filler, with its spaces but for the one after the last word
    [
        ("ca c bb b", "c bb b", 3),
        ("c bb ab a b", "c bb b", 5),
        ("c bb b ab", "c bb b", 2),
        ("c bb cac b", "c bb b", 4),
    ],
)
def test_speech_between_words_is_skipped_at_a_cost(processor, tmp_path, said, meant, num_letters):
    recogniser = CommandRecogniser(grammar_of(tmp_path, "{commands: {x: 'c bb b'}}"), processor, 0.5)
    log_probs = spoken(processor, said)
    command = recogniser.recognise(log_probs)
    assert command.text == meant
    cost = automaton.FILLER_COST + automaton.FILLER_LETTER_COST * num_letters
    assert -command.score == pytest.approx(cost / len(meant) + recognition.WORST_WORD * cost, abs=0.01)
    best = recogniser.graph.best_path(log_probs, recogniser.blank)
    assert recogniser.read(best.letters)[1] == meant


def spoken(processor, text: str, sure: float = 12.0) -> np.ndarray:
    """Log-probabilities (T, V): two frames of silence, each letter and a blank, two frames of silence."""
    ids = [0, 0, *(label for letter in processor.encode(text) for label in (letter, 0)), 0, 0]
    logits = sure * np.eye(len(processor.tokenizer), dtype=np.float32)[ids]
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_what_is_said_is_recognised_with_its_slots_and_times(recogniser, processor):
    """Frames of 0.5 s: the first letter in frame 2, from 0.75 s; the last one in frame 8, to 4.25 s."""
    command = recogniser.recognise(spoken(processor, "ab b"))
    assert (command.name, command.text, command.slots) == ("one", "ab b", {"ab": 2})
    assert command.accepted and command.score == pytest.approx(0, abs=1e-3)
    assert (command.start_s, command.end_s) == (0.75, 4.25)
    assert "one(ab 2)" in str(command) and json.loads(json.dumps(command.to_dict()))["slots"] == {"ab": 2}


def test_a_wrong_word_counts_more_than_the_same_loss_in_all_words(processor, tmp_path):
    """Six nats are lost: in "c bb b" one letter of each word has 2 less than the blank, or one letter of one has 6."""
    recogniser = CommandRecogniser(grammar_of(tmp_path, "{commands: {x: 'c bb b'}}"), processor, 0.5)
    scores = []
    for losses in ({"c": 2.0, "b": 2.0}, {"c": 6.0}):
        log_probs = spoken(processor, "c bb b")
        for letter, loss in losses.items():
            frames = np.flatnonzero(log_probs.argmax(axis=1) == processor.encode(letter)[0])
            for frame in frames[[0]] if letter == "c" else frames[[0, -1]]:
                log_probs[frame, recogniser.blank] = loss
        scores.append(recogniser.recognise(log_probs).score)
    assert scores == pytest.approx([-6 / 6 - recognition.WORST_WORD * worst for worst in (2, 6)], abs=0.01)


def test_what_is_outside_is_rejected_and_says_so(recogniser, processor):
    command = recogniser.recognise(spoken(processor, "cc cc cc cc"))
    assert command.name is None and not command.accepted and command.best and command.score < -4
    assert command.confidence < 0.5 and "rejected" in str(command)


@pytest.mark.parametrize("frames", [0, 1])
def test_too_short_for_any_command(recogniser, processor, frames):
    command = recogniser.recognise(spoken(processor, "a")[:frames])
    assert command.name is None and command.best is None and str(command) == "rejected"
    assert command.to_dict()["score"] is None


def test_the_threshold_is_the_lowest_score_accepted(recogniser, processor):
    heard = spoken(processor, "c bb")  # the best sentence leaves out the c or changes it
    score = recogniser.recognise(heard).score
    assert score < -1
    for threshold, accepted in ((score, True), (score + 0.01, False)):
        given = (recogniser.grammar, processor, 0.5, 0.0, Acceptance(threshold, 0.5, 1.0))
        command = CommandRecogniser(*given).recognise(heard)
        assert command.accepted == accepted
        assert command.confidence == pytest.approx(1 / (1 + np.exp(-(0.5 * score + 1))))


def test_words_that_the_model_cannot_write_are_all_named(processor, tmp_path):
    faults = r"2 words that the model cannot write: '!' \(empty after normalisation\); 'xa' \('x'\)"
    with pytest.raises(ValueError, match=faults):
        build_graph(grammar_of(tmp_path, "{commands: {p: '{s} xa'}, slots: {s: ['!', b]}}"), processor)


def test_words_that_are_written_alike_mean_one_thing(processor, tmp_path):
    """The model has no capitals and no hyphens: the second value would take the first one's place."""
    text = "{commands: {p: '{s} {t}'}, slots: {s: {Ab: 1, ab: 2}, t: {a-b: 1, a b: 2, A b: 1}}}"
    with pytest.raises(ValueError, match=r"slot 's' gives 'ab' two values, 1 and 2\n  slot 't' gives 'a b' two"):
        CommandRecogniser(grammar_of(tmp_path, text), processor, frame_s=0.04)
    text = "{commands: {p: '{s}'}, slots: {s: {Ab: 1, ab: 1}}}"
    assert CommandRecogniser(grammar_of(tmp_path, text), processor, frame_s=0.04).parse("AB") == ("p", {"s": 1})


def test_a_short_command_is_no_likelier_than_a_long_one(processor, tmp_path):
    """Each letter 3 nats below the likeliest one, be it 1 or 5: as a sum -3 and -15, by the letters -3 both. The worst
    word has 3, or 6 with its space."""
    short, long = "{commands: {x: a}}", "{commands: {x: a b a}}"
    for text, said, worst in ((short, "c", 3), (long, "ccccc", 6)):
        wanted = {"c": "a", "ccccc": "a b a"}[said]
        log_probs = np.full((2 * len(wanted) + 1, len(processor.tokenizer)), -20, np.float32)
        log_probs[::2, 0] = 0.0
        log_probs[1::2, processor.encode("c")] = 0.0
        log_probs[np.arange(1, len(log_probs), 2), processor.encode(wanted)] = -3.0
        recogniser = CommandRecogniser(grammar_of(tmp_path, text), processor, 0.04, acceptance=Acceptance(-3.5))
        command = recogniser.recognise(log_probs)
        assert command.score == pytest.approx(-3.0 - recognition.WORST_WORD * worst) and not command.accepted


def test_a_hopeless_score_has_a_confidence_of_nothing(recogniser, processor, recwarn):
    """The logistic of -7 * 1000 is none that a float can hold by way of its exponential."""
    log_probs = np.full((20, len(processor.tokenizer)), -9e3, np.float32)
    log_probs[:, processor.encode("c")] = 0.0
    assert recogniser.recognise(log_probs).confidence == 0.0
    # numpy's, of an overflow; what the collector frees meanwhile may warn of itself
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]


def test_neither_silence_nor_noise_is_a_command(tmp_path):
    """By the starter and the threshold that needs no calibration, with words as short as they get."""
    model, processor = load_model(str(ROOT / "recipes" / "quickstart" / "starter"))
    path = tmp_path / "grammar.yaml"
    path.write_text("commands: {short: '(yes|no|go|stop)', switch: 'turn the {what} on'}\nslots: {what: [fan, radio]}")
    listener, rng = Listener(model.eval(), processor), np.random.default_rng(0)
    noise = rng.standard_normal((8, 2 * listener.sampling_rate))
    sounds = [np.zeros(listener.sampling_rate), *(noise * 10 ** np.linspace(-3, -0.7, 8)[:, None])]
    recogniser = load_recogniser(model, processor, path)
    heard = [recogniser.recognise(listener.whole([sound.astype(np.float32)])) for sound in sounds]
    assert [str(command) for command in heard if command.accepted] == []


def test_the_file_of_the_threshold_is_read_back(tmp_path, processor):
    path = tmp_path / "commands.json"
    write_acceptance(path, Acceptance(-12.5, 0.2, 3.0), {"model": "m"})
    assert read_acceptance(path) == Acceptance(-12.5, 0.2, 3.0)
    (tmp_path / "grammar.yaml").write_text(SMALL)
    model, processor = tiny.new_model()
    loaded = load_recogniser(model, processor, tmp_path / "grammar.yaml", path)
    assert loaded.acceptance.threshold == -12.5
    whole = {"score": SCORE, "threshold": -1, "slope": 1, "offset": 1}
    path.write_text(json.dumps(whole))
    assert read_acceptance(path) == Acceptance(-1, 1, 1)
    old = whole | {"score": "letters"}
    for wrong in ("", [], whole | {"threshold": "low"}, {"score": SCORE}, whole | {"slope": float("nan")}, old):
        path.write_text(json.dumps(wrong) if wrong else "")
        with pytest.raises(ValueError, match=r"is not a commands.json of this version.*expected score, threshold"):
            read_acceptance(path)
