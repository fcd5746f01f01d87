"""Progress bars that suit a terminal and a log file alike."""

import sys

from tqdm import tqdm


def progress_bar(total: int, initial: int, unit: str, enabled: bool = True) -> tqdm:
    """A bar; a log file gets a line a half minute instead of one that redraws itself."""
    quiet = {} if sys.stderr.isatty() else {"mininterval": 30, "ncols": 100}
    return tqdm(total=total, initial=initial, unit=unit, dynamic_ncols=not quiet, smoothing=0.1, disable=not enabled, **quiet)
