"""Mean and standard deviation of each bin of the features over training speech: what fixed normalisation stores."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.trainer_utils import IntervalStrategy

from ..config.arguments import AugmentationArguments, DataArguments, ModelArguments, RecipeTrainingArguments
from ..config.suggestions import did_you_mean
from ..data.augmentation import Augmentation
from ..data.corpora import Corpus
from ..data.splits import with_weights
from ..data.streams import EvaluationStream, SpeechStream, estimate_batches_per_epoch
from ..model.configuration_deepspeech2 import DeepSpeech2Config
from ..model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from ..model.loading import load_model, take_weights
from ..model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ..model.processing_deepspeech2 import DeepSpeech2Processor
from ..system.network import reading
from .checkpoints import last_whole_checkpoint
from .methods.alphabet import change_alphabet

logger = logging.getLogger(__name__)

MEASURED_S = 3600.0
BATCH_S = 60.0
WINDOW = 2048  # utterances that are shuffled together: of many speakers, where their files are in order
DIGITS = 5
VOCABULARY_UTTERANCES = 20_000


def measure_statistics(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[list[float], list[float]]:
    """
    Args:
        batches: features (B, T, F) that are not normalised, and (B, T), 1 on real frames.

    Returns:
        The mean and the unbiased standard deviation of each bin, (F,), over all real frames.

    Raises:
        ValueError: fewer than two frames.
    """
    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for features, mask in batches:
        frames = features[mask.bool()].double()
        count += len(frames)
        total = total + frames.sum(0)
        squares = squares + frames.square().sum(0)
    if count < 2:
        raise ValueError(f"{count} frames of speech; expected two or more to measure features over")
    mean = total / count
    std = ((squares - count * mean.square()).clamp(min=0) / (count - 1)).sqrt().clamp(min=10.0**-DIGITS)
    return [round(one, DIGITS) for one in mean.tolist()], [round(one, DIGITS) for one in std.tolist()]


def fix_statistics(
    processor: DeepSpeech2Processor,
    corpora: Sequence[Sequence[Corpus]],
    data: DataArguments,
    training: RecipeTrainingArguments,
) -> None:
    """
    Gives the processor of a run what its features are normalised by, where `"fixed"` normalisation lacks it.

    A run that goes on takes it from its checkpoint. A new one measures it over the first hour of its training speech
    as it is read, shuffled, in the shares of the mixture, without augmentation: each process the same hour, so that all
    have the same.

    Raises:
        ValueError: no speech that can be used.
    """
    extractor = processor.feature_extractor
    if extractor.normalization != "fixed" or extractor.feature_mean is not None:
        return
    output_dir = Path(training.output_dir or ".")
    before = output_dir if (output_dir / "model.safetensors").is_file() else last_whole_checkpoint(output_dir)
    if before:
        known = DeepSpeech2Processor.from_pretrained(before, trust_remote_code=False).feature_extractor
        extractor.feature_mean, extractor.feature_std = known.feature_mean, known.feature_std
        logger.info("features are normalised by the statistics in %s", before)
        return
    flat, weights = with_weights(corpora, data.mixture_weights)
    nothing = {"feature_mean": [0.0] * extractor.feature_size, "feature_std": [1.0] * extractor.feature_size}
    plain = DeepSpeech2FeatureExtractor.from_dict(extractor.to_dict() | nothing)
    stream = SpeechStream(
        flat,
        weights,
        DeepSpeech2Processor(plain, processor.tokenizer),
        lambda num_samples: num_samples,
        seed=training.data_seed if training.data_seed is not None else training.seed,
        batch_seconds=BATCH_S,
        window_size=WINDOW,
        min_duration_s=data.min_duration_s,
        max_duration_s=min(data.max_duration_s, BATCH_S),
        transcribed=False,
    )
    sizes = [corpus.num_examples for corpus in flat]
    heard = _Heard(stream, sum(size or 0 for size in sizes) if all(sizes) else None)
    extractor.feature_mean, extractor.feature_std = measure_statistics(heard)
    logger.info("features are normalised by what was measured over %.0f s of training speech", heard.duration_s)


class _Heard:
    """Features of the first hour of an endless stream, or of its first `most` clips: one pass."""

    def __init__(self, stream: SpeechStream, most: int | None) -> None:
        self.stream, self.most = stream, most
        self.duration_s, self.count = 0.0, 0

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in self.stream:
            yield batch["input_features"], batch["attention_mask"]
            self.duration_s += sum(batch["durations_s"])
            self.count += len(batch["ids"])
            if self.duration_s >= MEASURED_S or (self.most and self.count >= self.most):
                return


def load_or_build(
    arguments: ModelArguments, corpora: Sequence[Sequence[Corpus]], new_characters: str = "", adapter_size: int = 0
) -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    """
    The model that a run starts from: the checkpoint that `arguments` name, or random weights for its `corpora`.

    Args:
        new_characters: another alphabet for the checkpoint; "transcripts": that of the corpora.
        adapter_size: of the adapters that the checkpoint gets; 0: none.
    """
    flat = [corpus for joined in corpora for corpus in joined]
    if not arguments.model_name_or_path:
        built = build_model(arguments, flat)
        if arguments.warm_start:
            take_weights(built[0], load_model(arguments.warm_start)[0])
        return built
    options = {"adapter_size": adapter_size, **arguments.model_config}
    model, processor = load_model(arguments.model_name_or_path, arguments.model_revision, **options)
    if new_characters:
        found = collect_characters(flat, processor) if new_characters == "transcripts" else new_characters
        processor = change_alphabet(model, processor, found)
    return model, processor


def build_model(arguments: ModelArguments, corpora: Sequence[Corpus]) -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    """A model of random weights and its processor; the vocabulary from the arguments or from the transcripts."""
    _refuse_unknown("model_config", arguments.model_config, {f.name for f in fields(DeepSpeech2Config)})
    extractor = DeepSpeech2FeatureExtractor()
    _refuse_unknown("feature_config", arguments.feature_config, set(extractor.to_dict()))
    extractor = DeepSpeech2FeatureExtractor(**arguments.feature_config)
    text_options = {"text_case": arguments.text_case}
    if arguments.removed_characters is not None:
        text_options["removed_characters"] = arguments.removed_characters
    characters: Sequence[str] = arguments.characters
    if not characters:
        # Any processor normalises; its own vocabulary plays no part here.
        plain = DeepSpeech2Processor(extractor, DeepSpeech2Processor.build_tokenizer(" "), **text_options)
        characters = collect_characters(corpora, plain)
    processor = DeepSpeech2Processor(extractor, DeepSpeech2Processor.build_tokenizer(characters), **text_options)
    sizes = {
        "vocab_size": len(processor.tokenizer),
        "num_features": extractor.feature_size,
        "hop_length": extractor.hop_length,
    }
    try:
        config = DeepSpeech2Config(**(sizes | arguments.model_config))
    except StrictDataclassError as error:  # as above
        raise ValueError(f"model_config: {error.__cause__ or error}") from error
    return DeepSpeech2ForCTC(config), processor


def collect_characters(corpora: Sequence[Corpus], processor: DeepSpeech2Processor) -> list[str]:
    """Characters of the first 20,000 normalised transcripts of each corpus, the space first, then by code point."""
    logger.info(
        "the vocabulary is built from up to %s transcripts of each corpus; of a Hub corpus that fetches their audio, "
        "which naming the characters avoids",
        f"{VOCABULARY_UTTERANCES:,}",
    )
    counts: Counter[str] = Counter()
    for corpus in corpora:
        with reading(corpus.name):
            for example in islice(corpus.stream.select_columns(["text"]), VOCABULARY_UTTERANCES):
                counts.update(processor.normalize_text(example["text"] or ""))
    if not counts:
        raise ValueError("the transcripts are all empty: no vocabulary can be built; check text_column")
    return [" ", *sorted(set(counts) - {" "})]


def _refuse_unknown(argument: str, given: dict, known: set[str]) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"{argument}: unknown key {key!r}{did_you_mean(key, known)}")


def build_train_stream(
    corpora: Sequence[Sequence[Corpus]],
    model: DeepSpeech2ForCTC,
    processor: DeepSpeech2Processor,
    data: DataArguments,
    augmentation: AugmentationArguments,
    training: RecipeTrainingArguments,
    *,
    transcribed: bool = True,
) -> SpeechStream:
    """
    The endless stream of this process. Without `transcribed` it is one of speech alone, and what it drops is recorded
    apart.
    """
    extractor = processor.feature_extractor
    readers = training.world_size * max(1, training.dataloader_num_workers)
    flat, weights = with_weights(corpora, data.mixture_weights if transcribed else ())
    return SpeechStream(
        flat,
        weights,
        processor,
        partial(_output_frames, extractor, model.config),  # type: ignore[arg-type]
        seed=training.data_seed if training.data_seed is not None else training.seed,
        **_batch_limit(data, training),
        window_size=data.window_size,
        num_readers=data.num_readers or readers,
        rank=training.process_index,
        world_size=training.world_size,
        min_duration_s=data.min_duration_s,
        max_duration_s=data.max_duration_s,
        augmentation=Augmentation(augmentation, extractor.sampling_rate, extractor.bin_frequencies_hz),
        max_dropped_share=data.max_dropped_share,
        drops_dir=_drops_dir(training) if transcribed else _drops_dir(training) / "unlabelled",
        transcribed=transcribed,
    )


def _output_frames(extractor: DeepSpeech2FeatureExtractor, config: DeepSpeech2Config, num_samples: int) -> int:
    """What CTC has to spell a clip of `num_samples` samples with."""
    return config.lengths_after_each_conv(extractor.get_num_frames(num_samples))[-1]


def build_eval_stream(
    corpora: Sequence[Corpus],
    processor: DeepSpeech2Processor,
    data: DataArguments,
    training: RecipeTrainingArguments,
) -> EvaluationStream:
    """One pass over a split: this process's part of it."""
    return EvaluationStream(
        corpora,
        processor,
        **_batch_limit(data, training),
        rank=training.process_index,
        world_size=training.world_size,
        drops_dir=_drops_dir(training),
    )


