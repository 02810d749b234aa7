"""A grammar as its YAML declares it: what may be said, and every fault of it at once."""

import re
from pathlib import Path

import pytest

from deepspeech2.data.grammars.grammar import AnyOrder, Choice, Row, Token
from deepspeech2.data.grammars.reading import read_grammar


def grammar_of(folder: Path, text: str):
    path = folder / "grammar.yaml"
    path.write_text(text, encoding="utf-8")
    return read_grammar(path)


def test_slots_are_lists_pairs_and_numbers(tmp_path):
    grammar = grammar_of(
        tmp_path,
        """
        commands: {go: "go to the {room} {times} times at {level}"}
        slots:
          room: [kitchen, living  room]
          times: {once: 1, twice: 2}
          level: {numbers: [90, 105, 5]}
        """,
    )
    assert grammar.slots["room"] == {"kitchen": "kitchen", "living room": "living room"}
    assert grammar.slots["times"] == {"once": 1, "twice": 2}
    hundreds = {"one hundred": 100, "one hundred and five": 105, "one hundred five": 105}
    assert grammar.slots["level"] == {"ninety": 90, "ninety five": 95} | hundreds


def test_numbers_can_be_a_word_that_is_said(tmp_path):
    grammar = grammar_of(tmp_path, "{commands: {a: 'open {app}'}, slots: {app: {numbers: sheet, mail: mail}}}")
    assert grammar.slots["app"] == {"numbers": "sheet", "mail": "mail"}


def test_numbers_are_spoken_in_another_language(tmp_path):
    grammar = grammar_of(tmp_path, "{language: de, commands: {a: '{n} grad'}, slots: {n: {numbers: [20, 21]}}}")
    assert grammar.slots["n"] == {"zwanzig": 20, "einundzwanzig": 21}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "commands are missing"),
        (
            "comands: {a: b}",
            "key 'comands'; expected commands, parts, slots, language; did you mean 'commands'?",
        ),
        ("commands: [a]", "commands is ['a']; expected 'name: ...' pairs"),
        ("commands: {a: []}", "command 'a' has no phrase"),
        ("commands: {a: [on]}", "command 'a' has True: YAML reads on, off, yes and no as true and false. Put"),
        ("commands: {off: a}", "commands has False: YAML reads"),
        ("commands: {a: 5}", "command 'a' has 5; expected words"),
        ("commands: {a: '(b|c'}", "command 'a', phrase '(b|c': '(' has no closing bracket"),
        ("commands: {a: 'b] c'}", "phrase 'b] c': ']' has no opening bracket"),
        ("commands: {a: '(b] c'}", "phrase '(b] c': ']' has no opening bracket"),
        ("commands: {a: 'b { c'}", "unexpected '{'; a slot or a part is written as {name}"),
        ("commands: {a: '[b] [c]'}", "all of it is optional"),
        ("commands: {a: 'b|'}", "all of it is optional"),
        ("commands: {a: ''}", "all of it is optional"),
        (
            "{commands: {a: 'to {rooom}'}, slots: {room: [hall]}}",
            "no slot or part 'rooom'; did you mean 'room'?",
        ),
        ("{commands: {a: b}, slots: {room: []}}", "slot 'room' is []; expected a list of phrases"),
        ("{commands: {a: b}, slots: {room: hall}}", "slot 'room' is 'hall'; expected a list of phrases"),
        ("{commands: {a: b}, slots: {state: [on, 'off']}}", "slot 'state' has True: YAML reads on, off"),
        ("{commands: {a: b}, slots: {level: [10]}}", "slot 'level' has 10; expected words"),
        ("{commands: {a: b}, slots: {room: {hall: [a]}}}", "the value of 'hall' in slot 'room' has ['a']"),
        ("{commands: {a: b}, slots: {n: {numbers: [1]}}}", "expected {numbers: [from, to]}"),
        (
            "{commands: {a: b}, slots: {n: {numbers: [1, 9], all: 10}}}",
            "A list makes it a range; as a word that is said",
        ),
        (
            "{commands: {a: b}, slots: {n: {numbers: {from: 1}}}}",
            "the value of 'numbers' in slot 'n' has {'from': 1}; expected text or a whole number, or [from, to] for a",
        ),
        ("{commands: {a: b}, slots: {n: {numbers: [5, 1]}}}", "slot 'n' has numbers [5, 1]; expected whole numbers"),
        ("{commands: {a: b}, slots: {n: {numbers: [1, 2.5]}}}", "slot 'n' has numbers [1, 2.5]"),
        ("{commands: {a: b}, slots: {n: {numbers: [0, 9, 0]}}}", "and a step of 1 or more"),
        (
            "{commands: {a: b}, slots: {n: {numbers: [0, 20000]}}}",
            "has 20,001 numbers; expected at most 20,000",
        ),
        ("{commands: {a: b}, slots: {n: {numbers: [0, 99999999999999999999]}}}", "has 100,000,000,000,000,000,000 n"),
        (f"{{commands: {{a: b}}, slots: {{n: {{numbers: [0, {10**400}, {10**400}]}}}}}}", "too large for num2words"),
        (
            "{language: no, commands: {a: b}, slots: {n: {numbers: [1, 2]}}}",
            "language is False; expected a language",
        ),
        ("{commands: {a: 'light[s] on'}}", "'[' needs a space before it: only whole words"),
        ("{commands: {a: '[un]lock it'}}", "'lock' needs a space before it"),
        ("{commands: {a: '{n}{n}'}, slots: {n: [b]}}", "'{n}' needs a space before it"),
        ("{commands: {a: b}, slots: {s: ['(red|blue']}}", "slot 's', phrase '(red|blue': '(' has no closing"),
        ("{commands: {a: b}, slots: {s: ['{t}']}}", "slot 's', phrase '{t}': there is no slot or part 't'"),
        ("{commands: {a: b}, slots: {s: ['[red]']}}", "slot 's', phrase '[red]': all of it is optional"),
        ("{commands: {a: b}, slots: {s: ['{s} red']}}", "slot 's', phrase '{s} red': {s} contains itself: s -> s"),
        ("{commands: {a: b}, parts: {p: '{s}'}, slots: {s: ['{p} red']}}", "phrase '{p} red': {s} contains itself"),
        ("{commands: {a: b}, parts: {p: '{q} c', q: 'd {p}'}}", "{p} contains itself: p -> q -> p"),
        ("{commands: {a: b}, parts: {p: []}}", "part 'p' has no phrase; expected a phrase or a list"),
        ("{commands: {a: b}, parts: {p: c}, slots: {p: [d]}}", "'p' is a part and a slot; expected two names"),
        ("{commands: {a: b}, slots: {s: {c: '{d}'}}}", "the value '{d}' has {d}, but the phrase has no such slot"),
        (
            "{commands: {a: b}, slots: {hour: [one], s: {'at {hour}': '{hours}:00'}}}",
            "has {hours}, but the phrase has no such slot; did you mean 'hour'?",
        ),
        ("{commands: {a: b}, slots: {s: {c: '{d'}}}", "the value '{d' has a stray brace; expected {name}"),
        (
            "{commands: {a: b}, slots: {n: [one], s: {'go [{n}]': '{n}'}}}",
            "slot 's' gives 'go' an empty value; expected text or a whole number",
        ),
        (
            "{commands: {a: b}, slots: {n: {numbers: [0, 999]}, s: ['{n} to {n}']}}",
            f"slot 's' has {(1000 + 9 * 99) ** 2:,} values; expected at most 20,000: use two slots",
        ),
        ("{commands: {a: 'b /2/ c'}}", "the weight '/2/' is 0 or in the middle; expected one above 0 before an"),
        ("{commands: {a: '/0/ b|c'}}", "the weight '/0/' is 0 or in the middle"),
        ("{commands: {a: 'b &'}}", "'&' joins parts in any order; expected one word, slot or bracket on each side"),
        ("{commands: {a: 'b & [c] d'}}", "'&' joins parts in any order; expected one word, slot or bracket on each"),
        ("{commands: {a: 'b & c & d & e & f & g'}}", "'&' joins 6 parts in any order; expected at most 5"),
        ("{commands: {a: b}, slots: {s: {a b: 1, 'a  b': 2}}}", "slot 's' gives 'a b' two values, 1 and 2"),
        (
            "{commands: {a: b}, slots: {s: {half: 0.5}}}",
            "'half' in slot 's' has 0.5; expected text or a whole number",
        ),
        (
            "{language: estonian, commands: {a: b}, slots: {n: {numbers: [1, 2]}}}",
            "num2words does not support language 'estonian'",
        ),
        ("{language: xx, commands: {a: b}, slots: {n: {numbers: [1, 2]}}}", "num2words does not support language 'xx'"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path, text, fault):
    with pytest.raises(ValueError, match=re.escape(fault)):
        grammar_of(tmp_path, text)


