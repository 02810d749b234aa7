"""Run a teacher over recordings, and write its table: the confident transcripts, and a list of the rest."""

import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from accelerate.utils import gather_object

from ...data.manifests import write_transcripts
from .clips import ClipBatch, Cut, Drop
from .journal import Journal, Label
from .spelling import has_digits, spell_out
from .teachers import Teacher

logger = logging.getLogger(__name__)

REPORT_S = 30.0


@dataclass(frozen=True)
class Labels:
    """The transcripts of all processes, what could not be transcribed, and the recordings that were cut."""

    labels: list[Label]
    drops: list[Drop]
    cuts: list[Cut]

    def write(self, output_file: Path, min_confidence: float, spelled: bool = False) -> str:
        """
        Write the table of the confident transcripts, and `NAME.left_out.csv` with the others and the reasons.

        The table has the columns id, text and confidence, and audio, start_s, end_s and speaker_id if they are known.
        It is a `--dataset_name` by itself if it has audio, and a table for `--transcripts` by its ids.

        Args:
            min_confidence: the lowest confidence of a transcript in the table.
            spelled: whether to spell English texts out, see `spell_out`.

        Returns:
            What is in the table and what is not, for the user.

        Raises:
            ValueError: there is no transcript, or none is confident.
            ImportError: num2words is missing.
        """
        labels = [one._replace(text=spell_out(one.text)) for one in self.labels] if spelled else self.labels
        kept = [one for one in labels if one.text and one.confidence >= min_confidence]
        left_out = list(self.drops)
        left_out += [Drop(one.id, "silent", f"{one.left_out_s:.1f} s") for one in self.cuts if not one.parts]
        for one in labels:
            if not one.text:
                left_out.append(Drop(one.clip.id, "no_text", "the teacher writes nothing"))
            elif one.confidence < min_confidence:
                left_out.append(Drop(one.clip.id, "low_confidence", f"{one.confidence:.4f}", one.text))
        listed = output_file.with_name(f"{output_file.stem}.left_out.csv")
        output_file.parent.mkdir(parents=True, exist_ok=True)
        write_transcripts(listed, Drop._fields, left_out)
        if not kept:
            why = self._nothing(labels, min_confidence)
            raise ValueError(f"{output_file} is not written: {why}; {listed} lists all")
        _write_table(output_file, kept)
        return self._summary(output_file, listed, labels, kept, left_out, min_confidence)

    def _nothing(self, labels: list[Label], min_confidence: float) -> str:
        if not labels:
            return f"no recording is readable ({_counts(self.drops) or 'there is none'})"
        middle = median(one.confidence for one in labels)
        return (
            f"none of {len(labels):,} utterances has a confidence of {min_confidence} or more, and their median is "
            f"{middle:.2f}; lower --min_confidence"
        )

    def _summary(
        self,
        output_file: Path,
        listed: Path,
        labels: list[Label],
        kept: list[Label],
        left_out: list[Drop],
        min_confidence: float,
    ) -> str:
        minutes = [sum(one.clip.duration_s for one in some) / 60 for some in (kept, labels)]
        lines = [
            f"{output_file}: {len(kept):,} of {len(labels):,} utterances, {minutes[0]:.1f} of {minutes[1]:.1f} "
            f"minutes, have a text and a confidence of {min_confidence} or more; the median is "
            f"{median(one.confidence for one in labels):.2f}"
        ]
        if left_out:
            lines.append(f"left out: {_counts(left_out)}; {listed} lists them")
        if self.cuts:
            parts, silence_s = sum(one.parts for one in self.cuts), sum(one.left_out_s for one in self.cuts)
            lines.append(
                f"{len(self.cuts):,} long recordings are cut into {parts:,} parts, without {silence_s:,.0f} s of long "
                "silence"
            )
        if digits := [one for one in kept if has_digits(one.text)]:
            lines.append(
                f"{len(digits):,} texts have digits, such as {digits[0].text!r}: training drops them as "
                "unknown_characters if the model has no digits. Run this again with --spell_out for English, which "
                "takes seconds, or give the model digits by new_characters"
            )
        if all(one.clip.audio for one in kept):
            lines.append(f"train on it: --dataset_name {output_file}")
        else:
            lines.append(f"train on it: the same --dataset_name, with --transcripts {output_file}")
        return "\n".join(lines)


def label(teacher: Teacher, batches: Iterable[ClipBatch], journal: Journal) -> Labels:
    """
    Return the transcripts of all clips, with those that the journal has. Every process transcribes its share, and gets
    all results.

    Args:
        teacher: the model.
        batches: the batches of a `ClipStream`, without what the journal has.
        journal: gets each batch as soon as it is transcribed.
    """
    drops: list[Drop] = []
    count, audio_s, start = 0, 0.0, time.perf_counter()
    said = start
    if journal.labels:
        logger.info("%d transcripts are there from an earlier run, which goes on", len(journal.labels))
    for batch in batches:
        texts = teacher.transcribe(batch.inputs) if batch.clips else []
        made = [Label(clip, *one) for clip, one in zip(batch.clips, texts, strict=True)]
        journal.add(made, batch.cuts)
        drops += batch.drops
        count, audio_s = count + len(made), audio_s + sum(one.clip.duration_s for one in made)
        now = time.perf_counter()
        if now - said > REPORT_S:
            logger.info("%d clips, %.1f min, RTFx %.1f", count, audio_s / 60, audio_s / (now - start))
            said = now
    # A journal of another machine may not be here, so that the processes exchange what they have.
    found = {one.clip.id: one for one in gather_object(list(journal.labels.values()))}
    cuts = {one.id: one for one in gather_object(list(journal.cuts.values()))}
    return Labels([found[name] for name in sorted(found)], sorted(gather_object(drops)), list(cuts.values()))


def _counts(drops: Iterable[Drop]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(one.reason for one in drops).most_common())


def _write_table(path: Path, kept: list[Label]) -> None:
    """Write the columns that have a value, and id, text and confidence."""
    columns = {
        "id": [one.clip.id for one in kept],
        "audio": [one.clip.audio for one in kept],
        "start_s": [_seconds(one.clip.start_s) for one in kept],
        "end_s": [_seconds(one.clip.end_s) for one in kept],
        "speaker_id": [one.clip.speaker_id for one in kept],
        "text": [one.text for one in kept],
        "confidence": [f"{one.confidence:.4f}" for one in kept],
    }
    columns = {name: values for name, values in columns.items() if any(values)}
    write_transcripts(path, tuple(columns), list(zip(*columns.values(), strict=True)))


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
