"""
Calibrate the word confidences of a decoder on one split of real speech, and check them on other splits.

    python recipes/calibrate.py MODEL --dataset_name FOLDER --dataset_config clean --split validation \\
        --check other/test
    python recipes/calibrate.py MODEL --decoder outputs/decoder/decoder.json --dataset_name FOLDER --split validation

The recipe writes reliability.png and calibration.json into --output_dir. It writes the two calibration parameters into
the given decoder.json, or, without --decoder, into MODEL/decoder.json, which it makes for greedy decoding if there is
none.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from deepspeech2.config import options
from deepspeech2.data.splits import load_split
from deepspeech2.decoding.calibration import Calibration, expected_calibration_error, fit_calibration, reliability
from deepspeech2.decoding.decoder import GREEDY_NAME, Decoder, frame_times
from deepspeech2.decoding.options import DECODER_NAME, DecoderOptions, read_options, write_options
from deepspeech2.decoding.tuning import judge_words, stored_split
from deepspeech2.evaluation.reports import reliability_diagram, save_png
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import run
from deepspeech2.system.devices import set_up_process
from deepspeech2.system.files import write_whole


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/calibrate.py", __doc__)
    options.add_model_argument(parser)
    parser.add_argument(
        "--check",
        nargs="+",
        default=[],
        metavar="SPLIT",
        help="splits to check the calibration on: SPLIT or CONFIG/SPLIT (default: none)",
    )
    options.add_split_options(parser)
    options.add_decoder_option(parser)
    options.add_compute_options(parser)
    options.add_output_option(parser, "outputs/calibration")
    return parser


def main(argv: list[str]) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    device = set_up_process(args)
    if args.decoder in (None, GREEDY_NAME) and not Path(args.model).is_dir():
        parser.error(
            f"{args.model} is not a local folder, so {DECODER_NAME} cannot be written into it. Create a file with the "
            f"content {{}} and name it with --decoder: it becomes the {DECODER_NAME}"
        )
    path = Path(args.model, DECODER_NAME) if args.decoder in (None, GREEDY_NAME) else Path(args.decoder)
    given = read_options(path) if path.is_file() or args.decoder not in (None, GREEDY_NAME) else DecoderOptions()
    if args.decoder == GREEDY_NAME and replace(given, calibration=None) != DecoderOptions():
        parser.error(f"{path} is not for greedy decoding and would be overwritten; leave out --decoder, or move it")
    data = options.split_arguments(args)
    corpora = {split: load_split(data, split) for split in dict.fromkeys([args.split, *args.check])}
    raw_options = replace(given, calibration=None)
    model, processor = load_model(args.model)
    decoder = Decoder(processor, *frame_times(model, processor), raw_options)
    model.to(device)
    judged = {}
    for split, of_split in corpora.items():
        with stored_split(model, processor, of_split, args.output_dir, args.batch_seconds) as stored:
            judged[split] = judge_words(stored, decoder)

    calibration = fit_calibration(*judged[args.split])
    lines, errors = {}, {}
    for split, (raw, correct) in judged.items():
        for name, scaling in {"raw": Calibration(), "calibrated": calibration}.items():
            bins = reliability(scaling(raw), correct)
            error = expected_calibration_error(bins)
            errors[f"{split} {name}"] = {"ece": error, "words": len(raw), "right": float(correct.mean()), "bins": bins}
            lines[f"{split}, {name}: ECE {100 * error:.1f} %"] = bins
    print("\n".join(lines))
    save_png(reliability_diagram(lines), args.output_dir / "reliability.png")
    found = {"fitted_on": args.split, "calibration": asdict(calibration), "splits": errors}
    write_whole(args.output_dir / "calibration.json", json.dumps(found, indent=2))
    replaced = ", replaced" if path.is_file() else ""
    write_options(replace(raw_options, calibration=calibration), path)
    print(f"Decoder: {path}{replaced}")
    return 0


if __name__ == "__main__":
    run(main)
