"""
Export a model to ONNX in fp32 and int8, and keep the export only if its word error rate (WER) matches PyTorch.

    deepspeech2 export outputs/quickstart --output_dir outputs/quickstart_onnx --dataset_name synthetic
    deepspeech2 export USER/MODEL --output_dir outputs/onnx --dataset_name openslr/librispeech_asr \\
        --dataset_config clean --split validation --max_wer_difference 0.2

PyTorch and each export transcribe the split in turn, in one process with --cpu_threads threads. The command creates
--output_dir only when the export passes. Until then, and after a failure, the export is in `OUTPUT_DIR.unverified`,
which the next run replaces. The results are in export.md and export.json. `deepspeech2 transcribe OUTPUT_DIR FILE`
and `deepspeech2 recognise OUTPUT_DIR FILE` run the exported model. recipes/onnx_example.py is a program that does
without this package. Decoding is greedy here, but the model's decoder.json, language model, grammar.yaml and
commands.json are copied.
"""

import shutil
from argparse import ArgumentParser, Namespace
from dataclasses import replace

from ..config.options import (
    add_compute_options,
    add_model_argument,
    add_output_option,
    add_split_options,
    split_arguments,
)


def configure(parser: ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument(
        "--num_utterances", type=int, metavar="N", help="score only the first N utterances of the split (default: all)"
    )
    parser.add_argument(
        "--max_wer_difference",
        type=float,
        default=0.3,
        metavar="POINTS",
        help="maximum increase of the WER over PyTorch, in percentage points (default: %(default)s)",
    )
    add_split_options(parser)
    add_compute_options(parser)
    add_output_option(parser, "outputs/export", "new folder to write the export into")


def main(args: Namespace) -> None:
    import torch

    from ..data.splits import load_split
    from ..data.streams import EvaluationStream
    from ..decoding.decoder import copy_own_decoder
    from ..evaluation.onnx_gate import refuse_worse, write_comparison
    from ..evaluation.scoring import score_model
    from ..inference.voice_commands.recognition import copy_own_commands
    from ..model.loading import load_model
    from ..model.onnx_export import FILES, PYTORCH, OnnxModel, export_onnx
    from ..system.devices import set_up_process

    if args.output_dir.exists():
        raise ValueError(f"--output_dir {str(args.output_dir)!r} already exists; name a new folder, or remove it")
    device = set_up_process(args, num_workers=0)
    corpora = load_split(split_arguments(args), args.split)
    if args.num_utterances:
        corpora = [replace(corpus, stream=corpus.stream.take(args.num_utterances)) for corpus in corpora]
    model, processor = load_model(args.model)
    threads = torch.get_num_threads()

    unverified = args.output_dir.with_name(f"{args.output_dir.name}.unverified")
    if unverified.exists():
        shutil.rmtree(unverified)
    ways = export_onnx(model, processor, unverified)
    models = {PYTORCH: model.eval().to(device)} | {way: OnnxModel(unverified / FILES[way], threads) for way in ways}
    scored = {}
    for way, one in models.items():
        scored[way] = score_model(
            one, processor, EvaluationStream(corpora, processor, batch_seconds=args.batch_seconds)
        )
        print(f"{way}: {scored[way][0].summary()} · RTFx {scored[way][1]:.1f}", flush=True)
    facts = {
        "command": args.command_line,
        "max_wer_difference": args.max_wer_difference,
        "device": str(device),
        "cpu_threads": threads,
    }
    print(f"\n{write_comparison(unverified, scored, facts)}")
    refuse_worse(scored, args.max_wer_difference, unverified)
    copy_own_decoder(model, unverified)
    copy_own_commands(model, unverified)
    unverified.rename(args.output_dir)
    print(f"Verified: {args.output_dir}")
