"""A run around its training: process set-up, training or resuming, scores on the splits, the write-up."""

import json
import logging
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from transformers import set_seed

from .arguments import AugmentationArguments, DataArguments, ModelArguments, RecipeTrainingArguments
from .corpora import Corpus
from .loading import build_eval_stream, build_train_stream, estimate_epoch, load_eval_corpora, load_model
from .metrics import Scores
from .modeling_deepspeech2 import DeepSpeech2ForCTC
from .processing_deepspeech2 import DeepSpeech2Processor
from .reports import EvaluatedSplit, results_table, write_model_card, write_run_report
from .scoring import score_model
from .trainer import CTCTrainer, resolve_epochs

logger = logging.getLogger(__name__)

Results = dict[str, dict[str, Scores]]
STATE_NAME = "trainer_state.json"
# Where a run may go on with other values: they change neither its samples nor its weights.
MAY_CHANGE = {
    "output_dir", "cpu_threads", "use_cpu", "num_processes", "logging_steps", "report_to", "disable_tqdm", "credit",
    "language", "license", "test_split", "push_to_hub", "hub_model_id", "hub_strategy", "hub_private_repo",
    "save_total_limit", "ddp_backend",
}  # fmt: skip


def set_up_process(training: RecipeTrainingArguments) -> None:
    """
    Threads, seeds and the log of this process.

    Raises:
        ValueError: another number of processes runs than was asked for.
    """
    logging.basicConfig(
        level=logging.INFO if training.process_index == 0 else logging.WARNING,
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    for noisy in ("httpx", "datasets", "absl", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()  # a bar for each weight file loaded and saved
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != training.world_size:
        raise ValueError(
            f"{launched} processes were launched, but each would train alone; on CPUs add --use_cpu true, which makes "
            "them one run over gloo"
        )
    if training.num_processes and training.world_size != training.num_processes:
        raise ValueError(
            f"num_processes is {training.num_processes}, but {training.world_size} run; launch with accelerate launch "
            "--config_file accelerate_configs/... of that many (on CPUs cpu_ddp.yaml: a MULTI_CPU config silently "
            "starts one process)"
        )
    # Trainer would wrap the model in DataParallel for the other GPUs of one process.
    training._n_gpu = min(training.n_gpu, 1)
    if training.device.type == "cpu":
        processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(training.cpu_threads or max(1, (os.cpu_count() or 1) // processes_here))
    set_seed(training.seed)
    logger.info(
        "%d process(es) on %s, %d CPU thread(s) each", training.world_size, training.device, torch.get_num_threads()
    )


def hold_to_recipe(output_dir: Path, settings: dict[str, Any]) -> None:
    """
    Notes the settings of a new run; refuses to go on with an old one under others.

    Raises:
        ValueError: the folder holds a run with other settings, each named with both values.
    """
    path = output_dir / "recipe.json"
    settings = {name: value for name, value in settings.items() if name not in MAY_CHANGE}
    started = (output_dir / "model.safetensors").is_file() or any(output_dir.glob("checkpoint-*"))
    if not started or not path.is_file():  # also over the note of a run that failed before its first checkpoint
        output_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [
        f"{name} was {before.get(name, 'the default')!r} and is {settings.get(name, 'the default')!r}"
        for name in sorted(before.keys() | settings.keys())
        if before.get(name) != settings.get(name)
    ]
    if changed:
        raise ValueError(
            f"{output_dir} holds a run with other settings: {'; '.join(changed)}. "
            "Set them as before to resume it, name another --output_dir, or remove the folder"
        )


def train(
    model: DeepSpeech2ForCTC,
    processor: DeepSpeech2Processor,
    corpora: Sequence[Sequence[Corpus]],
    data: DataArguments,
    augmentation: AugmentationArguments,
    training: RecipeTrainingArguments,
) -> DeepSpeech2ForCTC:
    """
    Trains the model, from the last checkpoint in `output_dir` if there is one, and saves it there.

    Returns:
        The trained model: the best checkpoint with `load_best_model_at_end`, else the last; averaged with `ema_decay`.
    """
    output_dir = Path(training.output_dir or ".")
    batches_per_epoch = estimate_epoch(corpora, data, training)
    resolve_epochs(training, batches_per_epoch)
    for split in data.test_split:
        load_eval_corpora(data, split)  # a wrong name must not come out when the training is over
    # The log beside the model is written last: it tells a finished run, also one that stopped early.
    done = _state(output_dir) if (output_dir / "model.safetensors").is_file() else {}
    if done and done["max_steps"] >= training.max_steps:
        logger.info(
            "%s is already trained, %d of %d steps: scoring it again. To train anew, remove that folder or name "
            "another --output_dir",
            output_dir,
            done["global_step"],
            done["max_steps"],
        )
        return load_model(str(output_dir))[0]
    checkpoint = _last_complete_checkpoint(output_dir)
    if checkpoint:
        steps_done = _state(Path(checkpoint))["global_step"]
        logger.info("resuming from %s, step %d of %d", checkpoint, steps_done, training.max_steps)
    stream = build_train_stream(corpora, model, processor, data, augmentation, training)
    trainer = CTCTrainer(
        model,
        training,
        processor,
        stream,
        build_eval_stream(load_eval_corpora(data, data.eval_split), processor, data, training),
        batches_per_epoch / (training.gradient_accumulation_steps * training.world_size) if batches_per_epoch else None,
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(_internal_call=True)  # the Trainer would push at this point, with a card of its own
    trainer.save_state()
    if training.process_index == 0 and (summary := stream.drop_summary()):
        logger.info("training data: %s", summary)
    # What is scored is what was saved: averaged, best, unwrapped, in float32.
    trainer.accelerator.wait_for_everyone()
    return load_model(str(output_dir))[0]


def _last_complete_checkpoint(output_dir: Path) -> str | None:
    """The newest checkpoint whose state, which is written last, is there."""
    folders = sorted(output_dir.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]), reverse=True)
    for folder in folders:
        if (folder / STATE_NAME).is_file():
            return str(folder)
        logger.warning("%s is half-written, left by a run that was killed while saving: skipped", folder)
    return None


def _state(folder: Path) -> dict:
    """The Trainer's log in a folder; empty if there is none."""
    path = folder / STATE_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def score_splits(
    model: DeepSpeech2ForCTC,
    processor: DeepSpeech2Processor,
    data: DataArguments,
    training: RecipeTrainingArguments,
    folder: Path,
) -> dict[str, Scores]:
    """
    Scores on each of `test_split` (without it, on `eval_split`), by the main process alone.

    Each utterance with its hypothesis goes to `folder/<split>.jsonl`.
    """
    if training.process_index != 0:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    model.to(training.device)  # type: ignore[arg-type]
    results = {}
    for split in data.test_split or [data.eval_split]:
        stream = build_eval_stream(load_eval_corpora(data, split), processor, data, training, everything=True)
        scores, rtfx = score_model(model, processor, stream)
        results[split] = scores
        logger.info("%s: %s, RTFx %.0f", split, scores.summary(), rtfx)
        lines = [json.dumps(utterance.to_dict(), ensure_ascii=False) for utterance in scores.utterances]
        (folder / f"{split.replace('/', '-')}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return results


def write_up(
    results: Results,
    model: DeepSpeech2ForCTC,
    settings: dict[str, Any],
    command: Sequence[str],
    arguments: ModelArguments,
    data: DataArguments,
    training: RecipeTrainingArguments,
) -> None:
    """Leaves the results as JSON, an HTML report and the model card in `output_dir`, and prints the table."""
    folder = Path(training.output_dir or ".")
    state = _state(folder)
    facts = _facts(command, model, training, state)
    stages = {stage: {split: scores.to_dict() for split, scores in splits.items()} for stage, splits in results.items()}
    (folder / "results.json").write_text(
        json.dumps({"results": stages, "run": facts}, indent=2, ensure_ascii=False), encoding="utf-8"
    )
    report = write_run_report(
        folder / "report",
        title=f"{folder.name}: a DeepSpeech2 run",
        command=facts["command"],
        log_history=state["log_history"],
        results=results,
        config=settings,
        facts=facts,
    )
    corpus = data.eval_dataset_name or data.dataset_name[0]
    after = list(results.values())[1 if arguments.model_name_or_path else 0]
    write_model_card(
        folder,
        model_name=folder.name,
        base_model=arguments.model_name_or_path or None,
        language=arguments.language,
        license=arguments.license,
        datasets=list(dict.fromkeys(data.dataset_name)),
        results=[
            (EvaluatedSplit(corpus, split, config or None, data.dataset_revision), scores)
            for (config, _, split), scores in ((name.rpartition("/"), scores) for name, scores in after.items())
        ],
        training=facts | {"config": yaml.safe_dump(settings, allow_unicode=True)},
        repo_id=training.hub_model_id,
        plots=sorted((folder / "report").glob("*.png")),
        limits=[
            "Greedy decoding without a language model; the text has no punctuation and one case.",
            "Rates hold for speech like that of the splits above. Other microphones, accents, languages, overlapping "
            "speakers and long recordings were not measured.",
            *([arguments.credit] if arguments.credit else []),
        ],
    )
    print(f"\n{results_table(results)}\nModel:  {folder}\nReport: {report}")


def _facts(
    command: Sequence[str], model: DeepSpeech2ForCTC, training: RecipeTrainingArguments, state: dict
) -> dict[str, str]:
    """What a reader needs to judge and repeat the run."""
    seconds = max(line["elapsed_s"] for line in state["log_history"])
    device = torch.cuda.get_device_name() if training.device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    return {
        "command": _without_token(shlex.join(command), training),
        "commit": _commit(),
        "parameters": f"{model.num_parameters():,}",
        "optimizer steps": f"{state['global_step']:,}",
        "training time": f"{seconds / 60:.1f} min, evaluations included",
        "hardware": f"{training.world_size} process(es) on {device}, {platform.machine()}",
        "seed": str(training.seed),
        "torch": torch.__version__,
    }


def _commit() -> str:
    try:
        command = ["git", "rev-parse", "HEAD"]
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not known: git is not installed"
    return found.stdout.strip() or "not in a git checkout"


def _without_token(text: str, training: RecipeTrainingArguments) -> str:
    """The card and the report are for everybody."""
    return text.replace(training.hub_token, "<token>") if training.hub_token else text
