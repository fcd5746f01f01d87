"""Files that are whole or absent: written under a temporary name, then renamed."""

import os
from collections.abc import Callable
from pathlib import Path

_TEMPORARY = ".writing"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` with a temporary path in the folder of `path`, then rename it to `path`; on any failure nothing is left of either."""
    temporary = path.with_name(f".{path.name}{_TEMPORARY}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed `write_atomically` left in `folder`."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)
