"""
Search for the language model weight (alpha) and the word insertion bonus (beta) with the lowest WER on a split.

    python recipes/tune_decoder.py MODEL lm.arpa --dataset_name FOLDER --dataset_config clean --split validation

The model runs over the split once and its output is stored on the disk. Decoder workers then decode it with each pair
of values. The recipe writes trials.md, heat_map.png, decoder.json and a copy of the language model into --output_dir.
Copy the last two into MODEL to make them its own decoder.
"""

import argparse
import itertools
from dataclasses import replace

import numpy as np

from deepspeech2.config import options
from deepspeech2.data.splits import load_split
from deepspeech2.decoding.decoder import Decoder, frame_times
from deepspeech2.decoding.options import DECODER_NAME, DecoderOptions, save_options
from deepspeech2.decoding.tuning import best_trial, edges_of, stored_split, trials_table, try_options
from deepspeech2.evaluation.reports import heat_map, save_png
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import run
from deepspeech2.system.devices import count_workers, set_up_process
from deepspeech2.system.files import write_whole

ALPHAS = [0.2, 0.4, 0.6, 0.8, 1.0]
BETAS = [0.0, 1.0, 2.0, 3.0, 4.0]


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/tune_decoder.py", __doc__)
    options.add_model_argument(parser)
    parser.add_argument("language_model", metavar="LM", help="ARPA file, such as train_lm.py writes")
    parser.add_argument(
        "--alphas", nargs="+", type=float, default=ALPHAS, help="language model weights to try (default: %(default)s)"
    )
    parser.add_argument(
        "--betas",
        nargs="+",
        type=float,
        default=BETAS,
        help="word insertion bonuses to try, in nats (default: %(default)s)",
    )
    parser.add_argument(
        "--beam_size", type=int, default=100, help="number of hypotheses kept at each frame (default: %(default)s)"
    )
    parser.add_argument(
        "--hotwords", nargs="+", default=[], metavar="WORD", help="words that the decoder prefers (default: none)"
    )
    options.add_split_options(parser)
    options.add_compute_options(parser, workers="decoder workers")
    options.add_output_option(parser, "outputs/decoder")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    num_workers = count_workers(args.num_workers)
    device = set_up_process(args)
    corpora = load_split(options.split_arguments(args), args.split)
    model, processor = load_model(args.model)
    start = DecoderOptions(beam_size=args.beam_size, language_model=args.language_model, hotwords=tuple(args.hotwords))
    times = frame_times(model, processor)
    Decoder(processor, *times, start)  # raises the faults before the work starts
    alphas, betas = sorted(set(args.alphas)), sorted(set(args.betas))
    tried_options = [replace(start, alpha=alpha, beta=beta) for alpha, beta in itertools.product(alphas, betas)]
    model.to(device)
    with stored_split(model, processor, corpora, args.output_dir, args.batch_seconds) as stored:
        trials = try_options(stored, Decoder(processor, *times), [DecoderOptions(), *tried_options], num_workers)

    greedy, *tried = trials
    best = best_trial(tried)
    write_whole(args.output_dir / "trials.md", trials_table(trials))
    wers = np.array([trial.scores.wer for trial in tried]).reshape(len(alphas), len(betas))
    save_png(heat_map(alphas, betas, wers), args.output_dir / "heat_map.png")
    save_options(best.options, args.output_dir)
    print(f"greedy: {greedy.scores.summary()}")
    print(f"alpha {best.options.alpha:g}, beta {best.options.beta:g}: {best.scores.summary()}")
    for name in edges_of(best.options, tried):
        print(f"the best {name} is at the edge of the values tried; extend --{name}s to look for a better one")
    print(f"Decoder: {args.output_dir / DECODER_NAME}")
    return 0


if __name__ == "__main__":
    run(main)
