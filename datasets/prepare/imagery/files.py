"""The files of a mosaic: find them, and refuse those without a place on the ground or colours."""

import math
import re
import shlex
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, NodataShadowWarning, NotGeoreferencedWarning

from datasets.prepare.geo.raster_io import (
    RASTER_ERRORS,
    check_blocks,
    is_place,
    open_raster_file,
    raster_reason,
)
from datasets.prepare.geo.vrt import all_sources
from datasets.prepare.imagery.sidecars import (
    own_crs,
    own_transform,
    prj_fault,
    sidecars,
    world_file_fault,
)
from datasets.prepare.imagery.web_tiles import WebTile, open_tile, shown
from utils.errors import ConfigError, PrepareError

COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
# Several processes read at once, so each keeps little; folders are not listed once per file.
GDAL_OPTIONS = {"GDAL_CACHEMAX": 128 << 20, "GDAL_MAX_DATASET_POOL_SIZE": 64,
                "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
LEAST_GCPS = 3  # that `rio warp` can make a grid of
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
    alpha: bool = True  # bands declared as alpha are opacity; False: they are not looked at
    # of imagery with one file a band: the file of red -> those of red, green and blue
    stacks: Mapping[str, Sequence[str]] = field(default_factory=dict)

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

    def paths(self, path: Path) -> list[Path]:
        """Return the files of red, green and blue of the raster at `path`: one, or three."""
        return [Path(name) for name in self.stacks.get(str(path.absolute()), [path])]

    def given_crs(self) -> CRS | None:
        """Return `crs` parsed; raise ConfigError if it is none of a place on Earth."""
        if self.crs is None:
            return None
        try:
            if "://" in self.crs or self.crs.startswith("/"):  # which PROJ would fetch or read
                raise CRSError("a path or URL")
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
    alpha: int | None = None  # the band that is taken for opacity
    opaque: bool = False      # every pixel is imagery
    tile: WebTile | None = None  # of a web map tile, whose name says where it lies
    # what bbox= leaves of the file, to which grid and size belong: left, top, width, height in
    # its pixels
    crop: tuple[int, int, int, int] | None = None

    @property
    def shown(self) -> str:
        return shown(self.path, self.tile)


class TooFewBands(PrepareError):
    """A raster that lacks one of the bands of red, green and blue."""


@contextmanager
def gdal() -> Iterator[None]:
    """Give GDAL little memory, and hide its warnings on files without georeference, or with both
    nodata and alpha, which are read apart."""
    with rasterio.Env(**GDAL_OPTIONS), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        warnings.simplefilter("ignore", NodataShadowWarning)
        yield


@contextmanager
def damage_named(path: Path | str) -> Iterator[None]:
    """Raise PrepareError if GDAL fails inside: a file that could be opened has damaged pixels."""
    try:
        yield
    except RASTER_ERRORS as error:
        raise PrepareError(f"{path}: the raster is damaged, its pixels cannot be decoded "
                           f"({raster_reason(error)}). Get the file again, or leave it "
                           "out.") from error
    except MemoryError as error:
        raise PrepareError(f"{path}: not enough memory for one of its blocks. Write it again in "
                           "smaller ones, such as tiles of 512 x 512 pixels.") from error


def inspect(path: Path, reading: Reading) -> RasterFile:
    """Return what a file is, without its pixels. Raise PrepareError if it is no raster, has no
    place on the ground, lacks a band, or its pixels are of a type without an order."""
    try:
        with open_raster_file(path) as dataset:
            crs = _crs(path, dataset, reading)
            check_blocks(path, dataset)
            bands = colour_bands(path, dataset, reading)
            files = tuple(_files(path, dataset))
            palette = is_palette(dataset, reading)
            dtype, nodata, alpha, masked = "uint8", {None}, None, palette
            if not palette:
                dtype = str(np.result_type(*(dataset.dtypes[band - 1] for band in bands)))
                if reading.nodata == "file":
                    nodata = {dataset.nodatavals[band - 1] for band in bands}
                    alpha, masked = opacity(dataset, bands, reading)
            opaque = not (alpha or masked) and nodata == {None} and (
                reading.nodata in ("file", "none")) and dtype[0] != "f"
            file = RasterFile(path, crs, own_transform(path, dataset), dataset.width,
                              dataset.height, dtype, nodata.pop() if len(nodata) == 1 else None,
                              files, alpha, opaque)
    except RASTER_ERRORS as error:
        raise PrepareError(f"{path}: not a readable raster ({raster_reason(error)}). Get "
                           "the file again, or pass a GeoTIFF.") from error
    _check_order(path, dtype)
    return file


def inspect_tile(path: Path, tile: WebTile, reading: Reading) -> tuple[int, str]:
    """Return side and type of a web map tile's pixels. Raise PrepareError as `inspect`, or if it
    is no picture."""
    file, dataset = open_tile(path, tile)
    with file, dataset:
        bands = colour_bands(Path(shown(path, tile)), dataset, as_seen(dataset, reading))
        dtype = ("uint8" if is_palette(dataset, reading) else
                 str(np.result_type(*(dataset.dtypes[band - 1] for band in bands))))
        _check_order(path, dtype)
        return dataset.width, dtype


def as_seen(dataset: rasterio.DatasetReader, reading: Reading) -> Reading:
    """Return how a web map tile is read: a grey one, with opacity or without, as three bands of
    grey, as browsers show it among tiles of colour."""
    grey = dataset.colorinterp[:1] == (ColorInterp.gray,) and dataset.count <= 2
    return replace(reading, bands=(1, 1, 1)) if grey and reading.bands is None else reading


def _check_order(path: Path, dtype: str) -> None:
    """Raise PrepareError if pixels are of a type without an order."""
    if dtype not in PIXEL_TYPES:
        raise PrepareError(f"{path}: the raster's pixels are {dtype}, which has no order from "
                           f"dark to bright; expected one of {', '.join(PIXEL_TYPES)}. Convert it "
                           f"with `rio convert {shlex.quote(str(path))} float.tif --dtype "
                           "float32`.")


def opacity(dataset: rasterio.DatasetReader, bands: Sequence[int],
            reading: Reading) -> tuple[int | None, bool]:
    """Return the alpha band of a raster, None without one that `bands` leaves free; and whether
    the file has a mask instead."""
    if ColorInterp.alpha in dataset.colorinterp:
        band = dataset.colorinterp.index(ColorInterp.alpha) + 1
        if reading.alpha and band not in bands:
            return band, False
    flags = dataset.mask_flag_enums[bands[0] - 1]
    return None, MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


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
            raise TooFewBands(f"{path}: bands=[{','.join(map(str, reading.bands))}], but the "
                               f"raster has {dataset.count} band(s). Choose three of "
                               f"1..{dataset.count}, such as bands=[1,1,1].")
        return reading.bands
    if set(COLOURS) <= set(dataset.colorinterp):
        return tuple(dataset.colorinterp.index(colour) + 1 for colour in COLOURS)
    bands = [band for band, meaning in enumerate(dataset.colorinterp, start=1)
             if meaning != ColorInterp.alpha]
    if not bands:
        raise PrepareError(f"{path}: the raster has no band of colours, expected red, green and "
                           "blue. Pass an RGB raster.")
    if len(bands) < 3:
        raise TooFewBands(f"{path}: the raster has {dataset.count} band(s), but red, green and "
                           "blue are needed. Pass bands=[1,1,1] to make its first band grey, or "
                           "an RGB raster.")
    return tuple(bands[:3])


def _crs(path: Path, dataset: rasterio.DatasetReader, reading: Reading) -> CRS:
    """Return the CRS of a file; raise PrepareError if the file has no place on the ground."""
    given, quoted = reading.given_crs(), shlex.quote(str(path))
    own = dataset.crs if given else own_crs(path, dataset)
    if own is None and len(dataset.gcps[0]) >= LEAST_GCPS:
        raise PrepareError(f"{path}: the raster is georeferenced by {len(dataset.gcps[0])} ground "
                           "control points only, so its pixels lie on no regular grid. Give it "
                           f"one with `rio warp {quoted} warped.tif --dst-crs EPSG:4326 "
                           "--resampling bilinear`, and pass raster=warped.tif.")
    if not is_place(own_transform(path, dataset), dataset.width, dataset.height):
        raise PrepareError(f"{path}: the raster has no geotransform (found "
                           f"{tuple(dataset.transform)[:6]}){world_file_fault(path)}, so nobody "
                           "knows where it lies. Give "
                           f"it one with `rio edit-info {quoted} --crs EPSG:32648 --transform "
                           "'[0.5, 0, 480000, 0, -0.5, 5500000]'` (with its CRS, pixel size and "
                           "top-left corner).")
    if own is None or not _is_on_earth(own):
        if given is None:
            raise PrepareError(f"{path}: the raster has no coordinate reference system"
                               f"{prj_fault(path)}, so OSM objects cannot be placed on it. Pass "
                               "raster_crs=EPSG:32648, or "
                               f"mend it with `rio edit-info --crs EPSG:32648 {quoted}` (with your "
                               "data's code).")
        return given
    if given is not None and given != own:
        raise PrepareError(f"{path}: raster_crs={reading.crs}, but the raster has {crs_name(own)} "
                           "itself; raster_crs= is for rasters without a CRS. Leave it out, or "
                           f"mend the file with `rio edit-info --crs {shlex.quote(reading.crs)} "
                           f"{quoted}`.")
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
    files = [path, *sidecars(path, dataset)]
    for name in dataset.files:
        file = Path(name)
        if file.is_file() and not any(map(file.samefile, files)) and not (
                name.lower().endswith(".aux.xml") and not _MATTERS.search(file.read_bytes())):
            files.append(file)
    known = {file.resolve() for file in files}
    return [*files, *dict.fromkeys(file for file in all_sources(path)
                                   if file.resolve() not in known)]
