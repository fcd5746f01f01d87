"""Area weighting: amounts of some polygons spread evenly over each, and gathered again in others."""

import numpy as np
import shapely
from pyproj import CRS

EQUAL_AREA = CRS.from_epsg(6933)  # metres; true areas anywhere
SLIVER = 1e-6                     # share of a polygon below which a neighbour's edge grazes it and nothing covers it


def area_weighted_sums(
    targets: np.ndarray, sources: np.ndarray, values: np.ndarray, per: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray]:
    """What targets hold of the amounts in sources: sum_j area(target_i and source_j) * value_j / per_j.

    Args:
        targets, sources: valid shapely polygons [m] and [n], both in one CRS of true areas.
        values: [n], finite.
        per: the area that a value is for, in square metres: [n], such as each source's own, or one for all.

    Returns:
        The sums, and the area of each target that sources cover, of sources that overlap each; float64 [m] both.
    """
    target, source = shapely.STRtree(sources).query(targets, predicate="intersects")
    order = np.lexsort((source, target))  # sums to the last bit the same, however the tree is built
    target, source = target[order], source[order]
    shared = shapely.area(shapely.intersection(sources[source], targets[target]))
    amounts = shared / np.broadcast_to(per, len(sources))[source] * values[source]
    return np.bincount(target, amounts, len(targets)), np.bincount(target, shared, len(targets))
