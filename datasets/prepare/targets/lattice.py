"""Whether points lie on a regular grid: how far apart, and how it is turned."""

import numpy as np
import shapely
from pyproj import CRS

from datasets.prepare.geo.crs import DEGREES, Bounds, moved
from datasets.prepare.targets.cell_size import CellSize

_LOOKED_AT = 5000    # points, at most, whose neighbours are measured
_REGULAR = 0.6       # least share of points whose neighbour lies one spacing away
_ALIKE = 0.02        # fraction by which distances of one spacing may differ
_ROUND = 0.01        # fraction by which a spacing may be off a round number
_STRAIGHT = 0.95     # least concentration of the directions of a grid, 1 being parallel


def local_metres(bounds: Bounds, crs: CRS) -> CRS:
    """Return a CRS of true areas in metres around the middle of a box."""
    west, south, east, north = bounds
    lon, lat = moved(np.array([(west + east) / 2, (south + north) / 2]), crs, DEGREES).tolist()
    return CRS.from_proj4(f"+proj=laea +lat_0={lat!r} +lon_0={lon!r} +datum=WGS84 +units=m")


def middle_of(points: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Return the points [n, 2] nearest the middle of a box of the same CRS, as many as are needed
    to see whether they are regular: [m, 2], those without coordinates left out."""
    points = points[np.isfinite(points).all(1)]
    if len(points) <= _LOOKED_AT:
        return points
    west, south, east, north = bounds
    away = np.abs(points - ((west + east) / 2, (south + north) / 2)).max(1)
    return points[np.argpartition(away, _LOOKED_AT)[:_LOOKED_AT]]


def spacing(degrees: np.ndarray | None, metres: np.ndarray) -> CellSize | None:
    """Return how far apart points are that lie on a regular grid; None if they do not.

    Args:
        degrees: longitude and latitude [n, 2] of points that a file gives in degrees, whose grid
            may be one of degrees.
        metres: the points in a metric CRS, [n, 2].
    """
    if degrees is not None:
        side, steps = _steps(degrees)
        # a grid in metres is denser along a meridian than along a parallel
        level = (np.abs(steps[:, 1]) < _ALIKE * side).mean() if len(steps) else 0
        upright = (np.abs(steps[:, 0]) < _ALIKE * side).mean() if len(steps) else 0
        if level > _ALIKE and upright > _ALIKE and level + upright > 1 - _ALIKE:
            return CellSize(float(f"{round(side * 3600, 2) / 3600:.9g}"), "deg")
    side, steps = _steps(metres)
    return CellSize(_rounded(side), "m") if len(steps) else None


def turn(metres: np.ndarray, side: float) -> float:
    """Return by how many radians a grid of spacing `side` is turned counterclockwise, in -pi/4 to
    pi/4; 0 if the points [n, 2] are on no such grid."""
    own, steps = _steps(metres)
    if not len(steps) or abs(own - side) > 0.05 * side:
        return 0.0
    # a square looks the same after a quarter turn
    mean = np.exp(4j * np.arctan2(steps[:, 1], steps[:, 0])).mean()
    return float(np.angle(mean) / 4) if abs(mean) > _STRAIGHT else 0.0


def _steps(points: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the spacing of a grid that points [n, 2] lie on, and the steps [m, 2] from points to
    neighbours so far away; no steps if they lie on none."""
    points = np.unique(points, axis=0)
    if len(points) < 4:
        return 0.0, np.empty((0, 2))
    shapes = shapely.points(points)
    tree = shapely.STRtree(shapes)
    _, distance = tree.query_nearest(shapes, exclusive=True, return_distance=True,
                                     all_matches=False)
    side = float(np.median(distance))
    if (np.abs(distance - side) < _ALIKE * side).mean() < _REGULAR:
        return 0.0, np.empty((0, 2))
    first, second = tree.query(shapes, predicate="dwithin", distance=side * (1 + _ALIKE))
    steps = points[second] - points[first]
    return side, steps[np.hypot(*steps.T) > side * (1 - _ALIKE)]


def _rounded(side: float) -> float:
    """Return the roundest number near `side`."""
    for digits in (1, 2, 3):
        near = float(f"{side:.{digits}g}")
        if abs(near - side) < _ROUND * side:
            return near
    return side
