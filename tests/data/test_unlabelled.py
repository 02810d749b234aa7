"""Two streams as one: whose batches they are, and a position from which both go on."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

import tiny
from deepspeech2.data.streams import INPUTS, PairedStream, build_loader


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """7 recordings with labels, 5 others without."""
    folder = tmp_path_factory.mktemp("speech")
    return {name: tiny.write_corpus(folder, name, count) for name, count in (("told", 7), ("bare", 5))} | {"at": folder}


def streams(folder, workers: int = 0):
    model, processor = tiny.new_model()
    training = tiny.training_arguments(folder["at"], dataloader_num_workers=workers)
    labelled = tiny.streams(folder["told"], model, processor, training)[0]
    return labelled, tiny.unlabelled_stream(folder["bare"], model, processor, training)


def equal(left, right) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    return left.equal(right) if isinstance(left, torch.Tensor) else left == right


def test_batches_come_side_by_side(folder):
    """Batches of three: 3, 3, 1 of seven and 3, 2 of five; each stream has epochs of its own."""
    pairs = list(islice(PairedStream(*streams(folder)), 6))
    labelled, unlabelled = (list(islice(stream, 6)) for stream in streams(folder))
    assert sorted(len(batch["ids"]) for batch in labelled[:3]) == [1, 3, 3]
    assert sorted(len(batch["ids"]) for batch in unlabelled[:2]) == [2, 3]
    for pair, own, other in zip(pairs, labelled, unlabelled, strict=True):
        assert pair["ids"] == own["ids"] + other["ids"]
        assert pair["durations_s"] == own["durations_s"] + other["durations_s"]
        assert pair["unlabelled"].keys() == set(INPUTS)
        assert equal(pair["unlabelled"], {name: other[name] for name in INPUTS})
        assert all(equal(pair[name], own[name]) for name in (*INPUTS, "labels", "texts"))
        assert all(name.startswith("told") for name in own["ids"])
        assert all(name.startswith("bare") for name in other["ids"])


@pytest.mark.parametrize("workers", [0, 2])
def test_both_go_on_from_one_position(folder, workers):
    def loader():
        return build_loader(PairedStream(*streams(folder, workers)), workers)

    whole = list(islice(loader(), 9))
    stopped = loader()
    assert all(map(equal, islice(stopped, 4), whole))
    resumed = loader()
    resumed.load_state_dict(stopped.state_dict())
    rest = list(islice(resumed, 5))
    assert all(map(equal, rest, whole[4:]))
    assert not equal(rest[0], whole[0])


def test_drops_of_both_are_told(folder, tmp_path):
    labelled, unlabelled = streams(folder)
    labelled.examples.filters = replace(labelled.examples.filters, min_duration_s=0.7)
    pair = PairedStream(labelled, unlabelled)
    list(islice(pair, 6))
    assert pair.order() == labelled.order()
    counts = labelled.drop_counts()
    assert counts["too_short"] > 0 and pair.drop_counts() == counts
    assert pair.drop_summary() == f"{labelled.drop_summary()}; unlabelled: nothing was dropped"
    pair.start_anew(3)
    assert labelled._restart == unlabelled._restart == 3
