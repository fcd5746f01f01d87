"""Progress bars that suit a terminal and a log file alike."""

import sys
from collections.abc import Iterable, Sequence

from tqdm import tqdm

_DELAY_S = 2


def progress_bar(total: int, initial: int, unit: str, enabled: bool = True) -> tqdm:
    """A bar; a log file gets a line a half minute instead of one that redraws itself."""
    quiet = {} if sys.stderr.isatty() else {"mininterval": 30, "ncols": 100}
    return tqdm(total=total, initial=initial, unit=unit, dynamic_ncols=not quiet, smoothing=0.1,
                disable=not enabled, **quiet)


def passing_bar(items: Iterable | None, what: str, unit: str = "batch", total: int | None = None,
                enabled: bool = True) -> tqdm:
    """`items` with a bar that comes only when they take more than a few seconds, and goes with the
    last of them.

    Args:
        items: None: the caller counts `total` with the bar's `update`, and closes it.
    """
    pace = 0.1 if sys.stderr.isatty() else 30
    return tqdm(items, what, total, unit=unit, leave=False, delay=_DELAY_S, mininterval=pace,
                disable=not enabled)


def say_stage(bar: tqdm, stage: str) -> None:
    """Name on a passing bar, if it has had time to come, work of which nothing can be counted; the
    bar stands still for it."""
    bar.set_postfix_str(stage, refresh=False)
    bar.miniters = bar.mininterval = 0  # what is counted after the delay is shown at once
    bar.update(0)


def say(notes: Sequence[str]) -> None:
    """Tell the user, past any progress bar."""
    for note in notes:
        tqdm.write(f"note: {note}")
