"""GeoTIFFs whose pixel is a patch: its vectors, a band for each dimension, and their first three
components as colours."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.windows import Window

from inference.features.areas import Area, PatchGrid
from inference.features.pca import HIGH, LOW, Components, Moments, Spread, scaled
from inference.geotiff import WRITE_ERRORS, build_overviews, check_written
from inference.parts import Parts
from utils.files import failing_as, replacing
from utils.progress import passing_bar

# pixels of a GeoTIFF's block: few enough to read the vector of one patch, enough to read a whole
# band
BLOCK = 64
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
        # a block for each band: what reads one dimension of a whole city does not decode all the
        # others
        return {"driver": "GTiff", "dtype": dtype, "count": bands, "width": self.grid.columns,
                "height": self.grid.rows,
                "crs": self.area.crs, "transform": self.grid.transform, "tiled": True,
                "blockxsize": BLOCK, "blockysize": BLOCK,
                "compress": "deflate", "interleave": "band", "bigtiff": "if_safer",
                "num_threads": "all_cpus"}

    def windows(self, what: str) -> Iterable[Window]:
        """Squares of WINDOW patches that cover the area, with a bar that says what is done with
        them."""
        rows, columns = self.grid.rows, self.grid.columns
        found = [Window(left, top, min(WINDOW, columns - left), min(WINDOW, rows - top))
                 for top in range(0, rows, WINDOW) for left in range(0, columns, WINDOW)]
        return passing_bar(found, what, "window")

    def write_vectors(self, path: Path, parts: Parts, places: np.ndarray, name: str, width: int,
                      tags: dict[str, str],
                      see: Callable[[np.ndarray], None] | None = None) -> None:
        """Write the vectors `name`_patches of all parts, whole or not at all; the bands are
        `name`_0 ...

        Args:
            places: of `Parts.places`.
            width: of a vector.
            tags: what the file says of itself.
            see: is given all vectors that are known, [n, width] at a time.
        """
        profile = self._profile(width, "float32") | {"nodata": np.nan, "predictor": 3, "zlevel": 1,
                                                     "photometric": "minisblack"}
        with replacing(path) as temporary, failing_as(path, *WRITE_ERRORS):
            with rasterio.open(temporary, "w", **profile) as raster:
                raster.update_tags(**tags)
                raster.descriptions = [f"{name}_{number}" for number in range(width)]
                for window in self.windows(path.name):
                    # [h, w, width]
                    vectors = self._gather(parts, places, f"{name}_patches", width, window)
                    raster.write(vectors.transpose(2, 0, 1), window=window)
                    if see:
                        see(vectors[~np.isnan(vectors[..., 0])])
            check_written(temporary, path.name)

    def _gather(self, parts: Parts, places: np.ndarray, name: str, width: int,
                window: Window) -> np.ndarray:
        """[h, w, width] vectors of a window's patches, nan where there are none."""
        side, (rows, columns) = self.grid.side, places.shape[:2]
        top, left, bottom, right = window.row_off, window.col_off, window.row_off + window.height, window.col_off + window.width
        found = np.full((window.height, window.width, width), np.nan, np.float32)
        for row in range(top // side, min(rows, -(-bottom // side))):
            for column in range(left // side, min(columns, -(-right // side))):
                part, tile = places[row, column].tolist()
                if part < 0:
                    continue
                (target_y, source_y), (target_x, source_x) = _overlap(row, side, top,
                                                                      bottom), _overlap(column,
                                                                                        side, left,
                                                                                        right)
                found[target_y, target_x] = parts.read(part, name,
                                                       tile).reshape(side, side,
                                                                     width)[source_y, source_x]
        return found

    def project(self, path: Path, components: Components, spread: Spread, out: Path) -> None:
        """Write the components of the vectors in the GeoTIFF at `path` to `out`, float32 [rows,
        columns, 3], and count them in `spread`."""
        shape = (self.grid.rows, self.grid.columns, components.axes.shape[1])
        projected = np.lib.format.open_memmap(out, "w+", np.float32, shape)
        with rasterio.open(path) as raster:
            for window in self.windows(f"components of {path.name}"):
                values = components.project(raster.read(window=window).transpose(1, 2,
                                                                                 0).reshape(-1,
                                                                                            raster.count))
                spread.add(values[~np.isnan(values[:, 0])])
                projected[window.toslices()] = values.reshape(window.height, window.width, -1)
        projected.flush()

    def write_colours(self, path: Path, projected: Path, limits: tuple[np.ndarray, np.ndarray],
                      tags: dict[str, str]) -> None:
        """Write the components at `projected` as red, green, blue and, where there are none,
        transparency."""
        source = np.load(projected, mmap_mode="r")
        with replacing(path) as temporary, failing_as(path, *WRITE_ERRORS):
            with rasterio.open(temporary, "w", **self._profile(4, "uint8"),
                               photometric="rgb") as raster:
                raster.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue,
                                      ColorInterp.alpha)
                raster.update_tags(**tags)
                for window in self.windows(path.name):
                    raster.write(coloured(source[window.toslices()], limits).transpose(2, 0, 1),
                                 window=window)
                build_overviews(raster, Resampling.average)
            check_written(temporary, path.name)


def coloured(projected: np.ndarray, limits: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """uint8 [h, w, 4] red, green, blue, alpha of components [h, w, 3]; transparent where they are
    nan."""
    known = ~np.isnan(projected[..., :1])                                               # [h, w, 1]
    colours = np.where(known, scaled(projected, limits) * 255, 0).round().astype(np.uint8)
    return np.concatenate([colours, known.astype(np.uint8) * 255], axis=-1)


def write_fused_colours(rasters: list[tuple[PatchRaster, Path, Path]], moments: Moments,
                        scratch: Path) -> Components:
    """Write the first components of all areas' fused patches as colours, the same colour for the
    same vector everywhere.

    Args:
        rasters: of each area, with its GeoTIFF of vectors and the one to write.
        moments: of all these vectors.
        scratch: a folder for components in between.
    """
    components = Components.of(moments)
    spread, projected = Spread(components), [scratch / f"components_{number}.npy"
                                             for number in range(len(rasters))]
    for (raster, vectors, _), file in zip(rasters, projected, strict=True):
        raster.project(vectors, components, spread, file)
    for (raster, _, colours), file in zip(rasters, projected, strict=True):
        raster.write_colours(colours, file, spread.limits(), colour_tags(components))
        file.unlink()
    return components


def _overlap(tile: int, side: int, low: int, high: int) -> tuple[slice, slice]:
    """Of tile number `tile` of `side` patches, what lies from `low` to `high`: counted from low,
    and from the tile's own first."""
    first, last = max(tile * side, low), min((tile + 1) * side, high)
    return slice(first - low, last - low), slice(first - tile * side, last - tile * side)


def colour_tags(components: Components) -> dict[str, str]:
    """What the colours are."""
    shares = ", ".join(f"{share:.1%}" for share in components.explained)
    return {"what": f"first three principal components of the fused patches, percentiles {LOW} "
                    f"and {HIGH} at 0 and 255; they explain {shares} of the variance"}
