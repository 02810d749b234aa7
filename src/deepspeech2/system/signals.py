"""Ctrl-C, and the SIGTERM of a cluster: the step under way is finished, a checkpoint written, and the run ends."""

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
REPEAT_S = 2  # a second signal within this time is the same one, passed on by a launcher
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StopOnSignal(TrainerCallback):
    """
    Stops a training at the end of a step, with a checkpoint, once any of its processes is told to stop.

    Used as a context, inside which the handlers are set. A second signal stops at once.
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
            logger.warning("%s: stopping after this step, with a checkpoint; again: at once", self.received.name)
        elif now - self._received_at > REPEAT_S:
            self.__exit__()
            signal.raise_signal(number)

    def on_train_begin(self, args, state, control, **kwargs):
        if args.world_size > 1:
            # Gloo, also beside NCCL: the processes agree without waiting for their GPUs, and one that is gone is
            # found out here, as an error and not as a hang.
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
        Ends the process as one that was stopped by the signal, if it was; after the last step without a checkpoint,
        which the finished model is.

        Raises:
            SystemExit: with 128 and the signal's number, as shells do.
        """
        if self.received is not None:
            where = "after the training" if self.stopped_at is None else f"at step {self.stopped_at}"
            logger.warning("stopped %s; the same command goes on from there", where)
            sys.exit(128 + self.received)


def only_parent_stops(worker: int) -> None:
    """
    Makes a data worker, whose number is not looked at, deaf to signals that are sent to the whole group of processes,
    as by a terminal, a cluster or a launcher: the training needs it until its own end, and ends it then.

    torch ends a worker on any SIGTERM and, for a worker that died so, the training with an error. Here it ends on its
    parent's alone. Where the system does not tell who sent a signal, as on macOS, it is as torch leaves it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        parent = os.getppid()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

        def listen() -> None:
            while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
                pass
            os._exit(0)

        threading.Thread(target=listen, daemon=True).start()


def die_with_launcher() -> None:
    """
    A launcher that is killed takes its processes with it: they get SIGTERM, and stop with a checkpoint.

    `accelerate launch` of one process does not pass signals on. Linux only; elsewhere the process lives on.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
