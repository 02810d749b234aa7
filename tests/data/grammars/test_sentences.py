"""The sentences of a grammar are counted without writing them out, and two meanings of one are found."""

import itertools
from pathlib import Path

import pytest

from deepspeech2.data.grammars.reading import read_grammar
from deepspeech2.data.grammars.sentences import SentenceCount, SentenceGraph

COMMANDS = Path(__file__).resolve().parents[3] / "recipes" / "commands"


def graph_of(folder: Path, text: str, **options) -> SentenceGraph:
    path = folder / "grammar.yaml"
    path.write_text(text, encoding="utf-8")
    return SentenceGraph(read_grammar(path), **options)


def walk(graph: SentenceGraph) -> set[str]:
    """Every sentence, written out."""
    found, waiting = set(), [(place, graph.words[place]) for places in graph.first.values() for place in places]
    while waiting:
        place, text = waiting.pop()
        if place in graph.last:
            found.add(text)
        waiting += [(behind, f"{text} {graph.words[behind]}") for behind in graph.follow[place]]
    return found


def test_parts_in_any_order_are_said_at_most_once(tmp_path):
    graph = graph_of(tmp_path, "{commands: {a: '([b c] & d & [e]) f'}}")
    inside = {"b c", "d", "e"}
    sentences = {
        " ".join([*order, "f"])
        for count in (1, 2, 3)
        for order in itertools.permutations(inside, count)
        if "d" in order
    }
    assert walk(graph) == sentences and len(sentences) == 1 + 2 * 2 + 6
    assert graph.count() == SentenceCount(11, 2, 5)


def test_a_sentence_with_two_readings_counts_once(tmp_path):
    graph = graph_of(tmp_path, "{commands: {a: '(b|b c) [c|d]', e: 'b|f'}}")
    assert walk(graph) == {"b", "b c", "b d", "b c c", "b c d", "f"}
    assert graph.count().count == 6 and graph.count("a").count == 5 and graph.count("e").count == 2


def test_words_are_counted_as_the_model_spells_them(tmp_path):
    assert graph_of(tmp_path, "{commands: {a: 'On|on|e-mail'}}").count() == SentenceCount(2, 1, 1)
    spelled = graph_of(tmp_path, "{commands: {a: 'e-mail|(e mail)'}}", spell=lambda text: text.replace("-", " "))
    assert spelled.count() == SentenceCount(1, 2, 2)


def test_numbers_beyond_counting_are_exact(tmp_path):
    digits = " ".join(["{n}"] * 30)
    graph = graph_of(tmp_path, f"{{commands: {{a: '{digits}'}}, slots: {{n: {{numbers: [0, 9]}}}}}}")
    assert graph.count() == SentenceCount(10**30, 30, 30)


def test_the_grammars_of_the_recipes():
    home = SentenceGraph(read_grammar(COMMANDS / "home.yaml"))
    polite, minutes, dishes = 4, 99, 6
    assert home.count("timer") == SentenceCount(polite * 2 * minutes * (1 + dishes), 6, 12)
    coffee = SentenceGraph(read_grammar(COMMANDS / "coffee.yaml"))
    size, roast, shots, milk, sugar = 7, 3, 3, 6 * 6, 6 * 3
    one, two, three = size + roast + shots, size * roast + size * shots + roast * shots, size * roast * shots
    modifiers = 1 + one + 2 * two + 6 * three
    extras = 1 + milk + sugar + 2 * milk * sugar
    assert coffee.count().count == 10 * 4 * modifiers * 10 * extras == 266_957_600
    assert not list(home.ambiguities()) and not list(coffee.ambiguities())


def described(graph: SentenceGraph) -> set[tuple[str, frozenset[str]]]:
    return {(one.text, frozenset(map(str, one.meanings))) for one in graph.ambiguities()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{commands: {a: 'go {s}', b: 'go home'}, slots: {s: [home, out]}}", ("go home", {"a(s 'home')", "b()"})),
        (
            "{commands: {a: 'set {s} [lamp]'}, slots: {s: {desk: 1, desk lamp: 2}}}",
            ("set desk lamp", {"a(s 1)", "a(s 2)"}),
        ),
        ("{commands: {a: '{s} now'}, slots: {s: {desk lamp: 2, desk: 1, lamp: 1}}}", None),
        ("{commands: {a: '[{s}] [{t}]  now'}, slots: {s: [b], t: [b]}}", ("b now", {"a(s 'b')", "a(t 'b')"})),
        ("{commands: {a: '{s} [b] | {s} {s}'}, slots: {s: [b]}}", None),  # two readings with one meaning
        ("{commands: {a: '{s} {t} | {t} {s}'}, slots: {s: [b], t: [b]}}", None),
        (
            "{commands: {a: '{s} {t} | {t} {s}'}, slots: {s: {b: 1, c: 2}, t: {b: 1, c: 2}}}",
            ("b c", {"a(s 1, t 2)", "a(t 1, s 2)"}),
        ),
        ("{commands: {a: '[c] & {s} & [b]'}, slots: {s: [b, d]}}", None),
        ("{commands: {a: '(c|c)  d'}}", None),
    ],
)
def test_two_meanings_are_found(tmp_path, text, expected):
    found = described(graph_of(tmp_path, text))
    assert found == ({(expected[0], frozenset(expected[1]))} if expected else set())


def test_each_kind_of_ambiguity_is_named_once(tmp_path):
    graph = graph_of(
        tmp_path,
        "{commands: {a: 'to {n} [now]', b: '[please] to {n}', c: 'to one'}, slots: {n: {numbers: [1, 99]}}}",
    )
    assert {tuple(sorted(meaning.command for meaning in one.meanings)) for one in graph.ambiguities()} == {
        *(("a", "b"), ("a", "c"), ("b", "c"))
    }
    assert len(list(graph.ambiguities())) == 3
