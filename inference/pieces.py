"""Numbered files that are whole or absent, so that a stopped run resumes after the last one: rows
of pixels on their way to a map, vectors of tiles on their way to tables and rasters."""

import functools
import io
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zstandard
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from utils.contents import ContentFault, Items, Text, parse_json
from utils.files import remove_unfinished, replacing
from utils.progress import passing_bar, say

_LEVEL = 1  # of compression: classes shrink to a fiftieth in no time
_OPEN = 16  # parts at once; their pages count as memory until they are needed for something else


class Pieces(ABC):
    """A folder of `count` pieces, made if missing, and cleared of a killed process's leftovers
    and of pieces that are no longer as they were written, which are to be made again."""

    suffix: str

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        there = [number for number in range(count) if self._path(number).is_file()]
        damaged = [number for number in passing_bar(there, "checking the work of a stopped run",
                                                    "piece") if not self._is_whole(number)]
        for number in damaged:
            self._path(number).unlink()
        if damaged:
            say([f"{len(damaged)} of {len(there)} pieces of a stopped run's work are damaged, and "
                 "are made again"])

    def missing(self) -> list[int]:
        """Return the numbers of the pieces that are still to be made."""
        return [number for number in range(self.count) if not self._path(number).is_file()]

    @abstractmethod
    def _is_whole(self, number: int) -> bool:
        """Return whether a piece is as it was written."""

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:07d}{self.suffix}"


class Strips(Pieces):
    """Strips of a map, [bands, rows, columns] each, from the top."""

    suffix = ".npy.zst"

    @property
    def done(self) -> int:
        """The number of strips that are there, without a gap from the top."""
        return min(self.missing(), default=self.count)

    def write(self, number: int, strip: np.ndarray) -> None:
        """Write a strip, whole or not at all."""
        plain = io.BytesIO()
        np.save(plain, strip, allow_pickle=False)
        with replacing(self._path(number)) as temporary:
            temporary.write_bytes(zstandard.ZstdCompressor(_LEVEL, write_checksum=True).compress(
                plain.getbuffer()))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield all strips from the top."""
        return map(self._read, range(self.count))

    def _read(self, number: int) -> np.ndarray:
        return np.load(io.BytesIO(zstandard.decompress(self._path(number).read_bytes())),
                       allow_pickle=False)

    def _is_whole(self, number: int) -> bool:
        try:
            return self._read(number).ndim == 3
        except (OSError, ValueError, EOFError, zstandard.ZstdError):
            return False


class Parts(Pieces):
    """Parts of a dataset or a scene, in the order of rows, then columns.

    A part holds n tiles: `place` int32 [n, 3] (area, column and row on the area's grid of tiles),
    `objects` int32 [n], with patches `thumbnail` uint8 [n, s, s, 3], and float32 vectors [n, D]
    or [n, L, D] by name.
    """

    suffix = ".safetensors"

    def __init__(self, folder: Path, count: int):
        super().__init__(folder, count)
        self._open = functools.lru_cache(_OPEN)(lambda number: safe_open(self._path(number),
                                                                         framework="numpy"))

    def write(self, number: int, names: list[str], arrays: dict[str, np.ndarray]) -> None:
        """Write a part, whole or not at all; `names` are those of its tiles."""
        path = self._path(number)
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        with replacing(path, SafetensorError) as temporary:
            save_file(arrays, temporary, {"names": json.dumps(names),
                                          "crc32": _checksum(names, arrays)})

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each part that holds tiles, and the names of these."""
        for number in range(self.count):
            if names := self._names(number):
                yield number, names

    def _names(self, number: int) -> list[str]:
        return parse_json(self._open(number).metadata()["names"], Items(Text()))

    def _is_whole(self, number: int) -> bool:
        try:
            # not by `_open`: a damaged file would stay open
            with safe_open(self._path(number), framework="numpy") as part:
                arrays = {name: part.get_tensor(name) for name in part.keys()}  # noqa: SIM118
                about = part.metadata() or {}
            names = parse_json(about.get("names", ""), Items(Text()))
            # an earlier version wrote no checksum
            return about.get("crc32") in (None, _checksum(names, arrays))
        except (OSError, SafetensorError, ContentFault, ValueError, TypeError):
            return False

    def read(self, number: int, name: str, tile: int | None = None) -> np.ndarray:
        """Return an array of a part, or its row `tile` alone."""
        array = self._open(number).get_slice(name)
        return array[:] if tile is None else array[tile:tile + 1][0]

    def locate(self, area: int, columns: int, rows: int) -> np.ndarray:
        """Return where the tiles of an area are, [rows, columns, 2]: number of the part, row in
        the part; -1 where there is no tile."""
        located = np.full((rows, columns, 2), -1, np.int32)
        for number, _ in self:
            cells = self.read(number, "place")
            own = np.flatnonzero(cells[:, 0] == area)
            located[cells[own, 2], cells[own, 1]] = np.stack([np.full_like(own, number), own], 1)
        return located


def _checksum(names: list[str], arrays: dict[str, np.ndarray]) -> str:
    """Return the CRC-32 of a part's content."""
    crc = zlib.crc32(json.dumps(names).encode())
    for name, array in sorted(arrays.items()):
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8), crc)
    return f"{crc:08x}"
