"""A run around its training: process set-up, where it stands, its scores on the splits."""

import json
import logging
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from .arguments import DataArguments, RecipeTrainingArguments
from .loading import build_eval_stream, load_eval_corpora
from .metrics import Scores
from .scoring import score_model

logger = logging.getLogger(__name__)


def set_up_process(training: RecipeTrainingArguments) -> None:
    """
    Threads, seeds and the log of this process.

    Raises:
        ValueError: fewer or more processes run than `num_processes` asks for.
    """
    logging.basicConfig(
        level=logging.INFO if training.process_index == 0 else logging.WARNING,
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    for noisy in ("httpx", "datasets", "absl", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if training.num_processes and training.world_size != training.num_processes:
        raise ValueError(
            f"num_processes is {training.num_processes}, but {training.world_size} run; launch with "
            f"`accelerate launch --config_file accelerate_configs/...` of that many (on CPUs cpu_ddp.yaml: a MULTI_CPU "
            "config silently starts one process)"
        )
    if training.device.type == "cpu":
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(training.cpu_threads or max(1, (os.cpu_count() or 1) // local_processes))
    set_seed(training.seed)
    logger.info(
        "%d process(es) on %s, %d CPU thread(s) each", training.world_size, training.device, torch.get_num_threads()
    )


def find_checkpoint(output_dir: Path) -> str | None:
    """The last checkpoint of an unfinished run in this folder."""
    return get_last_checkpoint(str(output_dir)) if output_dir.is_dir() else None


def trained_steps(checkpoint: str | None) -> int:
    """Optimizer steps that a checkpoint has seen; 0 without one."""
    if checkpoint is None:
        return 0
    return int(json.loads(Path(checkpoint, "trainer_state.json").read_text())["global_step"])


def score_splits(
    model, processor, data: DataArguments, training: RecipeTrainingArguments, folder: Path
) -> dict[str, Scores]:
    """
    Scores of the model on each of `test_split` (without it, on `eval_split`), by the main process alone.

    Each utterance with its hypothesis goes to `folder/<split>.jsonl`.
    """
    if training.process_index != 0:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    model.to(training.device)
    results = {}
    for split in data.test_split or [data.eval_split]:
        stream = build_eval_stream(load_eval_corpora(data, split), processor, data, training, everything=True)
        scores, rtfx = score_model(model, processor, stream)
        results[split] = scores
        logger.info("%s: %s, RTFx %.0f", split, scores.summary(), rtfx)
        lines = [json.dumps(utterance.to_dict(), ensure_ascii=False) for utterance in scores.utterances]
        (folder / f"{split.replace('/', '-')}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return results


def save_results(path: Path, results: dict[str, dict[str, Scores]], facts: dict[str, str]) -> None:
    """The scores of every stage and split as JSON, with the facts of the run."""
    stages = {stage: {split: scores.to_dict() for split, scores in splits.items()} for stage, splits in results.items()}
    path.write_text(json.dumps({"results": stages, "run": facts}, indent=2, ensure_ascii=False), encoding="utf-8")


def run_facts(command: Sequence[str], model, training: RecipeTrainingArguments, train_seconds: float) -> dict[str, str]:
    """What a reader needs to judge and repeat the run."""
    device = torch.cuda.get_device_name() if training.device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    return {
        "command": " ".join(command),
        "parameters": f"{model.num_parameters():,}",
        "training time": f"{train_seconds / 60:.1f} min",
        "hardware": f"{training.world_size} process(es) on {device}, {platform.machine()}",
        "seed": str(training.seed),
        "torch": torch.__version__,
    }
