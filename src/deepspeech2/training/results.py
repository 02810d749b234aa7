"""What a finished run leaves: its decoder, JSON, the HTML report, the model card, the table."""

import json
import logging
import shlex
import subprocess
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import torch
import yaml
from transformers.trainer_utils import IntervalStrategy

from ..config.arguments import Recipe, RecipeTrainingArguments
from ..data.corpora import Corpus
from ..decoding.decoder import Decoder, DecodesHere, frame_times
from ..decoding.options import DECODER_NAME, read_own_options, save_options
from ..evaluation.metrics import Scores
from ..evaluation.reports import EvaluatedSplit, results_table, write_model_card, write_run_report
from ..evaluation.scoring import score_model
from ..model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ..system.devices import describe_device
from ..system.files import write_whole
from ..system.heartbeat import naming_the_lost
from ..system.launch import launcher
from .callbacks import skipped_steps
from .hub import without_token
from .plan import build_eval_stream
from .start import Run

logger = logging.getLogger(__name__)

Results = dict[str, dict[str, Scores]]


def write_up(run: Run, results: Results, command: Sequence[str], more_facts: Mapping[str, str]) -> None:
    """
    Write the results as JSON, an HTML report and the model card into `output_dir`, and print the table.

    Args:
        run: the run, with the model as it was saved.
        results: scores by stage ("before fine-tuning", ...), then by split.
        command: the script and its arguments. The launcher is detected.
        more_facts: name -> text, for the report and the card.
    """
    recipe, folder = run.recipe, run.recipe.training.folder
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    noted = folder / "run.json"  # written by the training, and kept when a later command only scores
    if noted.is_file():
        facts = json.loads(noted.read_text(encoding="utf-8"))
    else:
        facts = {**_facts(command, run.model, recipe.training, state), **more_facts}
        write_whole(noted, json.dumps(facts, indent=2, ensure_ascii=False))
    stages = {stage: {split: scores.to_dict() for split, scores in splits.items()} for stage, splits in results.items()}
    write_whole(folder / "results.json", json.dumps({"results": stages, "run": facts}, indent=2, ensure_ascii=False))
    report = write_run_report(
        folder / "report",
        title=f"{folder.name}: DeepSpeech2 training report",
        command=facts["command"],
        log_history=state["log_history"],
        results=results,
        config=recipe.settings,
        facts=facts,
    )
    after = results["after training"]
    write_model_card(
        folder,
        model_name=folder.name,
        base_model=recipe.model.model_name_or_path or None,
        language=recipe.model.language,
        license=recipe.model.license,
        datasets=list(dict.fromkeys(recipe.data.dataset_name)),
        results=[(_evaluated(run.speech.test[name]), scores) for name, scores in after.items()],
        training=facts | {"config": yaml.safe_dump(recipe.settings, allow_unicode=True)},
        repo_id=recipe.training.hub_model_id,
        plots=sorted((folder / "report").glob("*.png")),
        sampling_rate=run.processor.feature_extractor.sampling_rate,
        limits=_limits(recipe, after),
    )
    print(f"\n{results_table(results)}\nModel:  {folder}\nReport: {report}")


def _limits(recipe: Recipe, scored: Container[str]) -> list[str]:
    """Return the limits that the model card lists."""
    limits = [
        "The scores use greedy decoding without a language model. The transcripts have no punctuation and one case.",
        "The error rates hold for speech like that of the splits above. Other microphones, accents, languages, "
        "overlapping speakers and long recordings were not measured.",
    ]
    eval_split = recipe.data.eval_split
    if recipe.training.load_best_model_at_end and eval_split in scored:
        limits.append(
            f"{eval_split} also selected the checkpoint, so its error rate is lower than that of new speech would be."
        )
    return limits + ([recipe.model.credit] if recipe.model.credit else [])


