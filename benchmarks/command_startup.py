"""
Time `deepspeech2 transcribe` on one short recording, from a cold process: imports, loading the model, decoding.

    deepspeech2 export recipes/quickstart/starter --output_dir outputs/onnx --dataset_name synthetic --split test
    python benchmarks/command_startup.py recipes/quickstart/starter outputs/onnx
    python benchmarks/command_startup.py outputs/quickstart --recording speech.wav --repeats 5

Without --recording it transcribes five seconds of noise. Each repeat is a process on one thread, and the models take
turns. The table has the medians, in seconds of the clock and of the CPU: on a busy machine only the latter mean
something.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

OUTPUT = Path(__file__).parents[1] / "outputs" / "benchmarks" / "command_startup.md"
RATE, SECONDS = 16_000, 5
STAGES = {
    "help": "`deepspeech2 --help`, the whole process",
    "torch": "import of torch",
    "transformers": "import of transformers' model classes, with accelerate",
    "onnxruntime": "import of numpy, soundfile and onnxruntime",
    "package": "import of the package",
    "load": "loading the model",
    "decode": "reading, decoding and writing",
    "whole": "`deepspeech2 transcribe`, the whole process",
}
HEAVY = ("datasets", "librosa", "matplotlib", "numba", "pandas", "pyarrow", "sklearn")
NEEDLESS_FOR_ONNX = (*HEAVY, "accelerate", "huggingface_hub", "scipy", "torch", "transformers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="folder or Hub id of a model, or an ONNX folder")
    parser.add_argument("--recording", type=Path, metavar="FILE", help="recording (default: five seconds of noise)")
    parser.add_argument("--repeats", type=int, default=3, help="number of processes (default: %(default)s)")
    parser.add_argument("--case", action="store_true", help="measure the stages of one process, this one")
    args = parser.parse_args()
    if args.case:
        (model,) = args.models
        is_onnx = any(Path(model).glob("*.onnx"))
        print(json.dumps((measure_onnx if is_onnx else measure)(model, args.recording)))
        return
    # Imported here, because a case times its imports.
    import numpy as np
    import soundfile
    from measuring import in_a_process, median, write_table

    runs: dict[str, list[dict]] = {model: [] for model in args.models}
    with tempfile.TemporaryDirectory() as folder:
        recording = args.recording or Path(folder) / "noise.wav"
        if not args.recording:
            soundfile.write(recording, 0.1 * np.random.default_rng(0).standard_normal(SECONDS * RATE), RATE)
        for _ in range(args.repeats):
            for model in args.models:
                words = [model, "--recording", str(recording), "--case"]
                runs[model].append(in_a_process(__file__, words) | whole(model, recording))
    rows = [
        [model, what, *(f"{median(found, f'{stage}_{kind}'):.2f}" for kind in ("s", "cpu_s"))]
        for model, found in runs.items()
        for stage, what in STAGES.items()
        if f"{stage}_s" in found[0]
    ]
    write_table(["model", "stage", "s", "CPU-s"], rows, OUTPUT)


def measure(model_name: str, recording: Path) -> dict:
    """Return the seconds of each stage in this process, and refuse modules that a transcription does not need."""
    times: dict[str, float] = {}
    note = Stopwatch(times)
    import torch

    note("torch")
    import accelerate  # noqa: F401
    import transformers.modeling_utils
    import transformers.processing_utils  # noqa: F401

    note("transformers")
    from deepspeech2.inference.long_form import Listener
    from deepspeech2.model.loading import load_model

    transcribe = import_transcription()
    note("package")
    torch.set_num_threads(1)
    model, processor = load_model(model_name)
    note("load")
    transcribe(recording, Listener(model.eval(), processor))
    note("decode")
    refuse(HEAVY)
    return times


def measure_onnx(folder: str, recording: Path) -> dict:
    """The same of an ONNX folder, which needs neither torch nor transformers."""
    times: dict[str, float] = {}
    sys.argv[0] = "deepspeech2"  # in the process of the console command the package imports no model classes
    note = Stopwatch(times)
    import numpy  # noqa: F401
    import onnxruntime  # noqa: F401
    import soundfile  # noqa: F401

    note("onnxruntime")
    from deepspeech2.inference.onnx_model import OnnxListener, find_graph

    transcribe = import_transcription()
    note("package")
    listener = OnnxListener(find_graph(folder), threads=1)
    note("load")
    transcribe(recording, listener)
    note("decode")
    refuse(NEEDLESS_FOR_ONNX)
    return times


def import_transcription() -> Callable[..., None]:
    """Import what the command uses, and return what it does with a recording and a listener."""
    from deepspeech2.decoding.decoder import load_decoder
    from deepspeech2.inference.transcription import CaptionOptions, plan_jobs, transcribe_jobs

    def transcribe(recording: Path, listener: object) -> None:
        with tempfile.TemporaryDirectory() as folder:
            jobs = plan_jobs([recording], Path(folder), ["txt"])
            decoder = load_decoder(listener.model, listener.processor)
            failures = transcribe_jobs(jobs, listener, decoder, CaptionOptions(), report=lambda _: None)
        if failures:
            raise ValueError(failures[0])

    return transcribe


def refuse(modules: Sequence[str]) -> None:
    """Refuse modules that a transcription does not need."""
    if needless := sorted({*modules} & {*sys.modules}):
        raise RuntimeError(f"a transcription has imported {', '.join(needless)}")


class Stopwatch:
    """Writes the seconds since the last call, of the clock and of the CPU, into `times`."""

    def __init__(self, times: dict[str, float]) -> None:
        self.times = times
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def __call__(self, stage: str) -> None:
        clock, cpu = time.perf_counter(), time.process_time()
        self.times |= {f"{stage}_s": clock - self._clock, f"{stage}_cpu_s": cpu - self._cpu}
        self._clock, self._cpu = clock, cpu


def whole(model_name: str, recording: Path) -> dict:
    """Return the seconds of the two commands, each in a process of its own."""
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = {"help": ["--help"], "whole": ["transcribe", model_name, str(recording), "--output_dir", folder]}
        for stage, words in commands.items():
            times |= process_times(stage, [sys.executable, "-m", "deepspeech2", *words])
    return times


def process_times(stage: str, command: Sequence[str]) -> dict:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {f"{stage}_s": seconds, f"{stage}_cpu_s": cpu_s}


if __name__ == "__main__":
    main()
