"""The processes that load tiles, and what is said when one of them is lost."""

import multiprocessing
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader

from utils.errors import RoseError, one_line

_LOST = re.compile(r"DataLoader worker \(pid(?:\(s\))? (\d+)")
_NO_MEMORY = re.compile("allocate memory|out of memory|shared memory|shm", re.IGNORECASE)
_DYING_S = 2  # a worker whose connection is lost is dead by then


def batches_of(loader: DataLoader) -> Iterator[Any]:
    """Yield the batches of a loader.

    Raises:
        RoseError: memory ran out, or a process that loads tiles was killed. It is raised where its
            batch is waited for, so that several processes of a run can agree to end; torch alone
            would raise it in the middle of whatever is done then.
    """
    iterator, workers = None, []
    while True:
        try:
            with _watched():
                iterator = iterator or iter(loader)
                batch = next(iterator)
        except StopIteration:
            return
        except (MemoryError, RuntimeError) as error:
            message = _message(error, loader.num_workers, workers)
            if message is None:
                raise
            raise RoseError(message) from error
        workers = workers or multiprocessing.active_children()
        yield batch


@contextmanager
def _watched() -> Iterator[None]:
    """Raise RuntimeError in the block as soon as a worker is lost: a message that it had half
    written would be waited for without end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
    signal.signal(signal.SIGCHLD, lambda *_: torch._C._error_if_any_worker_fails())
    try:
        torch._C._error_if_any_worker_fails()  # since the batch before
        yield
    except (ConnectionError, EOFError):
        time.sleep(_DYING_S)  # unless the signal comes
        raise
    finally:
        signal.signal(signal.SIGCHLD, before)


def _message(error: Exception, num_workers: int,
             workers: list[multiprocessing.Process]) -> str | None:
    """Return what to say of an error of torch; None if no worker and no memory is its cause."""
    text = str(error)
    fewer = ("use fewer num_workers= or a smaller batch_size=" if num_workers
             else "use a smaller batch_size=")
    if lost := _LOST.search(text):
        codes = {worker.pid: worker.exitcode for worker in workers}
        number = -(codes.get(int(lost[1])) or 0)
        how = f"killed by {signal.Signals(number).name}" if number > 0 else "lost"
        why = ("/dev/shm is full, or a file of the tiles shrank while it was read"
               if "Bus error" in text or number == signal.SIGBUS else "memory ran out")
        return (f"num_workers={num_workers}: process {lost[1]} of those that load tiles was {how}, "
                f"probably because {why}; {fewer}, and the same command continues")
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        reason = next((line for line in reversed(text.splitlines()) if line.strip()), "MemoryError")
        return (f"num_workers={num_workers}: memory ran out while tiles were loaded "
                f"({one_line(RuntimeError(reason))}); {fewer}, and the same command continues")
    return None
