"""
Fine-tune a DeepSpeech2 CTC model, or train one from random weights, and report its word error rate.

    accelerate launch recipes/finetune.py
    accelerate launch recipes/finetune.py recipes/librispeech/mini.yaml --dataset_name FOLDER
    accelerate launch --config_file accelerate_configs/multi_gpu.yaml recipes/finetune.py \\
        recipes/librispeech/clean_100h.yaml

Without a config file, the recipe runs recipes/quickstart/config.yaml. The defaults below are those of the config file,
or of the quickstart. To resume a run that was stopped, run the same command again.
"""

from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from deepspeech2.config.parser import parse_recipe
from deepspeech2.decoding.decoder import own_decoder
from deepspeech2.evaluation.scoring import say_what_it_brought
from deepspeech2.inference.voice_commands.from_grammar import calibrate_commands, speak_commands
from deepspeech2.system.command_line import run
from deepspeech2.training.data_check.check import check_before_training
from deepspeech2.training.hub import prepare_push, pushed
from deepspeech2.training.plan import plan_training
from deepspeech2.training.results import carry_decoder, write_up
from deepspeech2.training.rival import rival_beside
from deepspeech2.training.run import hold_to_recipe, score_splits, set_up_training, train, train_from_random_weights
from deepspeech2.training.start import start_run

DEFAULT_CONFIG = Path(__file__).parent / "quickstart" / "config.yaml"


def main(argv: list[str]) -> None:
    recipe = parse_recipe(argv, DEFAULT_CONFIG, __doc__)
    training = recipe.training
    set_up_training(training)
    hold_to_recipe(recipe)
    callbacks = prepare_push(recipe)
    start = start_run(speak_commands(recipe))
    plan = plan_training(start)
    check_before_training(start, plan.stream)

    results = {}
    if recipe.model.model_name_or_path and training.score_start:
        results["before fine-tuning"] = score_splits(start, training.folder / "scores-before")
    with rival_beside(recipe, argv, DEFAULT_CONFIG):  # for compare_with_scratch, where a core is free
        trained = replace(start, model=train(start, plan, callbacks))
        results["after training"] = score_splits(trained, training.folder / "scores-after")
        say_what_it_brought(results.get("before fine-tuning", {}), results["after training"])
        carried = carry_decoder(own_decoder(start.model), trained)
    if training.compare_with_scratch:
        results["same budget from random weights"] = train_from_random_weights(trained)

    if training.process_index == 0:
        facts = {"trained parameters": f"{plan.adaptation.num_trained:,}", **carried}
        with pushed(training):
            facts |= calibrate_commands(trained.recipe, trained.model, trained.processor)
            write_up(trained, results, ["recipes/finetune.py", *argv], facts)
    PartialState().destroy_process_group()  # otherwise a process can abort after its work is done


if __name__ == "__main__":
    run(main, stopped="stopped by Ctrl-C; run the same command to resume from the last checkpoint")
