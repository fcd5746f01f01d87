"""A tile's OSM graph (Rose, section on the OSM graph): node rows, edges and relation codes.

All is vectorised over the tiles of a band: one spatial index query for the candidate pairs,
prepared predicates over them, and NumPy for the rest.
"""

from collections.abc import Sequence

import numpy as np
import shapely
import torch
from torch_geometric.data import Data

from datasets.prepare.outlines import outline_cells
from utils.errors import PrepareError
from utils.recipes import Recipe, resolve_recipe

TOUCH, OVERLAP, CONTAINS, WITHIN = 2, 3, 4, 5
_MIRROR = np.array([0, 1, TOUCH, OVERLAP, WITHIN, CONTAINS])  # code of (i, j) -> code of (j, i)


def build_graph(
    geometries: Sequence[shapely.Geometry],
    text_features,
    label_codes,
    bounds: tuple[float, float, float, float],
    tile_px: int = 224,
    recipe: str = "rose",
    relation_codes: str | None = None,
    coordinates: str | None = None,
) -> Data:
    """Return the graph of the OSM objects of one tile.

    Node row: text vector | area / tile area | perimeter / tile perimeter | 4 corners of the
    minimum rotated rectangle, x1 y1 .. x4 y4 | centroid x, y | label code. Areas, perimeters and
    rectangles are computed in CRS units; corners and centroid are then mapped to tile units (x
    right, y down, the tile is the unit square), so pixels need not be square.

    The code of edge (i, j) is the relation of i to j: 2 touches, 3 overlaps or crosses, 4
    contains, 5 is within. Of two equal geometries the earlier one contains (4) the later (5).
    Disjoint pairs have no edge.

    Args:
        geometries: n shapely geometries, already clipped to the tile, in the CRS of `bounds`.
        text_features: [n, width] array or tensor, the text vector of each object's tag value
            (width 512 with CLIP ViT-B/16).
        label_codes: [n] integers.
        bounds: minx, miny, maxx, maxy of the tile.
        tile_px: pixels along a side of the tile; only `coordinates=integer` depends on it.
        recipe: `rose` or `release`; `relation_codes` (symmetric|release) and `coordinates`
            (subpixel|integer) override it singly.

    Returns:
        Data with x [n, width + 13] float32, edge_index [2, e] int64 sorted by (i, j), edge_attr
        [e, 1] float32, and the shares of cells that the geometries cover (stores/cover.py).

    Raises:
        PrepareError: lengths disagree, a geometry is missing or empty, or the bounds enclose
            nothing.
        ConfigError: unknown recipe or an impossible value of one of its keys.
    """
    chosen = resolve_recipe(recipe, relation_codes=relation_codes, coordinates=coordinates)
    geometries = np.asarray(geometries, dtype=object)
    text = np.asarray(text_features, dtype=np.float32)
    labels = np.asarray(label_codes)
    _check(geometries, text, labels, bounds)
    tile = np.zeros(len(geometries), dtype=np.int64)
    columns, edges, codes = tile_graphs(geometries, tile, np.array([bounds], dtype=np.float64),
                                        tile_px, chosen)
    # [n, width + 13]
    x = np.concatenate([text, columns, labels.reshape(-1, 1)], axis=1, dtype=np.float32)
    return Data(x=torch.from_numpy(x), edge_index=torch.from_numpy(edges),
                edge_attr=torch.from_numpy(codes[:, None]),
                **outline_cells(geometries, np.tile(np.float64(bounds), (len(x), 1))).tensors())


