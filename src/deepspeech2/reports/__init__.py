"""Reports, plots and the model card: what a run leaves for people to look at."""

from .model_card import EvaluatedSplit, card_metadata, write_model_card
from .run_report import results_table, write_run_report
from .score_report import write_score_report

__all__ = [
    "EvaluatedSplit",
    "card_metadata",
    "results_table",
    "write_model_card",
    "write_run_report",
    "write_score_report",
]
