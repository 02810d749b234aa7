"""benchmarks/scaling.py: all cases are recipes with the same global batch, and the first log does not count."""

import pytest
import scaling

from deepspeech2.config.parser import parse_recipe


@pytest.mark.parametrize("way", scaling.CASES.values(), ids=scaling.CASES)
def test_both_ways_take_two_batches_a_step(way, tmp_path):
    words = scaling.make_command("some/where", way, 40, str(tmp_path))
    script = words.index("recipes/finetune.py")
    training = parse_recipe([str(scaling.ROOT / words[script + 1]), *words[script + 2 :]], tmp_path).training
    processes = 2 if words[2].endswith("cpu_ddp.yaml") else 1
    assert processes * training.gradient_accumulation_steps == 2
    assert training.save_steps == training.max_steps == 40


def test_other_settings_are_those_of_the_recipe(tmp_path):
    way = scaling.with_settings("ddp_bucket_cap_mb=4,ddp_static_graph=true")
    words = scaling.make_command("some/where", way, 40, str(tmp_path))
    script = words.index("recipes/finetune.py")
    training = parse_recipe([str(scaling.ROOT / words[script + 1]), *words[script + 2 :]], tmp_path).training
    assert training.ddp_bucket_cap_mb == 4 and training.ddp_static_graph and training.use_cpu


def test_the_first_log_does_not_count():
    logs = [{"audio_s_per_s": 10}, {"audio_s_per_s": 100}, {"loss": 3.0}, {"audio_s_per_s": 140}]
    assert scaling.median_speed(logs) == 120
