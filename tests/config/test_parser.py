"""The strict parser: YAML below, command line above, and every fault at once."""

import json
import sys
from dataclasses import fields

import pytest
import yaml

from deepspeech2.config.parser import RECIPE_ARGUMENTS, RecipeError, parse_recipe
from recipe_files import RECIPES, YAMLS

SMALLEST = {"dataset_name": "speech.csv"}


@pytest.fixture
def config(tmp_path):
    """Writes a config file; `content` is a mapping or the text itself."""

    def write(content: dict | str, name: str = "config.yaml") -> str:
        text = content if isinstance(content, str) else yaml.safe_dump(SMALLEST | content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def parse(*argv: str):
    return parse_recipe(argv, RECIPES / "quickstart" / "config.yaml")


def faults(*argv: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse(*argv)
    return caught.value.faults


def test_yaml_over_defaults_and_command_line_over_yaml(config):
    path = config({"seed": 5, "window_size": 64, "train_split": ["a+b"]})
    recipe = parse(path, "--window_size", "8", "--train-split", "c", "--gain_db=3")
    assert (recipe.training.seed, recipe.data.window_size, recipe.data.train_split) == (5, 8, ["c"])
    assert (recipe.augmentation.gain_db, recipe.data.batch_seconds) == (3.0, 60.0)
    told = {"dataset_name": ["speech.csv"], "gain_db": 3.0, "seed": 5, "train_split": ["c"], "window_size": 8}
    assert recipe.settings == told


def test_without_a_file_the_default_one_is_read():
    recipe = parse("--seed", "9")
    assert recipe.settings["dataset_name"] == ["synthetic"] and recipe.settings["seed"] == 9
    assert (recipe.training.seed, recipe.training.output_dir) == (9, "outputs/quickstart")


@pytest.mark.parametrize("written", ["3e-4", "0.0003", "'3e-4'"])
def test_numbers_are_read_as_the_command_line_reads_them(config, written):
    training = parse(config(f"dataset_name: a.csv\nlearning_rate: {written}\nmax_steps: 7\n")).training
    assert training.learning_rate == 0.0003
    assert isinstance(training.learning_rate, float) and training.max_steps == 7


@pytest.mark.parametrize("written", ["0012", "12:30", "1_000", "0x1F", "0b1", "2001-02-03", "1e400000000000000000000x"])
def test_text_that_looks_like_a_number_of_yaml_1_1_stays_as_it_is_written(config, written):
    """To PyYAML itself the speaker 0012 is 10, in base 8, and the time 12:30 is 750, in base 60."""
    recipe = parse(config(f"dataset_name: a.csv\nheld_out_speakers: [{written}]\neval_split: held-out\n"))
    assert recipe.data.held_out_speakers == [written]


@pytest.mark.parametrize(("written", "value"), [("1e-2", 0.01), ("1E2", 100), ("0.5", 0.5), (".5", 0.5), ("-0.0", 0)])
def test_decimal_numbers_are_numbers_everywhere(config, written, value):
    content = f"dataset_name: a.csv\nmodel_config: {{dropout: {written}}}\nweight_decay: {written}\n"
    recipe = parse(config(content))
    assert recipe.model.model_config["dropout"] == recipe.training.weight_decay == value


@pytest.mark.parametrize(("written", "value"), [("010", 10), ("+7", 7), ("1_000", 1000)])
def test_a_whole_number_is_decimal(config, written, value):
    assert parse(config(f"dataset_name: a.csv\nwindow_size: {written}\n")).data.window_size == value


@pytest.mark.parametrize(
    ("content", "hint"),
    [(b"credit:\tx\n", "no tabs"), (b"held_out_speakers:\n\t- a\n", "no tabs"), ("a: b".encode("utf-16"), "UTF-8")],
)
def test_what_yaml_does_not_take_comes_with_the_remedy(tmp_path, content, hint):
    (tmp_path / "c.yaml").write_bytes(content)
    (fault,) = faults(str(tmp_path / "c.yaml"))
    assert "is not YAML" in fault and hint in fault


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["--seed", "1", "--seed", "2"], "seed"),
        (["--seed=1", "--seed=1"], "seed"),
        (["--test_split", "a", "--test_split", "b"], "test_split"),
        (["--dataset_name", "a.csv", "--dataset-name", "b.csv"], "dataset_name"),
        (["--spec_augment", "--spec_augment", "false"], "spec_augment"),
    ],
)
def test_an_option_given_twice_is_refused(config, words, setting):
    """argparse would forget all but the last."""
    assert faults(config({}), *words) == [
        f"the command line: --{setting} is given 2 times; give it once, and all values of a list after it"
    ]


