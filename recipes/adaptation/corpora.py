"""
Corpora for adaptation, made from real speech: minutes of one person, a telephone among noise, another spelling.

prepare.py uses them.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile
import torch

from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.data.corpora import load_corpus
from deepspeech2.model.modeling_deepspeech2 import DeepSpeech2ForCTC
from deepspeech2.model.processing_deepspeech2 import DeepSpeech2Processor
from deepspeech2.training.methods.alphabet import change_alphabet

logger = logging.getLogger(__name__)

SAMPLING_RATE, TELEPHONE_RATE = 16000, 8000
# English in another spelling: some pairs of letters become one, x becomes two. Pairs first, in this order.
SPELLING = {
    "sh": "š", "ch": "č", "th": "þ", "ng": "ŋ", "ee": "é", "oo": "ů", "ph": "f", "qu": "kv", "ck": "k", "x": "ks",
}  # fmt: skip
RESPELT_CHARACTERS = " 'abcdefghijklmnopqrstuvwyzščþŋéů"  # no x

Clip = tuple[np.ndarray, dict]  # samples (N,) at 16 kHz and the row that they are of


def clips_of(dataset_name: str, config: str | None, split: str) -> Iterator[Clip]:
    """Yield the recordings of a corpus with their rows (id, text, speaker_id)."""
    for corpus in load_corpus(dataset_name, config, split):
        for row in corpus.stream:
            yield open_audio(row["audio"], SAMPLING_RATE), row


def in_order_of(seed: int, clips: list[Clip]) -> list[Clip]:
    """Return the clips shuffled by a seed."""
    return [clips[place] for place in np.random.default_rng(seed).permutation(len(clips))]


def take(clips: Iterable[Clip], minutes: float) -> list[Clip]:
    """Return clips in order, each one only if the total stays within `minutes`."""
    taken, left_s = [], 60.0 * minutes
    for samples, row in clips:
        if samples.size / SAMPLING_RATE <= left_s:
            taken.append((samples, row))
            left_s -= samples.size / SAMPLING_RATE
    return taken


def link(target: Path, name: Path) -> None:
    """
    Make a symbolic link to a folder. A link that is there is kept.

    Raises:
        ValueError: there is no such folder.
    """
    if not target.is_dir():
        raise ValueError(f"there is no folder {str(target)!r}; recipes/adaptation/README.md says what it is")
    if not name.exists():
        name.symlink_to(target.resolve())


def write_person(clips: list[Clip], folder: Path, minutes: float, pool_minutes: float, seed: int) -> None:
    """
    Write a corpus of one person with the splits train and test.

    Args:
        clips: the person's clips.
        folder: the folder of the corpus. A split that exists is kept.
        minutes: the minutes of train, drawn by the seed from the pool.
        pool_minutes: the minutes of the pool that all seeds draw from. The rest is the test, the same for all seeds.
        seed: the seed of the draw.

    Raises:
        ValueError: there are no clips beyond the pool.
    """
    clips = in_order_of(0, clips)
    pool = take(clips, pool_minutes)
    held = {row["id"] for _, row in pool}
    rest = [clip for clip in clips if clip[1]["id"] not in held]
    if not rest:
        total = sum(samples.size for samples, _ in clips) / SAMPLING_RATE / 60
        raise ValueError(
            f"the person has {total:.1f} minutes, all of them in the pool of {pool_minutes:g}; expected more, for the "
            "test: choose another person or a smaller pool"
        )
    write_split(folder, "train", take(in_order_of(seed, pool), minutes))
    write_split(folder, "test", rest)


def respell(text: str) -> str:
    """Respell English by `SPELLING`, in lower case: "the sheep" -> "þe šép"."""
    text = text.lower()
    for letters, replacement in SPELLING.items():
        text = text.replace(letters, replacement)
    return text


def write_respelt(splits: Mapping[str, Iterable[Clip]], folder: Path) -> None:
    for split, clips in splits.items():
        write_split(folder, split, ((samples, row | {"text": respell(row["text"])}) for samples, row in clips))


def write_fresh_head(model_name: str, characters: str, folder: Path, seed: int = 0) -> None:
    """Write a copy of a model with a random head for `characters`, as a baseline for `change_alphabet`."""
    if folder.is_dir():
        return
    model = DeepSpeech2ForCTC.from_pretrained(model_name)
    processor = change_alphabet(model, DeepSpeech2Processor.from_pretrained(model_name), characters)
    torch.manual_seed(seed)
    model.ctc_head.reset_parameters()
    partial = folder.with_name(f"{folder.name}.partial")
    model.save_pretrained(partial)
    processor.save_pretrained(partial)
    partial.rename(folder)


def write_split(
    folder: Path, split: str, clips: Iterable[Clip], rate: int = SAMPLING_RATE, subtype: str = "PCM_16"
) -> None:
    """Write a split of an audio folder atomically. A split that exists is kept."""
    if (folder / split).is_dir():
        return
    partial = folder / f"{split}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    lines, seconds = ["file_name\ttext\tid\tspeaker_id"], 0.0
    for samples, row in clips:
        soundfile.write(partial / f"{row['id']}.wav", samples, rate, subtype=subtype)
        lines.append(f"{row['id']}.wav\t{row['text']}\t{row['id']}\t{row.get('speaker_id') or ''}")
        seconds += samples.size / rate
    (partial / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.rename(folder / split)
    logger.info("%s: %d recordings, %.1f minutes", folder / split, len(lines) - 1, seconds / 60)
