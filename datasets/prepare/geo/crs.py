"""Boxes, points and shapes between reference systems, some of them cut at the antimeridian."""

import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from utils.errors import PrepareError, one_line

Bounds = tuple[float, float, float, float]  # minx, miny, maxx, maxy
SEGMENTS = 16                               # pieces of a box's side, which is curved in another CRS
DEGREES = CRS.from_epsg(4326)
NEAR_ANTIMERIDIAN = 20                      # degrees


@lru_cache(maxsize=64)
def transformer(source: CRS, target: CRS) -> Transformer:
    """Return the transformer from x, y of one CRS to x, y of another; raise PrepareError if there
    is none."""
    try:
        return Transformer.from_crs(source, target, always_xy=True)
    except ProjError as error:
        raise PrepareError(f"{source.name}: no way from this coordinate reference system to "
                           f"{target.name} is known ({one_line(error)}), expected two of the "
                           "Earth. Give the data the right one.") from error


def moved(points: np.ndarray, source: CRS, target: CRS) -> np.ndarray:
    """Return points [..., 2] in another CRS, infinite where it has no such point."""
    if source == target:
        return points
    return np.stack(transformer(source, target).transform(points[..., 0], points[..., 1]), axis=-1)


def moved_shapes(geometry: np.ndarray, source: CRS, target: CRS) -> np.ndarray:
    """Return shapes [n] in another CRS and without heights; coordinates as `moved` gives them."""
    if source.equals(target, ignore_axis_order=True):
        return shapely.force_2d(geometry)
    return shapely.transform(geometry, lambda points: moved(points, source, target))


def mapped(transform: Affine, points: np.ndarray) -> np.ndarray:
    """Return points [..., 2] through an affine map."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([transform.a * x + transform.b * y + transform.c,
                     transform.d * x + transform.e * y + transform.f], axis=-1)


def outlines(bounds: np.ndarray | Bounds) -> np.ndarray:
    """Return boxes [..., 4] as closed rings [..., 4 * SEGMENTS + 1, 2]. Boxes that share a side
    share its points exactly."""
    bounds = np.asarray(bounds, dtype=float)
    rising = np.arange(SEGMENTS) / SEGMENTS
    falling, zero, one = 1 - rising, np.zeros(SEGMENTS), np.ones(SEGMENTS)
    fraction = np.stack([np.concatenate([rising, one, falling, zero, [0]]),
                         np.concatenate([zero, rising, one, falling, [0]])], axis=1)
    low, high = bounds[..., None, :2], bounds[..., None, 2:]
    return low * (1 - fraction) + high * fraction


def box_in(bounds: Bounds, source: CRS, target: CRS) -> Bounds | None:
    """Return a box in another CRS; None if it has no such place. If the target CRS is cut inside
    the box, the result spans that CRS from end to end."""
    points = moved(outlines(bounds), source, target)
    points = points[np.isfinite(points).all(1)]
    if not len(points):
        return None
    (west, south), (east, north) = points.min(0).tolist(), points.max(0).tolist()
    if is_cut(points):
        steps = np.abs(np.diff(points[:, 0]))
        # the ends lie less than a step from the outermost points
        beyond = float(steps[steps <= (east - west) / 2].max())
        west, east = (-180, 180) if target.is_geographic else (west - beyond, east + beyond)
    return west, south, east, north


def is_cut(outline: np.ndarray) -> bool:
    """Return whether an outline [points, 2] of short pieces leaps from end to end of its CRS."""
    x = outline[np.isfinite(outline).all(1), 0]
    return len(x) > 1 and bool((np.abs(np.diff(x)) > np.ptp(x) / 2).any())


def near_antimeridian(bounds: Bounds, crs: CRS) -> bool:
    """Return whether a box's centre is so near the antimeridian that a CRS cut there may not do."""
    west, south, east, north = bounds
    longitude = moved(np.array([(west + east) / 2, (south + north) / 2]), crs, DEGREES)[0]
    return bool(180 - NEAR_ANTIMERIDIAN < abs(longitude) < np.inf)


def uncut(bounds: Bounds, crs: CRS) -> CRS | None:
    """Return a CRS with the coordinates of `crs` in a box, and without a cut there. Return None if
    the box is no place of a projected `crs`."""
    if crs.is_geographic:
        # a raster across the antimeridian has its middle at about 180, and may reach on to 181
        middle = (bounds[0] + bounds[2]) / 2
        if abs(middle) <= 180 - NEAR_ANTIMERIDIAN:
            return crs
        return CRS.from_proj4(f"{_proj4(crs)} +lon_wrap={middle!r}")
    points = outlines(bounds)
    away = np.abs(moved(moved(points, crs, DEGREES), DEGREES, crs) - points)
    side = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
    return None if (away[np.isfinite(away)] > side).any() else crs


def _proj4(crs: CRS) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pyproj warns that it is no WKT
        return crs.to_proj4()


def utm_zone(x: float, y: float, crs: CRS) -> str:
    """Return the EPSG code of a point's UTM zone."""
    lon, lat = moved(np.array([x, y]), crs, DEGREES)
    return f"EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) // 6) % 60 + 1}"


def degrees_text(x: float, y: float, crs: CRS) -> str:
    """Return the longitude and latitude of a point, for a message."""
    lon, lat = moved(np.array([x, y]), crs, DEGREES)
    return f"longitude {lon:.5f}, latitude {lat:.5f}"


def no_overlap(path: Path, key: str, own: Bounds | None, own_crs: CRS, bounds: Bounds,
               crs: CRS) -> PrepareError:
    """Return the error of a source that lies elsewhere, with both extents."""
    return PrepareError(f"{path}: does not overlap the imagery. "
                        f"{extents_text(key, own, own_crs, bounds, crs)} Pass {key}= data of the "
                        "imagery's place.")


def extents_text(name: str, own: Bounds | None, own_crs: CRS, bounds: Bounds, crs: CRS,
                 ground: str = "raster") -> str:
    """Return a sentence on the extents of a source and of the raster, for a message."""
    boxes = [box and box_in(box, box_crs, DEGREES)
             for box, box_crs in ((own, own_crs), (bounds, crs))]
    source, raster = (", ".join(f"{value:.5f}" for value in box) if box else "unknown"
                      for box in boxes)
    return (f"Extent of {name} {source}, of the {ground} {raster} (west, south, east, north in "
            "EPSG:4326).")
