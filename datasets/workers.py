"""Processes that share work. Each has a pipe of its own: a queue of all has a lock, and a process
that is killed while it holds the lock stops the others for ever."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any

from utils.errors import RoseError

GRACE_S = 5  # for an idle process to end by itself


class WorkerDied(Exception):
    """A process ended before its work did."""


def by_workers(work: Callable[[Any], Any], items: Sequence[Any], count: int,
               preload: str) -> Iterator[Any]:
    """Call `work(item)` for each item in `count` processes, which take the items in order; yield
    each item when it is done, in any order. Raise WorkerDied, or what `work` raises in a process.

    Args:
        work: a function of a module, or a partial of one.
        preload: the module that holds it, which the processes share.
    """
    context, waiting, workers = _context(preload), deque(items), []
    try:
        for _ in range(min(count, len(items))):
            workers.append(_Worker(context, work))
            workers[-1].give(waiting.popleft())
        busy = {worker.pipe: worker for worker in workers}
        while busy:
            for pipe in wait(list(busy)):
                done = busy[pipe].take()
                if waiting:
                    busy[pipe].give(waiting.popleft())
                else:
                    del busy[pipe]
                yield done
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process and the item that it works on."""

    def __init__(self, context: BaseContext, work: Callable[[Any], Any]):
        self._idle = False
        self.pipe, far_end = context.Pipe()
        self._process = context.Process(target=_work, args=(far_end, work), daemon=True)
        try:
            with _alive():
                self._process.start()
        finally:
            far_end.close()  # the process has its own: when it ends, the pipe does

    def give(self, item: Any) -> None:
        """Let it work on an item."""
        self._item, self._idle = item, False
        with _alive():
            self.pipe.send(item)

    def take(self) -> Any:
        """Return the item that it has done, or raise what it failed with."""
        with _alive():
            fault = self.pipe.recv()
        self._idle = True
        if fault is not None:
            raise fault
        return self._item

    def end(self) -> None:
        self.pipe.close()
        if self._idle:  # it sees that, and leaves nothing behind
            self._process.join(GRACE_S)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()


@contextmanager
def _alive() -> Iterator[None]:
    """Raise WorkerDied if a process, or the server that starts it, ended during the block."""
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise WorkerDied from error


def _context(preload: str) -> BaseContext:
    # a server forks workers from a process that has imported everything and holds no threads:
    # quick, and their pages are shared
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    _start_server()
    return context


def _start_server() -> None:
    """Start the server of workers so that it ignores Ctrl-C, which its parent handles."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may choose
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, handler)


def _work(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Work on items as they come, and answer each with None or what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_follow_parent, daemon=True).start()
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            work(item)
        except Exception as error:  # raised in the parent
            if not isinstance(error, RoseError | OSError):
                error.add_note(traceback.format_exc())
            pipe.send(error)
        else:
            pipe.send(None)


def _follow_parent() -> None:
    """End this process in the middle of its work when its parent is killed."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
