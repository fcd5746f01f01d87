"""Which share of each cell of a tile's lattice an object's outline covers, exactly.

The signed area between an outline and the right side of the tile is the sum of that of its edges.
An edge that passes through cell c of a row over the height dy, at the mean distance f from the
cell's left side, adds dy * (1 - f) to the share of that cell, and dy to each cell to its right. A
running sum along the row, of dy * (1 - f) at c and dy * f at c + 1, adds both: the exact-area
anti-aliasing of font rasterisers (https://nothings.org/gamedev/rasterize), for all objects at once.
"""

import numpy as np
import shapely

from datasets.stores.cover import CELLS, LEAST, SIDE, Cover, steps

_AT_ONCE = 2048  # objects: 50 MB if each is as high as its tile


def outline_cells(geometries: np.ndarray, bounds: np.ndarray) -> Cover:
    """Return the shares of cells that objects cover.

    An object that covers next to nothing, such as a line or a point, has the least share of each
    cell that it touches.

    Args:
        geometries: [n] geometries, clipped to their tiles; no part of one overlaps another.
        bounds: [n, 4] minx, miny, maxx, maxy of each one's tile.
    """
    covers = [Cover.none()]
    for first in range(0, len(geometries), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        index, *rest = _shares(geometries[some], bounds[some])
        covers.append(Cover.of(index + first, *rest))
    return Cover(*map(np.concatenate, zip(*covers, strict=True)))


def _shares(geometries: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return object, cell and share [k] of the cells of objects, sorted."""
    start, end, owner, solid = _edges(geometries, bounds)
    start, end, edge = _cut(start, end)                                # [m, 2], [m, 2], [m]
    owner, solid = owner[edge], solid[edge]                                            # [m]
    middle = (start + end) / 2
    column, row = middle.astype(int).clip(0, SIDE - 1).T                               # [m]
    line = owner * SIDE + row
    lines, dense = np.unique(line[solid], return_inverse=True)  # rows of objects that edges pass
    height, right = (end - start)[solid, 1], (middle[:, 0] - column)[solid]
    at = dense * (SIDE + 1) + column[solid]
    sums = np.bincount(np.concatenate([at, at + 1]),
                       np.concatenate([height * (1 - right), height * right]),
                       minlength=len(lines) * (SIDE + 1))
    share = np.abs(sums.reshape(-1, SIDE + 1).cumsum(1)[:, :SIDE])              # [lines, SIDE]
    at_line, at_column = (share > LEAST).nonzero()
    cells = lines[at_line] * SIDE + at_column       # [k] object * CELLS + cell
    share = steps(share[at_line, at_column])
    # what covers nothing: the cells that its edges touch
    covering = np.zeros(len(geometries), bool)
    covering[cells // CELLS] = True
    touched = np.unique((line * SIDE + column)[~covering[owner]])
    cells = np.concatenate([cells, touched])
    share = np.concatenate([share, np.ones(len(touched), np.uint8)])
    order = cells.argsort(kind="stable")
    return cells[order] // CELLS, cells[order] % CELLS, share[order]


def _edges(geometries: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the edges of all outlines, in cells from the tile's top left: starts and ends [e, 2],
    the object of each [e], and whether it bounds an area [e]. Outlines run one way around, holes
    the other. Lines count as their own edges, a point as one of no length."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    parts, inner = shapely.get_parts(parts, return_index=True)  # of parts that are Multi
    owner = owner[inner]
    rings, ring_part = shapely.get_rings(shapely.orient_polygons(parts), return_index=True)
    thin = shapely.get_dimensions(parts) < 2
    outlines = np.concatenate([rings, parts[thin]])
    owner = np.concatenate([owner[ring_part], owner[thin]])
    points, outline = shapely.get_coordinates(outlines, return_index=True)
    own = bounds[owner[outline]]                                                     # [points, 4]
    size = (own[:, 2:] - own[:, :2]) * (1, -1)
    points = ((points - own[:, [0, 3]]) / size * SIDE).clip(0, SIDE)
    following = np.append(outline[1:], -1) == outline
    alone = shapely.get_num_coordinates(outlines)[outline] == 1
    first = np.flatnonzero(following | alone)
    return (points[first], points[first + following[first]], owner[outline[first]],
            outline[first] < len(rings))


def _cut(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut edges at the lines of the lattice: starts and ends [m, 2] of the pieces, and the edge of
    each [m]."""
    number = np.arange(len(start))
    edges, along = [number, number], [np.zeros(len(start)), np.ones(len(start))]
    for axis in (0, 1):
        low, high = np.minimum(start, end)[:, axis], np.maximum(start, end)[:, axis]
        first = np.floor(low).astype(int) + 1
        count = (np.ceil(high).astype(int) - first).clip(0)  # lines strictly between
        edge = number.repeat(count)
        line = np.arange(len(edge)) - (count.cumsum() - count)[edge] + first[edge]
        edges.append(edge)
        along.append((line - start[edge, axis]) / (end - start)[edge, axis])
    edge, along = np.concatenate(edges), np.concatenate(along)
    order = np.lexsort((along, edge))
    edge, along = edge[order], along[order]
    at = start[edge] + along[:, None] * (end - start)[edge]
    same = np.flatnonzero(edge[1:] == edge[:-1])
    return at[same], at[same + 1], edge[same]
