"""
Check all the data of a run before training: report the problems, where they are, and the cost of an epoch.

    python recipes/check_data.py
    python recipes/check_data.py recipes/own_recordings.yaml --dataset_name FOLDER

The recipe takes the arguments of recipes/finetune.py. It writes index.html and problems.jsonl into OUTPUT_DIR/check.
The exit status is 1 if a problem is fatal. --check_utterances N checks only the first N utterances of each split. For
a corpus on the Hub, N is 1,000 by default.
"""

import shlex
from pathlib import Path

from deepspeech2.config.parser import parse_recipe
from deepspeech2.evaluation.reports import problems_table
from deepspeech2.inference.voice_commands.from_grammar import speak_commands
from deepspeech2.system.command_line import run
from deepspeech2.training.data_check.check import describe, estimate_costs, judge, read_splits, write_check
from deepspeech2.training.data_check.problems import TRAINING
from deepspeech2.training.hub import without_token
from deepspeech2.training.plan import build_train_stream
from deepspeech2.training.run import set_up_training
from deepspeech2.training.start import start_run

DEFAULT_CONFIG = Path(__file__).parent / "quickstart" / "config.yaml"


def main(argv: list[str]) -> int:
    recipe = parse_recipe(argv, DEFAULT_CONFIG, __doc__)
    training = recipe.training
    set_up_training(training)
    recipe = speak_commands(recipe)
    training.output_dir = str(training.folder / "check")  # the records of dropped utterances do not belong to a run
    start = start_run(recipe)
    stream = build_train_stream(start)

    limit = recipe.settings.get("check_utterances")  # none given: all
    splits = read_splits(start, stream, limit)
    sampled = bool(limit) or any(corpus.revision for corpus in stream.corpora)
    problems = judge(start, splits, sampled=sampled)
    fatal = any(problem.severity == "fatal" for problem in problems)
    facts = describe(splits)
    if not fatal:
        facts |= estimate_costs(start, stream, splits[TRAINING])
    command = without_token(shlex.join(["python", "recipes/check_data.py", *argv]), training.hub_token)
    report = write_check(training.folder, splits, problems, facts, title="The data before training", command=command)
    print(problems_table(problems) if problems else "no problems")
    print("\n".join(["", *(f"{name}: {text}" for name, text in facts.items()), f"Report: {report}"]))
    return int(fatal)


if __name__ == "__main__":
    run(main)