def estimate_epoch(
    corpora: Sequence[Sequence[Corpus]], data: DataArguments, training: RecipeTrainingArguments
) -> float | None:
    """Batches of one pass over the training corpora, all processes together; None if their size is not known."""
    return estimate_batches_per_epoch(
        [corpus for joined in corpora for corpus in joined],
        **_batch_limit(data, training),
        window_size=data.window_size,
        min_duration_s=data.min_duration_s,
        max_duration_s=data.max_duration_s,
    )


def resolve_epochs(args: RecipeTrainingArguments, batches_per_epoch: float | None) -> None:
    """
    Turns epochs into steps, in place: a stream has no end that Trainer could see.

    Args:
        args: its max_steps, eval and save strategies are rewritten.
        batches_per_epoch: of all processes together; an estimate; None if the corpus does not tell its length.

    Raises:
        ValueError: epochs are asked for and the corpus does not tell its length.
    """
    by_epoch = IntervalStrategy.EPOCH in (args.eval_strategy, args.save_strategy)
    if not (args.max_steps <= 0 or by_epoch or args.learning_anneal):
        return
    if batches_per_epoch is None:
        raise ValueError(
            "the corpus does not tell how many utterances it has, so an epoch has no known length; give max_steps, "
            "eval_strategy and save_strategy 'steps' with eval_steps and save_steps, and lr_scheduler_type instead of "
            "learning_anneal"
        )
    steps_per_epoch = max(1, round(batches_per_epoch / (args.gradient_accumulation_steps * args.world_size)))
    if args.max_steps <= 0:
        args.max_steps = max(1, round(args.num_train_epochs * steps_per_epoch))
    for name in ("eval", "save"):
        if getattr(args, f"{name}_strategy") == IntervalStrategy.EPOCH:
            setattr(args, f"{name}_strategy", IntervalStrategy.STEPS)
            setattr(args, f"{name}_steps", min(steps_per_epoch, args.max_steps))


