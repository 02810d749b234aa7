"""
From a grammar to a recogniser of its commands: the speech to train on, and the calibration after it.

>>> recipe = speak_commands(recipe)  # adds the spoken grammar to the training corpora
>>> calibrate_commands(recipe, model, processor)  # adds grammar.yaml and commands.json to the folder of the model
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
from tqdm import tqdm

from ...config.arguments import DataArguments, Recipe
from ...data.audio.recordings import open_audio
from ...data.augmentation import Augmentation, draw_silences_s, surround
from ...data.corpora import load_corpus
from ...data.grammars.grammar import spoken_texts
from ...data.grammars.reading import read_grammar
from ...data.synthesis.grammar_corpus import speak_grammar
from ...model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ...model.processing_deepspeech2 import DeepSpeech2Processor
from ...system.devices import count_workers
from ...system.files import has_started, write_whole
from ..long_form import Listener
from .recognition import ACCEPTANCE_NAME, GRAMMAR_NAME, CommandRecogniser, load_recogniser, write_acceptance
from .rejection import Judged, find_acceptance, judge, near_misses, summary, warning
from .utterances import command_log_probs

logger = logging.getLogger(__name__)

SEED = 50  # of the noise in the calibration


def speak_commands(recipe: Recipe) -> Recipe:
    """
    Return a recipe whose first training corpus is its grammar, spoken by synthetic voices. Without a grammar, the
    recipe is returned as it is. The speech is made once, and a stopped run goes on where it was.

    Raises:
        ValueError: the grammar is wrong, or `output_dir` holds a run with another grammar.
        ImportError: hibari-tts is missing.
    """
    asked = recipe.commands
    if not asked.grammar:
        return recipe
    grammar = read_grammar(Path(asked.grammar))
    own = recipe.training.folder / GRAMMAR_NAME
    if recipe.training.process_index == 0:
        _hold_grammar(Path(asked.grammar), own)
    folder = speak_grammar(
        Path(datasets.config.HF_DATASETS_CACHE) / "deepspeech2-synthetic",
        grammar,
        minutes_train=asked.speech_minutes,
        minutes_validation=asked.speech_minutes / 20,
        minutes_test=asked.speech_minutes / 3,
        kokoro_voices=Path(asked.kokoro_voices) if asked.kokoro_voices else None,
        seed=recipe.training.stream_seed,
        num_proc=count_workers(0),
    )
    logger.info("the grammar is spoken in %s", folder)
    return replace(recipe, data=_with_first(recipe.data, str(folder)))


def _hold_grammar(given: Path, own: Path) -> None:
    """Copy the grammar into the folder of the run, or refuse to change that of a run that has begun."""
    text = given.read_text(encoding="utf-8")
    if own.is_file() and has_started(own.parent) and own.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{own.parent} holds a run with another grammar than {given}: {own} differs. Choose another --output_dir, "
            "or remove the folder"
        )
    own.parent.mkdir(parents=True, exist_ok=True)
    write_whole(own, text)


def _with_first(data: DataArguments, folder: str) -> DataArguments:
    """Return the arguments with one more training corpus, before all others."""
    count = data.num_corpora[0] if data.dataset_name else 0
    names = data.dataset_name * count if len(data.dataset_name) == 1 else data.dataset_name
    columns: dict[str, list[str]] = {"dataset_name": [folder, *names]}
    first = {"dataset_config": "-", "train_split": "train", "dataset_revision": "", "transcripts": "-"}
    for name, own in first.items():
        if others := getattr(data, name):
            columns[name] = [own, *(others * count if len(others) == 1 else others)] if count else [own]
    return replace(data, **columns)  # type: ignore[arg-type]


def calibrate_commands(recipe: Recipe, model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor) -> dict[str, str]:
    """
    Calibrate the rejection threshold on the test split of the spoken grammar, with the noise, the rooms and the silence
    of training, and write it beside the model.

    Returns:
        What the threshold does on the same speech, by name. Nothing without a grammar.
    """
    if not recipe.commands.grammar:
        return {}
    folder = recipe.training.folder
    recogniser = load_recogniser(model, processor, folder / GRAMMAR_NAME)
    listener = Listener(model.eval(), processor)
    quiet = recipe.training.disable_tqdm
    spoken = list(tqdm(_log_probs(recipe, listener, recogniser), desc="calibration", unit="clip", disable=quiet))
    judged, mixed_up = divide_mixed_up(recogniser, judge(recogniser, spoken))
    hard = [*near_misses(recogniser, tqdm(spoken, desc="near misses", unit="clip", disable=quiet)), *mixed_up]
    try:
        acceptance = find_acceptance(judged, hard, recipe.commands.false_accepts, recipe.commands.hard_accepts)
    except ValueError as error:
        logger.warning(
            "there is no rejection threshold: %s. Train for longer, or run recipes/commands/calibrate.py with other "
            "speech",
            error,
        )
        return {"rejection threshold": f"none: {error}"}
    facts = {name: str(share) for name, share in summary(judged, hard, acceptance.threshold).items()}
    write_acceptance(folder / ACCEPTANCE_NAME, acceptance, {"speech": "synthetic, with noise", **facts})
    logger.info("rejection threshold %.2f, on synthetic speech with noise", acceptance.threshold)
    for name, share in facts.items():
        logger.info("%s: %s", name, share)
    if doubt := warning(judged, recipe.commands.false_accepts):
        logger.warning(doubt)
    return {f"synthetic {name}": share for name, share in facts.items()}


def divide_mixed_up(recogniser: CommandRecogniser, judged: Iterable[Judged]) -> tuple[list[Judged], list[Judged]]:
    """
    Divide utterances into commands and other speech, and mixed-up words of the grammar. These are near misses: they are
    far harder to reject than what people say to each other, and hardly anybody says them.
    """
    normalize = recogniser.processor.normalize_text
    words = {word for text in spoken_texts(recogniser.grammar) for word in normalize(text).split()}
    divided: tuple[list[Judged], list[Judged]] = ([], [])
    for one in judged:
        said = set(normalize(one.text).split())
        divided[one.meant is None and said <= words].append(one)
    return divided


def _log_probs(
    recipe: Recipe, listener: Listener, recogniser: CommandRecogniser
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield id, text and log-probabilities (T', V) of the test clips, in noise."""
    rate = listener.sampling_rate
    augmentation = Augmentation(replace(recipe.augmentation, speed_perturbation=0.0), rate, np.zeros(1))
    for corpus in load_corpus(recipe.data.dataset_name[0], split="test"):
        for place, row in enumerate(corpus.stream):
            rng = np.random.default_rng([recipe.training.stream_seed, SEED, place])
            samples = open_audio(row["audio"], rate)
            samples = surround(samples, draw_silences_s(recipe.augmentation.silence_s, rng), rate, rng)
            log_probs, _ = command_log_probs(listener, recogniser, augmentation.waveform(samples, rng))
            yield row["id"], row["text"], log_probs
