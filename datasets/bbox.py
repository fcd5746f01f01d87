"""An area on the Earth in degrees: `bbox=[west,south,east,north]`."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache

import mercantile
import numpy as np
from affine import Affine
from pyproj import CRS, Geod

from datasets.prepare.geo.crs import DEGREES, Bounds, box_in, mapped, moved, outlines
from utils.errors import ConfigError, PrepareError

EXPECTED = ("expected west,south,east,north in degrees (EPSG:4326), such as "
            "[15.74,50.03,15.79,50.05]")
MERCATOR_LATITUDE = 85.0511287798066  # where the square of web map tiles ends
DEEPEST_ZOOM = 30                     # of web map tiles
_EPSILON = 1e-11     # degrees: a box that ends on a tile's edge does not reach the next tile
_LARGE, _LINES = 5, 64  # degrees of a box, some sides of which may be no place of a CRS
_TOLERANCE_PX = 1e-3  # a box that ends on a pixel's edge does not reach the next pixel


@dataclass(frozen=True)
class TileRange:
    """The web map tiles of one zoom from `left` to before `right` and `top` to before `bottom`."""

    zoom: int
    left: int
    top: int
    right: int
    bottom: int

    def __len__(self) -> int:
        return (self.right - self.left) * (self.bottom - self.top)

    def __iter__(self) -> Iterator[mercantile.Tile]:
        return (mercantile.Tile(x, y, self.zoom) for x in range(self.left, self.right)
                for y in range(self.top, self.bottom))


@dataclass(frozen=True)
class BBox:
    """A box of degrees, west < east and south < north, not across the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def of(cls, key: str, values: Sequence[float]) -> "BBox":
        """Return the box of four numbers; raise ConfigError, which names `key`, if they are none:
        swapped, empty, off the Earth or across the antimeridian."""
        shown = f"{key}=[{','.join(f'{value:g}' for value in values)}]"
        if len(values) != 4 or not all(map(math.isfinite, values)):
            raise ConfigError(f"{shown}: {len(values)} numbers, {EXPECTED}")
        west, south, east, north = map(float, values)
        if max(abs(west), abs(east)) > 180 or max(abs(south), abs(north)) > 90:
            raise ConfigError(f"{shown}: off the Earth, whose longitudes go from -180 to 180 and "
                              f"latitudes from -90 to 90; {EXPECTED}")
        if west == east or south == north:
            raise ConfigError(f"{shown}: an empty box, as two of its sides are the same; "
                              f"{EXPECTED}")
        if south > north:
            raise ConfigError(f"{shown}: south {south:g} is above north {north:g}; {EXPECTED}")
        if west > east and west - east > 180:
            raise ConfigError(f"{shown}: across the antimeridian, which one box cannot be; pass "
                              f"the two sides one after the other, {key}=[{west:g},{south:g},180,"
                              f"{north:g}] and {key}=[-180,{south:g},{east:g},{north:g}]")
        if west > east:
            raise ConfigError(f"{shown}: west {west:g} is east of east {east:g}; {EXPECTED}")
        return cls(west, south, east, north)

    def __str__(self) -> str:
        return ",".join(f"{value:.10g}" for value in astuple(self))

    @property
    def bounds(self) -> Bounds:
        return astuple(self)

    @property
    def area_km2(self) -> float:
        """The ground in the box."""
        ring = outlines(self.bounds)
        return abs(Geod(ellps="WGS84").polygon_area_perimeter(*ring.T)[0]) / 1e6

    def bounds_in(self, crs: CRS) -> Bounds | None:
        """Return the box around this one in another CRS; None if it has no such place."""
        return box_in(self.bounds, DEGREES, crs)

    def pixels(self, crs: CRS, transform: Affine, width: int,
               height: int) -> tuple[int, int, int, int] | None:
        """Return the whole pixels of a grid that touch the box: left, top, right, bottom, the last
        two excluded; None if it has none there. The grid may be rotated."""
        large = (max(self.east - self.west, self.north - self.south) > _LARGE
                 and not _is_straight(crs))
        ring = outlines(self.bounds)
        if large:
            steps = np.linspace(0, len(ring) - 1, _LINES * (len(ring) - 1) + 1)
            ring = np.stack([np.interp(steps, np.arange(len(ring)), side) for side in ring.T], -1)
        ring = moved(ring, DEGREES, crs)
        ring = mapped(~transform, ring[np.isfinite(ring).all(1)])
        if large:
            ring = np.concatenate([ring, self._beyond(ring, crs, transform, width, height)])
        if not len(ring):
            return None
        columns, rows = ring.T
        left, top = (max(0, math.floor(side.min() + _TOLERANCE_PX)) for side in (columns, rows))
        right, bottom = (min(size, math.ceil(side.max() - _TOLERANCE_PX))
                         for size, side in ((width, columns), (height, rows)))
        return (left, top, right, bottom) if left < right and top < bottom else None

    def _beyond(self, ring: np.ndarray, crs: CRS, transform: Affine, width: int,
                height: int) -> np.ndarray:
        """Return pixels [n, 2] around points of a grid that lie in the box and beyond its outline
        in pixels, where sides of the box are no place of the CRS."""
        lines = np.linspace(0, 1, _LINES + 1)
        points = np.stack(np.meshgrid(lines * width, lines * height), -1).reshape(-1, 2)
        lon, lat = moved(mapped(transform, points), crs, DEGREES).T
        inside = ((lon >= self.west) & (lon <= self.east)
                  & (lat >= self.south) & (lat <= self.north))
        outside = ((points < ring.min(0, initial=np.inf))
                   | (points > ring.max(0, initial=-np.inf))).any(1)
        points, step = points[inside & outside], np.array([width, height]) / _LINES
        return np.concatenate([points - step, points + step])

    def tiles(self, zoom: int) -> TileRange:
        """Return the web map tiles that touch the box; raise PrepareError if it lies beyond the
        latitudes that they cover."""
        south, north = (max(-MERCATOR_LATITUDE, min(MERCATOR_LATITUDE, side))
                        for side in (self.south, self.north))
        if south == north:
            raise PrepareError(f"bbox=[{self}]: lies beyond latitude {MERCATOR_LATITUDE:.4f}, "
                               "where web map tiles end; expected a box nearer to the equator")
        first = mercantile.tile(self.west, north, zoom)
        last = mercantile.tile(self.east - _EPSILON, south + _EPSILON, zoom)
        return TileRange(zoom, first.x, first.y, last.x + 1, last.y + 1)


@lru_cache(maxsize=64)
def _is_straight(crs: CRS) -> bool:
    """Return whether meridians and parallels are straight lines from end to end of a CRS."""
    return crs.is_geographic or crs == CRS.from_epsg(3857)
