"""What `raster=` names: raster files, one file a band, or web map tiles in folders and archives;
and what a box leaves of them."""

import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from affine import Affine

from datasets.bbox import BBox
from datasets.prepare.geo.crs import DEGREES, box_in
from datasets.prepare.imagery.files import RasterFile, Reading
from datasets.prepare.imagery.placement import bounds, projected
from datasets.prepare.imagery.sidecars import world_file
from datasets.prepare.imagery.stacks import inspect_all
from datasets.prepare.imagery.tile_archives import archive_tiles
from datasets.prepare.imagery.tile_folders import flat_tiles, is_tile_folder, tile_folder
from datasets.prepare.imagery.tile_sets import TileSet, tile_rasters
from datasets.prepare.imagery.web_tiles import is_archive
from utils.errors import PrepareError

GEOTIFF = (".tif", ".tiff")
_GROUPS = (GEOTIFF, (".vrt",), (".png",), (".jpg", ".jpeg"), (".jp2",), (".webp",), (".mbtiles",),
           (".pmtiles",))
_FIRST = _GROUPS[:2]  # which a folder is read for if it has any
_KINDS = {ending: group for group in _GROUPS for ending in group}


def find_imagery(raster: str | Path, reading: Reading, bbox: BBox | None,
                 zoom: int | None) -> tuple[list[RasterFile], Reading, list[str]]:
    """Return the files of the imagery at `raster`, the reading, with `stacks` if there are any,
    and notes for the user.

    Args:
        raster: a raster file; an archive of web map tiles (MBTiles, PMTiles); a folder of either,
            or of web map tiles z/x/y.png; or a glob.
        bbox: leave out what does not touch it, and crop the rest.
        zoom: of web map tiles; None: the finest.

    Raises:
        PrepareError: there is none, or it cannot be used.
        ConfigError: an impossible value of `reading`.
    """
    sets, paths, notes = _listed(raster)
    if sets:
        files = []
        for tiles in sets:
            found, more = tile_rasters(tiles, reading, bbox, zoom)
            files += found
            notes += more
    else:
        if zoom is not None:
            raise PrepareError(f"{raster}: zoom={zoom}, but it holds no web map tiles that could "
                               "have one. Leave zoom= out; resolution= says how fine it is read.")
        files, reading, more = inspect_all(paths, reading)
        notes += more
    return (files if bbox is None else _cropped(raster, files, bbox)), reading, notes


def _listed(raster: str | Path) -> tuple[list[TileSet], list[Path], list[str]]:
    """Return the sets of web map tiles at `raster`; or if there are none, the raster files; and
    notes."""
    path = Path(raster)
    paths, notes = _in_folder(path) if path.is_dir() else (_named(path), [])
    if not paths:
        if path.is_dir() and (tiles := tile_folder(path)):
            return [tiles], [], notes
        raise _nothing(raster)
    archives = [file for file in paths if is_archive(file)]
    if archives and len(archives) < len(paths):
        other = next(file for file in paths if file not in archives)
        raise PrepareError(f"{archives[0]}: an archive of web map tiles, but {other} is none. Pass "
                           "raster= one kind of imagery.")
    if archives:
        return [archive_tiles(file) for file in archives], [], notes
    tiles = flat_tiles(paths)
    return [tiles] if tiles else [], paths, notes


def _named(path: Path) -> list[Path]:
    """Return the sorted files that a path or a glob names."""
    if path.is_file():
        return [path]
    # what exists is a name, not a pattern: a folder may be called `chips [1]`
    folder = next((parent for parent in path.parents if parent.is_dir()), Path())
    matches = glob.glob(str(path.relative_to(folder)), root_dir=folder, recursive=True)
    return sorted(folder / match for match in matches if (folder / match).is_file())


def _in_folder(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the sorted files of one kind in a folder, and a note on those of others: GeoTIFFs;
    without any, VRTs; without any and if it is no folder of web map tiles, the kind of which most
    files have a place."""
    kinds: dict[tuple[str, ...], list[Path]] = {}
    for entry in sorted(folder.iterdir()):
        hidden = entry.name.startswith(".")  # as macOS leaves them on foreign disks
        if entry.suffix.lower() in _KINDS and not (hidden or entry.is_dir()):
            kinds.setdefault(_KINDS[entry.suffix.lower()], []).append(entry)
    taken = next((kinds[kind] for kind in _FIRST if kind in kinds), None)
    if taken is None and kinds and not is_tile_folder(folder):
        taken = next(iter(kinds.values())) if len(kinds) == 1 else max(
            kinds.values(), key=lambda files: (sum(map(_has_place_beside, files)), len(files)))
    others = [file for files in kinds.values() if files is not taken for file in files]
    if not (taken and others):
        return taken or [], []
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return taken, [f"{others[0]}{more}: not read, being of another kind than {taken[0].name}; "
                   "raster= also takes a quoted glob"]


def _has_place_beside(path: Path) -> bool:
    """Return whether a file is of a kind that says where it lies, or has one beside it that
    does."""
    return (path.suffix.lower() in (".jp2", ".mbtiles", ".pmtiles") or world_file(path) is not None
            or path.with_name(f"{path.name}.aux.xml").is_file())


def _nothing(raster: str | Path) -> PrepareError:
    path = Path(raster)
    if not path.is_dir():
        fault = "no such file or folder, and as a glob it matches nothing"
    else:
        fault = f"the folder holds no GeoTIFF ({', '.join(GEOTIFF)}) and no other imagery"
        tiles = next((each for each in sorted(path.iterdir())
                      if each.is_dir() and is_tile_folder(each)), None)
        if tiles:
            return PrepareError(f"{raster}: {fault} itself, but {tiles} holds web map tiles. Pass "
                                f"raster={tiles}.")
        deeper = next((file for file in path.rglob("*") if file.suffix.lower() in _KINDS), None)
        if deeper:
            return PrepareError(f"{raster}: {fault} itself, and its subfolders are not searched "
                                "but for web map tiles (z/x/y.png); pass a quoted glob such as "
                                f"'{glob.escape(str(path))}/**/*{deeper.suffix}'.")
    return PrepareError(f"{raster}: {fault}. Pass raster= one GeoTIFF or VRT, an MBTiles or "
                        "PMTiles archive, a folder of GeoTIFFs, of pictures with world files or "
                        "of web map tiles, or a quoted glob such as 'chips/*.tif'.")


def _cropped(raster: str | Path, files: Sequence[RasterFile], bbox: BBox) -> list[RasterFile]:
    """Return what a box leaves of files; raise PrepareError if that is nothing."""
    cut = [_cut(file, pixels) for file in files
           if (pixels := bbox.pixels(projected(file.crs), file.transform, file.width, file.height))]
    if cut:
        return cut
    boxes = [box for file in files if (box := box_in(bounds(file), projected(file.crs), DEGREES))]
    sides = np.array(boxes or [(np.nan,) * 4]).T
    extent = ",".join(f"{side:.5f}" for side in (sides[0].min(), sides[1].min(), sides[2].max(),
                                                 sides[3].max()))
    raise PrepareError(f"{raster}: bbox=[{bbox}] lies outside the imagery, which reaches over "
                       f"[{extent}] (west, south, east, north in degrees). Pass a bbox= that "
                       "overlaps it, or leave it out.")


def _cut(file: RasterFile, pixels: tuple[int, int, int, int]) -> RasterFile:
    left, top, right, bottom = pixels
    width, height = right - left, bottom - top
    if (width, height) == (file.width, file.height):
        return file
    return replace(file, transform=file.transform @ Affine.translation(left, top), width=width,
                   height=height, crop=(left, top, width, height))
