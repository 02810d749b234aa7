"""From arguments to things: the model and its processor, the corpora and their streams."""

import difflib
import logging
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCTC, AutoProcessor

from .arguments import AugmentationArguments, DataArguments, ModelArguments, RecipeTrainingArguments
from .augmentation import Augmentation
from .configuration_deepspeech2 import DeepSpeech2Config
from .corpora import Corpus, load_corpus
from .data import EvaluationStream, SpeechStream, estimate_batches_per_epoch
from .feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from .modeling_deepspeech2 import DeepSpeech2ForCTC
from .processing_deepspeech2 import DeepSpeech2Processor

logger = logging.getLogger(__name__)

VOCABULARY_UTTERANCES = 20_000
HELD_OUT = "held-out"


def load_train_corpora(data: DataArguments) -> list[list[Corpus]]:
    """
    The training corpora: a list for each `dataset_name`, with an entry for each of its joined splits.

    Without the utterances that `held_out_share` keeps for scoring.
    """
    corpora = _load_named_corpora(data)
    if data.held_out_share:
        return [[_part(corpus, data.held_out_share, held_out=False) for corpus in joined] for joined in corpora]
    return corpora


def load_eval_splits(data: DataArguments) -> tuple[list[Corpus], dict[str, list[Corpus]]]:
    """
    The corpora of `eval_split`, and those of each `test_split` by its name (without any: of `eval_split`).

    A split is named `split` or `config/split`; `held-out` is what `held_out_share` keeps. One that the model is trained
    on is loaded with a warning.

    Raises:
        ValueError: no such split, or the held-out part is empty.
    """
    tested = data.test_split or [data.eval_split]
    loaded = {split: _load_eval_corpora(data, split) for split in dict.fromkeys([data.eval_split, *tested])}
    return loaded[data.eval_split], {split: loaded[split] for split in tested}


def _load_eval_corpora(data: DataArguments, split: str) -> list[Corpus]:
    if split == HELD_OUT:
        joined = [corpus for corpora in _load_named_corpora(data) for corpus in corpora]
        parts = [_part(corpus, data.held_out_share, held_out=True) for corpus in joined]
        if all(next(iter(part.stream), None) is None for part in parts):
            counts = ", ".join(f"{corpus.num_examples} utterances of {corpus.name}" for corpus in joined)
            raise ValueError(
                f"held_out_share {data.held_out_share} keeps none of the {counts}: raise it, or give recordings of "
                "their own to score on (held_out_share 0, eval_dataset_name and eval_split)"
            )
        return parts
    config, _, split = split.rpartition("/")
    config = config or (data.dataset_config[0] if data.dataset_config else "-")
    name = data.eval_dataset_name or data.dataset_name[0]
    one_split = Path(name).is_file()  # a manifest is one split, whatever the split is called
    for train_name, train_config, train_split in _named(data):
        if (name, config) == (train_name, train_config) and (one_split or split in train_split.split("+")):
            logger.warning(
                "%s / %s is scored, but the model is trained on it: the error rates will say how well it remembers, "
                "not how well it hears. Give another corpus as eval_dataset_name, another split, or held_out_share "
                "0.1 with eval_split %s",
                name,
                split,
                HELD_OUT,
            )
    return _load(data, name, config, split)


def _load_named_corpora(data: DataArguments) -> list[list[Corpus]]:
    return [_load(data, *named) for named in _named(data)]


def _named(data: DataArguments) -> list[tuple[str, str, str]]:
    """Name, config and split of each training corpus."""
    count = len(data.dataset_name)
    configs = _one_each(data.dataset_config or ["-"], count)
    splits = _one_each(data.train_split, count)
    return list(zip(data.dataset_name, configs, splits, strict=True))


def _load(data: DataArguments, name: str, config: str, split: str) -> list[Corpus]:
    return load_corpus(
        name,
        None if config == "-" else config,
        split,
        revision=data.dataset_revision,
        text_column=data.text_column,
        audio_column=data.audio_column,
    )


