"""Vectors on their way to their files: a part for each stretch of tiles, whole or absent, so that
a stopped run goes on where it was."""

import functools
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zstandard
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from utils.files import failing_as, remove_unfinished, replacing

_OPEN = 16  # parts at once; their pages count as memory until they are needed for something else


class Parts:
    """A folder of parts.

    A part holds tiles in the order of rows, then columns: `place` int32 [n, 3] (area, column and
    row on the area's grid of tiles), `objects` int32 [n], with patches `thumbnail` uint8 [n, s, s,
    3], and float32 vectors [n, D] or [n, L, D] by name.
    """

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count
        self._open = functools.lru_cache(_OPEN)(lambda number: safe_open(self._path(number),
                                                                         framework="numpy"))

    def prepare(self) -> None:
        """Make the folder, and clear it of what a killed process was writing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.folder)

    def missing(self) -> list[int]:
        """The parts still to be made."""
        return [number for number in range(self.count) if not self._path(number).is_file()]

    def write(self, number: int, names: list[str], arrays: dict[str, np.ndarray]) -> None:
        """Write a part, whole or not at all; `names` are those of its tiles."""
        with replacing(self._path(number)) as temporary, failing_as(self._path(number),
                                                                    SafetensorError):
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()},
                      temporary, {"names": json.dumps(names)})

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Numbers of the parts that hold tiles, and the names of these."""
        for number in range(self.count):
            if names := json.loads(self._open(number).metadata()["names"]):
                yield number, names

    def read(self, number: int, name: str, tile: int | None = None) -> np.ndarray:
        """An array of a part; its row `tile` alone where that is given."""
        found = self._open(number).get_slice(name)
        return found[:] if tile is None else found[tile:tile + 1][0]

    def places(self, area: int, columns: int, rows: int) -> np.ndarray:
        """Part, and place in it, of each tile of an area: [rows, columns, 2]; -1 where there is
        none."""
        found = np.full((rows, columns, 2), -1, np.int32)
        for number, _ in self:
            place = self.read(number, "place")
            own = np.flatnonzero(place[:, 0] == area)
            found[place[own, 2], place[own, 1]] = np.stack([np.full_like(own, number), own],
                                                           axis=1)
        return found

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:07d}.safetensors"


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
        return next((number for number in range(self.count) if not self._path(number).is_file()),
                    self.count)

    def write(self, number: int, strip: np.ndarray) -> None:
        """Write a strip [bands, rows, columns], whole or not at all."""
        plain = io.BytesIO()
        np.save(plain, strip, allow_pickle=False)
        with replacing(self._path(number)) as part:
            part.write_bytes(zstandard.compress(plain.getbuffer(), _LEVEL))

    def __iter__(self) -> Iterator[np.ndarray]:
        """All strips [bands, rows, columns] from the top."""
        for number in range(self.count):
            yield np.load(io.BytesIO(zstandard.decompress(self._path(number).read_bytes())),
                          allow_pickle=False)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:07d}.npy.zst"
