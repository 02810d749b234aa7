"""
Compare an ONNX export, in fp32 and int8, with the PyTorch model, and refuse an export that is worse.

The export folder holds everything that a program with onnxruntime and numpy needs: the graphs, the constants of the
features, and the JSON files of the processor. `recipes/onnx_example.py` is such a program.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..model.onnx_export import FILES, PYTORCH
from ..system.files import write_whole
from ..system.markdown import markdown_table
from .metrics import Scores, compare


def write_comparison(folder: Path, scored: Mapping[str, tuple[Scores, float]], facts: Mapping[str, Any]) -> str:
    """
    Write export.json and export.md into the folder of an export.

    Args:
        folder: the folder of the export.
        scored: the results of `score_model` for `PYTORCH` and for each exported variant.
        facts: additional content of export.json.

    Returns:
        The table of export.md.
    """
    baseline, baseline_rtfx = scored[PYTORCH]
    rows, variants = [], {}
    for variant, (scores, rtfx) in scored.items():
        comparison = compare(baseline, scores)
        size_mb = (folder / FILES[variant]).stat().st_size / 1e6 if variant in FILES else None
        same = sum(change.a.hypothesis == change.b.hypothesis for change in comparison.changes)
        variants[variant] = {"rtfx": rtfx, "size_mb": size_mb, "same_texts": same, **comparison.to_dict()}
        difference = f"{100 * comparison.wer_difference:+.2f}"
        texts = f"{same} of {len(comparison.changes)}"
        speed = [f"{rtfx:.1f}", f"{rtfx / baseline_rtfx:.2f}", f"{size_mb:.1f}" if size_mb else ""]
        rows.append([variant, f"{100 * scores.wer:.2f}", difference, texts, *speed])
    head = ["system", "WER %", "difference", "same texts", "RTFx", "times PyTorch", "MB"]
    table = markdown_table(head, rows)
    write_whole(folder / "export.md", table)
    write_whole(folder / "export.json", json.dumps({**facts, "ways": variants}, indent=2, ensure_ascii=False))
    return table


def refuse_worse(scored: Mapping[str, tuple[Scores, float]], max_wer_difference: float, folder: Path) -> None:
    """
    Refuse an export whose WER is too high.

    Args:
        scored: as for `write_comparison`.
        max_wer_difference: how much worse than PyTorch a variant may be, in percentage points of WER.
        folder: where the export is, for the message.

    Raises:
        ValueError: at least one variant is worse. The message names all of them.
    """
    wer = 100 * scored[PYTORCH][0].wer
    worse = [
        f"{variant} {100 * scores.wer:.2f} %"
        for variant, (scores, _) in scored.items()
        if variant != PYTORCH and not 100 * scores.wer - wer <= max_wer_difference  # so that a NaN does not pass
    ]
    if worse:
        raise ValueError(
            f"export refused: the WER of {' and '.join(worse)} is more than {max_wer_difference} points above the "
            f"{wer:.2f} % of {PYTORCH}. The export stays in {folder}. Score a larger split to be more "
            "certain, or raise --max_wer_difference"
        )
