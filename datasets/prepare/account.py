"""The account of a preparation: every feature of the OSM sources is in a tile, or in none for a
reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from datasets.prepare.grid import TileGrid
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.spool import Spool
from datasets.prepare.osm.tags import listed

_COLUMNS = ("read", "in tiles", "in no tile", "outside", "left out")
_CHUNK = 20_000  # objects held at once


@dataclass(frozen=True)
class Account:
    """Layer by layer: read = in tiles + in no tile + outside + left out."""

    census: Census = field(default_factory=Census)
    objects: dict[str, int] = field(default_factory=dict)  # in at least one tile, by layer

    @classmethod
    def of(cls, spool: Spool, grid: TileGrid, tiles: Sequence[int]) -> "Account":
        """Return the account of a spool for some of the grid's tiles, counted row by row."""
        made = np.zeros((grid.rows, grid.columns), bool)
        made.flat[list(tiles)] = True
        found = spool.layers(np.flatnonzero(objects_in_tiles(spool, grid, made)))
        names = list(spool.counts)
        counts = np.bincount(found, minlength=len(names)).tolist()
        return cls(spool.census, dict(zip(names, counts, strict=True)))

    @property
    def in_no_tile(self) -> dict[str, int]:
        """Objects on the raster, but in none of the tiles, by layer."""
        return {name: self.census.layers[name].kept - count for name, count in
                self.objects.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the counts for the city's record."""
        census = self.census
        layers = {name: {"read": count.read, "in_tiles": self.objects[name],
                         "in_no_tile": self.in_no_tile[name], "outside": count.outside,
                         "left_out": dict(+count.left_out)}
                  for name, count in census.layers.items() if name in self.objects}
        features = {"read": census.read, "tagged": census.tagged, "without_tag": census.without,
                    "outside_by_index": census.unread, "in_part": census.partial,
                    "by_default": census.defaulted,
                    "lost": dict(+census.lost)}
        return {"features": features, "layers": layers}

    def lines(self) -> list[str]:
        """Return the account in words, for the terminal; empty if nothing was read."""
        census = self.census
        if not census.read:
            return []
        parts = {"with tags of the table": census.tagged, "without": census.without,
                 "outside, says the index": census.unread,
                 "that cannot be built": census.lost.total()}
        lines = [f"  features     {census.read} read: {listed(parts)}",
                 f"  {'tags':<12}" + "".join(f"{name:>12}" for name in _COLUMNS)]
        rows = {name: (count.read, self.objects.get(name, 0), self.in_no_tile.get(name, 0),
                       count.outside, count.left_out.total())
                for name, count in census.layers.items() if count.read}
        lines += [f"  {name:<12}" + "".join(f"{number:>12}" for number in row)
                  for name, row in rows.items()]
        if census.defaulted:
            lines.append(f"  by default   {census.defaulted} features without a tag got default "
                         "tags")
        if census.partial:
            lines.append(f"  in part      {census.partial} ways; the file lacks their other nodes")
        return lines


def objects_in_tiles(spool: Spool, grid: TileGrid, made: np.ndarray) -> np.ndarray:
    """Return which objects of a spool have an area in a tile of `made` [rows, columns] bool:
    [n] bool."""
    bounds = spool.bounds
    if not len(bounds) or not made.any():
        return np.zeros(len(bounds), bool)
    rows = np.stack(grid.rows_of(bounds[:, 1], bounds[:, 3]))       # [2, n]
    columns = np.stack(grid.columns_of(bounds[:, 0], bounds[:, 2]))
    reached = _made_between(made, rows, columns)
    cells = np.prod([np.maximum(last - first + 1, 0) for first, last in (rows, columns)], axis=0)
    corners = np.concatenate([grid.bounds(row, np.array([0, -1])) for row in (0, -1)])
    low, high = corners[:, :2].min(0), corners[:, 2:].max(0)
    within = ((bounds[:, :2] >= low) & (bounds[:, 2:] <= high)).all(1)
    inside = within & (reached == cells) & (reached > 0) & (grid.stride <= grid.tile_px)
    unsure = np.flatnonzero(~inside & (reached > 0))
    for start in range(0, len(unsure), _CHUNK):
        members = unsure[start:start + _CHUNK]
        inside[members] = _meet_tiles(spool.geometries(members), grid, made, rows[:, members])
    return inside


def _made_between(made: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the number of tiles of `made` in ranges of rows and columns [2, n]: [n]."""
    total = np.pad(made.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    (top, bottom), (left, right) = rows, columns
    bottom, right = np.maximum(bottom + 1, top), np.maximum(right + 1, left)
    return (total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left])


def _meet_tiles(geometry: np.ndarray, grid: TileGrid, made: np.ndarray,
                rows: np.ndarray) -> np.ndarray:
    """Return which geometries [n], in a range of rows each [2, n], have an area in a tile."""
    meets = np.zeros(len(geometry), bool)
    for row in range(rows[0].min(), rows[1].max() + 1):
        members = np.flatnonzero((rows[0] <= row) & (rows[1] >= row) & ~meets)
        tiles = shapely.box(*grid.bounds(row, np.flatnonzero(made[row])).T)
        pairs = shapely.STRtree(tiles).query(geometry[members])
        solid = shapely.area(shapely.intersection(geometry[members[pairs[0]]],
                                                  tiles[pairs[1]])) > 0
        meets[members[pairs[0][solid]]] = True
    return meets
