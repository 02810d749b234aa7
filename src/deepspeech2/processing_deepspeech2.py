"""Audio and text in, model inputs out; predicted ids in, text out. Also the one place that normalises text."""

import json
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import BatchFeature, ProcessorMixin, Wav2Vec2CTCTokenizer

BLANK_TOKEN = "<pad>"
PUNCTUATION = ".,!?;:\"()[]{}<>«»„“”…¿¡*_~|/\\–—-"
TYPOGRAPHIC_APOSTROPHES = "’‘`´ʼ"


class DeepSpeech2Processor(ProcessorMixin):
    r"""
    A feature extractor and a character tokenizer whose id 0 is both padding and the CTC blank.

    Args:
        feature_extractor: a `DeepSpeech2FeatureExtractor`.
        tokenizer: a `Wav2Vec2CTCTokenizer`; see [`DeepSpeech2Processor.build_tokenizer`].
        text_case (`str`): `"lower"`, `"upper"` or `"keep"`: what [`~DeepSpeech2Processor.normalize_text`] does to letters.
        removed_characters (`str`): characters that normalisation turns into a space.
    """

    def __init__(self, feature_extractor, tokenizer, text_case="lower", removed_characters=PUNCTUATION, **kwargs):
        if text_case not in ("lower", "upper", "keep"):
            raise ValueError(f"text_case is {text_case!r}; expected 'lower', 'upper' or 'keep'")
        self.text_case = text_case
        self.removed_characters = removed_characters
        super().__init__(feature_extractor, tokenizer)
        self._ids = tokenizer.get_vocab()

    @staticmethod
    def build_tokenizer(characters: Iterable[str]) -> Wav2Vec2CTCTokenizer:
        """
        Tokenizer over `characters` (each one code point, a space for the word boundary), any alphabet; blank = id 0.

        Raises:
            ValueError: no characters, or an entry that is not one character.
        """
        characters = list(dict.fromkeys(characters))
        wrong = [character for character in characters if len(character) != 1]
        if not characters or wrong:
            raise ValueError(f"the vocabulary is {characters}; expected single characters, but got {wrong or 'none'}")
        vocabulary = {token: index for index, token in enumerate([BLANK_TOKEN, *characters])}
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
        """The text as the model spells it: NFC, one apostrophe, `text_case`, no punctuation, single spaces."""
        text = unicodedata.normalize("NFC", text)
        text = text.translate(self._translation())
        if self.text_case != "keep":
            text = text.lower() if self.text_case == "lower" else text.upper()
        return " ".join(text.split())

    def _translation(self) -> dict[int, str]:
        return {ord(c): "'" for c in TYPOGRAPHIC_APOSTROPHES} | {ord(c): " " for c in self.removed_characters}

    def unknown_characters(self, normalized_text: str) -> Counter[str]:
        """Characters of a normalised text that the vocabulary lacks, with their counts."""
        return Counter(character for character in normalized_text if character not in self._ids)

    def encode(self, normalized_text: str) -> list[int]:
        """
        Label ids of a normalised text.

        Raises:
            ValueError: characters outside the vocabulary, named.
        """
        unknown = self.unknown_characters(normalized_text)
        if unknown:
            raise ValueError(
                f"the text {normalized_text!r} has characters outside the vocabulary: {dict(unknown)}; "
                "build the vocabulary from your transcripts or add the characters to removed_characters"
            )
        return [self._ids[character] for character in normalized_text]

    def __call__(
        self, audio=None, text: str | Sequence[str] | None = None, sampling_rate: int | None = None, **kwargs
    ) -> BatchFeature:
        """
        Args:
            audio: one clip or a list of clips; see [`DeepSpeech2FeatureExtractor.__call__`].
            text: the transcript of each clip, normalised here.
            sampling_rate: Hz of the audio.

        Returns:
            `input_features`, `attention_mask` of the audio; `labels` of the text, padded with -100; either or both.

        Raises:
            ValueError: neither audio nor text, a wrong rate or clip, unknown characters.
        """
        if audio is None and text is None:
            raise ValueError("neither audio nor text was given; expected at least one of them")
        return_tensors = kwargs.pop("return_tensors", None)
        inputs = BatchFeature()
        if audio is not None:
            inputs = self.feature_extractor(
                audio, sampling_rate=sampling_rate, return_tensors=return_tensors, **kwargs
            )
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            labels = [self.encode(self.normalize_text(one)) for one in texts]
            longest = max(map(len, labels), default=0)
            inputs["labels"] = [ids + [-100] * (longest - len(ids)) for ids in labels]
            inputs = inputs.convert_to_tensors(return_tensors)
        return inputs

    @property
    def model_input_names(self) -> list[str]:
        return [*self.feature_extractor.model_input_names, "labels"]


__all__ = ["DeepSpeech2Processor"]
