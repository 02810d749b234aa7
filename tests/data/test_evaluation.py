"""A scored split: read once and kept, by as many processes as its kind of corpus allows."""

import shutil
from dataclasses import replace

import pytest
import torch

import tiny
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.streams import EvaluationStream, build_eval_loader

COUNT = 7


@pytest.fixture
def folder(tmp_path):
    """Seven recordings as a split in the Hub's layout."""
    tiny.write_parquet(tiny.write_corpus(tmp_path / "list", "dev", COUNT), tmp_path / "hub" / "dev")
    return tmp_path / "hub"


def stream(folder, kept_bytes: int) -> EvaluationStream:
    processor = tiny.new_model()[1]
    return EvaluationStream(load_corpus(str(folder), None, "dev"), processor, batch_size=2, kept_bytes=kept_bytes)


def contents(loader) -> list[tuple]:
    return [(batch["ids"], batch["texts"], batch["input_features"].tolist()) for batch in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_kept_split_is_read_once(folder, num_workers):
    """Its files may be gone afterwards. Two workers keep a share each."""
    loader = build_eval_loader(stream(folder, kept_bytes=10**6), num_workers, keep=True)
    before = torch.get_rng_state()
    first = contents(loader)
    assert torch.equal(torch.get_rng_state(), before)  # else the dropout of a resumed run would change
    assert sorted(name for ids, *_ in first for name in ids) == tiny.names("dev", COUNT)
    shutil.rmtree(folder)
    assert contents(loader) == first and contents(loader) == first


def test_a_split_above_the_limit_is_read_again(folder):
    size = sum(file.stat().st_size for file in folder.parent.glob("list/*.wav"))
    for limit, kept in ((size, True), (size - 1, False), (0, False)):
        evaluation = stream(folder, limit)
        first = contents(evaluation)
        away = folder.rename(folder.parent / "away")
        if kept:
            assert contents(evaluation) == first
        else:
            with pytest.raises(ConnectionError, match="No such file"):
                contents(evaluation)
        away.rename(folder)


def test_a_pass_that_was_not_finished_is_not_kept(folder):
    evaluation = stream(folder, kept_bytes=10**6)
    next(iter(evaluation))
    assert len(contents(evaluation)) == (COUNT + 1) // 2


def test_speech_from_a_server_has_one_reader(folder, tmp_path):
    """Each worker would ask for all of it. Local speech has as many as are wanted."""
    local = stream(folder, 0)
    assert [build_eval_loader(local, count).num_workers for count in (0, 1, 2)] == [0, 1, 2]
    remote = stream(folder, 0)
    remote.corpora = [replace(corpus, remote=True) for corpus in remote.corpora]
    assert [build_eval_loader(remote, count).num_workers for count in (0, 1, 2)] == [0, 1, 1]
    (tmp_path / "list.csv").write_text("audio,text\nhttp://127.0.0.1:9/a.wav,a\n")
    assert load_corpus(str(tmp_path / "list.csv"))[0].remote
    assert not load_corpus(str(tmp_path / "list" / "dev.csv"))[0].remote
