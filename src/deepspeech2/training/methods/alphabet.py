"""Another alphabet for a trained model: the rows of its head go with their characters."""

import logging
import unicodedata
from collections.abc import Iterable

import torch
from torch import nn

from ...model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ...model.processing_deepspeech2 import DeepSpeech2Processor

logger = logging.getLogger(__name__)


@torch.no_grad()
def change_alphabet(
    model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor, characters: Iterable[str]
) -> DeepSpeech2Processor:
    """
    Gives a model a head for other characters, in place.

    Blank, space and every character that both alphabets have keep their rows, and so their logits; one with a mark, as
    the acute e, gets the row of the letter below the mark if there is one; any other the mean of all letters' rows,
    with which it starts as likely as they are on average. What became of each stands in the log.

    Args:
        model: whose `ctc_head` and configuration are changed.
        processor: the model's.
        characters: the new alphabet, one code point each; a space is added if it is missing.

    Returns:
        The processor of the new alphabet, which normalises as before.

    Raises:
        ValueError: characters that the processor's normalisation would never leave in a text.
    """
    characters = list(dict.fromkeys(characters))
    lost = [one for one in characters if one != " " and processor.normalize_text(one) != one]
    if lost:
        raise ValueError(
            f"new_characters has {', '.join(map(repr, lost))}, which no normalised text holds (text_case "
            f"{processor.text_case!r}); give the alphabet as the checkpoint spells it"
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
        letter = unicodedata.normalize("NFD", token)[0]
        if token == blank or token in old:
            kept.append(token)
            head.weight[index] = rows[old[old_blank if token == blank else token]]
        elif letter in old:
            from_letters.append(token)
            head.weight[index] = rows[old[letter]]
        else:
            fresh.append(token)
    model.ctc_head = head
    model.config.vocab_size = len(new)
    model.config.pad_token_id = new[blank]
    logger.info(
        "the head's %d rows: %d are those of their characters, %d of the letter below a mark (%s), %d are new (%s)",
        len(new),
        len(kept),
        len(from_letters),
        "".join(from_letters) or "none",
        len(fresh),
        "".join(fresh) or "none",
    )
    extractor = processor.feature_extractor
    options = {"text_case": processor.text_case, "removed_characters": processor.removed_characters}
    return DeepSpeech2Processor(extractor, tokenizer, **options)
