"""
Check a grammar of voice commands: count its sentences, find ambiguities and words that a model cannot write.

    deepspeech2 grammar home.yaml
    deepspeech2 grammar home.yaml --model MODEL --examples 50 --seed 1

It also prints examples, balanced over commands, alternatives, values and lengths. The exit status is 1 if there are
ambiguities or words that the model cannot write.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data.grammars.grammar import Grammar

MOST = 20  # ambiguities and words that are printed


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("grammar", type=Path, metavar="GRAMMAR", help="YAML file of voice commands")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="folder of a model, or its id on the Hub, to find words that it cannot write (default: not checked)",
    )
    parser.add_argument("--examples", type=int, default=20, help="number of sentences to print (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the examples (default: %(default)s)")


def main(args: Namespace) -> int:
    import numpy as np

    from ..data.grammars.reading import read_grammar
    from ..data.grammars.sampling import sample_sentences
    from ..data.grammars.sentences import Meaning, SentenceGraph

    if args.examples < 0 or args.seed < 0:
        raise ValueError(f"--examples is {args.examples}, --seed {args.seed}; expected 0 or more")
    grammar = read_grammar(args.grammar)
    unwritable, spell = _check_words(grammar, args.model) if args.model else ([], str.lower)
    graph = SentenceGraph(grammar, spell)
    whole = graph.count()
    print(f"{whole.count:,} sentences of {whole.shortest:,} to {whole.longest:,} words")
    if len(grammar.commands) > 1:
        for name in grammar.commands:
            print(f"  {name}: {graph.count(name).count:,}")
    ambiguities = [
        f"{one.text!r}: {one.meanings[0]} or {one.meanings[1]}" for one in islice(graph.ambiguities(), MOST + 1)
    ]
    _print_faults("ambiguities, the shortest sentence of each kind", ambiguities)
    if args.model:
        _print_faults(f"words that {args.model} cannot write", unwritable)
    if args.examples:
        print("examples:")
        for sentence in islice(sample_sentences(grammar, np.random.default_rng(args.seed)), args.examples):
            print(f"  {sentence.text} -> {Meaning(sentence.command, sentence.slots)}")
    return int(bool(ambiguities or unwritable))


def _check_words(grammar: "Grammar", name: str) -> tuple[list[str], Callable[[str], str]]:
    """Return the words that a model cannot write, and its spelling."""
    from ..inference.voice_commands.automaton import unwritable_words
    from ..model.loading import load_model

    _, processor = load_model(name)
    return unwritable_words(grammar, processor), processor.normalize_text


def _print_faults(what: str, faults: list[str]) -> None:
    print(f"{what}: {'' if faults else 'none'}".rstrip())
    for fault in faults[:MOST]:
        print(f"  {fault}")
    if len(faults) > MOST:
        print("  and more")
