"""The processor: one normalisation, any alphabet, the blank at id 0, text that comes back as it went in."""

import copy
import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from deepspeech2.config import validation
from deepspeech2.model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from deepspeech2.model.processing_deepspeech2 import TEXT_CASES, DeepSpeech2Processor

ENGLISH = "'abcdefghijklmnopqrstuvwxyz "


def processor(characters: str = ENGLISH, **options) -> DeepSpeech2Processor:
    tokenizer = DeepSpeech2Processor.build_tokenizer(characters)
    return DeepSpeech2Processor(DeepSpeech2FeatureExtractor(), tokenizer, **options)


def with_blanks(ids: list[int]) -> list[int]:
    """One alignment of the labels: every label over two frames, a blank between them."""
    return [0, *(frame for label in ids for frame in (label, label, 0))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("  two   spaces\tand\nlines ", "two spaces and lines"),
        ("don’t DON'T don`t", "don't don't don't"),
        ("well-known — truth…", "well known truth"),
        ("cafe\u0301", "café"),  # e + combining accent -> é: a text has one spelling
        ("«Ça va?»", "ça va"),
        ("ПРИВЕТ", "привет"),
        ("نعم، حقا؟", "نعم حقا"),
        ("मैं हूँ। हाँ॥", "मैं हूँ हाँ"),
        ("「はい」、どうぞ。", "はい どうぞ"),
        ("well\u2010known", "well known"),
        ("", ""),
        ("...", ""),
        ("\ufeffzero\u200bwidth\u2060", "zerowidth"),
        ("co\u00adop\u200e \u202babc\u202c ♥\ufe0f", "coop abc ♥"),
        ("a\u200b\u0301", "á"),  # nothing stands between a letter and its accent any more
        ("İstanbul, İ\u0307", "istanbul i"),
        ("Auf\u200clage", "auflage"),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    normalize = processor().normalize_text
    assert normalize(text) == expected
    assert normalize(normalize(text)) == expected


@pytest.mark.parametrize(("text_case", "expected"), [("lower", "abc def"), ("upper", "ABC DEF"), ("keep", "Abc dEf")])
def test_text_case(text_case: str, expected: str) -> None:
    assert processor(text_case=text_case).normalize_text("Abc, dEf.") == expected


@pytest.mark.parametrize(
    "text, lower, upper",
    [
        ("İstanbul Işık", "istanbul ışık", "İSTANBUL IŞIK"),
        ("ILIK su iyi", "ılık su iyi", "ILIK SU İYİ"),
        ("I\u0307zmir", "izmir", "İZMİR"),  # NFD
        ("i\u0307zmir", "izmir", "İZMİR"),  # İzmir in Python's lower case
    ],
)
def test_turkish_has_two_letters_i(text: str, lower: str, upper: str) -> None:
    for case, expected in (("lower_turkish", lower), ("upper_turkish", upper)):
        assert processor(text_case=case).normalize_text(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("می\u200cخواهم", "می\u200cخواهم"),  # Persian: between two letters
        ("می\u200c\u200b\u200cخواهم", "می\u200cخواهم"),
        ("خانه\u200c .", "خانه"),  # nothing follows
        ("\u200cمن", "من"),
        ("क्\u200dष क्\u200c", "क्\u200dष क्\u200c"),  # Hindi: behind a virama, also at the end of a word
        ("ന്\u200d", "ന്\u200d"),  # Malayalam: an old chillu
        ("র\u200d্য", "র\u200d্য"),  # Bengali: before the virama
        ("क\u200b\ufeff", "क"),
        ("a\u200db", "ab"),
    ],
)
def test_joiners_stay_where_a_script_needs_them(text: str, expected: str) -> None:
    assert processor().normalize_text(text) == expected


def test_an_invisible_character_may_be_one_that_is_replaced_by_a_space() -> None:
    assert processor(removed_characters="\u200b").normalize_text("ខ្ញុំ\u200bទៅ") == "ខ្ញុំ ទៅ"


@pytest.mark.parametrize("text_case", TEXT_CASES)
def test_a_normalised_text_stays_as_it_is(text_case: str) -> None:
    """Of random strings of what is special to a case, a script or a normal form."""
    one, rng = processor(text_case=text_case), random.Random(0)
    special = (
        "aAiIıİ\u0307\u0301\u0323ŉßẞΣσςǰΐʼ'’`.-<> \u00a0\u200b\u200c\u200d\ufeff\u00ad\u0345αΩÅ한ﬁक्षی\u0654म\u180e㎏"
    )
    for _ in range(3000):
        text = one.normalize_text("".join(rng.choices(special, k=rng.randint(1, 7))))
        assert one.normalize_text(text) == text, ascii(text)


