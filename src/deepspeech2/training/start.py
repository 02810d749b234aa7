"""The start of a run: its speech, a checkpoint or random weights, and the statistics that normalise its features."""

import logging
import unicodedata
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
from ..model.processing_deepspeech2 import JOINERS, DeepSpeech2Processor
from ..system.characters import describe_counts
from ..system.network import reading
from .checkpoints import last_whole_checkpoint
from .methods.alphabet import change_alphabet

logger = logging.getLogger(__name__)

MEASURED_S = 3600.0
BATCH_S = 60.0
WINDOW = 2048  # utterances shuffled together, so that a batch has many speakers even if the files are sorted
DIGITS = 5
VOCABULARY_UTTERANCES = 20_000
DOTLESS_I = ("tr", "az")  # ISO 639 codes of languages with ı and i


@dataclass(frozen=True)
class Run:
    """A recipe, the speech that it names, and a model: the starting point of training, or its result."""

    recipe: Recipe
    speech: Speech
    model: DeepSpeech2ForCTC
    processor: DeepSpeech2Processor


def start_run(recipe: Recipe) -> Run:
    """
    Open the speech of a recipe, and load or build its model.

    Raises:
        ValueError: the speech or the checkpoint does not exist or cannot be used.
    """
    speech = load_speech(recipe.data)
    model, processor = load_or_build(recipe, speech.trained_on)
    fix_statistics(processor, speech, recipe.data, recipe.training)
    return Run(recipe, speech, model, processor)


