"""From arguments to things: the model and its processor, the streams of speech."""

import difflib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from itertools import islice
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.trainer_utils import IntervalStrategy

from .alphabets import change_alphabet
from .arguments import AugmentationArguments, DataArguments, ModelArguments, RecipeTrainingArguments
from .augmentation import Augmentation
from .configuration_deepspeech2 import DeepSpeech2Config
from .corpora import Corpus
from .data import EvaluationStream, SpeechStream, estimate_batches_per_epoch
from .feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from .modeling_deepspeech2 import DeepSpeech2ForCTC
from .processing_deepspeech2 import DeepSpeech2Processor
from .servers import advice, ask, reading
from .splits import with_weights
from .warm_start import take_weights

logger = logging.getLogger(__name__)

VOCABULARY_UTTERANCES = 20_000
PROCESSOR_FILES = ("processor_config.json", "tokenizer_config.json", "vocab.json")


def load_model(
    model_name_or_path: str, revision: str = "main", dropout: float | None = None, adapter_size: int = 0
) -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    """
    A checkpoint and its processor, from a folder or the Hub, in float32.

    Nothing that lies there is executed: the classes are this package's, the weights safetensors.

    Args:
        dropout: to train with, instead of the checkpoint's own.
        adapter_size: of new adapters, with which the model says what it said; 0: as the checkpoint has it.

    Raises:
        ValueError: neither a folder with a config.json nor the form of a Hub id, another architecture, files that
            are missing, out of reach or damaged, weights that are pickles, or a dropout out of its range.
    """
    named = f"model_name_or_path {model_name_or_path!r}"
    path = Path(model_name_or_path)
    here = path.exists() or path.parent.is_dir()  # "outputs/misspelt" is no id on the Hub
    local = (path / "config.json").is_file()
    if not local and (here or model_name_or_path.count("/") != 1):
        raise ValueError(f"{named} is no model: expected a folder with config.json, or a Hub id such as 'user/model'")
    source = "its config.json"
    try:
        folder = path if local else _download(model_name_or_path, revision, "*.json")
        kind = DeepSpeech2Config.get_config_dict(folder)[0].get("model_type")
        if kind != DeepSpeech2Config.model_type:
            raise ValueError(f"{model_name_or_path} holds a {kind} model; expected a deepspeech2 one")
        config = DeepSpeech2Config.from_pretrained(folder)
        if dropout is not None:
            source = "model_config"
            config.dropout = dropout
            config.validate()
        if adapter_size and config.adapter_size not in (0, adapter_size):
            raise ValueError(
                f"{named} has adapters of size {config.adapter_size}, not {adapter_size}; set adapter_size to that"
            )
        config.adapter_size = adapter_size or config.adapter_size
        if missing := [name for name in PROCESSOR_FILES if not (folder / name).is_file()]:
            raise ValueError(
                f"{named} lacks {' and '.join(missing)}: beside the model's config.json and model.safetensors it needs "
                "what save_pretrained of its processor writes"
            )
        processor = DeepSpeech2Processor.from_pretrained(folder, trust_remote_code=False)
        if not local:
            _download(model_name_or_path, folder.name, "model*.safetensors")
        if not any(folder.glob("model*.safetensors")):
            others = ", ".join(sorted(file.name for file in folder.glob("*.bin")))
            raise ValueError(
                f"{named} has no weights in model.safetensors{f', but {others}' if others else ''}: other formats are "
                "pickles, programs that may do anything, and are not loaded; save_pretrained writes safetensors"
            )
        model = DeepSpeech2ForCTC.from_pretrained(folder, config=config, dtype="float32", use_safetensors=True)
    except StrictDataclassError as error:  # no ValueError, and the fault itself is what caused it
        raise ValueError(f"{named}, {source}: {error.__cause__ or error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{named} has a damaged JSON file: {error}; copy or download its files again") from error
    except SafetensorError as error:
        raise ValueError(f"{named} has damaged weights, {error}: copy or download model.safetensors again") from error
    except OSError as error:  # of transformers and the Hub client
        cause = " ".join(str(error).split())
        raise ValueError(f"{named} cannot be loaded: {cause}{advice(error)}") from error
    return model, processor


def _download(repo_id: str, revision: str, pattern: str) -> Path:
    """The folder with those files of a model on the Hub; its name is their commit."""
    fetch = partial(snapshot_download, repo_id, revision=revision, allow_patterns=pattern)
    return Path(ask(f"the model {repo_id}", fetch))


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


def load_models(names: Sequence[str]) -> dict[str, tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]]:
    """
    Checkpoints that are to be compared, by name, as `load_model` loads each.

    Raises:
        ValueError: one cannot be loaded, or they normalise text in different ways.
    """
    loaded = {name: load_model(name) for name in names}
    ways = {name: (made.text_case, made.removed_characters) for name, (_, made) in loaded.items()}
    if len(set(ways.values())) > 1:
        raise ValueError(
            "error rates of models that normalise text in different ways cannot be compared: "
            + "; ".join(f"{name} has text_case {way[0]!r}, removed_characters {way[1]!r}" for name, way in ways.items())
        )
    return loaded


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
