"""
Transcribe recordings with an exported model. It needs only onnxruntime, numpy and soundfile, not deepspeech2.

    python recipes/onnx_example.py outputs/quickstart_onnx/model_int8.onnx speech.flac more.wav
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/onnx_example.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="model.onnx or model_int8.onnx in the folder of `deepspeech2 export`"
    )
    parser.add_argument(
        "recordings",
        nargs="+",
        metavar="FILE",
        help="recording (WAV, FLAC, Ogg or MP3) at the sampling rate of the model",
    )
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    if not args.model.is_file():
        sys.exit(f"{args.model} does not exist; expected model.onnx or model_int8.onnx in the folder of an export")
    settings = json.loads((args.model.parent / "processor_config.json").read_text("utf-8"))["feature_extractor"]
    vocabulary = json.loads((args.model.parent / "vocab.json").read_text("utf-8"))
    characters = {number: character for character, number in vocabulary.items()}
    constants = np.load(args.model.parent / "features.npz")
    session = onnxruntime.InferenceSession(args.model)
    for recording in args.recordings:
        try:
            samples, rate = soundfile.read(recording, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            sys.exit(f"{recording} cannot be read: {error}")
        if rate != settings["sampling_rate"]:
            sys.exit(f"{recording} has {rate} Hz; expected {settings['sampling_rate']} Hz: resample it first")
        samples = np.pad(samples.mean(1), settings["n_fft"] // 2, mode=settings["pad_mode"])
        frames = np.lib.stride_tricks.sliding_window_view(samples, settings["n_fft"])[:: settings["hop_length"]]
        magnitude = np.abs(np.fft.rfft(frames * constants["window"]))
        if settings["features"] == "mel":
            features = np.log(np.maximum(magnitude**2 @ constants["filters"], constants["smallest_power"]))
        else:
            features = np.log1p(magnitude)
        if settings["normalization"] == "fixed":  # measured once on training speech
            mean, std = (np.array(settings[name], np.float32) for name in ("feature_mean", "feature_std"))
        else:
            axis = None if settings["normalization"] == "clip" else 0  # over the whole clip, or bin by bin
            count = features.size if axis is None else len(features)
            mean = features.mean(axis, keepdims=True)
            std = np.sqrt(np.square(features - mean).sum(axis, keepdims=True) / max(count - 1, 1))
        features = ((features - mean) / np.maximum(std, constants["smallest_std"]))[None]
        inputs = {"input_features": features, "attention_mask": np.ones(features.shape[:2], np.int32)}
        ids = session.run(["logits"], inputs)[0][0].argmax(-1)
        changes = ids[np.diff(ids, prepend=-1) != 0]
        print("".join(characters[number] for number in changes if number != vocabulary["<pad>"]).strip())


if __name__ == "__main__":
    main(sys.argv[1:])
