"""A run: set up the process, train or resume, and score the splits."""

import copy
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import transformers
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainerState, set_seed

from ..config.arguments import Recipe, RecipeTrainingArguments
from ..config.method_arguments import AdaptationArguments
from ..config.parser import default_settings
from ..data.streams import build_eval_loader
from ..evaluation.metrics import Scores
from ..evaluation.scoring import score_model, utterances_name, write_utterances
from ..model.loading import load_model
from ..model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ..system.command_line import set_up_log
from ..system.devices import describe_device, refuse_emulated_bf16, set_up_cpu
from ..system.files import has_started, hold_folder, write_whole
from ..system.heartbeat import naming_the_lost
from ..system.launch import asked_processes, launcher
from ..system.signals import StopOnSignal, die_with_launcher
from .callbacks import DropReport
from .checkpoints import STATE_NAME, disk_errors, last_whole_checkpoint, refused_pickles, remove_unfinished
from .methods.adaptation import reestimate_norms
from .methods.objective import Objective
from .plan import Plan, build_eval_stream, build_train_stream, plan_training
from .start import Run
from .trainer import CTCTrainer

logger = logging.getLogger(__name__)

RIVAL = "from-random-weights"  # its folder in that of a run
NORM_BATCHES = 200
KEPT_BYTES = 2**30  # encoded audio of eval_split, in each data worker: 17 h of FLAC
# A resumed run may have other values of these: they change neither its samples nor its weights...
MAY_CHANGE = {
    "output_dir", "cpu_threads", "use_cpu", "num_processes", "logging_steps", "report_to", "disable_tqdm", "credit",
    "language", "license", "test_split", "push_to_hub", "hub_model_id", "hub_strategy", "hub_private_repo",
    "save_total_limit", "ddp_backend", "ddp_timeout", "max_dropped_share", "max_skipped_steps", "check_utterances",
    "score_start",
}  # fmt: skip
# ... and of these, because other machines need it: they change the order and number of samples in a step. The trainer
# logs what that means.
MAY_CHANGE_ORDER = {
    "batch_seconds", "per_device_train_batch_size", "gradient_accumulation_steps", "dataloader_num_workers",
    "num_readers", "window_size",
}  # fmt: skip


def set_up_training(training: RecipeTrainingArguments) -> None:
    """
    Set the threads, seeds and log of this process.

    Raises:
        ValueError: the number of processes is not the one that was asked for, or the GPU has no bf16.
    """
    set_up_log(logging.INFO if training.process_index == 0 else logging.WARNING)
    transformers.utils.logging.disable_progress_bar()  # a bar for each weight file loaded and saved
    started_by = launcher(sys.argv[0])
    if started_by[0] != "python":
        die_with_launcher()
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != training.world_size:
        raise ValueError(
            f"{launched} processes were launched, but each of them would train a separate model. On CPUs add "
            "--use_cpu true, which joins them into one run over gloo"
        )
    asked = training.num_processes or asked_processes(started_by)
    if asked and training.world_size != asked:
        raise ValueError(
            f"num_processes is {asked}, but {training.world_size} process(es) run. Use accelerate launch --config_file "
            "accelerate_configs/... with that number (on CPUs cpu_ddp.yaml and --use_cpu true: without a "
            "configuration, or with a MULTI_CPU one, accelerate silently starts one process)"
        )
    if training.bf16 or training.bf16_full_eval:
        refuse_emulated_bf16(training.device)
    # If one process sees several GPUs, Trainer would wrap the model in DataParallel.
    training._n_gpu = min(training.n_gpu, 1)
    threads = set_up_cpu(training.cpu_threads, training.dataloader_num_workers)
    set_seed(training.seed)
    logger.info(
        "%d process(es) on %s, %d CPU thread(s) each", training.world_size, describe_device(training.device), threads
    )