def test_a_value_is_composed_of_what_its_phrase_says(tmp_path):
    grammar = grammar_of(
        tmp_path,
        """
        commands: {order: "coffee with {milk} at {time}"}
        parts: {kind: "(soy|whole) milk"}
        slots:
          amount: {some: some, a bit of: little, a little: little}
          milk: ["[{amount}] {kind}", no milk]
          hour: {one: 1, two: 2}
          time: {"half past {hour}": "{hour}:30", "{hour} o'clock": "{hour}", noon: 12}
        """,
    )
    milk = {f"{kind} milk": f"{kind} milk" for kind in ("soy", "whole")}
    composed = {f"{said} {kind}": f"{value} {kind}" for said, value in grammar.slots["amount"].items() for kind in milk}
    assert grammar.slots["milk"] == milk | composed | {"no milk": "no milk"}
    assert grammar.slots["time"] == {
        **{"half past one": "1:30", "half past two": "2:30", "one o'clock": 1, "two o'clock": 2, "noon": 12}
    }
    # Half of the first phrase has an amount. Each phrase is drawn as often as the other.
    weights = grammar.weights["milk"]
    assert weights["soy milk"] == 1 / 2 * 1 / 2 and weights["no milk"] == 1
    assert weights["a little whole milk"] == pytest.approx(1 / 2 * 1 / 3 * 1 / 2)


def test_a_list_of_phrases_is_a_choice_with_weights(tmp_path):
    grammar = grammar_of(tmp_path, "{commands: {a: ['/3/ b | c', '{p} & d'], e: 'R&B'}, parts: {p: '[/2/ f]'}}")
    first, second, third = grammar.commands["a"].options
    assert grammar.commands["a"].weights == (3.0, 1.0, 1.0)
    assert first == Row((Token("b"),)) and second == Row((Token("c"),)) and isinstance(third, AnyOrder)
    (part,) = third.parts[0].parts[0].options
    assert part.parts == (Choice((Row((Token("f"),)), Row(())), (2.0, 1.0)),)
    assert grammar.commands["e"].options == (Row((Token("R&B"),)),)


def test_a_grammar_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"there is no grammar '.*g.yaml'; expected a YAML file"):
        read_grammar(tmp_path / "g.yaml")


def test_all_faults_are_reported_at_once(tmp_path):
    with pytest.raises(ValueError, match="is not a valid grammar") as raised:
        grammar_of(tmp_path, "{commands: {a: '{b', c: '{d}'}, slots: {e: [], f: [true]}}")
    assert len(str(raised.value).splitlines()) == 1 + 4
