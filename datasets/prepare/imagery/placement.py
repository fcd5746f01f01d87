"""Where the files of a mosaic lie on its grid of pixels."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyproj
from affine import Affine
from rasterio.crs import CRS

from datasets.prepare.geo.crs import DEGREES, box_in, moved
from datasets.prepare.imagery.files import RasterFile, crs_name
from datasets.prepare.imagery.web_tiles import WebTile, shown
from utils.errors import ConfigError, PrepareError

# Chips cut in another projection differ in the 6th digit of their pixel size; up to this drift
# they are placed, not resampled.
SNAP_PX = 0.25
# A pixel size within this of `resolution` is kept: UTM's own metres are off by up to a thousandth.
SAME_RESOLUTION = 2e-3
# Files are no mosaic if they cover less than this fraction of a grid with at least this many
# pixels (20 km at 0.2 m).
LEAST_COVERED, LARGE_GRID = 5e-3, 1e10
MOST_PIXELS = 2**31 - 1  # along a side, as in GDAL


@dataclass(frozen=True)
class Source:
    """One file and the rectangle of the mosaic's pixels that it covers."""

    path: Path
    col: int
    row: int
    width: int
    height: int
    # 0 if the file's own pixels are the mosaic's; else the file is resampled, and this is the
    # width of a mosaic pixel in file pixels
    step: float
    # as of the `RasterFile`
    tile: WebTile | None = None
    crop: tuple[int, int, int, int] | None = None

    @property
    def shown(self) -> str:
        return shown(self.path, self.tile)


@lru_cache(maxsize=64)
def projected(crs: CRS) -> pyproj.CRS:
    """Return a CRS as pyproj has it."""
    return pyproj.CRS.from_wkt(crs.to_wkt())


def metres_per_pixel(crs: CRS, transform: Affine, width: int, height: int) -> tuple[float, float]:
    """Return width and height of the central pixel in metres along the ellipsoid; nan off the
    Earth."""
    col, row = width / 2, height / 2
    ends = np.array([transform @ (col + right, row + down)
                     for right, down in ((-8, 0), (8, 0), (0, -8), (0, 8))])
    lon, lat = moved(ends, projected(crs), DEGREES).T
    across, down = DEGREES.get_geod().inv(lon[::2], lat[::2], lon[1::2], lat[1::2])[2] / 16
    return float(across), float(down)


def north_up(file: RasterFile) -> Affine:
    """Return the file's grid; for a rotated or flipped file a north-up grid of its pixel size."""
    grid = file.transform
    if is_north_up(grid):
        return grid
    left, _, _, top = bounds(file)
    return Affine(math.hypot(grid.a, grid.d), 0, left, 0, -math.hypot(grid.b, grid.e), top)


def check_on_earth(path: Path, crs: CRS, grid: Affine, width: int, height: int) -> None:
    """Raise PrepareError if the centre of the imagery, whose first file is at `path`, is no place
    on Earth."""
    try:
        across, down = metres_per_pixel(crs, grid, width, height)
    except PrepareError:  # of another planet
        across = down = math.nan
    if not across > 0 < down:
        centre = grid @ (width / 2, height / 2)
        raise PrepareError(f"{path}: the imagery's centre, {centre} in {crs_name(crs)}, is no "
                           "place on Earth, so its pixels have no size in metres. Check its CRS "
                           f"and geotransform with `rio info {shlex.quote(str(path))}`.")


def grid_at(resolution: float, crs: CRS, grid: Affine, width: int, height: int) -> Affine:
    """Return the grid from the same corner with pixels of `resolution` metres at the centre, which
    is on Earth; raise ConfigError if they are too many."""
    across, down = metres_per_pixel(crs, grid, width, height)
    pixels = max(width * across, height * down) / resolution
    if not pixels <= MOST_PIXELS:
        raise ConfigError(f"resolution={resolution}: the imagery would have {pixels:.3g} pixels "
                          f"along a side, expected {MOST_PIXELS} at most; pass a coarser one, such "
                          f"as {across:.3g}")
    if max(abs(across / resolution - 1), abs(down / resolution - 1)) < SAME_RESOLUTION:
        return grid
    return Affine(grid.a * resolution / across, 0, grid.c, 0, grid.e * resolution / down, grid.f)


def shifted(grid: Affine, col: int, row: int) -> Affine:
    """Return the north-up grid whose first pixel is pixel (col, row) of `grid`."""
    return Affine(grid.a, 0, grid.c + col * grid.a, 0, grid.e, grid.f + row * grid.e)


