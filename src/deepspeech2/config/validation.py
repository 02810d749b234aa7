"""Find the faults of a recipe: keys without effect, values out of range, values that contradict each other."""

import math
import os
import re
from pathlib import Path
from typing import Any

from transformers.integrations.integration_utils import get_available_reporting_integrations
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SaveStrategy

from .arguments import AugmentationArguments, DataArguments, Recipe, RecipeTrainingArguments
from .method_arguments import AdaptationArguments, CommandArguments, ObjectiveArguments

SHARDS = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")  # set by `accelerate launch`
# Keys of TrainingArguments that have no effect here, with the reason.
ANSWERED_ELSEWHERE = {
    "resume_from_checkpoint": "a run always resumes from the last checkpoint in its output_dir",
    "per_device_eval_batch_size": "batch_seconds sets the batches of evaluation too",
    "train_sampling_strategy": "the stream is shuffled and sorted by length in windows of window_size",
    "dataloader_drop_last": "the training stream is endless and has no last batch",
    "hub_revision": "the model is pushed to the branch main",
    "label_smoothing_factor": "use label_smoothing, which is defined for CTC",
    "save_only_model": "a checkpoint without the optimizer and the data position cannot be resumed",
    "dataloader_prefetch_factor": "each worker prefetches two batches",
    "dataloader_persistent_workers": "the data workers of training always persist",
    "auto_find_batch_size": "the batches are cut by batch_seconds; lower it if the memory is full",
    "neftune_noise_alpha": "it is noise on the embeddings of text, which this model does not have",
    "label_names": "the labels of speech are called labels",
    "remove_unused_columns": "the batches have no unused columns",
    "batch_eval_metrics": "evaluation keeps text and no logits",
    "eval_accumulation_steps": "evaluation keeps text and no logits",
    "ignore_data_skip": "a resumed run always continues at its place in the data",
}
TEXT_CASES = ("lower", "upper", "keep", "lower_turkish", "upper_turkish")  # those of the processor
METRICS = ("wer", "cer", "loss", "empty")  # of an evaluation; the lower, the better
MAX_SEED = 2**32 - 1
# Options of a method, by the key that switches the method on.
SWITCHED_BY = {
    "mwer_weight": ("mwer_hypotheses", "mwer_count", "mwer_unit"),
    "domain_adversarial_weight": ("domain_layer",),
    "distillation_weight": ("distillation_temperature", "distillation_speech"),
    "unlabelled_dataset_name": ("unlabelled_dataset_config", "unlabelled_split"),
    "low_rank": ("low_rank_scale",),
    "grammar": ("speech_minutes", "kokoro_voices", "false_accepts", "hard_accepts"),
}


def without_effect(settings: dict[str, Any]) -> list[str]:
    """Return a fault for each setting that would be ignored."""
    faults = [f"{name} has no effect: {why}" for name, why in ANSWERED_ELSEWHERE.items() if name in settings]
    if "model_name_or_path" in settings:
        brought = ["feature_config", "characters", "warm_start"]
        # A new alphabet is learned anew, so it may come with another normalisation.
        brought += [] if settings.get("new_characters") else ["text_case", "removed_characters"]
        faults += [
            f"{name} has no effect with model_name_or_path: the checkpoint brings its own. Remove the key"
            for name in brought
            if name in settings
        ]
        faults += [
            f"model_config {name!r} has no effect with model_name_or_path: the checkpoint fixes the sizes; only "
            "dropout can be changed"
            for name in settings.get("model_config", {})
            if name != "dropout"
        ]
    if "per_device_train_batch_size" in settings and settings.get("batch_seconds", True):
        faults.append(
            "per_device_train_batch_size has no effect with batch_seconds; set batch_seconds to 0 to count clips"
        )
    if "learning_anneal" in settings and settings.get("lr_scheduler_type", "constant") != "constant":
        faults.append("lr_scheduler_type has no effect with learning_anneal, which is a schedule of its own")
    if "learning_anneal" in settings and settings.get("warmup_steps"):
        faults.append("warmup_steps has no effect with learning_anneal, which is a schedule of its own")
    return faults + [
        f"{name} has no effect without {switch}"
        for switch, names in SWITCHED_BY.items()
        for name in names
        if name in settings and switch not in settings
    ]