def _part(corpus: Corpus, share: float, *, held_out: bool) -> Corpus:
    """The utterances whose id falls, by its hash, into the held-out share, or the others."""

    def belongs(id_: str) -> bool:
        return (zlib.crc32(id_.encode()) / 2**32 < share) == held_out

    count = corpus.num_examples
    return Corpus(
        f"{corpus.name} ({'held-out' if held_out else 'training'} part)",
        corpus.stream.filter(belongs, input_columns=["id"]),
        None if count is None else round(count * (share if held_out else 1 - share)),
    )


def _one_each(values: Sequence[str], count: int) -> list[str]:
    return list(values) * count if len(values) == 1 else list(values)


def load_model(model_name_or_path: str, revision: str = "main") -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    """
    A checkpoint and its processor, from a folder or the Hub, in float32.

    Raises:
        ValueError: neither a folder with a config.json nor the form of a Hub id, another architecture, or files that
            are missing, out of reach or damaged.
    """
    path = Path(model_name_or_path)
    if not (path / "config.json").is_file() and (path.exists() or model_name_or_path.count("/") != 1):
        raise ValueError(
            f"model_name_or_path {model_name_or_path!r} is no model: expected a folder with config.json, or a Hub id "
            "such as 'user/model'"
        )
    try:
        config = AutoConfig.from_pretrained(model_name_or_path, revision=revision)
        if not isinstance(config, DeepSpeech2Config):
            raise ValueError(f"{model_name_or_path} holds a {config.model_type} model; expected a deepspeech2 one")
        processor = AutoProcessor.from_pretrained(model_name_or_path, revision=revision)
        model = AutoModelForCTC.from_pretrained(model_name_or_path, revision=revision, dtype="float32")
    except (OSError, SafetensorError) as error:  # of transformers and the Hub client; of damaged weights
        cause = " ".join(str(error).split())
        raise ValueError(f"model_name_or_path {model_name_or_path!r} cannot be loaded: {cause}") from error
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
        for example in islice(corpus.stream.select_columns(["text"]), VOCABULARY_UTTERANCES):
            counts.update(processor.normalize_text(example["text"] or ""))
    if not counts:
        raise ValueError("the transcripts are all empty: no vocabulary can be built; check text_column")
    return [" ", *sorted(set(counts) - {" "})]


def _refuse_unknown(argument: str, given: dict, known: set[str]) -> None:
    for key in given:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"{argument}: unknown key {key!r}{hint}")


def build_train_stream(
    corpora: Sequence[Sequence[Corpus]],
    model: DeepSpeech2ForCTC,
    processor: DeepSpeech2Processor,
    data: DataArguments,
    augmentation: AugmentationArguments,
    training: RecipeTrainingArguments,
) -> SpeechStream:
    """The endless stream of this process."""
    extractor = processor.feature_extractor
    readers = training.world_size * max(1, training.dataloader_num_workers)
    if data.mixture_weights:
        # A joined split shares the weight of its corpus by its size, where known.
        weighted = [
            (corpus, weight * (corpus.num_examples or 1) / sum(one.num_examples or 1 for one in joined))
            for joined, weight in zip(corpora, data.mixture_weights, strict=True)
            for corpus in joined
        ]
        flat, weights = [corpus for corpus, _ in weighted], [weight for _, weight in weighted]
    else:
        flat, weights = [corpus for joined in corpora for corpus in joined], None
    return SpeechStream(
        flat,
        weights,
        processor,
        lambda num_samples: int(model.get_output_lengths(extractor.get_num_frames(num_samples))),
        seed=training.data_seed if training.data_seed is not None else training.seed,
        **_batch_limit(data, training),
        window_size=data.window_size,
        num_readers=data.num_readers or readers,
        rank=training.process_index,
        world_size=training.world_size,
        min_duration_s=data.min_duration_s,
        max_duration_s=data.max_duration_s,
        augmentation=Augmentation(augmentation, extractor.sampling_rate),
        drops_dir=_drops_dir(training),
    )


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


def _drops_dir(training: RecipeTrainingArguments) -> Path:
    return Path(training.output_dir or ".", "drops")


def _batch_limit(data: DataArguments, training: RecipeTrainingArguments) -> dict:
    if data.batch_seconds:
        return {"batch_seconds": data.batch_seconds}
    return {"batch_size": training.per_device_train_batch_size}
