"""
Prefix beam search with a word n-gram language model, by ctc-beam-decoder.

The search sums over all alignments of a text, as CTC does. The vocabulary is open: an unknown word has a cost, but can
be written. The hotword bonus is paid letter by letter. ctc-beam-decoder repeats the search of pyctcdecode in C++.
pyctcdecode itself needs a numpy below 2.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

Search = Callable[[np.ndarray], str]  # (T, V) log-probabilities -> text

INSTALL = "pip install ctc-beam-decoder==0.2.0"
TOKEN_MIN_LOG_PROB = -5.0  # less likely symbols are skipped, except a frame's likeliest one; -7 takes twice as long
BEAM_MIN_LOG_PROB = -10.0  # how far a beam's score may be below the best one
IMPOSSIBLE_LOG_PROB = -30.0  # the library clips log-probabilities at -34.5
END = "</s>"
_MINUS_INF = -1e9


def build_search(
    tokens: Sequence[str],
    blank: int,
    *,
    language_model: Path | None,
    alpha: float,
    beta: float,
    unknown_score: float,
    beam_size: int,
    hotwords: Sequence[str] = (),
    hotword_weight: float = 10.0,
    thorough: bool = False,
) -> Search:
    """
    Build a search for the text with the highest ln p(text | audio) + alpha * ln p(text) + beta * words.

    Args:
        tokens: the character of each id. One of them is the space.
        blank: the id of the blank.
        language_model: an ARPA file of words. None searches without a language model.
        alpha: language model weight.
        beta: word insertion bonus, in nats per word.
        unknown_score: added to the log10 probability of a word that is not in the language model.
        beam_size: number of beams kept at each frame.
        hotwords: words and phrases that get a bonus, in the model's spelling.
        hotword_weight: the bonus in nats per hotword.
        thorough: whether only `beam_size` prunes, for exact results on small problems.

    Raises:
        ImportError: ctc-beam-decoder is not installed.
        ValueError: the language model cannot be read.
    """
    try:
        from ctc_beam_decoder import build_ctcdecoder
    except ImportError as error:
        raise ImportError(f"{error}; beam search needs ctc-beam-decoder: {INSTALL}") from None
    if language_model and not language_model.is_file():
        raise ValueError(f"the language model {str(language_model)!r} does not exist; recipes/train_lm.py makes one")
    labels = ["" if index == blank else token for index, token in enumerate(tokens)]
    spelled = [word for phrase in hotwords for word in phrase.split()]  # so that their prefixes are not unknown words
    words = [*arpa_words(language_model), *spelled, END] if language_model else None
    with _loading(language_model):
        decoder = build_ctcdecoder(
            [*labels, END], language_model, words, alpha=alpha, beta=beta, unk_score_offset=unknown_score
        )
    # Without an end marker the search scores the last word again, as an unknown one, if a space may follow it. So each
    # text ends with a space and the word </s>, both with probability 1. Their cost is the same for all texts, except
    # for the probability of </s> in the language model.
    closing = np.full((2, len(tokens) + 1), _MINUS_INF, np.float32)
    closing[0, labels.index(" ")] = closing[1, -1] = 0.0
    prune, token_min = (_MINUS_INF, IMPOSSIBLE_LOG_PROB) if thorough else (BEAM_MIN_LOG_PROB, TOKEN_MIN_LOG_PROB)

    def search(log_probs: np.ndarray) -> str:
        column = np.full((len(log_probs), 1), _MINUS_INF, np.float32)
        beams = decoder.decode_beams(
            np.concatenate([np.concatenate([log_probs, column], axis=1), closing]),
            beam_width=beam_size,
            beam_prune_logp=prune,
            token_min_logp=token_min,
            prune_history=not thorough,
            hotwords=list(hotwords),
            hotword_weight=hotword_weight,
        )
        return beams[0][0].removesuffix(END).rstrip() if beams else ""

    return search


@contextmanager
def _loading(language_model: Path | None) -> Iterator[None]:
    """
    Silence KenLM while it reads a file. It writes its progress directly to file descriptor 2.

    Raises:
        ValueError: KenLM cannot read the file.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the language model {str(language_model)!r} cannot be read: {error}") from error
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def arpa_words(path: Path) -> list[str]:
    """
    Return the words of an ARPA file, without <s>, </s> and <unk>.

    Raises:
        ValueError: the file does not exist, or is not an ARPA file.
    """
    try:
        with path.open(encoding="utf-8") as file:
            if next(file, "").strip() != "\\data\\":
                raise ValueError(
                    f"{path} is not an ARPA file: its first line is not \\data\\. recipes/train_lm.py writes one"
                )
            words = []
            for line in file:
                if line.startswith("\\2-grams:") or line.startswith("\\end\\"):
                    break
                fields = line.split("\t")
                if len(fields) > 1:
                    words.append(fields[1].strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the language model {str(path)!r} cannot be read: {error}") from error
    return [word for word in words if word not in ("<s>", "</s>", "<unk>")]
