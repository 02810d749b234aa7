"""Audio and text to model inputs, and predicted ids to text. All text normalisation is here."""

import json
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from transformers import BatchFeature, ProcessorMixin, Wav2Vec2CTCTokenizer

BLANK_TOKEN = "<pad>"
PUNCTUATION = '.,!?;:"()[]{}<>«»‹›„‚“”…¿¡*_~|/\\–—-‐‑،؛؟۔।॥。、「」『』・！？：；（）'
TYPOGRAPHIC_APOSTROPHES = "’‘`´ʼ"
PADDING_OPTIONS = ("padding", "max_length", "pad_to_multiple_of", "padding_side")
TEXT_CASES = ("lower", "upper", "keep", "lower_turkish", "upper_turkish")
DOTTED_I = re.compile("i\N{COMBINING DOT ABOVE}+")
TURKISH = {"lower": {"I": "ı", "İ": "i"}, "upper": {"i": "İ", "ı": "I"}}

# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt: nothing is shown for these characters.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
# They choose the form of a letter, and some words are misspelt without them: zero-width (non-)joiner, Mongolian
# vowel separator.
JOINERS = "\u200c\u200d\u180e"
JOINING_SCRIPTS = {
    "ARABIC", "SYRIAC", "NKO", "MANDAIC", "MONGOLIAN", "DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA",
    "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "TIBETAN", "MYANMAR", "KHMER", "BALINESE", "JAVANESE",
}  # fmt: skip
VIRAMA = 9  # the canonical combining class of the marks that join two consonants


def drop_invisible(text: str, kept: str = "") -> str:
    """
    Remove the characters that nobody sees: zero-width spaces, soft hyphens, marks of direction, variation selectors.

    A joiner stays where its script needs it: between two letters of Arabic, Devanagari and the like, and behind a
    virama. `kept` names characters that stay everywhere.
    """

    def visible(found: re.Match[str]) -> str:
        start, end = found.span()
        before, after = text[max(start - 1, 0) : start], text[end : end + 1]
        joined = _joins(before) and (unicodedata.combining(before) == VIRAMA or _joins(after))
        joiner = next((one for one in found[0] if joined and one in JOINERS), "")
        return "".join(one for one in found[0] if one in kept) or joiner

    return INVISIBLE.sub(visible, text)


def _joins(character: str) -> bool:
    """Return whether a character is a letter or a mark of a script that uses joiners."""
    if not character or unicodedata.category(character)[0] not in "LM":
        return False
    return unicodedata.name(character, "").split(" ")[0] in JOINING_SCRIPTS


def _with_code_points(characters: Iterable[str]) -> str:
    """Return characters for a message: some cannot be seen, and some look like others."""
    return ", ".join(f"{one!r} (U+{ord(one):04X})" for one in characters)


def _known_ids(tokenizer: Wav2Vec2CTCTokenizer, tokens: str | Sequence[str]) -> int | list[int]:
    """
    Convert tokens to ids as a tokenizer does, which returns None for an unknown token.

    Raises:
        ValueError: tokens are not in the vocabulary. The message names them.
    """
    ids = type(tokenizer).convert_tokens_to_ids(tokenizer, tokens)
    if ids is None or (isinstance(ids, list) and None in ids):
        vocabulary = tokenizer.get_vocab()
        unknown = sorted({one for one in tokens if one not in vocabulary})
        raise ValueError(
            f"the text has characters outside the vocabulary: {_with_code_points(unknown)}; give the tokenizer a text "
            "that processor.normalize_text(text) returns, or call processor(text=text), which normalises it"
        )
    return ids


