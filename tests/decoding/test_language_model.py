"""n-grams from plain text: what is read, what is left out, and probabilities that add up to one."""

import gzip
import itertools
import math
import runpy

import pytest

import tiny
from deepspeech2.decoding.beam_search import arpa_words as read_arpa_words
from deepspeech2.decoding.language_model import HeldOut, keep, read_sentences, split_transcripts, train_language_model

TEXTS = ["a b a", "b a", "c c a b", "a", "b c7 a"]


@pytest.fixture(scope="module")
def processor():
    return tiny.new_model()[1]  # 0 blank, 1 space, 2 a, 3 b, 4 c


def read_arpa(path):
    """n-gram -> log10 probability, and history -> log10 back-off."""
    scores, backoffs = {}, {}
    for line in path.read_text().splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            scores[tuple(fields[1].split())] = float(fields[0])
            if len(fields) == 3:
                backoffs[tuple(fields[1].split())] = float(fields[2])
    return scores, backoffs


def log10_of(history, word, scores, backoffs):
    if (*history, word) in scores:
        return scores[*history, word]
    return backoffs.get(history, 0.0) + log10_of(history[1:], word, scores, backoffs)


@pytest.mark.parametrize("order", [2, 3])
def test_the_probabilities_after_every_history_add_up_to_one(order, processor, tmp_path):
    facts = train_language_model(TEXTS, processor, order, tmp_path / "lm.arpa")
    scores, backoffs = read_arpa(tmp_path / "lm.arpa")
    words = ["a", "b", "c", "<unk>"]
    assert (facts.sentences, facts.words, facts.vocabulary) == (5, 3 + 2 + 4 + 1 + 3, 3)
    histories = [(), ("<s>",), *itertools.product(words, repeat=1)]
    if order == 3:
        histories += [("<s>", word) for word in words] + list(itertools.product(words, repeat=2))
    for history in histories:
        total = sum(10 ** log10_of(history, word, scores, backoffs) for word in [*words, "</s>"])
        assert total == pytest.approx(1, abs=1e-5), history
    assert 10 ** scores["<unk>",] == pytest.approx(facts.unknown_share, rel=1e-5)


def test_unknown_words_get_the_share_of_those_read_once(processor, tmp_path):
    """Of 10 words and two ends one was read once: 1 / 12 goes to <unk>, which was not read."""
    facts = train_language_model(["a a a a a", "a a a a b"], processor, 2, tmp_path / "lm.arpa")
    assert facts.unknown_share == pytest.approx(1 / 12)
    # lower order: a follows <s> and a, b follows a, </s> follows a and b: 2, 1 and 2 of 5 kinds of histories
    scores, _ = read_arpa(tmp_path / "lm.arpa")
    assert 10 ** scores["a",] == pytest.approx(2 / 5 * 11 / 12, rel=1e-5)
    assert math.isclose(sum(10 ** scores[word,] for word in ("a", "b", "</s>", "<unk>")), 1, rel_tol=1e-5)


def test_books_are_read_by_sentences_and_lists_by_lines(processor, tmp_path):
    (tmp_path / "book.txt").write_text("A b.\nC? a\nb\n\nB!\n%\nC c\n")
    (tmp_path / "list.txt").write_text("A b. C\na, b\n")
    (tmp_path / "ends.txt").write_text("\nA b. C\na, b\n\n \n")
    assert list(read_sentences(tmp_path / "ends.txt", processor)) == ["a b c", "a b"]
    assert list(read_sentences(tmp_path / "book.txt", processor)) == ["a b", "c", "a b", "b", "c c"]
    assert list(read_sentences(tmp_path / "list.txt", processor)) == ["a b c", "a b"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no words"),
        (b"... \n", "no words"),
        (b"a\xff\xfe b", "UTF-8"),
        (b"a\0b", "zero bytes"),
        (None, "there is no file"),
    ],
)
def test_a_text_without_words_is_refused(content, message, processor, tmp_path):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_sentences(path, processor))


