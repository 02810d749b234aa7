"""Audio and text to model inputs, and predicted ids to text. All text normalisation is here."""

import json
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import BatchFeature, ProcessorMixin, Wav2Vec2CTCTokenizer

BLANK_TOKEN = "<pad>"
PUNCTUATION = '.,!?;:"()[]{}<>«»„“”…¿¡*_~|/\\–—-'
TYPOGRAPHIC_APOSTROPHES = "’‘`´ʼ"
PADDING_OPTIONS = ("padding", "max_length", "pad_to_multiple_of", "padding_side")


class DeepSpeech2Processor(ProcessorMixin):
    r"""
    A feature extractor and a character tokenizer whose id 0 is both padding and the CTC blank.

    Args:
        feature_extractor: a `DeepSpeech2FeatureExtractor`.
        tokenizer: a `Wav2Vec2CTCTokenizer`. See [`DeepSpeech2Processor.build_tokenizer`].
        text_case (`str`): the case of normalised text: `"lower"`, `"upper"` or `"keep"`.
        removed_characters (`str`): characters that normalisation replaces by a space.

    Raises:
        ValueError: `text_case` has another value.
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
        """Return the text as the model spells it: NFC, one apostrophe, `text_case`, no punctuation, single spaces."""
        text = unicodedata.normalize("NFC", text)
        text = text.translate(self._translation())
        if self.text_case != "keep":
            text = text.lower() if self.text_case == "lower" else text.upper()
        return " ".join(text.split())

    def _translation(self) -> dict[int, str]:
        return {ord(c): "'" for c in TYPOGRAPHIC_APOSTROPHES} | {ord(c): " " for c in self.removed_characters}

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
                f"the text {normalized_text!r} has characters outside the vocabulary: {dict(unknown)}; "
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
            `input_features` and `attention_mask` of the audio, and `labels` of the text, padded with -100.

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
            labels = [self.encode(self.normalize_text(one)) for one in texts]
            padding = {"padding": True} | {k: v for k, v in options["text_kwargs"].items() if k in PADDING_OPTIONS}
            padded = self.tokenizer.pad({"input_ids": labels}, return_attention_mask=True, **padding)
            inputs["labels"] = [
                [label if real else -100 for label, real in zip(*row, strict=True)]
                for row in zip(padded["input_ids"], padded["attention_mask"], strict=True)
            ]
            inputs = inputs.convert_to_tensors(options["text_kwargs"].get("return_tensors"))
        return inputs

    @property
    def model_input_names(self) -> list[str]:
        return [*self.feature_extractor.model_input_names, "labels"]


__all__ = ["DeepSpeech2Processor"]
