"""Generated web map tiles in folders and archives, and the same pixels as GeoTIFF."""

import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from affine import Affine
from PIL import Image
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import write

from tests.datasets.prepare.places import pixels, write_raster

MERCATOR = np.pi * 6378137
ZOOM, LEFT, TOP, SIDE = 17, 71_300, 44_400, 64
COLUMNS, ROWS = 4, 3
PLACES = [(LEFT + column, TOP + row) for row in range(ROWS) for column in range(COLUMNS)]
IMAGE = pixels(ROWS * SIDE, COLUMNS * SIDE)


def grid_at(zoom: int, x: int, y: int, side: int = SIDE) -> Affine:
    pixel = 2 * MERCATOR / side / 2**zoom
    return Affine(pixel, 0, x * side * pixel - MERCATOR, 0, -pixel, MERCATOR - y * side * pixel)


def encoded(image: np.ndarray, ending: str = "png") -> bytes:
    """Return a picture [h, w, bands] as a file's bytes, without loss but for JPEG."""
    kinds = {"jpg": "jpeg", "tif": "tiff", "jp2": "jpeg2000"}
    stream, kind = io.BytesIO(), kinds.get(ending, ending)
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    picture.save(stream, kind, **options)
    return stream.getvalue()


def cut(image: np.ndarray = IMAGE, side: int = SIDE, left: int = LEFT,
        top: int = TOP) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield column, row and pixels of an image's tiles."""
    for y in range(image.shape[0] // side):
        for x in range(image.shape[1] // side):
            yield left + x, top + y, image[y * side:(y + 1) * side, x * side:(x + 1) * side]


def write_tiles(folder: Path, name: str = "{z}/{x}/{y}.png", image: np.ndarray = IMAGE,
                zoom: int = ZOOM, side: int = SIDE, left: int = LEFT, top: int = TOP) -> Path:
    """Write the tiles of an image to files of such names; {s} is the row from the south."""
    for x, y, tile in cut(image, side, left, top):
        path = folder / name.format(z=zoom, x=x, y=y, s=2**zoom - 1 - y)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(tile, path.suffix[1:]))
    return folder


def write_mbtiles(path: Path, tiles: list[tuple[int, int, int, bytes]]) -> Path:
    """Write an archive of tiles (zoom, x, y, picture)."""
    with sqlite3.connect(path) as archive:
        archive.execute("CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row "
                        "INTEGER, tile_data BLOB)")
        archive.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)",
                            [(zoom, x, 2**zoom - 1 - y, data) for zoom, x, y, data in tiles])
    archive.close()
    return path


def write_pmtiles(path: Path, tiles: list[tuple[int, int, int, bytes]],
                  kind: TileType = TileType.PNG) -> Path:
    with write(str(path)) as archive:
        for zoom, x, y, data in sorted(tiles, key=lambda tile: zxy_to_tileid(*tile[:3])):
            archive.write_tile(zxy_to_tileid(zoom, x, y), data)
        archive.finalize({
            "tile_type": kind, "tile_compression": Compression.NONE, "center_zoom": 0,
            **dict.fromkeys(("min_lon_e7", "min_lat_e7", "max_lon_e7", "max_lat_e7",
                             "center_lon_e7", "center_lat_e7"), 0)}, {})
    return path


def as_archive(path: Path, image: np.ndarray = IMAGE) -> Path:
    """Write the tiles of an image as the archive that a path's ending says."""
    tiles = [(ZOOM, x, y, encoded(tile)) for x, y, tile in cut(image)]
    return (write_mbtiles if path.suffix == ".mbtiles" else write_pmtiles)(path, tiles)


def as_geotiff(path: Path, image: np.ndarray = IMAGE, **profile) -> Path:
    return write_raster(path, image, grid_at(ZOOM, LEFT, TOP), "EPSG:3857", **profile)
