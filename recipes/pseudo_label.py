"""
Transcribe speech without transcripts by a teacher, and write the confident transcripts to a table to train on.

    python recipes/pseudo_label.py openai/whisper-large-v3-turbo --language en --spell_out \\
        --output_file my_labels.csv --dataset_name my_recordings
    accelerate launch recipes/finetune.py recipes/own_recordings.yaml --dataset_name my_labels.csv

The teacher is any model that transformers' speech recognition pipeline loads (Whisper, wav2vec2, Parakeet with CTC,
...), a DeepSpeech2, or a folder of Whisper in CTranslate2's format. The corpus can be a bare folder of recordings, of
any length. Existing transcripts are not read. The same command goes on with a stopped run. After it, another
--min_confidence or --spell_out takes seconds.

The confidence of a transcript is the geometric mean of the probabilities of its letters, with CTC over the frames in
which a letter is the most likely symbol, or of its tokens.
"""

import argparse

from accelerate import PartialState

from deepspeech2.config import options
from deepspeech2.config.arguments import DataArguments
from deepspeech2.data.splits import load_unlabelled
from deepspeech2.data.streams import build_eval_loader
from deepspeech2.inference.pseudo_labels import ClipStream, Journal, label, load_teacher
from deepspeech2.system.command_line import run
from deepspeech2.system.devices import count_readers, set_up_process


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/pseudo_label.py", __doc__)
    options.add_model_argument(parser, "teacher", "folder of a model of transformers")
    parser.add_argument(
        "--min_confidence",
        type=float,
        help="minimum confidence of a transcript, from 0 to 1 (default: 0.9 with CTC, 0.55 for an encoder-decoder)",
    )
    parser.add_argument(
        "--max_duration_s",
        type=float,
        default=20.0,
        help="longest clip in seconds; longer recordings are cut at pauses; at most 30 for Whisper (default: "
        "%(default)s, the longest that training takes)",
    )
    parser.add_argument(
        "--spell_out",
        action="store_true",
        help="write English in lower-case letters alone, with numbers and titles in words, as the starter needs it",
    )
    parser.add_argument("--language", help="language of the speech, such as en, for Whisper (default: it detects it)")
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="allow a teacher whose repository brings its own code"
    )
    options.add_split_options(parser, split="train", transcribed=False)
    options.add_compute_options(parser)
    options.add_output_file_option(
        parser, "outputs/pseudo_labels.csv", "CSV file to write; what is not in it goes to NAME.left_out.csv"
    )
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    device = set_up_process(args, shared=True)
    data = DataArguments(
        unlabelled_dataset_name=args.dataset_name,
        unlabelled_dataset_config=args.dataset_config or "",
        unlabelled_split=args.split,
        audio_column=args.audio_column,
        audio_root=args.audio_root,
    )
    teacher = load_teacher(args.teacher, device, args.language, args.trust_remote_code)
    given = ("language", "max_duration_s", "dataset_name", "dataset_config", "split", "audio_column", "audio_root")
    state = PartialState()
    settings = {"teacher": teacher.identity} | {name: getattr(args, name) for name in given}
    journal = Journal(args.output_file, settings, state.process_index)
    stream = ClipStream(
        load_unlabelled(data),
        teacher.features,
        teacher.sampling_rate,
        longest_s=teacher.longest_s,
        max_duration_s=args.max_duration_s,
        batch_seconds=args.batch_seconds,
        done=journal.done,
        rank=state.process_index,
        world_size=state.num_processes,
    )
    labels = label(teacher, build_eval_loader(stream, count_readers(device)), journal)
    state.destroy_process_group()
    if state.is_main_process:
        sure = teacher.min_confidence if args.min_confidence is None else args.min_confidence
        print(labels.write(args.output_file, sure, args.spell_out))
    return 0


if __name__ == "__main__":
    run(main)