def test_what_shares_eight_words_with_a_held_out_transcript_is_left_out():
    words = [f"w{index}" for index in range(12)]
    held_out = HeldOut([" ".join(words), "two words"])
    left_out = {}
    kept = keep(
        {
            "one": ["x " + " ".join(words[2:10]) + " y", " ".join(words[2:9]), "two words"],
            "two": ["two words more", " ".join(words)],
        },
        held_out,
        left_out,
    )
    assert list(kept) == [" ".join(words[2:9]), "two words more"]
    assert left_out == {"one": 2, "two": 1}


def test_other_orders_and_no_sentences_are_refused(processor, tmp_path):
    for order in (1, 6):
        with pytest.raises(ValueError, match=f"order is {order}; expected 2 to 5"):
            train_language_model(TEXTS, processor, order, tmp_path / "lm.arpa")
    with pytest.raises(ValueError, match="no sentence"):
        train_language_model([], processor, 2, tmp_path / "lm.arpa")
    with pytest.raises(ValueError, match="does not name a split"):
        list(split_transcripts("clean/test", processor))
    for prune in (-1e-7, 1):
        with pytest.raises(ValueError, match=f"prune is {prune}; expected 0 .* such as 1e-7"):
            train_language_model(TEXTS, processor, 2, tmp_path / "lm.arpa", prune)
    assert not list(tmp_path.iterdir())


def test_a_text_that_cannot_be_written_is_refused(processor, tmp_path):
    with pytest.raises(
        ValueError, match=r"4 of 4 words .* \('1' x2, '2' x1, '日' x1, .*, such as '12', '日', 'x', '31': give"
    ):
        train_language_model(["12 日", "x 31"], processor, 2, tmp_path / "lm.arpa")
    assert not list(tmp_path.iterdir())


def test_a_large_share_of_unknown_words_is_said(processor, tmp_path, caplog):
    """1 of 10 words is not above the limit, 2 of 10 are."""
    train_language_model(["a a a a a", "b b b b 7"], processor, 2, tmp_path / "few.arpa")
    assert not caplog.text
    train_language_model(["a a a a a", "b b b 7\u200b 7\u200b"], processor, 2, tmp_path / "many.arpa")
    assert "2 of 10 words" in caplog.text and "'7' x2, U+200B ZERO WIDTH SPACE x2" in caplog.text


def test_the_recipe_reads_texts_and_transcripts(repository, tmp_path, capsys):
    """The transcripts of twelve recordings, one of which is in the text too and is to be scored."""
    manifest = tiny.write_corpus(tmp_path / "speech", "u", 12)
    model, processor = tiny.new_model()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    transcripts = list(split_transcripts(f"{manifest}::test", processor))
    assert len(transcripts) == 12
    (tmp_path / "text.txt").write_text(f"{transcripts[0].upper()}!\nabc cba\n")
    main = runpy.run_path(str(repository / "recipes" / "train_lm.py"))["main"]
    argv = [str(tmp_path / "text.txt"), "--output_file", str(tmp_path / "lm.arpa"), "--order", "2"]
    argv += ["--model", str(tmp_path / "model")]
    assert main([*argv, "--leave_out", f"{manifest}::test"]) == 0
    assert "text.txt: 1 sentences left out" in capsys.readouterr().out
    assert main([*argv, "--transcripts_of", f"{manifest}::test"]) == 0
    whole = capsys.readouterr().out
    assert "28 words in 14 sentences" in whole and ", n-grams " in whole
    argv[argv.index("--output_file") + 1] = str(tmp_path / "small.arpa.gz")
    assert main([*argv, "--transcripts_of", f"{manifest}::test", "--prune", "0.01"]) == 0
    small = read_arpa_words(tmp_path / "small.arpa.gz")
    assert small == read_arpa_words(tmp_path / "lm.arpa") and "MB" in capsys.readouterr().out
    assert len(gzip.decompress((tmp_path / "small.arpa.gz").read_bytes())) < (tmp_path / "lm.arpa").stat().st_size
