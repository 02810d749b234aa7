"""Report a training run: one HTML file, its plots, and the table of results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...system.markdown import markdown_table
from ..metrics import Scores
from .page import interval, interval_note, percent, speakers, write_page
from .plots import Results, draw_figure, draw_figures, error_rate_bars, save_png, to_svg, training_curves


def write_run_report(
    folder: Path | str,
    *,
    title: str,
    command: str,
    log_history: Sequence[Mapping[str, Any]],
    results: Results,
    config: Mapping[str, Any],
    facts: Mapping[str, str] | None = None,
    headline: str | None = None,
) -> Path:
    """Report a training run in `folder`: index.html, results.png and, if there are curves, training.png.

    Args:
        folder: the folder, created if it does not exist.
        title: the title of the page.
        command: the command that reproduces the run, as typed.
        log_history: `trainer.state.log_history`, empty if nothing was trained. The report uses loss, learning_rate,
            audio_s_per_s, eval_loss, eval_wer and eval_<name>_wer.
        results: stage -> split -> scores, in the order of display. The first stage is the start of the run, the second
            one its end.
        config: the settings of the run.
        facts: environment, times, hardware: name -> text.
        headline: one sentence under the title; the default is the WER of the first two stages.

    Returns:
        The path of index.html.

    Raises:
        ValueError: there are no results.
    """
    if not any(results.values()):
        raise ValueError("A run report needs at least one stage with one scored split, but there are none.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture = error_rate_bars(results)
    save_png(picture, folder / "results.png")
    curves = training_curves(log_history)
    if curves:
        save_png(draw_figures(list(curves.values())), folder / "training.png")
    head, rows = _table(results)
    split = _main_split(results)
    return write_page(
        folder,
        "run_report.html",
        title=title,
        command=command,
        headline=headline or _run_headline(results, split),
        picture=Markup(to_svg(picture, "Word error rate by split and stage")),
        interval_note=interval_note(scores for by_split in results.values() for scores in by_split.values()),
        table_head=head,
        table_rows=rows,
        curves=[Markup(to_svg(draw_figure(draw), f"Training: {name}")) for name, draw in curves.items()],
        examples=_examples({stage: of[split] for stage, of in results.items() if split in of}),
        examples_note=f"Utterances of {split}, selected by the change from the first stage to the second."
        if len(results) > 1
        else f"Utterances of {split}: two with the fewest errors, two in the middle, and one with the most.",
        config=config,
        facts=facts or {},
    )


def results_table(results: Results) -> str:
    """Return the results as a Markdown table, with rates in per cent and their 95 % intervals."""
    head, rows = _table(results)
    return markdown_table(head, rows, left=2)


def _table(results: Results) -> tuple[list[str], list[list[str]]]:
    head = ["stage", "split", "WER %", "95 % interval", "CER %", "95 % interval", "utterances", "speakers"]
    rows = [
        [
            stage,
            split,
            percent(scores.wer),
            interval(scores.wer_interval),
            percent(scores.cer),
            interval(scores.cer_interval),
            f"{scores.num_utterances:,}",
            f"{scores.num_speakers:,}" if scores.num_speakers else "–",
        ]
        for stage, by_split in results.items()
        for split, scores in by_split.items()
    ]
    return head, rows


def _main_split(results: Results) -> str:
    """Return the split for the examples: the first test split that all stages have, else their last common split."""
    common = [split for split in next(iter(results.values())) if all(split in of for of in results.values())]
    common = common or list(next(iter(results.values())))
    return next((split for split in common if "test" in split), common[-1])


def _run_headline(results: Results, split: str) -> Markup:
    stages = [by_split[split] for by_split in results.values() if split in by_split]
    if len(stages) == 1:
        return Markup("WER <b>{} %</b> on {}").format(percent(stages[0].wer), split)
    return Markup("WER <b>{} → {} %</b> on {}: {} utterances of {}").format(
        percent(stages[0].wer), percent(stages[1].wer), split, stages[1].num_utterances, speakers(stages[1])
    )


def _examples(stages: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """Select two utterances with the largest gain, two in the middle, and the one with the largest loss."""
    by_id = [{utterance.id: utterance for utterance in scores.utterances} for scores in stages.values()]
    before, after = by_id[0], by_id[min(1, len(by_id) - 1)]

    def gain(name: str) -> int:
        return (before[name].words.errors if len(by_id) > 1 else 0) - after[name].words.errors

    names = [name for name in before if all(name in of for of in by_id)]
    names.sort(key=lambda name: (-gain(name), name))
    middle = len(names) // 2
    chosen = dict.fromkeys([*names[:2], *names[middle : middle + 2], *names[-1:]])
    return [
        {
            "id": name,
            "speaker": after[name].speaker_id,
            "why": " → ".join(f"{of[name].words.errors}" for of in by_id[:2]) + " word errors",
            "reference": after[name].reference,
            "stages": [(stage, of[name]) for stage, of in zip(stages, by_id, strict=True)],
        }
        for name in chosen
    ]
