"""Word error rates: `score` a corpus, `compare` two models, or load the metric for `evaluate`.

Input: references and hypotheses, with ids and speakers. Output: rates, their 95 % intervals, and aligned words.
"""

from typing import TYPE_CHECKING

from .comparison import Change, Comparison, compare
from .edit_alignment import AlignedWord, Counts
from .scores import Group, ScoredUtterance, Scores, Utterance, score
from .seeds import SeededDifference, SeededScores, compare_over_seeds, over_seeds

if TYPE_CHECKING:
    from .metrics import SpeechErrorRates

__all__ = [
    "AlignedWord",
    "Change",
    "Comparison",
    "Counts",
    "Group",
    "ScoredUtterance",
    "Scores",
    "SeededDifference",
    "SeededScores",
    "Utterance",
    "compare",
    "compare_over_seeds",
    "load_metric",
    "over_seeds",
    "score",
]


def load_metric(config_name: str | None = None) -> "SpeechErrorRates":
    """Return the `evaluate` metric of this folder. Unlike `evaluate.load` this copies no code and needs no network.

    Args:
        config_name: None, or "speakers" if speaker ids are passed to `add_batch` or come from several processes.
    """
    from .metrics import SpeechErrorRates  # evaluate takes a second to import, and scoring does not need it

    return SpeechErrorRates(config_name=config_name)
