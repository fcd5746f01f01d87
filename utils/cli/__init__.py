"""The command line: programs described beside their keys, run by Hydra, with plain errors."""

import sys
from types import TracebackType

from utils.cli.process import INTERRUPTED, say_last

_hook = sys.excepthook


def _interrupted_while_loading(kind: type[BaseException], error: BaseException,
                               trace: TracebackType | None) -> None:
    """Say one line where Ctrl-C came before a program began, while its modules were loaded."""
    if issubclass(kind, KeyboardInterrupt):
        say_last(INTERRUPTED)
    else:
        _hook(kind, error, trace)


sys.excepthook = _interrupted_while_loading
