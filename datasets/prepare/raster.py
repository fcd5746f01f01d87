"""Imagery: one GeoTIFF, or many seen as one mosaic, read window by window.

Many files are placed on one grid: CRS, pixel size and pixel lattice of the first file (in sorted order), extent of all. A file whose pixels
fall on that grid is read untouched; any other is resampled to it as it is read. Nothing is ever held as a whole.
"""

import glob
import math
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from utils.errors import PrepareError, one_line

SUFFIXES = (".tif", ".tiff")
# Chips cut in another projection differ in the 6th digit of their pixel size; up to this drift they are placed, not resampled.
SNAP_PX = 0.25
MAX_OPEN = 64


@dataclass(frozen=True)
class Source:
    """One file and the rectangle of the mosaic's pixels that it covers; `aligned`: its own pixels are the mosaic's."""

    path: Path
    col: int
    row: int
    width: int
    height: int
    aligned: bool


class Mosaic:
    """Files on one grid; made by `open_mosaic`.

    Attributes:
        crs, transform, width, height: of the whole grid, as in rasterio.
        sources: the files, in the order in which they are pasted; where two have imagery the first is kept.
    """

    def __init__(self, crs: CRS, transform: Affine, sources: list[Source]):
        self.crs, self.transform, self.sources = crs, transform, sources
        self._rectangles = np.array([(s.col, s.row, s.col + s.width, s.row + s.height) for s in sources])  # [sources, 4]
        self.width, self.height = map(int, self._rectangles[:, 2:].max(0))
        self._readers: OrderedDict[Source, rasterio.DatasetReader | WarpedVRT] = OrderedDict()

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """minx, miny, maxx, maxy of the grid."""
        return rasterio.transform.array_bounds(self.height, self.width, self.transform)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of a window: RGB [h, w, 3] uint8, and whether there is imagery [h, w] bool (alpha, mask and nodata say where not).

        Raises:
            PrepareError: a file cannot be decoded there.
        """
        left, top, height, width = int(window.col_off), int(window.row_off), int(window.height), int(window.width)
        rgb = np.zeros((height, width, 3), np.uint8)
        valid = np.zeros((height, width), bool)
        first_col, first_row, last_col, last_row = self._rectangles.T
        hit = (first_col < left + width) & (last_col > left) & (first_row < top + height) & (last_row > top)
        for source in (self.sources[index] for index in np.flatnonzero(hit)):
            c0, c1 = max(left, source.col), min(left + width, source.col + source.width)
            r0, r1 = max(top, source.row), min(top + height, source.row + source.height)
            part = np.s_[r0 - top:r1 - top, c0 - left:c1 - left]
            pixels, has_imagery = self._read_source(source, Window(c0 - source.col, r0 - source.row, c1 - c0, r1 - r0))
            fresh = ~valid[part]
            rgb[part][fresh] = pixels[fresh]
            valid[part] |= has_imagery
        return rgb, valid

    def _read_source(self, source: Source, window: Window) -> tuple[np.ndarray, np.ndarray]:
        try:
            reader = self._reader(source)
            return np.moveaxis(reader.read([1, 2, 3], window=window), 0, -1), reader.dataset_mask(window=window) > 0
        except RasterioError as error:
            reason = one_line(error.__cause__ or error)
            raise PrepareError(f"{source.path}: the raster is damaged, its pixels cannot be decoded ({reason}). "
                               f"Get the file again, or leave it out.") from error

    def _reader(self, source: Source) -> "rasterio.DatasetReader | WarpedVRT":
        if source in self._readers:
            self._readers.move_to_end(source)
            return self._readers[source]
        if len(self._readers) == MAX_OPEN:
            self._readers.popitem(last=False)[1].close()
        dataset = rasterio.open(source.path)
        self._readers[source] = dataset if source.aligned else self._warped(dataset, source)
        return self._readers[source]

    def _warped(self, dataset: rasterio.DatasetReader, source: Source) -> WarpedVRT:
        has_mask_of_its_own = dataset.nodata is not None or ColorInterp.alpha in dataset.colorinterp
        return WarpedVRT(
            dataset, crs=self.crs, transform=_shifted(self.transform, source.col, source.row), width=source.width,
            height=source.height, resampling=Resampling.bilinear, add_alpha=not has_mask_of_its_own,
        )

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()


@contextmanager
def open_mosaic(raster: str | Path) -> Iterator[Mosaic]:
    """The imagery at `raster`: a GeoTIFF, a folder of them, or a glob such as `chips/*.tif`.

    Raises:
        PrepareError: nothing there, or a file that is no 8-bit, north-up, georeferenced raster of three bands or more in the CRS of the
            first; the message names the file and a command that mends it.
    """
    paths = raster_files(raster)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # an error says it better
        crs, first = _inspect(paths[0])[:2]
        sources = [_place(path, paths[0], crs, first) for path in paths]
    col, row = min(source.col for source in sources), min(source.row for source in sources)
    sources = [replace(source, col=source.col - col, row=source.row - row) for source in sources]
    mosaic = Mosaic(crs, _shifted(first, col, row), sources)
    try:
        yield mosaic
    finally:
        mosaic.close()


def raster_files(raster: str | Path) -> list[Path]:
    """The sorted files that a path, a folder or a glob names.

    Raises:
        PrepareError: there are none.
    """
    path = Path(raster)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES]
        expected = f"the folder holds no GeoTIFF ({', '.join(SUFFIXES)})"
    else:
        found = [Path(match) for match in glob.glob(str(raster), recursive=True) if Path(match).is_file()]
        expected = "no such file or folder, and as a glob it matches nothing"
    if not found:
        raise PrepareError(f"{raster}: {expected}. Pass raster= one GeoTIFF, a folder of GeoTIFFs, or a quoted glob such as 'chips/*.tif'.")
    return sorted(found)


def _inspect(path: Path) -> tuple[CRS, Affine, int, int]:
    """CRS, transform, width and height of a file that can be used."""
    try:
        with rasterio.open(path) as dataset:
            _check(path, dataset)
            return dataset.crs, dataset.transform, dataset.width, dataset.height
    except RasterioError as error:
        raise PrepareError(f"{path}: not a readable raster ({one_line(error)}). Pass GeoTIFFs; `gdalinfo {path}` must succeed.") from error


def _check(path: Path, dataset: rasterio.DatasetReader) -> None:
    if dataset.crs is None and dataset.gcps[0]:
        raise PrepareError(f"{path}: the raster is georeferenced by {len(dataset.gcps[0])} ground control points only, so its pixels lie "
                           f"on no regular grid. Give it one with `gdalwarp -t_srs EPSG:4326 {path} warped.tif`.")
    if dataset.crs is None or not (dataset.crs.is_geographic or dataset.crs.is_projected):
        raise PrepareError(f"{path}: the raster has no coordinate reference system, so OSM objects cannot be placed on it. "
                           f"Give it one with `rio edit-info --crs EPSG:32648 {path}` (with the EPSG code of your data).")
    if dataset.count < 3:
        remedy = "-expand rgb" if ColorInterp.palette in dataset.colorinterp else "-b 1 -b 1 -b 1"
        raise PrepareError(f"{path}: the raster has {dataset.count} band(s), but red, green and blue are needed. Pass an RGB raster, "
                           f"or make it one with `gdal_translate {remedy} {path} rgb.tif`.")
    wrong = next((dtype for dtype in dataset.dtypes[:3] if dtype != "uint8"), None)
    if wrong:
        raise PrepareError(f"{path}: the raster's pixels are {wrong}, but 8 bits (uint8) are needed. "
                           f"Scale them with `gdal_translate -ot Byte -scale {path} 8bit.tif`.")
    grid = dataset.transform
    if max(abs(grid.b), abs(grid.d)) > 1e-9 * abs(grid.a) or grid.a <= 0 or grid.e >= 0:
        raise PrepareError(f"{path}: the raster is rotated or flipped (geotransform {tuple(grid)[:6]}), but rows must run west to east and "
                           f"columns north to south. Straighten it with `gdalwarp {path} north_up.tif`.")


def _place(path: Path, first_path: Path, crs: CRS, grid: Affine) -> Source:
    """Where a file lies on the first file's pixel lattice, in whole pixels (negative to its west and north)."""
    own_crs, own, width, height = _inspect(path)
    if own_crs != crs:
        raise PrepareError(f"{path}: CRS {own_crs.to_string()}, but {first_path} has {crs.to_string()}; all files of a mosaic need the "
                           f"same. Reproject it with `gdalwarp -t_srs {crs.to_string()} {path} same_crs.tif`.")
    left, top = (own.c - grid.c) / grid.a, (own.f - grid.f) / grid.e
    right, bottom = left + width * own.a / grid.a, top + height * own.e / grid.e
    col, row = round(left), round(top)
    drift = max(abs(left - col), abs(top - row), abs(right - col - width), abs(bottom - row - height))
    if drift <= SNAP_PX:
        return Source(path, col, row, width, height, aligned=True)
    col, row = math.floor(left), math.floor(top)
    return Source(path, col, row, math.ceil(right) - col, math.ceil(bottom) - row, aligned=False)


def _shifted(grid: Affine, col: int, row: int) -> Affine:
    """The north-up grid whose first pixel is pixel (col, row) of `grid`."""
    return Affine(grid.a, 0, grid.c + col * grid.a, 0, grid.e, grid.f + row * grid.e)

