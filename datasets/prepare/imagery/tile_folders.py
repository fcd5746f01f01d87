"""Folders of web map tiles: z/x/y.png, rows from the north or (TMS) from the south, and flat
folders of names that end in x, y and z."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import mercantile

from datasets.bbox import DEEPEST_ZOOM, MERCATOR_LATITUDE
from datasets.prepare.geo.raster_io import RASTER_ERRORS, has_place, open_raster_file
from datasets.prepare.imagery.tile_sets import TilePicture, TileSet
from utils.contents import Anything, ContentFault, Table, parse_json
from utils.errors import PrepareError

PICTURES = ("png", "jpg", "jpeg", "webp", "tif", "tiff")
_VECTORS = ("pbf", "mvt")
_TILE = re.compile(rf"(\d+)(@\d+x)?\.({'|'.join((*PICTURES, *_VECTORS))})",
                   re.IGNORECASE | re.ASCII)
_FLAT = re.compile(rf"(?:.*?[^0-9])?(\d+)([-_])(\d+)\2(\d+)(@\d+x)?\.({'|'.join(PICTURES)})",
                   re.IGNORECASE | re.ASCII)
_ORDERS = ((2, 0, 1), (0, 1, 2))  # where z, x, y stand in a flat name: x-y-z, or z-x-y
_METADATA, _SUMMARY = ("metadata.json", "tilejson.json"), "tilemapresource.xml"
_MOST_METADATA = 1 << 20  # bytes
_NUMBER = r"=[\"']\s*(-?[\d.eE+-]+)\s*[\"']"


def tile_folder(folder: Path) -> TileSet | None:
    """Return the tiles of a folder z/x/y.png, or of one of its zooms; None if it is no such
    folder. Raise PrepareError if a name is of no tile of its zoom, or tiles are vector tiles."""
    folder, levels = _levels(folder)
    files = {zoom: names for zoom, level in sorted(levels)
             if (names := [(int(column.name), column / name, match)
                           for column in _numbered(level) for name, match in _pictures(column)])}
    if not files:
        return None
    rows, sources = _rows(folder, {zoom: {(x, int(match[1])) for x, _, match in names}
                                   for zoom, names in files.items()})
    tiles = TileSet(folder, sources=sources)
    for zoom, names in files.items():
        if zoom > DEEPEST_ZOOM:
            raise PrepareError(f"{folder / str(zoom)}: zoom {zoom}, expected at most "
                               f"{DEEPEST_ZOOM} in a folder of web map tiles (z/x/y.png). Rename "
                               "the folder, or pass its files as a quoted glob.")
        _add(tiles, zoom, [(x, int(match[1]), path, match[2], match[3])
                           for x, path, match in names], rows)
    if rows == "tms":
        tiles.notes.append(f"its rows are counted from the south (TMS), as {sources[0].name} says")
    return tiles


def is_tile_folder(folder: Path) -> bool:
    """Return whether a folder holds web map tiles z/x/y.png."""
    return any(_pictures(column) for _, level in _levels(folder)[1] for column in _numbered(level))


def flat_tiles(paths: Sequence[Path]) -> TileSet | None:
    """Return tiles whose names end in x-y-z, or are z-x-y, and that have no georeference of their
    own; None if the files are no such tiles."""
    named = [(path, match) for path in paths if (match := _FLAT.fullmatch(path.name))]
    if 2 * len(named) <= len(paths) or _is_placed(named[0][0]):
        return None
    numbers = [(int(match[1]), int(match[3]), int(match[4])) for _, match in named]
    orders = [order for order in _ORDERS
              if all(_is_tile(*(each[index] for index in order)) for each in numbers)]
    if len(orders) > 1:  # a folder of one zoom has one number as zoom
        orders = [order for order in orders if len({each[order[0]] for each in numbers}) == 1]
    if len(orders) != 1:
        return None
    tiles = TileSet(Path(os.path.commonpath([path.parent for path, _ in named])))
    found: dict[int, list] = {}
    for (path, match), each in zip(named, numbers, strict=True):
        zoom, x, y = (each[index] for index in orders[0])
        found.setdefault(zoom, []).append((x, y, path, match[5], match[6]))
    for zoom, files in found.items():
        _add(tiles, zoom, files, "xyz")
    others = sorted(set(paths) - {path for path, _ in named})
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        tiles.notes.append(f"{others[0].name}{more} not read, as the name is of no tile")
    return tiles


def _levels(folder: Path) -> tuple[Path, list[tuple[int, Path]]]:
    """Return the folder of all zooms, and the zooms to read and their folders: one, if `folder` is
    that of a zoom itself."""
    levels = [(int(entry.name), entry) for entry in _numbered(folder) if len(entry.name) <= 2]
    if folder.name.isdecimal() and len(folder.name) <= 2 and any(
            _pictures(column) for column in _numbered(folder)):
        return folder.parent, [(int(folder.name), folder)]
    return folder, levels


def _numbered(folder: Path) -> list[Path]:
    """Return the folders in a folder whose names are numbers."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries
                      if entry.name.isascii() and entry.name.isdecimal() and entry.is_dir())


def _pictures(folder: Path) -> list[tuple[str, re.Match]]:
    """Return the files in a folder that are called as tiles."""
    with os.scandir(folder) as entries:
        return sorted((entry.name, match) for entry in entries
                      if (match := _TILE.fullmatch(entry.name)) and entry.is_file())