def contradictions(recipe: Recipe) -> list[str]:
    """
    Return a sentence for each value that is out of range and for each combination that is not supported.

    Args:
        recipe: the recipe. Its `training` is None if the training arguments failed their own validation.
    """
    model, data, adaptation, objective = recipe.model, recipe.data, recipe.adaptation, recipe.objective
    faults = [*_data_faults(data, int(bool(recipe.commands.grammar))), *augmentation_faults(recipe.augmentation)]
    faults += _command_faults(recipe.commands)
    faults += [*adaptation_faults(adaptation), *objective_faults(objective), *_missing_speech(recipe)]
    if objective.distillation_weight and adaptation.new_characters:
        faults.append(
            "distillation_weight with new_characters is not supported: the starting model does not know that alphabet"
        )
    if model.text_case not in (None, *TEXT_CASES):
        faults.append(f"text_case is {model.text_case!r}; expected one of {', '.join(TEXT_CASES)}")
    if not re.fullmatch(r"[a-z]{2,3}", model.language):
        faults.append(
            f"language is {model.language!r}; expected an ISO 639 code, such as en or gsw, which the Hub requires"
        )
    if not re.fullmatch(r"[a-z0-9.+-]+", model.license):
        faults.append(f"license is {model.license!r}; expected the Hub's identifier, such as apache-2.0 or cc-by-4.0")
    if adaptation.new_characters and not model.model_name_or_path:
        faults.append("new_characters is for a checkpoint; for random weights use characters")
    if adaptation.adapter_size > 0 and not model.model_name_or_path:
        faults.append("adapter_size is for a checkpoint; for random weights use model_config {adapter_size: ...}")
    head_learns = "head" in adaptation.trained_groups or not (adaptation.trained_groups or adaptation.adapter_size)
    if adaptation.new_characters and not (head_learns or adaptation.low_rank):
        faults.append("new_characters needs a head that learns the new characters: add head to trained_groups")
    return faults + (_training_faults(recipe) if recipe.training is not None else [])


def training_ranges(training: RecipeTrainingArguments) -> list[str]:
    """Return a sentence for each number of the training that is out of range. transformers takes most of them."""
    expected = {
        "a number above 0": (
            lambda value: value > 0,
            ("learning_rate", "num_train_epochs", "adam_epsilon", "ddp_timeout"),
        ),
        "0 or more": (
            lambda value: value >= 0,
            ("weight_decay", "max_grad_norm", "warmup_steps", "eval_delay", "dataloader_num_workers", "cpu_threads",
             "early_stopping_patience", "max_skipped_steps", "num_processes"),
        ),
        "1 or more": (
            lambda value: value >= 1,
            ("gradient_accumulation_steps", "per_device_train_batch_size", "save_total_limit"),
        ),
        "a share in [0, 1)": (lambda value: 0 <= value < 1, ("adam_beta1", "adam_beta2")),
        f"a whole number from 0 to {MAX_SEED:,}": (lambda value: 0 <= value <= MAX_SEED, ("seed", "data_seed")),
        "a number of steps above 0, or -1 for num_train_epochs": (
            lambda value: value > 0 or value == -1,
            ("max_steps",),
        ),
    }  # fmt: skip
    faults = [
        f"{name} is {value}; expected {what}"
        for what, (holds, names) in expected.items()
        for name in names
        if (value := getattr(training, name)) is not None and not (math.isfinite(value) and holds(value))
    ]
    by_steps = {
        "eval_steps": training.eval_strategy == IntervalStrategy.STEPS,
        "save_steps": training.save_strategy == SaveStrategy.STEPS,
        "logging_steps": training.logging_strategy == IntervalStrategy.STEPS,
    }
    return faults + [
        f"{name} is {getattr(training, name)}; expected a number of steps above 0, or a share of all steps below 1"
        for name, used in by_steps.items()
        if used and not getattr(training, name) > 0
    ]


