"""The files of a mosaic: find them, and refuse those without a place on the ground or colours."""

import glob
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from utils.errors import ConfigError, PrepareError, one_line

SUFFIXES = (".tif", ".tiff")
COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
# Several processes read at once, so each keeps little; folders are not listed once per file.
GDAL_OPTIONS = {"GDAL_CACHEMAX": 128 << 20, "GDAL_MAX_DATASET_POOL_SIZE": 64,
                "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
# and their names in a VRT
PIXEL_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16",
               "uint32": "UInt32", "int32": "Int32", "float32": "Float32", "float64": "Float64"}
# elements of an .aux.xml that change how pixels are read
_MATTERS = re.compile(
    rb"<(SRS|GeoTransform|GCPList|NoDataValue|ColorInterp|ColorTable|Offset|Scale)\b")


@dataclass(frozen=True)
class Reading:
    """How the pixels of every file are read."""

    # red, green, blue, from 1; None: by colour interpretation, the first three or a palette
    bands: tuple[int, int, int] | None = None
    crs: str | None = None  # of files that have none
    # "file": as each file states (alpha, mask, nodata); "none": every pixel counts; else the
    # value of pixels without imagery in all three bands, whatever the files state
    nodata: str = "file"

    @classmethod
    def of(cls, bands: Iterable[int] | None, raster_crs: str | None,
           nodata: str | float) -> "Reading":
        """Return the reading that keys describe; raise ConfigError for an impossible value."""
        reading = cls(None if bands is None else tuple(bands), raster_crs, str(nodata))
        if reading.bands is not None and (len(reading.bands) != 3 or min(reading.bands) < 1):
            raise ConfigError(f"bands={list(reading.bands)}: expected three band numbers from 1, "
                              "for red, green and blue, such as [1,2,3]; [1,1,1] makes one band "
                              "grey")
        if reading.nodata not in ("file", "none") and not _is_pixel_value(reading.nodata):
            raise ConfigError(f"nodata={nodata}: expected file, none, or a number such as 0 (or "
                              "nan, of floating-point imagery)")
        reading.given_crs()
        return reading

    def given_crs(self) -> CRS | None:
        """Return `crs` parsed; raise ConfigError if it is none of a place on Earth."""
        if self.crs is None:
            return None
        try:
            crs = CRS.from_user_input(self.crs)
        except CRSError as error:
            raise ConfigError(f"raster_crs={self.crs}: not a known coordinate reference system; "
                              f"give one such as EPSG:32648") from error
        if not _is_on_earth(crs):
            raise ConfigError(f"raster_crs={self.crs}: neither geographic nor projected; give one "
                              "such as EPSG:32648")
        return crs


@dataclass(frozen=True)
class RasterFile:
    """A file as known before its pixels are read; the grid is as in rasterio."""

    path: Path
    crs: CRS
    transform: Affine
    width: int
    height: int
    dtype: str               # of the pixels of its three bands
    nodata: float | None     # the value that the three bands share, if they do and it counts
    files: tuple[Path, ...]  # of this raster, those beside it and a VRT's own sources included


class _TooFewBands(PrepareError):
    """A raster that lacks one of the bands of red, green and blue."""


