"""Reports: one HTML page of a run's folder or of several, complete in itself, and posters of maps.

Here live the readers of the runs' files, the sections of pages, their style and their scripts. A
page shows the figures that the run drew and may not draw them again. This room knows runs by their
files alone: it may import utils, and may not import models, datasets or the rooms above them.
"""

from importlib import import_module

__all__ = ["REPORT", "write_report"]


def __getattr__(name: str) -> object:
    """Load a name of the page when it is asked for: keys of reports are read without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("reports.page"), name)
