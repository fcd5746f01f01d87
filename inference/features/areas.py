"""Where on the map the tiles of a city or a scene lie, and their patches."""

import math
import re
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine

from datasets.stores.city import city_of, grid_cells
from datasets.tiles import TileDataset
from inference.pictures import LONGEST
from utils.errors import ConfigError, TileError

CITY = re.compile(r"[\w-][\w. -]*")  # that can name a folder


@dataclass(frozen=True)
class Area:
    """A city or a scene; its raster has width and height in pixels, its grid columns and rows."""

    name: str
    crs: str | None  # WKT or an authority's code; None: where the tiles lie is not known
    transform: Affine  # from pixels to units of the CRS, or to tiles where there is none
    width: int
    height: int
    columns: int
    rows: int
    first: tuple[int, int]  # column and row of the top-left tile, as its name says
    tile_px: int  # pixels, as stride
    stride: int
    metres_per_pixel: tuple[float, float] | None  # across and down; None: not known

    def outlines(self, cells: np.ndarray) -> np.ndarray:
        """Return polygons [n] of tiles, by column and row on the grid [n, 2]."""
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * self.tile_px
        x, y = np.moveaxis(cells[:, None] * self.stride + corners, -1, 0)           # [n, 5] pixels
        a, b, c, d, e, f = self.transform[:6]
        return shapely.polygons(np.stack([a * x + b * y + c, d * x + e * y + f], axis=-1))

    def patches(self, patch: int) -> "PatchGrid":
        """Return the grid of its patches of `patch` pixels a side."""
        rows, columns = math.ceil(self.height / patch), math.ceil(self.width / patch)
        return PatchGrid(rows, columns, self.tile_px // patch,
                         self.transform @ Affine.scale(patch))


@dataclass(frozen=True)
class PatchGrid:
    """The patches of an area, from its raster's top-left corner; the last row and column may reach
    beyond the raster."""

    rows: int
    columns: int
    side: int          # patches along a tile's
    transform: Affine  # from patches to units of the CRS

    @property
    def pixels_a_patch(self) -> int:
        """Pixels a side that a patch has in a picture of the area; fewer for large areas."""
        return max(1, LONGEST // max(self.rows, self.columns))

    def picture_places(self, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and columns, of the area at `scale` pixels a patch, that a picture of at
        most LONGEST pixels a side shows."""
        shrink = min(1.0, LONGEST / (max(self.rows, self.columns) * scale))

        def shown(patches: int) -> np.ndarray:
            centres = (np.arange(max(1, round(patches * scale * shrink))) + 0.5) / shrink
            return centres.astype(np.int64).clip(max=patches * scale - 1)
        return shown(self.rows), shown(self.columns)


def areas_of(tiles: TileDataset) -> tuple[list[Area], np.ndarray]:
    """Return the cities of a dataset, and area, column and row of each tile: int [tiles, 3].

    Raise TileError if a tile's name does not say where it lies.
    """
    cities = [city_of(name) for name in tiles.names]
    if None in cities:
        raise TileError(f"{tiles.root}: tile {tiles.names[cities.index(None)]} has no place, "
                        "expected names CITY_COL_ROW; rename it, or choose others with cities=")
    if strange := next((city for city in cities if not CITY.fullmatch(city)), None):
        raise TileError(f"{tiles.root}: the city {strange!r} in its tiles' names cannot name a "
                        "folder, expected letters, digits, spaces, _, - and . only; rename the "
                        "tiles, or choose others with cities=")
    names, cells, areas = np.array(tiles.names), np.zeros((len(cities), 3), np.int64), []
    for number, city in enumerate(sorted(set(cities))):
        own = np.array([city == other for other in cities])
        positions = grid_cells(names[own].tolist())  # [n, 2]
        areas.append(_area(city, tiles.meta.get(city) or {}, positions, tiles.image_size))
        cells[own, 0], cells[own, 1:] = number, positions - areas[-1].first
    return areas, cells


def _area(city: str, meta: dict, positions: np.ndarray, tile_px: int) -> Area:
    known = all(meta.get(key) for key in ("crs", "transform", "raster_size", "tile_px", "stride"))
    first = (0, 0) if known else tuple(positions.min(0).tolist())
    columns, rows = (positions.max(0) - first + 1).tolist()
    if known:
        metres = meta.get("metres_per_pixel")
        return Area(city, meta["crs"], Affine(*meta["transform"]), *meta["raster_size"], columns,
                    rows, first, meta["tile_px"], meta["stride"],
                    tuple(metres) if metres else None)
    tiles = Affine(1 / tile_px, 0, first[0], 0, -1 / tile_px, -first[1])
    return Area(city, None, tiles, columns * tile_px, rows * tile_px, columns, rows, first,
                tile_px, tile_px, None)


def check_patches(areas: list[Area]) -> None:
    """Raise ConfigError if the tiles of an area overlap, or leave gaps between them."""
    for area in areas:
        if area.stride != area.tile_px:
            raise ConfigError(f"patches=true: the tiles of {area.name} are {area.tile_px} pixels "
                              f"wide and {area.stride} apart, so that their patches make no one "
                              "grid; pass patches=false, or prepare tiles with "
                              f"stride={area.tile_px}")
