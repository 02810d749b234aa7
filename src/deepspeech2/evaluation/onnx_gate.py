"""
A model as an ONNX folder, in fp32 and in int8, and the gate that such a folder has to pass.

The folder holds all that a program with onnxruntime and numpy needs: the graphs, the constants of the features, and the
JSON files of the processor. `recipes/onnx_example.py` is such a program.
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
    Leaves export.json and export.md in the folder of an export.

    Args:
        scored: what `score_model` gave of `PYTORCH` and of each way that was exported.
        facts: what else export.json is to say.

    Returns:
        The table of export.md.
    """
    baseline, baseline_rtfx = scored[PYTORCH]
    rows, ways = [], {}
    for way, (scores, rtfx) in scored.items():
        comparison = compare(baseline, scores)
        size_mb = (folder / FILES[way]).stat().st_size / 1e6 if way in FILES else None
        same = sum(change.a.hypothesis == change.b.hypothesis for change in comparison.changes)
        ways[way] = {"rtfx": rtfx, "size_mb": size_mb, "same_texts": same, **comparison.to_dict()}
        difference = f"{100 * comparison.wer_difference:+.2f}"
        texts = f"{same} of {len(comparison.changes)}"
        speed = [f"{rtfx:.1f}", f"{rtfx / baseline_rtfx:.2f}", f"{size_mb:.1f}" if size_mb else ""]
        rows.append([way, f"{100 * scores.wer:.2f}", difference, texts, *speed])
    head = ["way", "WER %", "difference", "same texts", "RTFx", "times PyTorch", "MB"]
    table = markdown_table(head, rows)
    write_whole(folder / "export.md", table)
    write_whole(folder / "export.json", json.dumps({**facts, "ways": ways}, indent=2, ensure_ascii=False))
    return table


def refuse_worse(scored: Mapping[str, tuple[Scores, float]], max_wer_difference: float) -> None:
    """
    The gate.

    Args:
        scored: as for `write_comparison`.
        max_wer_difference: by how many points, in per cent, a way may be worse than PyTorch.

    Raises:
        ValueError: one is worse by more; all such are named.
    """
    wer = 100 * scored[PYTORCH][0].wer
    worse = [
        f"{way} {100 * scores.wer:.2f} %"
        for way, (scores, _) in scored.items()
        if way != PYTORCH and not 100 * scores.wer - wer <= max_wer_difference  # so that a NaN does not pass
    ]
    if worse:
        raise ValueError(
            f"refused: the WER of {' and '.join(worse)} is more than {max_wer_difference} points above the "
            f"{wer:.2f} % of {PYTORCH}; a larger split says it more surely, --max_wer_difference allows more"
        )
