"""The two ways to read the compact layout's files: small ones whole and checked, large ones piece
by piece. No file is mapped: a mapped file that shrinks kills its reader, and a read says so."""

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.arrays import read_array
from utils.errors import TileError, one_line
from utils.files import size_and_crc32


class PieceFile:
    """An array on disk of which tiles have consecutive rows.

    Many processes may read one object: each read names its place, and the pages are the system's.

    Args:
        path: a .npy file of one or two dimensions; of another ending, plain bytes.
        kinds, shape: as in `datasets.arrays.read_array`.
        remedy: ends every message.

    Raises:
        TileError: the file is missing, or not such an array.
    """

    def __init__(self, path: Path, kinds: str, shape: Sequence[int | None], remedy: str):
        self.path, self._remedy = path, remedy
        self._file: io.FileIO | None = None
        self._dtype, self._columns, self._begin = np.dtype(np.uint8), (), 0
        if path.suffix == ".npy":
            array = read_array(path, kinds, shape, remedy, TileError, mmap=True)
            if not array.flags.c_contiguous:
                raise TileError(f"{path}: holds columns one after the other, expected rows; "
                                f"{remedy}")
            self._dtype, self._columns = array.dtype, array.shape[1:]
            self._begin = path.stat().st_size - array.nbytes
        self._row = self._dtype.itemsize * math.prod(self._columns)  # bytes

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self._file.close()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_file": None}  # each process opens the file itself

    def read(self, first: int, last: int) -> np.ndarray:
        """Return rows `first` to `last`, the last one left out; read-only. Raise TileError if the
        file has become shorter."""
        expected = (last - first) * self._row
        try:
            if self._file is None:
                self._file = io.FileIO(self.path)
            found = os.pread(self._file.fileno(), expected, self._begin + first * self._row)
        except OSError as error:
            raise TileError(f"{self.path}: cannot be read ({one_line(error)}), "
                            f"expected an array; {self._remedy}") from error
        if len(found) != expected:
            raise TileError(f"{self.path}: has {os.fstat(self._file.fileno()).st_size} bytes, "
                            "expected as many as when the dataset was opened; the file was "
                            f"truncated since; {self._remedy}")
        rows = np.frombuffer(found, self._dtype)
        return rows.reshape(-1, *self._columns) if self._columns else rows


def check_file(path: Path, size: int, crc32: int | None, remedy: str) -> None:
    """Raise TileError if a file is missing, or has another size or checksum than written down."""
    if not path.is_file():
        raise TileError(f"{path}: missing, expected a file of {size} bytes; {remedy}")
    if (actual := path.stat().st_size) != size:
        raise TileError(f"{path}: has {actual} bytes, expected {size}; the file is truncated or "
                        f"was changed; {remedy}")
    if crc32 is not None and size_and_crc32(path)[1] != crc32:
        raise TileError(f"{path}: does not have its checksum, expected what was written; the file "
                        f"is damaged; {remedy}")


def read_starts(path: Path, tiles: int, end: int, remedy: str) -> np.ndarray:
    """Return where the pieces of `tiles` tiles begin, and the last ends: int64 [tiles + 1]. Raise
    TileError unless they ascend from 0 to `end`."""
    starts = read_array(path, "iu", (tiles + 1,), remedy, TileError).astype(np.int64)
    if starts[0] != 0 or starts[-1] != end or (np.diff(starts) < 0).any():
        raise TileError(f"{path}: goes from {starts[0]} to {starts[-1]}, or not upwards, expected "
                        f"ascending from 0 to {end}; {remedy}")
    return starts
