"""Rasters of one value a cell, in any CRS and on any grid, read by windows."""

import math
import shlex
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject
from rasterio.windows import Window

from datasets.prepare.geo.crs import Bounds, mapped, moved, no_overlap, outlines
from datasets.prepare.geo.raster_io import (
    RASTER_ERRORS,
    check_blocks,
    has_place,
    is_raster_name,
    open_raster_file,
    raster_reason,
    reopen_raster_file,
)
from utils.errors import PrepareError

MAX_CELLS = 4_000_000  # read at a time
OUTSIDE = float(-2**53)  # a cell without data while resampling; no class number
_EDGE = 1e-6           # cells; a box that reaches less far into a cell does not touch it


class TargetRaster:
    """A raster of one band; `key` of the command line named it, for messages.

    Attributes:
        crs, transform, shape, dtype: of the raster; shape is (rows, columns).
        files: all that it consists of: a VRT's own sources, side files.

    Raises:
        One of RASTER_ERRORS: not a raster.
        PrepareError: several bands, no numbers, or no place on the ground.
    """

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key
        open_raster_file(path).close()  # with all that it refers to
        source, quoted = self.dataset, shlex.quote(str(path))
        if source.crs is None or not (source.crs.is_geographic or source.crs.is_projected):
            raise PrepareError(f"{path}: the raster has no coordinate reference system, so {key} "
                               "cannot be placed on the imagery. Give it one with `rio edit-info "
                               f"--crs EPSG:32648 {quoted}` (with the EPSG code of your data).")
        if not has_place(source):
            raise PrepareError(f"{path}: the raster has no geotransform (found "
                               f"{tuple(source.transform)[:6]}), so {key} cannot be placed on the "
                               f"imagery. Give it one with `rio edit-info {quoted} --transform "
                               "'[0.5, 0, 480000, 0, -0.5, 5500000]'` (with its pixel size and "
                               "top-left corner).")
        self.check_bands(source)
        check_blocks(path, source)
        self.crs = CRS.from_wkt(source.crs.to_wkt())
        self.transform, self.shape = source.transform, source.shape
        self.dtype, self.files = np.dtype(source.dtypes[0]), [Path(name) for name in source.files]

    @cached_property
    def dataset(self) -> rasterio.DatasetReader:
        return reopen_raster_file(self.path)

    def check_bands(self, source: rasterio.DatasetReader) -> None:
        """Raise PrepareError unless the raster has one band of numbers."""
        if source.count != 1:
            raise PrepareError(f"{self.path}: the raster has {source.count} bands, expected one "
                               f"with the values of {self.key}. Take the right one with `rio stack "
                               f"--bidx 1 {shlex.quote(str(self.path))} one_band.tif`.")
        if np.dtype(source.dtypes[0]).kind not in "iuf":
            raise PrepareError(f"{self.path}: the raster's values are {source.dtypes[0]}, expected "
                               f"numbers of {self.key}. Convert it with `rio convert --dtype "
                               f"float64 {shlex.quote(str(self.path))} numbers.tif`.")

    def window(self, points: np.ndarray) -> Window | None:
        """Return the cells that the box of points [n, 2] (column, row) touches, if any."""
        points = points[np.isfinite(points).all(1)]
        if not len(points):
            return None
        (left, top), (right, bottom) = points.min(0) + _EDGE, points.max(0) - _EDGE
        rows, columns = self.shape
        left, right = max(0, math.floor(left)), min(columns, math.ceil(right))
        top, bottom = max(0, math.floor(top)), min(rows, math.ceil(bottom))
        if right <= left or bottom <= top:
            return None
        return Window(left, top, right - left, bottom - top)

    def cells(self, bounds: np.ndarray | Bounds, crs: CRS) -> np.ndarray:
        """Return the outlines of boxes [..., 4] of another CRS: [..., points, 2] (column, row)."""
        return mapped(~self.transform, moved(outlines(bounds), crs, self.crs))

    def overlap(self, bounds: Bounds, crs: CRS) -> Window:
        """Return the cells that a box of another CRS touches; raise PrepareError if none."""
        window = self.window(self.cells(bounds, crs))
        if window is None:
            raise no_overlap(self.path, self.key, tuple(self.dataset.bounds), self.crs, bounds,
                             crs)
        return window

    def strips(self, window: Window) -> Iterator[Window]:
        """Yield `window` in strips of rows of at most MAX_CELLS."""
        rows = max(1, MAX_CELLS // window.width)
        end = window.row_off + window.height
        for top in range(window.row_off, end, rows):
            yield Window(window.col_off, top, window.width, min(rows, end - top))

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return a window's values [h, w] and [h, w] bool, False for nodata and masked cells;
        raise PrepareError if they cannot be decoded."""
        try:
            return self.read_cells(window=window)
        except RASTER_ERRORS as error:
            raise self.damaged(error) from error

    def read_cells(self, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return what `read` does, with options as in rasterio's `read`, and its errors."""
        values = self.dataset.read(1, **options)
        return values, self.dataset.read_masks(1, **options) > 0

    def resampled(self, grid: Affine, crs: CRS, side: int) -> np.ndarray:
        """Return the nearest values on another grid: float64 [side, side], OUTSIDE without any;
        raise PrepareError if they cannot be decoded."""
        return self._warped([1], grid, crs, side)[0]

    def _warped(self, bands: list[int], grid: Affine, crs: CRS, side: int) -> np.ndarray:
        cells = np.full((len(bands), side, side), OUTSIDE)
        try:
            reproject(
                rasterio.band(self.dataset, bands), cells, dst_transform=grid,
                dst_crs=rasterio.crs.CRS.from_wkt(crs.to_wkt()),
                dst_nodata=OUTSIDE, resampling=Resampling.nearest,
            )
        except RASTER_ERRORS as error:
            raise self.damaged(error) from error
        return cells

    def damaged(self, error: Exception) -> PrepareError:
        return PrepareError(f"{self.path}: the raster is damaged, its cells cannot be decoded "
                            f"({raster_reason(error)}). Get the file again.")


def open_raster(path: Path, key: str, kind: type[TargetRaster] = TargetRaster
                ) -> TargetRaster | None:
    """Return the raster at `path`, of a class of rasters; None if it is a file of another kind.
    Raise PrepareError if there is no such file, or the raster cannot be used."""
    if not path.exists():
        raise PrepareError(f"{path}: no such file. Pass {key}= a raster of one band, or polygons "
                           "with a column of values.")
    if not is_raster_name(path):
        return None
    try:
        return kind(path, key)
    except RASTER_ERRORS as error:
        raise PrepareError(f"{path}: readable neither as a raster nor as polygons "
                           f"({raster_reason(error)}). Pass {key}= a GeoTIFF of one band, or "
                           "polygons as GeoPackage, GeoParquet, GeoJSON or "
                           "Shapefile.") from error
