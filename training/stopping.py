"""Stop a run between two steps."""

import signal
from types import FrameType

import torch
from lightning_fabric import Fabric

WORKER_GRACE_S = 30


class StopRequest:
    """Remembers SIGINT, SIGTERM or SIGHUP until the current step is done; a second SIGINT
    interrupts at once, a second SIGTERM changes nothing until the process has ended: schedulers
    send several.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self.before = {number: signal.signal(number, self._receive)
                       for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
                       if signal.getsignal(number) != signal.SIG_IGN}  # as nohup leaves SIGHUP

    def forget(self) -> None:
        """Restore the handlers of the signals."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        else:
            self.before.pop(signal.SIGTERM, None)  # `forget` leaves it ignored
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def agreed(self, fabric: Fabric) -> bool:
        """Whether any process was asked to stop; all must call it."""
        if fabric.world_size == 1:
            return self.received is not None
        flag = torch.tensor(float(self.received is not None), device=fabric.device)
        return bool(fabric.all_reduce(flag, reduce_op="sum") > 0)


def outlast_signals(worker: int) -> None:
    """Let a data loading process survive a signal to the whole group, so that its parent can
    finish its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: signal.alarm(WORKER_GRACE_S))
