"""Plan a training: its data, its length, and which weights it trains. Everything is opened before the first step."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import Trainer, get_scheduler
from transformers.trainer_utils import IntervalStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from ..config.arguments import AugmentationArguments, DataArguments, RecipeTrainingArguments
from ..data.augmentation import Augmentation
from ..data.batching import Batching, estimate_batches_per_epoch
from ..data.corpora import Corpus
from ..data.preparation import Examples, Filters
from ..data.splits import with_weights
from ..data.streams import EvaluationStream, PairedStream, SpeechStream
from ..model.configuration_deepspeech2 import DeepSpeech2Config
from ..model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from ..model.processing_deepspeech2 import DeepSpeech2Processor
from .methods.adaptation import Adaptation
from .start import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """
    The data of a training, and the weights that it trains.

    Args:
        stream: the training speech.
        batches: the input of the training steps: `stream`, or pairs of training and unlabelled batches.
        steps_per_epoch: optimizer steps in an epoch; None if the length of a corpus is not known.
        adaptation: the choice of trained weights.
    """

    stream: SpeechStream
    batches: SpeechStream | PairedStream
    steps_per_epoch: float | None
    adaptation: Adaptation


def plan_training(run: Run) -> Plan:
    """
    Open the streams, and convert epochs to steps in the recipe's `training`. This finds invalid plans early.

    Raises:
        ValueError: the recipe gives epochs but a corpus has no known length, the stream cannot be read as configured,
            the recipe names parts that the model does not have, or its optimizer or schedule cannot be made.
    """
    recipe, training = run.recipe, run.recipe.training
    batches_per_epoch = estimate_epoch(run.speech.trained_on, recipe.data, training)
    resolve_epochs(training, batches_per_epoch)
    try_optimizer(training)
    steps_per_epoch = None
    if batches_per_epoch is not None:
        steps_per_epoch = batches_per_epoch / (training.gradient_accumulation_steps * training.world_size)
    stream = build_train_stream(run)
    batches = PairedStream(stream, build_train_stream(run, transcribed=False)) if run.speech.unlabelled else stream
    return Plan(stream, batches, steps_per_epoch, Adaptation(recipe.adaptation, run.model, training.max_steps))


def build_train_stream(run: Run, *, transcribed: bool = True, augmented: bool = True) -> SpeechStream:
    """
    Return the endless stream of this process.

    It reads the training speech. With `transcribed=False` it reads the unlabelled speech, and records dropped
    utterances in a folder of its own.
    """
    recipe, extractor = run.recipe, run.processor.feature_extractor
    data, training = recipe.data, recipe.training
    drops_dir = training.folder / "drops"
    if transcribed:
        corpora, weights = with_weights(run.speech.train, data.mixture_weights)
    else:
        corpora, weights, drops_dir = list(run.speech.unlabelled), None, drops_dir / "unlabelled"
    changes = recipe.augmentation if augmented else AugmentationArguments()
    frames = partial(_output_frames, extractor, run.model.config)  # type: ignore[arg-type]
    examples = Examples(
        run.processor,
        Filters(frames, data.min_duration_s, data.max_duration_s),
        Augmentation(changes, extractor.sampling_rate, extractor.bin_frequencies_hz),
        transcribed,
        two_views=transcribed and augmented and recipe.objective.consistency_weight > 0,
    )
    return SpeechStream(
        corpora,
        weights,
        examples,
        _batching(data, training),
        seed=training.stream_seed,
        max_dropped_share=data.max_dropped_share,
        drops_dir=drops_dir,
    )


def _output_frames(extractor: DeepSpeech2FeatureExtractor, config: DeepSpeech2Config, num_samples: int) -> int:
    """Return how many output frames CTC has for a clip of `num_samples` samples."""
    return config.lengths_after_each_conv(extractor.get_num_frames(num_samples))[-1]


def build_eval_stream(
    corpora: Sequence[Corpus],
    processor: DeepSpeech2Processor,
    data: DataArguments,
    training: RecipeTrainingArguments,
    kept_bytes: int = 0,
) -> EvaluationStream:
    """Return this process's part of a split. `kept_bytes`: see `EvaluationStream`."""
    return EvaluationStream(
        corpora,
        processor,
        **_batch_limit(data, training),
        rank=training.process_index,
        world_size=training.world_size,
        drops_dir=training.folder / "drops",
        kept_bytes=kept_bytes,
    )


