"""One mosaic of 8-bit RGB on one grid, from one raster file or many, read window by window.

The grid is the first file's (in sorted order), north up: its CRS, pixel size and pixel lattice,
over the extent of all files; with `resolution`, pixels of that size in metres on the ground. A
file whose pixels fall on the grid is read untouched. Any other (another CRS or pixel size, rotated
or flipped) is resampled as it is read. No file is ever held as a whole.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from datasets.bbox import BBox
from datasets.prepare.imagery import placement
from datasets.prepare.imagery.files import (
    RasterFile,
    Reading,
    damage_named,
    gdal,
)
from datasets.prepare.imagery.ground import GroundGrid
from datasets.prepare.imagery.opacity import alpha_warning, hidden_warning
from datasets.prepare.imagery.placement import Source
from datasets.prepare.imagery.sources import find_imagery
from datasets.prepare.imagery.stretch import (
    apply_stretch,
    check_percentiles,
    find_stretch,
    nodata_warning,
)
from datasets.prepare.imagery.view import open_view, read_view
from datasets.prepare.imagery.voids import void_warnings
from datasets.prepare.imagery.web_tiles import WebTile, remedy
from utils.errors import ConfigError, PrepareError

MAX_OPEN = 64
# file pixels per mosaic pixel above which they are averaged, not interpolated
AVERAGED_FROM = 1.05
# so small, and with X- and YSCALE fixed below, a pixel is the same in any window
WARP_ERROR_PX = 0.001


class Mosaic(GroundGrid):
    """Files on one grid, from `open_mosaic` or another mosaic's dictionary; a context manager.

    Attributes:
        crs, transform, width, height: of the whole grid, as in rasterio.
        sources: the files, in the order they are pasted; where two have imagery the first stays.
        files: every file that is read, those beside a raster and a VRT's own sources included.
        stretch: [low, high] of red, green and blue, the values that become 0 and 255; None for
            8-bit imagery.
        warnings: what the user should know, in sentences.
    """

    def __init__(self, crs: CRS, transform: Affine, sources: Sequence[Source], reading: Reading,
                 stretch: list[list[float]] | None = None, files: Sequence[Path] = (),
                 warnings: Sequence[str] = ()):
        self.crs, self.transform, self.reading, self.stretch = crs, transform, reading, stretch
        self.sources, self.files, self.warnings = list(sources), list(files), list(warnings)
        self._rectangles = np.array([(s.col, s.row, s.col + s.width, s.row + s.height)
                                     for s in sources])  # [sources, 4]
        self.width, self.height = map(int, self._rectangles[:, 2:].max(0))
        self._readers: OrderedDict[Source, rasterio.DatasetReader | WarpedVRT] = OrderedDict()

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return a window's RGB [h, w, 3] uint8, 0 without imagery, and valid [h, w] bool; raise
        PrepareError if a file cannot be decoded there."""
        left, top = int(window.col_off), int(window.row_off)
        right, bottom = left + int(window.width), top + int(window.height)
        image = _Image(bottom - top, right - left, self.stretch)
        first_col, first_row, end_col, end_row = self._rectangles.T
        hit = (first_col < right) & (end_col > left) & (first_row < bottom) & (end_row > top)
        with gdal():
            for source in (self.sources[index] for index in np.flatnonzero(hit)):
                c0, c1 = max(left, source.col), min(right, source.col + source.width)
                r0, r1 = max(top, source.row), min(bottom, source.row + source.height)
                with damage_named(source.shown):
                    values, valid = read_view(
                        self._reader(source),
                        Window(c0 - source.col, r0 - source.row, c1 - c0, r1 - r0))
                image.paste(np.s_[r0 - top:r1 - top, c0 - left:c1 - left], values, valid)
        return image.rgb, image.valid

    def thumbnail(self, max_side: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the whole decimated to at most `max_side` pixels, from overviews where they fit:
        RGB [h, w, 3] uint8 and valid [h, w] bool; raise PrepareError if a file cannot be
        decoded."""
        step = max(1.0, max(self.width, self.height) / max_side)
        grid = Affine(self.transform.a * step, 0, self.transform.c, 0, self.transform.e * step,
                      self.transform.f)
        image = _Image(max(1, round(self.height / step)), max(1, round(self.width / step)),
                       self.stretch)
        with gdal():
            for source in self.sources:
                c0, c1 = _decimated(source.col, source.width, step, image.valid.shape[1])
                r0, r1 = _decimated(source.row, source.height, step, image.valid.shape[0])
                with damage_named(source.shown), open_view(source, self.reading) as view:
                    if view.crs == self.crs and placement.is_north_up(view.transform):
                        image.paste(np.s_[r0:r1, c0:c1],
                                    *read_view(view, shape=(r1 - r0, c1 - c0)))
                        continue
                small = replace(source, col=c0, row=r0, width=c1 - c0, height=r1 - r0,
                                step=source.step * step)
                with (damage_named(source.shown),
                      self._open(small, grid, Resampling.nearest) as view):
                    image.paste(np.s_[r0:r1, c0:c1], *read_view(view))
        return image.rgb, image.valid

    def to_dict(self) -> dict:
        """Return what `from_dict` needs, for JSON; paths are absolute."""
        return {
            "crs": self.crs.to_wkt(), "transform": list(self.transform)[:6],
            "reading": asdict(self.reading), "stretch": self.stretch,
            "sources": [_listed(source) for source in self.sources],
            "files": [str(file.absolute()) for file in self.files], "warnings": self.warnings,
        }

    @classmethod
    def from_dict(cls, described: dict) -> "Mosaic":
        """Return the same mosaic in another process; its files are not inspected again."""
        reading = described["reading"]
        bands = reading["bands"] and tuple(reading["bands"])
        return cls(
            CRS.from_wkt(described["crs"]), Affine(*described["transform"]),
            [_source(*values) for values in described["sources"]],
            Reading(**{**reading, "bands": bands}), described["stretch"],
            [Path(file) for file in described["files"]], described["warnings"],
        )

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def __enter__(self) -> "Mosaic":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _reader(self, source: Source) -> "rasterio.DatasetReader | WarpedVRT":
        if source in self._readers:
            self._readers.move_to_end(source)
            return self._readers[source]
        if len(self._readers) == MAX_OPEN:
            self._readers.popitem(last=False)[1].close()
        resampling = Resampling.average if source.step > AVERAGED_FROM else Resampling.bilinear
        self._readers[source] = self._open(source, self.transform, resampling)
        return self._readers[source]

    def _open(self, source: Source, grid: Affine,
              resampling: Resampling) -> "rasterio.DatasetReader | WarpedVRT":
        """Return a view of a file, resampled to its rectangle of `grid` unless on it already."""
        view = open_view(source, self.reading, source.step)
        if source.tile and not self.stretch and view.dtypes[0] != "uint8":
            raise PrepareError(f"{source.shown}: the pixels are {view.dtypes[0]}, but those of "
                               f"other tiles are uint8. {remedy(source.path)}")
        if not source.step:
            return view
        return WarpedVRT(
            view, crs=self.crs, transform=placement.shifted(grid, source.col, source.row),
            width=source.width, height=source.height, resampling=resampling,
            add_alpha=view.count == 3, tolerance=WARP_ERROR_PX, XSCALE="1", YSCALE="1")


def _listed(source: Source) -> list:
    """Return a source's values for JSON, without those of what is no tile and not cropped."""
    values = [str(source.path.absolute()), source.col, source.row, source.width, source.height,
              source.step]
    if source.tile or source.crop:
        values += [source.tile and astuple(source.tile), source.crop]
    return values


def _source(path: str, col: int, row: int, width: int, height: int, step: float,
            tile: Sequence[int] | None = None, crop: Sequence[int] | None = None) -> Source:
    return Source(Path(path), col, row, width, height, step, tile and WebTile(*tile),
                  crop and tuple(crop))


class _Image:
    """An image [h, w] filled file by file; pixels already there stay."""

    def __init__(self, height: int, width: int, stretch: list[list[float]] | None):
        self._bands = np.zeros((3, height, width), np.uint8)
        self.valid = np.zeros((height, width), bool)
        self._stretch = stretch

    def paste(self, area: tuple[slice, slice], values: np.ndarray, has_value: np.ndarray) -> None:
        """Fill the empty pixels of an area with values [3, h, w] where any band has one, by
        has_value [3, h, w] bool."""
        if self._stretch:
            values = np.where(has_value, apply_stretch(values, self._stretch), 0)
        fresh = has_value.any(0) & ~self.valid[area]
        np.copyto(self._bands[:, *area], values, casting="unsafe", where=fresh)
        self.valid[area] |= fresh

    @property
    def rgb(self) -> np.ndarray:
        """[h, w, 3]"""
        return np.moveaxis(self._bands, 0, -1)


def open_mosaic(
    raster: str | Path, *, bands: Iterable[int] | None = None, raster_crs: str | None = None,
    resolution: float | None = None, stretch: Iterable[float] = (2, 98),
    nodata: str | float = "file", bbox: BBox | None = None, zoom: int | None = None,
) -> Mosaic:
    """Open the imagery at `raster`, as a context manager.

    Args:
        raster: a raster file, a folder of them or of web map tiles, or a glob such as
            `chips/*.tif` (see `sources.find_imagery`).
        bands: of red, green and blue, from 1; None: by colour interpretation, else the first
            three; a palette is looked up.
        raster_crs: CRS of files that have none.
        resolution: metres per pixel on the ground; None: the first file's.
        stretch: two percentiles over all files that become 0 and 255, unless pixels are 8-bit.
        nodata: "file", "none" or a value, as in `Reading`.
        bbox: read each file as if it were cut to its whole pixels that touch the box; None: all.
        zoom: of web map tiles; None: the finest.

    Raises:
        ConfigError: an impossible value.
        PrepareError: no such file; one that is no raster, has no place on the ground or lacks a
            band; files too far apart, or none in the box. The message names the file and a remedy.
    """
    percentiles, reading = check_percentiles(stretch), Reading.of(bands, raster_crs, nodata)
    if resolution is not None and not resolution > 0:
        raise ConfigError(f"resolution={resolution}: expected metres per pixel, above 0")
    with gdal():
        files, reading, warnings = find_imagery(raster, reading, bbox, zoom)
        _check_depth(files)
        crs, grid = files[0].crs, placement.north_up(files[0])
        sources, grid = placement.placed(files, crs, grid)
        width, height = (max(s.col + s.width for s in sources),
                         max(s.row + s.height for s in sources))
        placement.check_on_earth(files[0].path, crs, grid, width, height)
        placement.check_near(files, sources)
        warnings += placement.resampling_warnings(files, sources)
        warnings += hidden_warning(files, sources)
        if resolution is not None:
            grid = placement.grid_at(resolution, crs, grid, width, height)
            sources, grid = placement.placed(files, crs, grid)
        if warning := alpha_warning(files, reading):
            warnings.append(warning)
            reading = replace(reading, alpha=False)
        eight_bit = files[0].dtype == "uint8"
        limits = None if eight_bit else find_stretch(files, reading, percentiles)
        warnings.extend(filter(None, [nodata_warning(files, reading)]))
        warnings.extend(void_warnings(files, reading))
    return Mosaic(crs, grid, sources, reading, limits,
                  list(dict.fromkeys(name for file in files for name in file.files)), warnings)


def _check_depth(files: Sequence[RasterFile]) -> None:
    """Raise PrepareError if only some files are 8-bit: others are 8-bit by a stretch alone."""
    first = files[0]
    other = next((file for file in files if (file.dtype == "uint8") != (first.dtype == "uint8")),
                 None)
    if other:
        raise PrepareError(f"{other.path}: the pixels are {other.dtype}, but those of "
                           f"{first.path} are {first.dtype}; a mosaic needs 8-bit (uint8) imagery "
                           "only, or none. Prepare them as two cities, or pass a glob that "
                           "leaves one of them out.")


def _decimated(start: int, size: int, step: float, end: int) -> tuple[int, int]:
    """Return the first and one past the last pixel of a side of `end` pixels decimated by `step`.
    There is at least one pixel."""
    first = min(round(start / step), end - 1)
    return first, min(end, max(first + 1, round((start + size) / step)))
