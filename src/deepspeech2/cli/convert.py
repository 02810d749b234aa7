"""
Convert a checkpoint of deepspeech.pytorch, of any version, to a model folder for this package and transformers.

    deepspeech2 convert deepspeech.pth --output_dir models/deepspeech

The command executes no code from the checkpoint. It does not need deepspeech.pytorch, omegaconf or Lightning. Use the
folder as MODEL of the other commands, or as --model_name_or_path of recipes/finetune.py.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..config.options import add_output_option


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint file: .pth (v1 to v2.1) or .ckpt (V3)"
    )
    add_output_option(parser, "outputs/convert", "new folder to write the model into")


def main(args: Namespace) -> None:
    print(convert(args.checkpoint, args.output_dir))


def convert(checkpoint: Path, folder: Path) -> str:
    """
    Write a model folder with the model's code, processor and card.

    Args:
        checkpoint: the file of deepspeech.pytorch.
        folder: the model folder, which must not exist.

    Returns:
        One line that describes the model.

    Raises:
        ValueError: the folder exists, or the checkpoint is one that `from_deepspeech_pytorch` refuses.
    """
    from ..evaluation.reports import write_model_card
    from ..model.deepspeech_pytorch import VERSION_NAMES, build, converted_whole, read_origin

    if folder.exists():
        raise ValueError(f"{str(folder)!r} already exists; name a new folder, or remove it")
    with converted_whole(str(checkpoint)):
        origin = read_origin(checkpoint)
        model, processor = build(origin, str(checkpoint))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    config = model.config
    direction = "bidirectional" if config.bidirectional else "unidirectional, with a lookahead convolution"
    version = VERSION_NAMES[origin.version]
    what = f"{config.num_hidden_layers} x {config.hidden_size} {config.rnn_type.upper()}, {direction}"
    write_model_card(
        folder,
        model_name=folder.name,
        base_model=None,
        language="en",
        license="mit",
        datasets=[],
        results=[],
        description=f"A DeepSpeech2 CTC model of deepspeech.pytorch, {what}.",
        origin=f"Converted from `{checkpoint.name}`, a checkpoint of deepspeech.pytorch {version}, by "
        "`deepspeech2 convert`; the features are that version's.",
        training={"parameters": f"{model.num_parameters():,}"},
        limits=[
            "Greedy decoding without a language model, unless you bring one.",
            "The checkpoint does not say what it was trained on, in which language, or under which licence: the card "
            "has deepspeech.pytorch's own (English, MIT). Correct it before you publish it.",
        ],
        sampling_rate=processor.feature_extractor.sampling_rate,
    )
    return (
        f"{folder}: deepspeech.pytorch {version}, {what}, {model.num_parameters() / 1e6:.1f} M parameters, "
        f"{len(processor.tokenizer)} labels"
    )
