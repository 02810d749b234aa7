"""Mean and standard deviation of each bin of the features over training speech: what fixed normalisation stores."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from .arguments import DataArguments, RecipeTrainingArguments
from .checkpoints import last_whole_checkpoint
from .corpora import Corpus
from .data import SpeechStream
from .feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from .processing_deepspeech2 import DeepSpeech2Processor
from .splits import with_weights

logger = logging.getLogger(__name__)

MEASURED_S = 3600.0
BATCH_S = 60.0
WINDOW = 2048  # utterances that are shuffled together: of many speakers, where their files are in order
DIGITS = 5


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
