"""Rasters of one value a cell, in any CRS and on any grid, read by windows."""

import math
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import rasterio
from pyproj import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from datasets.prepare.geo.crs import Bounds, mapped, moved, no_overlap, outlines
from utils.errors import PrepareError, one_line

MAX_CELLS = 4_000_000  # read at a time
_EDGE = 1e-6           # cells; a box that reaches less far into a cell does not touch it


class TargetRaster:
    """A raster of one band; `key` of the command line named it, for messages.

    Attributes:
        crs, transform, shape, dtype: of the raster; shape is (rows, columns).
        files: all that it consists of: a VRT's own sources, side files.

    Raises:
        RasterioError: not a raster.
        PrepareError: several bands, or no CRS.
    """

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key
        source = self.dataset
        if source.crs is None or not (source.crs.is_geographic or source.crs.is_projected):
            raise PrepareError(f"{path}: the raster has no coordinate reference system, so {key} "
                               "cannot be placed on the imagery. Give it one with `rio edit-info "
                               f"--crs EPSG:32648 {path}` (with the EPSG code of your data).")
        if source.count != 1:
            raise PrepareError(f"{path}: the raster has {source.count} bands, expected one with "
                               f"the values of {key}. Take the right one with `rio stack --bidx 1 "
                               f"{path} one_band.tif`.")
        self.crs = CRS.from_wkt(source.crs.to_wkt())
        self.transform, self.shape = source.transform, source.shape
        self.dtype, self.files = np.dtype(source.dtypes[0]), [Path(name) for name in source.files]

    @cached_property
    def dataset(self) -> rasterio.DatasetReader:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # an error says it better
            return rasterio.open(self.path)

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
            values = self.dataset.read(1, window=window)
            return values, self.dataset.read_masks(1, window=window) > 0
        except RasterioError as error:
            raise self.damaged(error) from error

    def damaged(self, error: RasterioError) -> PrepareError:
        return PrepareError(f"{self.path}: the raster is damaged, its cells cannot be decoded "
                            f"({one_line(error.__cause__ or error)}). Get the file again.")


def open_raster(path: Path, key: str) -> TargetRaster | None:
    """Return the raster at `path`; None if it is a file of another kind. Raise PrepareError if
    there is no such file, or the raster cannot be used."""
    if not path.exists():
        raise PrepareError(f"{path}: no such file. Pass {key}= a raster of one band, or polygons "
                           "with a column of values.")
    try:
        return TargetRaster(path, key)
    except RasterioError:
        return None
