"""
Fine-tunes a DeepSpeech2 CTC model, or trains one from random weights, and reports its word error rate.

    accelerate launch recipes/finetune.py                                          # the embedded quickstart
    accelerate launch recipes/finetune.py recipes/librispeech/mini.yaml --dataset_name FOLDER
    accelerate launch --config_file accelerate_configs/multi_gpu.yaml recipes/finetune.py \
        recipes/librispeech/clean_100h.yaml

The same command again resumes a run that was stopped.
"""

import sys
import time
from pathlib import Path

from deepspeech2.arguments import RecipeError, parse_recipe
from deepspeech2.loading import (
    build_eval_stream,
    build_model,
    build_train_stream,
    estimate_epoch,
    load_eval_corpora,
    load_model,
    load_train_corpora,
)
from deepspeech2.runs import find_checkpoint, run_facts, save_results, score_splits, set_up_process, trained_steps
from deepspeech2.trainer import CTCTrainer, resolve_epochs

DEFAULT_CONFIG = Path(__file__).parent / "quickstart" / "config.yaml"


def main(argv: list[str]) -> int:
    try:
        model_arguments, data, augmentation, training, config_path = parse_recipe(argv, DEFAULT_CONFIG, __doc__)
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 2
    set_up_process(training)
    output_dir = Path(training.output_dir)

    corpora = load_train_corpora(data)
    flat = [corpus for joined in corpora for corpus in joined]
    results = {}
    if model_arguments.model_name_or_path:
        model, processor = load_model(model_arguments.model_name_or_path, model_arguments.model_revision)
        results["before fine-tuning"] = score_splits(model, processor, data, training, output_dir / "scores-before")
    else:
        model, processor = build_model(model_arguments, flat)

    batches_per_epoch = estimate_epoch(corpora, data, training)
    resolve_epochs(training, batches_per_epoch)
    batches_per_step = training.gradient_accumulation_steps * training.world_size
    trainer = CTCTrainer(
        model,
        training,
        processor,
        build_train_stream(corpora, model, processor, data, augmentation, training),
        build_eval_stream(load_eval_corpora(data, data.eval_split), processor, data, training),
        batches_per_epoch / batches_per_step if batches_per_epoch else None,
    )
    checkpoint = find_checkpoint(output_dir)
    started = time.perf_counter()
    if trained_steps(checkpoint) < training.max_steps:
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model()
    else:
        model, processor = load_model(str(output_dir))
    results["after training"] = score_splits(model, processor, data, training, output_dir / "scores-after")

    if trainer.is_world_process_zero():
        facts = run_facts(["accelerate", "launch", "recipes/finetune.py", *argv], model, training, time.perf_counter() - started)
        save_results(output_dir / "results.json", results, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
