"""A checkpoint of deepspeech.pytorch as a model folder."""

from pathlib import Path

from ..evaluation.reports import write_model_card
from ..model.deepspeech_pytorch import VERSION_NAMES, build, converted_whole, read_origin


def convert_deepspeech_pytorch(checkpoint: Path, folder: Path) -> str:
    """
    Writes a model folder with its code, processor and card.

    Args:
        checkpoint: the file.
        folder: where to; a new one.

    Returns:
        What came out, in a line.

    Raises:
        ValueError: the folder is there already, or as `from_deepspeech_pytorch`.
    """
    if folder.exists():
        raise ValueError(f"{str(folder)!r} is already there; name a new folder, or remove it")
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
        "recipes/convert.py; the features are that version's.",
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
