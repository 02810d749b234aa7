"""Reports, plots, tables and the model card of a run.

Input: scores, logs and settings. Output: HTML pages that need no network, PNG files, Markdown.
"""

from .check_report import Problem, problems_table, write_check_report
from .decoder_plots import heat_map, rejection_curves, reliability_diagram
from .interpolation_report import Point, best_point, interpolation_table, write_interpolation_report
from .model_card import EvaluatedSplit, card_metadata, write_model_card
from .plots import save_png
from .run_report import results_table, write_run_report
from .score_report import write_score_report
from .strategy_report import few_speakers, strategy_rows, strategy_table, write_strategy_report

__all__ = [
    "EvaluatedSplit",
    "Point",
    "Problem",
    "best_point",
    "card_metadata",
    "few_speakers",
    "heat_map",
    "interpolation_table",
    "problems_table",
    "rejection_curves",
    "reliability_diagram",
    "results_table",
    "save_png",
    "strategy_rows",
    "strategy_table",
    "write_check_report",
    "write_interpolation_report",
    "write_model_card",
    "write_run_report",
    "write_score_report",
    "write_strategy_report",
]
