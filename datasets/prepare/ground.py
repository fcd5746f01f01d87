"""Boxes and points between coordinate reference systems."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from affine import Affine
from pyproj import CRS, Transformer

from utils.errors import PrepareError

Bounds = tuple[float, float, float, float]  # minx, miny, maxx, maxy
SEGMENTS = 16                               # pieces of a box's side, which is curved in another CRS
DEGREES = CRS.from_epsg(4326)


@lru_cache(maxsize=64)
def _transformer(source: CRS, target: CRS) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def moved(points: np.ndarray, source: CRS, target: CRS) -> np.ndarray:
    """Points [..., 2] in another CRS; infinite where it has no such place."""
    if source == target:
        return points
    return np.stack(_transformer(source, target).transform(points[..., 0], points[..., 1]), axis=-1)


def mapped(transform: Affine, points: np.ndarray) -> np.ndarray:
    """Points [..., 2] through an affine map."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f], axis=-1)


def outlines(bounds: np.ndarray) -> np.ndarray:
    """Boxes [m, 4] as closed rings [m, 4 * SEGMENTS + 1, 2]; boxes that share a side share its points exactly."""
    step = np.arange(SEGMENTS) / SEGMENTS
    there, back, zero, one = step, 1 - step, np.zeros(SEGMENTS), np.ones(SEGMENTS)
    share = np.stack([np.concatenate([there, one, back, zero, [0]]), np.concatenate([zero, there, one, back, [0]])], axis=1)
    low, high = bounds[:, None, :2], bounds[:, None, 2:]
    return low * (1 - share) + high * share


def box_in(bounds: Bounds, source: CRS, target: CRS) -> Bounds | None:
    """The box of `bounds` in another CRS; None where it has no such place."""
    points = moved(outlines(np.array([bounds], dtype=float))[0], source, target)
    points = points[np.isfinite(points).all(1)]
    return (*points.min(0).tolist(), *points.max(0).tolist()) if len(points) else None


def place(x: float, y: float, crs: CRS) -> str:
    """Where a point is, for a message."""
    lon, lat = moved(np.array([x, y]), crs, DEGREES)
    return f"longitude {lon:.5f}, latitude {lat:.5f}"


def no_overlap(path: Path, key: str, own: Bounds | None, own_crs: CRS, bounds: Bounds, crs: CRS) -> PrepareError:
    """The error of a source that lies elsewhere, with both extents."""
    degrees = [box and box_in(box, box_crs, DEGREES) for box, box_crs in ((own, own_crs), (bounds, crs))]
    source, raster = (", ".join(f"{value:.5f}" for value in box) if box else "unknown" for box in degrees)
    return PrepareError(f"{path}: does not overlap the imagery. Extent of {key} {source}, of the imagery {raster} "
                        f"(west, south, east, north in EPSG:4326). Pass {key}= data of the imagery's place.")
