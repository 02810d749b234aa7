"""
Scores a checkpoint on a split: word and character error rate with intervals, speed, and a report of the errors.

    python recipes/score.py outputs/quickstart --dataset_name synthetic --split test
    python recipes/score.py USER/MODEL --dataset_name openslr/librispeech_asr --dataset_config clean \
        --split validation --baseline OTHER/MODEL --output_dir outputs/score

Writes utterances.jsonl (a line for each utterance), results.json and index.html into `--output_dir`. With `--baseline`
both models are scored and compared on the same utterances.
"""

import argparse
import json
import logging
import shlex
import sys
from pathlib import Path

from accelerate import PartialState

from deepspeech2.corpora import load_corpus
from deepspeech2.data import EvaluationStream
from deepspeech2.exits import end_run
from deepspeech2.loading import load_model
from deepspeech2.metrics import compare
from deepspeech2.reports import write_score_report
from deepspeech2.scoring import score_model


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/score.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("--baseline", metavar="MODEL", help="second model, to compare with on the same utterances")
    parser.add_argument("--dataset_name", required=True, help="Hub id, folder, manifest file or 'synthetic'")
    parser.add_argument("--dataset_config", help="configuration of the dataset")
    parser.add_argument("--split", default="test", help="split; a+b joins several (default: %(default)s)")
    parser.add_argument("--dataset_revision", help="revision of a Hub dataset")
    parser.add_argument("--text_column", default="text", help="column of the transcripts (default: %(default)s)")
    parser.add_argument("--audio_column", default="audio", help="column of the audio (default: %(default)s)")
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="audio of a batch (default: %(default)s)")
    parser.add_argument(
        "--output_dir", type=Path, default=Path("outputs/score"), help="where to write (default: %(default)s)"
    )
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    for noisy in ("httpx", "datasets", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    state = PartialState()
    scored = {}
    for name in dict.fromkeys([args.model, args.baseline or args.model]):
        model, processor = load_model(name)
        corpora = load_corpus(
            args.dataset_name,
            args.dataset_config,
            args.split,
            revision=args.dataset_revision,
            text_column=args.text_column,
            audio_column=args.audio_column,
        )
        stream = EvaluationStream(
            corpora,
            processor,
            batch_seconds=args.batch_seconds,
            rank=state.process_index,
            world_size=state.num_processes,
            drops_dir=args.output_dir / "drops",
        )
        scored[name] = score_model(model.to(state.device), processor, stream)
        state.print(f"{name}: {scored[name][0].summary()} · RTFx {scored[name][1]:.1f}")
    if not state.is_main_process:
        return 0
    scores, rtfx = scored[args.model]
    comparison = compare(scored[args.baseline][0], scores) if args.baseline else None
    if comparison:
        print(f"{args.baseline} -> {args.model}: {comparison.summary()}")

    command = shlex.join(["python", "recipes/score.py", *argv])
    results = {
        "command": command,
        "model": args.model,
        "dataset": {
            "name": args.dataset_name,
            "config": args.dataset_config,
            "split": args.split,
            "revision": args.dataset_revision,
        },
        "rtfx": rtfx,
        "scores": scores.to_dict(),
        "baseline": args.baseline,
        "comparison": comparison.to_dict() if comparison else None,
    }
    (args.output_dir / "results.json").write_text(json.dumps(results, indent=2, ensure_ascii=False), encoding="utf-8")
    with open(args.output_dir / "utterances.jsonl", "w", encoding="utf-8") as lines:
        for utterance in scores.utterances:
            lines.write(json.dumps(utterance.to_dict(), ensure_ascii=False) + "\n")
    split = " / ".join(part for part in (Path(args.dataset_name).name, args.dataset_config, args.split) if part)
    report = write_score_report(
        args.output_dir,
        scores,
        title=f"{Path(args.model).name} on {split}",
        command=command,
        rtfx=rtfx,
        comparison=comparison,
    )
    print(f"Report: {report}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        end_run("score.py", error)
