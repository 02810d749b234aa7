"""From arguments to corpora."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tiny
from deepspeech2.config.arguments import DataArguments
from deepspeech2.config.parser import parse_recipe
from deepspeech2.data import splits
from deepspeech2.data.manifests import write_transcripts
from deepspeech2.data.splits import load_eval_splits, load_speech, load_split, load_train_corpora, load_unlabelled
from listings import write_clips
from tiny import hub, names, one_split, write_hub


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_hub(tmp_path_factory.mktemp("corpora"))


def ids(corpora) -> list[str]:
    return sorted(row["id"] for corpus in corpora for row in corpus.stream)


def test_training_corpora_have_a_config_and_a_split_each(root):
    clean, other = load_train_corpora(hub(root, train_split=["train+dev", "train"]))
    assert [corpus.num_examples for corpus in clean] == [12, 4] and other[0].num_examples == 6
    assert ids(clean) == sorted(names("clean-train", 12) + names("clean-dev", 4))
    assert ids(other) == names("other-train", 6)


def test_librispeech_as_it_is_downloaded_takes_one_name(repository, tmp_path):
    """The recipe of 960 h on a folder in the Hub's layout: both configurations, three splits to train on."""
    clean = [f"clean/{split}" for split in ("train.100", "train.360", "validation", "test")]
    for part in (*clean, "other/train.500", "other/test"):
        name = part.replace("/", "-")
        tiny.write_parquet(tiny.write_corpus(tmp_path / name, name, 2), tmp_path / "hub" / part)
    config = repository / "recipes" / "librispeech" / "full_960h.yaml"
    data = parse_recipe([str(config), "--dataset_name", str(tmp_path / "hub"), "--bf16", "false"], config).data
    speech = load_speech(data)
    first, second = speech.train
    assert ids(first) == names("clean-train.100", 2) + names("clean-train.360", 2)
    assert ids(second) == names("other-train.500", 2) and ids(speech.validation) == names("clean-validation", 2)
    tested = {split: ids(corpora) for split, corpora in speech.test.items()}
    assert tested == {"clean/test": names("clean-test", 2), "other/test": names("other-test", 2)}


def test_one_config_and_split_for_all_and_none(root):
    data = hub(root, dataset_config=["clean"], train_split=["dev"])
    assert [ids(joined) for joined in load_train_corpora(data)] == [names("clean-dev", 4)] * 2
    manifest = str(root / "other-dev" / "other-dev.csv")
    for config in ([], ["-"]):
        ((corpus,),) = load_train_corpora(DataArguments(dataset_name=[manifest], dataset_config=config))
        assert ids([corpus]) == names("other-dev", 2)


@pytest.mark.parametrize(
    "given, split, expected",
    [
        ({}, "dev", names("clean-dev", 4)),  # the first corpus, its configuration
        ({}, "other/dev", names("other-dev", 2)),
        ({}, "other/dev+train", sorted(names("other-dev", 2) + names("other-train", 6))),
        ({"eval_dataset_name": "{root}/other-dev/other-dev.csv", "dataset_config": []}, "any", names("other-dev", 2)),
    ],
)
def test_evaluation_corpora(root, given, split, expected):
    given = {key: value.format(root=root) if isinstance(value, str) else value for key, value in given.items()}
    assert ids(one_split(hub(root, **given), split)) == expected


def test_the_held_out_share_is_never_trained_on(root):
    """Of 18 recordings each is in one part or the other, always the same one."""
    data = hub(root, held_out_share=0.4)
    training = [corpus for joined in load_train_corpora(data) for corpus in joined]
    held_out = one_split(data, "held-out")
    assert sorted(ids(training) + ids(held_out)) == sorted(names("clean-train", 12) + names("other-train", 6))
    assert 0 < len(ids(held_out)) < len(ids(training))
    assert ids(held_out) == ids(one_split(data, "held-out"))
    assert [corpus.num_examples for corpus in training] == [7, 4]  # 0.6 x 12 and 0.6 x 6, about