def test_the_recipe_knows_the_same_cases() -> None:
    assert validation.TEXT_CASES == TEXT_CASES


def test_removed_characters_are_configurable() -> None:
    assert processor(removed_characters="#").normalize_text("a#b, c") == "a b, c"


def test_an_unknown_text_case_is_refused() -> None:
    with pytest.raises(ValueError, match="text_case is 'title'; expected one of lower, upper, keep"):
        processor(text_case="title")


def test_unknown_characters_are_counted() -> None:
    assert processor().unknown_characters("naïve 2 × 2") == {"ï": 1, "2": 2, "×": 1}
    assert not processor().unknown_characters("naive")


def test_unknown_characters_are_refused_with_their_names() -> None:
    with pytest.raises(ValueError, match=r"'4 ever' has characters outside the vocabulary: '4' \(U\+0034\)"):
        processor().encode("4 ever")
    with pytest.raises(ValueError, match=r"'\\u200b' \(U\+200B\), 'а' \(U\+0430\)"):
        processor().encode("\u200bа")


def test_the_blank_is_padding_is_zero() -> None:
    tokenizer = processor().tokenizer
    assert tokenizer.pad_token_id == 0
    assert tokenizer.convert_ids_to_tokens(0) == "<pad>"
    assert len(tokenizer) == len(ENGLISH) + 1
    assert tokenizer.bos_token is tokenizer.eos_token is tokenizer.unk_token is None


def test_labels_follow_the_order_of_the_vocabulary() -> None:
    # "'" is 1, "a" 2, ..., "z" 27, " " 28
    assert processor().encode("a z'") == [2, 28, 27, 1]


@pytest.mark.parametrize(
    ("characters", "text"),
    [
        (ENGLISH, "hello"),
        (ENGLISH, "it's all well"),
        ("абвгдежзийклмнопрстуфхцчшщъыьэюя ", "привет всем"),
        ("あいうえおかきくけこ", "あああい"),
        (" αβγδεζηθικλμνξοπρσςτυφχψω", "αλλοσ λογοσ"),
        (ENGLISH.upper() + "|", "ONE|TWO THREE"),
    ],
)
def test_text_comes_back_from_an_alignment(characters: str, text: str) -> None:
    one = processor(characters)
    assert one.batch_decode([with_blanks(one.encode(text))]) == [text]
    assert one.tokenizer.decode(with_blanks(one.encode(text))) == text


def test_repeats_without_a_blank_collapse() -> None:
    one = processor()
    h, e, l, o = one.encode("helo")  # noqa: E741
    assert one.batch_decode([[h, h, e, 0, l, l, 0, l, o, o]]) == ["hello"]
    assert one.batch_decode([[h, h, e, 0, l, l, l, l, o, o]]) == ["helo"]
    assert one.batch_decode([[0, 0, 0], [h, 0, 0]]) == ["", "h"]


def test_predictions_as_arrays() -> None:
    one = processor()
    assert one.batch_decode(np.array([[2, 0, 2], [3, 3, 0]])) == ["aa", "b"]


def test_a_vocabulary_is_single_characters() -> None:
    with pytest.raises(ValueError, match=r"expected single characters, got \['ab'\]"):
        DeepSpeech2Processor.build_tokenizer(["a", "ab"])
    with pytest.raises(ValueError, match=r"the vocabulary is \[\]"):
        DeepSpeech2Processor.build_tokenizer([])


def test_the_space_is_always_in_the_vocabulary() -> None:
    assert processor("abba").tokenizer.get_vocab() == {"<pad>": 0, "a": 1, "b": 2, " ": 3}
    assert processor(" ab").tokenizer.get_vocab() == {"<pad>": 0, " ": 1, "a": 2, "b": 3}
    assert len(processor("abba").tokenizer) == processor("abba").tokenizer.vocab_size == 4


def test_audio_and_text_together() -> None:
    batch = processor()(
        [np.zeros(1600, np.float32), np.zeros(320, np.float32)],
        text=["Yes!", "no"],
        sampling_rate=16_000,
        return_tensors="pt",
    )
    assert batch.input_features.shape == (2, 11, 161)
    assert batch.attention_mask.sum(-1).tolist() == [11, 3]
    assert batch.labels.tolist() == [[26, 6, 20], [15, 16, -100]]


def test_either_alone() -> None:
    one = processor()
    assert set(one(np.zeros(320, np.float32), sampling_rate=16_000)) == {"input_features", "attention_mask"}
    assert one(text="no").labels == [[15, 16]]
    with pytest.raises(ValueError, match="audio and text are both missing"):
        one()