def hold_to_recipe(recipe: Recipe) -> None:
    """
    Record the settings of a new run in the main process, or refuse to resume a run with other settings.

    Raises:
        ValueError: the folder holds a run with other settings (the message names each with both values), a run that is
            still active, or a model of another origin, or the processes do not see the same folder.
    """
    output_dir = recipe.training.folder
    path = output_dir / "recipe.json"
    if recipe.training.process_index == 0:
        _note_settings(path, recipe.settings)
    if recipe.training.world_size > 1:
        PartialState().wait_for_everyone()
        checkpoints = sorted(folder.name for folder in output_dir.glob("checkpoint-*"))
        seen = gather_object([(path.read_text(encoding="utf-8") if path.is_file() else "nothing", checkpoints)])
        if any(one != seen[0] for one in seen):
            ranks = ", ".join(str(rank) for rank, one in enumerate(seen) if one != seen[0])
            raise ValueError(
                f"process(es) {ranks} see other files in {output_dir.absolute()} than process 0. A run on several "
                "machines needs an output_dir on a file system that all of them share"
            )


def _note_settings(path: Path, settings: dict[str, Any]) -> None:
    output_dir = path.parent
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"output_dir {str(output_dir)!r} is a file; expected a folder, or a name for a new one")
    if has_started(output_dir) and not path.is_file():
        raise ValueError(
            f"{output_dir} holds a model without the {path.name} of a run, so training would replace a model that it "
            f"did not write. Choose another --output_dir (--model_name_or_path {output_dir} starts from that model)"
        )
    hold_folder(output_dir)
    settings = {name: value for name, value in settings.items() if name not in MAY_CHANGE | MAY_CHANGE_ORDER}
    # This also overwrites the settings of a run that failed before its first checkpoint.
    if not has_started(output_dir):
        for stale in ("drops", RIVAL):
            shutil.rmtree(output_dir / stale, ignore_errors=True)
        (output_dir / "run.json").unlink(missing_ok=True)
        write_whole(path, json.dumps(settings, indent=2, ensure_ascii=False))
        return
    defaults = default_settings()
    written = json.loads(path.read_text(encoding="utf-8"))
    before, now = ({name: defaults.get(name) for name in written | settings} | one for one in (written, settings))
    changed = [f"{name} was {before[name]!r} and is {now[name]!r}" for name in sorted(now) if before[name] != now[name]]
    if changed:
        raise ValueError(
            f"{output_dir} holds a run with other settings: {'; '.join(changed)}. "
            "Set them as before to resume it. For a new run choose another --output_dir (--model_name_or_path "
            f"{output_dir} starts it from the result of this run), or remove the folder"
        )


def train(run: Run, plan: Plan, callbacks: Iterable[TrainerCallback] = ()) -> DeepSpeech2ForCTC:
    """
    Train the model, from the last checkpoint in `output_dir` if there is one, and save it there.

    Args:
        run: the starting point.
        plan: the plan of this run.
        callbacks: additional callbacks.

    Returns:
        The trained model: the best checkpoint with `load_best_model_at_end`, else the last one. With `ema_decay` it
        has the averaged weights.

    Raises:
        SystemExit: a signal stopped the training, and a checkpoint was saved.
        ConnectionError: another process of the run was lost.
        ValueError: a checkpoint does not fit on the disk, or is not the state of a run.
    """
    training, output_dir = run.recipe.training, run.recipe.training.folder
    # The log beside the model is written last. It marks a finished run, also one that stopped early.
    done = _state(output_dir) if (output_dir / "model.safetensors").is_file() else {}
    if done:
        logger.info(
            "%s holds a finished training (%d of %d steps), which is scored. To train again, remove that folder or "
            "choose another --output_dir",
            output_dir,
            done["global_step"],
            done["max_steps"],
        )
        return load_model(str(output_dir))[0]
    checkpoint = last_whole_checkpoint(output_dir)
    if checkpoint:
        logger.info("resuming from %s, up to step %d", checkpoint, training.max_steps)
    if training.process_index == 0:
        remove_unfinished(output_dir)
    trainer = _new_trainer(run, plan, new=checkpoint is None)
    watch = naming_the_lost(training.process_index, training.world_size)
    with StopOnSignal() as stop, refused_pickles(checkpoint), watch:
        for callback in (DropReport(plan.batches), stop, *callbacks):
            trainer.add_callback(callback)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if stop.stopped_at is None:
            with disk_errors(output_dir, "the model"):
                _save_result(trainer, output_dir, plan.batches.drop_summary())
            trainer.accelerator.wait_for_everyone()
    stop.end_run()
    # Score exactly what was saved: averaged, best, unwrapped, in float32.
    return load_model(str(output_dir))[0]


