"""Which processes of a run are still there, so that the error of a lost connection can name who is gone."""

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
    Every process counts up a number of its own at the run's meeting point; one whose number stands still is gone.

    Nothing waits for it: it only says, once a collective operation has failed, which process that was. To be
    made by all processes together.
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
            except DistError:  # the meeting point has closed: the run is over, or will say so
                return
            if self._end.wait(INTERVAL_S):
                return

    def absent(self) -> list[str]:
        """The processes that do not count on, each with its host; takes some seconds."""
        try:
            store = _connect()
            before = [store.add(_key(rank), 0) for rank in range(self.world_size)]
            self._end.wait(SILENCE_S)
            after = [store.add(_key(rank), 0) for rank in range(self.world_size)]
        except DistError:
            return [
                f"process 0 on {self.hosts[0]}, or the launcher beside it, whose address {self.meeting_point} is silent"
            ]
        return [
            f"process {rank} on {self.hosts[rank]}"
            for rank, (first, last) in enumerate(zip(before, after, strict=True))
            if first == last
        ]


@contextmanager
def naming_the_lost(rank: int, world_size: int) -> Iterator[None]:
    """
    Says which process is gone where the work inside fails because of another one; to be entered by all together.

    Raises:
        ConnectionError: processes are gone or stand still.
    """
    if world_size == 1:
        yield
        return
    heartbeat = Heartbeat(rank, world_size)
    try:
        yield
    except RuntimeError as error:  # that of gloo and of NCCL
        if absent := heartbeat.absent():
            raise ConnectionError(
                f"this run of {world_size} processes cannot go on without {' and '.join(absent)}, which ended or "
                "stands still: its own log says why. The same command, on all machines, goes on from the last "
                f"checkpoint ({error})"
            ) from error
        raise
    finally:
        heartbeat.stop()


def _connect() -> TCPStore:
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=False, timeout=timedelta(seconds=ANSWER_S))


def _key(rank: int) -> str:
    return f"deepspeech2/heartbeat/{rank}"