def test_save_and_load_keep_everything(tmp_path: Path) -> None:
    one = processor(ENGLISH.upper(), text_case="upper", removed_characters="#")
    one.save_pretrained(tmp_path)
    loaded = DeepSpeech2Processor.from_pretrained(tmp_path)
    assert (loaded.text_case, loaded.removed_characters) == ("upper", "#")
    assert loaded.tokenizer.get_vocab() == one.tokenizer.get_vocab()
    assert len(loaded.tokenizer) == len(one.tokenizer) == 29
    assert loaded.feature_extractor.to_dict() == one.feature_extractor.to_dict()
    assert loaded.encode("IT'S") == one.encode("IT'S")
    assert loaded.batch_decode([with_blanks(loaded.encode("TOO GOOD"))]) == ["TOO GOOD"]
    assert json.loads((tmp_path / "vocab.json").read_text())["<pad>"] == 0


def test_of_a_text_alone_come_the_ids_that_a_tokenizer_gives() -> None:
    one = processor()
    assert one(text="Ab!").input_ids == one.tokenizer("ab").input_ids == [2, 3]
    assert one(text=["Ab", "c"]).input_ids == [[2, 3], [4]]
    padded = one(text=["Ab", "c"], padding=True, return_tensors="pt")
    assert padded.input_ids.tolist() == [[2, 3], [4, 0]] and padded.attention_mask.tolist() == [[1, 1], [1, 0]]
    assert padded.labels.tolist() == [[2, 3], [4, -100]]


@pytest.mark.parametrize("as_lists", [False, True])
def test_pad_as_the_usual_collators_call_it(as_lists: bool) -> None:
    """Of 3 and 11 frames; as arrays, and as lists, which datasets make of them."""
    one = processor()
    clips = [np.zeros(320, np.float32), np.random.default_rng(0).standard_normal(1600).astype(np.float32) / 10]
    features = [one(clip, sampling_rate=16_000).input_features[0] for clip in clips]
    rows = [{"input_features": one.tolist() if as_lists else one} for one in features]
    padded = one.pad(rows, padding=True, return_tensors="pt")
    whole = one(clips, sampling_rate=16_000, return_tensors="pt")
    np.testing.assert_array_equal(padded.input_features, whole.input_features)
    assert padded.attention_mask.tolist() == whole.attention_mask.tolist()
    assert one.pad(input_features=rows, padding="longest", return_tensors="np").input_features.shape == (2, 11, 161)

    ids = [{"input_ids": [2, 3]}, {"input_ids": [4]}]
    labels = one.pad(labels=ids, padding=True, return_tensors="pt")
    assert labels["input_ids"].tolist() == [[2, 3], [4, 0]] and labels.attention_mask.tolist() == [[1, 1], [1, 0]]
    both = one.pad(rows, labels=ids, padding=True, return_tensors="pt")
    assert both.labels.tolist() == [[2, 3], [4, -100]] and both.input_features.shape == (2, 11, 161)
    assert one.pad(rows, labels=ids)["labels"] == [[2, 3], [4, -100]]


def test_what_cannot_be_padded_is_refused() -> None:
    one = processor()
    features = one(np.zeros(320, np.float32), sampling_rate=16_000).input_features
    with pytest.raises(ValueError, match="both missing"):
        one.pad()
    with pytest.raises(ValueError, match=r"have shape \(1, 3, 161\); expected \(frames, 161\)"):
        one.pad([{"input_features": features}])
    with pytest.raises(ValueError, match="includes input_features"):
        one.pad([{"input_values": features[0]}])


def test_the_tokenizer_names_what_it_cannot_write() -> None:
    """It returns None as an id otherwise, which fails later in a tensor."""
    for one in (processor(), pickle.loads(pickle.dumps(processor())), copy.deepcopy(processor())):
        with pytest.raises(ValueError, match=r"',' \(U\+002C\), 'H' \(U\+0048\); give the tokenizer a text that proc"):
            one.tokenizer("Hello, h")
        assert one.tokenizer("h e").input_ids == one.encode("h e")
        assert one.tokenizer.convert_tokens_to_ids("<pad>") == 0
        assert one.tokenizer.batch_decode([[2, 2, 0, 3]]) == ["ab"]
        assert one.tokenizer.batch_decode([[2, 2, 0, 3]], group_tokens=False) == ["aab"]


def test_what_is_saved_has_the_plain_tokenizer(tmp_path: Path) -> None:
    """So it loads without trust_remote_code."""
    processor().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "Wav2Vec2CTCTokenizer"
    loaded = DeepSpeech2Processor.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        loaded.tokenizer("Hello")
