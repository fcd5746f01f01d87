"""Put back what a stopped run left."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import CheckpointError, one_line


@contextmanager
def restoring(path: Path, remedy: str) -> Iterator[None]:
    """Raise CheckpointError, which ends with `remedy`, if something in the block does not take
    what the file `path` holds: torch checks its states as it loads them, by various errors."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: does not fit this run ({one_line(error)}), expected what "
                              f"it saved there; {remedy}") from error
