"""The OSM graph of a window of its tile: what a crop or a shift leaves of the objects.

A node row holds the object's area, perimeter, centroid and minimum rotated box, not its outline, so
what the window cuts is estimated from the box. Let R be the part of the box inside the tile (the
object has no other), R' the part of R inside the window, and f the fraction of R's area that R'
keeps.

    dropped      R' is empty, or only touches the window's side: the object is surely outside;
                 edges of dropped nodes go with them
    area         f * area / area of the window
    perimeter    perimeter * perimeter of R' after / perimeter of R before, which follows a window
                 that is not square
    corners      the box if it is not cut, else R', stretched with the window; then its
                 minimum-area rotated rectangle
    centroid     centroid of R' + f * (centroid - centroid of R), kept inside R', then stretched
                 with the window

All of this is exact for an object that fills its box. For any other that the crop does not cut,
area and centroid are exact; for those cut, area, perimeter and centroid are estimates that tend to
the exact as the cut shrinks. Relation codes of surviving pairs stay, even if the crop parts the two
objects. Where the outline is known as coverage (graph_cover.py), the window has its share of it.
"""

import copy

import numpy as np
import torch
from numpy import ndarray
from torch_geometric.data import Data

from datasets.graph_cover import cover_of, in_window, kept
from datasets.stores.tile import AREA, CENTROID, CORNERS, PERIMETER

TOUCH = 1e-6     # tile units; an object that reaches less far into the window only touches it
NOTHING = 1e-12  # lengths and areas up to this, in tile units, count as zero
# The 8 ways to number a rectangle's corners along its outline: 4 starts in either direction.
CORNER_ORDERS = np.array([[(start + step * k) % 4 for k in range(4)] for step in (1, -1)
                          for start in range(4)])


def graph_in_window(graph: Data, low: ndarray, high: ndarray, keep_one: bool = True) -> Data:
    """Return the graph of the window from `low` to `high` (x, y in tile units), which may reach
    beyond the tile; the given one is not changed.

    Args:
        keep_one: a graph with nodes keeps at least one: the one whose centroid is nearest to the
            window, pressed flat against the window's side.
    """
    if graph.num_nodes == 0:
        return graph
    boxes = graph.x[:, CORNERS].double().numpy().reshape(-1, 4, 2)        # [n, 4, 2]
    centroids = graph.x[:, CENTROID].double().numpy()                     # [n, 2]
    before = _inside_tile(boxes, centroids)                               # [n, v, 2]  R
    after, keep = _inside_window(before, low, high)                       # [n, w, 2]  R'
    if keep_one and not keep.any():
        nearest = np.linalg.norm(centroids - centroids.clip(low, high), axis=1).argmin()
        after[nearest] = _pad(before[nearest:nearest + 1].clip(low, high), after.shape[1])
        keep[nearest] = True

    cropped = keep_nodes(graph, keep)
    columns = cropped.x[:, AREA:].double().numpy()                        # [n, 13]
    moved = _moved_columns(columns, boxes[keep], centroids[keep], before[keep], after[keep], low,
                           high)
    cropped.x[:, AREA:] = torch.from_numpy(moved)
    if (cover := cover_of(cropped)) is not None:
        cropped.update(in_window(cover, low, high, moved[:, CENTROID]).tensors())
    return cropped


def keep_nodes(graph: Data, keep: ndarray) -> Data:
    """Return the graph of some nodes, [n] bool, and the edges between them, renumbered: PyG's
    `graph.subgraph` in a fraction of its time; the given one is not changed."""
    nodes, edges = torch.from_numpy(keep.nonzero()[0]), graph.edge_index.numpy()
    linked = keep[edges].all(0)                                                               # [e]
    subgraph = copy.copy(graph)
    subgraph.x = graph.x[nodes]
    subgraph.edge_index = torch.from_numpy((keep.cumsum() - 1)[edges[:, linked]])
    subgraph.edge_attr = graph.edge_attr[torch.from_numpy(linked)]
    if (cover := cover_of(graph)) is not None:
        subgraph.update(kept(cover, keep).tensors())
    return subgraph


