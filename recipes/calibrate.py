"""
Fits the confidences of a decoder's words to real speech, and checks them on other speech.

    python recipes/calibrate.py MODEL --dataset_name FOLDER --dataset_config clean --split validation \
        --check other/test
    python recipes/calibrate.py MODEL --decoder outputs/decoder/decoder.json --dataset_name FOLDER --split validation

Writes reliability.png and calibration.json into `--output_dir`, and the two fitted numbers into the decoder.json that
was given; without --decoder, for greedy decoding, into MODEL/decoder.json.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from deepspeech2.config.options import add_split_options, split_arguments
from deepspeech2.data.splits import load_split
from deepspeech2.decoding.calibration import Calibration, expected_calibration_error, fit_calibration, reliability
from deepspeech2.decoding.decoder import Decoder, frame_times
from deepspeech2.decoding.options import DECODER_NAME, DecoderOptions, read_options, write_options
from deepspeech2.decoding.tuning import judge_words, stored_split
from deepspeech2.evaluation.reports import reliability_diagram, save_png
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import set_up_cpu


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/calibrate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("--decoder", type=Path, metavar="FILE", help="decoder.json (default: greedy)")
    add_split_options(parser)
    parser.add_argument(
        "--check", nargs="+", default=[], metavar="SPLIT", help="splits to check on: SPLIT, CONFIG/SPLIT"
    )
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="audio of a batch (default: %(default)s)")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/calibration"), help="default: %(default)s")
    return parser


def main(argv: list[str]) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    set_up_log()
    set_up_cpu(1)
    if not args.decoder and not Path(args.model).is_dir():
        parser.error(
            f"{args.model} is no folder to write {DECODER_NAME} into: give --decoder, a file which may hold {{}}"
        )
    own = Path(args.model, DECODER_NAME)
    if not args.decoder and own.is_file() and replace(read_options(own), calibration=None) != DecoderOptions():
        parser.error(f"{own} is not greedy and would be written over: name it by --decoder, or move it away")
    corpora = {split: load_split(split_arguments(args), split) for split in dict.fromkeys([args.split, *args.check])}
    options = replace(read_options(args.decoder) if args.decoder else DecoderOptions(), calibration=None)
    model, processor = load_model(args.model)
    decoder = Decoder(processor, *frame_times(model, processor), options)
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
    (args.output_dir / "calibration.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    written = args.decoder or own
    replaced = ", in place of the one that was there" if written.is_file() else ""
    write_options(replace(options, calibration=calibration), written)
    print(f"Decoder: {written}{replaced}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, ValueError, OSError, ImportError) as error:
        end_run("calibrate.py", error)
