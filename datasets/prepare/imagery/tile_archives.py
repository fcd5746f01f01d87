"""Archives of web map tiles: which tiles an MBTiles or PMTiles file holds."""

import gzip
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pmtiles.tile import (
    Compression,
    Entry,
    HeaderDict,
    TileType,
    deserialize_directory,
    deserialize_header,
    tileid_to_zxy,
    zxy_to_tileid,
)

from datasets.bbox import DEEPEST_ZOOM
from datasets.prepare.imagery.tile_sets import TilePicture, TileSet
from datasets.prepare.imagery.web_tiles import mbtiles
from utils.errors import PrepareError, one_line

_HEADER_BYTES = 127
_MOST_DIRECTORY = 4 << 20   # bytes, unpacked
_MOST_LISTED = 4_000_000    # tiles of all zooms
_GZIP = b"\x1f\x8b"
_DEPTH = 4                  # of directories in directories
_PICTURES = (TileType.PNG, TileType.JPEG, TileType.WEBP, TileType.UNKNOWN)
_VECTOR = "vector tiles, which hold no pixels; pass an archive of PNG, JPEG or WebP tiles"


def archive_tiles(path: Path) -> TileSet:
    """Return the tiles of an archive. Raise PrepareError if it cannot be read, is damaged, or
    holds vector tiles."""
    tiles = TileSet(path)
    read = _mbtiles_tiles if path.suffix.lower() == ".mbtiles" else _pmtiles_tiles
    for zoom, x, y, picture in read(path):
        tiles.zooms.setdefault(zoom, {})[x, y] = picture
    return tiles


def _mbtiles_tiles(path: Path) -> Iterator[tuple[int, int, int, TilePicture]]:
    picture = TilePicture(path)
    try:
        with mbtiles(path) as archive:
            (count,) = archive.execute("SELECT count(*) FROM tiles").fetchone()
            _check_count(path, count)
            start = archive.execute("SELECT substr(tile_data, 1, 2) FROM tiles LIMIT 1").fetchone()
            if start and start[0] == _GZIP:  # as vector tiles are packed
                raise PrepareError(f"{path}: holds {_VECTOR}.")
            for zoom, x, row in archive.execute(
                    "SELECT zoom_level, tile_column, tile_row FROM tiles"):
                if not (all(isinstance(value, int) for value in (zoom, x, row))
                        and 0 <= zoom <= DEEPEST_ZOOM and min(x, row) >= 0
                        and max(x, row) < 2**zoom):
                    raise PrepareError(f"{path}: holds a tile at zoom {zoom}, column {x}, row "
                                       f"{row}, expected zooms up to {DEEPEST_ZOOM} and numbers "
                                       "below 2^zoom. Get the file again.")
                yield zoom, x, 2**zoom - 1 - row, picture
    except sqlite3.Error as error:
        raise PrepareError(f"{path}: not a readable MBTiles archive ({one_line(error)}). Get the "
                           "file again.") from error


def _pmtiles_tiles(path: Path) -> Iterator[tuple[int, int, int, TilePicture]]:
    end, count = zxy_to_tileid(DEEPEST_ZOOM, 0, 0), 0
    with path.open("rb") as file:
        header = _header(path, file)
        size = path.stat().st_size
        for entry in _entries(path, file, header):
            offset = header["tile_data_offset"] + entry.offset
            if offset + entry.length > size or not 0 <= entry.tile_id < end - entry.run_length:
                raise _damaged(path, f"a tile at byte {offset:,}, but the file has {size:,}")
            count += entry.run_length
            _check_count(path, count)
            for number in range(entry.tile_id, entry.tile_id + entry.run_length):
                yield *tileid_to_zxy(number), TilePicture(path, offset, entry.length)


def _check_count(path: Path, count: int) -> None:
    if count > _MOST_LISTED:
        raise PrepareError(f"{path}: lists {count:,} tiles, expected {_MOST_LISTED:,} at most. Cut "
                           "your area out of it first, such as with `pmtiles extract --bbox`.")


def _header(path: Path, file: BinaryIO) -> HeaderDict:
    """Return what an archive says of itself; raise PrepareError if it holds no pictures."""
    content = file.read(_HEADER_BYTES)
    if content[:2] == b"PM" and content[7:8] != b"\x03":
        raise PrepareError(f"{path}: an early version of PMTiles, expected version 3. Convert it "
                           "with `pmtiles convert`, or get it anew.")
    try:
        if len(content) < _HEADER_BYTES or not content.startswith(b"PMTiles"):
            raise ValueError("it does not begin as one")
        header = deserialize_header(content)
    except ValueError as error:
        raise PrepareError(f"{path}: not a readable PMTiles archive ({one_line(error)}). Get the "
                           "file again.") from error
    if header["tile_type"] not in _PICTURES:
        name = header["tile_type"].name
        raise PrepareError(f"{path}: holds {_VECTOR}." if name in ("MVT", "MLT") else
                           f"{path}: holds {name} pictures, expected PNG, JPEG or WebP.")
    for name in ("internal", "tile"):
        if (found := header[f"{name}_compression"]) not in (
                Compression.NONE, Compression.GZIP if name == "internal" else Compression.UNKNOWN):
            raise PrepareError(f"{path}: its {'directories' if name == 'internal' else 'tiles'} "
                               f"are packed with {found.name.lower()}, which is not read here. "
                               "Write it again with the pmtiles program, or as MBTiles.")
    return header


def _entries(path: Path, file: BinaryIO, header: HeaderDict) -> Iterator[Entry]:
    """Yield the entries of tiles, those of directories in directories included."""
    waiting = [(header["root_offset"], header["root_length"], 1)]
    seen = set()
    while waiting:
        offset, length, depth = waiting.pop()
        if depth > _DEPTH or offset in seen:
            raise _damaged(path, "directories that refer to each other")
        seen.add(offset)
        for entry in _directory(path, file, header, offset, length):
            if entry.run_length:
                yield entry
            else:
                waiting.append((header["leaf_directory_offset"] + entry.offset, entry.length,
                                depth + 1))


def _directory(path: Path, file: BinaryIO, header: HeaderDict, offset: int,
               length: int) -> list[Entry]:
    """Return the entries of a directory, unpacked within bounds."""
    try:
        file.seek(offset)
        content = file.read(min(length, _MOST_DIRECTORY))
        if header["internal_compression"] == Compression.GZIP:
            unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
            unpacked = unpacker.decompress(content, _MOST_DIRECTORY)
            if not unpacker.eof:
                raise ValueError("a directory that is cut short or too large")
        else:
            unpacked = content
        return deserialize_directory(gzip.compress(unpacked, compresslevel=1))
    except (ValueError, OverflowError, EOFError, OSError, zlib.error) as error:
        raise _damaged(path, one_line(error)) from error


def _damaged(path: Path, reason: str) -> PrepareError:
    return PrepareError(f"{path}: the PMTiles archive is damaged ({reason}). Get the file again.")
