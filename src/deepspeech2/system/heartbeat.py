"""Heartbeats of the processes of a run, so that the error after a lost connection can name the lost process."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from accelerate.utils import gather_object
from torch.distributed import DistError, TCPStore

INTERVAL_S = 4.0
SILENCE_S = 3 * INTERVAL_S
ANSWER_S = 10


class Heartbeat:
    """
    Each process increments its own counter in the key-value store of the run. A process whose counter
    stops is lost.

    Nothing waits for a heartbeat: it only tells which process was lost after a collective operation has failed. All
    processes must create it together.
    """

    def __init__(self, rank: int, world_size: int):
        self.world_size = world_size
        self.hosts: list[str] = gather_object([socket.gethostname()])
        self.meeting_point = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        self._end = threading.Event()
        threading.Thread(target=self._beat, args=(rank, _connect()), daemon=True).start()

    def stop(self) -> None:
        self._end.set()

    def _beat(self, rank: int, store: TCPStore) -> None:
        while True:
            try:
                store.add(_key(rank), 1)
            except DistError:  # the store has closed: the run is over, or will report it
                return
            if self._end.wait(INTERVAL_S):
                return

    def absent(self) -> list[str]:
        """Return the processes whose counter has stopped, each with its host, after a wait of `SILENCE_S`."""
        try:
            store = _connect()
            before = [store.add(_key(rank), 0) for rank in range(self.world_size)]
            self._end.wait(SILENCE_S)
            after = [store.add(_key(rank), 0) for rank in range(self.world_size)]
        except DistError:
            return [f"process 0 on {self.hosts[0]}, or its launcher, which does not answer at {self.meeting_point}"]
        return [
            f"process {rank} on {self.hosts[rank]}"
            for rank, (first, last) in enumerate(zip(before, after, strict=True))
            if first == last
        ]


@contextmanager
def naming_the_lost(rank: int, world_size: int) -> Iterator[None]:
    """
    Name the lost process if the work inside fails because of another process. All processes must enter it together.

    Raises:
        ConnectionError: a process has ended or hangs.
    """
    if world_size == 1:
        yield
        return
    heartbeat = Heartbeat(rank, world_size)
    try:
        yield
    except RuntimeError as error:  # as gloo and NCCL raise it
        if absent := heartbeat.absent():
            raise ConnectionError(
                f"this run of {world_size} processes cannot go on without {' and '.join(absent)}, which ended or "
                "hangs. The log of that process says why. To resume from the last checkpoint, run the same command on "
                f"all machines ({error})"
            ) from error
        raise
    finally:
        heartbeat.stop()


def _connect() -> TCPStore:
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=False, timeout=timedelta(seconds=ANSWER_S))


def _key(rank: int) -> str:
    return f"deepspeech2/heartbeat/{rank}"