def _drops_dir(training: RecipeTrainingArguments) -> Path:
    return Path(training.output_dir or ".", "drops")


def _batch_limit(data: DataArguments, training: RecipeTrainingArguments) -> dict:
    if data.batch_seconds:
        return {"batch_seconds": data.batch_seconds}
    return {"batch_size": training.per_device_train_batch_size}


@dataclass(frozen=True)
class Plan:
    """
    What a training will read, and for how long; `unlabelled` comes along, batch by batch. `plain` opens what it will
    read, in the same shares, without augmentation.
    """

    stream: SpeechStream
    plain: Callable[[], SpeechStream]
    steps_per_epoch: float | None
    unlabelled: SpeechStream | None = None


def plan_training(
    corpora: Sequence[Sequence[Corpus]],
    model: DeepSpeech2ForCTC,
    processor: DeepSpeech2Processor,
    data: DataArguments,
    augmentation: AugmentationArguments,
    training: RecipeTrainingArguments,
    unlabelled: Sequence[Corpus] = (),
) -> Plan:
    """
    Opens the streams and turns epochs into steps, in `training`; whatever cannot be trained so is found here.

    Raises:
        ValueError: epochs of a corpus of unknown length, or a stream that cannot be read as asked for.
    """
    batches_per_epoch = estimate_epoch(corpora, data, training)
    resolve_epochs(training, batches_per_epoch)

    def build(
        some: Sequence[Sequence[Corpus]], changes: AugmentationArguments, transcribed: bool = True
    ) -> SpeechStream:
        return build_train_stream(some, model, processor, data, changes, training, transcribed=transcribed)

    steps_per_epoch = None
    if batches_per_epoch is not None:
        steps_per_epoch = batches_per_epoch / (training.gradient_accumulation_steps * training.world_size)
    other = build([unlabelled], augmentation, transcribed=False) if unlabelled else None
    return Plan(build(corpora, augmentation), lambda: build(corpora, AugmentationArguments()), steps_per_epoch, other)