def test_the_splits_to_test(root):
    """Each by its name; without any, the one that is scored in training."""
    evaluated, tested = load_eval_splits(hub(root, eval_split="dev", test_split=["other/dev", "dev"]))
    assert ids(evaluated) == names("clean-dev", 4)
    assert {split: ids(corpora) for split, corpora in tested.items()} == {
        "other/dev": names("other-dev", 2),
        "dev": names("clean-dev", 4),
    }
    assert list(load_eval_splits(hub(root, eval_split="dev"))[1]) == ["dev"]


def test_the_splits_of_several_corpora(root):
    """Target and source: each by name; the configuration is that of the training corpus of that name, or its own."""
    other = str(root / "other-dev" / "other-dev.csv")
    tested = [f"{other}::all", f"{root / 'hub'}::dev", f"{root / 'hub'}::other/dev", "held-out"]
    data = hub(root, eval_split="dev", test_split=tested, held_out_share=0.4)
    found = load_eval_splits(data)[1]
    assert list(found) == tested
    assert [ids(found[split]) for split in tested[:3]] == [
        names("other-dev", 2),
        names("clean-dev", 4),
        names("other-dev", 2),
    ]
    assert ids(found["held-out"]) == ids(load_split(data, "held-out"))


def test_another_corpus_that_is_trained_on_is_said(root, caplog):
    load_eval_splits(
        hub(root, train_split=["train", "dev"], eval_split="dev", test_split=[f"{root / 'hub'}::other/dev"])
    )
    assert caplog.text.count("is scored, but the model is trained on it") == 1


def test_speech_that_is_heard_without_transcripts_and_scored_is_said(root, caplog):
    heard = {"unlabelled_dataset_name": str(root / "hub"), "unlabelled_dataset_config": "other"}
    for split, said in (("train+dev", 1), ("train", 0)):
        caplog.clear()
        load_eval_splits(hub(root, eval_split="other/dev", test_split=["clean/dev"], unlabelled_split=split, **heard))
        assert caplog.text.count("is trained on it without transcripts") == said


def test_what_is_held_out_is_not_heard_either(root):
    heard = {"unlabelled_dataset_name": str(root / "hub"), "unlabelled_dataset_config": "clean"}
    data = hub(root, held_out_share=0.4, **heard)
    held_out = set(ids(one_split(data, "held-out"))) & set(names("clean-train", 12))
    assert held_out and set(ids(load_unlabelled(data))) == set(names("clean-train", 12)) - held_out