def _training_faults(recipe: Recipe) -> list[str]:
    """Return the settings that do not fit the training setup: sharding, precision, processes, checkpoints."""
    model, data, adaptation = recipe.model, recipe.data, recipe.adaptation
    objective, training = recipe.objective, recipe.training
    faults = training_ranges(training)
    if not training.output_dir:
        faults.append("output_dir is empty; expected the name of a folder")
    elif model.model_name_or_path and training.folder.resolve() == Path(model.model_name_or_path).resolve():
        faults.append(
            f"output_dir and model_name_or_path are both {training.output_dir!r}; expected another output_dir, because "
            "the result would replace the model that the run starts from"
        )
    if (training.metric_for_best_model or "wer").removeprefix("eval_") not in METRICS:
        faults.append(
            f"metric_for_best_model is {training.metric_for_best_model!r}; expected {', '.join(METRICS[:-1])} or "
            f"{METRICS[-1]}"
        )
    if training.greater_is_better:
        faults.append("greater_is_better is true, which would keep the worst checkpoint: all metrics here are errors")
    known = get_available_reporting_integrations()
    for name in sorted({*(training.report_to or [])} - {*known, "none", "all"}):
        advice = ", or run pip install -e '.[curves]'" if name == "tensorboard" else ""
        faults.append(
            f"report_to has {name!r}, which is not installed here; expected {' or '.join([*known, 'none'])}{advice}"
        )
    sharded = training.fsdp or training.deepspeed or any(os.environ.get(name) == "true" for name in SHARDS)
    if sharded and (training.ema_decay or not (objective.plain and adaptation == AdaptationArguments())):
        faults.append(
            "FSDP and DeepSpeed shard the weights: they support only CTC training of all weights, without ema_decay. "
            "For other settings, use DDP"
        )
    elif training.fsdp and training.world_size == 1:
        faults.append("fsdp shards the weights over several processes, but one was started; use accelerate launch")
    if training.torch_compile:
        faults.append(
            "torch_compile does not go with recurrent layers: the compiler unrolls them frame by frame, anew for each "
            "length, and takes longer than the training. Remove it"
        )
    for name in ("low_rank", "l2_sp"):
        if getattr(adaptation, name) and training.fp16:
            faults.append(f"{name} does not go with fp16, which scales the gradients; use bf16 or fp32")
    if data.num_readers % max(1, training.world_size * training.dataloader_num_workers):
        faults.append(
            f"num_readers is {data.num_readers}; expected a multiple of {training.world_size} process(es) times "
            f"{training.dataloader_num_workers} data workers, or 0"
        )
    if not 0 <= training.ema_decay < 1:
        faults.append(f"ema_decay is {training.ema_decay}; expected a share in [0, 1)")
    if training.learning_anneal < 0:
        faults.append(f"learning_anneal is {training.learning_anneal}; expected a divisor such as 1.1, or 0 for none")
    if training.early_stopping_patience and not training.load_best_model_at_end:
        faults.append(
            "early_stopping_patience needs load_best_model_at_end, which tracks the best WER. Set that to true, or the "
            "patience to 0"
        )
    if training.hub_strategy not in ("end", "every_save"):
        faults.append(f"hub_strategy is {HubStrategy(training.hub_strategy).value!r}; expected end or every_save")
    if training.compare_with_scratch and not model.model_name_or_path:
        faults.append(
            "compare_with_scratch needs model_name_or_path: without it, the run itself starts from random weights"
        )
    if training.compare_with_scratch and objective.distillation_weight:
        faults.append(
            "compare_with_scratch with distillation_weight is not supported: random weights cannot be a teacher"
        )
    return faults