def load_or_build(recipe: Recipe, corpora: Sequence[Corpus]) -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    """
    Load the checkpoint that a recipe names, with new characters and adapters, or build a model with random weights.

    Args:
        corpora: the training corpora. An alphabet may be collected from their transcripts.
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
        processor = _with_text_rules(arguments, processor)
        if new_characters == "transcripts":
            new_characters = "".join(extended_alphabet(corpora, processor))
        processor = change_alphabet(model, processor, new_characters)
        _warn_of_dotless_i(processor, arguments.language)
    return model, processor


def _with_text_rules(arguments: ModelArguments, processor: DeepSpeech2Processor) -> DeepSpeech2Processor:
    """Return a processor with the rules of normalisation that a recipe gives, and else with its own."""
    given = {"text_case": arguments.text_case, "removed_characters": arguments.removed_characters}
    options = {name: getattr(processor, name) if one is None else one for name, one in given.items()}
    return DeepSpeech2Processor(processor.feature_extractor, processor.tokenizer, **options)


def _warn_of_dotless_i(processor: DeepSpeech2Processor, language: str) -> None:
    """Warn if the alphabet or the language has the dotless ı, but `text_case` is that of other languages."""
    case = processor.text_case
    if case in ("lower", "upper") and (language in DOTLESS_I or set("ıİ") & set(processor.tokenizer.get_vocab())):
        logger.warning(
            "text_case %s takes I for the capital of i. In Turkish and Azeri it is the capital of ı: set text_case "
            "%s_turkish",
            case,
            case,
        )


@torch.no_grad()
def take_weights(model: DeepSpeech2ForCTC, source: DeepSpeech2ForCTC) -> None:
    """
    Copy into `model` every tensor of `source` with the same name and shape. Log how many, and which ones stay random.

    A unidirectional model takes from a bidirectional checkpoint the convolutions, the forward direction of each
    recurrent layer, the norms and the head. Its lookahead then starts as the identity: it passes on the current frame.

    Raises:
        ValueError: no tensor matches.
    """
    own, theirs = model.state_dict(), source.state_dict()
    taken = {name: one for name, one in theirs.items() if name in own and one.shape == own[name].shape}
    count = sum(parameter.numel() for name, parameter in model.named_parameters() if name in taken)
    if not count:
        raise ValueError(
            "warm_start: no weight of the checkpoint has the same name and shape as a weight of this model. Set "
            "model_config and feature_config to the sizes in the checkpoint's config.json and processor_config.json"
        )
    model.load_state_dict(taken, strict=False)
    lookahead = model.model.lookahead
    if lookahead is not None and source.model.lookahead is None:
        lookahead.conv.weight.zero_()[:, :, 0] = 1.0
    logger.info(
        "warm start: %s of %s weights come from the checkpoint. Tensors that stay random: %s",
        f"{count:,}",
        f"{model.num_parameters():,}",
        ", ".join(name for name in own if name not in taken) or "none",
    )


def build_model(arguments: ModelArguments, corpora: Sequence[Corpus]) -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    """Build a model with random weights, and its processor. The vocabulary is given, or collected from transcripts."""
    _refuse_unknown("model_config", arguments.model_config, {f.name for f in fields(DeepSpeech2Config)})
    extractor = DeepSpeech2FeatureExtractor()
    _refuse_unknown("feature_config", arguments.feature_config, set(extractor.to_dict()))
    extractor = DeepSpeech2FeatureExtractor(**arguments.feature_config)
    characters: Sequence[str] = arguments.characters
    if not characters:
        # Any processor normalises text. Its own vocabulary does not matter here.
        plain = DeepSpeech2Processor(extractor, DeepSpeech2Processor.build_tokenizer(" "))
        characters = collect_characters(corpora, _with_text_rules(arguments, plain))
    tokenizer = DeepSpeech2Processor.build_tokenizer(characters)
    processor = _with_text_rules(arguments, DeepSpeech2Processor(extractor, tokenizer))
    _warn_of_dotless_i(processor, arguments.language)
    sizes = {
        "vocab_size": len(processor.tokenizer),
        "num_features": extractor.feature_size,
        "hop_length": extractor.hop_length,
    }
    _refuse_impossible(arguments, processor)
    try:
        config = DeepSpeech2Config(**(sizes | arguments.model_config))
    except StrictDataclassError as error:  # not a ValueError; its cause names the invalid value
        raise ValueError(f"model_config: {error.__cause__ or error}") from error
    return DeepSpeech2ForCTC(config), processor


def _refuse_impossible(arguments: ModelArguments, processor: DeepSpeech2Processor) -> None:
    """Refuse given characters that no normalised transcript can have. Joiners stay only between certain letters."""
    given = set(arguments.characters) - {" ", *JOINERS}
    if lost := sorted(one for one in given if processor.normalize_text(one) != one):
        raise ValueError(
            f"characters has {', '.join(map(repr, lost))}, which normalisation changes or removes (text_case "
            f"{arguments.text_case!r}), so no transcript could have them. Leave them out, or set text_case and "
            "removed_characters"
        )


def extended_alphabet(corpora: Sequence[Corpus], processor: DeepSpeech2Processor) -> list[str]:
    """Return the characters of a processor and those of the transcripts: a small corpus does not have all letters."""
    own = [one for one in processor.tokenizer.get_vocab() if one not in processor.tokenizer.all_special_tokens]
    return list(dict.fromkeys([*own, *collect_characters(corpora, processor)]))


def collect_characters(corpora: Sequence[Corpus], processor: DeepSpeech2Processor) -> list[str]:
    """Collect the characters of the first 20,000 normalised transcripts of each corpus: space first, then sorted."""
    logger.info(
        "building the vocabulary from up to %s transcripts of each corpus. For a corpus on the Hub this also downloads "
        "their audio; set characters to avoid it",
        f"{VOCABULARY_UTTERANCES:,}",
    )
    counts: Counter[str] = Counter()
    for corpus in corpora:
        with reading(corpus.name):
            for example in islice(corpus.stream.select_columns(["text"]), VOCABULARY_UTTERANCES):
                counts.update(processor.normalize_text(example["text"] or ""))
    if not counts:
        raise ValueError("all transcripts are empty, so no vocabulary can be built: check text_column")
    damaged = {one: count for one, count in counts.items() if one == "\ufffd" or unicodedata.category(one)[0] == "C"}
    if damaged := {one: count for one, count in damaged.items() if one not in JOINERS}:
        logger.warning(
            "the vocabulary of the transcripts has characters that no text should have: %s. Correct the transcripts",
            describe_counts(damaged),
        )
    return [" ", *sorted(set(counts) - {" "})]


def _refuse_unknown(argument: str, given: dict, known: set[str]) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"{argument}: unknown key {key!r}{did_you_mean(key, known)}")


def measure_statistics(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[list[float], list[float]]:
    """
    Measure the mean and standard deviation of each feature bin.

    Args:
        batches: pairs of features (B, T, F), not normalised, and masks (B, T), 1 on real frames.

    Returns:
        The mean and the unbiased standard deviation of each bin, (F,), over all real frames.

    Raises:
        ValueError: there are fewer than two frames.
    """
    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for features, mask in batches:
        frames = features[mask.bool()].double()
        count += len(frames)
        total = total + frames.sum(0)
        squares = squares + frames.square().sum(0)
    if count < 2:
        raise ValueError(f"the training speech has {count} frames; expected at least two to measure feature statistics")
    mean = total / count
    std = ((squares - count * mean.square()).clamp(min=0) / (count - 1)).sqrt().clamp(min=10.0**-DIGITS)
    return [round(one, DIGITS) for one in mean.tolist()], [round(one, DIGITS) for one in std.tolist()]


def fix_statistics(
    processor: DeepSpeech2Processor, speech: Speech, data: DataArguments, training: RecipeTrainingArguments
) -> None:
    """
    Give the processor of a run its feature statistics, if `"fixed"` normalisation still lacks them.

    A resumed run takes them from its checkpoint. A new run measures them over the first hour of its training speech:
    shuffled, with the mixture weights, without augmentation. Every process reads the same hour, so all agree.

    Raises:
        ValueError: there is no usable speech.
    """
    extractor = processor.feature_extractor
    if extractor.normalization != "fixed" or extractor.feature_mean is not None:
        return
    finished = (training.folder / "model.safetensors").is_file()
    before = training.folder if finished else last_whole_checkpoint(training.folder)
    if before:
        known = DeepSpeech2Processor.from_pretrained(before, trust_remote_code=False).feature_extractor
        extractor.feature_mean, extractor.feature_std = known.feature_mean, known.feature_std
        logger.info("features are normalised with the statistics in %s", before)
        return
    corpora, weights = with_weights(speech.train, data.mixture_weights)
    nothing = {"feature_mean": [0.0] * extractor.feature_size, "feature_std": [1.0] * extractor.feature_size}
    plain = DeepSpeech2FeatureExtractor.from_dict(extractor.to_dict() | nothing)
    bounds_s = (data.min_duration_s, min(data.max_duration_s, BATCH_S))
    filters = Filters(lambda num_samples: num_samples, *bounds_s)  # no CTC here, so no limit on output frames
    examples = Examples(DeepSpeech2Processor(plain, processor.tokenizer), filters, transcribed=False)
    batching = Batching(batch_seconds=BATCH_S, window_size=WINDOW)
    stream = SpeechStream(corpora, weights, examples, batching, seed=training.stream_seed)
    sizes = [corpus.num_examples for corpus in corpora]
    hour = _FirstHour(stream, sum(size or 0 for size in sizes) if all(sizes) else None)
    extractor.feature_mean, extractor.feature_std = measure_statistics(hour)
    logger.info("features are normalised with statistics measured over %.0f s of training speech", hour.duration_s)


class _FirstHour:
    """The features of the first hour of an endless stream, or of its first `most` clips. It can be iterated once."""

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
