"""The model card: metadata for the Hub, and the information that a reader needs to use and judge the model."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ...system.files import write_whole
from ..metrics import Scores
from .run_report import results_table


@dataclass(frozen=True)
class EvaluatedSplit:
    """The data of a result. `dataset` is a Hub id, a local folder or a name such as "synthetic"."""

    dataset: str
    split: str
    config: str | None = None
    revision: str | None = None

    @property
    def name(self) -> str:
        """The name of the dataset, without local folders."""
        return self.dataset if _is_repo_id(self.dataset) else Path(self.dataset).name

    @property
    def label(self) -> str:
        return " / ".join(part for part in (self.name, self.config, self.split) if part)


def write_model_card(
    folder: Path | str,
    *,
    model_name: str,
    base_model: str | None,
    language: str | Sequence[str],
    license: str,
    datasets: Sequence[str],
    results: Sequence[tuple[EvaluatedSplit, Scores]],
    training: Mapping[str, str],
    plots: Sequence[Path | str] = (),
    limits: str | Sequence[str] = (),
    repo_id: str | None = None,
    revision: str | None = None,
    tags: Sequence[str] = (),
    sampling_rate: int = 16000,
    description: str | None = None,
    origin: str | None = None,
) -> Path:
    """Write `folder`/README.md, a model card that `ModelCard.load` can read.

    Args:
        folder: the folder of the model.
        model_name: the title, also the name in the model index.
        base_model: the model that was fine-tuned; None means random weights. A Hub id goes into the metadata, a folder
            into the text.
        language: ISO 639-1 code or codes.
        license: the identifier of the Hub, such as "apache-2.0".
        datasets: the training data. Hub ids go into the metadata, other names into the text.
        results: every scored split, for the model as it is saved. The first one is the headline. A model with an
            `origin` may have none.
        training: facts by name: command, commit, config, hyper-parameters, hardware, time, hours of audio. Values with
            several lines become folded blocks.
        plots: PNG files, copied into `folder`/plots. The first is shown at the top, the others with the training.
        limits: a text, or a list of points.
        repo_id: the id of the model on the Hub. Without it the usage example has a path to fill in.
        revision: a commit or tag that the usage example pins.
        tags: additional tags.
        sampling_rate: the sampling rate of the usage example, Hz.
        description: the sentence under the title.
        origin: the source of the weights, if this package did not train them.

    Returns:
        The path of README.md.

    Raises:
        ValueError: there are no results of a model that was trained here, or no limits.
    """
    if not results and origin is None:
        raise ValueError("A model card needs results. Score a split and pass (EvaluatedSplit, Scores).")
    if not limits:
        raise ValueError("A model card needs limits. Say on what speech the model is known or expected to fail.")
    folder = Path(folder)
    languages = [language] if isinstance(language, str) else list(language)
    data = card_metadata(base_model, languages, license, datasets, tags)
    data.model_name = model_name
    data.eval_results = [result for split, scores in results for result in _eval_results(split, scores)] or None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("deepspeech2.evaluation.reports"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template("model_card.md").render(
        card_data=data.to_yaml(),
        model_name=model_name,
        description=description or _description(languages, results),
        plots=[_copy_plot(Path(plot), folder) for plot in plots],
        results=results_table({"this model": {split.label: scores for split, scores in results}}) if results else "",
        repo_id=repo_id or f"path/to/{model_name}",
        revision_argument=f', revision="{revision}"' if revision else "",
        sampling_rate=sampling_rate,
        origin=origin or _origin(base_model, datasets),
        facts=[(name, _code(name, value.strip())) for name, value in training.items() if "\n" not in value.strip()],
        blocks=[
            (name, value.strip(), "yaml" if "config" in name.lower() else "")
            for name, value in training.items()
            if "\n" in value.strip()
        ],
        limits=limits if isinstance(limits, str) else "\n".join(f"- {limit}" for limit in limits),
    )
    path = folder / "README.md"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, str(ModelCard(text)))
    return path


def card_metadata(
    base_model: str | None,
    language: str | Sequence[str],
    license: str,
    datasets: Sequence[str],
    tags: Sequence[str] = (),
) -> ModelCardData:
    """Return the metadata of a model card, without results. The arguments are as for `write_model_card`."""
    languages = [language] if isinstance(language, str) else list(language)
    return ModelCardData(
        base_model=base_model if base_model is not None and _is_repo_id(base_model) else None,
        language=languages[0] if len(languages) == 1 else languages,
        license=license,
        library_name="transformers",
        pipeline_tag="automatic-speech-recognition",
        datasets=[name for name in datasets if _is_repo_id(name)] or None,
        metrics=["wer", "cer"],
        tags=["automatic-speech-recognition", "ctc", "deepspeech2", "speech", *tags],
    )


def _eval_results(split: EvaluatedSplit, scores: Scores) -> list[EvalResult]:
    """Return WER and CER in per cent, as for other speech models on the Hub, without infinite rates."""
    return [
        EvalResult(
            task_type="automatic-speech-recognition",
            task_name="Automatic Speech Recognition",
            dataset_type=split.name,
            dataset_name=split.label,
            dataset_config=split.config,
            dataset_split=split.split,
            dataset_revision=split.revision,
            metric_type=metric,
            metric_name=f"{metric.upper()} (%)",
            metric_value=round(100 * rate, 2),
        )
        for metric, rate in (("wer", scores.wer), ("cer", scores.cer))
        if math.isfinite(rate)
    ]


def _description(languages: Sequence[str], results: Sequence[tuple[EvaluatedSplit, Scores]]) -> str:
    split, scores = results[0]
    return (
        f"A DeepSpeech2 CTC model for speech recognition ({', '.join(languages)})"
        f" with a word error rate of {100 * scores.wer:.1f} % on {split.label}."
    )


def _origin(base_model: str | None, datasets: Sequence[str]) -> str:
    if base_model is None:
        start = "Trained from random weights"
    elif _is_repo_id(base_model):
        start = f"Fine-tuned from [{base_model}](https://huggingface.co/{base_model})"
    else:
        start = f"Fine-tuned from the local checkpoint `{Path(base_model).name}`"
    corpora = [
        f"[{name}](https://huggingface.co/datasets/{name})" if _is_repo_id(name) else f"`{Path(name).name}`"
        for name in datasets
    ]
    return f"{start} on {' and '.join(corpora)}."


def _code(name: str, value: str) -> str:
    return f"`{value}`" if name.lower() in {"command", "commit"} else value


def _is_repo_id(name: str) -> bool:
    """Return whether a name is an id `owner/name` on the Hub, not a local folder or a name like "synthetic"."""
    if Path(name).exists() or name.count("/") != 1:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _copy_plot(plot: Path, folder: Path) -> dict[str, str]:
    target = folder / "plots" / plot.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.resolve() != plot.resolve():
        shutil.copyfile(plot, target)
    return {"alt": plot.stem.replace("_", " "), "path": f"plots/{plot.name}"}
