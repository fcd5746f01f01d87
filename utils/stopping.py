"""Stop a run between two steps when it is asked to, and say which step broke it."""

import signal
from collections.abc import Sequence
from types import FrameType

import torch
from lightning_fabric import Fabric


class StopRequest:
    """Remembers SIGINT or SIGTERM until the step at hand is done; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.received: str | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def agreed(self, fabric: Fabric) -> bool:
        """True on all processes after the step at which any of them was asked to stop."""
        if fabric.world_size == 1:
            return self.received is not None
        flag = torch.tensor(float(self.received is not None), device=fabric.device)
        return bool(fabric.all_reduce(flag, reduce_op="sum") > 0)


def ignore_signals(worker: int) -> None:
    """For data loading processes: Ctrl-C reaches them too, but their parent decides when they end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def not_finite(losses: Sequence[float], names: Sequence[str], epoch: int, step: int, last_good: object) -> str:
    """The message for a step whose loss is not finite."""
    saved = f"the last good checkpoint is {last_good}" if last_good else "no checkpoint was saved before it"
    return (f"epoch {epoch}, step {step}: the loss is not finite (image {losses[0]}, OSM {losses[1]}) on the tiles {', '.join(names)}; "
            f"{saved}; look at these tiles, lower blr, or use precision=32-true")
