"""The decoder of the model that a run started from: is it one for the trained model too?"""

import logging
from pathlib import Path

from ..decoding.decoder import Decoder, DecoderWorkers, frame_times
from ..decoding.options import DECODER_NAME, read_options, save_options
from ..evaluation.scoring import score_model
from ..system.heartbeat import naming_the_lost
from .plan import build_eval_stream
from .start import Run

logger = logging.getLogger(__name__)


def carry_decoder(source: Path | None, trained: Run) -> dict[str, str]:
    """
    Put the decoder of the starting model, with its language model, beside a trained one if it lowers the WER of
    `eval_split`: a language model of books need not fit other speech. Every process takes part.

    Args:
        source: the decoder.json of the starting model, or None. Only beam search is carried: a calibration alone is
            that of another model.
        trained: the run with the trained model. A decoder.json in its folder is left as it is.

    Returns:
        What became of the decoder, for the report and the model card. Empty if there was none.
    """
    folder, split = trained.recipe.training.folder, trained.recipe.data.eval_split
    if source is None or (folder / DECODER_NAME).is_file():
        return {}
    options = read_options(source)
    if not options.beam_size:
        return {}
    if not trained.speech.validation:
        return _said(f"{source} is not carried along, because the run has no eval_split to try it on")
    model, processor = trained.model, trained.processor
    try:
        decoder = Decoder(processor, *frame_times(model, processor), options)
    except (ImportError, ValueError) as error:
        return _said(f"{source} is not carried along, because it cannot be tried: {error}")
    greedy, beam = (_wer(trained, None), _wer(trained, decoder))
    found = f"on {split} it has a WER of {100 * beam:.2f} %, and greedy decoding {100 * greedy:.2f} %"
    if beam >= greedy:
        return _said(f"{source} is not carried along: {found}")
    if trained.recipe.training.process_index == 0:
        save_options(options, folder)
    return _said(f"{source} is carried along: {found}")


def _said(what: str) -> dict[str, str]:
    logger.info("%s", what)
    return {"decoder": what}


def _wer(run: Run, decoder: Decoder | None) -> float:
    training = run.recipe.training
    run.model.to(training.device)  # type: ignore[arg-type]
    batches = build_eval_stream(run.speech.validation, run.processor, run.recipe.data, training)
    with naming_the_lost(training.process_index, training.world_size):
        if decoder is None:
            return score_model(run.model, run.processor, batches)[0].wer
        with DecoderWorkers(decoder, 1) as decoding:
            return score_model(run.model, run.processor, batches, decoding)[0].wer