def _evaluated(corpora: Sequence[Corpus]) -> EvaluatedSplit:
    """Return the datasets of a split. A held-out split may come from several."""
    datasets = list(dict.fromkeys(corpus.dataset for corpus in corpora))
    dataset = datasets[0] if len(datasets) == 1 else " and ".join(Path(name).name for name in datasets)
    split = "+".join(dict.fromkeys(corpus.split for corpus in corpora))
    return EvaluatedSplit(dataset, split, corpora[0].config, corpora[0].revision)


def _facts(
    command: Sequence[str], model: DeepSpeech2ForCTC, training: RecipeTrainingArguments, state: dict
) -> dict[str, str]:
    """Return the facts that a reader needs to judge and repeat the run."""
    seconds = max(line["elapsed_s"] for line in state["log_history"])
    skipped = skipped_steps(training.folder)
    kept = state["best_global_step"] if training.load_best_model_at_end else None
    return {
        "command": without_token(shlex.join([*launcher(command[0]), *command]), training.hub_token),
        "commit": _commit(),
        "parameters": f"{model.num_parameters():,}",
        "optimizer steps": f"{state['global_step']:,} of {state['max_steps']:,}",
        **({"steps left out": f"{skipped:,}, with a non-finite gradient"} if skipped else {}),
        **({"kept": f"step {kept:,}, lowest WER"} if kept else {}),
        "training time": f"{seconds / 60:.1f} min, including evaluations",
        "hardware": f"{training.world_size} process(es) on {describe_device(training.device)}",
        "seed": str(training.seed),
        "torch": torch.__version__,
    }


def _commit() -> str:
    """Return the commit of this file's checkout. A package installed inside another repository has none."""
    try:
        tracked = _git("ls-files", Path(__file__).name)
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") if tracked else "no git checkout"
    except FileNotFoundError:
        return "unknown: git is not installed"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def carry_decoder(source: Path | None, trained: Run) -> dict[str, str]:
    """
    Put the decoder of the starting model, with its language model, beside a trained one if it lowers the WER of
    `eval_split`: a language model of books need not fit other speech. With `eval_strategy` no it is not tried, because
    beam search of that split may take longer than the training. Every process takes part.

    Args:
        source: the decoder.json of the starting model, or None. Only beam search is carried: a calibration alone is
            that of another model.
        trained: the run with the trained model. A decoder.json in its folder is left as it is.

    Returns:
        What became of the decoder, for the report and the model card. Empty if there was none.
    """
    folder, split = trained.recipe.training.folder, trained.recipe.data.eval_split
    if source is None or (folder / DECODER_NAME).is_file():
        return {}
    if trained.recipe.commands.grammar:
        return _said(f"{source} is not carried along, because the commands are recognised by their grammar")
    if not trained.speech.validation:
        return _said(f"{source} is not carried along, because the run has no eval_split to try it on")
    if trained.recipe.training.eval_strategy == IntervalStrategy.NO:
        return _said(f"{source} is not carried along, because the run does not score eval_split (eval_strategy no)")
    model, processor = trained.model, trained.processor
    try:
        options = read_own_options(source)
        if not options.beam_size:
            return {}
        decoder = Decoder(processor, *frame_times(model, processor), options)
    except (ImportError, ValueError) as error:
        return _said(f"{source} is not carried along, because it cannot be tried: {error}")
    greedy, beam = (_wer(trained, None), _wer(trained, decoder))
    found = f"on {split} it has a WER of {100 * beam:.2f} %, and greedy decoding {100 * greedy:.2f} %"
    if beam >= greedy:
        return _said(f"{source} is not carried along: {found}")
    if trained.recipe.training.process_index == 0:
        save_options(options, folder)
    return _said(f"{source} is carried along: {found}")


def _said(what: str) -> dict[str, str]:
    logger.info("%s", what)
    return {"decoder": what}


def _wer(run: Run, decoder: Decoder | None) -> float:
    training = run.recipe.training
    run.model.to(training.device)  # type: ignore[arg-type]
    batches = build_eval_stream(run.speech.validation, run.processor, run.recipe.data, training)
    with naming_the_lost(training.process_index, training.world_size):
        decoding = DecodesHere(decoder) if decoder else None
        return score_model(run.model, run.processor, batches, decoding)[0].wer
