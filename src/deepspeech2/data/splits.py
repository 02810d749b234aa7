"""The corpora of a run, from its arguments: training, held-out, evaluation and unlabelled speech."""

import logging
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ..config.arguments import DataArguments
from ..system.network import ask, reading
from .corpora import MANY, Corpus, load_corpus
from .lists.cells import Cell
from .manifests import read_transcripts

logger = logging.getLogger(__name__)

HELD_OUT = "held-out"
OTHER_CORPUS = "(held_out_share 0, eval_dataset_name and eval_split)"
OF_CORPUS = "::"  # separates the name of another corpus from its split


class _Named(NamedTuple):
    """A training corpus, or a split to score."""

    name: str
    config: str
    split: str
    revision: str | None


@dataclass(frozen=True)
class Speech:
    """
    The speech of a run.

    Args:
        train: a list for each corpus, with an entry for each of its joined splits.
        validation: the corpora of `eval_split`, scored during training.
        test: the corpora scored before and after training, by the name of the split.
        unlabelled: speech without transcripts. Each training step adds a batch of it.
    """

    train: Sequence[Sequence[Corpus]]
    validation: Sequence[Corpus] = ()
    test: Mapping[str, Sequence[Corpus]] = field(default_factory=dict)
    unlabelled: Sequence[Corpus] = ()

    @property
    def trained_on(self) -> list[Corpus]:
        """All corpora of `train` in one list."""
        return [corpus for joined in self.train for corpus in joined]


def load_speech(data: DataArguments) -> Speech:
    """Load all corpora of a run, by the functions below."""
    train = load_train_corpora(data)
    validation, test = load_eval_splits(data)
    return Speech(train, validation, test, load_unlabelled(data))


def load_train_corpora(data: DataArguments) -> list[list[Corpus]]:
    """
    Load the training corpora: a list for each corpus, with an entry for each of its joined splits.

    They do not include the utterances that `held_out_share` or `held_out_speakers` keep for scoring.

    Raises:
        ValueError: these are all utterances.
    """
    corpora = _load_named_corpora(data)
    if not (data.held_out_share or data.held_out_speakers):
        return corpora
    parts = [[_part(corpus, data, held_out=False) for corpus in joined] for joined in corpora]
    if all(_is_empty(part) for joined in parts for part in joined):
        whole = [corpus for joined in corpora for corpus in joined]
        if data.held_out_speakers:
            speakers = ", ".join(data.held_out_speakers)
            raise ValueError(
                f"held_out_speakers {speakers}: all of the {_counts(whole)} are by them, and none is left to train on; "
                "give fewer, or add recordings of others"
            )
        hashes = _hashes(whole)
        at_most = f" (at most {math.floor(100 * hashes[-1]) / 100:g} leaves one)" if hashes else ""
        raise ValueError(
            f"held_out_share {data.held_out_share} keeps all of the {_counts(whole)} for scoring, and none is left to "
            f"train on; lower it{at_most}, add recordings, or score on another corpus {OTHER_CORPUS}"
        )
    return parts


def with_weights(
    corpora: Sequence[Sequence[Corpus]], mixture_weights: Sequence[float]
) -> tuple[list[Corpus], list[float] | None]:
    """Return all corpora and the mixture weight of each. Joined splits divide a weight by their sizes, if known."""
    flat = [corpus for joined in corpora for corpus in joined]
    if not mixture_weights:
        return flat, None
    sizes = [[corpus.num_examples or 1 for corpus in joined] for joined in corpora]
    weighted = zip(sizes, mixture_weights, strict=True)
    return flat, [weight * size / sum(joined) for joined, weight in weighted for size in joined]


def load_unlabelled(data: DataArguments) -> list[Corpus]:
    """
    Load the corpora of `unlabelled_dataset_name`, or none without it. Their transcripts, if any, are not read.

    If it is also a training corpus, its held-out utterances are held out here too.
    """
    if not data.unlabelled_dataset_name:
        return []
    corpora = load_corpus(
        data.unlabelled_dataset_name,
        data.unlabelled_dataset_config or None,
        data.unlabelled_split,
        text_column=None,
        audio_column=data.audio_column,
        audio_root=data.audio_root,
    )
    held_out = data.held_out_share or data.held_out_speakers
    if held_out and data.unlabelled_dataset_name in data.dataset_name:
        return [_part(corpus, data, held_out=False) for corpus in corpora]
    return corpora


def load_eval_splits(data: DataArguments) -> tuple[list[Corpus], dict[str, list[Corpus]]]:
    """
    Load the corpora of `eval_split`, and those of each `test_split` by its name (or of `eval_split` without any).

    The name of a split is `split` or `config/split`, or for another corpus `dataset_name::split` or
    `dataset_name::config/split`. `held-out` is the part that `held_out_share` or `held_out_speakers` keep. A split that
    the model is trained on is loaded with a warning.

    Raises:
        ValueError: a split does not exist, or the held-out part is empty.
    """
    tested = data.test_split or [data.eval_split]
    loaded = {split: load_split(data, split) for split in dict.fromkeys([data.eval_split, *tested])}
    for split in loaded:
        _warn_if_trained_on(data, split)
    return loaded[data.eval_split], {split: loaded[split] for split in tested}


