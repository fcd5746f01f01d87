"""Which share of each patch an OSM object covers.

A graph may carry the true outlines of its objects as coverage of a fixed lattice of SIDE x SIDE
cells over the tile, whatever its pixels and patches are (datasets/stores/cover.py):

    cover_index  int64 [k]  node
    cover_cell   int16 [k]  cell, row * SIDE + column
    cover_share  uint8 [k]  share of the cell inside the outline, in steps of 1 / 255

A node without entries, as of a dataset made before there was coverage, counts as its rotated box.
"""

import torch
from torch import Tensor
from torch_geometric.data import Batch

SIDE = 56           # cells of the lattice, down and across: 4 x 4 of a patch of 14 x 14
FULL = 255          # a `cover_share` of a cell wholly inside
CORNERS = slice(-11, -3)  # of a node row, as in datasets/stores/tile.py
_AT_ONCE = 512       # boxes: 6 MB a tensor, which stays in a cache


def has_outlines(graphs: Batch) -> Tensor:
    """Return which nodes have coverage by their outline, [N] bool."""
    index = graphs.get("cover_index")
    outlined = torch.zeros(len(graphs.x), dtype=torch.bool, device=graphs.x.device)
    return outlined if index is None else outlined.index_fill_(0, index, True)


@torch.no_grad()
def cell_shares(graphs: Batch, corners: slice = CORNERS) -> Tensor:
    """Return the share of each cell of the lattice that each node covers, float32
    [N, SIDE, SIDE] in 0..1: by its outline, or by the box in the columns `corners` of `x`."""
    shares = graphs.x.new_zeros(len(graphs.x), SIDE * SIDE, dtype=torch.float32)
    outlined = has_outlines(graphs)
    if graphs.get("cover_index") is not None:
        at = graphs.cover_index * (SIDE * SIDE) + graphs.cover_cell.long()                # [k]
        shares.view(-1).index_copy_(0, at, graphs.cover_share.float() / FULL)
    shares = shares.unflatten(1, (SIDE, SIDE))
    boxed = (~outlined).nonzero()[:, 0]
    for some in boxed.split(_AT_ONCE):
        shares[some] = _box_shares(graphs.x[some, corners].float().unflatten(1, (4, 2)))
    return shares


def patch_shares(graphs: Batch, grid: tuple[int, int], corners: slice = CORNERS) -> Tensor:
    """Return the share of each patch that each node covers, float32 [N, L] in 0..1, of a `grid`
    (rows, columns) of patches over the tile: the area-weighted mean of its cells."""
    return resampled(cell_shares(graphs, corners), *grid).flatten(1)


def resampled(cells: Tensor, rows: int, columns: int) -> Tensor:
    """Return area-weighted means on a grid of rows x columns: [..., SIDE, SIDE] to
    [..., rows, columns]."""
    with torch.autocast(cells.device.type, enabled=False):
        across = cells @ _weights(columns, cells).T                          # [..., SIDE, columns]
        return (_weights(rows, cells) @ across).clamp(0, 1)


def _weights(count: int, like: Tensor) -> Tensor:
    """Return the share of each of `count` intervals in each cell of a side, [count, SIDE]."""
    edges = torch.arange(count + 1, device=like.device, dtype=torch.float64) * SIDE / count
    cells = torch.arange(SIDE, device=like.device)
    upper = torch.minimum(edges[1:, None], cells + 1)
    overlap = (upper - torch.maximum(edges[:-1, None], cells)).clamp(min=0)      # [count, SIDE]
    return (overlap * count / SIDE).to(like.dtype)


def _box_shares(boxes: Tensor) -> Tensor:
    """Return shares [n, SIDE, SIDE] of rectangles [n, 4, 2]: the distance of a cell's centre to the
    outline, in cells, plus a half. The cell of the centre has the least share or more, so that
    every object is somewhere."""
    shares = (0.5 - box_distance(boxes, SIDE, SIDE) * SIDE).clamp_(0, 1)
    column, row = (boxes.mean(1) * SIDE).long().clamp_(0, SIDE - 1).unbind(1)               # [n]
    centre = torch.arange(len(boxes), device=boxes.device), row, column
    shares[centre] = shares[centre].clamp(min=1 / FULL)
    return shares


def box_distance(boxes: Tensor, rows: int, columns: int) -> Tensor:
    """Return the signed distance [N, rows, columns] of the centres of a tile's cells to rectangles
    with corners [N, 4, 2] in order; it is negative inside.

    With q = |R (p - centre)| - (half length, half width): |max(q, 0)| + min(max(q_x, q_y), 0)
    (https://iquilezles.org/articles/distfunctions2d). Rectangles may be lines or points.
    """
    along, across = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 0]                   # [N, 2]
    half = torch.stack([along.norm(dim=1), across.norm(dim=1)], 1) / 2                     # [N, 2]
    # the longer side gives the direction: the other may have none
    turned = torch.stack([across[:, 1], -across[:, 0]], 1)
    axis = torch.where(half[:, :1] >= half[:, 1:], along, turned)
    length = axis.norm(dim=1, keepdim=True)
    axis = torch.where(length > 0, axis / length, axis.new_tensor([1.0, 0.0]))  # a point: any
    sides = torch.stack([axis, torch.stack([-axis[:, 1], axis[:, 0]], 1)], 1)           # [N, 2, 2]
    x = (torch.arange(columns, device=boxes.device) + 0.5) / columns
    y = (torch.arange(rows, device=boxes.device) + 0.5) / rows
    across_x = sides[:, :, :1] * x - sides @ boxes.mean(1)[..., None]             # [N, 2, columns]
    outside = across_x[:, :, None] + (sides[:, :, 1:] * y)[..., None]       # [N, 2, rows, columns]
    # in place: a batch's cells times its boxes are many
    outside = outside.abs_().sub_(half[..., None, None])
    inner = torch.maximum(outside[:, 0], outside[:, 1]).clamp_(max=0)
    outside = outside.clamp_(min=0).square_()
    return outside[:, 0].add_(outside[:, 1]).sqrt_().add_(inner)
