"""Boxes and points between coordinate reference systems, some of which are cut at the
antimeridian."""

import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
from affine import Affine
from pyproj import CRS, Transformer

from utils.errors import PrepareError

Bounds = tuple[float, float, float, float]  # minx, miny, maxx, maxy
SEGMENTS = 16                              # pieces of a box's side, which is curved in another CRS
DEGREES = CRS.from_epsg(4326)
NEAR_ANTIMERIDIAN = 20                      # degrees


@lru_cache(maxsize=64)
def _transformer(source: CRS, target: CRS) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def moved(points: np.ndarray, source: CRS, target: CRS) -> np.ndarray:
    """Points [..., 2] in another CRS; infinite where it has no such place."""
    if source == target:
        return points
    return np.stack(_transformer(source, target).transform(points[..., 0], points[..., 1]),
                    axis=-1)


def mapped(transform: Affine, points: np.ndarray) -> np.ndarray:
    """Points [..., 2] through an affine map."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([transform.a * x + transform.b * y + transform.c,
                     transform.d * x + transform.e * y + transform.f], axis=-1)


def outlines(bounds: np.ndarray) -> np.ndarray:
    """Boxes [m, 4] as closed rings [m, 4 * SEGMENTS + 1, 2]; boxes that share a side share its
    points exactly."""
    step = np.arange(SEGMENTS) / SEGMENTS
    there, back, zero, one = step, 1 - step, np.zeros(SEGMENTS), np.ones(SEGMENTS)
    share = np.stack([np.concatenate([there, one, back, zero, [0]]),
                      np.concatenate([zero, there, one, back, [0]])], axis=1)
    low, high = bounds[:, None, :2], bounds[:, None, 2:]
    return low * (1 - share) + high * share


def box_in(bounds: Bounds, source: CRS, target: CRS) -> Bounds | None:
    """The box of `bounds` in another CRS, from end to end of one that is cut inside; None where it
    has no such place."""
    points = moved(outlines(np.array([bounds], dtype=float))[0], source, target)
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
    """Whether an outline [points, 2], of pieces much smaller than itself, leaps from one end of
    its CRS to the other."""
    x = outline[np.isfinite(outline).all(1), 0]
    return len(x) > 1 and bool((np.abs(np.diff(x)) > np.ptp(x) / 2).any())


def near_antimeridian(bounds: Bounds, crs: CRS) -> bool:
    """Whether the centre of a box lies so near to it that a CRS which is cut there, such as
    longitudes up to 180, may not serve."""
    west, south, east, north = bounds
    longitude = moved(np.array([(west + east) / 2, (south + north) / 2]), crs, DEGREES)[0]
    return bool(180 - NEAR_ANTIMERIDIAN < abs(longitude) < np.inf)


def uncut(bounds: Bounds, crs: CRS) -> CRS | None:
    """A CRS with the coordinates of `crs` in a box, and without a cut there; None where the box is
    no place of a projected `crs`."""
    if crs.is_geographic:
        # of a raster across the antimeridian about 180, and its longitudes may go on to 181
        middle = (bounds[0] + bounds[2]) / 2
        return CRS.from_proj4(f"{_proj4(crs)} +lon_wrap={middle!r}") if abs(
            middle) > 180 - NEAR_ANTIMERIDIAN else crs
    points = outlines(np.array([bounds], dtype=float))[0]
    away = np.abs(moved(moved(points, crs, DEGREES), DEGREES, crs) - points)
    side = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
    return None if (away[np.isfinite(away)] > side).any() else crs


def _proj4(crs: CRS) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pyproj warns that it is no WKT
        return crs.to_proj4()


def utm_zone(x: float, y: float, crs: CRS) -> str:
    """The EPSG code of the UTM zone of a point."""
    lon, lat = moved(np.array([x, y]), crs, DEGREES)
    return f"EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) // 6) % 60 + 1}"


def place(x: float, y: float, crs: CRS) -> str:
    """Where a point is, for a message."""
    lon, lat = moved(np.array([x, y]), crs, DEGREES)
    return f"longitude {lon:.5f}, latitude {lat:.5f}"


def no_overlap(path: Path, key: str, own: Bounds | None, own_crs: CRS, bounds: Bounds,
               crs: CRS) -> PrepareError:
    """The error of a source that lies elsewhere, with both extents."""
    degrees = [box and box_in(box, box_crs, DEGREES)
               for box, box_crs in ((own, own_crs), (bounds, crs))]
    source, raster = (", ".join(f"{value:.5f}" for value in box) if box else "unknown"
                      for box in degrees)
    return PrepareError(f"{path}: does not overlap the imagery. Extent of {key} {source}, of the "
                        f"imagery {raster} (west, south, east, north in EPSG:4326). Pass {key}= "
                        "data of the imagery's place.")
