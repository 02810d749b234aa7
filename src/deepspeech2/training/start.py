"""What a run starts from: its speech, a checkpoint or random weights, and what the features are normalised by."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice

import torch
from huggingface_hub.errors import StrictDataclassError

from ..config.arguments import DataArguments, ModelArguments, Recipe, RecipeTrainingArguments
from ..config.suggestions import did_you_mean
from ..data.batching import Batching
from ..data.corpora import Corpus
from ..data.preparation import Examples, Filters
from ..data.splits import Speech, load_speech, with_weights
from ..data.streams import SpeechStream
from ..model.configuration_deepspeech2 import DeepSpeech2Config
from ..model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from ..model.loading import load_model
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


@dataclass(frozen=True)
class Run:
    """A recipe, the speech that it names, and the model at hand: what training starts from, or what it has made."""

    recipe: Recipe
    speech: Speech
    model: DeepSpeech2ForCTC
    processor: DeepSpeech2Processor


def start_run(recipe: Recipe) -> Run:
    """
    Opens the speech of a recipe, and loads or builds its model.

    Raises:
        ValueError: speech or a checkpoint that is not there or cannot be used.
    """
    speech = load_speech(recipe.data)
    model, processor = load_or_build(recipe, speech.trained_on)
    fix_statistics(processor, speech, recipe.data, recipe.training)
    return Run(recipe, speech, model, processor)


def load_or_build(recipe: Recipe, corpora: Sequence[Corpus]) -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    """
    The checkpoint that a recipe names, with its new characters and adapters, or random weights.

    Args:
        corpora: what is trained on, of whose transcripts an alphabet may be.
    """
    arguments, new_characters = recipe.model, recipe.adaptation.new_characters
    if not arguments.model_name_or_path:
        model, processor = build_model(arguments, corpora)
        if arguments.warm_start:
            take_weights(model, load_model(arguments.warm_start)[0])
        return model, processor
    options = {"adapter_size": recipe.adaptation.adapter_size, **arguments.model_config}
    model, processor = load_model(arguments.model_name_or_path, arguments.model_revision, **options)
    if new_characters:
        found = collect_characters(corpora, processor) if new_characters == "transcripts" else new_characters
        processor = change_alphabet(model, processor, found)
    return model, processor


@torch.no_grad()
def take_weights(model: DeepSpeech2ForCTC, source: DeepSpeech2ForCTC) -> None:
    """
    Copies into `model` whatever `source` has of the same name and shape; the log says how much, and what stays random.

    Of a bidirectional checkpoint a unidirectional model takes the convolutions, the forward direction of each recurrent
    layer, the norms and the head; its lookahead then begins by passing on the present frame alone.

    Raises:
        ValueError: not one fits.
    """
    own, theirs = model.state_dict(), source.state_dict()
    taken = {name: one for name, one in theirs.items() if name in own and one.shape == own[name].shape}
    count = sum(parameter.numel() for name, parameter in model.named_parameters() if name in taken)
    if not count:
        raise ValueError(
            "warm_start: no weight of that checkpoint has the name and shape of one of this model; give model_config "
            "and feature_config its sizes, as its config.json and processor_config.json name them"
        )
    model.load_state_dict(taken, strict=False)
    lookahead = model.model.lookahead
    if lookahead is not None and source.model.lookahead is None:
        lookahead.conv.weight.zero_()[:, :, 0] = 1.0
    logger.info(
        "warm start: %s of %s weights are the checkpoint's; not %s",
        f"{count:,}",
        f"{model.num_parameters():,}",
        ", ".join(name for name in own if name not in taken) or "one is new",
    )


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
    except StrictDataclassError as error:  # no ValueError, and the fault itself is what caused it
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
    processor: DeepSpeech2Processor, speech: Speech, data: DataArguments, training: RecipeTrainingArguments
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
    finished = (training.folder / "model.safetensors").is_file()
    before = training.folder if finished else last_whole_checkpoint(training.folder)
    if before:
        known = DeepSpeech2Processor.from_pretrained(before, trust_remote_code=False).feature_extractor
        extractor.feature_mean, extractor.feature_std = known.feature_mean, known.feature_std
        logger.info("features are normalised by the statistics in %s", before)
        return
    corpora, weights = with_weights(speech.train, data.mixture_weights)
    nothing = {"feature_mean": [0.0] * extractor.feature_size, "feature_std": [1.0] * extractor.feature_size}
    plain = DeepSpeech2FeatureExtractor.from_dict(extractor.to_dict() | nothing)
    bounds_s = (data.min_duration_s, min(data.max_duration_s, BATCH_S))
    filters = Filters(lambda num_samples: num_samples, *bounds_s)  # what CTC needs does not count here
    examples = Examples(DeepSpeech2Processor(plain, processor.tokenizer), filters, transcribed=False)
    batching = Batching(batch_seconds=BATCH_S, window_size=WINDOW)
    stream = SpeechStream(corpora, weights, examples, batching, seed=training.stream_seed)
    sizes = [corpus.num_examples for corpus in corpora]
    hour = _FirstHour(stream, sum(size or 0 for size in sizes) if all(sizes) else None)
    extractor.feature_mean, extractor.feature_std = measure_statistics(hour)
    logger.info("features are normalised by what was measured over %.0f s of training speech", hour.duration_s)


class _FirstHour:
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