def test_speech_without_transcripts(root, tmp_path):
    """A corpus of the Hub whose texts are not read, and recordings that lie in a folder, whole or by split."""
    assert load_unlabelled(hub(root)) == []
    data = hub(
        root,
        unlabelled_dataset_name=str(root / "hub"),
        unlabelled_dataset_config="clean",
        unlabelled_split="train+dev",
    )
    corpora = load_unlabelled(data)
    assert ids(corpora) == sorted(names("clean-train", 12) + names("clean-dev", 4))
    assert {row["text"] for corpus in corpora for row in corpus.stream} == {None}

    for name in ("a.wav", "nested/b.wav", "test/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((root / "clean-dev" / "clean-dev0.wav").read_bytes())
    (tmp_path / "notes.md").write_text("no recording")
    found = {
        split: load_unlabelled(DataArguments(unlabelled_dataset_name=str(tmp_path), unlabelled_split=split))
        for split in ("train", "test")
    }
    assert ids(found["train"]) == ["a.wav", "nested/b.wav", "test/c.wav"] and ids(found["test"]) == ["c.wav"]
    with pytest.raises(ValueError, match="is not a corpus: looked for"):
        load_train_corpora(DataArguments(dataset_name=[str(tmp_path)]))


def test_a_table_gives_the_texts_of_bare_recordings(root, tmp_path):
    (tmp_path / "a.wav").write_bytes((root / "clean-dev" / "clean-dev0.wav").read_bytes())
    write_transcripts(tmp_path / "labels.csv", ("id", "text", "confidence"), [("a.wav", "one, two", "0.91")])
    data = DataArguments(dataset_name=[str(tmp_path)], transcripts=[str(tmp_path / "labels.csv")])
    ((corpus,),) = load_train_corpora(data)
    assert [(row["id"], row["text"]) for row in corpus.stream] == [("a.wav", "one, two")]


def test_an_empty_held_out_part_is_refused(root):
    data = hub(root, train_split=["dev"], held_out_share=1e-6)
    with pytest.raises(ValueError, match=r"held_out_share 1e-06 keeps none of the 4 utterances.*2 utterances.*raise"):
        one_split(data, "held-out")


def test_a_split_alone_and_its_columns(root):
    data = DataArguments(dataset_name=[str(root / "clean-dev" / "clean-dev.csv")], train_split=["train"])
    (corpus,) = load_split(data, "test")
    assert ids([corpus]) == names("clean-dev", 4)
    with pytest.raises(ValueError, match="speaker_id is part of every corpus"):
        load_split(data, "test", ["speaker_id"])
    with pytest.raises(ValueError, match="has no column mood; its columns are"):
        load_split(data, "test", ["mood"])
    with pytest.raises(ValueError, match="needs held_out_share or held_out_speakers"):
        load_split(data, "held-out")


def test_what_is_trained_on_and_scored_is_said(root, caplog):
    load_eval_splits(hub(root, eval_split="train"))
    assert "the model is trained on it" in caplog.text
    caplog.clear()
    load_eval_splits(hub(root, eval_split="dev"))
    load_split(hub(root), "train")
    assert not caplog.text


def test_another_corpus_has_no_config_of_the_first(root):
    other = hub(root, dataset_name=[str(root / "other-dev" / "other-dev.csv")], dataset_config=["clean"])
    other.dataset_name, other.eval_dataset_name = [str(root / "hub")], str(root / "hub" / "other")
    assert ids(one_split(other, "dev")) == names("other-dev", 2)


def test_a_held_out_part_names_what_it_is_of(root):
    (corpus, *_) = one_split(hub(root, held_out_share=0.4), "held-out")
    assert (corpus.dataset, corpus.config) == (str(root / "hub"), "clean")
    assert corpus.split == "train (held-out part)"


def test_speakers_held_out_are_never_trained_on(root):
    everyone = [row for corpora in load_train_corpora(hub(root)) for corpus in corpora for row in corpus.stream]
    (speaker, *_) = sorted({row["speaker_id"] for row in everyone})
    data = hub(root, held_out_speakers=[speaker])
    training = [row for corpora in load_train_corpora(data) for corpus in corpora for row in corpus.stream]
    held_out = [row for corpus in one_split(data, "held-out") for row in corpus.stream]
    assert {row["speaker_id"] for row in held_out} == {speaker}
    assert speaker not in {row["speaker_id"] for row in training} and training
    assert sorted(row["id"] for row in training + held_out) == sorted(row["id"] for row in everyone)
    with pytest.raises(ValueError, match=r"held_out_speakers nobody: none of the .* is by them"):
        one_split(hub(root, held_out_speakers=["nobody"]), "held-out")


def test_a_table_gives_the_texts(root, tmp_path):
    first, second, *_ = names("clean-train", 12)
    table = tmp_path / "pseudo.csv"
    table.write_text(f"id,text\n{first},a guess\n{second},another\n", encoding="utf-8")
    clean, other = load_train_corpora(hub(root, transcripts=[str(table), "-"]))
    assert sorted((row["id"], row["text"]) for row in clean[0].stream) == [(first, "a guess"), (second, "another")]
    assert clean[0].num_examples == 2 and str(table) in clean[0].name
    assert ids(other) == names("other-train", 6) and "a guess" not in {row["text"] for row in other[0].stream}


@pytest.mark.parametrize(
    "content, message",
    [
        ("id,words\na,b\n", "columns id and text"),
        ("id,text\na,b\na,c\n", "2 rows, but 1 different ids"),
        (None, "is not a .csv"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(root, tmp_path, content, message):
    table = tmp_path / "pseudo.csv"
    if content is not None:
        table.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_train_corpora(hub(root, transcripts=[str(table)]))


@pytest.mark.parametrize("share, said", [(1e-6, r"keeps none of the 3 .*\(at least 0\.\d+ keeps one\)"), (0.999, "")])
def test_a_corpus_too_small_for_its_held_out_share(tmp_path, share, said):
    """It is said with the numbers, and the share that would do."""
    write_clips(tmp_path)
    (tmp_path / "list.csv").write_text("audio,text,speaker\n" + "".join(f"{name}.wav,x,s\n" for name in "abc"))
    data = DataArguments(dataset_name=[str(tmp_path / "list.csv")], held_out_share=share)
    if said:
        with pytest.raises(ValueError, match=said) as error:
            load_split(data, "held-out")
    else:
        with pytest.raises(
            ValueError, match=r"keeps all of the 3 utterances of .* \(at most 0\.\d+ leaves one\)"
        ) as error:
            load_train_corpora(data)
    data.held_out_share = float(re.search(r"at (?:most|least) (0\.\d+)", str(error.value))[1])
    assert ids(load_split(data, "held-out")) and ids(load_train_corpora(data)[0])
    with pytest.raises(ValueError, match=r"held_out_speakers s: all of the 3 utterances of .* are by them"):
        load_train_corpora(DataArguments(dataset_name=data.dataset_name, held_out_speakers=["s"]))


@pytest.mark.parametrize("kind", ["list", "parquet", "bare"])
def test_a_table_whose_ids_match_in_part_is_said(tmp_path, caplog, kind):
    caplog.set_level("INFO")
    folder = write_clips(tmp_path / "corpus")
    (folder / "list.csv").write_text("audio,id\n" + "".join(f"{name}.wav,{name}.wav\n" for name in "abc"))
    if kind == "parquet":
        rows = [{"audio": (folder / f"{name}.wav").read_bytes(), "id": f"{name}.wav"} for name in "abc"]
        (tmp_path / "parquet" / "train").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "parquet" / "train" / "0.parquet")
    corpus = {"list": folder / "list.csv", "parquet": tmp_path / "parquet", "bare": folder}[kind]
    table = tmp_path / "labels.csv"
    data = DataArguments(dataset_name=[str(corpus)], transcripts=[str(table)])
    table.write_text("ID,Text\n b.wav ,one\nc.wav,nan\nd.wav,three\ne.wav,four\n")
    ((found,),) = load_train_corpora(data)
    assert {row["id"]: row["text"] for row in found.stream} == {"b.wav": "one", "c.wav": None}
    assert found.num_examples == 2
    assert next(row["fault"] for row in found.stream if row["id"] == "c.wav").startswith(
        "missing_text: the transcript is"
    )
    assert "2 of its 4 rows and 2 of the 3 utterances of" in caplog.text
    assert "rows without an utterance: d.wav, e.wav; utterances without a row, which are left out: a.wav" in caplog.text
    assert [record.levelname for record in caplog.records if "match by id" in record.message] == ["WARNING"]
    table.write_text("id,text\n1,one\n2,two\n3,three\n4,four\n")
    with pytest.raises(ValueError, match=r"no id of .* has 1, 2, 3, \.\.\. \(4 in all\), the corpus .*\(3 in all\)"):
        load_train_corpora(data)


@pytest.mark.parametrize("place", [0, 1])
def test_a_table_with_an_open_quotation_mark_keeps_its_rows(tmp_path, place):
    write_clips(tmp_path)
    texts = ["one", "two", "three"]
    texts[place] = '"' + texts[place]
    table = tmp_path / "labels.csv"
    table.write_text("id,text\n" + "".join(f"{name}.wav,{text}\n" for name, text in zip("abc", texts, strict=True)))
    data = DataArguments(dataset_name=[str(tmp_path)], transcripts=[str(table)])
    assert ids(load_train_corpora(data)[0]) == ["a.wav", "b.wav", "c.wav"]


def test_each_corpus_has_its_own_revision(monkeypatch):
    """Also two of one name. A split that is scored has that of the training corpus of its name and configuration."""
    opened = []
    monkeypatch.setattr(splits, "load_corpus", lambda *named, revision, **_: opened.append((*named, revision)) or [])
    data = DataArguments(
        dataset_name=["a"], dataset_config=["clean", "other"], train_split=["x", "y"], dataset_revision=["1", "2"]
    )
    load_train_corpora(data)
    for split in ("other/test", "clean/test", "third/test", "b::test"):
        load_split(data, split)
    trained = [("a", "clean", "x", "1"), ("a", "other", "y", "2")]
    scored = [("a", "other", "test", "2"), ("a", "clean", "test", "1"), ("a", "third", "test", "1")]
    assert opened == [*trained, *scored, ("b", None, "test", None)]
