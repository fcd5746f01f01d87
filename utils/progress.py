"""Progress on a terminal and in a log file: bars, stages and notes."""

import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

_DELAY_S = 2


def progress_bar(total: int, initial: int, unit: str, enabled: bool = True) -> tqdm:
    """Return a bar that redraws itself; in a log file it writes a line every half minute."""
    quiet = {} if sys.stderr.isatty() else {"mininterval": 30, "ncols": 100}
    return tqdm(total=total, initial=initial, unit=unit, dynamic_ncols=not quiet, smoothing=0.1,
                disable=not enabled, **quiet)


def passing_bar(items: Iterable | None, what: str, unit: str = "batch", total: int | None = None,
                enabled: bool = True) -> tqdm:
    """Return `items` with a bar that appears only when they take more than a few seconds, and
    disappears with the last of them.

    Args:
        items: None: the caller counts `total` with the bar's `update`, and closes it.
    """
    interval = 0.1 if sys.stderr.isatty() else 30
    return tqdm(items, what, total, unit=unit, leave=False, delay=_DELAY_S, mininterval=interval,
                disable=not enabled)


def say_stage(bar: tqdm, stage: str) -> None:
    """Name a stage that cannot be counted on a passing bar, if the bar has appeared."""
    bar.set_postfix_str(stage, refresh=False)
    bar.miniters = bar.mininterval = 0  # what is counted after the delay is shown at once
    bar.update(0)


@contextmanager
def say_if_slow(what: str) -> Iterator[None]:
    """Print `what` is being done if the block, of which nothing can be counted, takes more than a
    few seconds."""
    timer = threading.Timer(_DELAY_S, tqdm.write, [f"{what} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say(notes: Sequence[str]) -> None:
    """Print notes for the user, past any progress bar."""
    for note in notes:
        tqdm.write(f"note: {note}")
