"""What a finished run leaves to read: results as JSON, the HTML report, the model card, the table."""

import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml

from .arguments import DataArguments, ModelArguments, RecipeTrainingArguments
from .devices import describe_device
from .metrics import Scores
from .modeling_deepspeech2 import DeepSpeech2ForCTC
from .reports import EvaluatedSplit, results_table, write_model_card, write_run_report

Results = dict[str, dict[str, Scores]]


def write_up(
    results: Results,
    model: DeepSpeech2ForCTC,
    settings: dict[str, Any],
    command: Sequence[str],
    arguments: ModelArguments,
    data: DataArguments,
    training: RecipeTrainingArguments,
) -> None:
    """
    Leaves the results as JSON, an HTML report and the model card in `output_dir`, and prints the table.

    Args:
        results: by stage ("before fine-tuning", ...), then by split.
        model: as it was saved.
        settings: what differs from the defaults, without tokens.
        command: the script and its arguments; how it was launched is found out.
        arguments, data, training: of the run.
    """
    folder = Path(training.output_dir or ".")
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    facts = _facts(command, model, training, state)
    stages = {stage: {split: scores.to_dict() for split, scores in splits.items()} for stage, splits in results.items()}
    (folder / "results.json").write_text(
        json.dumps({"results": stages, "run": facts}, indent=2, ensure_ascii=False), encoding="utf-8"
    )
    report = write_run_report(
        folder / "report",
        title=f"{folder.name}: a DeepSpeech2 run",
        command=facts["command"],
        log_history=state["log_history"],
        results=results,
        config=settings,
        facts=facts,
    )
    after = list(results.values())[1 if arguments.model_name_or_path else 0]
    write_model_card(
        folder,
        model_name=folder.name,
        base_model=arguments.model_name_or_path or None,
        language=arguments.language,
        license=arguments.license,
        datasets=list(dict.fromkeys(data.dataset_name)),
        results=[(_evaluated(name, data), scores) for name, scores in after.items()],
        training=facts | {"config": yaml.safe_dump(settings, allow_unicode=True)},
        repo_id=training.hub_model_id,
        plots=sorted((folder / "report").glob("*.png")),
        limits=[
            "Greedy decoding without a language model; the text has no punctuation and one case.",
            "Rates hold for speech like that of the splits above. Other microphones, accents, languages, overlapping "
            "speakers and long recordings were not measured.",
            *([arguments.credit] if arguments.credit else []),
        ],
    )
    print(f"\n{results_table(results)}\nModel:  {folder}\nReport: {report}")


def _evaluated(name: str, data: DataArguments) -> EvaluatedSplit:
    """A split as `load_eval_splits` understands its name."""
    config, _, split = name.rpartition("/")
    config = config or (data.dataset_config[0] if data.dataset_config else "-")
    corpus = data.eval_dataset_name or data.dataset_name[0]
    return EvaluatedSplit(corpus, split, None if config == "-" else config, data.dataset_revision)


def _facts(
    command: Sequence[str], model: DeepSpeech2ForCTC, training: RecipeTrainingArguments, state: dict
) -> dict[str, str]:
    """What a reader needs to judge and repeat the run."""
    seconds = max(line["elapsed_s"] for line in state["log_history"])
    return {
        "command": _without_token(shlex.join([*_launcher(command[0]), *command]), training),
        "commit": _commit(),
        "parameters": f"{model.num_parameters():,}",
        "optimizer steps": f"{state['global_step']:,}",
        "training time": f"{seconds / 60:.1f} min, evaluations included",
        "hardware": f"{training.world_size} process(es) on {describe_device(training.device)}",
        "seed": str(training.seed),
        "torch": torch.__version__,
    }


def _launcher(script: str) -> list[str]:
    """`accelerate launch` with its own options, which only our parent process knows; else plain `python`."""
    parent = psutil.Process().parent()
    words = parent.cmdline() if parent else []
    starts = [place for place, word in enumerate(words) if Path(word).name in ("accelerate", "accelerate-launch")]
    stops = [place for place, word in enumerate(words) if word.endswith(Path(script).name)]
    if not starts or not stops:
        return ["python"]
    return [Path(words[starts[0]]).name, *words[starts[0] + 1 : stops[0]]]


def _commit() -> str:
    try:
        command = ["git", "rev-parse", "HEAD"]
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not known: git is not installed"
    return found.stdout.strip() or "not in a git checkout"


def _without_token(text: str, training: RecipeTrainingArguments) -> str:
    """The card and the report are for everybody."""
    return text.replace(training.hub_token, "<token>") if training.hub_token else text
