"""Change the alphabet of a trained model: each row of the CTC head follows its character."""

import logging
import unicodedata
from collections.abc import Iterable

import torch
from torch import nn

from ...model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ...model.processing_deepspeech2 import JOINERS, DeepSpeech2Processor
from ...system.characters import describe_character

logger = logging.getLogger(__name__)


@torch.no_grad()
def change_alphabet(
    model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor, characters: Iterable[str]
) -> DeepSpeech2Processor:
    """
    Give a model a head for other characters, in place.

    Blank, space and all characters of both alphabets keep their rows, and so their logits. A letter with a diacritic,
    such as é, gets the row of its base letter if the old alphabet has it, and a letter in another case that of the
    letter. Every other character gets the mean of the rows of all letters, so it starts with an average probability.
    The log lists the three kinds.

    Args:
        model: its `ctc_head` and configuration are changed.
        processor: the processor of the model.
        characters: the new alphabet, one code point each. A space is added if it is missing.

    Returns:
        The processor of the new alphabet, with the same normalisation.

    Raises:
        ValueError: the normalisation of the processor removes or changes some of the characters.
    """
    characters = list(dict.fromkeys(characters))
    lost = [one for one in characters if one not in f" {JOINERS}" and processor.normalize_text(one) != one]
    if lost:
        raise ValueError(
            f"new_characters has {', '.join(map(describe_character, lost))}, but normalisation never leaves them in a "
            f"text (text_case is {processor.text_case!r}); use that case and spelling, or set text_case"
        )
    tokenizer = DeepSpeech2Processor.build_tokenizer(characters)
    old, new = processor.tokenizer.get_vocab(), tokenizer.get_vocab()
    old_blank, blank = processor.tokenizer.pad_token, tokenizer.pad_token
    rows = model.ctc_head.weight
    letters = [index for token, index in old.items() if token not in (old_blank, " ")]
    head = nn.Linear(rows.shape[1], len(new), bias=False, device=rows.device, dtype=rows.dtype)
    head.weight.copy_(rows[letters].mean(0).expand(len(new), -1))
    kept, from_letters, fresh = [], [], []
    for token, index in new.items():
        base = unicodedata.normalize("NFD", token)[0]
        near = [one for one in (base, base.upper().lower(), base.upper()) if one in old]
        if token == blank or token in old:
            kept.append(token)
            head.weight[index] = rows[old[old_blank if token == blank else token]]
        elif near:
            from_letters.append(token)
            head.weight[index] = rows[old[near[0]]]
        else:
            fresh.append(token)
    model.ctc_head = head
    model.config.vocab_size = len(new)
    model.config.pad_token_id = new[blank]
    logger.info(
        "the new head has %d rows: %d kept, %d copied from the base letter (%s), %d new (%s)",
        len(new),
        len(kept),
        len(from_letters),
        ", ".join(map(describe_character, from_letters)) or "none",
        len(fresh),
        ", ".join(map(describe_character, fresh)) or "none",
    )
    extractor = processor.feature_extractor
    options = {"text_case": processor.text_case, "removed_characters": processor.removed_characters}
    return DeepSpeech2Processor(extractor, tokenizer, **options)
