"""
Fine-tunes a DeepSpeech2 CTC model, or trains one from random weights, and reports its word error rate.

    accelerate launch recipes/finetune.py
    accelerate launch recipes/finetune.py recipes/librispeech/mini.yaml --dataset_name FOLDER
    accelerate launch --config_file accelerate_configs/multi_gpu.yaml recipes/finetune.py \
        recipes/librispeech/clean_100h.yaml

Without a config it is the quickstart's. The same command again resumes a run that was stopped.
"""

import copy
import sys
from pathlib import Path

from accelerate import PartialState
from transformers import set_seed

from deepspeech2 import DeepSpeech2ForCTC
from deepspeech2.config.parser import parse_recipe
from deepspeech2.data.splits import load_eval_splits, load_train_corpora, load_unlabelled
from deepspeech2.evaluation.reports import card_metadata
from deepspeech2.evaluation.scoring import say_what_it_brought
from deepspeech2.system.command_line import end_run
from deepspeech2.training.data_check.check import check_before_training
from deepspeech2.training.hub import PushCheckpoints, open_repository, push_run
from deepspeech2.training.methods.adaptation import Adaptation
from deepspeech2.training.plan import fix_statistics, load_or_build, plan_training
from deepspeech2.training.results import write_up
from deepspeech2.training.run import hold_to_recipe, score_splits, set_up_process, train

DEFAULT_CONFIG = Path(__file__).parent / "quickstart" / "config.yaml"


def main(argv: list[str]) -> None:
    arguments = parse_recipe(argv, DEFAULT_CONFIG, __doc__)
    model_arguments, data, augmentation, adaptation_arguments, objective, training, settings = arguments
    set_up_process(training)
    output_dir = Path(training.output_dir)
    hold_to_recipe(training, settings)
    callbacks = []
    if training.push_to_hub and training.process_index == 0:
        account = {"token": training.hub_token, "private": training.hub_private_repo}
        base, corpus_names = model_arguments.model_name_or_path or None, list(dict.fromkeys(data.dataset_name))
        metadata = card_metadata(base, model_arguments.language, model_arguments.license, corpus_names)
        training.hub_model_id = open_repository(output_dir, training.hub_model_id, metadata, **account)
        if training.hub_strategy == "every_save":
            callbacks.append(PushCheckpoints(training.hub_model_id, token=training.hub_token))
    corpora = load_train_corpora(data)
    eval_corpora, splits = load_eval_splits(data)
    unlabelled = load_unlabelled(data)

    start = (adaptation_arguments.new_characters, adaptation_arguments.adapter_size)
    model, processor = load_or_build(model_arguments, corpora, *start)
    fix_statistics(processor, corpora, data, training)
    plan = plan_training(corpora, model, processor, data, augmentation, training, unlabelled)
    adaptation = Adaptation(adaptation_arguments, model, training.max_steps)
    scored = {data.eval_split: eval_corpora} | splits
    check_before_training(plan.stream, scored, processor, data, training, unlabelled)

    results = {}
    if model_arguments.model_name_or_path:
        before = score_splits(model, processor, splits, data, training, output_dir / "scores-before")
        results["before fine-tuning"] = before
    model = train(model, processor, plan, eval_corpora, data, training, callbacks, objective, adaptation)
    after = score_splits(model, processor, splits, data, training, output_dir / "scores-after")
    results["after training"] = after
    say_what_it_brought(results.get("before fine-tuning", {}), after)

    if training.compare_with_scratch:
        rival_training = copy.deepcopy(training)
        rival_training.output_dir = str(output_dir / "from-random-weights")
        set_seed(training.seed)
        rival = DeepSpeech2ForCTC(model.config)
        plan = plan_training(corpora, rival, processor, data, augmentation, rival_training, unlabelled)
        rival = train(rival, processor, plan, eval_corpora, data, rival_training, objective=objective)
        folder = output_dir / "scores-from-random-weights"
        results["same budget from random weights"] = score_splits(
            rival, processor, splits, data, rival_training, folder
        )

    if training.process_index == 0:
        command = ["recipes/finetune.py", *argv]
        try:
            facts = {"trained parameters": f"{adaptation.num_trained:,}"}
            write_up(results, splits, model, processor, settings, command, model_arguments, data, training, facts)
        finally:  # a report or a card that fails does not keep the weights back
            if training.push_to_hub:
                push_run(output_dir, training.hub_model_id, **account)
    PartialState().destroy_process_group()  # a process that ends without it can abort, its work done


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("finetune.py: stopped by Ctrl-C; the same command goes on from the last checkpoint")
    except (ValueError, OSError) as error:
        end_run("finetune.py", error)