def _add(tiles: TileSet, zoom: int, files: Sequence[tuple], rows: str) -> None:
    """Add the files (x, y, path, @2x, ending) of a zoom; of two for one tile the kind that most
    tiles have stays."""
    kinds = Counter((scale, ending.lower()) for *_, scale, ending in files)
    vector = next((path for *_, path, _, ending in files if ending.lower() in _VECTORS), None)
    if vector:
        raise PrepareError(f"{vector}: a vector tile, expected pictures ({', '.join(PICTURES)}). "
                           "Pass imagery: vector tiles hold no pixels.")
    level = tiles.zooms.setdefault(zoom, {})
    kind, passed = {}, []
    for x, y, path, scale, ending in files:
        if not _is_tile(zoom, x, y):
            raise PrepareError(f"{path}: column {x} and row {y}, but zoom {zoom} ends at "
                               f"{2**zoom - 1}, so this is no web map tile (z/x/y). Remove it, or, "
                               "if the numbers stand in another order, rename the files.")
        place = (x, y if rows == "xyz" else 2**zoom - 1 - y)
        count = kinds[scale, ending.lower()]
        if place in level and kind[place] >= count:
            passed.append((path, level[place].path))
            continue
        if place in level:
            passed.append((level[place].path, path))
        level[place], kind[place] = TilePicture(path), count
    if passed:
        more = f"; {len(passed) - 1} more tiles have two files" if len(passed) > 1 else ""
        tiles.notes.append(f"{passed[0][0]} not read, as {passed[0][1].name} is of the same tile"
                           f"{more}")


def _is_tile(zoom: int, x: int, y: int) -> bool:
    return zoom <= DEEPEST_ZOOM and max(x, y) < 2**zoom


def _is_placed(path: Path) -> bool:
    """Return whether a file has a georeference of its own."""
    try:
        with open_raster_file(path) as dataset:
            return has_place(dataset)
    except (PrepareError, *RASTER_ERRORS):
        return False


def _rows(folder: Path, places: dict[int, set[tuple[int, int]]]) -> tuple[str, list[Path]]:
    """Return where rows are counted from, by the files that programs put beside tiles: "xyz", or
    "tms"; and the file that says so. By default from the north."""
    for path in (folder / name for name in _METADATA):
        if path.is_file():
            stated = _of_json(path)
            if stated.get("scheme") in ("xyz", "tms"):
                return stated["scheme"], [path]
            box = stated.get("bounds")
            numbers = box.split(",") if isinstance(box, str) else box
            if isinstance(numbers, list) and len(numbers) == 4 and (
                    rows := _by_latitude(_latitudes(numbers[1::2]), places)):
                return rows, [path]
    path = folder / _SUMMARY
    if not path.is_file():
        return "xyz", []
    with path.open("rb") as file:
        text = file.read(_MOST_METADATA).decode("utf-8", "replace")
    if re.search(r"profile=[\"'](?:global-)?(?:geodetic|raster)", text):
        raise PrepareError(f"{path}: says that the tiles are of another grid than that of web maps "
                           "(EPSG:3857). Cut them again with `gdal2tiles --profile=mercator`, or "
                           "pass the imagery that they were made of.")
    box = re.search(r"<BoundingBox\b[^>]*>", text)
    sides = [re.search(f"{name}{_NUMBER}", box[0]) for name in ("miny", "maxy")] if box else []
    stated = _latitudes([side[1] for side in sides]) if all(sides) else None
    # a program that writes this file counts from the south unless its box says otherwise
    return _by_latitude(stated, places) or "tms", [path]


def _of_json(path: Path) -> dict:
    try:
        with path.open("rb") as file:
            return parse_json(file.read(_MOST_METADATA), Table(Anything()))
    except ContentFault as error:
        raise PrepareError(f"{path}: {error}. Remove it, or, if rows are counted from "
                           'the south, write {"scheme": "tms"} there.') from error


def _latitudes(values: Sequence) -> tuple[float, float] | None:
    """Return south and north in degrees; None if they are no degrees."""
    try:
        south, north = map(float, values)
    except (TypeError, ValueError):
        return None
    return (south, north) if -90 <= south < north <= 90 else None


def _by_latitude(stated: tuple[float, float] | None,
                 places: dict[int, set[tuple[int, int]]]) -> str | None:
    """Return how rows are counted so that the tiles lie at the stated latitudes; None if either
    or neither way."""
    if stated is None or not places:
        return None
    zoom = max(places)
    rows = {y for _, y in places[zoom]}
    fits = [name for name, (top, bottom) in {
        "xyz": (min(rows), max(rows)),
        "tms": (2**zoom - 1 - max(rows), 2**zoom - 1 - min(rows))}.items()
        if _touch(zoom, top, bottom, stated)]
    return fits[0] if len(fits) == 1 else None


def _touch(zoom: int, top: int, bottom: int, stated: tuple[float, float]) -> bool:
    north, south = mercantile.bounds(0, top, zoom).north, mercantile.bounds(0, bottom, zoom).south
    return south < min(stated[1], MERCATOR_LATITUDE) and north > max(stated[0], -MERCATOR_LATITUDE)
