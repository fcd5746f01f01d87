"""GeoTIFFs written strip by strip: tiled, compressed, with overviews, whole or absent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.errors
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.shutil import copy
from rasterio.windows import Window
from tqdm import tqdm

from utils.files import replacing
from utils.progress import passing_bar, say_stage

BLOCK = 512           # pixels along a side of a block
LEAST_OVERVIEW = 256  # pixels along the longer side of the coarsest overview
WRITE_ERRORS = (rasterio.errors.RasterioError, CPLE_BaseError)
CACHE_MB = 128        # of blocks that GDAL may hold


@dataclass(frozen=True)
class Ground:
    """Where a raster's pixels are: CRS as WKT, transform as in rasterio, and size in pixels."""

    crs: str
    transform: Affine
    width: int
    height: int


@dataclass(frozen=True)
class Content:
    """What a raster's pixels mean; dtype and nodata as in rasterio, tags of the whole raster.

    `colours` maps values to red, green, blue and opacity, for one band of uint8; `overviews` says
    how coarser pixels follow from finer ones.
    """

    dtype: str
    nodata: float
    bands: Sequence[str]  # a name for each band
    tags: Mapping[str, str]
    colours: Mapping[int, tuple[int, int, int, int]] = field(default_factory=dict)
    overviews: Resampling = Resampling.average


def write_geotiff(path: Path, strips: Iterable[np.ndarray], ground: Ground, content: Content,
                  cloud_optimised: bool = False) -> None:
    """Write strips [bands, rows, width], from the top, as one GeoTIFF, laid out for reading over a
    network (COG) if `cloud_optimised`."""
    write = _write_cloud_optimised if cloud_optimised else _write
    with (rasterio.Env(GDAL_CACHEMAX=CACHE_MB, GDAL_NUM_THREADS="ALL_CPUS"),
          replacing(path, *WRITE_ERRORS) as temporary):
        with passing_bar(None, path.name, "row", ground.height) as bar:
            write(temporary, strips, ground, content, bar)
        _check_written(temporary, path.name)


@contextmanager
def new_geotiff(path: Path, **profile: Any) -> Iterator[rasterio.io.DatasetWriter]:
    """Open a GeoTIFF for writing, whole or not at all; `profile` as in rasterio."""
    with replacing(path, *WRITE_ERRORS) as temporary:
        with rasterio.open(temporary, "w", driver="GTiff", **profile) as file:
            yield file
        _check_written(temporary, path.name)


def _check_written(path: Path, name: str) -> None:
    """Read a written GeoTIFF: GDAL writes to a full disk without an error, but cannot read it."""
    with rasterio.open(path) as file:
        windows = [window for _, window in file.block_windows(1)]
        for window in passing_bar(windows, f"{name}, read once more", "block"):
            file.read(window=window)


def build_overviews(file: rasterio.io.DatasetWriter, resampling: Resampling) -> None:
    """Add overviews of a half, a quarter ... of the size, down to LEAST_OVERVIEW pixels a side."""
    longest = max(file.width, file.height)
    if longest > LEAST_OVERVIEW:
        levels = (longest // LEAST_OVERVIEW).bit_length()
        file.build_overviews([2**level for level in range(1, 1 + levels)], resampling)


def _write_cloud_optimised(path: Path, strips: Iterable[np.ndarray], ground: Ground,
                           content: Content, bar: tqdm) -> None:
    plain = path.with_name(f"{path.name}.plain")
    try:
        _write(plain, strips, ground, content, bar, overviews=False)
        say_stage(bar, "laid out for a network")
        copy(plain, path, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=BLOCK, BIGTIFF="IF_SAFER",
             RESAMPLING=content.overviews.name, NUM_THREADS="ALL_CPUS")
    finally:
        plain.unlink(missing_ok=True)


def _write(path: Path, strips: Iterable[np.ndarray], ground: Ground, content: Content, bar: tqdm,
           overviews: bool = True) -> None:
    with rasterio.open(path, "w", driver="GTiff", **vars(ground), count=len(content.bands),
                       dtype=content.dtype, nodata=content.nodata, tiled=True, blockxsize=BLOCK,
                       blockysize=BLOCK, compress="deflate", BIGTIFF="IF_SAFER") as file:
        file.update_tags(**content.tags)
        for number, name in enumerate(content.bands, start=1):
            file.set_band_description(number, name)
        if content.colours:
            file.write_colormap(1, dict(content.colours))
        top = 0
        for rows in _in_blocks(strips):
            file.write(rows, window=Window(0, top, ground.width, rows.shape[1]))
            top += rows.shape[1]
            bar.update(rows.shape[1])
        if overviews:
            say_stage(bar, "overviews")
            build_overviews(file, content.overviews)


def _in_blocks(strips: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """Yield the same rows, BLOCK of them at a time, so that no block is compressed twice."""
    waiting: list[np.ndarray] = []
    for strip in strips:
        waiting.append(strip)
        while sum(rows.shape[1] for rows in waiting) >= BLOCK:
            rows = np.concatenate(waiting, axis=1)
            yield rows[:, :BLOCK]
            waiting = [rows[:, BLOCK:]]
    if sum(rows.shape[1] for rows in waiting):
        yield np.concatenate(waiting, axis=1)