def load_other_split(name: str) -> list[Corpus]:
    """
    Load a split by a full name, `dataset::split` or `dataset::config/split`.

    Raises:
        ValueError: the name has another form, or the split does not exist.
    """
    dataset, _, split = name.rpartition(OF_CORPUS)
    if not dataset:
        raise ValueError(
            f"{name!r} does not name a split; expected DATASET{OF_CORPUS}SPLIT or DATASET{OF_CORPUS}CONFIG/SPLIT"
        )
    return load_split(DataArguments(dataset_name=[dataset]), split)


def load_split(data: DataArguments, split: str, kept_columns: Sequence[str] = ()) -> list[Corpus]:
    """
    Load the corpora of a split to score on, or the held-out part of the training corpora.

    Args:
        data: the arguments, with the corpora as `dataset_name` or `eval_dataset_name`.
        split: the name of the split, as in `load_eval_splits`.
        kept_columns: other columns that the streams keep.

    Raises:
        ValueError: the split or a column does not exist, or the held-out part is empty.
    """
    if split == HELD_OUT:
        if not data.held_out_share and not data.held_out_speakers:
            raise ValueError(
                "the split 'held-out' needs held_out_share or held_out_speakers with the value of the training run, "
                "which is in its recipe.json"
            )
        joined = [corpus for corpora in _load_named_corpora(data, kept_columns) for corpus in corpora]
        parts = [_part(corpus, data, held_out=True) for corpus in joined]
        if all(_is_empty(part) for part in parts):
            counts = _counts(joined)
            if data.held_out_speakers:
                speakers = ", ".join(data.held_out_speakers)
                raise ValueError(
                    f"held_out_speakers {speakers}: none of the {counts} is by them; give values of speaker_id"
                )
            hashes = _hashes(joined)
            at_least = f" (at least {math.floor(100 * hashes[0] + 1) / 100:g} keeps one)" if hashes else ""
            raise ValueError(
                f"held_out_share {data.held_out_share} keeps none of the {counts} for scoring; raise it{at_least}, or "
                f"give another corpus to score on {OTHER_CORPUS}"
            )
        return parts
    return _load(data, _named_eval(data, split), kept_columns)


def _counts(corpora: Sequence[Corpus]) -> str:
    return ", ".join(
        f"{'unknown number of' if corpus.num_examples is None else corpus.num_examples} utterances of {corpus.name}"
        for corpus in corpora
    )


def _hashes(corpora: Sequence[Corpus]) -> list[float]:
    """Return the hashes of the ids of small local corpora, sorted. A share above the first one holds something out."""
    if any(corpus.revision or (corpus.num_examples or MANY) >= MANY for corpus in corpora):
        return []
    return sorted(_hash(row["id"]) for corpus in corpora for row in corpus.stream)


def _is_empty(corpus: Corpus) -> bool:
    with reading(corpus.name):
        return ask(f"the first row of {corpus.name}", lambda: next(iter(corpus.stream), None)) is None


def _named_eval(data: DataArguments, split: str) -> _Named:
    """
    Return a split to score. The default config is that of the first training corpus of the same name, if there is one,
    and the revision that of the first one of the same name and config.
    """
    name, _, split = split.rpartition(OF_CORPUS)
    config, _, split = split.rpartition("/")
    name = name or data.eval_dataset_name or data.dataset_name[0]
    trained = [one for one in _named(data) if one.name == name]
    config = config or (trained[0].config if trained else "-")
    trained.sort(key=lambda one: one.config != config)
    return _Named(name, config, split, trained[0].revision if trained else None)


def _warn_if_trained_on(data: DataArguments, split: str) -> None:
    if split == HELD_OUT:
        return
    name, config, split, _ = _named_eval(data, split)
    one_split = Path(name).is_file()  # a manifest is one split, whatever the split is called
    for train_name, train_config, train_split, _ in _named(data):
        if (name, config) == (train_name, train_config) and (one_split or split in train_split.split("+")):
            logger.warning(
                "%s / %s is scored, but the model is trained on it: the error rates will not show how well the model "
                "generalises. Use another eval_dataset_name, another split, or held_out_share 0.1 with eval_split %s",
                name,
                split,
                HELD_OUT,
            )
    unlabelled = (data.unlabelled_dataset_name, data.unlabelled_dataset_config or "-")
    if (name, config) == unlabelled and (one_split or split in data.unlabelled_split.split("+")):
        logger.warning(
            "%s / %s is scored, and the model is trained on it without transcripts: the error rates will be those of "
            "speech that the model adapts to, not of new speech",
            name,
            split,
        )


def _load_named_corpora(data: DataArguments, kept_columns: Sequence[str] = ()) -> list[list[Corpus]]:
    tables = _one_each(data.transcripts or ["-"], data.num_corpora[0])
    return [
        _load(data, named, kept_columns)
        if table == "-"
        else _transcribe(_load(data, named, kept_columns, transcribed=False), table)
        for named, table in zip(_named(data), tables, strict=True)
    ]


