"""Overlapping maps of tiles, blended without seams; only rows that are open are in memory."""

import torch
from torch import Tensor


def blending_window(side: int, overlap: int) -> Tensor:
    """Return the weight of a tile's pixels, float32 [side, side]: 1 inside, falling smoothly over
    `overlap` pixels towards each edge.

    w(d) = sin^2(pi/2 * (d + 1/2) / overlap) at d < overlap pixels from an edge, in both directions
    multiplied: the weights of two tiles with this overlap add up to 1. An overlap of more than
    half a tile counts as half a tile.
    """
    overlap = min(overlap, side // 2)
    if not overlap:
        return torch.ones(side, side)
    pixel = torch.arange(side)
    distance = torch.minimum(pixel, side - 1 - pixel)
    ramp = torch.sin(torch.pi / 2 * ((distance + 0.5) / overlap).clamp(max=1)).square()
    return torch.outer(ramp, ramp)


class RowBlend:
    """The weighted mean of tiles' maps, for tiles that come row by row from the top.

    Memory is that of one row of tiles: channels x side x width values, whatever the height.
    `window` [side, side] weighs a tile's pixels, all above 0; `top` is the first row in memory.
    """

    def __init__(self, channels: int, width: int, window: Tensor, top: int):
        side = len(window)
        self.window, self.top = window, top
        self._sums = torch.zeros(channels, side, width)
        self._weights = torch.zeros(side, width)

    def add(self, left: int, maps: Tensor, valid: Tensor) -> None:
        """Add a tile whose top is that of the rows in memory; it may reach beyond the width.

        Args:
            maps: [channels, side, side].
            valid: [side, side] bool, pixels that count.
        """
        width = min(maps.shape[2], self._weights.shape[1] - left)
        weights = (self.window * valid)[:, :width]
        self._weights[:, left:left + width] += weights
        self._sums[:, :, left:left + width].addcmul_(maps[:, :, :width], weights)

    def finish(self, rows: int) -> tuple[Tensor, Tensor]:
        """Return the uppermost `rows` rows, to which no further tile adds, and forget them.

        They are the mean [channels, rows, width], and bool [rows, width], where any tile had a
        pixel that counts; elsewhere the mean is 0.
        """
        weights = self._weights[:rows]
        known = weights > 0
        mean = self._sums[:, :rows] / torch.where(known, weights, 1)
        # one by one: a copy of all would double the memory
        for plane in (*self._sums, self._weights):
            below = plane[rows:].clone()
            plane[:len(below)] = below
            plane[len(below):] = 0
        self.top += rows
        return mean, known
