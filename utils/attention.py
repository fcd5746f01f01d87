"""The attention of OSM objects on the patches of their tile: what of it falls inside a box (attention study, Rose section 5.4)."""

import numpy as np
import shapely
import torch
from torch import Tensor


def patch_coverage(corners: Tensor, grid: tuple[int, int]) -> Tensor:
    """Share of each patch's area that a rotated box covers.

    Args:
        corners: [n, 8] x1 y1 .. x4 y4 in tile units, in any order; parts outside the tile cover no patch.
        grid: (rows, columns) of patches.

    Returns:
        [n, L] float64 in [0, 1]; its mean over the patches is the share of the tile that the box covers.
    """
    rows, cols = grid
    boxes = shapely.convex_hull(shapely.multipoints(corners.double().numpy().reshape(-1, 4, 2)))
    row, col = np.divmod(np.arange(rows * cols), cols)
    patches = shapely.box(col / cols, row / rows, (col + 1) / cols, (row + 1) / rows)
    node, patch = shapely.STRtree(patches).query(boxes, predicate="intersects")
    coverage = torch.zeros(len(boxes), rows * cols, dtype=torch.float64)
    coverage[node, patch] = torch.from_numpy(shapely.area(shapely.intersection(boxes[node], patches[patch]))) * rows * cols
    return coverage.clamp(max=1)


def patch_attention(attention: Tensor) -> Tensor:
    """[n, heads, L] attention [n, heads, 1 + L] without the CLS token, each head's summing to 1 again; float64."""
    patches = attention[..., 1:].double()
    return patches / patches.sum(-1, keepdim=True)


def attention_mass(patches: Tensor, coverage: Tensor) -> Tensor:
    """Share of each head's attention inside the own box: mass_nh = sum_t coverage_nt A_nht; uniform attention has the box's share.

    Args:
        patches: [n, heads, L] of `patch_attention`.
        coverage: [n, L] of `patch_coverage`.

    Returns:
        [n, heads].
    """
    return torch.einsum("nhl,nl->nh", patches, coverage)