class DeepSpeech2Processor(ProcessorMixin):
    r"""
    A feature extractor and a character tokenizer whose id 0 is both padding and the CTC blank.

    Args:
        feature_extractor: a `DeepSpeech2FeatureExtractor`.
        tokenizer: a `Wav2Vec2CTCTokenizer`. See [`DeepSpeech2Processor.build_tokenizer`].
        text_case (`str`): the case of normalised text: `"lower"`, `"upper"` or `"keep"`. In `"lower_turkish"` and
            `"upper_turkish"` the capital of i is İ, and that of ı is I, as in Turkish and Azeri.
        removed_characters (`str`): characters that normalisation replaces by a space.

    Raises:
        ValueError: `text_case` has another value.
    """

    def __init__(self, feature_extractor, tokenizer, text_case="lower", removed_characters=PUNCTUATION, **kwargs):
        if text_case not in TEXT_CASES:
            raise ValueError(f"text_case is {text_case!r}; expected one of {', '.join(TEXT_CASES)}")
        self.text_case = text_case
        self.removed_characters = removed_characters
        # A subclass would be saved under its own name, and AutoTokenizer would then need trust_remote_code.
        tokenizer.convert_tokens_to_ids = partial(_known_ids, tokenizer)
        super().__init__(feature_extractor, tokenizer)
        self._ids = tokenizer.get_vocab()

    @staticmethod
    def build_tokenizer(characters: Iterable[str]) -> Wav2Vec2CTCTokenizer:
        """
        Build a tokenizer over `characters` and the space. The blank has id 0.

        Args:
            characters: the vocabulary, each entry one code point of any alphabet. The space is appended if it is
                missing.

        Raises:
            ValueError: there are no characters, or an entry is not one character.
        """
        characters = list(dict.fromkeys(characters))
        wrong = [character for character in characters if len(character) != 1]
        if not characters or wrong:
            raise ValueError(f"the vocabulary is {characters}; expected single characters, got {wrong or 'none'}")
        tokens = dict.fromkeys([BLANK_TOKEN, *characters, " "])
        vocabulary = {token: index for index, token in enumerate(tokens)}
        with tempfile.TemporaryDirectory() as folder:
            vocab_file = Path(folder, "vocab.json")
            vocab_file.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
            return Wav2Vec2CTCTokenizer(
                str(vocab_file),
                bos_token=None,
                eos_token=None,
                unk_token=None,
                pad_token=BLANK_TOKEN,
                word_delimiter_token=" ",
                replace_word_delimiter_char=" ",
            )

    def normalize_text(self, text: str) -> str:
        """
        Return the text as the model spells it: NFC, no invisible characters, one apostrophe, `text_case`, no
        punctuation, single spaces. A normalised text stays as it is.
        """
        spelling = {ord(c): "'" for c in TYPOGRAPHIC_APOSTROPHES} | {ord(c): " " for c in self.removed_characters}
        while (spelled := self._spell(text, spelling)) != text:  # twice, unless a step gives another one work: ŉ, ʼN
            text = spelled
        return text

    def _spell(self, text: str, spelling: dict[int, str]) -> str:
        text = unicodedata.normalize("NFC", drop_invisible(text, kept=self.removed_characters))
        text = unicodedata.normalize("NFC", self._change_case(text.translate(spelling)))
        return " ".join(text.split())

    def _change_case(self, text: str) -> str:
        case, _, language = self.text_case.partition("_")
        if case == "keep":
            return text
        text = DOTTED_I.sub("i", text)
        if language:
            text = text.translate(str.maketrans(TURKISH[case]))
        # Without a language the lower case of İ has a second dot.
        return DOTTED_I.sub("i", text.lower()) if case == "lower" else text.upper()

    def unknown_characters(self, normalized_text: str) -> Counter[str]:
        """Count the characters of a normalised text that are not in the vocabulary."""
        return Counter(character for character in normalized_text if character not in self._ids)

    def encode(self, normalized_text: str) -> list[int]:
        """
        Return the label ids of a normalised text.

        Raises:
            ValueError: the text has characters outside the vocabulary. The message names them.
        """
        unknown = self.unknown_characters(normalized_text)
        if unknown:
            raise ValueError(
                f"the text {normalized_text!r} has characters outside the vocabulary: {_with_code_points(unknown)}; "
                "build the vocabulary from your transcripts, or add the characters to removed_characters"
            )
        return [self._ids[character] for character in normalized_text]

    @property
    def space_id(self) -> int:
        """The id of the space. (The tokenizer loses its own word_delimiter_token_id when it is loaded.)"""
        return self._ids[" "]

    def __call__(self, audio=None, text: str | Sequence[str] | None = None, **kwargs) -> BatchFeature:
        """
        Prepare audio, transcripts or both for the model.

        Args:
            audio: one clip or a list of clips. See [`DeepSpeech2FeatureExtractor.__call__`].
            text: the transcript of each clip. It is normalised here.
            kwargs: `sampling_rate` in Hz, required with audio. `padding`, `max_length`, `return_tensors` and similar
                options apply to both, or to one of them in `audio_kwargs={...}` or `text_kwargs={...}`.

        Returns:
            `input_features` and `attention_mask` of the audio, and `labels` of the text, padded with -100. Of a text
            without audio also `input_ids`, as a tokenizer returns them: flat for one text, and not padded unless
            `padding` or `return_tensors` is given.

        Raises:
            ValueError: there is neither audio nor text, a clip or its rate is invalid, or the text has characters
                outside the vocabulary.
        """
        if audio is None and text is None:
            raise ValueError("audio and text are both missing; expected at least one of them")
        options = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        inputs = BatchFeature()
        if audio is not None:
            inputs = self.feature_extractor(audio, **options["audio_kwargs"])
        if text is not None:
            texts = [text] if isinstance(text, str) else text
            ids = [self.encode(self.normalize_text(one)) for one in texts]
            given = {k: v for k, v in options["text_kwargs"].items() if k in PADDING_OPTIONS}
            padded = self.tokenizer.pad({"input_ids": ids}, return_attention_mask=True, **{"padding": True} | given)
            inputs["labels"] = [
                [label if real else -100 for label, real in zip(*row, strict=True)]
                for row in zip(padded["input_ids"], padded["attention_mask"], strict=True)
            ]
            return_tensors = options["text_kwargs"].get("return_tensors")
            if audio is None:
                if given or return_tensors:
                    inputs |= padded
                else:
                    inputs["input_ids"] = ids[0] if isinstance(text, str) else ids
            inputs = inputs.convert_to_tensors(return_tensors)
        return inputs

    def pad(self, input_features=None, *, labels=None, **kwargs) -> BatchFeature:
        """
        Pad examples that were prepared before, as [`Wav2Vec2Processor.pad`] does for the usual collators of CTC.

        Args:
            input_features: the features of the examples, `[{"input_features": (frames, bins)}, ...]`, also with
                `attention_mask`.
            labels: the ids of the examples, `[{"input_ids": [...]}, ...]`.
            kwargs: `padding`, `max_length`, `pad_to_multiple_of`, `return_tensors`.

        Returns:
            Of features `input_features` and `attention_mask`. Of labels `input_ids`, padded with the blank, and
            `attention_mask`. Of both the first, and `labels` padded with -100.

        Raises:
            ValueError: neither is given, or features have another shape.
        """
        if input_features is None and labels is None:
            raise ValueError("input_features and labels are both missing; expected at least one of them")
        if input_features is None:
            return self.tokenizer.pad(labels, return_attention_mask=True, **kwargs)
        padded = self.feature_extractor.pad(input_features, **kwargs)
        shape = np.shape(padded["input_features"][0])
        if len(shape) != 2 or shape[1] != self.feature_extractor.feature_size:
            raise ValueError(
                f"the input_features of an example have shape {shape}; expected (frames, "
                f"{self.feature_extractor.feature_size}), as processor(audio, ...).input_features[0] is"
            )
        if labels is not None:
            targets = self.tokenizer.pad(labels, return_attention_mask=True, **kwargs | {"return_tensors": "np"})
            ids = np.where(targets["attention_mask"] == 1, targets["input_ids"], -100)
            padded |= BatchFeature({"labels": ids.tolist()}, tensor_type=kwargs.get("return_tensors"))
        return padded

    @property
    def model_input_names(self) -> list[str]:
        return [*self.feature_extractor.model_input_names, "labels"]


__all__ = ["DeepSpeech2Processor"]
