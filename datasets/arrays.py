"""Read .npy files without trusting them: no archive, no objects, the shape and size they state."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.errors import RoseError, one_line

_MAGIC = b"\x93NUMPY"


def read_array(path: Path, kinds: str, shape: Sequence[int | None], remedy: str,
               error: type[RoseError] = RoseError, mmap: bool = False) -> np.ndarray:
    """Return the array in a .npy file.

    Args:
        kinds: numpy's letters of the types that are allowed, such as "f" or "iu".
        shape: the sizes expected; None where any is.
        remedy: ends the message.
        error: what is raised.
        mmap: leave the array on disk, as a plain read-only array of mapped pages.

    Raises:
        RoseError: of the class `error`: the file is missing, of another kind, of another type or
            shape, or shorter or longer than it states.
    """
    expected = f"an array {_shape_text(shape)}"
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        array = np.load(path, mmap_mode="r", allow_pickle=False) if magic == _MAGIC else None
        size = path.stat().st_size
    except Exception as problem:  # numpy parses the header, and a damaged one may raise anything
        raise error(f"{path}: cannot be read ({one_line(problem)}), expected {expected}; {remedy}"
                    ) from problem
    if array is None:
        raise error(f"{path}: is no .npy file, expected {expected}; {remedy}")
    fits = array.ndim == len(shape) and all(
        size in (None, actual) for size, actual in zip(shape, array.shape, strict=True))
    if array.dtype.kind not in kinds or not fits:
        raise error(f"{path}: holds {array.dtype} {list(array.shape)}, expected {expected} of "
                    f"{_kinds_text(kinds)}; {remedy}")
    if size != array.offset + array.nbytes:
        raise error(f"{path}: has {size} bytes, expected {array.offset + array.nbytes} for "
                    f"{array.dtype} {list(array.shape)}; {remedy}")
    return array.view(np.ndarray) if mmap else np.array(array)


def _shape_text(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def _kinds_text(kinds: str) -> str:
    names = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "b": "true and false"}
    return " or ".join(dict.fromkeys(names[kind] for kind in kinds))