def tile_graphs(geometries: np.ndarray, tile: np.ndarray, bounds: np.ndarray, tile_px: int,
                recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the graphs of many tiles at once, each like `build_graph`'s without text and label.

    Args:
        geometries: [n] clipped geometries, tile by tile.
        tile: [n] index of the tile of each, ascending.
        bounds: [tiles, 4] minx, miny, maxx, maxy.

    Returns:
        Geometry columns [n, 12] float32; edges [2, e] int64 between rows of `geometries`, sorted
            by (i, j), none between tiles; their codes [e] float32.
    """
    own = bounds[tile]  # [n, 4]
    corners = _to_tile_units(_rectangle_corners(geometries), own)
    centroid = _to_tile_units(shapely.get_coordinates(shapely.centroid(geometries))[:, None], own)
    if recipe.coordinates == "integer":
        corners, centroid = (np.trunc(xy * tile_px) / tile_px for xy in (corners, centroid))
    width, height = own[:, 2] - own[:, 0], own[:, 3] - own[:, 1]
    area = shapely.area(geometries) / (width * height)
    perimeter = shapely.length(geometries) / (2 * (width + height))
    rows = [area[:, None], perimeter[:, None], corners.reshape(-1, 8), centroid.reshape(-1, 2)]
    edges, codes = _relations(geometries, tile, recipe.relation_codes)
    return np.concatenate(rows, axis=1, dtype=np.float32), edges, codes.astype(np.float32)


def _check(geometries: np.ndarray, text: np.ndarray, labels: np.ndarray,
           bounds: tuple[float, float, float, float]) -> None:
    count = len(geometries)
    if text.ndim != 2 or len(text) != count or labels.shape != (count,):
        raise PrepareError(f"build_graph: {count} geometries with text_features of shape "
                           f"{list(text.shape)} and label_codes of shape {list(labels.shape)}; "
                           f"expected [{count}, width] and [{count}]: one text vector and one "
                           "code per geometry")
    unusable = np.flatnonzero(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    if len(unusable):
        raise PrepareError(f"build_graph: geometry {unusable[0]} is missing or empty; leave such "
                           "objects out before building the graph")
    minx, miny, maxx, maxy = bounds
    if not (minx < maxx and miny < maxy):
        raise PrepareError(f"build_graph: bounds {tuple(bounds)} enclose nothing; expected (minx, "
                           "miny, maxx, maxy) of the tile")


def _rectangle_corners(geometries: np.ndarray) -> np.ndarray:
    """Return the first 4 exterior vertices of each minimum rotated rectangle, in CRS units: [n, 4,
    2]. The rectangle of a straight line is a line, that of a point a point; their vertices
    repeat."""
    vertices, owner = shapely.get_coordinates(shapely.oriented_envelope(geometries),
                                              return_index=True)
    first = np.searchsorted(owner, np.arange(len(geometries)))
    count = np.bincount(owner, minlength=len(geometries))
    return vertices[first[:, None] + np.arange(4) % count[:, None]]


def _to_tile_units(xy: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Map CRS units to tile units: [n, points, 2] and [n, 4] -> [n, points, 2]."""
    corner = bounds[:, None, [0, 3]]         # [n, 1, 2] top left
    size = bounds[:, None, [2, 1]] - corner  # [n, 1, 2] y runs downwards
    return (xy - corner) / size


def _relations(geometries: np.ndarray, tile: np.ndarray,
               relation_codes: str) -> tuple[np.ndarray, np.ndarray]:
    """Return edges [2, e] int64, sorted by (i, j), and codes [e] of all intersecting ordered pairs
    within a tile."""
    i, j = shapely.STRtree(geometries).query(geometries)  # pairs whose boxes meet
    within = (i < j) & (tile[i] == tile[j])
    i, j = i[within], j[within]
    code = _codes(geometries, i, j)
    i, j, code = i[code > 0], j[code > 0], code[code > 0]
    if relation_codes == "release":
        # the release never tests for within: such pairs get 3, both ways
        code[code == WITHIN] = OVERLAP
    edges = np.stack([np.concatenate([i, j]), np.concatenate([j, i])]).astype(np.int64)
    codes = np.concatenate([code, _MIRROR[code]])
    order = np.lexsort((edges[1], edges[0]))
    return np.ascontiguousarray(edges[:, order]), codes[order]


def _codes(geometries: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return the relation of i to j, 0 if disjoint; of equal geometries i contains j: [pairs] int.

    Four predicates are twice as fast as the DE-9IM matrix. The geometry with more vertices comes
    first, as it is indexed once for all its pairs: a wood that holds 400 houses.
    """
    vertices = shapely.get_num_coordinates(geometries)
    swapped = vertices[j] > vertices[i]
    larger, smaller = geometries[np.where(swapped, j, i)], geometries[np.where(swapped, i, j)]
    shapely.prepare(geometries)
    meets = shapely.intersects(larger, smaller)
    touches = shapely.touches(larger[meets], smaller[meets])
    first, second = geometries[i[meets]], geometries[j[meets]]
    contains, within = shapely.covers(first, second), shapely.covers(second, first)
    code = np.zeros(len(meets), dtype=np.int64)
    code[meets] = np.select([touches, contains, within], [TOUCH, CONTAINS, WITHIN], OVERLAP)
    return code