def test_a_key_of_a_json_object_given_twice_is_refused(config):
    (fault,) = faults(config({}), "--model_config", '{"hidden_size": 8, "hidden_size": 16}')
    assert "the key 'hidden_size' is given twice" in fault


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("learning_rate", value) for value in ("0", "-0.1", ".nan", ".inf")),
        *((name, "-1") for name in ("weight_decay", "max_grad_norm", "dataloader_num_workers", "cpu_threads")),
        *((name, "-1") for name in ("early_stopping_patience", "max_skipped_steps", "num_processes", "eval_delay")),
        *((name, "0") for name in ("gradient_accumulation_steps", "save_total_limit", "num_train_epochs", "max_steps")),
        *((name, value) for name in ("seed", "data_seed") for value in ("-1", "4294967296")),
        *(("adam_beta1", value) for value in ("-0.1", "1", "2")),
        *((name, "-2") for name in ("max_steps", "save_total_limit", "adam_epsilon", "ddp_timeout")),
    ],
)
def test_a_number_out_of_range_is_named(config, key, value):
    (fault,) = faults(config(f"dataset_name: a.csv\n{key}: {value}\n"))
    assert fault.startswith(f"{key} is ") and "; expected " in fault


@pytest.mark.parametrize("name", ["eval", "save", "logging"])
def test_steps_between_two_events_are_above_0(config, name):
    given = {f"{name}_strategy": "steps", f"{name}_steps": -2, "load_best_model_at_end": False}
    (fault,) = faults(config(given))
    assert fault.startswith(f"{name}_steps is -2") and "expected a number of steps above 0" in fault


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"metric_for_best_model": "eval_accuracy"}, "expected wer, cer, loss or empty"),
        ({"greater_is_better": True}, "would keep the worst checkpoint"),
        ({"report_to": "wandb"}, "which is not installed here; expected tensorboard"),
        ({"output_dir": ""}, "output_dir is empty"),
        ({"output_dir": "runs/x", "model_name_or_path": "runs/x/"}, "would replace the model that the run starts from"),
        ({"neftune_noise_alpha": 5}, "neftune_noise_alpha has no effect"),
        ({"fsdp": "full_shard"}, "fsdp shards the weights over several processes"),
    ],
)
def test_what_transformers_would_find_after_the_training(config, given, part, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    (fault,) = faults(config(given))
    assert part in fault


def test_settings_are_plain_values(config):
    """A card and recipe.json hold them."""
    settings = parse(config({"debug": "underflow_overflow"})).settings
    assert yaml.safe_load(yaml.safe_dump(settings)) == json.loads(json.dumps(settings)) == settings


def test_one_value_makes_a_list_and_an_object_stays_one(config):
    path = config({"dataset_config": "clean", "model_config": {"hidden_size": 16}})
    recipe = parse(path, "--feature_config", '{"n_fft": 512}')
    model, data = recipe.model, recipe.data
    assert (data.dataset_name, data.dataset_config) == (["speech.csv"], ["clean"])
    assert (model.model_config, model.feature_config) == ({"hidden_size": 16}, {"n_fft": 512})


@pytest.mark.parametrize("written, value", [("no", False), ("true", True), ("'false'", False), ("1", True)])
@pytest.mark.parametrize("key", ["spec_augment", "load_best_model_at_end"])  # false and true by default
def test_switches(config, key, written, value):
    recipe = parse(config(f"dataset_name: a.csv\n{key}: {written}\n"))
    groups = [getattr(recipe, name) for name in RECIPE_ARGUMENTS]
    assert [getattr(group, key) for group in groups if hasattr(group, key)] == [value]


def test_switches_on_the_command_line(config):
    path = config({})
    assert parse(path, "--spec_augment").augmentation.spec_augment is True
    assert parse(path, "--load_best_model_at_end", "false").training.load_best_model_at_end is False
    assert parse(path, "--no_load_best_model_at_end").training.load_best_model_at_end is False


def test_an_unknown_key_comes_with_its_file_and_the_nearest_known_one(config):
    path = config({"lerning_rate": 1})
    assert faults(path) == [f"{path}: unknown key 'lerning_rate'; did you mean 'learning_rate'?"]
    assert faults(path, "--xyzzyqq", "3")[1:] == ["the command line: unknown key 'xyzzyqq'"]


@pytest.mark.parametrize("words", [["--window_siz", "3"], ["--window_siz=3"], ["--window", "3"]])
def test_a_shortened_key_is_unknown(config, words):
    (fault,) = faults(config({}), *words)
    assert fault.startswith(f"the command line: unknown key '{words[0].split('=')[0][2:]}'")
    assert len(words[0]) < 10 or "did you mean 'window_size'?" in fault


def test_a_stray_word_is_named(config):
    assert faults(config({}), "--seed", "3", "4") == [
        "the command line has the stray word '4'; a config file must be the first argument"
    ]


def test_the_config_must_be_the_first_word(config):
    """Else it would be taken for read, and the default config would run."""
    (fault,) = faults("--seed", "3", config({}))
    assert "config.yaml" in fault and "first argument" in fault


@pytest.mark.parametrize(
    "key, written, parts",
    [
        ("learning_rate", "fast", ["'fast'", "float"]),
        ("learning_rate", "yes", ["True", "float"]),
        ("learning_rate", "[1, 2]", ["[1, 2]", "float"]),
        ("learning_rate", "{a: 1}", ["{'a': 1}", "float"]),
        ("learning_rate", "", ["None", "float"]),
        ("window_size", "2.5", ["2.5", "int"]),
        ("window_size", "no", ["False", "int"]),
        ("language", "no", ["False", "text", "quote"]),
        ("dataset_revision", "1.10", ["1.1", "text", "quote"]),
        ("spec_augment", "perhaps", ["'perhaps'", "true or false"]),
        ("load_best_model_at_end", "perhaps", ["'perhaps'", "true or false"]),
        ("mixture_weights", "[1, x]", ["[1, 'x']", "a list of float"]),
        ("model_config", "[1]", ["[1]", "key: value"]),
        ("model_config", "16", ["16", "key: value"]),
    ],
)
def test_a_wrong_type_is_named_with_what_was_expected(config, key, written, parts):
    path = config(f"dataset_name: a.csv\n{key}: {written}\n")
    (fault,) = faults(path)
    assert fault.startswith(f"{path}: {key} is ")
    for part in parts:
        assert part in fault


def test_an_object_on_the_command_line_wins_key_by_key(config):
    path = config({"dataset_name": "a.csv", "model_config": {"hidden_size": 16, "dropout": 0.2}})
    model = parse(path, "--model_config", '{"dropout": 0.0, "num_hidden_layers": 1}').model
    assert model.model_config == {"hidden_size": 16, "dropout": 0.0, "num_hidden_layers": 1}


def test_null_on_the_command_line_clears_an_object(config):
    path = config({"dataset_name": "a.csv", "model_config": {"hidden_size": 16}})
    model = parse(path, "--model_config", "null", "--feature_config", "null", "--model_name_or_path", "x").model
    assert model.model_config == model.feature_config == {}


def test_a_checkpoint_can_have_another_dropout(config):
    path = config({"dataset_name": "a.csv", "model_name_or_path": "x"})
    model = parse(path, "--model_config", '{"dropout": 0.2}').model
    assert (model.model_name_or_path, model.model_config) == ("x", {"dropout": 0.2})


def test_what_was_given_is_noted_even_where_it_is_the_default(config):
    path = config({"dataset_name": "a.csv", "learning_rate": 1e-3, "learning_anneal": 0, "lr_scheduler_type": "linear"})
    settings = parse(path, "--seed", "42", "--hub_token", "hf_x").settings
    given = {"dataset_name": ["a.csv"], "learning_rate": 1e-3, "learning_anneal": 0.0, "lr_scheduler_type": "linear"}
    assert settings == given | {"seed": 42}


def test_an_empty_value_is_none_where_none_is_allowed(config):
    recipe = parse(config("dataset_name: a.csv\nremoved_characters:\nsave_total_limit: null\n"))
    model, training = recipe.model, recipe.training
    assert model.removed_characters is None and training.save_total_limit is None


def test_all_faults_at_once(config):
    """One of each kind, in the file, on the command line, and between values."""
    path = config({"sed": 1, "window_size": "wide", "ema_decay": 1.5})
    found = faults(path, "--lerning_rate", "3", "--max_steps", "many", "--seed", "x", "--text_case", "Title")
    assert len(found) == 7
    for part in (
        "unknown key 'sed'",
        "window_size is 'wide'",
        "unknown key 'lerning_rate'",
        "--max_steps",
        "--seed",
        "ema_decay is 1.5",
        "text_case is 'Title'",
    ):
        assert sum(part in fault for fault in found) == 1, (part, found)
    assert str(RecipeError(found)).startswith("the configuration has 7 faults:\n  - ")
    assert str(RecipeError(found[:1])).startswith("the configuration has 1 fault:\n")


def test_one_kind_of_fault_does_not_hide_another(config):
    """TrainingArguments refuses values by itself; a key without a value stops argparse."""
    found = faults(config({"window_size": 0, "eval_strategy": "monthly"}))
    assert any("window_size is 0" in fault for fault in found) and any("monthly" in fault for fault in found)
    found = faults(config({"sed": 1}), "--lerning_rate", "3", "--logging_steps")
    for part in ("unknown key 'sed'", "unknown key 'lerning_rate'", "expected one argument"):
        assert sum(part in fault for fault in found) == 1, (part, found)


@pytest.mark.parametrize(
    "given, parts",
    [
        ({"dataset_name": []}, ["dataset_name is empty"]),
        ({"dataset_name": ["a", "b", "c"], "dataset_config": ["x", "y"]}, ["dataset_config has 2", "3 dataset_name"]),
        ({"dataset_name": ["a", "b", "c"], "train_split": ["x", "y"]}, ["train_split has 2", "3 dataset_name"]),
        ({"dataset_name": ["a", "b"], "mixture_weights": [1]}, ["mixture_weights has 1", "2 dataset_name"]),
        ({"dataset_name": ["a", "b"], "mixture_weights": [1, 0]}, ["mixture_weights", "positive"]),
        ({"batch_seconds": -1}, ["batch_seconds is -1"]),
        ({"min_duration_s": -1}, ["min_duration_s is -1"]),
        ({"min_duration_s": 20}, ["max_duration_s is 20.0; expected more than min_duration_s, 20.0"]),
        ({"batch_seconds": 19}, ["batch_seconds is 19.0; expected at least max_duration_s, 20.0"]),
        ({"window_size": 0}, ["window_size is 0"]),
        ({"speed_perturbation": -0.1}, ["speed_perturbation is -0.1"]),
        ({"speed_perturbation": 0.6}, ["speed_perturbation is 0.6"]),
        ({"noise_probability": 1.5}, ["noise_probability is 1.5"]),
        ({"reverberation_probability": 2}, ["reverberation_probability is 2"]),
        ({"time_mask_max_ratio": 1.1}, ["time_mask_max_ratio is 1.1"]),
        ({"noise_snr_db_min": 31}, ["noise_snr_db_min is 31.0; expected at most noise_snr_db_max, 30.0"]),
        ({"ema_decay": 1}, ["ema_decay is 1.0"]),
        ({"torch_compile": True}, ["torch_compile does not go with recurrent layers", "frame by frame"]),
        ({"torch_compile_mode": "reduce-overhead"}, ["torch_compile does not go with recurrent layers"]),
        ({"text_case": "Title"}, ["text_case is 'Title'"]),
        ({"compare_with_scratch": True}, ["compare_with_scratch", "model_name_or_path"]),
        ({"eval_strategy": "no"}, ["load_best_model_at_end"]),
        ({"eval_strategy": "monthly"}, ["monthly"]),
        ({"early_stopping_patience": 2, "load_best_model_at_end": False}, ["early_stopping_patience"]),
        ({"learning_anneal": -1}, ["learning_anneal is -1.0"]),
        ({"learning_anneal": 1.1, "lr_scheduler_type": "linear"}, ["lr_scheduler_type has no effect"]),
        ({"hub_strategy": "checkpoint"}, ["hub_strategy is 'checkpoint'", "every_save"]),
        ({"learning_anneal": 1.1, "warmup_steps": 100}, ["warmup_steps has no effect"]),
        ({"label_smoothing_factor": 0.1}, ["label_smoothing_factor has no effect"]),
        ({"save_only_model": True}, ["save_only_model has no effect", "cannot be resumed"]),
        ({"time_mask_max_frames": -5}, ["time_mask_max_frames is -5"]),
        ({"num_readers": 3, "dataloader_num_workers": 2}, ["num_readers is 3", "2 data workers"]),
        ({"language": "english"}, ["language is 'english'", "ISO 639"]),
        ({"license": "CC BY 4.0"}, ["license is 'CC BY 4.0'", "cc-by-4.0"]),
        ({"held_out_share": 0.1, "eval_split": "held-out", "eval_dataset_name": "b"}, ["'b' has no effect"]),
        ({"resume_from_checkpoint": "x"}, ["resume_from_checkpoint has no effect", "output_dir"]),
        ({"per_device_train_batch_size": 4}, ["per_device_train_batch_size has no effect", "batch_seconds"]),
        ({"model_name_or_path": "x", "characters": "ab"}, ["characters has no effect", "checkpoint brings its own"]),
        (
            {"model_name_or_path": "x", "model_config": {"dropout": 0.1, "hidden_size": 8}},
            ["model_config 'hidden_size' has no effect", "only dropout"],
        ),
        ({"model_name_or_path": "x", "text_case": "keep"}, ["text_case has no effect", "checkpoint brings its own"]),
        ({"model_name_or_path": "x", "removed_characters": "#"}, ["removed_characters has no effect"]),
        ({"text_case": "lower_turkic"}, ["text_case is 'lower_turkic'; expected one of lower, upper", "lower_turkish"]),
        ({"adapter_size": 8}, ["adapter_size is for a checkpoint", "model_config"]),
        ({"adapter_size": -8}, ["adapter_size is -8; expected 0 or more"]),
        ({"new_characters": "abc"}, ["new_characters is for a checkpoint"]),
        ({"layer_lr_decay": 0}, ["layer_lr_decay is 0.0; expected a share above 0"]),
        ({"norm_statistics": "fixed"}, ["norm_statistics is 'fixed'; expected update, frozen or reestimate"]),
        ({"low_rank_scale": 8}, ["low_rank_scale has no effect without low_rank"]),
        ({"fsdp": "full_shard", "low_rank": 2, "use_cpu": True}, ["shard the weights", "use DDP"]),
        (
            {"new_characters": "abc", "trained_groups": ["norms"], "model_name_or_path": "x"},
            ["new_characters needs a head that learns"],
        ),
        ({"l2_sp": 0.1, "fp16": True, "use_cpu": False}, ["l2_sp does not go with fp16", "bf16"]),
        ({"low_rank": 2, "fp16": True, "use_cpu": False}, ["low_rank does not go with fp16", "bf16"]),
        ({"entropy_weight": -1}, ["entropy_weight is -1"]),
        ({"consistency_weight": 0.4}, ["consistency_weight needs spec_augment", "the same"]),
        ({"label_smoothing": 1}, ["label_smoothing is 1.0", "[0, 1)"]),
        ({"ctc_weight": 0}, ["ctc_weight, mwer_weight and distillation_weight are all 0"]),
        ({"mwer_weight": 1, "ctc_weight": 0, "label_smoothing": 0.1}, ["label_smoothing has no effect", "ctc_weight"]),
        ({"mwer_weight": 1, "mwer_count": 1}, ["mwer_count is 1", "at least 2"]),
        ({"mwer_weight": 1, "mwer_unit": "letter"}, ["mwer_unit is 'letter'; expected word or character"]),
        ({"mwer_count": 4}, ["mwer_count has no effect without mwer_weight"]),
        ({"unlabelled_split": "x"}, ["unlabelled_split has no effect without unlabelled_dataset_name"]),
        ({"unlabelled_dataset_name": "b"}, ["unlabelled_dataset_name 'b' has no effect", "domain_adversarial_weight"]),
        ({"domain_adversarial_weight": 1}, ["domain_adversarial_weight needs unlabelled_dataset_name"]),
        (
            {"distillation_weight": 1, "distillation_speech": "unlabelled", "model_name_or_path": "x"},
            ["distillation_speech 'unlabelled' needs unlabelled_dataset_name"],
        ),
        ({"distillation_weight": 1}, ["distillation_weight needs model_name_or_path"]),
        (
            {"distillation_weight": 1, "model_name_or_path": "x", "new_characters": "abc"},
            ["distillation_weight with new_characters", "does not know that alphabet"],
        ),
        (
            {"distillation_weight": 1, "model_name_or_path": "x", "distillation_temperature": 0},
            ["distillation_temperature is 0.0"],
        ),
        (
            {"distillation_weight": 1, "model_name_or_path": "x", "compare_with_scratch": True},
            ["compare_with_scratch with distillation_weight"],
        ),
        ({"ema_decay": 0.9, "push_to_hub": True, "hub_token": "hf_x", "eval_strategy": "no"}, ["load_best"]),
    ],
)
def test_values_that_contradict(config, given, parts):
    (fault,) = faults(config(given))
    for part in parts:
        assert part in fault


@pytest.mark.parametrize(
    "given",
    [
        {"batch_seconds": 0},  # batches by count
        {"dataset_name": ["a", "b"], "dataset_config": "x", "train_split": ["y"]},  # one for all
        {"noise_probability": 1, "time_mask_max_ratio": 1, "ema_decay": 0},
        {"ctc_weight": 0, "mwer_weight": 1},
        {"unlabelled_dataset_name": "b", "domain_adversarial_weight": 0.1},
        {"distillation_weight": 1, "model_name_or_path": "x"},
    ],
)
def test_the_edges_are_allowed(config, given):
    assert parse(config(given))


def test_a_missing_file_is_named():
    (fault,) = faults("nowhere.yaml")
    assert fault == "the config file nowhere.yaml does not exist; expected a YAML file as the first argument"


@pytest.mark.parametrize(
    "content, part",
    [
        ("- a\n- b\n", "holds a list"),
        ("a: [", "is not YAML"),
        ("text", "a str"),
        ("a: &x [1, 1]\nb: [*x, *x]\n", "line 2 has the alias *x; write the value itself"),
        ("seed: 1\nmodel_config: {a: 1}\nseed: 2\n", "line 3 gives the key 'seed' again"),
        ("seed: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("[" * 1000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(config, content, part):
    path = config(content)
    (fault,) = faults(path)
    assert path in fault and part in fault


def test_an_empty_file_is_an_empty_mapping(config):
    expected = "expected a Hub id, a folder, a manifest, 'synthetic' or a grammar"
    assert faults(config("")) == [f"dataset_name is empty; {expected}"]


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(RECIPES)))
def test_every_recipe_parses(path, tmp_path):
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    extra = [] if "dataset_name" in given else ["--dataset_name", "speech.csv"]
    # A CPU cannot do what a GPU recipe asks for.
    extra += ["--bf16", "false"] if given.get("bf16") else []
    recipe = parse(str(path), *extra, "--output_dir", str(tmp_path))
    groups = [getattr(recipe, name) for name in RECIPE_ARGUMENTS]
    assert [type(group) for group in groups] == list(RECIPE_ARGUMENTS.values())
    for key in given.keys() - {"bf16", "output_dir"}:
        value = next(getattr(group, key) for group in groups if hasattr(group, key))
        written = given[key] if isinstance(given[key], list) or not isinstance(value, list) else [given[key]]
        assert value == (float(written) if isinstance(value, float) else written), key


def test_there_are_recipes_to_parse():
    assert RECIPES / "quickstart" / "config.yaml" in YAMLS and len(YAMLS) >= 4


def test_help_lists_every_key_with_its_default(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse("--help")
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert "[CONFIG.yaml] [--key value ...]" in shown.splitlines()[0]
    for group in RECIPE_ARGUMENTS.values():
        assert not [field.name for field in fields(group) if field.init and f"--{field.name}" not in shown]


def test_every_key_of_ours_says_what_it_is():
    for group in RECIPE_ARGUMENTS.values():
        for name in group.__annotations__:
            (own,) = [field for field in fields(group) if field.name == name]
            assert own.metadata["help"].endswith("."), name


def test_a_field_that_may_be_a_string_too_is_merged_or_cleared(config):
    """lr_scheduler_kwargs, which transformers lets be JSON."""
    written = {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 5}}
    path = config(written)
    training = parse(path, "--lr_scheduler_kwargs", '{"min_lr_ratio": 0.1}').training
    assert training.lr_scheduler_kwargs == {"num_decay_steps": 5, "min_lr_ratio": 0.1}
    training = parse(path, "--lr_scheduler_type", "cosine", "--lr_scheduler_kwargs", "null").training
    assert training.lr_scheduler_kwargs == {}
    assert (
        "lr_scheduler_kwargs is 'nonsense'; expected a JSON object"
        in faults(path, "--lr_scheduler_kwargs", "nonsense")[0]
    )


def test_a_share_or_speakers_are_held_out(config):
    held_out = {"held_out_share": 0.1, "held_out_speakers": ["ann"], "eval_split": "held-out"}
    assert "held_out_share and held_out_speakers are both given" in faults(config(held_out))[0]
    parse(config({"held_out_speakers": ["ann"]}))
    assert "transcripts has 2 entries for 1 dataset_name" in faults(config({"transcripts": ["a.csv", "b.csv"]}))[0]


def test_one_dataset_name_is_enough_for_several_configs_and_splits(config):
    given = {"dataset_name": "hub", "dataset_config": ["clean", "other"], "train_split": ["train.100", "train.500"]}
    parse(config(given | {"mixture_weights": [1, 2]}))
    (fault,) = faults(config(given | {"train_split": ["a", "b", "c"]}))
    assert fault == "dataset_config has 2 entries for 3 train_split; give one config for each, or one for all"
    (fault,) = faults(config(given | {"dataset_name": ["a", "b", "c"], "train_split": "a"}))
    assert fault == "dataset_config has 2 entries for 3 dataset_name; give one config for each, or one for all"
    (fault,) = faults(config(given | {"mixture_weights": [1]}))
    assert fault == "mixture_weights has 1 entries for 2 dataset_config; give one weight for each"
