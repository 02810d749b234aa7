"""Reading ahead: the same batches and positions, and the next window is there before it is asked for."""

import json
import threading

import pytest

from deepspeech2.data.batching import Position, Reader, Row

PATIENCE_S = 10


class Numbers:
    """An endless source whose rows are numbers, five an epoch. Window `held` waits for the test."""

    def __init__(self, held: int = -1):
        self.position, self.held = Position(), held
        self.reads, self.go_on = threading.Semaphore(0), threading.Event()

    def take(self, count: int, *, across_epochs: bool) -> list[Row]:
        if self.position.count == self.held:
            assert self.go_on.wait(PATIENCE_S)
        rows = [Row({"id": index}, "c") for index in range(self.position.row, min(self.position.row + count, 5))]
        epoch, row = self.position.epoch, self.position.row + len(rows)
        here = {"epoch": epoch + 1, "row": 0} if row == 5 else {"epoch": epoch, "row": row}
        self.position = Position(count=self.position.count + 1, **here)
        self.reads.release()
        return rows


def reader(source: Numbers, ahead: bool, state: dict | None = None) -> Reader:
    """Windows of two rows, batches of one."""

    def plan(rows: list[Row], window: int) -> list[list]:
        return [[(window, row.example["id"])] for row in rows]

    return Reader([source], [1.0], 2, plan, state=state, ahead=ahead)


def run(ahead: bool, count: int, state: dict | None = None) -> list[tuple]:
    """Each batch with the position and the epoch before it."""
    source = Numbers()
    found, started = reader(source, ahead, state), []
    for _ in range(count):
        before = json.dumps(found.state_dict()), found.epoch
        started.append((*before, found.next_batch()))
    return started


def test_reading_ahead_changes_neither_batches_nor_positions():
    plain = run(False, 12)
    assert run(True, 12) == plain
    assert [batch for *_, batch in plain[:5]] == [[(0, 0)], [(0, 1)], [(1, 2)], [(1, 3)], [(2, 4)]]
    for place, (state, *_) in enumerate(plain):
        assert run(True, 12 - place, json.loads(state)) == plain[place:]


def test_the_next_window_is_read_while_this_one_is_used():
    source = Numbers()
    found = reader(source, ahead=True)
    found.next_batch()
    assert source.reads.acquire(timeout=PATIENCE_S) and source.reads.acquire(timeout=PATIENCE_S)  # windows 0 and 1
    assert not source.reads.acquire(blocking=False)  # and no further


def test_without_it_nothing_is_read_early():
    source = Numbers()
    reader(source, ahead=False).next_batch()
    assert source.reads.acquire(blocking=False) and not source.reads.acquire(timeout=0.1)


def test_the_position_is_that_of_the_batches_while_the_next_window_is_still_being_read():
    source = Numbers(held=1)
    found = reader(source, ahead=True)
    states = []
    for _ in range(2):
        found.next_batch()
        states.append(found.state_dict())
    assert [(state["window"], state["batch"]) for state in states] == [(0, 1), (1, 0)]
    assert states[1]["positions"][0]["row"] == 2
    source.go_on.set()
    assert found.next_batch() == [(1, 2)]


def test_a_failure_while_reading_ahead_is_raised_when_the_window_is_due():
    source = Numbers(held=1)
    source.go_on.wait = lambda timeout: False
    found = reader(source, ahead=True)
    assert found.next_batch() == [(0, 0)] and found.next_batch() == [(0, 1)]
    with pytest.raises(AssertionError):
        found.next_batch()