def _missing_speech(recipe: Recipe) -> list[str]:
    """Return methods without the checkpoint, views or unlabelled speech they need, and unused unlabelled speech."""
    model, data, objective = recipe.model, recipe.data, recipe.objective
    faults = []
    augmented = recipe.augmentation.spec_augment or recipe.augmentation.vocal_tract_perturbation
    if objective.consistency_weight and not augmented:
        faults.append("consistency_weight needs spec_augment: without it both views of a clip are the same")
    if objective.distillation_weight and not model.model_name_or_path:
        faults.append("distillation_weight needs model_name_or_path: random weights cannot be a teacher")
    unlabelled = bool(data.unlabelled_dataset_name)
    if not unlabelled:
        faults += [
            f"{name} needs unlabelled_dataset_name, a corpus of target speech without transcripts"
            for name, asked in (
                ("domain_adversarial_weight", objective.domain_adversarial_weight > 0),
                (
                    "distillation_speech 'unlabelled'",
                    objective.distillation_weight > 0 and objective.distillation_speech == "unlabelled",
                ),
            )
            if asked
        ]
    elif not objective.takes_unlabelled:
        faults.append(
            f"unlabelled_dataset_name {data.unlabelled_dataset_name!r} has no effect without "
            "domain_adversarial_weight or distillation_weight"
        )
    return faults


def augmentation_faults(augmentation: AugmentationArguments) -> list[str]:
    """Return a sentence for each value that is out of range."""
    changes = ("speed_perturbation", "vocal_tract_perturbation")
    shares = ("noise_probability", "reverberation_probability", "band_limit_probability", "time_mask_max_ratio")
    faults = [
        f"{name} is {getattr(augmentation, name)}; expected a share between 0 and {most}"
        for name, most in (*((name, 0.5) for name in changes), *((name, 1.0) for name in shares))
        if not 0 <= getattr(augmentation, name) <= most
    ]
    faults += _negative(
        augmentation, "num_time_masks", "time_mask_max_frames", "num_frequency_masks", "frequency_mask_max_bins"
    )
    if augmentation.silence_s < 0:
        faults.append(f"silence_s is {augmentation.silence_s}; expected 0 or more seconds")
    lowest, highest = augmentation.noise_snr_db_min, augmentation.noise_snr_db_max
    if lowest > highest:
        faults.append(f"noise_snr_db_min is {lowest}; expected at most noise_snr_db_max, {highest}")
    return faults


def adaptation_faults(adaptation: AdaptationArguments) -> list[str]:
    """Return a sentence for each value that is out of range."""
    faults = _negative(adaptation, "unfreeze_every", "adapter_size", "low_rank", "l2_sp")
    if adaptation.unfreeze_every > 1 and adaptation.unfreeze_every % 1:
        faults.append(f"unfreeze_every is {adaptation.unfreeze_every}; expected whole steps, or a share below 1")
    if not 0 < adaptation.layer_lr_decay <= 1:
        faults.append(f"layer_lr_decay is {adaptation.layer_lr_decay}; expected a share above 0, up to 1 for no decay")
    if adaptation.norm_statistics not in ("update", "frozen", "reestimate"):
        faults.append(f"norm_statistics is {adaptation.norm_statistics!r}; expected update, frozen or reestimate")
    if adaptation.low_rank and adaptation.low_rank_scale <= 0:
        faults.append(f"low_rank_scale is {adaptation.low_rank_scale}; expected a number above 0")
    return faults


def objective_faults(objective: ObjectiveArguments) -> list[str]:
    """Return a sentence for each value that is out of range."""
    weights = ("ctc", "entropy", "consistency", "mwer", "domain_adversarial", "distillation")
    faults = _negative(objective, *(f"{name}_weight" for name in weights))
    if not 0 <= objective.label_smoothing < 1:
        faults.append(f"label_smoothing is {objective.label_smoothing}; expected a share in [0, 1)")
    if objective.distillation_temperature <= 0:
        faults.append(f"distillation_temperature is {objective.distillation_temperature}; expected a number above 0")
    choices = {
        "mwer_hypotheses": ("samples", "n_best"),
        "mwer_unit": ("word", "character"),
        "distillation_speech": ("all", "labelled", "unlabelled"),
    }
    for name, known in choices.items():
        if getattr(objective, name) not in known:
            faults.append(f"{name} is {getattr(objective, name)!r}; expected {', '.join(known[:-1])} or {known[-1]}")
    if objective.mwer_count < 2:
        faults.append(f"mwer_count is {objective.mwer_count}; expected at least 2 hypotheses to compare")
    if not (objective.ctc_weight or objective.mwer_weight or objective.distillation_weight):
        faults.append("ctc_weight, mwer_weight and distillation_weight are all 0: the model would learn nothing")
    if objective.label_smoothing and not objective.ctc_weight:
        faults.append("label_smoothing has no effect with ctc_weight 0: it is a share of the CTC loss")
    return faults