def _inside_tile(boxes: ndarray, centroids: ndarray) -> ndarray:
    """Clip each box to the tile, [n, v, 2]; the centroid stands for a box that is outside."""
    clipped, some = _clip(boxes, np.zeros(2), np.ones(2))
    return np.where(some[:, None, None], clipped, centroids.clip(0, 1)[:, None])


def _inside_window(before: ndarray, low: ndarray, high: ndarray) -> tuple[ndarray, ndarray]:
    """Clip each polygon to the window, [n, w, 2], and tell which nodes stay, [n] bool.

    A side of the window on the tile's own border cuts nothing, so that what lies flat on it stays.
    """
    after, some = _clip(before, low, high)
    inner_low = np.where(low > 0, low + TOUCH, -np.inf)
    inner_high = np.where(high < 1 - TOUCH, high - TOUCH, np.inf)
    return after, some & ((after.max(1) > inner_low) & (after.min(1) < inner_high)).all(1)


def _moved_columns(
    columns: ndarray, boxes: ndarray, centroids: ndarray, before: ndarray, after: ndarray,
    low: ndarray, high: ndarray,
) -> ndarray:
    """Return the last 13 columns of surviving nodes, [n, 13], by the rules on top of this file; R
    is `before`, R' is `after`."""
    stretch = 1 / (high - low)                                                                # [2]
    uncut = ((before >= low - TOUCH) & (before <= high + TOUCH)).all((1, 2))                  # [n]
    stretched = (after - low) * stretch                                                 # [n, w, 2]
    area_before, length_before, centroid_before = _measures(before)
    area_after, length_after, centroid_after = _measures(after)
    fraction = _ratio(area_after, area_before,
                      otherwise=_ratio(length_after, length_before, otherwise=1))             # [n]
    outline = np.where(uncut[:, None, None], (_pad(boxes, after.shape[1]) - low) * stretch,
                       stretched)
    corners = _renumber(_minimum_rectangle(outline), like=(boxes - low) * stretch)      # [n, 4, 2]
    estimate = centroid_after + fraction[:, None] * (centroids - centroid_before)          # [n, 2]
    centroids = np.where(uncut[:, None], centroids, estimate.clip(after.min(1), after.max(1)))

    moved = columns.copy()
    moved[:, AREA] = (columns[:, AREA] * fraction * stretch.prod()).clip(max=1)
    moved[:, PERIMETER] *= _ratio(_lengths(_edges(stretched)).sum(1), length_before,
                                  otherwise=stretch.mean())
    moved[:, CORNERS] = corners.reshape(-1, 8)
    moved[:, CENTROID] = (centroids - low) * stretch
    return moved


def _ratio(after: ndarray, before: ndarray, otherwise: ndarray | float) -> ndarray:
    """Return after / before, [n]; `otherwise` where `before` is nothing, such as the area of a box
    squeezed to a line."""
    something = before > NOTHING
    return np.where(something, after / np.where(something, before, 1), otherwise)


def _pad(polygons: ndarray, vertices: int) -> ndarray:
    """Extend [n, v, 2] to [n, vertices, 2] by repeating the first vertex, which changes neither
    outline nor area."""
    more = np.repeat(polygons[:, :1], vertices - polygons.shape[1], axis=1)
    return np.concatenate([polygons, more], axis=1)


def _clip(polygons: ndarray, low: ndarray, high: ndarray) -> tuple[ndarray, ndarray]:
    """Clip convex polygons [n, v, 2] to the window by Sutherland-Hodgman: [n, w, 2] with
    v <= w <= v + 4, and where something is left, [n] bool."""
    some = np.ones(len(polygons), dtype=bool)
    for axis in (0, 1):
        for side, bound in ((1, low[axis]), (-1, high[axis])):
            polygons, left = _clip_at_line(polygons, side * (polygons[..., axis] - bound))
            some &= left
    return polygons, some


