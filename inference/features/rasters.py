"""GeoTIFFs with a pixel for each patch: its vectors, a band for each dimension, and their first
three components as colours."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.windows import Window

from inference.features.areas import Area, PatchGrid
from inference.features.pca import HIGH, LOW, Components, Moments, Spread, scaled
from inference.geotiff import build_overviews, new_geotiff
from inference.pieces import Parts
from utils.progress import passing_bar

BLOCK = 64    # pixels along a side of a block: a compromise of reading one vector and one band
WINDOW = 128  # patches a side that are in memory at once
WHAT = {
    "rs": "RS representation of each patch: image tokens of Rose",
    "osm": "OSM representation of each patch: Rose's embeddings of the tile's OSM objects, "
           "weighted by nearness; nan without objects",
    "fused": "RS-OSM representation of each patch: image tokens of Rose after the {fusion} fusion",
}


@dataclass(frozen=True)
class PatchRaster:
    """An area's GeoTIFFs: all have its patches as pixels."""

    area: Area
    grid: PatchGrid

    def _profile(self, bands: int, dtype: str) -> dict:
        # a block for each band: reading one dimension of a city does not decode all the others
        return {"dtype": dtype, "count": bands, "width": self.grid.columns,
                "height": self.grid.rows, "crs": self.area.crs, "transform": self.grid.transform,
                "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate",
                "interleave": "band", "bigtiff": "if_safer", "num_threads": "all_cpus"}

    def windows(self, what: str) -> Iterable[Window]:
        """Return squares of WINDOW patches that cover the area, with a bar that says `what`."""
        rows, columns = self.grid.rows, self.grid.columns
        windows = [Window(left, top, min(WINDOW, columns - left), min(WINDOW, rows - top))
                   for top in range(0, rows, WINDOW) for left in range(0, columns, WINDOW)]
        return passing_bar(windows, what, "window")

    def write_vectors(self, path: Path, parts: Parts, located: np.ndarray, name: str, width: int,
                      tags: dict[str, str],
                      see: Callable[[np.ndarray], None] | None = None) -> None:
        """Write the vectors `name`_patches of all parts, whole or not at all; bands: `name`_0 ...

        `located` is of `Parts.locate`; `see` is given all known vectors, [n, width] at a time.
        """
        profile = self._profile(width, "float32") | {"nodata": np.nan, "predictor": 3, "zlevel": 1,
                                                     "photometric": "minisblack"}
        with new_geotiff(path, **profile) as raster:
            raster.update_tags(**tags)
            raster.descriptions = [f"{name}_{number}" for number in range(width)]
            for window in self.windows(path.name):
                vectors = self._gather(parts, located, f"{name}_patches", width, window)
                raster.write(vectors.transpose(2, 0, 1), window=window)
                if see:
                    see(vectors[~np.isnan(vectors[..., 0])])

    def _gather(self, parts: Parts, located: np.ndarray, name: str, width: int,
                window: Window) -> np.ndarray:
        """Return vectors [h, w, width] of a window's patches, nan where there are none."""
        side, (rows, columns) = self.grid.side, located.shape[:2]
        top, left = window.row_off, window.col_off
        bottom, right = top + window.height, left + window.width
        vectors = np.full((window.height, window.width, width), np.nan, np.float32)
        for row in range(top // side, min(rows, -(-bottom // side))):
            to_y, from_y = _overlap(row, side, top, bottom)
            for column in range(left // side, min(columns, -(-right // side))):
                part, tile = located[row, column].tolist()
                if part >= 0:
                    to_x, from_x = _overlap(column, side, left, right)
                    own = parts.read(part, name, tile).reshape(side, side, width)
                    vectors[to_y, to_x] = own[from_y, from_x]
        return vectors

    def project(self, path: Path, components: Components, spread: Spread, out: Path) -> None:
        """Write the components of the vectors in the GeoTIFF at `path` to `out`, float32 [rows,
        columns, 3], and count them in `spread`."""
        shape = (self.grid.rows, self.grid.columns, components.axes.shape[1])
        projected = np.lib.format.open_memmap(out, "w+", np.float32, shape)
        _allocate(out)
        with rasterio.open(path) as raster:
            for window in self.windows(f"components of {path.name}"):
                vectors = raster.read(window=window).reshape(raster.count, -1).T       # [h * w, D]
                values = components.project(vectors)
                spread.add(values[~np.isnan(values[:, 0])])
                projected[window.toslices()] = values.reshape(window.height, window.width, -1)
        projected.flush()

    def write_colours(self, path: Path, projected: Path, limits: tuple[np.ndarray, np.ndarray],
                      tags: dict[str, str]) -> None:
        """Write the components at `projected` as red, green and blue, transparent where nan."""
        source = np.load(projected, mmap_mode="r")
        with new_geotiff(path, **self._profile(4, "uint8"), photometric="rgb") as raster:
            raster.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue,
                                  ColorInterp.alpha)
            raster.update_tags(**tags)
            for window in self.windows(path.name):
                colours = coloured(source[window.toslices()], limits)
                raster.write(colours.transpose(2, 0, 1), window=window)
            build_overviews(raster, Resampling.average)


def coloured(projected: np.ndarray, limits: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return uint8 red, green, blue, alpha [h, w, 4] of components [h, w, 3], clear where nan."""
    known = ~np.isnan(projected[..., :1])                                               # [h, w, 1]
    colours = np.where(known, scaled(projected, limits) * 255, 0).round().astype(np.uint8)
    return np.concatenate([colours, known.astype(np.uint8) * 255], axis=-1)


def write_fused_colours(rasters: list[tuple[PatchRaster, Path, Path]], moments: Moments,
                        scratch: Path) -> Components:
    """Write the first components of all areas' fused patches as colours, and return them.

    The same vector has the same colour everywhere. `rasters` are the areas', each with its GeoTIFF
    of vectors and the one to write; `moments` are of all these vectors.
    """
    components = Components.of(moments)
    spread = Spread(components)
    projected = [scratch / f"components_{number}.npy" for number in range(len(rasters))]
    for (raster, vectors, _), file in zip(rasters, projected, strict=True):
        raster.project(vectors, components, spread, file)
    shares = ", ".join(f"{share:.1%}" for share in components.explained)
    tags = {"what": f"first three principal components of the fused patches, percentiles {LOW} "
                    f"and {HIGH} at 0 and 255; they explain {shares} of the variance"}
    for (raster, _, colours), file in zip(rasters, projected, strict=True):
        raster.write_colours(colours, file, spread.limits(), tags)
        file.unlink()
    return components


def _allocate(path: Path) -> None:
    """Reserve a sparse file's room, where the system can: on a full disk, writing to its mapped
    pages would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _overlap(tile: int, side: int, low: int, high: int) -> tuple[slice, slice]:
    """Return which patches of tile number `tile`, of `side` patches, lie from `low` to `high`:
    counted from low, and from the tile's own first."""
    first, last = max(tile * side, low), min((tile + 1) * side, high)
    return slice(first - low, last - low), slice(first - tile * side, last - tile * side)
