"""Strips of a raster on their way to their file, each whole or absent, so that a stopped run goes on where it was."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zstandard

from utils.files import remove_unfinished, replacing

_LEVEL = 1  # of compression: classes shrink to a fiftieth, and nobody waits for it


class Strips:
    """A folder of strips, numbered from the top.

    Args:
        folder: made where it is missing, and cleared of what a killed process was writing.
        count: of all strips.
    """

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count
        folder.mkdir(exist_ok=True)
        remove_unfinished(folder)

    @property
    def done(self) -> int:
        """How many are there, without a gap from the top."""
        return next((number for number in range(self.count) if not self._path(number).is_file()), self.count)

    def write(self, number: int, strip: np.ndarray) -> None:
        """Write a strip [bands, rows, columns], whole or not at all."""
        plain = io.BytesIO()
        np.save(plain, strip, allow_pickle=False)
        with replacing(self._path(number)) as part:
            part.write_bytes(zstandard.compress(plain.getbuffer(), _LEVEL))

    def __iter__(self) -> Iterator[np.ndarray]:
        """All strips [bands, rows, columns] from the top."""
        for number in range(self.count):
            yield np.load(io.BytesIO(zstandard.decompress(self._path(number).read_bytes())), allow_pickle=False)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:07d}.npy.zst"
