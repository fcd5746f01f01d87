"""Web map tiles as the files of a mosaic: the zoom to read, its tiles in the area, and what the
user should know of them."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import mercantile

from datasets.bbox import BBox
from datasets.prepare.imagery.files import (
    RasterFile,
    Reading,
    crs_name,
    damage_named,
    inspect_tile,
)
from datasets.prepare.imagery.web_tiles import WebTile, is_archive, shown, web_mercator
from utils.errors import ConfigError, PrepareError

MOST_TILES = 1_000_000  # that are read; each is an entry in memory
# A zoom is read by itself if its tiles cover this share of the next coarser one's; one that is
# coarser by more zooms than this is an overview of elsewhere.
LEAST_COVERED, MOST_COARSER = 0.9, 3
LOOKED_TILES = 32       # whose pictures are looked at before all are read


class TilePicture(NamedTuple):
    """A picture's file, and where it stands there."""

    path: Path
    offset: int = 0
    length: int = 0


@dataclass
class TileSet:
    """The tiles of a folder or an archive.

    Attributes:
        source: the folder or archive.
        zooms: of each zoom, the picture of column x and row y, counted from the north.
        sources: files beside the pictures that say how they lie.
        notes: for the user, to follow the name of `source`.
    """

    source: Path
    zooms: dict[int, dict[tuple[int, int], TilePicture]] = field(default_factory=dict)
    sources: Sequence[Path] = ()
    notes: list[str] = field(default_factory=list)


def tile_rasters(tiles: TileSet, reading: Reading, bbox: BBox | None,
                 zoom: int | None) -> tuple[list[RasterFile], list[str]]:
    """Return the tiles of one zoom as files of a mosaic, from north to south and west to east, and
    notes; with a box those that touch it.

    Args:
        zoom: None: the finest that covers the ground of the next coarser one.

    Raises:
        PrepareError: there is none there, or one that was looked at cannot be read.
        ConfigError: `reading` has another CRS.
    """
    given = reading.given_crs()
    if given is not None and given != web_mercator():
        raise ConfigError(f"raster_crs={reading.crs}: web map tiles have {crs_name(web_mercator())}"
                          f" by their names ({tiles.source}); leave raster_crs= out")
    if not any(tiles.zooms.values()):
        raise PrepareError(f"{tiles.source}: holds no tile. Pass raster= imagery.")
    if zoom is not None and zoom not in tiles.zooms:
        raise PrepareError(f"{tiles.source}: zoom={zoom}, but it has {_zooms(tiles.zooms)}. Pass "
                           "one of these, or leave zoom= out.")
    near = {level: _near(pictures, level, bbox) for level, pictures in tiles.zooms.items()}
    near = {level: pictures for level, pictures in near.items() if pictures}
    if not near or (zoom is not None and zoom not in near):
        raise _elsewhere(tiles, bbox, zoom)
    chosen, notes = (zoom, []) if zoom is not None else _finest(near)
    pictures = near[chosen]
    if len(pictures) > MOST_TILES:
        raise PrepareError(f"{tiles.source}: {len(pictures):,} tiles at zoom {chosen}, expected "
                           f"{MOST_TILES:,} at most. Pass bbox= a smaller area, or a coarser "
                           f"zoom=; it has {_zooms(tiles.zooms)}.")
    _check_sizes(tiles.source, pictures.values())
    files, looked = _as_files(tiles, chosen, pictures, reading)
    notes = [_summary(tiles, chosen, files[0].width, len(files), bbox), *notes, *tiles.notes,
             *looked, *_gaps(tiles, chosen, pictures)]
    return files, [f"{tiles.source}: {note}" for note in notes]


def _near(pictures: dict, zoom: int, bbox: BBox | None) -> dict:
    """Return the tiles of a zoom that touch the box."""
    if bbox is None:
        return pictures
    area = bbox.tiles(zoom)
    return {(x, y): picture for (x, y), picture in pictures.items()
            if area.left <= x < area.right and area.top <= y < area.bottom}


def _finest(zooms: dict[int, dict]) -> tuple[int, list[str]]:
    """Return the finest zoom that covers the ground of the next coarser one; and notes on finer
    ones that do not."""
    levels, notes = sorted(zooms, reverse=True), []
    for zoom, coarser in pairwise(levels):
        shift = zoom - coarser
        ground = {(x >> shift, y >> shift) for x, y in zooms[zoom]}
        covered = len(ground & zooms[coarser].keys()) / len(zooms[coarser])
        if shift > MOST_COARSER or covered >= LEAST_COVERED:
            return zoom, notes
        notes.append(f"zoom {zoom} is not read, as its {_count(len(zooms[zoom]))} cover only "
                     f"{covered:.1%} of the ground of zoom {coarser}; zoom={zoom} reads it")
    return levels[-1], notes


