"""Stop a run between two steps when it is asked to, and say which step broke it."""

import multiprocessing
import signal
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # slow to import, and most scripts need no more than `end_workers`
    from lightning_fabric import Fabric

WORKER_GRACE_S = 30


class StopRequest:
    """Remembers SIGINT or SIGTERM until the step at hand is done; a second SIGINT interrupts at
    once."""

    def __init__(self) -> None:
        self.received: str | None = None
        self.before = {number: signal.signal(number, self._receive)
                       for number in (signal.SIGINT, signal.SIGTERM)}

    def forget(self) -> None:
        """Leave both signals to whoever had them before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def agreed(self, fabric: "Fabric") -> bool:
        """True on all processes after the step at which any of them was asked to stop."""
        if fabric.world_size == 1:
            return self.received is not None
        import torch  # slow to load, and every command needs `end_workers`

        flag = torch.tensor(float(self.received is not None), device=fabric.device)
        return bool(fabric.all_reduce(flag, reduce_op="sum") > 0)


def outlast_signals(worker: int) -> None:
    """For data loading processes: a signal to the whole group reaches them too, but their parent
    needs them to finish its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(WORKER_GRACE_S))


def end_workers() -> None:
    """End data loading processes that an error left behind, at once."""
    children = [child for child in multiprocessing.active_children()
                if not type(child).__module__.startswith("joblib")]  # these it ends itself
    if children:
        # torch's handler would report their end as a fault
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in children:
        child.kill()


def not_finite(found: str, names: Sequence[str], epoch: int, step: int, last_good: object,
               remedy: str) -> str:
    """The message for a step whose loss is not finite, but `found`; without names of tiles where
    they are not known."""
    saved = f"the last good checkpoint is {last_good} (go back to an older one if it fails again)" if last_good else (
        "no checkpoint was saved before it")
    where, look = (f" on the tiles {', '.join(names)}",
                   "look at these tiles, ") if names else ("", "")
    return f"epoch {epoch}, step {step}: the loss is not finite ({found}){where}; {saved}; {look}{remedy}"
