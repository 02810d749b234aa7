"""
Searches the weights of a language model, alpha and beta, for the lowest WER on a validation split.

    python recipes/tune_decoder.py MODEL lm.arpa --dataset_name FOLDER --dataset_config clean --split validation

The model goes through the split once, its output is kept on the disk, and each pair is decoded from there, in
processes. Writes trials.md, heat_map.png and decoder.json, which score.py takes, into `--output_dir`.
"""

import argparse
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepspeech2.config.options import add_split_options, split_arguments
from deepspeech2.data.splits import load_split
from deepspeech2.decoding.decoder import Decoder, frame_times
from deepspeech2.decoding.options import DECODER_NAME, DecoderOptions, write_options
from deepspeech2.decoding.tuning import best_trial, edges_of, stored_split, trials_table, try_options
from deepspeech2.evaluation.reports import heat_map, save_png
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import available_cpus, set_up_cpu

ALPHAS = [0.2, 0.4, 0.6, 0.8, 1.0]
BETAS = [0.0, 1.0, 2.0, 3.0, 4.0]


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/tune_decoder.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("language_model", metavar="LM", help="ARPA file, as train_lm.py writes")
    add_split_options(parser)
    parser.add_argument("--alphas", nargs="+", type=float, default=ALPHAS, help="weights to try (default: %(default)s)")
    parser.add_argument("--betas", nargs="+", type=float, default=BETAS, help="nats for a word (default: %(default)s)")
    parser.add_argument("--beam_size", type=int, default=100, help="texts kept at each frame (default: %(default)s)")
    parser.add_argument("--lexicon", default="", help="file of words, one a line: nothing else is written")
    parser.add_argument("--hotwords", nargs="+", default=[], metavar="WORD", help="words to listen for")
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="audio of a batch (default: %(default)s)")
    parser.add_argument(
        "--processes", type=int, default=available_cpus(), help="that decode (default: the CPUs, here %(default)s)"
    )
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/decoder"), help="default: %(default)s")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    set_up_log()
    set_up_cpu(1)
    corpora = load_split(split_arguments(args), args.split)
    model, processor = load_model(args.model)
    start = DecoderOptions(
        beam_size=args.beam_size,
        language_model=args.language_model,
        lexicon=args.lexicon,
        hotwords=tuple(args.hotwords),
    )
    times = frame_times(model, processor)
    Decoder(processor, *times, start)  # its faults come before the work
    alphas, betas = sorted(set(args.alphas)), sorted(set(args.betas))
    options = [replace(start, alpha=alpha, beta=beta) for alpha, beta in itertools.product(alphas, betas)]
    with stored_split(model, processor, corpora, args.output_dir, args.batch_seconds) as stored:
        trials = try_options(stored, Decoder(processor, *times), [DecoderOptions(), *options], args.processes)

    greedy, *tried = trials
    best = best_trial(tried)
    (args.output_dir / "trials.md").write_text(trials_table(trials), encoding="utf-8")
    wers = np.array([trial.scores.wer for trial in tried]).reshape(len(alphas), len(betas))
    save_png(heat_map(alphas, betas, wers), args.output_dir / "heat_map.png")
    write_options(best.options, args.output_dir / DECODER_NAME)
    print(f"greedy: {greedy.scores.summary()}")
    print(f"alpha {best.options.alpha:g}, beta {best.options.beta:g}: {best.scores.summary()}")
    for name in edges_of(best.options, tried):
        print(f"{name} is best at the end of what was tried: a better value may lie beyond; widen --{name}s")
    print(f"Decoder: {args.output_dir / DECODER_NAME}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, ValueError, OSError, ImportError) as error:
        end_run("tune_decoder.py", error)