def _as_files(tiles: TileSet, zoom: int, pictures: dict,
              reading: Reading) -> tuple[list[RasterFile], list[str]]:
    """Return tiles as files, and a note if not all that were looked at have one size."""
    places = sorted(pictures, key=lambda place: place[::-1])
    count = min(len(places), LOOKED_TILES)
    looked = []
    for x, y in (places[index * len(places) // count] for index in range(count)):
        picture = pictures[x, y]
        tile = WebTile(zoom, x, y, 1, picture.offset, picture.length)
        with damage_named(shown(picture.path, tile)):
            looked.append((*inspect_tile(picture.path, tile, reading), picture.path, tile))
    sizes = Counter(size for size, *_ in looked)
    side = max(sizes, key=lambda size: (sizes[size], size))
    first = looked[0]
    other = next((each for each in looked if each[1] != first[1]), None)
    if other:
        raise PrepareError(f"{shown(*other[2:])}: the pixels are {other[1]}, but those of "
                           f"{shown(*first[2:])} are {first[1]}; the tiles of one zoom need one "
                           "type. Get the tiles again.")
    files = [RasterFile(path, web_mercator(), tile.transform, side, side, first[1], None,
                        (path,), tile=tile)
             for (x, y) in places for path, offset, length in [pictures[x, y]]
             for tile in [WebTile(zoom, x, y, side, offset, length)]]
    files[0] = replace(files[0], files=(files[0].path, *tiles.sources))
    return files, [
        f"{number} of {_count(count)} looked at with {size} x {size} pixels: resampled to "
        f"{side} x {side}, as most have"
        for size, number in sorted(sizes.items()) if size != side]


def _check_sizes(source: Path, pictures: Sequence[TilePicture]) -> None:
    """Raise PrepareError if files are empty, as a download leaves them that failed."""
    if is_archive(source):
        return
    empty = sorted(path for path, *_ in pictures if not path.stat().st_size)
    if empty:
        more = f", as {_count(len(empty) - 1)} more" if len(empty) > 1 else ""
        raise PrepareError(f"{empty[0]}: is empty{more}, expected a picture. Get it again, or, "
                           "where there is no imagery, remove it with "
                           f"`find {shlex.quote(str(source))} -type f -empty -delete`.")


def _summary(tiles: TileSet, zoom: int, side: int, count: int, bbox: BBox | None) -> str:
    others = _zooms({level for level in tiles.zooms if level != zoom and tiles.zooms[level]})
    more = f"; it also has {others}" if others else ""
    where = " in bbox" if bbox else ""
    return f"{_count(count, 'web map tile')} of zoom {zoom}{where}, {side} x {side} pixels{more}"


def _count(number: int, what: str = "tile") -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _gaps(tiles: TileSet, zoom: int, pictures: dict) -> list[str]:
    """Return a note if the rectangle around tiles lacks some."""
    columns, rows = ([place[axis] for place in pictures] for axis in (0, 1))
    left, top, right, bottom = min(columns), min(rows), max(columns) + 1, max(rows) + 1
    missing = (right - left) * (bottom - top) - len(pictures)
    if not missing:
        return []
    first = next((x, y) for y in range(top, bottom) for x in range(left, right)
                 if (x, y) not in pictures)
    return [f"{_count(missing)} missing of the {missing + len(pictures):,} of its rectangle, such "
            f"as {zoom}/{first[0]}/{first[1]}: there is no imagery there"]


def _zooms(zooms: Sequence[int]) -> str:
    """Return zooms in words, neighbours as a range."""
    levels = sorted(zooms)
    starts = [level for level in levels if level - 1 not in levels]
    ends = [level for level in levels if level + 1 not in levels]
    spans = [f"{start}" if start == end else f"{start}-{end}"
             for start, end in zip(starts, ends, strict=True)]
    return f"zoom{'s' * (len(levels) > 1)} {', '.join(spans)}" if levels else ""


def _elsewhere(tiles: TileSet, bbox: BBox, zoom: int | None) -> PrepareError:
    """Return the error of a box without a tile, with both extents and, if it would help, how to
    say that rows are counted from the south."""
    level = max(tiles.zooms) if zoom is None else zoom
    pictures = tiles.zooms[level]
    columns, rows = ([place[axis] for place in pictures] for axis in (0, 1))
    first = mercantile.ul(min(columns), min(rows), level)
    last = mercantile.ul(max(columns) + 1, max(rows) + 1, level)
    extent = BBox(first.lng, last.lat, last.lng, first.lat)
    mirrored = {(x, 2**level - 1 - y): None for x, y in pictures}
    remedy = ""
    if _near(mirrored, level, bbox) and not is_archive(tiles.source) and not tiles.sources:
        remedy = (" If its rows are counted from the south (TMS), they do overlap: write "
                  f'{{"scheme": "tms"}} to the file {tiles.source / "metadata.json"}.')
    return PrepareError(f"{tiles.source}: bbox=[{bbox}] lies outside the imagery, whose tiles of "
                        f"zoom {level} reach over [{extent}] (west, south, east, north in "
                        f"degrees).{remedy} Pass a bbox= that overlaps it, or leave it out.")
