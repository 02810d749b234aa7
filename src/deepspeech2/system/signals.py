"""Ctrl-C and the SIGTERM of a cluster: the run finishes the current step, saves a checkpoint and ends."""

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from types import FrameType

import torch
import torch.distributed as dist
from transformers import TrainerCallback

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
REPEAT_S = 2  # a second signal within this time is the first one, forwarded by a launcher
PARENT_CHECK_S = 5  # as often as a data worker of torch looks for its parent
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StopOnSignal(TrainerCallback):
    """
    Stops training at the end of a step, with a checkpoint, once any of its processes gets a stop signal.

    It is a context manager that sets the signal handlers. A second signal stops the process at once.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.stopped_at: int | None = None
        self._received_at = 0.0
        self._pid = os.getpid()
        self._before: dict[signal.Signals, object] = {}
        self._group: dist.ProcessGroup | None = None

    def __enter__(self) -> "StopOnSignal":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a data worker, forked with this handler, whose process still needs it
        now = time.monotonic()
        if self.received is None:
            self.received, self._received_at = signal.Signals(number), now
            logger.warning(
                "%s received: stopping after this step, with a checkpoint; a second one stops at once",
                self.received.name,
            )
        elif now - self._received_at > REPEAT_S:
            self.__exit__()
            signal.raise_signal(number)

    def on_train_begin(self, args, state, control, **kwargs):
        if args.world_size > 1:
            # Gloo even with NCCL: the processes agree without waiting for their GPUs, and a lost process raises an
            # error here instead of a hang.
            self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=args.ddp_timeout))

    def on_step_end(self, args, state, control, **kwargs):
        number = torch.tensor(0 if self.received is None else int(self.received))
        if self._group is not None:
            dist.all_reduce(number, dist.ReduceOp.MAX, group=self._group)
        if number:
            self.received, self.stopped_at = signal.Signals(int(number)), state.global_step
            control.should_log = control.should_save = control.should_training_stop = True

    def end_run(self) -> None:
        """
        End the process with the exit status of its stop signal, if it got one.

        A signal after the last step writes no checkpoint: the finished model replaces it.

        Raises:
            SystemExit: with 128 plus the number of the signal, as shells do.
        """
        if self.received is not None:
            where = "after training" if self.stopped_at is None else f"at step {self.stopped_at}"
            logger.warning("stopped %s; run the same command to resume from there", where)
            sys.exit(128 + self.received)


def only_parent_stops(worker: int) -> None:
    """
    Make a data worker ignore signals that a terminal, a cluster or a launcher sends to the whole process group.

    The training process needs its workers until its end, and ends them itself. With torch's own handling, any SIGTERM
    ends a worker, and the lost worker ends the training with an error. Here a worker ends only on its parent's SIGTERM,
    or with its parent. torch's own end with a killed parent waits for ever if a batch is on its way to it. macOS does
    not tell who sent a signal, so torch's handling stays there.

    Args:
        worker: the number of the worker, which `DataLoader` passes. It is not used.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        parent = os.getppid()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

        def listen() -> None:
            while os.getppid() == parent:
                found = signal.sigtimedwait({signal.SIGTERM}, PARENT_CHECK_S)
                if found is not None and found.si_pid == parent:
                    break
            os._exit(0)

        threading.Thread(target=listen, daemon=True).start()


def die_with_launcher() -> None:
    """
    Make the kernel send SIGTERM to this process when its launcher dies, so that it stops with a checkpoint.

    `accelerate launch` of one process does not forward signals. Linux only: elsewhere the process keeps running.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
