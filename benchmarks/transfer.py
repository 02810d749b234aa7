"""
What fine-tuning from a checkpoint is worth: three tasks, each against the same budget from random weights, three seeds.

    python benchmarks/transfer.py LIBRISPEECH_MINI

Commands: the quickstart as it is. New speaker: 1, 2 and 5 minutes of a speaker that the starter never heard, scored on
the speaker's other recordings. Telephone: an hour of the starter's own training speech in the band, at the rate and in
the coding of a telephone, so that only the line is new; scored on clean/validation over the same line, which without
it had picked the starter's checkpoint. The last two take a fixed number of steps, and pick nothing. All settings,
learning rates too, are those of fine-tuning: random weights might do somewhat better with their own.
Writes outputs/transfer/transfer.md and the plots; what is done already is not done again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import yaml
from corpora import clips_of, in_order_of, take, write_speaker, write_telephone
from matplotlib.axes import Axes

from deepspeech2.evaluation.experiments import CONFIG, RESULTS, changed_since
from deepspeech2.evaluation.metrics import Scores, Utterance, score
from deepspeech2.evaluation.reports.plots import INK, MUTED, SERIES, draw_figure, error_rate_bars, save_png
from deepspeech2.system.markdown import markdown_table

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "outputs" / "transfer"
SPEAKER = "3526"
SPEAKER_MINUTES = (1, 2, 5)
TELEPHONE_MINUTES = 60
STAGES = {
    "before fine-tuning": "scores-before",
    "after fine-tuning": "scores-after",
    "from random weights": "scores-from-random-weights",
}
FIXED_STEPS = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "report_to": "none"}
FIXED_STEPS |= {"early_stopping_patience": 0, "held_out_share": 0, "compare_with_scratch": True, "eval_split": "test"}
SPEAKER_SETTINGS = {"max_steps": 150, "batch_seconds": 30}
TELEPHONE_SETTINGS = {"max_steps": 300, "batch_seconds": 60, "learning_rate": 1e-3, "reverberation_probability": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mini", type=Path, metavar="LIBRISPEECH_MINI", help="real speech")
    parser.add_argument("--model", default="recipes/quickstart/starter", help="to start from (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="(default: 1 2 3)")
    parser.add_argument("--num_proc", type=int, default=2, help="trainings side by side (default: %(default)s)")
    args = parser.parse_args()

    write_telephone_corpus(args.mini, OUTPUT / "data" / "telephone")
    for minutes in SPEAKER_MINUTES:
        for seed in args.seeds:
            write_speaker_corpus(args.mini, OUTPUT / "data" / speaker_run(minutes, seed), minutes, seed)

    own = yaml.safe_load((ROOT / "recipes" / "own_recordings.yaml").read_text(encoding="utf-8")) | FIXED_STEPS
    commands = yaml.safe_load((ROOT / "recipes" / "quickstart" / "config.yaml").read_text(encoding="utf-8"))
    runs = {}
    for seed in args.seeds:
        runs[f"commands-{seed}"] = commands | {"seed": seed}
        runs[f"telephone-{seed}"] = own | TELEPHONE_SETTINGS | {"seed": seed, "dataset_name": "telephone"}
        for minutes in SPEAKER_MINUTES:
            name = speaker_run(minutes, seed)
            runs[name] = own | SPEAKER_SETTINGS | {"seed": seed, "dataset_name": name}
    with ThreadPoolExecutor(args.num_proc) as pool:
        list(pool.map(lambda name: train(name, runs[name] | {"model_name_or_path": args.model}), runs))
    write_report(args.seeds)


def train_once(folder: Path, settings: dict) -> None:
    """
    Runs recipes/finetune.py on `settings` in `folder`, on one thread, unless its results are there already.

    Raises SystemExit where they are those of other settings, or older than the weights that they start from.
    """
    settings = settings | {"output_dir": str(folder), "use_cpu": True}
    if changed := changed_since(folder, settings):
        raise SystemExit(f"{folder} holds a run with other settings: {'; '.join(changed)}. Remove the folder")
    config = folder / CONFIG
    if (folder / RESULTS).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    started = time.perf_counter()
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        command = [sys.executable, "recipes/finetune.py", str(config)]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log, check=True)
    print(f"{folder.name}: {(time.perf_counter() - started) / 60:.1f} min", flush=True)


def speaker_run(minutes: int, seed: int) -> str:
    return f"speaker-{minutes}min-{seed}"


def train(name: str, settings: dict) -> None:
    if (corpus := OUTPUT / "data" / settings["dataset_name"]).is_dir():
        settings = settings | {"dataset_name": str(corpus)}
    train_once(OUTPUT / name, settings | {"dataloader_num_workers": 0})


def write_speaker_corpus(mini: Path, folder: Path, minutes: int, seed: int) -> None:
    """`minutes` of the speaker for training, drawn from five by the seed; all but those five for the test."""
    if (folder / "test").is_dir():
        return
    clips = [clip for clip in clips_of(str(mini), "clean", "train.100") if clip[1]["speaker_id"] == SPEAKER]
    write_speaker(clips, folder, minutes, max(SPEAKER_MINUTES), seed)


def write_telephone_corpus(mini: Path, folder: Path) -> None:
    if (folder / "test").is_dir():
        return
    clips = [clip for clip in clips_of(str(mini), "clean", "train.100") if clip[1]["speaker_id"] != SPEAKER]
    train = take(in_order_of(0, clips), TELEPHONE_MINUTES)
    write_telephone({"train": train, "test": clips_of(str(mini), "clean", "validation")}, folder)


def pooled(runs: list[str], stage: str) -> tuple[Scores, list[float]]:
    """
    The runs' scores as one, and the WER of each.

    What the bootstrap draws as a whole is a speaker with all runs' hypotheses, or a clip where there is one speaker.
    """
    of_runs = []
    for run in runs:
        rows = [json.loads(line) for line in (OUTPUT / run / STAGES[stage] / "test.jsonl").read_text().splitlines()]
        alone = len({row["speaker_id"] for row in rows}) == 1
        of_runs.append(
            [
                Utterance(
                    f"{run} {row['id']}",
                    row["id"] if alone else row["speaker_id"],
                    row["duration_s"],
                    row["reference"],
                    row["hypothesis"],
                )
                for row in rows
            ]
        )
    each = [score(utterances, bootstrap_samples=0).wer for utterances in of_runs]
    return score([utterance for utterances in of_runs for utterance in utterances]), each


def write_report(seeds: list[int]) -> None:
    tasks = {"voice commands": [f"commands-{seed}" for seed in seeds]}
    for minutes in SPEAKER_MINUTES:
        tasks[f"new speaker, {minutes} min"] = [speaker_run(minutes, seed) for seed in seeds]
    tasks["telephone, 60 min"] = [f"telephone-{seed}" for seed in seeds]
    results: dict[str, dict[str, Scores]] = {stage: {} for stage in STAGES}
    rows = []
    for task, runs in tasks.items():
        cells = []
        for stage in STAGES:
            scores, each = pooled(runs, stage)
            results[stage][task] = scores
            assert scores.wer_interval is not None
            low, high = scores.wer_interval
            spread = "" if max(each) == min(each) else f"; {', '.join(f'{100 * wer:.1f}' for wer in each)}"
            cells.append(f"{100 * scores.wer:.1f} ({100 * low:.1f}-{100 * high:.1f}{spread})")
        before, after = (results[stage][task].wer for stage in list(STAGES)[:2])
        rows.append([task, *cells, f"{1 - after / before:.0%}"])
    table = markdown_table(["task", *STAGES, "relative reduction"], rows)
    (OUTPUT / "transfer.md").write_text(table, encoding="utf-8")
    save_png(error_rate_bars(results), OUTPUT / "transfer.png")
    save_png(draw_figure(lambda axes: learning_curve(axes, results), height=3.0), OUTPUT / "new_speaker.png")
    print(table)


def learning_curve(axes: Axes, results: dict[str, dict[str, Scores]]) -> None:
    before = results["before fine-tuning"]["new speaker, 1 min"]
    start = [(0, before)]
    for stage, points, colour in (
        ("from the starter", start, SERIES[1]),
        ("from random weights", [], SERIES[2]),
    ):
        key = "after fine-tuning" if points else stage
        points = [*points, *((minutes, results[key][f"new speaker, {minutes} min"]) for minutes in SPEAKER_MINUTES)]
        minutes = [at for at, _ in points]
        wers = [100 * scores.wer for _, scores in points]
        bounds = [scores.wer_interval or (scores.wer, scores.wer) for _, scores in points]
        axes.fill_between(minutes, *(np.array(bounds).T * 100), color=colour, alpha=0.18, linewidth=0)
        axes.plot(minutes, wers, color=colour, marker="o", markersize=4)
        axes.annotate(stage, (minutes[-1], wers[-1]), (0, 8), textcoords="offset points", ha="right", color=INK)
        for at, wer in zip(minutes, wers, strict=True):
            axes.annotate(f"{wer:.1f}", (at, wer), (0, -13), textcoords="offset points", ha="center", color=MUTED)
    axes.set_title("A new real speaker: WER, %")
    axes.set_xlabel("minutes to fine-tune on (band: 95 % interval)")
    axes.set_xticks([0, *SPEAKER_MINUTES])
    axes.set_ylim(0, 110)


if __name__ == "__main__":
    main()
