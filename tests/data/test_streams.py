"""Streams: the same order everywhere, nothing twice or missed, every drop recorded, exact and cheap resumes."""

import inspect
import io
import json
from collections import Counter
from dataclasses import fields
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from deepspeech2 import DeepSpeech2FeatureExtractor, DeepSpeech2Processor
from deepspeech2.config.arguments import AugmentationArguments
from deepspeech2.data import batching
from deepspeech2.data import preparation as examples
from deepspeech2.data.augmentation import Augmentation
from deepspeech2.data.batching import (
    Batching,
    Position,
    RowSource,
    Shards,
    cut_batches,
    draw_order,
    estimate_batches_per_epoch,
)
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.preparation import Examples, Filters, needed_frames
from deepspeech2.data.streams import EvaluationStream, SpeechStream, build_loader

RATE = 8000
NUM_ROWS = 60


def encoded(duration_s: float, seed: int = 0) -> bytes:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(duration_s * RATE))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="FLAC")
    return buffer.getvalue()


def frames(num_samples: int) -> int:
    return (num_samples // 80 + 1) // 2


@pytest.fixture(scope="session")
def processor():
    extractor = DeepSpeech2FeatureExtractor(81, sampling_rate=RATE, n_fft=160, win_length=160, hop_length=80)
    return DeepSpeech2Processor(extractor, DeepSpeech2Processor.build_tokenizer(" abcdefghijklmnopqrstuvwxyz"))


def row(name: str, duration_s: float = 0.5, text: str | None = "ab c", audio: bytes | None = None) -> dict:
    content = encoded(duration_s, hash(name) % 1000) if audio is None else audio
    return {"audio": {"bytes": content, "path": name}, "text": text, "id": name, "speaker_id": name[:1]}


def write_shards(folder, shards: list[list[dict]], row_group_size: int = 5) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for index, rows in enumerate(shards):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{index:04d}.parquet", row_group_size=row_group_size)
    return str(folder.parent)


def corpus_of(folder, rows: list[dict], num_shards: int = 1, row_group_size: int = 5) -> list:
    shards = [rows[index::num_shards] for index in range(num_shards)]
    return load_corpus(write_shards(folder / "train", shards, row_group_size))


def varied_rows(count: int = NUM_ROWS, prefix: str = "u") -> list[dict]:
    return [row(f"{prefix}{i:03d}", 0.3 + 0.02 * (i * 37 % 60)) for i in range(count)]


@pytest.fixture(scope="session")
def parquet(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("parquet"), varied_rows(), num_shards=5)


@pytest.fixture(scope="session")
def listed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("listed")
    for one in varied_rows():
        (folder / f"{one['id']}.flac").write_bytes(one["audio"]["bytes"])
    (folder / "m.csv").write_text(
        "audio,text,id\n" + "".join(f"u{i:03d}.flac,ab c,u{i:03d}\n" for i in range(NUM_ROWS))
    )
    return load_corpus(str(folder / "m.csv"))


def stream_of(corpora, processor, **options) -> SpeechStream:
    """`options`: of the stream, of its `Batching`, its `Filters` and its `Examples`, over some defaults."""
    options = {"seed": 3, "batch_seconds": 4.0, "window_size": 13, "weights": None} | options

    def given(cls) -> dict:
        return {one.name: options.pop(one.name) for one in fields(cls) if one.name in options}

    filters, cut = Filters(frames, **given(Filters)), Batching(**given(Batching))
    changes = {name: options.pop(name) for name in ("augmentation", "transcribed", "two_views") if name in options}
    examples = Examples(processor, filters, **changes)
    return SpeechStream(corpora, options.pop("weights"), examples, cut, **options)


def ids(batches) -> list[list[str]]:
    return [batch["ids"] for batch in batches]


def global_batches(corpora, processor, count, world_size, num_workers, num_readers, **options) -> list[list[str]]:
    """The first `count` batches of all ranks together, in the order of the steps."""
    sequences = []
    for rank in range(world_size):
        stream = stream_of(corpora, processor, rank=rank, world_size=world_size, num_readers=num_readers, **options)
        sequences.append(ids(islice(build_loader(stream, num_workers), -(-count // world_size))))
    return [batch for step in zip(*sequences, strict=True) for batch in step][:count]


def first_epochs(corpora, num_readers: int, seed: int = 3) -> list[set[str]]:
    """What each reader is dealt in its first epoch."""
    shards = Shards(corpora, num_readers)
    sources = [RowSource(shards, reader, seed, Position()) for reader in range(num_readers)]
    return [{row.example["id"] for row in source.rest_of_epoch()} for source in sources]


EVERYBODY = [(1, 0), (2, 0), (1, 2), (2, 2)]  # processes and workers


@pytest.mark.parametrize(
    "num_shards, row_group_size, others",
    [(6, 5, [(2, 0), (1, 2)]), pytest.param(2, 5, EVERYBODY, marks=pytest.mark.slow), (1, 100, [(2, 2)])],
)
def test_each_example_once_an_epoch_whoever_reads(tmp_path, processor, num_shards, row_group_size, others):
    """More shards than the 4 readers; fewer, with enough row groups; fewer row groups: every 4th row."""
    corpora = corpus_of(tmp_path, varied_rows(), num_shards, row_group_size)
    dealt = first_epochs(corpora, 4)
    assert sorted(name for part in dealt for name in part) == [f"u{i:03d}" for i in range(NUM_ROWS)]
    reference = None
    for world_size, num_workers in [(1, 0), *others]:
        batches = global_batches(corpora, processor, 28, world_size, num_workers, num_readers=4)
        for reader, expected in enumerate(dealt):
            found = [name for batch in batches[reader::4] for name in batch][: len(expected)]
            assert sorted(found) == sorted(expected), (world_size, num_workers, reader)
        assert reference in (None, batches), (world_size, num_workers)
        reference = batches


@pytest.mark.parametrize("num_shards, num_readers", [(3, 2), (5, 4), (7, 12)])
def test_readers_come_to_the_end_of_an_epoch_together(tmp_path, processor, num_shards, num_readers):
    """Shards that cannot be dealt evenly: all processes together have seen each example once, not some twice."""
    corpora = corpus_of(tmp_path, varied_rows(), num_shards, row_group_size=100)
    dealt = first_epochs(corpora, num_readers)
    assert sorted(name for part in dealt for name in part) == [f"u{i:03d}" for i in range(NUM_ROWS)]
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_later_epochs_are_complete_and_in_another_order(parquet, processor):
    batches = ids(islice(stream_of(parquet, processor), 40))
    found = [name for batch in batches for name in batch]
    first, second = found[:NUM_ROWS], found[NUM_ROWS : 2 * NUM_ROWS]
    assert set(first) == set(second) and len(set(first)) == NUM_ROWS
    assert first != second


def test_seed_decides(parquet, processor):
    runs = [ids(islice(stream_of(parquet, processor, seed=seed), 10)) for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]
    stream = stream_of(parquet, processor)
    assert ids(islice(stream, 5)) == ids(islice(stream, 5)) == runs[0][:5]


def test_batch_contents(parquet, processor):
    for batch in islice(stream_of(parquet, processor), 12):
        features, mask, labels = batch["input_features"], batch["attention_mask"], batch["labels"]
        count = len(batch["ids"])
        assert features.dtype == torch.float32 and features.shape == (*mask.shape, 81)
        assert mask.dtype == labels.dtype == torch.int64 and len(mask) == len(labels) == count
        assert labels.tolist() == [[2, 3, 1, 4]] * count and batch["texts"] == ["ab c"] * count
        assert batch["speaker_ids"] == ["u"] * count
        assert mask.sum(1).tolist() == [round(d * RATE) // 80 + 1 for d in batch["durations_s"]]
        assert max(batch["durations_s"]) * count <= 4.0


def test_fixed_batch_size(parquet, processor):
    sizes = [len(batch) for batch in ids(islice(stream_of(parquet, processor, batch_seconds=None, batch_size=4), 9))]
    assert sorted(sizes[:4]) == [1, 4, 4, 4]  # a window of 13


def test_budget_and_padding():
    rng = np.random.default_rng(0)
    durations_s = np.clip(rng.gamma(6.0, 2.0, 512), 1, 17).tolist()
    batches = cut_batches(durations_s, batch_seconds=60, batch_size=None, rng=rng)
    assert sorted(place for batch in batches for place in batch) == list(range(512))
    padded = [max(durations_s[place] for place in batch) * len(batch) for batch in batches]
    assert max(padded) <= 60
    assert 1 - sum(durations_s) / sum(padded) < 0.05
    assert cut_batches([70.0, 1.0], batch_seconds=60, batch_size=None) == [[1], [0]]
    assert cut_batches([1.0] * 5, batch_seconds=None, batch_size=2) == [[0, 1], [2, 3], [4]]
    assert cut_batches([1.0] * 5, batch_seconds=3, batch_size=4) == [[0, 1, 2], [3, 4]]


def drawn_quantiles(window_sizes: list[int], start: float) -> np.ndarray:
    """The length quantiles of the batches of a reader, in the order in which they are drawn."""
    drawn, found = 0, []
    for count in window_sizes:
        order = draw_order(count, drawn, start)
        assert sorted(order) == list(range(count))
        found += [(place + 0.5) / count for place in order]
        drawn += count
    return np.asarray(found[:1000])


def test_readers_of_a_step_draw_like_lengths():
    """Although their windows have other numbers of batches, and so begin at other steps. Two independent: 1 / 3."""
    rng = np.random.default_rng(0)
    readers = [drawn_quantiles(rng.integers(15, 25, 70).tolist(), start) for start in (0.3, 0.3, 0.8)]
    assert np.abs(readers[0] - readers[1]).mean() < 0.05
    assert np.abs(readers[0] - readers[2]).mean() > 0.2
    assert np.abs(np.diff(readers[0])).mean() > 0.3  # neither are lengths that follow each other alike


def test_processes_do_not_wait_for_the_longest_clips(tmp_path, processor):
    """The length of the longest clip in the batches of a step: mean over the processes, divided by the maximum."""
    corpora = corpus_of(tmp_path, varied_rows(), num_shards=4)

    def efficiency(**options) -> float:
        lengths_s = []
        for rank in range(2):
            batches = stream_of(
                corpora, processor, rank=rank, world_size=2, batch_seconds=3.0, window_size=30, **options
            )
            lengths_s.append([max(batch["durations_s"]) for batch in islice(batches, 30)])
        return np.mean(lengths_s, 0).sum() / np.max(lengths_s, 0).sum()

    assert efficiency(num_readers=2) < 0.9
    assert efficiency(num_readers=2, readers_per_step=2) > 0.94


# Resume -----------------------------------------------------------------------------------------------------------


def augmentation() -> Augmentation:
    args = AugmentationArguments(
        speed_perturbation=0.1, gain_db=6.0, noise_probability=0.5, reverberation_probability=0.5, spec_augment=True
    )
    return Augmentation(args, RATE)


@pytest.mark.parametrize(
    ("origin", "num_workers"), [("parquet", 2), ("listed", 0), pytest.param("listed", 2, marks=pytest.mark.slow)]
)
def test_resume_is_exact(request, processor, origin, num_workers):
    corpora = request.getfixturevalue(origin)
    options = {"num_readers": 2, "augmentation": augmentation()}
    whole = list(islice(build_loader(stream_of(corpora, processor, **options), num_workers), 20))
    loader = build_loader(stream_of(corpora, processor, **options), num_workers)
    batches = iter(loader)
    for _ in range(11):
        next(batches)
    state = loader.state_dict()
    resumed = build_loader(stream_of(corpora, processor, **options), num_workers)
    resumed.load_state_dict(state)
    for expected, found in zip(whole[11:], islice(resumed, 9), strict=True):
        assert expected["ids"] == found["ids"] and expected["durations_s"] == found["durations_s"]
        for name in ("input_features", "attention_mask", "labels"):
            assert torch.equal(expected[name], found[name])


def test_resume_from_every_step(parquet, listed, processor):
    """Also at the ends of windows, shards and epochs, in a mixture, after a trip through JSON."""
    options = {"weights": [2, 1], "num_readers": 2, "batch_seconds": 6.0}
    stream = stream_of([*parquet, *listed], processor, **options)
    states, whole = [], []
    for batch in islice(stream, 47):
        whole.append(batch["ids"])
        states.append(json.dumps(stream.state_dict()))
    assert max(map(len, states)) < 800
    for done in range(0, 44, 5):
        resumed = stream_of([*parquet, *listed], processor, **options)
        resumed.load_state_dict(json.loads(states[done]))
        assert json.dumps(resumed.state_dict()) == states[done]
        assert ids(islice(resumed, 3)) == whole[done + 1 : done + 4], done


def test_resume_decodes_nothing_again(parquet, processor, monkeypatch):
    decoded = []
    original = examples.open_audio
    monkeypatch.setattr(examples, "open_audio", lambda audio, rate: decoded.append(1) or original(audio, rate))
    stream = stream_of(parquet, processor, window_size=60)
    list(islice(stream, 9))
    decoded.clear()
    resumed = stream_of(parquet, processor, window_size=60)
    resumed.load_state_dict(stream.state_dict())
    batch = next(iter(resumed))
    assert len(decoded) == len(batch["ids"])


def test_resume_reads_no_row_group_before_its_own(tmp_path, processor, monkeypatch):
    corpora = corpus_of(tmp_path, varied_rows(), num_shards=1, row_group_size=10)
    stream = stream_of(corpora, processor, window_size=10)
    batches = iter(stream)
    while stream.state_dict()["readers"]["0"]["window"] < 4:
        next(batches)
    state = stream.state_dict()
    opened = []
    original = batching._examples
    monkeypatch.setattr(batching, "_examples", lambda *part: map(lambda one: opened.append(1) or one, original(*part)))
    resumed = stream_of(corpora, processor, window_size=10)
    resumed.load_state_dict(state)
    next(iter(resumed))
    assert len(opened) == 10
    assert state["readers"]["0"]["positions"] == [
        {"epoch": 0, "shard": 0, "part": 3, "row": 10, "count": 40}
    ]  # its end


def test_another_order_is_refused(parquet, processor):
    state = stream_of(parquet, processor)
    next(iter(state))
    saved = state.state_dict()
    with pytest.raises(ValueError, match="has seed 3, but the stream has 4"):
        stream_of(parquet, processor, seed=4).load_state_dict(saved)
    with pytest.raises(ValueError, match="has num_readers 1, but the stream has 2"):
        stream_of(parquet, processor, num_readers=2).load_state_dict(saved)
    two = stream_of(parquet, processor, num_readers=2, world_size=2)
    next(iter(two))
    other = stream_of(parquet, processor, num_readers=2, world_size=2, rank=1)
    other.load_state_dict(two.state_dict())
    with pytest.raises(ValueError, match=r"has readers 0, but this process needs 1"):
        iter(other)


# Mixtures, augmentation -------------------------------------------------------------------------------------------


def test_mixture_shares(tmp_path, processor):
    """Windows of 10 with weights 3 : 1 hold 8 + 2 (a half is rounded up, for the first), then 7 + 3."""
    corpora = corpus_of(tmp_path / "a", varied_rows(40, "a")) + corpus_of(tmp_path / "b", varied_rows(7, "b"))
    stream = stream_of(corpora, processor, weights=[3, 1], window_size=10, batch_seconds=None, batch_size=10)
    windows = [Counter(name[0] for name in batch) for batch in ids(islice(stream, 8))]
    assert windows == [Counter(a=8, b=2), Counter(a=7, b=3)] * 4
    found = [name for batch in ids(islice(stream, 8)) for name in batch]
    assert {name for name in found if name[0] == "a"} == {f"a{i:03d}" for i in range(40)}
    of_b = [name for name in found if name[0] == "b"]  # 20 rows of 7: each in every epoch
    assert sorted(Counter(of_b).values()) == [2, 3, 3, 3, 3, 3, 3]


def test_joined_corpora_are_one_epoch(tmp_path, processor):
    corpora = corpus_of(tmp_path / "a", varied_rows(30, "a")) + corpus_of(tmp_path / "b", varied_rows(20, "b"))
    found = [name for batch in ids(islice(stream_of(corpora, processor), 30)) for name in batch][:50]
    assert len(set(found)) == 50


def test_two_views_of_a_clip_differ_in_the_augmentation_of_the_features(parquet, processor):
    """The first is the only view of other runs. Same clips, lengths and padding; masks of their own."""
    options = {"augmentation": augmentation(), "batch_size": 4}
    alone, both = (islice(stream_of(parquet, processor, two_views=two, **options), 6) for two in (False, True))
    changed = 0
    for one, pair in zip(alone, both, strict=True):
        assert "second_view" not in one and pair["ids"] == one["ids"]
        assert pair["input_features"].equal(one["input_features"])
        assert not pair["second_view"][pair["attention_mask"] == 0].any()
        unmasked = (pair["input_features"] != 0) & (pair["second_view"] != 0)
        assert pair["second_view"][unmasked].equal(pair["input_features"][unmasked])  # no vocal tract here
        changed += not pair["second_view"].equal(pair["input_features"])
    assert changed >= 5


def test_augmentation_respects_ctc(tmp_path, processor):
    """5 letters need 5 frames, that is 720 samples, 0.09 s: a clip of 0.1 s may not be played 1.3 times as fast."""
    corpora = corpus_of(tmp_path, [row(f"u{i}", 0.1, "abcde") for i in range(20)])
    fast = Augmentation(AugmentationArguments(speed_perturbation=0.3), RATE)
    found = [d for batch in islice(stream_of(corpora, processor, augmentation=fast), 6) for d in batch["durations_s"]]
    assert 0.09 <= min(found) < 0.1 < 0.11 < max(found)


# Filters ----------------------------------------------------------------------------------------------------------


def test_needed_frames():
    assert [needed_frames(labels) for labels in ([], [1], [1, 2], [1, 1], [1, 1, 1, 2, 2])] == [0, 1, 2, 3, 5 + 3]


def bad_rows() -> list[dict]:
    return [
        row("short", 0.05),
        row("long", 3.0),
        row("null", text=None),
        row("empty", text=" . "),
        row("unknown", text="abé éa ü"),
        row("dense", 0.2, "abcdefghijklmnop"),
        row("broken", audio=b"fLaC but not really"),
        row("cut", audio=encoded(0.5)[:400]),
    ]


REASONS = {
    "short": "too_short",
    "long": "too_long",
    "null": "missing_text",
    "empty": "empty_text",
    "unknown": "unknown_characters",
    "dense": "ctc_infeasible",
    "broken": "undecodable",
    "cut": "undecodable",
}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_drop_is_recorded_once(tmp_path, processor, num_workers):
    corpora = corpus_of(tmp_path / "c", varied_rows(20) + bad_rows())
    options = {"num_readers": 2, "min_duration_s": 0.1, "max_duration_s": 2.0, "drops_dir": tmp_path / "drops"}
    stream = stream_of(corpora, processor, **options)
    loader = build_loader(stream, num_workers)
    found = {name for batch in ids(islice(loader, 40)) for name in batch}
    assert found == {f"u{i:03d}" for i in range(20)}
    records = [
        json.loads(line)
        for path in (tmp_path / "drops").glob("reader-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert {record["id"]: record["reason"] for record in records} == REASONS
    assert max(Counter(record["id"] for record in records).values()) <= 2  # once for each reader, over the epochs
    assert stream.drop_counts() == dict(Counter(REASONS.values()).most_common())
    summary = stream.drop_summary()
    assert summary.startswith("dropped 8 utterances: ") and "\n" not in summary
    assert "1 unknown_characters ('é' x2, 'ü' x1; unknown)" in summary

    position = loader.state_dict()
    del loader  # its workers read ahead, and write what they drop
    resumed = build_loader(stream_of(corpora, processor, **options), num_workers)
    resumed.load_state_dict(position)
    list(islice(resumed, 10))
    for path in (tmp_path / "drops").glob("reader-*.jsonl"):
        dropped = [json.loads(line)["id"] for line in path.read_text().splitlines()]
        assert len(dropped) == len(set(dropped))


def test_speech_without_transcripts(tmp_path, processor):
    """What is wrong with a text is no matter; what is wrong with a recording is."""
    corpora = corpus_of(tmp_path / "c", [*bad_rows(), row("speck", 0.001)])
    stream = stream_of(corpora, processor, min_duration_s=0, max_duration_s=2.0, transcribed=False)
    batch = next(iter(stream))
    assert sorted(batch["ids"]) == ["dense", "empty", "null", "short", "unknown"]
    assert set(batch["texts"]) == {""} and (batch["labels"] == -100).all()
    assert stream.drop_counts() == {"undecodable": 2, "too_long": 1, "ctc_infeasible": 1}  # the speck has no frame

    evaluated = list(EvaluationStream(corpora, processor, batch_size=99, transcribed=False))
    assert sorted(name for one in evaluated for name in one["ids"]) == sorted({*REASONS, "speck"} - {"broken", "cut"})


def test_nothing_to_train_on_is_an_error(tmp_path, processor):
    corpora = corpus_of(tmp_path, [row("a", text="é"), row("b", audio=encoded(0.5)[:400])])
    stream = stream_of(corpora, processor)
    with pytest.raises(ValueError, match="can be used for training: dropped 2 utterances"):
        next(iter(stream))
    one_row = corpus_of(tmp_path / "one", [row("a")])
    with pytest.raises(ValueError, match=r"reader 1 of 2 finds no rows.*fewer rows than there are readers"):
        list(islice(stream_of(one_row, processor, num_readers=2), 2))


def test_wrong_arguments(parquet, processor):
    for options, message in [
        ({"batch_seconds": None}, "neither batch_seconds nor batch_size"),
        ({"num_readers": 3, "world_size": 2}, "expected a multiple of world_size 2"),
        ({"rank": 2, "world_size": 2}, "rank is 2; expected 0 to 1"),
        ({"weights": [1, 2]}, "expected 1 positive numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            stream_of(parquet, processor, **options)
    with pytest.raises(ValueError, match="at least one"):
        stream_of([], processor)
    with pytest.raises(ValueError, match="expected a multiple of 2, the 1 processes times their 2 workers"):
        next(iter(build_loader(stream_of(parquet, processor), 2)))


# Evaluation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world_size", "num_workers"), [(1, 0), (2, 0), pytest.param(1, 2, marks=pytest.mark.slow), (2, 2)]
)
def test_evaluation_sees_each_once(tmp_path, processor, world_size, num_workers, caplog):
    rows = varied_rows(30) + bad_rows()
    corpora = corpus_of(tmp_path / "c", rows, num_shards=2)
    found = []
    for rank in range(world_size):
        stream = EvaluationStream(
            corpora,
            processor,
            batch_seconds=4.0,
            window_size=16,
            rank=rank,
            world_size=world_size,
            drops_dir=tmp_path / "drops",
        )
        for _ in range(2):  # a second pass is the same
            batches = list(build_loader(stream, num_workers))
        found += [
            (name, text, labels)
            for batch in batches
            for name, text, labels in zip(batch["ids"], batch["texts"], batch["labels"].tolist(), strict=True)
        ]
        assert max(max(batch["durations_s"]) * len(batch["ids"]) for batch in batches) <= 4.0
    names = [name for name, _, _ in found]
    left_out = [name for name, reason in REASONS.items() if reason in ("undecodable", "missing_text")]
    assert Counter(names) == Counter(one["id"] for one in rows if one["id"] not in left_out)
    by_name = {name: (text, [label for label in labels if label >= 0]) for name, text, labels in found}
    assert by_name["unknown"] == ("abé éa ü", [2, 3, 1, 2, 1])
    assert by_name["empty"] == ("", [])
    assert {"undecodable", "missing_text"} <= stream.drop_counts().keys()
    if not num_workers:
        assert "characters that are not in the vocabulary ('é' x2, 'ü' x1; unknown)" in caplog.text


def test_evaluation_knows_no_augmentation_and_no_filter(tmp_path, processor):
    parameters = inspect.signature(EvaluationStream).parameters
    assert not {"augmentation", "min_duration_s", "max_duration_s", "frames", "seed"} & set(parameters)
    (tmp_path / "train").mkdir()
    pq.ParquetWriter(tmp_path / "train/0.parquet", pa.Table.from_pylist([row("a")]).schema).close()
    with pytest.raises(ValueError, match="has no rows to evaluate on"):
        list(EvaluationStream(load_corpus(str(tmp_path)), processor, batch_seconds=4.0))


def test_estimate(parquet, processor):
    counted = 0
    seen: set[str] = set()
    for batch in stream_of(parquet, processor, window_size=60):
        if len(seen) == NUM_ROWS:
            break
        counted += 1
        seen |= set(batch["ids"])
    estimate = estimate_batches_per_epoch(parquet, Batching(batch_seconds=4.0, window_size=60))
    assert estimate == pytest.approx(counted, rel=0.1)
    by_count = estimate_batches_per_epoch(parquet, Batching(batch_size=20, window_size=60))
    assert by_count == pytest.approx(60 / 20)
    unknown = [type(parquet[0])(parquet[0].name, parquet[0].stream, None)]
    assert estimate_batches_per_epoch(unknown, Batching(batch_seconds=4.0)) is None


def test_real_librispeech(librispeech_root, processor):
    """Real speech at its own rate of 16 kHz, here heard at 8 kHz."""
    corpora = load_corpus(str(librispeech_root), "clean", "train.100")
    batches = list(islice(stream_of(corpora, processor, batch_seconds=60.0, window_size=128), 20))
    real = sum(int(batch["attention_mask"].sum()) for batch in batches)
    assert 1 - real / sum(batch["attention_mask"].numel() for batch in batches) < 0.1
    assert len({name for batch in batches for name in batch["ids"]}) == sum(len(batch["ids"]) for batch in batches)