@contextmanager
def gdal() -> Iterator[None]:
    """Give GDAL little memory, and hide its warnings on files without georeference."""
    with rasterio.Env(**GDAL_OPTIONS), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Raise PrepareError if GDAL fails inside: a file that could be opened has damaged pixels."""
    try:
        yield
    except RasterioError as error:
        reason = one_line(error.__cause__ or error)
        raise PrepareError(f"{path}: the raster is damaged, its pixels cannot be decoded "
                           f"({reason}). Get the file again, or leave it out.") from error


def raster_files(raster: str | Path) -> list[Path]:
    """Return the sorted files that a path, a folder (its GeoTIFFs or, if it has none, its VRTs) or
    a glob names; raise PrepareError if there are none."""
    path = Path(raster)
    if path.is_file():
        return [path]
    if path.is_dir():
        tiffs, vrts = ([entry for entry in sorted(path.iterdir())
                        if entry.suffix.lower() in suffixes] for suffixes in (SUFFIXES, (".vrt",)))
        files = tiffs or vrts
        fault = f"the folder holds no GeoTIFF ({', '.join(SUFFIXES)})"
        deeper = None if files else next((file for file in path.rglob("*")
                                          if file.suffix.lower() in SUFFIXES), None)
        if deeper:
            raise PrepareError(f"{raster}: {fault} itself, and its subfolders are not "
                               "searched; pass a quoted glob such as "
                               f"'{path}/**/*{deeper.suffix}'.")
    else:
        # what exists is a name, not a pattern: a folder may be called `chips [1]`
        folder = next((parent for parent in path.parents if parent.is_dir()), Path())
        matches = glob.glob(str(path.relative_to(folder)), root_dir=folder, recursive=True)
        files = sorted(folder / match for match in matches if (folder / match).is_file())
        fault = "no such file or folder, and as a glob it matches nothing"
    if not files:
        raise PrepareError(f"{raster}: {fault}. Pass raster= one GeoTIFF or VRT, a folder of "
                           "GeoTIFFs, or a quoted glob such as 'chips/*.tif'.")
    return files


def inspect_all(paths: Sequence[Path], reading: Reading) -> list[RasterFile]:
    """Return what `inspect` knows of files, in their order; raise PrepareError as it does, or if
    only some have three bands, so the others are no imagery."""
    files, too_few = [], None
    for path in paths:
        try:
            files.append(inspect(path, reading))
        except _TooFewBands as error:
            too_few = too_few or (path, error)
        if files and too_few:
            raise PrepareError(f"{too_few[0]}: has too few bands for red, green and blue, but "
                               f"{files[0].path} has them; raster= also matches files that are no "
                               "imagery. Narrow it to the imagery by a quoted glob that only its "
                               "names match.") from too_few[1]
    if too_few:
        raise too_few[1]
    return files


def inspect(path: Path, reading: Reading) -> RasterFile:
    """Return what a file is, without its pixels. Raise PrepareError if it is no raster, has no
    place on the ground, lacks a band, or its pixels are of a type without an order."""
    try:
        with rasterio.open(path) as dataset:
            crs = _crs(path, dataset, reading)
            bands = colour_bands(path, dataset, reading)
            files = tuple(_files(path, dataset))
            dtype, nodata = "uint8", {None}
            if not is_palette(dataset, reading):
                dtype = str(np.result_type(*(dataset.dtypes[band - 1] for band in bands)))
                if reading.nodata == "file":
                    nodata = {dataset.nodatavals[band - 1] for band in bands}
            file = RasterFile(path, crs, dataset.transform, dataset.width, dataset.height, dtype,
                              nodata.pop() if len(nodata) == 1 else None, files)
    except RasterioError as error:
        raise PrepareError(f"{path}: not a readable raster ({one_line(error)}). Pass GeoTIFFs; "
                           f"`rio info {path}` must succeed.") from error
    if dtype not in PIXEL_TYPES:
        raise PrepareError(f"{path}: the raster's pixels are {dtype}, which has no order from "
                           f"dark to bright; expected one of {', '.join(PIXEL_TYPES)}. Convert it "
                           f"with `rio convert {path} float.tif --dtype float32`.")
    return file


def is_palette(dataset: rasterio.DatasetReader, reading: Reading) -> bool:
    """Return whether pixels are indices into a table of colours, to be looked up there."""
    return reading.bands is None and ColorInterp.palette in dataset.colorinterp[:1]


def colour_bands(path: Path, dataset: rasterio.DatasetReader,
                 reading: Reading) -> tuple[int, int, int]:
    """Return the bands of red, green and blue, from 1; of a palette its one band, three times.
    Raise PrepareError if one is missing."""
    if is_palette(dataset, reading):
        return 1, 1, 1
    if reading.bands is not None:
        if max(reading.bands) > dataset.count:
            raise _TooFewBands(f"{path}: bands=[{','.join(map(str, reading.bands))}], but the "
                               f"raster has {dataset.count} band(s). Choose three of "
                               f"1..{dataset.count}, such as bands=[1,1,1].")
        return reading.bands
    if set(COLOURS) <= set(dataset.colorinterp):
        return tuple(dataset.colorinterp.index(colour) + 1 for colour in COLOURS)
    bands = [band for band, meaning in enumerate(dataset.colorinterp, start=1)
             if meaning != ColorInterp.alpha]
    if len(bands) < 3:
        raise _TooFewBands(f"{path}: the raster has {dataset.count} band(s), but red, green and "
                           "blue are needed. Pass bands=[1,1,1] to make its first band grey, or "
                           "an RGB raster.")
    return tuple(bands[:3])


def _crs(path: Path, dataset: rasterio.DatasetReader, reading: Reading) -> CRS:
    """Return the CRS of a file; raise PrepareError if the file has no place on the ground."""
    own, given = dataset.crs, reading.given_crs()
    if own is None and dataset.gcps[0]:
        raise PrepareError(f"{path}: the raster is georeferenced by {len(dataset.gcps[0])} ground "
                           "control points only, so its pixels lie on no regular grid. Give it "
                           f"one with `rio warp {path} warped.tif --dst-crs EPSG:4326 "
                           "--resampling bilinear`.")
    if dataset.transform.is_identity or dataset.transform.is_degenerate:
        raise PrepareError(f"{path}: the raster has no geotransform (found "
                           f"{tuple(dataset.transform)[:6]}), so nobody knows where it lies. Give "
                           f"it one with `rio edit-info {path} --crs EPSG:32648 --transform "
                           "'[0.5, 0, WEST, 0, -0.5, NORTH]'` (its CRS, pixel size and top-left "
                           "corner).")
    if own is None or not _is_on_earth(own):
        if given is None:
            raise PrepareError(f"{path}: the raster has no coordinate reference system, so OSM "
                               "objects cannot be placed on it. Pass raster_crs=EPSG:32648, or "
                               f"mend it with `rio edit-info --crs EPSG:32648 {path}` (with your "
                               "data's code).")
        return given
    if given is not None and given != own:
        raise PrepareError(f"{path}: raster_crs={reading.crs}, but the raster has {crs_name(own)} "
                           "itself; raster_crs= is for rasters without a CRS. Leave it out, or "
                           f"mend the file with `rio edit-info --crs {reading.crs} {path}`.")
    return own


def _is_pixel_value(text: str) -> bool:
    """Return whether text is a number that pixels can have; no integer type has infinity."""
    try:
        return not math.isinf(float(text))
    except ValueError:
        return False


def _is_on_earth(crs: CRS) -> bool:
    return crs.is_geographic or crs.is_projected


def crs_name(crs: CRS) -> str:
    """Return a short text for a CRS: its code, else its name."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_dict(projjson=True).get("name", crs.to_string())


def _files(path: Path, dataset: rasterio.DatasetReader) -> list[Path]:
    """Return the file, those beside it (mask, overviews, metadata) and a VRT's sources, nested
    VRTs included; without files of mere statistics, which a GIS writes when it opens a raster."""
    files = [path]
    for name in dataset.files:
        file = Path(name)
        if file.is_file() and not file.samefile(path):
            if not name.lower().endswith(".aux.xml") or _MATTERS.search(file.read_bytes()):
                files.append(file)
        elif not (file.exists() or dataset.driver != "VRT" or name.startswith("/vsi")
                  or "://" in name):
            raise PrepareError(f"{path}: the VRT names {name}, and there is no such file. Put it "
                               "there, or make the VRT again.")
    for file in [file for file in files[1:] if file.suffix.lower() == ".vrt"]:
        with rasterio.open(file) as inner:
            files.extend(inside for inside in _files(file, inner)[1:] if inside not in files)
    return files
