"""The grid of tiles over a raster, and its bands: neighbouring tiles of a row, made together."""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from affine import Affine

from datasets.prepare.imagery.bare import BareGround
from datasets.prepare.imagery.mosaic import Mosaic

# Enough to spread the costs of a band, and so few that memory depends neither on the raster's
# width nor on the tile size.
BAND_TILES, BAND_PIXELS = 64, 64 * 224 * 224


@dataclass(frozen=True)
class Band:
    """Tiles `first` .. `last - 1` of a row; `number` counts bands row by row from the top left."""

    number: int
    row: int
    first: int
    last: int


@dataclass(frozen=True)
class TileGrid:
    """Tiles of `tile_px` pixels over a raster."""

    transform: tuple[float, ...]  # a, b, c, d, e, f of the raster, as in rasterio
    width: int                    # of the raster, in pixels
    height: int                   # of the raster, in pixels
    tile_px: int                  # side of a tile
    stride: int                   # pixels from one tile to the next
    # A tile that the raster's edge cuts is left out ("drop"), reaches beyond the raster
    # ("exceed") or is moved inwards ("shift"). The first two begin at the raster's top-left
    # corner. With "shift" tiles lie on a lattice of the CRS, not of the raster, so that
    # overlapping rasters share tiles.
    edges: Literal["drop", "exceed", "shift"] = "drop"

    @classmethod
    def over(cls, mosaic: Mosaic | BareGround, tile_px: int, stride: int,
             edges: str = "drop") -> "TileGrid":
        return cls(tuple(mosaic.transform)[:6], mosaic.width, mosaic.height, tile_px, stride,
                   edges)

    @cached_property
    def lefts(self) -> np.ndarray:
        """Pixels from the raster's left edge to each column of tiles: [columns], ascending."""
        return self._starts(self.width, self.transform[2] / self.transform[0])

    @cached_property
    def tops(self) -> np.ndarray:
        """Pixels from the raster's top edge to each row of tiles: [rows], ascending."""
        return self._starts(self.height, self.transform[5] / self.transform[4])

    @property
    def columns(self) -> int:
        return len(self.lefts)

    @property
    def rows(self) -> int:
        return len(self.tops)

    @property
    def tiles(self) -> int:
        return self.columns * self.rows

    @property
    def partial(self) -> int:
        """Number of tiles cut by the raster's right or bottom edge; edges="drop" makes none."""
        columns, rows = (self._covering(side) for side in (self.width, self.height))
        return columns * rows - self.tiles

    def _starts(self, side: int, origin: float) -> np.ndarray:
        """Return where tiles begin along a side, `origin` pixels from the CRS's origin."""
        room = side - self.tile_px
        if self.edges == "drop":
            return np.arange(max(0, room // self.stride + 1)) * self.stride
        if self.edges == "exceed":
            return np.arange(self._covering(side)) * self.stride
        first = -round(origin) % self.stride - self.stride
        return np.unique(np.arange(first, side, self.stride).clip(0, max(room, 0)))

    def _covering(self, side: int) -> int:
        """Return the number of tiles, cut ones included, along a side of the raster."""
        return max(1, min(math.ceil((side - self.tile_px) / self.stride) + 1,
                          math.ceil(side / self.stride)))

    @property
    def band_tiles(self) -> int:
        """Number of tiles of a whole band."""
        return max(1, min(BAND_TILES, BAND_PIXELS // (self.tile_px * self.stride)))

    @property
    def bands_of_a_row(self) -> int:
        return math.ceil(self.columns / self.band_tiles)

    @property
    def bands(self) -> int:
        return self.rows * self.bands_of_a_row

    def band(self, number: int) -> Band:
        row, index = divmod(number, self.bands_of_a_row)
        first = index * self.band_tiles
        return Band(number, row, first, min(self.columns, first + self.band_tiles))

    def bounds(self, row: int, cols: np.ndarray) -> np.ndarray:
        """Return minx, miny, maxx, maxy of tiles of one row: [tiles, 4]. Touching neighbours share
        their edge exactly."""
        grid = Affine(*self.transform)
        left, top = self.lefts[cols], self.tops[row]
        x0, x1 = grid.c + left * grid.a, grid.c + (left + self.tile_px) * grid.a
        y0, y1 = grid.f + top * grid.e, grid.f + (top + self.tile_px) * grid.e
        return np.stack([x0, np.full(len(left), y1), x1, np.full(len(left), y0)], axis=1)

    def rows_of(self, bottom: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and last row whose tiles may reach between two heights in CRS units;
        first > last if none does."""
        grid = Affine(*self.transform)
        return self._reaching(self.tops, (top - grid.f) / grid.e, (bottom - grid.f) / grid.e)

    def columns_of(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and last column whose tiles may reach between two x in CRS units;
        first > last if none does."""
        grid = Affine(*self.transform)
        return self._reaching(self.lefts, (left - grid.c) / grid.a, (right - grid.c) / grid.a)

    def _reaching(self, starts: np.ndarray, above: np.ndarray,
                  below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and last of `starts` whose tiles may reach between two pixels."""
        hair = 1e-6 * self.stride  # rounding must not lose a row
        first = np.searchsorted(starts, above - self.tile_px - hair, side="left")
        last = np.searchsorted(starts, below + hair, side="right") - 1
        return first, last

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "TileGrid":
        return cls(**{**values, "transform": tuple(values["transform"])})
