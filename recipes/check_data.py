"""
Looks at all the data of a run before it is trained: what is wrong, how much, where, and what an epoch will cost.

    python recipes/check_data.py
    python recipes/check_data.py recipes/own_recordings.yaml --dataset_name FOLDER

Takes what recipes/finetune.py takes: put this name in its place. Writes index.html and problems.jsonl into
OUTPUT_DIR/check, and ends with status 1 on what is fatal. `--check_utterances N` looks at the first N of each split;
of a corpus on the Hub it is 1,000 unless told.
"""

import shlex
import sys
from pathlib import Path

from deepspeech2.config.parser import parse_recipe
from deepspeech2.data.splits import load_eval_splits, load_train_corpora, load_unlabelled
from deepspeech2.evaluation.reports import problems_table
from deepspeech2.system.command_line import end_run
from deepspeech2.training.data_check.check import describe, estimate_costs, judge, read_splits, write_check
from deepspeech2.training.data_check.problems import TRAINING
from deepspeech2.training.hub import without_token
from deepspeech2.training.plan import build_train_stream, fix_statistics, load_or_build
from deepspeech2.training.run import set_up_process

DEFAULT_CONFIG = Path(__file__).parent / "quickstart" / "config.yaml"


def main(argv: list[str]) -> int:
    model_arguments, data, augmentation, adaptation, _, training, settings = parse_recipe(argv, DEFAULT_CONFIG, __doc__)
    set_up_process(training)
    folder = Path(training.output_dir) / "check"
    training.output_dir = str(folder)  # the records of drops are no run's
    corpora = load_train_corpora(data)
    eval_corpora, scored = load_eval_splits(data)
    start = (adaptation.new_characters, adaptation.adapter_size)
    model, processor = load_or_build(model_arguments, corpora, *start)
    fix_statistics(processor, corpora, data, training)
    stream = build_train_stream(corpora, model, processor, data, augmentation, training)

    limit = settings.get("check_utterances")  # none given: all
    scored = {data.eval_split: eval_corpora} | scored
    splits = read_splits(stream, scored, processor, limit, training.dataloader_num_workers, load_unlabelled(data))
    sampled = bool(limit) or any(corpus.revision for corpus in stream.corpora)
    problems = judge(splits, processor, data, sampled=sampled)
    fatal = any(problem.severity == "fatal" for problem in problems)
    facts = describe(splits)
    if not fatal:
        facts |= estimate_costs(model, stream, splits[TRAINING], processor, training)
    command = without_token(shlex.join(["python", "recipes/check_data.py", *argv]), training.hub_token)
    report = write_check(folder, splits, problems, facts, title="The data before training", command=command)
    print(problems_table(problems) if problems else "no problems")
    print("\n".join(["", *(f"{name}: {text}" for name, text in facts.items()), f"Report: {report}"]))
    return int(fatal)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, ValueError, OSError) as error:
        end_run("check_data.py", error)
