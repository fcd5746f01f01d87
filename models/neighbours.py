"""The nearest objects of each object of a tile: edges that an OSM graph gets beside intersections.

The search is exact, dense and the same on every device: torch-cluster's `knn_graph`, which scans
all pairs as well, leaves open which of two equally near objects it takes.
"""

import torch
from torch import Tensor

_PAIRS = 1 << 22  # distances computed at a time
_NO_PAIR = torch.iinfo(torch.int64).max
_INDEX_BITS = 32


def nearest_edges(points: Tensor, tile: Tensor, tiles: int, count: int) -> Tensor:
    """Return edges [2, E] to each point from the `count` nearest others of its tile.

    Row 0 holds the neighbours, the sources of messages, nearest first; row 1 the points, ascending.
    A tile of few points gives all others. Of equally near points, the first ones are taken.

    Args:
        points: [N, 2] float, finite.
        tile: [N] index of the tile of each, ascending.
        tiles: number of tiles.
    """
    sizes = torch.bincount(tile, minlength=tiles)                                            # [B]
    first, most = (sizes.cumsum(0) - sizes)[tile], int(sizes.max()) if tiles else 0      # [N], M
    if most < 2 or not count:
        return tile.new_empty(2, 0)
    slots = torch.arange(most, device=points.device)
    chunks = torch.arange(len(points), device=points.device).split(max(_PAIRS // most, 1))
    edges = []
    for nodes in chunks:
        others = first[nodes, None] + slots                                               # [C, M]
        real = (slots < sizes[tile[nodes], None]) & (others != nodes[:, None])            # [C, M]
        offsets = points[others.clamp(max=len(points) - 1)] - points[nodes, None]      # [C, M, 2]
        squared = offsets.float().square().sum(-1)                                        # [C, M]
        # bits of floats that are not negative order as the floats; the index breaks ties
        order = (squared.view(torch.int32).long() << _INDEX_BITS) | others
        nearest = order.where(real, _NO_PAIR).topk(min(count, most - 1), largest=False).values
        taken = nearest < _NO_PAIR                                                        # [C, k]
        edges.append(torch.stack([(nearest & ((1 << _INDEX_BITS) - 1))[taken],
                                  nodes[:, None].expand_as(nearest)[taken]]))
    return torch.cat(edges, dim=1)