def _negative(arguments: object, *names: str) -> list[str]:
    return [
        f"{name} is {getattr(arguments, name)}; expected 0 or more" for name in names if getattr(arguments, name) < 0
    ]


def _command_faults(commands: CommandArguments) -> list[str]:
    faults = [
        f"{name} is {getattr(commands, name)}; expected a share in [0, 1)"
        for name in ("false_accepts", "hard_accepts")
        if not 0 <= getattr(commands, name) < 1
    ]
    if not commands.speech_minutes > 0:
        faults.append(f"speech_minutes is {commands.speech_minutes}; expected a number above 0")
    return faults


def _data_faults(data: DataArguments, num_spoken: int) -> list[str]:
    """Return the faults of the speech. `num_spoken` training corpora, before all others, are made by the run itself."""
    faults = []
    if not data.dataset_name and not num_spoken:
        faults.append("dataset_name is empty; expected a Hub id, a folder, a manifest, 'synthetic' or a grammar")
    count, longest = data.num_corpora
    for name, expected in (
        ("dataset_name", "name"),
        ("dataset_config", "config"),
        ("train_split", "split"),
        ("dataset_revision", "revision"),
        ("transcripts", "table"),
    ):
        given = len(getattr(data, name))
        if given not in (0, 1, count):
            faults.append(
                f"{name} has {given} entries for {count} {longest}; give one {expected} for each, or one for all"
            )
    if data.mixture_weights and len(data.mixture_weights) != num_spoken + count:
        first = " and the grammar, which is the first" if num_spoken else ""
        faults.append(
            f"mixture_weights has {len(data.mixture_weights)} entries for {count} {longest}{first}; give one weight "
            "for each"
        )
    if any(weight <= 0 for weight in data.mixture_weights):
        faults.append(f"mixture_weights are {data.mixture_weights}; expected positive numbers")
    for name in ("batch_seconds", "min_duration_s"):
        if getattr(data, name) < 0:
            faults.append(f"{name} is {getattr(data, name)}; expected 0 or more seconds")
    if data.max_duration_s <= data.min_duration_s:
        faults.append(
            f"max_duration_s is {data.max_duration_s}; expected more than min_duration_s, {data.min_duration_s}"
        )
    if 0 < data.batch_seconds < data.max_duration_s:
        faults.append(
            f"batch_seconds is {data.batch_seconds}; expected at least max_duration_s, {data.max_duration_s}: the "
            "longest clip must fit in a batch"
        )
    if not 0 <= data.held_out_share < 1:
        faults.append(f"held_out_share is {data.held_out_share}; expected a share in [0, 1)")
    if not 0 <= data.max_dropped_share <= 1:
        faults.append(f"max_dropped_share is {data.max_dropped_share}; expected a share in [0, 1]")
    held_out = "held-out" in [data.eval_split, *data.test_split]
    if data.held_out_share and data.held_out_speakers:
        faults.append(
            "held_out_share and held_out_speakers are both given; give one of them to make the split 'held-out'"
        )
    elif held_out != bool(data.held_out_share) and not data.held_out_speakers:
        faults.append(
            f"held_out_share is {data.held_out_share} and eval_split {data.eval_split!r}; "
            "a share above 0 (or held_out_speakers) and the split 'held-out' go together"
        )
    if data.eval_dataset_name and {data.eval_split, *data.test_split} == {"held-out"}:
        faults.append(
            f"eval_dataset_name {data.eval_dataset_name!r} has no effect: only the held-out part of dataset_name is "
            "scored. Give held_out_share 0 and an eval_split of that corpus"
        )
    if data.window_size < 1:
        faults.append(f"window_size is {data.window_size}; expected at least 1 utterance")
    for name in ("num_readers", "check_utterances"):
        if getattr(data, name) < 0:
            faults.append(f"{name} is {getattr(data, name)}; expected 0 or more")
    return faults
