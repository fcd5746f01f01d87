"""The environment of processes that tests start, the end of those that a run leaves, and a disk
that is full."""

import gc
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children

# What a run of several processes leaves in the environment of the one that started it: another run
# would take its port.
OF_ONE_RUN = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "RANK", "WORLD_SIZE",
              "LOCAL_WORLD_SIZE")


def environment() -> dict[str, str]:
    """This process's, but one thread each, and nothing of runs that this process has made
    itself."""
    return {name: value for name, value in os.environ.items()
            if name not in OF_ONE_RUN} | {"OMP_NUM_THREADS": "1"}


def end_children() -> None:
    """Kill the processes that a failed run left, as a script does at its end; torch would raise
    in the middle of another test when it hears of it."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in active_children():
        child.kill()
        child.join()
    gc.collect()
    signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, which is an OSError as a full disk is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