def located(file: RasterFile, crs: CRS, grid: Affine) -> Source:
    """Return a file's rectangle on a grid, in whole pixels, negative west and north of its corner;
    raise PrepareError if the file has no such place in the grid's CRS."""
    box = bounds(file)
    if file.crs != crs:
        box = box_in(box, projected(file.crs), projected(crs))
        if box is None:
            raise _no_place(file, crs)
    left, right = ((x - grid.c) / grid.a for x in box[::2])
    bottom, top = ((y - grid.f) / grid.e for y in box[1::2])
    if file.crs == crs and is_north_up(file.transform):
        col, row = round(left), round(top)
        if max(abs(left - col), abs(top - row), abs(right - col - file.width),
               abs(bottom - row - file.height)) <= SNAP_PX:
            return Source(file.path, col, row, file.width, file.height, 0, file.tile, file.crop)
    # A warp fills the pixels whose centre lies inside the file, but for 0.01 px of rounding.
    col, row = math.ceil(left - 0.51), math.ceil(top - 0.51)
    width, height = max(1, math.floor(right + 0.49) - col), max(1, math.floor(bottom + 0.49) - row)
    return Source(file.path, col, row, width, height,
                  _step(file, crs, shifted(grid, col, row), width, height), file.tile, file.crop)


def _step(file: RasterFile, crs: CRS, grid: Affine, width: int, height: int) -> float:
    """Return the width of a grid's pixel over a file, in file pixels, or raise PrepareError."""
    if file.crs == crs:
        return math.sqrt(abs(grid.determinant / file.transform.determinant))
    own = metres_per_pixel(file.crs, file.transform, file.width, file.height)
    target = metres_per_pixel(crs, grid, width, height)
    if not min(*own, *target) > 0:
        raise _no_place(file, crs)
    return math.sqrt(target[0] * target[1] / (own[0] * own[1]))


def _no_place(file: RasterFile, crs: CRS) -> PrepareError:
    return PrepareError(f"{file.path}: the raster ({crs_name(file.crs)}) has no place in "
                        f"{crs_name(crs)}, the CRS of the mosaic's first file. Leave it out, or "
                        "prepare it as a city of its own.")


def placed(files: Sequence[RasterFile], crs: CRS, grid: Affine) -> tuple[list[Source], Affine]:
    """Return the files' rectangles, and the grid moved to where the first column and row begin."""
    sources = [located(file, crs, grid) for file in files]
    col, row = min(source.col for source in sources), min(source.row for source in sources)
    return [replace(source, col=source.col - col, row=source.row - row)
            for source in sources], shifted(grid, col, row)


def check_near(files: Sequence[RasterFile], sources: Sequence[Source]) -> None:
    """Raise PrepareError if the files lie so far apart that their grid is almost empty. `sources`
    begin at the grid's origin."""
    pixels = max(s.col + s.width for s in sources) * max(s.row + s.height for s in sources)
    covered = sum(source.width * source.height for source in sources) / pixels
    if pixels < LARGE_GRID or covered >= LEAST_COVERED:
        return
    middles = [np.array(file.transform @ (file.width / 2, file.height / 2)) for file in files]
    centres = np.array([moved(middle, projected(file.crs), DEGREES)
                        for middle, file in zip(middles, files, strict=True)])
    far = int(np.argmax(_metres(centres, 0)))
    other = int(np.argmax(_metres(centres, far)))
    raise PrepareError(f"{files[other].path} and {files[far].path} lie "
                       f"{_metres(centres, far)[other] / 1000:,.0f} km apart, so only one in "
                       f"{1 / covered:,.0f} pixels of their mosaic has imagery. Pass raster= the "
                       "files of one place at a time; a dataset may hold several places, each as "
                       "a city of its own.")


def _metres(centres: np.ndarray, index: int) -> np.ndarray:
    """Return metres from one of the centres [files, 2] (longitude, latitude) to all: [files]."""
    lon, lat = centres.T
    start = np.broadcast_to(centres[index][:, None], (2, len(centres)))
    return DEGREES.get_geod().inv(*start, lon, lat)[2]


def resampling_warnings(files: Sequence[RasterFile], sources: Sequence[Source]) -> list[str]:
    """Return which files are resampled though no key asks for it: a sentence for each reason."""
    reasons: dict[str, list[Path]] = {}
    for file, source in zip(files, sources, strict=True):
        if source.step:
            reasons.setdefault(_why_resampled(file, files[0]), []).append(file.path)
    more = {reason: f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            for reason, paths in reasons.items()}
    return [f"{paths[0]}{more[reason]}: {reason}." for reason, paths in reasons.items()]


def _why_resampled(file: RasterFile, first: RasterFile) -> str:
    if file.crs != first.crs:
        return f"CRS {crs_name(file.crs)}, warped to {crs_name(first.crs)}, the CRS of {first.path}"
    if not is_north_up(file.transform):
        return "rotated or flipped, resampled to a north-up grid"
    return f"its pixels do not fall on the grid of {first.path}, so they are resampled to it"


def is_north_up(grid: Affine) -> bool:
    """Return whether rows run west to east and columns north to south."""
    return max(abs(grid.b), abs(grid.d)) <= 1e-9 * abs(grid.a) and grid.a > 0 > grid.e


def bounds(file: RasterFile) -> tuple[float, float, float, float]:
    """Return minx, miny, maxx, maxy of a file, rotated or not."""
    corners = ((0, 0), (file.width, 0), (0, file.height), (file.width, file.height))
    x, y = zip(*(file.transform @ corner for corner in corners), strict=True)
    return min(x), min(y), max(x), max(y)
