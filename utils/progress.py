"""Progress bars that suit a terminal and a log file alike."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

_DELAY_S = 5

def progress_bar(total: int, initial: int, unit: str, enabled: bool = True) -> tqdm:
    """A bar; a log file gets a line a half minute instead of one that redraws itself."""
    quiet = {} if sys.stderr.isatty() else {"mininterval": 30, "ncols": 100}
    return tqdm(total=total, initial=initial, unit=unit, dynamic_ncols=not quiet, smoothing=0.1, disable=not enabled, **quiet)


def passing_bar(batches: Iterable, what: str, enabled: bool = True) -> tqdm:
    """`batches` with a bar that comes only when they take more than a few seconds, and goes with the last of them."""
    pace = 0.1 if sys.stderr.isatty() else 30
    return tqdm(batches, what, unit="batch", leave=False, delay=_DELAY_S, mininterval=pace, disable=not enabled)
