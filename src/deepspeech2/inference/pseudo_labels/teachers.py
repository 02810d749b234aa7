"""Teachers: models that transcribe clips with a confidence. Ours, CTC, encoder-decoder, and Whisper in CTranslate2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from transformers import PreTrainedConfig, pipeline

from ...model.configuration_deepspeech2 import DeepSpeech2Config
from ...model.loading import load_model
from ...system.network import advice

Inputs = dict[str, Any]
# What a teacher is sure of, unless the user says otherwise. Letters of CTC are nearly all certain, words are not.
SURE_OF_LETTERS, SURE_OF_WORDS = 0.9, 0.55
MAX_NEW_TOKENS = 256  # for checkpoints that set no limit; the default of transformers' pipeline
WEIGHTS = ("*.safetensors", "*.bin")


class Transcript(NamedTuple):
    """The text of a clip, and its confidence from 0 to 1."""

    text: str
    confidence: float


class Teacher(Protocol):
    """
    A model that transcribes clips.

    `features` makes the inputs of clips at `sampling_rate`, in a data worker. `longest_s` is the longest clip that the
    model takes, or None. `identity` names its weights. `min_confidence` is a sensible threshold.
    """

    @property
    def sampling_rate(self) -> int: ...
    @property
    def longest_s(self) -> float | None: ...
    @property
    def min_confidence(self) -> float: ...
    @property
    def identity(self) -> str: ...
    @property
    def features(self) -> Features: ...
    def transcribe(self, inputs: Sequence[Inputs]) -> list[Transcript]: ...


@dataclass(frozen=True)
class Features:
    """
    Makes the inputs of a model from clips, lists of float32 samples (n,): one batch of all, or one of each clip.

    Args:
        extractor: a feature extractor of transformers. None leaves the samples as they are.
        options: how it is called.
        alone: whether each clip is a batch by itself, because the model has no mask for padding.
    """

    extractor: Any
    options: dict[str, Any] = field(default_factory=dict)
    alone: bool = False

    def __call__(self, clips: Sequence[np.ndarray]) -> list[Inputs]:
        if self.extractor is None:
            return [{"samples": clip} for clip in clips]
        groups = [[clip] for clip in clips] if self.alone else [list(clips)]
        options = {"sampling_rate": self.extractor.sampling_rate, "return_tensors": "pt", **self.options}
        return [dict(self.extractor(group, **options)) for group in groups]


@dataclass
class _Model:
    """What teachers of torch share. Their model is on its device, in evaluation mode."""

    model: Any
    features: Features
    identity: str
    tokenizer: Any
    options: dict[str, Any] = field(default_factory=dict)
    longest_s: float | None = None
    min_confidence: float = SURE_OF_LETTERS

    @property
    def sampling_rate(self) -> int:
        return self.features.extractor.sampling_rate

    @torch.inference_mode()
    def transcribe(self, inputs: Sequence[Inputs]) -> list[Transcript]:
        """Return the transcripts of all clips of the batches, in order."""
        return [one for batch in inputs for one in self._batch(self._placed(batch))]

    def _placed(self, batch: Inputs) -> Inputs:
        device, dtype = self.model.device, self.model.dtype
        return {key: one.to(device, dtype if one.is_floating_point() else None) for key, one in batch.items()}

    def _batch(self, batch: Inputs) -> list[Transcript]:
        raise NotImplementedError


class OwnTeacher(_Model):
    """A DeepSpeech2, decoded greedily. `tokenizer` is its processor."""

    def _batch(self, batch: Inputs) -> list[Transcript]:
        outputs = self.model(batch["input_features"], batch["attention_mask"])
        sure = confidences(outputs.logits, outputs.output_lengths, self.model.config.pad_token_id).tolist()
        texts = self.tokenizer.batch_decode(outputs.logits.argmax(-1).cpu())
        return list(map(Transcript, texts, sure))


class CtcTeacher(_Model):
    """Another CTC model, decoded greedily."""

    def _batch(self, batch: Inputs) -> list[Transcript]:
        logits = self.model(**batch).logits
        frames, mask = logits.shape[1], batch.get("attention_mask")
        if mask is None:
            lengths = torch.full(logits.shape[:1], frames, device=logits.device)
        else:  # every model has its own rule, but all keep the proportion; rounded up, no frame is lost
            lengths = (mask.sum(1) * frames + mask.shape[1] - 1) // mask.shape[1]
        sure = confidences(logits, lengths, self.model.config.pad_token_id).tolist()
        ids = [row[:length] for row, length in zip(logits.argmax(-1).tolist(), lengths.tolist(), strict=True)]
        # Without the special tokens, of which the blank is one, equal letters on both sides of it would be merged.
        texts = [self.tokenizer.decode(row, skip_special_tokens=False) for row in ids]
        return [Transcript(text.strip(), one) for text, one in zip(texts, sure, strict=True)]


class GeneratingTeacher(_Model):
    """An encoder-decoder, decoded greedily: Whisper, Moonshine, Speech2Text and others."""

    def _batch(self, batch: Inputs) -> list[Transcript]:
        made = self.model.generate(
            **batch, return_dict_in_generate=True, output_scores=True, num_beams=1, do_sample=False, **self.options
        )
        log_probs = self.model.compute_transition_scores(made.sequences, made.scores, normalize_logits=True).float()
        tokens = made.sequences[:, -log_probs.shape[1] :]
        special = torch.tensor(self.tokenizer.all_special_ids, device=tokens.device)
        sure = mean_confidences(log_probs, ~torch.isin(tokens, special)).tolist()
        texts = self.tokenizer.batch_decode(made.sequences, skip_special_tokens=True)
        return [Transcript(text.strip(), one) for text, one in zip(texts, sure, strict=True)]


class CTranslate2Teacher:
    """Whisper in the format of CTranslate2, by faster-whisper with a beam of 5, without text of other clips."""

    features = Features(None)
    sampling_rate = 16_000
    longest_s: float | None = 30.0
    min_confidence = SURE_OF_WORDS

    def __init__(self, folder: Path, device: torch.device, language: str | None, identity: str) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise ImportError(
                f"{str(folder)!r} is a Whisper in the format of CTranslate2, which needs faster-whisper: "
                "pip install -e '.[whisper]'"
            ) from error
        on_gpu = device.type == "cuda"
        self._model = WhisperModel(
            str(folder),
            device=device.type,
            device_index=device.index or 0,
            compute_type="float16" if on_gpu else "int8",
            cpu_threads=torch.get_num_threads(),
        )
        self._language, self.identity = language, identity

    def transcribe(self, inputs: Sequence[Inputs]) -> list[Transcript]:
        return [self._one(batch["samples"]) for batch in inputs]

    def _one(self, samples: np.ndarray) -> Transcript:
        segments, _ = self._model.transcribe(
            samples, language=self._language, beam_size=5, temperature=0.0, condition_on_previous_text=False
        )
        found = [(one.text, one.avg_logprob, len(one.tokens)) for one in segments]
        count = sum(tokens for *_, tokens in found)
        text = "".join(text for text, *_ in found).strip()
        mean = sum(mean * tokens for _, mean, tokens in found) / count if count else -float("inf")
        return Transcript(text, float(np.exp(mean)))


def confidences(logits: torch.Tensor, lengths: torch.Tensor, blank: int) -> torch.Tensor:
    """
    Return the confidence of each clip's greedy transcript: the geometric mean of the probabilities of its letters.

    It is exp of the mean log-probability of the likeliest symbol, over the frames where that is not the blank. Blank
    frames are left out: they are the majority, nearly all of them have a probability near 1, and would hide the rest.

    Args:
        logits: (B, T, V).
        lengths: (B,) frames of each clip.
        blank: the id of the blank.

    Returns:
        (B,) from 0 to 1. It is 0 if all frames are blank.
    """
    best, symbols = logits.float().log_softmax(-1).max(-1)
    counted = (torch.arange(logits.shape[1], device=lengths.device) < lengths[:, None]) & (symbols != blank)
    return mean_confidences(best, counted)


def mean_confidences(log_probs: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return exp of the mean of (B, T) log-probabilities over the places `counted` (B, T); 0 where there is none."""
    counts = counted.sum(1)
    mean = log_probs.where(counted, 0.0).sum(1) / counts.clamp(min=1)
    return mean.exp().where(counts > 0, 0.0)


