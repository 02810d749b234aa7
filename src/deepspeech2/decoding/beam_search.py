"""
Prefix beam search with a word n-gram language model, by ctc-beam-decoder.

The search sums over all alignments of a text, as CTC does. The vocabulary is open: an unknown word has a cost, but can
be written. The hotword bonus is paid letter by letter. ctc-beam-decoder repeats the search of pyctcdecode in C++.
pyctcdecode itself needs a numpy below 2.
"""

import gzip
import logging
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)

Search = Callable[[np.ndarray], str]  # (T, V) log-probabilities -> text

INSTALL = "pip install ctc-beam-decoder==0.2.0 (on Linux with glibc 2.35 or newer: Ubuntu 22.04, Debian 12, RHEL 10)"
TOKEN_MIN_LOG_PROB = -3.5  # less likely symbols are skipped, except a frame's likeliest one; -5 takes twice as long
HOTWORD_MIN_LOG_PROB = -5.0  # the same with hotwords, of which some letters are unlikely
BEAM_MIN_LOG_PROB = -10.0  # how far a beam's score may be below the best one
IMPOSSIBLE_LOG_PROB = -30.0  # the library clips log-probabilities at -34.5
END = "</s>"
FEW = 0.5  # a smaller share of words that can be written is suspicious
NUM_SHOWN = 5
GZIP = b"\x1f\x8b"
# How files begin that are no ARPA files, and what to do with them.
NOT_ARPA = {
    b"mmap lm http://kheafield.com": "is a KenLM binary, whose words cannot be listed; give the ARPA file that it was "
    "made from, .arpa or .arpa.gz",
    b"BZh": "is compressed by bzip2; decompress it, or compress it by gzip",
    b"\xfd7zXZ": "is compressed by xz; decompress it, or compress it by gzip",
    b"PK\x03\x04": "is a ZIP archive; unpack it",
}
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
        language_model: an ARPA file of words, also compressed by gzip. None searches without a language model.
        alpha: language model weight.
        beta: word insertion bonus, in nats per word.
        unknown_score: added to the log10 probability of a word that is not in the language model.
        beam_size: number of beams kept at each frame.
        hotwords: words and phrases that get a bonus, in the model's spelling.
        hotword_weight: the bonus in nats per hotword.
        thorough: whether only `beam_size` prunes, for exact results on small problems.

    Raises:
        ImportError: ctc-beam-decoder is not installed.
        ValueError: the language model cannot be read, or the model can write none of its words.
    """
    try:
        from ctc_beam_decoder import build_ctcdecoder
    except ImportError as error:
        raise ImportError(f"{error}; beam search needs ctc-beam-decoder: {INSTALL}") from None
    if language_model and not language_model.is_file():
        raise ValueError(f"language_model {str(language_model)!r} does not exist; recipes/train_lm.py makes one")
    labels = ["" if index == blank else token for index, token in enumerate(tokens)]
    spelled = [word for phrase in hotwords for word in phrase.split()]  # so that their prefixes are not unknown words
    words = None
    if language_model:
        known = arpa_words(language_model)
        check_words(known, set(labels), str(language_model))
        words = [*known, *spelled, END]
    with _loading(language_model):
        decoder = build_ctcdecoder(
            [*labels, END], language_model, words, alpha=alpha, beta=beta, unk_score_offset=unknown_score
        )
    # Without an end marker the search scores the last word again, as an unknown one, if a space may follow it. So each
    # text ends with a space and the word </s>, both with probability 1. Their cost is the same for all texts, except
    # for the probability of </s> in the language model.
    closing = np.full((2, len(tokens) + 1), _MINUS_INF, np.float32)
    closing[0, labels.index(" ")] = closing[1, -1] = 0.0
    prune, token_min = BEAM_MIN_LOG_PROB, HOTWORD_MIN_LOG_PROB if hotwords else TOKEN_MIN_LOG_PROB
    if thorough:
        prune, token_min = _MINUS_INF, IMPOSSIBLE_LOG_PROB

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
        # KenLM names the place in its own code first, and the fault in the last line.
        fault = str(error).rpartition("\n")[2].removeprefix(f"could not load language model {language_model}: ")
        raise ValueError(
            f"language_model {str(language_model)!r} cannot be read: {fault}. If it is cut off, copy or make it again"
        ) from error
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def check_words(words: Sequence[str], alphabet: set[str], name: str) -> None:
    """
    Check that a model can write the words of a language model. If it can write few of them, log a warning.

    Args:
        words: the words of the language model.
        alphabet: the characters that the model can write.
        name: the language model, for messages.

    Raises:
        ValueError: it can write none of them.
    """
    if not words:
        raise ValueError(
            f"language_model {name!r} has no words; expected lines such as '-1.5<TAB>word<TAB>-0.3' below \\1-grams:, "
            "with tabs between the columns. Make it again, or train one with recipes/train_lm.py"
        )
    strange = [word for word in words if not alphabet.issuperset(word)]
    if len(words) - len(strange) >= FEW * len(words):
        return
    shown = ", ".join(map(repr, strange[:NUM_SHOWN]))
    what = f"language_model {name!r}: the model can write {len(words) - len(strange):,} of its {len(words):,} words"
    missing = f"{what}, and not {shown}"
    for case, spell in (("lower case", str.lower), ("capitals", str.upper)):
        if sum(alphabet.issuperset(spell(word)) for word in strange) > len(strange) / 2:
            missing += f": the model writes {case}, and the language model does not"
    missing += ". Train it with recipes/train_lm.py --model, which spells the text as the model does"
    if len(strange) == len(words):
        raise ValueError(missing)
    logger.warning("%s", missing)


def arpa_words(path: Path) -> list[str]:
    """
    Return the words of an ARPA file, which may be compressed by gzip, without <s>, </s> and <unk>.

    Raises:
        ValueError: the file does not exist, or is not an ARPA file.
    """
    words: list[str] = []
    try:
        with path.open("rb") as raw:
            start = raw.read(32)
        for magic, what in NOT_ARPA.items():
            if start.startswith(magic):
                raise ValueError(f"language_model {str(path)!r} {what}")
        with gzip.open(path, "rt", encoding="utf-8") if start.startswith(GZIP) else path.open(encoding="utf-8") as file:
            first = next((line.strip() for line in file if line.strip()), "")
            if first == "\N{ZERO WIDTH NO-BREAK SPACE}\\data\\":
                raise ValueError(
                    f"language_model {str(path)!r} begins with a byte order mark, which KenLM cannot read. Remove it: "
                    "sed -i '1s/^\\xef\\xbb\\xbf//' FILE"
                )
            if first != "\\data\\":
                raise ValueError(
                    f"language_model {str(path)!r} is not an ARPA file: its first line is not \\data\\. "
                    "recipes/train_lm.py writes one"
                )
            for line in file:
                if line.startswith(("\\2-grams:", "\\end\\")):
                    break
                fields = line.split("\t")
                if len(fields) > 1:
                    words.append(fields[1].strip())
    except UnicodeDecodeError as error:
        raise ValueError(f"language_model {str(path)!r} cannot be read: it is not in UTF-8: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"language_model {str(path)!r} cannot be read: {error}") from error
    return [word for word in words if word.lower() not in ("<s>", "</s>", "<unk>")]
