"""Area weighting: spread the amounts of some polygons evenly over each, and sum them in others."""

import numpy as np
import shapely
from pyproj import CRS

from datasets.prepare.geo.crs import Bounds, near_antimeridian

EQUAL_AREA = CRS.from_epsg(6933)  # metres; true areas anywhere
# EQUAL_AREA, cut at Greenwich instead
PACIFIC = CRS.from_proj4("+proj=cea +lat_ts=30 +lon_0=180 +datum=WGS84 +units=m")
SLIVER = 1e-6  # fraction of a polygon up to which a neighbour's edge may graze it


def equal_area_at(bounds: Bounds, crs: CRS) -> CRS:
    """Return a CRS of true areas in square metres that is not cut near a box of `crs`."""
    return PACIFIC if near_antimeridian(bounds, crs) else EQUAL_AREA


def area_weighted_sums(
    targets: np.ndarray, sources: np.ndarray, values: np.ndarray, per: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the amounts of sources that lie in each target.

    sum_i = sum_j area(target_i and source_j) * value_j / per_j

    Args:
        targets, sources: valid shapely polygons [m] and [n], both in one CRS of true areas.
        values: [n], finite.
        per: square metres that a value is for: [n], such as each source's own, or one number.

    Returns:
        float64 [m] both: the sums, and the area of each target that sources cover, overlapping
            sources counted each.
    """
    target, source = shapely.STRtree(sources).query(targets, predicate="intersects")
    # so that sums are equal to the last bit, however the tree is built
    order = np.lexsort((source, target))
    target, source = target[order], source[order]
    shared = _shared_areas(sources, targets, source, target)
    amounts = shared / np.broadcast_to(per, len(sources))[source] * values[source]
    return np.bincount(target, amounts, len(targets)), np.bincount(target, shared, len(targets))


def _shared_areas(first: np.ndarray, second: np.ndarray, i: np.ndarray,
                  j: np.ndarray) -> np.ndarray:
    """Return the areas of the intersections of `first[i]` and `second[j]`: [pairs]."""
    shapely.prepare(first)
    shapely.prepare(second)
    inner = shapely.contains_properly(second[j], first[i])
    outer = shapely.contains_properly(first[i], second[j])
    areas = np.where(inner, shapely.area(first)[i], shapely.area(second)[j])
    cut = ~(inner | outer)
    areas[cut] = shapely.area(shapely.intersection(first[i[cut]], second[j[cut]]))
    return areas
