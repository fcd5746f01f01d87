"""The ground that a tile's objects cover by their true outlines, on a lattice over the tile.

The lattice has SIDE x SIDE cells, whatever the tile's pixels and a network's patches are; as of
models/coverage.py.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SIDE = 56       # cells of the lattice, down and across
CELLS = SIDE**2
FULL = 255      # a share of a cell wholly inside
LEAST = 1e-6    # share of a cell up to which it is rounding
KEYS = ("cover_index", "cover_cell", "cover_share")  # attributes of a graph


class Cover(NamedTuple):
    """Which node covers which share of which cell, k entries in the order of nodes, then cells. A
    node without entries is one whose outline is not known."""

    index: np.ndarray  # int64 [k], node
    cell: np.ndarray   # int16 [k], row * SIDE + column
    share: np.ndarray  # uint8 [k], share of the cell in steps of 1 / FULL, from 1

    @classmethod
    def of(cls, index: np.ndarray, cell: np.ndarray, share: np.ndarray) -> "Cover":
        """Return a Cover of arrays of other types."""
        return cls(index.astype(np.int64), cell.astype(np.int16), share.astype(np.uint8))

    @classmethod
    def none(cls) -> "Cover":
        """Return the cover of no node."""
        return cls.of(*np.empty((3, 0)))

    def counts(self, nodes: int) -> np.ndarray:
        """Return the number of entries of each of the tile's nodes, [nodes]."""
        return np.bincount(self.index, minlength=nodes)

    def of_nodes(self, first: int, last: int) -> "Cover":
        """Return the entries of consecutive nodes, counted from the first one."""
        entries = slice(*np.searchsorted(self.index, (first, last)))
        return Cover(self.index[entries] - first, self.cell[entries], self.share[entries])

    def tensors(self) -> dict[str, Tensor]:
        """Return the attributes of a graph, by name."""
        return dict(zip(KEYS, map(torch.from_numpy, self), strict=True))


def steps(shares: np.ndarray) -> np.ndarray:
    """Return shares above LEAST, [k] floats, in steps of 1 / FULL: rounded, but at least one."""
    return np.floor(shares * FULL + 0.5 + LEAST).clip(1, FULL).astype(np.uint8)


def fault_of(index: np.ndarray, cell: np.ndarray, share: np.ndarray, nodes: int) -> str | None:
    """Return what is wrong with whole numbers [k] that should be a Cover of a tile of so many
    nodes, and what was expected; None if nothing."""
    for name, values, low, high in (("node", index, 0, nodes), ("cell", cell, 0, CELLS),
                                    ("share", share, 1, FULL + 1)):
        wrong = values[(values < low) | (values >= high)]
        if len(wrong):
            return f"names {name} {wrong[0]}, expected {low} <= {name} < {high}"
    order = index.astype(np.int64) * CELLS + cell
    if (np.diff(order) <= 0).any():
        entry = int((np.diff(order) <= 0).argmax()) + 1
        return (f"names cell {cell[entry]} of node {index[entry]} out of order, expected entries "
                "in the order of nodes, then cells, each once")
    return None
