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

from transformers import set_seed

from deepspeech2 import DeepSpeech2ForCTC
from deepspeech2.hub import push_run
from deepspeech2.loading import build_model, load_model, load_train_corpora
from deepspeech2.parsing import parse_recipe
from deepspeech2.runs import hold_to_recipe, score_splits, set_up_process, train, write_up

DEFAULT_CONFIG = Path(__file__).parent / "quickstart" / "config.yaml"


def main(argv: list[str]) -> None:
    model_arguments, data, augmentation, training, settings = parse_recipe(argv, DEFAULT_CONFIG, __doc__)
    set_up_process(training)
    output_dir = Path(training.output_dir)
    hold_to_recipe(output_dir, settings)
    corpora = load_train_corpora(data)

    results = {}
    if model_arguments.model_name_or_path:
        model, processor = load_model(model_arguments.model_name_or_path, model_arguments.model_revision)
        results["before fine-tuning"] = score_splits(model, processor, data, training, output_dir / "scores-before")
    else:
        model, processor = build_model(model_arguments, [corpus for joined in corpora for corpus in joined])
    model = train(model, processor, corpora, data, augmentation, training)
    results["after training"] = score_splits(model, processor, data, training, output_dir / "scores-after")

    if training.compare_with_scratch:
        rival_training = copy.deepcopy(training)
        rival_training.output_dir = str(output_dir / "from-random-weights")
        rival_training.push_to_hub = False
        set_seed(training.seed)
        rival = DeepSpeech2ForCTC(model.config)
        rival = train(rival, processor, corpora, data, augmentation, rival_training)
        results["same budget from random weights"] = score_splits(
            rival, processor, data, rival_training, output_dir / "scores-from-random-weights"
        )

    if training.process_index == 0:
        command = ["accelerate", "launch", "recipes/finetune.py", *argv]
        write_up(results, model, settings, command, model_arguments, data, training)
        if training.push_to_hub:
            push_run(output_dir, training.hub_model_id, token=training.hub_token, private=training.hub_private_repo)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, ConnectionError) as error:  # the user's to mend: the message says it all
        sys.exit(f"finetune.py: {error}")