def _transcribe(corpora: Sequence[Corpus], table: str) -> list[Corpus]:
    """
    Return the corpora with the texts of a table. Utterances that are not in the table are left out.

    Raises:
        ValueError: no utterance is in the table.
    """
    texts = read_transcripts(Path(table))
    _compare_ids(corpora, table, texts)
    return [
        replace(
            corpus,
            name=f"{corpus.name} (texts of {table})",
            stream=corpus.stream.filter(texts.__contains__, input_columns=["id"]).map(
                partial(_with_text, texts=texts), features=corpus.stream.features
            ),
            num_examples=_count_in(corpus, texts),
            ids=None,
        )
        for corpus in corpora
    ]


def _count_in(corpus: Corpus, texts: Mapping[str, Cell]) -> int | None:
    if corpus.ids is not None:
        return sum(name in texts for name in corpus.ids)
    return None if corpus.num_examples is None else min(corpus.num_examples, len(texts))


def _compare_ids(corpora: Sequence[Corpus], table: str, texts: Mapping[str, Cell]) -> None:
    """Say how many ids of a table and of the corpora match, if the corpora's are known before reading."""
    if any(corpus.ids is None for corpus in corpora):
        return
    ids = [name for corpus in corpora for name in corpus.ids or ()]
    known = set(ids)
    unspoken = [name for name in texts if name not in known]
    untold = [name for name in ids if name not in texts]
    name = ", ".join(corpus.name for corpus in corpora)
    if len(untold) == len(ids):
        raise ValueError(
            f"no id of the transcripts {table!r} is in {name}: the table has {_some(unspoken)} ({len(texts)} in all), "
            f"the corpus {_some(untold)} ({len(ids)} in all); write the corpus's ids into the table"
        )
    logger.log(
        logging.WARNING if unspoken else logging.INFO,
        "transcripts %s: %d of its %d rows and %d of the %d utterances of %s match by id%s%s",
        table,
        len(texts) - len(unspoken),
        len(texts),
        len(ids) - len(untold),
        len(ids),
        name,
        f"; rows without an utterance: {_some(unspoken)}" if unspoken else "",
        f"; utterances without a row, which are left out: {_some(untold)}" if untold else "",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _with_text(row: dict[str, Any], *, texts: Mapping[str, Cell]) -> dict[str, Any]:
    text, fault = texts[row["id"]]
    return row | {"text": text, "fault": row["fault"] or fault or None}


def _named(data: DataArguments) -> list[_Named]:
    """Return the training corpora. A single name, config, split or revision is that of all corpora."""
    revisions: Sequence[str | None] = data.dataset_revision or [None]
    columns = (data.dataset_name, data.dataset_config or ["-"], data.train_split, revisions)
    return list(map(_Named, *(_one_each(column, data.num_corpora[0]) for column in columns)))


def _load(data: DataArguments, named: _Named, kept_columns: Sequence[str], transcribed: bool = True) -> list[Corpus]:
    return load_corpus(
        named.name,
        None if named.config == "-" else named.config,
        named.split,
        revision=named.revision,
        text_column=data.text_column if transcribed else None,
        audio_column=data.audio_column,
        audio_root=data.audio_root,
        kept_columns=kept_columns,
        list_ids=not transcribed,
    )


def _part(corpus: Corpus, data: DataArguments, *, held_out: bool) -> Corpus:
    """
    Return the held-out part of a corpus, or its training part.

    An utterance is held out by its speaker, or by the hash of its id. The number of utterances of a speaker is unknown
    before reading, so with `held_out_speakers`, `num_examples` is an upper bound.
    """
    count, share, speakers = corpus.num_examples, data.held_out_share, frozenset(data.held_out_speakers)
    part = f"({'held-out' if held_out else 'training'} part)"
    if speakers:
        belongs = partial(_is_said_by, speakers=speakers, held_out=held_out)
        return replace(
            corpus,
            name=f"{corpus.name} {part}",
            split=f"{corpus.split} {part}",
            stream=corpus.stream.filter(belongs, input_columns=["speaker_id"]),
        )
    return replace(
        corpus,
        name=f"{corpus.name} {part}",
        split=f"{corpus.split} {part}",
        stream=corpus.stream.filter(partial(_belongs, share=share, held_out=held_out), input_columns=["id"]),
        num_examples=None if count is None else round(count * (share if held_out else 1 - share)),
    )


def _belongs(id_: str, *, share: float, held_out: bool) -> bool:
    return (_hash(id_) < share) == held_out


def _hash(id_: str) -> float:
    return zlib.crc32(id_.encode()) / 2**32


def _is_said_by(speaker_id: str, *, speakers: frozenset[str], held_out: bool) -> bool:
    return (speaker_id in speakers) == held_out


def _one_each(values: Sequence[Any], count: int) -> list[Any]:
    return list(values) * count if len(values) == 1 else list(values)
