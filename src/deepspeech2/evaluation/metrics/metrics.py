"""The `evaluate` metric module: `evaluate.load("src/deepspeech2/evaluation/metrics")` reads this file, offline.

`evaluate` copies only the files that this file imports relatively, so everything that `scores.py` imports must be
imported here too. Do not write comments on those lines: `evaluate` takes such a comment for a web address.
"""

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import datasets
import evaluate
import pandas as pd

from .bootstrap import BOOTSTRAP_SAMPLES
from .edit_alignment import CONTRACT
from .scores import Utterance, score

_DESCRIPTION = f"""\
Corpus word and character error rate with the counts of each edit operation, and 95 % bootstrap intervals resampled by
speaker. Errors are summed over the corpus before the division. The result is not a mean over utterances.
{CONTRACT}"""

_INPUTS = """
Args:
    predictions (list of str): normalised hypotheses, also as an array, a Series or a generator.
    references (list of str): transcripts, normalised with the same function.
    speakers (list of str, optional): one speaker id per prediction, used to resample the intervals. It may be a number,
        and None or NaN if it is unknown. With the config "speakers" it is an input like the other two, so it may come
        in batches and from several processes.
    durations (list of float, optional): seconds of audio, one per prediction. They are only summed.
    groups (dict of str to list of str, optional): more columns, one value per prediction. The figures are also
        given for each value of each column.
    bootstrap_samples (int): number of resamples for the intervals; 0 computes no intervals.
    seed (int): the seed of the resampling.

Returns:
    dict: wer and cer as fractions (None if infinite), wer_interval and cer_interval as [low, high] or
    None, resampled_by ("speaker", "utterance" or "nothing"), hits, substitutions, deletions, insertions,
    num_words, num_characters, num_utterances, num_speakers, audio_s, bootstrap_samples, groups (the figures
    by speaker and by each column of `groups`).

Examples:
    >>> metric = evaluate.load("src/deepspeech2/evaluation/metrics")
    >>> metric.compute(predictions=["turn the lamp on"], references=["turn the light on"])["wer"]
    0.25
"""

_CITATION = """\
@inproceedings{bisani2004bootstrap,
  title = {Bootstrap estimates for confidence intervals in {ASR} performance evaluation},
  author = {Bisani, Maximilian and Ney, Hermann},
  booktitle = {ICASSP},
  year = {2004}
}
"""


class SpeechErrorRates(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        columns = ["predictions", "references"]
        if self.config_name == "speakers":
            columns.append("speakers")
        elif self.config_name != "default":
            raise ValueError(f"Unknown config {self.config_name!r}; expected 'default' or 'speakers'.")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({column: datasets.Value("string") for column in columns}),
            reference_urls=["https://github.com/jitsi/jiwer"],
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **more: Any) -> None:
        """Add one prediction and its reference."""
        self.add_batch(predictions=[prediction], references=[reference], **{name: [one] for name, one in more.items()})

    def add_batch(
        self, *, predictions: Iterable[str] | None = None, references: Iterable[str] | None = None, **more: Any
    ) -> None:
        """Add texts from any iterable. `evaluate` itself takes a column by index, and writes a missing text as nan."""
        given = {"predictions": predictions, "references": references, **more}
        if more.get("speakers") is not None:
            given["speakers"] = _speaker_ids(more["speakers"])
        super().add_batch(**{name: _texts(name, values) for name, values in given.items()})

    def _compute(
        self,
        *,
        predictions: list[str] | None = None,
        references: list[str] | None = None,
        speakers: Iterable[Any] | None = None,
        durations: Iterable[float] | None = None,
        groups: Mapping[str, Iterable[str]] | None = None,
        bootstrap_samples: int = BOOTSTRAP_SAMPLES,
        seed: int = 0,
        **unknown: Any,
    ) -> dict[str, Any]:
        if unknown:
            known = "speakers, durations, groups, bootstrap_samples, seed"
            raise ValueError(f"Unknown options {sorted(unknown)}; expected any of {known}.")
        predicted, said = predictions or [], references or []
        speakers = [""] * len(predicted) if speakers is None else _speaker_ids(speakers)
        durations = [0.0] * len(predicted) if durations is None else list(durations)
        for index, duration in enumerate(durations):
            if not isinstance(duration, Real) or duration != duration:  # also numpy's numbers
                raise ValueError(f"durations[{index}] is {duration!r}; expected seconds.")
        columns = None if groups is None else {name: list(values) for name, values in groups.items()}
        for name, values in (("speakers", speakers), ("durations", durations)):
            if len(values) != len(predicted):
                raise ValueError(
                    f"Got {len(values)} {name} for {len(predicted)} predictions. Give one per prediction."
                    " Speaker ids that come in batches or from several processes need config_name='speakers'."
                )
        utterances = [
            Utterance(str(index), *row)
            for index, row in enumerate(zip(speakers, durations, said, predicted, strict=True))
        ]
        return score(utterances, bootstrap_samples=bootstrap_samples, seed=seed, groups=columns).to_dict()


def _speaker_ids(values: Iterable[Any]) -> list[str]:
    """Return speaker ids as texts, and "" for None and NaN, which are unknown. The number 0 is an id."""
    return ["" if one is None or one is pd.NA or one != one else str(one) for one in values]


def _texts(name: str, values: Iterable[str] | None) -> list[str]:
    """
    Return a column of texts as a list.

    Raises:
        ValueError: it is missing, is a single text, or has an entry that is no text. The message names its place.
    """
    if values is None or isinstance(values, str):
        what = "missing" if values is None else f"the single text {values!r}"
        raise ValueError(f"{name} is {what}; expected a list of texts, one per utterance.")
    texts = list(values)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{name}[{place}] is {text!r}; expected a text. Leave out utterances that have none.")
    return texts