def _clip_at_line(polygons: ndarray, depth: ndarray) -> tuple[ndarray, ndarray]:
    """Cut off the vertices with depth [n, v] < 0 (signed distance from a line).

    Returns:
        [n, v or v + 1, 2], and where something is left, [n].
    """
    n, v = depth.shape
    inside = depth >= 0
    if inside.all():
        return polygons, np.ones(n, dtype=bool)
    following, depth_following = _next(polygons), _next(depth)
    crossing = inside != (depth_following >= 0)
    along = depth / np.where(crossing, depth - depth_following, 1)      # [n, v] to the crossing
    meeting = polygons + along[..., None] * (following - polygons)
    vertices = np.stack([polygons, meeting], axis=2).reshape(n, 2 * v, 2)
    kept = np.stack([inside, crossing], axis=2).reshape(n, 2 * v)
    counts = kept.sum(1, keepdims=True)                                                    # [n, 1]
    most = max(v, counts.max())
    order = np.argsort(~kept, axis=1, kind="stable")[:, :most]           # kept ones, in sequence
    order = np.where(np.arange(most) < counts, order, order[:, :1])      # the first fills the rest
    return vertices[np.arange(n)[:, None], order], counts[:, 0] > 0


def _next(vertices: ndarray) -> ndarray:
    """Return each vertex's successor, [n, v, ...] to the same."""
    return np.concatenate([vertices[:, 1:], vertices[:, :1]], axis=1)


def _edges(polygons: ndarray) -> ndarray:
    return _next(polygons) - polygons


def _lengths(vectors: ndarray) -> ndarray:
    """Return lengths of [..., 2]; np.linalg.norm takes longer for vectors this short."""
    return np.sqrt(vectors[..., 0] ** 2 + vectors[..., 1] ** 2)


def _cross(polygons: ndarray) -> ndarray:
    """Return twice the signed areas of the triangles from the first vertex to each edge, [n, v]."""
    a = polygons - polygons[:, :1]
    b = _next(a)
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _measures(polygons: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Return area [n], perimeter [n] and centroid [n, 2] of polygons [n, v, 2]: the centroid of the
    area; of the outline if there is no area; of the vertices if there is no length either."""
    ends, cross = _next(polygons), _cross(polygons)
    lengths = _lengths(ends - polygons)                                                    # [n, v]
    area, perimeter = np.abs(cross.sum(1)) / 2, lengths.sum(1)                                # [n]
    has_area, has_length = (area > NOTHING)[:, None], (perimeter > NOTHING)[:, None]       # [n, 1]
    weights = np.where(has_area, cross, np.where(has_length, lengths, 1))                  # [n, v]
    triangles = (polygons[:, :1] + polygons + ends) / 3                                 # [n, v, 2]
    midpoints = (polygons + ends) / 2                                                   # [n, v, 2]
    points = np.where(has_area[..., None], triangles, midpoints)
    return area, perimeter, (points * weights[..., None]).sum(1) / weights.sum(1, keepdims=True)


def _minimum_rectangle(polygons: ndarray) -> ndarray:
    """Return minimum-area rotated rectangles of convex polygons, [n, v, 2] -> [n, 4, 2].

    One side of such a rectangle lies along an edge; of equally small rectangles (an acute triangle
    has three) the first edge's is taken.
    """
    edges = _edges(polygons)
    lengths = _lengths(edges)[..., None]
    along = np.where(lengths > NOTHING, edges / np.where(lengths > NOTHING, lengths, 1),
                     (1.0, 0.0))  # [n, v, 2] unit vectors
    across = np.stack([-along[..., 1], along[..., 0]], axis=2)
    axes = np.stack([along, across], axis=2)                                      # [n, edge, 2, 2]
    extent = axes @ polygons[:, None].swapaxes(2, 3)                              # [n, edge, 2, v]
    low, high = extent.min(3), extent.max(3)                                         # [n, edge, 2]
    areas = (high - low).prod(2)                                                        # [n, edge]
    best = (np.arange(len(polygons)),
            (areas <= areas.min(1, keepdims=True) * (1 + 1e-9)).argmax(1))
    axes, low, high = axes[best], low[best], high[best]                 # [n, 2, 2], [n, 2], [n, 2]
    steps = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    return (low[:, None] + steps * (high - low)[:, None]) @ axes                        # [n, 4, 2]


def _renumber(corners: ndarray, like: ndarray) -> ndarray:
    """Number the rectangles' corners [n, 4, 2] in the order and direction nearest to `like`
    [n, 4, 2]."""
    numbered = corners[:, CORNER_ORDERS]                                             # [n, 8, 4, 2]
    best = ((numbered - like[:, None]) ** 2).sum((2, 3)).argmin(1)
    return numbered[np.arange(len(corners)), best]
