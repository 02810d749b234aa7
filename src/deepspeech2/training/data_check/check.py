"""Check data with the code that training uses: read it, find its problems, write a report."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info
from tqdm import tqdm

from ...data.audio.recordings import AudioError, channels_cancel, is_remote, read_header
from ...data.batching import Position, Row, RowSource, Shards
from ...data.corpora import Corpus
from ...data.preparation import DroppedError, Examples, is_silent
from ...data.streams import SpeechStream, build_loader
from ...evaluation.reports import Problem, problems_table, write_check_report
from ...system.files import has_started
from ..start import Run
from .costs import GIB, measure_costs
from .problems import CLIPPED_SHARE, TRAINING, UNLABELLED, Checked, Splits, count_unknown, find_problems

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 16
SHORT_CHECK_S = 1.0
REMOTE_UTTERANCES = 1000
FULL_SCALE = 0.999


class CheckStream(IterableDataset):
    """
    The checked utterances of a split, in lists of 16, in the order of the files. Each data worker decodes its part.

    Args:
        corpora: the corpora of one split.
        examples: the preparation that training or scoring uses.
        limit: the number of rows to read, in equal parts from the start of each corpus; None reads all.
        fetch: whether to download recordings that are on servers.
    """

    def __init__(self, corpora: Sequence[Corpus], examples: Examples, limit: int | None, fetch: bool = True) -> None:
        self.corpora, self.examples, self.limit, self.fetch = corpora, examples, limit, fetch

    def __iter__(self) -> Iterator[list[Checked]]:
        worker = get_worker_info()
        own, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        part = None if self.limit is None else -(-self.limit // len(self.corpora))
        sources = [RowSource(Shards([corpus], 1), 0, None, Position()) for corpus in self.corpora]
        rows = chain.from_iterable(islice(source.rest_of_epoch(), part) for source in sources)
        for place, window in enumerate(iter(lambda: list(islice(rows, ROWS_AT_ONCE)), [])):
            if not self.fetch:
                window = [row for row in window if not is_remote(row.example["audio"])]
            if place % workers == own:
                yield [_checked(row, one, self.examples) for row, one in self.examples.outcomes(window, [0])]


def _checked(row: Row, outcome: Any, examples: Examples) -> Checked:
    example = row.example
    make = partial(Checked, example["id"], example["speaker_id"])
    if isinstance(outcome, DroppedError):
        return make(
            reason=outcome.reason,
            detail=outcome.detail,
            unknown=outcome.more.get("characters"),
            duration_s=_duration_s(example["audio"]),
        )
    audio = outcome.row.example["audio"]
    header = read_header(audio)
    make = partial(
        make,
        text=outcome.text,
        duration_s=header.duration_s,
        sampling_rate=header.sampling_rate,
        channels=header.channels,
        notes=header.notes,
        unknown=dict(examples.processor.unknown_characters(outcome.text)) or None,
    )
    try:
        clip = examples.clip(outcome)
    except DroppedError as dropped:
        return make(reason=dropped.reason, detail=dropped.detail)
    silent = is_silent(clip)
    return make(
        silent=silent,
        channels_cancel=header.channels > 1 and channels_cancel(audio),
        clipped=float(np.mean(np.abs(clip) > FULL_SCALE)) > CLIPPED_SHARE,
        digest=b"" if silent else blake2b(clip.tobytes(), digest_size=16).digest(),
    )


def _duration_s(audio: dict[str, Any]) -> float:
    """Return the duration of a dropped recording, for the histogram. 0 if it would have to be downloaded again."""
    try:
        return 0.0 if is_remote(audio) else read_header(audio).duration_s
    except AudioError:
        return 0.0


def read_splits(run: Run, stream: SpeechStream, limit: int | None) -> dict[str, list[Checked]]:
    """
    Read and check every split, as training and scoring read it.

    Args:
        run: the run whose speech is checked.
        stream: the stream of training.
        limit: utterances of a split; None means all, or 1,000 of a corpus on the Hub.
    """
    splits: dict[str, list[Checked]] = {}
    for split, (corpora, examples) in _sources(run, stream).items():
        count = limit or (REMOTE_UTTERANCES if any(corpus.revision for corpus in corpora) else None)
        sizes = [corpus.num_examples for corpus in corpora]
        known = None if None in sizes else sum(size or 0 for size in sizes)
        total = min(filter(None, (known, count)), default=None)
        loader = build_loader(CheckStream(corpora, examples, count), run.recipe.training.dataloader_num_workers)
        splits[split] = []
        with tqdm(desc=split, total=total, unit=" utterances") as bar:
            for some in loader:
                splits[split] += some
                bar.update(len(some))
    return splits


def _sources(run: Run, stream: SpeechStream) -> dict[str, tuple[Sequence[Corpus], Examples]]:
    """Return the corpora of each split, and how its examples are prepared."""
    speech, filters, processor = run.speech, stream.examples.filters, run.processor
    sources: dict[str, tuple[Sequence[Corpus], Examples]] = {
        TRAINING: (speech.trained_on, Examples(processor, filters))
    }
    if speech.unlabelled:
        sources[UNLABELLED] = (speech.unlabelled, Examples(processor, filters, transcribed=False))
    scored = {run.recipe.data.eval_split: speech.validation, **speech.test}
    return sources | {split: (corpora, Examples(processor)) for split, corpora in scored.items()}


def judge(run: Run, splits: Splits, *, sampled: bool) -> list[Problem]:
    """Return the problems, the worst first. `sampled` says that the splits were not read completely."""
    tokenizer, data = run.processor.tokenizer, run.recipe.data
    vocabulary = sorted(set(tokenizer.get_vocab()) - {tokenizer.pad_token})
    rate = run.processor.feature_extractor.sampling_rate
    return find_problems(
        splits, vocabulary, rate, data.max_dropped_share, held_out_by_id=bool(data.held_out_share), sampled=sampled
    )


def check_before_training(run: Run, stream: SpeechStream) -> None:
    """
    Check the first utterances of each local split of a new run, for about a second in total.

    Only the main process checks. Recordings on servers are not downloaded for this.

    Raises:
        ValueError: there is a fatal problem. The message holds the table of all problems.
    """
    data, training = run.recipe.data, run.recipe.training
    if training.process_index or not data.check_utterances or has_started(training.folder):
        return
    sources = _sources(run, stream)
    splits = {}
    for split, (corpora, examples) in sources.items():
        begun, splits[split] = time.perf_counter(), list[Checked]()
        local = [corpus for corpus in corpora if not corpus.revision]
        for some in CheckStream(local, examples, data.check_utterances, fetch=False) if local else ():
            splits[split] += some
            if time.perf_counter() - begun > SHORT_CHECK_S / len(sources):
                break
    splits = {split: utterances for split, utterances in splits.items() if utterances}
    problems = [one for one in judge(run, splits, sampled=True) if one.severity != "note"]
    counts = ", ".join(f"{split}: {len(utterances)}" for split, utterances in splits.items()) or "no local data"
    table = f"\n{problems_table(problems)}\nTo check all of the data, run recipes/check_data.py with the same arguments"
    if any(problem.severity == "fatal" for problem in problems):
        raise ValueError(
            f"the checked data ({counts}) has fatal problems. To train anyway, set check_utterances 0:{table}"
        )
    if problems:
        logger.warning("the checked data (%s) has problems:%s", counts, table)
    else:
        logger.info("the checked data (%s) has no problems", counts)


def describe(splits: Splits) -> dict[str, str]:
    """Return utterances and hours of each split, and the number of utterances that training can use."""
    facts = {
        split: f"{len(utterances):,} utterances, {sum(one.duration_s for one in utterances) / 3600:.2f} h"
        for split, utterances in splits.items()
    }
    facts["usable for training"] = f"{sum(not one.reason for one in splits[TRAINING]):,} utterances"
    return facts


def estimate_costs(run: Run, stream: SpeechStream, utterances: Sequence[Checked]) -> dict[str, str]:
    """
    Estimate the cost of an epoch on this device, as text, without data loading, optimizer and evaluation.

    Args:
        run: the run. The gradients of its model are overwritten.
        stream: the stream of training. Its first batch is timed.
        utterances: the checked utterances of training.
    """
    extractor, training = run.processor.feature_extractor, run.recipe.training
    usable_s = [one.duration_s for one in utterances if not one.reason]
    if not usable_s:
        return {"an epoch": "not estimated: none of the checked training utterances is usable"}
    size = stream.batching.batch_size or max(1, int((stream.batching.batch_seconds or 0) / max(usable_s)))
    longest = (size, extractor.get_num_frames(round(max(usable_s) * extractor.sampling_rate)))
    batch = next(iter(stream))
    costs = measure_costs(run.model, training.device, batch, sum(batch["durations_s"]), longest)
    counts = [corpus.num_examples for corpus in stream.corpora]
    facts = {
        "speed": f"{costs.audio_s_per_s:,.0f} seconds of audio per second, forward and backward pass of one batch",
        "memory": f"{costs.peak_bytes / GIB:.2f} GiB with a batch of {size} x {max(usable_s):.1f} s, "
        + ("on the GPU" if training.device.type == "cuda" else "for the whole process"),
    }
    if None not in counts:
        audio_s = sum(usable_s) / len(utterances) * sum(count or 0 for count in counts)
        minutes = audio_s / costs.audio_s_per_s / training.world_size / 60
        facts["an epoch"] = f"{audio_s / 3600:.2f} h of audio, about {minutes:,.1f} min"
    return facts


def write_check(
    folder: Path, splits: Splits, problems: Sequence[Problem], facts: Mapping[str, str], *, title: str, command: str
) -> Path:
    """Write the page and `problems.jsonl`, a line for each utterance of each problem. Return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "problems.jsonl").open("w", encoding="utf-8") as file:
        for problem in problems:
            for name, detail in problem.entries:
                line = {"severity": problem.severity, "problem": problem.name, "split": problem.split}
                file.write(json.dumps(line | {"id": name, "detail": detail}, ensure_ascii=False) + "\n")
    weights = [problem.severity for problem in problems]
    return write_check_report(
        folder,
        title=title,
        command=command,
        headline=", ".join(f"{weights.count(weight)} {weight}" for weight in ("fatal", "warning", "note")),
        facts=facts,
        durations_s={split: [one.duration_s for one in own if one.duration_s] for split, own in splits.items()},
        unknown=count_unknown(one for own in splits.values() for one in own),
        problems=problems,
    )
