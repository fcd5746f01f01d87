"""Rasters whose values are colours: three bands of red, green and blue, or a palette."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS

from datasets.prepare.targets.rasters import OUTSIDE, TargetRaster
from utils.errors import PrepareError

MOST_COLOURS = 200_000  # of labels; a picture has more
NEAR = 24               # of 255: colours this near to a frequent one are perhaps the same
_SIDE = 1000  # of the decimated raster in which colours are counted
_SHIFTS = np.array([16, 8, 0])
_AT_ONCE = 20_000  # colours that are compared


class ColourRaster(TargetRaster):
    """A raster of colours, of which each counts as one number 0xrrggbb; a transparent one has no
    value."""

    def check_bands(self, source: rasterio.DatasetReader) -> None:
        """Raise PrepareError unless the raster has colours of 8 bits."""
        self.palette = None
        if source.count == 1 and "palette" in (meaning.name for meaning in source.colorinterp):
            self.palette = np.zeros((2**16, 4), np.int64)  # a palette has 16 bits at most
            for index, colour in source.colormap(1).items():
                self.palette[index] = colour
        if not (has_colours(source) or self.palette is not None):
            raise PrepareError(f"{self.path}: label_map= or classes= names colours (#rrggbb), but "
                               f"the raster has {source.count} band(s) of "
                               f"{', '.join(set(source.dtypes))}; expected three of uint8, or a "
                               "palette. Name the numbers in the raster instead, such as "
                               "'label_map={11:residential,12:8}'.")

    def read_cells(self, **options: object) -> tuple[np.ndarray, np.ndarray]:
        """Return colours as numbers [h, w], and [h, w] bool, False without a value."""
        if self.palette is not None:
            indices, valid = super().read_cells(**options)
            return self._looked_up(indices), valid & (self.palette[indices, 3] > 0)
        if "out_shape" in options:
            options["out_shape"] = (3, *options["out_shape"])
        bands = self.dataset.read([1, 2, 3], **options)
        return _numbers(bands), (self.dataset.read_masks([1, 2, 3], **options) > 0).any(0)

    def resampled(self, grid: Affine, crs: CRS, side: int) -> np.ndarray:
        """Return the nearest colours on another grid: float64 [side, side], OUTSIDE without any."""
        if self.palette is not None:
            cells = super().resampled(grid, crs, side)
            inside = cells != OUTSIDE
            indices = np.where(inside, cells, 0).astype(np.uint16)
            return np.where(inside & (self.palette[indices, 3] > 0), self._looked_up(indices),
                            OUTSIDE)
        bands = self._warped([1, 2, 3], grid, crs, side)
        inside = (bands != OUTSIDE).all(0)
        return np.where(inside, _numbers(np.where(inside, bands, 0)), OUTSIDE)

    def listing(self, most: int) -> tuple[list[tuple[str, float]], int]:
        """Return the most frequent colours, each with the share of the raster's pixels that it and
        those near it have, and the largest difference of those, in a decimated raster."""
        rows, columns = (min(size, _SIDE) for size in self.shape)
        values, valid = self.read_cells(out_shape=(rows, columns))
        counts = Counter(values[valid].tolist())
        frequent: dict[str, int] = {}
        widest = 0
        for value, count in counts.most_common(10 * most):
            colour = colour_text(value)
            distance, nearest = nearest_colours([colour], list(frequent) or [colour])
            if frequent and distance[0] <= NEAR:
                frequent[list(frequent)[nearest[0]]] += count
                widest = max(widest, int(distance[0]))
            elif len(frequent) < most:
                frequent[colour] = count
        return [(colour, count / max(counts.total(), 1)) for colour, count in frequent.items()
                ], widest

    def _looked_up(self, indices: np.ndarray) -> np.ndarray:
        return _numbers(np.moveaxis(self.palette[indices, :3], -1, 0))


def has_colours(source: rasterio.DatasetReader) -> bool:
    """Return whether a raster has bands of red, green and blue of 8 bits."""
    return source.count in (3, 4) and set(source.dtypes) == {"uint8"}


def is_background(rank: int, colour: str, colours: int) -> bool:
    """Return whether a colour of labels is probably that of pixels without a class: black or
    white, the most frequent one (rank 0), and beside two others or more."""
    return rank == 0 and colour in ("#000000", "#ffffff") and colours > 2


def colour_text(value: float) -> str:
    """Return a colour's number as #rrggbb."""
    return f"#{int(value):06x}"


def nearest_colours(colours: Sequence[str], named: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each colour is from the nearest named one, by the channel that differs most
    [n], and the index of that one [n]."""
    near, index = np.empty(len(colours), int), np.empty(len(colours), int)
    table = _channels(named)
    for first in range(0, len(colours), _AT_ONCE):
        block = slice(first, first + _AT_ONCE)
        apart = np.abs(_channels(colours[block])[:, None] - table).max(2)                 # [b, m]
        index[block] = apart.argmin(1)
        near[block] = apart.min(1)
    return near, index


def least_apart(named: dict[str, int]) -> int:
    """Return the least distance of two colours that mean different classes, as above; 256 if all
    mean one."""
    table, meaning = _channels(list(named)), np.array([*named.values()])
    apart = np.abs(table[:, None] - table).max(2)                                         # [m, m]
    return int(np.where(meaning[:, None] != meaning, apart, 256).min())


def _channels(colours: Sequence[str]) -> np.ndarray:
    return np.array([list(bytes.fromhex(colour[1:])) for colour in colours], np.int16)


def _numbers(bands: np.ndarray) -> np.ndarray:
    """Return red, green and blue [3, h, w] as numbers 0xrrggbb [h, w]."""
    return (bands.astype(np.int64) << _SHIFTS[:, None, None]).sum(0)
