"""The coverage of a tile's objects (stores/cover.py), carried along with its graph: when nodes go,
when a window is cut out, when the tile is mirrored."""

import numpy as np
from numpy import ndarray
from torch_geometric.data import Data

from datasets.stores.cover import CELLS, FULL, KEYS, LEAST, SIDE, Cover, steps

_AT_ONCE = 64  # nodes: their cells stay in a cache


def cover_of(graph: Data) -> Cover | None:
    """Return the coverage that a graph carries, if any."""
    if KEYS[0] not in graph:
        return None
    return Cover(*(graph[key].numpy() for key in KEYS))


def kept(cover: Cover, keep: ndarray) -> Cover:
    """Return the coverage of some nodes, [n] bool, renumbered."""
    entries = keep[cover.index]
    return Cover((keep.cumsum() - 1)[cover.index[entries]], *(array[entries]
                                                              for array in cover[1:]))


def mirrored(cover: Cover) -> Cover:
    """Return the coverage of a tile mirrored left and right."""
    cell = cover.cell + (SIDE - 1) - 2 * (cover.cell % SIDE)
    order = (cover.index * CELLS + cell).argsort()
    return Cover(cover.index, cell.astype(np.int16)[order], cover.share[order])


def in_window(cover: Cover, low: ndarray, high: ndarray, centroids: ndarray) -> Cover:
    """Return the coverage on the lattice of the window from `low` to `high` (x, y in tile units),
    by areas: a cell of the window has the mean of the cells of the tile beneath it.

    An object of which nothing is left has the least share of the cell of its centroid [n, 2],
    which is in units of the window.
    """
    nodes, known = len(centroids), np.zeros(len(centroids), bool)
    known[cover.index] = True
    shares = np.zeros((nodes, CELLS), np.float32)
    shares[cover.index, cover.cell] = cover.share.astype(np.float32) / FULL
    shares = shares.reshape(nodes, SIDE, SIDE)
    across, down = (_weights(*ends) for ends in zip(low, high, strict=True))
    for first in range(0, nodes, _AT_ONCE):
        some = shares[first:first + _AT_ONCE]
        some[:] = down @ (some @ across.T)
    shares = shares.reshape(nodes, CELLS)
    lost = np.flatnonzero(known & (shares.max(1) <= LEAST))
    column, row = (centroids[lost] * SIDE).astype(int).clip(0, SIDE - 1).T
    shares[lost, row * SIDE + column] = 1 / FULL
    index, cell = (shares > LEAST).nonzero()
    return Cover.of(index, cell, steps(shares[index, cell]))


def _weights(low: float, high: float) -> ndarray:
    """Return the share of each new cell of a side, from `low` to `high`, in each of the tile's,
    float32 [SIDE, SIDE]."""
    edges = (low + (high - low) * np.arange(SIDE + 1) / SIDE) * SIDE
    cells = np.arange(SIDE)
    overlap = (np.minimum(edges[1:, None], cells + 1)
               - np.maximum(edges[:-1, None], cells)).clip(0)                       # [SIDE, SIDE]
    return (overlap / (high - low)).astype(np.float32)
