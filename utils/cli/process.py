"""What surrounds a program: its streams, the signals that end it, and its last line."""

import errno
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import active_children, parent_process
from types import FrameType

INTERRUPTED = ("interrupted; nothing half-written is left, and the same command continues or "
               "starts again")
READER_GONE = 128 + signal.SIGPIPE
_ENDING = ("SIGTERM", "SIGHUP")


class Ended(BaseException):
    """A signal asked the program to end; `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def prepared() -> Iterator[None]:
    """Give the block streams that take any text, and let SIGTERM and SIGHUP raise Ended in it."""
    _open_streams()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in _ENDING:
            number = getattr(signal, name)
            if signal.getsignal(number) == signal.SIG_DFL:  # not under nohup
                before[number] = signal.signal(number, _end)
    try:
        yield
    except Ended:
        before.clear()  # signals stay ignored until the program has ended
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    if parent_process() is not None:  # a forked worker, which has nothing to say
        os._exit(128 + number)
    for name in _ENDING:  # what follows is the way out, which another signal may not cut
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise Ended(number)


def _open_streams() -> None:
    """Open closed streams to nowhere, or the next file opened would receive what is printed, and
    escape what a terminal's encoding lacks."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say_last(line: str) -> None:
    """Print a line on stderr, if there is someone to read it."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def output_ended() -> bool:
    """Return whether whoever read the program's output has gone: a pipe's reader or a terminal."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)  # of itself it reports errors alone
    return bool(poll.poll(0))


def is_output_fault(error: BaseException) -> bool:
    """Return whether `error` says that nobody reads the program's output any more."""
    return (isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.EIO)
            and error.filename is None and output_ended())


def flush_output() -> None:
    """Write what was printed; OSError if that fails, after which nothing more is tried."""
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()
        raise


def drop_output() -> None:
    """Let what is still to be printed go nowhere, so that the end of Python says nothing."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def end_workers() -> None:
    """Kill the data loading processes that an error left behind."""
    children = [child for child in active_children()
                if not type(child).__module__.startswith("joblib")]  # these it ends itself
    if children:  # torch's handler would report their end as a fault
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in children:
        child.kill()