def estimate_epoch(corpora: Sequence[Corpus], data: DataArguments, training: RecipeTrainingArguments) -> float | None:
    """Return the batches of one epoch over all processes, or None if the size of a corpus is not known."""
    return estimate_batches_per_epoch(corpora, _batching(data, training), data.min_duration_s, data.max_duration_s)


def resolve_epochs(args: RecipeTrainingArguments, batches_per_epoch: float | None) -> None:
    """
    Convert epochs to steps, in place, because Trainer cannot see the length of an endless stream.

    Args:
        args: its max_steps, eval and save strategies are rewritten.
        batches_per_epoch: an estimate over all processes; None if the length of the corpus is not known.

    Raises:
        ValueError: the arguments need the length of an epoch, and it is not known.
    """
    by_epoch = IntervalStrategy.EPOCH in (args.eval_strategy, args.save_strategy)
    if not (args.max_steps <= 0 or by_epoch or args.learning_anneal):
        return
    if batches_per_epoch is None:
        raise ValueError(
            "the number of utterances in the corpus is not known, so an epoch has no known length. Set max_steps, set "
            "eval_strategy and save_strategy to 'steps' with eval_steps and save_steps, and use lr_scheduler_type "
            "instead of learning_anneal"
        )
    steps_per_epoch = max(1, round(batches_per_epoch / (args.gradient_accumulation_steps * args.world_size)))
    if args.max_steps <= 0:
        args.max_steps = max(1, round(args.num_train_epochs * steps_per_epoch))
    for name in ("eval", "save"):
        if getattr(args, f"{name}_strategy") == IntervalStrategy.EPOCH:
            setattr(args, f"{name}_strategy", IntervalStrategy.STEPS)
            setattr(args, f"{name}_steps", min(steps_per_epoch, args.max_steps))


def try_optimizer(training: RecipeTrainingArguments) -> None:
    """
    Make the optimizer and the schedule for a single weight. Trainer makes its own at the first step, after the scoring.

    Raises:
        ValueError: one of them cannot be made with the settings of the recipe.
    """
    steps, warmup = training.max_steps, training.get_warmup_steps(training.max_steps)
    named = f"optim {OptimizerNames(training.optim).value}"
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(training)
        optimizer = kind([torch.nn.Parameter(torch.zeros(2, 2))], **options)
        if training.learning_anneal:
            return
        named = f"lr_scheduler_type {SchedulerType(training.lr_scheduler_type).value}"
        kwargs: Any = training.lr_scheduler_kwargs
        get_scheduler(training.lr_scheduler_type, optimizer, warmup, steps, scheduler_specific_kwargs=kwargs)
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise ValueError(f"{named} cannot be used with this recipe: {error}") from error
    if warmup >= steps:
        logger.warning(
            "warmup_steps is %d of %d steps, so the learning rate never reaches %g; lower warmup_steps or train longer",
            warmup,
            steps,
            training.learning_rate,
        )


def _batching(data: DataArguments, training: RecipeTrainingArguments) -> Batching:
    """Return the batching of training, for this process."""
    num_readers = data.num_readers or training.world_size * max(1, training.dataloader_num_workers)
    return Batching(
        **_batch_limit(data, training),
        window_size=data.window_size,
        num_readers=num_readers,
        readers_per_step=math.gcd(num_readers, training.world_size * training.gradient_accumulation_steps),
        rank=training.process_index,
        world_size=training.world_size,
    )


def _batch_limit(data: DataArguments, training: RecipeTrainingArguments) -> dict:
    if data.batch_seconds:
        return {"batch_seconds": data.batch_seconds}
    return {"batch_size": training.per_device_train_batch_size}
