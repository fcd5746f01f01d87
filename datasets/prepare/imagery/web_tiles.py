"""One web map tile: its place, which follows from its name, and its picture, from a file of its own
or from an archive.

The tiles of zoom z cut the square of EPSG:3857 into 2^z columns, counted from the west, and 2^z
rows, counted from the north.
"""

import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from datasets.prepare.geo.raster_io import open_picture
from utils.errors import PrepareError, one_line

MERCATOR = math.pi * 6378137  # metres: half a side of the square
MOST_SIDE = 8192              # pixels of a tile, which is decoded as a whole
MOST_BYTES = 64 << 20         # of a tile's file
_TABLE = "PRAGMA trusted_schema = OFF"


@dataclass(frozen=True)
class WebTile:
    """A tile's column `x` and row `y` of its zoom, and the pixels of a side that it is read with:
    most of its fellows have as many."""

    zoom: int
    x: int
    y: int
    side: int
    # where the picture stands in a PMTiles archive
    offset: int = 0
    length: int = 0

    @property
    def name(self) -> str:
        return f"{self.zoom}/{self.x}/{self.y}"

    @property
    def transform(self) -> Affine:
        pixel = 2 * MERCATOR / self.side / 2**self.zoom
        return Affine(pixel, 0, self.x * self.side * pixel - MERCATOR,
                      0, -pixel, MERCATOR - self.y * self.side * pixel)


@lru_cache(maxsize=1)
def web_mercator() -> CRS:
    return CRS.from_epsg(3857)


def shown(path: Path, tile: WebTile | None) -> str:
    """Return how messages call a file, or a tile of an archive."""
    return f"{path}, tile {tile.name}" if tile and is_archive(path) else str(path)


def remedy(path: Path) -> str:
    """Return what to do about a tile that cannot be used, to end a message."""
    return ("Get the archive again." if is_archive(path) else
            "Get it again, or remove it: then there is no imagery there.")


def is_archive(path: Path) -> bool:
    """Return whether a path ends as a file of many tiles."""
    return path.suffix.lower() in (".mbtiles", ".pmtiles")


def open_tile(path: Path, tile: WebTile) -> tuple[MemoryFile, rasterio.DatasetReader]:
    """Open a tile's picture; return its file in memory, to be closed at last, and the picture.

    Raises:
        PrepareError: it is missing, empty, no picture, too large or no square.
        One of RASTER_ERRORS: it is damaged.
    """
    name = shown(path, tile)
    file, dataset = open_picture(_content(path, tile), name, remedy(path))
    if dataset.width != dataset.height or dataset.width > MOST_SIDE:
        size = f"{dataset.width} x {dataset.height}"
        dataset.close()
        file.close()
        raise PrepareError(f"{name}: has {size} pixels, expected a square of at most {MOST_SIDE}, "
                           f"as web map tiles are. {remedy(path)}")
    return file, dataset


def _content(path: Path, tile: WebTile) -> bytes:
    try:
        if path.suffix.lower() == ".mbtiles":
            content = _in_mbtiles(path, tile)
        else:
            with path.open("rb") as file:
                file.seek(tile.offset)
                content = file.read(min(tile.length or MOST_BYTES + 1, MOST_BYTES + 1))
    except (OSError, sqlite3.Error) as error:
        raise PrepareError(f"{shown(path, tile)}: cannot be read ({one_line(error)}). "
                           f"{remedy(path)}") from error
    if len(content) > MOST_BYTES:
        raise PrepareError(f"{shown(path, tile)}: has more than {MOST_BYTES >> 20} MB, which is "
                           f"no web map tile. {remedy(path)}")
    if len(content) < tile.length:
        raise PrepareError(f"{shown(path, tile)}: the file ends before its picture, so it was "
                           "cut short. Get the file again.")
    return content


@contextmanager
def mbtiles(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an MBTiles archive for reading alone; sqlite3.Error stays with the caller."""
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    try:
        connection.execute(_TABLE)
        yield connection
    finally:
        connection.close()


def _in_mbtiles(path: Path, tile: WebTile) -> bytes:
    place = tile.zoom, tile.x, 2**tile.zoom - 1 - tile.y  # its rows are counted from the south
    with mbtiles(path) as connection:
        row = connection.execute(
            "SELECT substr(tile_data, 1, ?) FROM tiles WHERE zoom_level = ? AND tile_column = ? "
            "AND tile_row = ?", (MOST_BYTES + 1, *place)).fetchone()
    return row[0] if row and isinstance(row[0], bytes) else b""