def _new_trainer(run: Run, plan: Plan, new: bool) -> CTCTrainer:
    """Build the trainer. For a `new` training, re-estimate the batch-norm statistics if the recipe asks for it."""
    recipe, model, adaptation = run.recipe, run.model, plan.adaptation
    evaluation = build_eval_stream(run.speech.validation, run.processor, recipe.data, recipe.training, KEPT_BYTES)
    objective = Objective(recipe.objective, model, run.processor)
    if new and recipe.adaptation.norm_statistics == "reestimate":
        model.to(recipe.training.device)  # type: ignore[arg-type]
        plain = build_train_stream(run, augmented=False)
        plain.drops_dir = None  # the training stream keeps the record
        one_pass = (plan.steps_per_epoch or NORM_BATCHES) * recipe.training.gradient_accumulation_steps
        count = reestimate_norms(model, islice(plain, min(NORM_BATCHES, math.ceil(one_pass))))
        logger.info("the batch-norm statistics were re-estimated on %d batches of the training speech", count)
    trainer = CTCTrainer(
        model, recipe.training, run.processor, plan.batches, evaluation, plan.steps_per_epoch, objective, adaptation
    )
    if adaptation.low_rank:
        trainer.add_callback(adaptation.low_rank)
    return trainer


def new_rival(run: Run) -> Run:
    """Return a run like another one, from random weights, into the folder `RIVAL` in its own."""
    training = copy.deepcopy(run.recipe.training)
    training.output_dir = str(run.recipe.training.folder / RIVAL)
    set_seed(training.seed)
    recipe = replace(run.recipe, training=training, adaptation=AdaptationArguments())
    return replace(run, recipe=recipe, model=DeepSpeech2ForCTC(run.model.config))  # type: ignore[arg-type]


def train_from_random_weights(run: Run) -> dict[str, Scores]:
    """
    Train random weights with the budget of a finished run, unless that is done, and score them.

    Returns:
        The scores on the splits of the run, by name.
    """
    rival = new_rival(run)
    rival = replace(rival, model=train(rival, plan_training(rival)))
    return score_splits(rival, run.recipe.training.folder / "scores-from-random-weights")


def _save_result(trainer: CTCTrainer, output_dir: Path, drops: str) -> None:
    trainer.save_model()
    if not trainer.args.should_save:
        return
    best = trainer.state.best_model_checkpoint if trainer.args.load_best_model_at_end else None
    trainer.adaptation.save_result(output_dir, Path(best) if best else None)
    # Written last, because it marks a finished run.
    write_whole(output_dir / STATE_NAME, json.dumps(asdict(trainer.state), indent=2))
    _say_how_it_ended(trainer.state, trainer.args.load_best_model_at_end)
    logger.info("training data: %s", drops)


def _say_how_it_ended(state: TrainerState, best_is_kept: bool) -> None:
    if state.global_step < state.max_steps:
        logger.info("stopped early at step %d of %d: the WER did not improve", state.global_step, state.max_steps)
    if state.best_global_step and best_is_kept:
        logger.info("kept the best checkpoint, from step %d", state.best_global_step)


def _state(folder: Path) -> dict:
    """Return the Trainer's log in a folder, or an empty dict if there is none."""
    path = folder / STATE_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def score_splits(run: Run, folder: Path) -> dict[str, Scores]:
    """
    Score the model on each split. Every process takes its part of the batches, and all return the complete scores.

    Each utterance is written with its hypothesis to `folder/<split>.jsonl`.
    """
    training = run.recipe.training
    run.model.to(training.device)  # type: ignore[arg-type]
    results = {}
    for split, corpora in run.speech.test.items():
        with naming_the_lost(training.process_index, training.world_size):
            stream = build_eval_stream(corpora, run.processor, run.recipe.data, training)
            batches = build_eval_loader(stream, training.dataloader_num_workers)
            scores, rtfx = score_model(run.model, run.processor, batches)
        results[split] = scores
        logger.info("%s: %s, RTFx %.0f", split, scores.summary(), rtfx)
        if training.process_index == 0:
            write_utterances(scores, folder / utterances_name(split))
    return results