def load_teacher(
    name: str, device: torch.device, language: str | None = None, trust_remote_code: bool = False
) -> Teacher:
    """
    Load a model that transcribes: any checkpoint for CTC or of an encoder-decoder that the speech recognition pipeline
    of transformers loads, one of ours, or a folder of Whisper in CTranslate2's format.

    Args:
        name: a folder, or an id on the Hub.
        device: the device of the model.
        language: the language of the speech, for a multilingual Whisper, such as "en". None: it detects that of each
            clip.
        trust_remote_code: whether code that comes with the checkpoint may run.

    Raises:
        ValueError: it cannot be loaded, is a model of another kind, or takes no language.
        ImportError: a package is missing.
    """
    folder = Path(name).expanduser()
    if (folder / "model.bin").is_file():
        return CTranslate2Teacher(folder, device, language, _identity(name, None))
    try:
        found, _ = PreTrainedConfig.get_config_dict(name)
    except (OSError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise ValueError(f"the teacher {name!r} cannot be loaded: {cause}{advice(error)}") from error
    identity, kind = _identity(name, found.get("_commit_hash")), found.get("model_type")
    if kind == DeepSpeech2Config.model_type:
        _refuse_language(language, name, kind)
        model, processor = load_model(name)
        model.eval().to(device)
        return OwnTeacher(model, Features(processor.feature_extractor), identity, processor)
    try:
        loaded: Any = pipeline(
            "automatic-speech-recognition",
            model=name,
            device=device,
            dtype="float32" if device.type == "cpu" else "auto",
            trust_remote_code=trust_remote_code,
        )
    except (OSError, ValueError, KeyError) as error:
        cause = " ".join(str(error).split())
        code = ". Add --trust_remote_code if you trust its author" if "trust_remote_code" in cause else ""
        raise ValueError(
            f"the teacher {name!r} (model_type {kind!r}) cannot be loaded by transformers' speech recognition "
            f"pipeline: {cause}{code}{advice(error)}"
        ) from error
    return _of_pipeline(loaded, name, kind, identity, language)


def _of_pipeline(loaded: Any, name: str, kind: str | None, identity: str, language: str | None) -> Teacher:
    if loaded.type not in ("ctc", "ctc_with_lm", "seq2seq", "seq2seq_whisper"):
        raise ValueError(
            f"the teacher {name!r} has model_type {kind!r}, a transducer, whose transcripts come without "
            "probabilities; expected a model with CTC, or an encoder-decoder such as Whisper"
        )
    model, extractor, tokenizer = loaded.model.eval(), loaded.feature_extractor, loaded.tokenizer
    masked = extractor.return_attention_mask
    padded = Features(extractor, {"padding": "longest", "return_attention_mask": masked}, alone=not masked)
    if loaded.type in ("ctc", "ctc_with_lm"):
        _refuse_language(language, name, kind)
        return CtcTeacher(model, padded, identity, tokenizer)
    limits = model.generation_config
    options: dict[str, Any] = {}
    if limits.max_length is None and limits.max_new_tokens is None:
        options["max_new_tokens"] = MAX_NEW_TOKENS
    rest: dict[str, Any] = {"options": options, "min_confidence": SURE_OF_WORDS}
    if loaded.type == "seq2seq_whisper":
        if language and vars(limits).get("is_multilingual"):
            options |= {"language": language, "task": "transcribe"}
        elif language:
            raise ValueError(f"the teacher {name!r} is a Whisper for English alone; leave out --language {language}")
        # Every clip is padded to the same length, as in its training.
        whole = Features(extractor, {"return_attention_mask": True})
        return GeneratingTeacher(model, whole, identity, tokenizer, longest_s=float(extractor.chunk_length), **rest)
    _refuse_language(language, name, kind)
    return GeneratingTeacher(model, padded, identity, tokenizer, **rest)


def _refuse_language(language: str | None, name: str, kind: str | None) -> None:
    if language:
        raise ValueError(f"--language is for Whisper, but {name!r} has model_type {kind!r}; leave it out")


def _identity(name: str, commit: str | None) -> str:
    """Return the name of a teacher with what changes if its weights do: the commit, or the files of a folder."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return f"{name}@{commit}"
    files = [path.stat() for pattern in WEIGHTS for path in sorted(folder.glob(pattern))]
    sizes = ", ".join(f"{one.st_size:,} bytes of {one.st_mtime:.0f}" for one in files)
    return f"{folder.resolve()} ({sizes})"
