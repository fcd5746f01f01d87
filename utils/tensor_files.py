"""Read files of torch.save without ever running code."""

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from utils.errors import one_line


class FileFault(Exception):
    """A file that cannot be read; the message says why, in one short line.

    Attributes:
        refused: True if the file is whole and holds pickled objects, False if it is damaged.
    """

    def __init__(self, message: str, refused: bool):
        super().__init__(message)
        self.refused = refused


def load_tensors(path: Path, mmap: bool = False) -> Any:
    """Return what torch.save wrote to `path`: tensors and plain containers, on the CPU.

    Args:
        mmap: leave the tensors on disk until they are used.

    Raises:
        FileFault: the file is damaged, or holds pickled objects.
    """
    try:
        return torch.load(path, weights_only=True, map_location="cpu", mmap=mmap)
    except Exception as error:  # the unpickler may raise anything on a damaged file
        if isinstance(error, UnpicklingError) and _is_pickle(path):
            raise FileFault("holds pickled Python objects, refused for safety since loading them "
                            "can run any code", refused=True) from error
        reason = "empty file" if path.stat().st_size == 0 else one_line(error)
        raise FileFault(f"cannot be read ({reason}); the file is truncated or damaged",
                        refused=False) from error


def _is_pickle(path: Path) -> bool:
    """Whether a file is one of torch.save, and whole, or a bare pickle (its first byte names the
    protocol)."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80" or zipfile.is_zipfile(file)
