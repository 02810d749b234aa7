"""benchmarks/command_startup.py: the stages add up, and a command's own process is timed."""

import sys
import time

import command_startup


def test_a_stage_lasts_from_the_one_before_it():
    times: dict[str, float] = {}
    note = command_startup.Stopwatch(times)
    time.sleep(0.2)
    note("first")
    note("second")
    assert list(times) == ["first_s", "first_cpu_s", "second_s", "second_cpu_s"]
    assert times["first_s"] >= 0.2 > times["second_s"] and times["first_cpu_s"] < 0.2


def test_a_process_is_timed_by_clock_and_cpu():
    busy = "import time\nwhile time.process_time() < 0.3: pass\ntime.sleep(0.2)"
    times = command_startup.process_times("whole", [sys.executable, "-c", busy])
    assert list(times) == ["whole_s", "whole_cpu_s"] and times["whole_cpu_s"] >= 0.3
    assert times["whole_s"] >= 0.5
