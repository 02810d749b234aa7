"""decoder.json: how logits become text, and how sure its words are."""

import difflib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..system.files import write_whole
from .calibration import Calibration

DECODER_NAME = "decoder.json"


@dataclass(frozen=True)
class DecoderOptions:
    """
    What decoder.json holds. Without `beam_size` decoding is greedy, and the options between are not used.

    Args:
        beam_size: texts kept at each frame; 0: greedy, each frame's likeliest symbol.
        language_model: an ARPA file of words, as train_lm.py writes.
        alpha: weight of the language model's log-probability.
        beta: nats for each word, against the language model's liking for few.
        unknown_score: added to the log10 probability of a word that the language model lacks.
        hotwords: words and phrases that are preferred.
        hotword_weight: nats for each word of them.
        calibration: of confidences, as calibrate.py finds it.
    """

    beam_size: int = 0
    language_model: str = ""
    alpha: float = 0.5
    beta: float = 1.5
    unknown_score: float = -10.0
    hotwords: tuple[str, ...] = ()
    hotword_weight: float = 10.0
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("language_model", "hotwords") if getattr(self, name)]
        if self.beam_size < 0:
            raise ValueError(f"beam_size is {self.beam_size}; expected 0 for greedy decoding, or more, such as 100")
        if given and not self.beam_size:
            raise ValueError(
                f"{', '.join(given)} given, but beam_size is 0: greedy decoding; give beam_size, such as 100"
            )
        if self.alpha < 0:
            raise ValueError(f"alpha is {self.alpha}; expected 0 or more")


def read_options(path: Path) -> DecoderOptions:
    """
    Options from a decoder.json; `language_model` is a path from its folder, or a whole one.

    Raises:
        ValueError: no such file, no JSON object, an unknown key, or values that do not go together.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the decoder {str(path)!r} cannot be read as JSON: {error}") from error
    known = {one.name: one.default for one in fields(DecoderOptions)}
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds a {type(given).__name__}; expected an object with some of {', '.join(known)}")
    if given.pop("lexicon", ""):  # "" is what earlier versions wrote without one
        raise ValueError(
            f"{path}: lexicon: there is no search in a lexicon any more, its error rate was higher: take the line out, "
            "and search weights for the language model again by tune_decoder.py"
        )
    for name, value in given.items():
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"{path}: unknown key {name!r}{f'; did you mean {nearest[0]!r}?' if nearest else ''}")
        wanted = {tuple: list, float: (float, int), type(None): (dict, type(None))}.get(
            type(known[name]), type(known[name])
        )
        if not isinstance(value, wanted) or isinstance(value, bool):  # type: ignore[arg-type]
            raise ValueError(f"{path}: {name} is {value!r}; expected a value such as {known[name]!r}")
    if given.get("language_model"):
        given["language_model"] = str((path.parent / given["language_model"]).resolve())
    if given.get("calibration"):
        try:
            given["calibration"] = Calibration(**{name: float(one) for name, one in given["calibration"].items()})
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: calibration is {given['calibration']}; expected slope and offset") from error
    try:
        return DecoderOptions(**given | {"hotwords": tuple(given.get("hotwords", ()))})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_options(options: DecoderOptions, path: Path) -> None:
    """A decoder.json that `read_options` reads from anywhere: `language_model` is a path from its folder."""
    made = asdict(options)
    if options.language_model:
        made["language_model"] = os.path.relpath(Path(options.language_model).resolve(), path.parent.resolve())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(made, indent=2, ensure_ascii=False) + "\n")
