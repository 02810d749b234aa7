"""The options of a decoder, and the file decoder.json that stores them."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from ..config.suggestions import did_you_mean
from ..system.files import write_whole
from .calibration import Calibration

DECODER_NAME = "decoder.json"


@dataclass(frozen=True)
class DecoderOptions:
    """
    The content of decoder.json. If `beam_size` is 0, decoding is greedy and only `calibration` is used.

    Args:
        beam_size: number of beams kept at each frame. 0 means greedy decoding: the likeliest symbol of each frame.
        language_model: an ARPA file of words, as recipes/train_lm.py writes it, also compressed by gzip.
        alpha: language model weight: the factor of its log-probability.
        beta: word insertion bonus in nats per word. It offsets the language model's preference for few words.
        unknown_score: added to the log10 probability of a word that is not in the language model.
        hotwords: words and phrases that get a bonus.
        hotword_weight: the bonus in nats per hotword.
        calibration: the calibration of confidences, as recipes/calibrate.py fits it.

    Raises:
        ValueError: a number is out of range, or an option needs beam search.
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
            raise ValueError(f"beam_size is {self.beam_size}; expected 0 (greedy decoding) or more, such as 100")
        if given and not self.beam_size:
            raise ValueError(
                f"{' and '.join(given)} need beam search, but beam_size is 0 (greedy decoding); set beam_size to 100, "
                "for example"
            )
        if self.alpha < 0:
            raise ValueError(f"alpha is {self.alpha}; expected 0 or more")


def read_options(path: Path) -> DecoderOptions:
    """
    Read options from a decoder.json. `language_model` is an absolute path, or relative to the folder of the file.

    Raises:
        ValueError: the file does not exist, is not a JSON object, has an unknown key, or has contradictory values.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the decoder {str(path)!r} cannot be read as JSON: {error}") from error
    known = {one.name: one.default for one in fields(DecoderOptions)}
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds a {type(given).__name__}; expected an object with some of {', '.join(known)}")
    if given.pop("lexicon", ""):  # earlier versions wrote "" for no lexicon
        raise ValueError(
            f"{path}: lexicon: the lexicon search was removed, because its error rate was higher. Remove the line, and "
            "tune alpha and beta again with recipes/tune_decoder.py"
        )
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{path}: unknown key {name!r}{did_you_mean(name, known)}")
        wanted = {tuple: list, float: (float, int), type(None): (dict, type(None))}.get(
            type(known[name]), type(known[name])
        )
        if not isinstance(value, wanted) or isinstance(value, bool):  # type: ignore[arg-type]
            example = '["word", "two words"]' if name == "hotwords" else repr(known[name])
            raise ValueError(f"{path}: {name} is {value!r}; expected a value such as {example}")
    wrong = [word for word in given.get("hotwords", ()) if not isinstance(word, str)]
    if wrong:
        raise ValueError(f"{path}: hotwords has {', '.join(map(repr, wrong))}; expected texts")
    if given.get("language_model"):
        given["language_model"] = str(_placed(path.parent / given["language_model"]))
    if given.get("calibration"):
        try:
            given["calibration"] = Calibration(**{name: float(one) for name, one in given["calibration"].items()})
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: calibration is {given['calibration']}; expected slope and offset") from error
    try:
        return DecoderOptions(**given | {"hotwords": tuple(given.get("hotwords", ()))})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_own_options(path: Path) -> DecoderOptions:
    """
    Read the decoder.json of a model, which may be a stranger's: it may name only a file in its folder.

    Raises:
        ValueError: as `read_options`, or the language model lies elsewhere.
    """
    options = read_options(path)
    if options.language_model and Path(options.language_model).parent != path.parent.resolve():
        raise ValueError(
            f"{path}: language_model {options.language_model!r} lies outside the model's folder. Put it there, or name "
            "the file by --decoder"
        )
    return options


def write_options(options: DecoderOptions, path: Path) -> None:
    """Write a decoder.json. `language_model` becomes relative to its folder, so that both can move together."""
    made = asdict(options)
    if options.language_model:
        made["language_model"] = os.path.relpath(_placed(Path(options.language_model)), path.parent.resolve())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(made, indent=2, ensure_ascii=False) + "\n")


def _placed(path: Path) -> Path:
    """Return an absolute path. A file that is a link keeps its name: in the Hub's cache all files are links."""
    return path.parent.resolve() / path.name


def save_options(options: DecoderOptions, folder: Path) -> Path:
    """
    Write a decoder.json with a copy of its language model into a folder, such as that of a model.

    Returns:
        The path of the decoder.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if options.language_model:
        source = Path(options.language_model)
        copied = folder / source.name
        if not (copied.exists() and copied.samefile(source)):
            partial = copied.with_name(f"{copied.name}.partial")
            shutil.copyfile(source, partial)
            partial.replace(copied)
        options = replace(options, language_model=str(copied))
    write_options(options, folder / DECODER_NAME)
    return folder / DECODER_NAME
