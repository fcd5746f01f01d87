"""Points with a value each, near the imagery: counted in tiles, or the centres of squares or H3
cells.

A file is read once. What lies near the imagery is kept ordered by y, as one array that processes
share as a file.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS

from datasets.arrays import read_array
from datasets.prepare.geo.crs import DEGREES, Bounds, box_in, moved, outlines
from datasets.prepare.targets import h3_cells
from utils.errors import PrepareError
from utils.files import replacing

_CORNERS = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])


@dataclass(frozen=True)
class Points:
    """Points near the imagery.

    Attributes:
        table: float64 [3, n], ascending by y: x, y in `crs`, and the value.
        crs: of the points, as WKT: the imagery's where they are counted.
        side: of the square around each, in units of `crs`; 0: they are counted where they lie.
        turn: radians by which the squares are turned from the axes, counterclockwise.
        resolution: of the H3 cells whose centres the points are; None of squares and points.
        hull: corners, in degrees, of the area that all points of the file lie in [k, 2]; empty
            unless they are counted.
    """

    table: np.ndarray
    crs: str
    side: float = 0.0
    turn: float = 0.0
    resolution: int | None = None
    hull: tuple[tuple[float, float], ...] = ()

    @classmethod
    def opened(cls, path: Path, described: dict[str, Any], remedy: str) -> "Points":
        """Return what `save` wrote, the table left on disk; raise PrepareError if it is damaged."""
        table = read_array(path, "f", (3, None), remedy, PrepareError, mmap=True)
        return cls(table, **described)

    def save(self, path: Path) -> dict[str, Any]:
        """Write the table, and return the rest for `opened`."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, self.table)
        return {name: value for name, value in vars(self).items()
                if name in self.__dataclass_fields__ and name != "table"}

    @property
    def counted(self) -> bool:
        """Whether the points count where they lie, rather than being spread over an area."""
        return not self.side and self.resolution is None

    def totals(self, bounds: np.ndarray) -> np.ndarray:
        """Return the sum of the points in each box [m, 4] of the imagery's CRS: float64 [m].

        A box has its west and north edge, but not its east and south edge, so a point on an edge
        is in one tile of those that share it.
        """
        totals = np.zeros(len(bounds))
        for index, (west, south, east, north) in enumerate(bounds.tolist()):
            x, y, value = self._between(south, north)
            totals[index] = value[(x >= west) & (x < east) & (y > south) & (y <= north)].sum()
        return totals

    def cover(self, bounds: np.ndarray, crs: CRS) -> np.ndarray:
        """Return the fraction of each box [m, 4] that lies in the hull: float64 [m]."""
        hull = shapely.convex_hull(shapely.multipoints(np.array(self.hull)))
        rings = around(moved(outlines(bounds), crs, DEGREES), shapely.get_x(hull.centroid))
        finite = np.isfinite(rings).all((1, 2))
        boxes = shapely.polygons(rings[finite])
        cover = np.zeros(len(bounds))
        cover[finite] = shapely.area(shapely.intersection(boxes, hull)) / shapely.area(boxes)
        return cover

    def read(self, bounds: Bounds, crs: CRS) -> tuple[np.ndarray, np.ndarray]:
        """Return the squares or cells near `bounds`, both in `crs`: polygons [n], and values."""
        box = box_in(bounds, crs, self._crs)
        if box is None:
            return np.empty(0, object), np.empty(0)
        reach = self._reach
        near = self._between(box[1] - reach, box[3] + reach)
        if not (self._crs.is_geographic and box[2] - box[0] > 180):  # cut inside the box
            near = near[:, (near[0] >= box[0] - reach) & (near[0] <= box[2] + reach)]
        x, y, values = near
        centres = np.stack([x, y], axis=1)
        if self.resolution is None:
            areas = self._squares(centres, crs)
        else:
            areas = h3_cells.outlines(moved(centres, self._crs, DEGREES), self.resolution, crs)
        finite = np.isfinite(shapely.bounds(areas)).all(1)
        return areas[finite], values[finite]

    def _squares(self, centres: np.ndarray, crs: CRS) -> np.ndarray:
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        corners = self.side * _CORNERS @ np.array([(cos, sin), (-sin, cos)])
        rings = centres[:, None] + corners  # [n, 4, 2]
        return shapely.polygons(moved(rings, self._crs, crs))

    def _between(self, bottom: float, top: float) -> np.ndarray:
        first, last = (np.searchsorted(self.table[1], value, side)
                       for value, side in ((bottom, "left"), (top, "right")))
        return self.table[:, first:last]

    @cached_property
    def _crs(self) -> CRS:
        return CRS.from_wkt(self.crs)

    @cached_property
    def _reach(self) -> float:
        """Units of the CRS from a centre to the farthest corner of its square or cell."""
        return self.side if self.resolution is None else h3_cells.radius(self.resolution)


def around(points: np.ndarray, longitude: float) -> np.ndarray:
    """Return points [..., 2] in degrees with longitudes at most 180 from a given one."""
    turns = np.rint((points[..., 0] - longitude) / 360)
    return np.stack([points[..., 0] - 360 * turns, points[..., 1]], axis=-1)
