"""A few threads that wait for servers while one collects what they bring."""

from collections.abc import Callable, Iterable, Iterator
from multiprocessing.pool import ThreadPool
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item],
               count: int) -> Iterator[Result]:
    """Yield the function's results of items, in any order; the first error ends it, after the
    items that have begun, and Ctrl-C at once: the threads never keep the program from ending."""
    with ThreadPool(count) as pool:  # its threads are daemons, those of concurrent.futures are not
        try:
            yield from pool.imap_unordered(function, items)
            pool.close()
        except Exception:
            pool.terminate()  # the items that wait are left
            pool.join()       # what is tried next must not meet these threads at the same files
            raise
        pool.join()  # workers that are forked next must not inherit a thread's locks
