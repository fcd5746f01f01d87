"""OSM objects as an image: a baseline that draws them for the ViT instead of reading a graph.

Each class of objects has two channels: coverage, the share of a cell inside the objects, and
nearness, 1 in the nearest object's rotated box and falling to 0 at half a tile from it. Objects are
drawn by their outlines where a tile has them of all (models/coverage.py), their shares of a cell
added up; else by their boxes, from the distance of a cell's centre to each, as nearness is. So a
batch is drawn at once on its device, and what was removed from its graphs, or moved in them, is
drawn so. A patch of 16 pixels has 4 x 4 cells.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from models.coverage import CORNERS, FULL, SIDE, box_distance, has_outlines, resampled
from models.linear import Linear
from models.rose import Rose
from models.tag_channels import TagChannels

CELLS = 4           # of a patch, down and across
REACH = 0.5         # tile sides from a box to where its nearness is 0
_FAR = 1.0          # a distance beyond REACH, of a class without objects
_AT_ONCE = 2048     # boxes: 25 MB a tensor on a grid of 14 x 14 patches


class OsmRaster(TagChannels):
    """Draws the objects of tiles, and projects each patch of the drawing to the ViT's width.

    Args:
        rose: whose image encoder reads the patches.
        channels: of `choose_channels`.
        silent: start the projection from zero, so that the objects add nothing at first.
    """

    def __init__(self, rose: Rose, channels: Sequence[str], silent: bool = False):
        super().__init__(channels)
        self.proj = Linear(2 * len(self.channels) * CELLS**2, rose.width)
        nn.init.zeros_(self.proj.bias)
        (nn.init.zeros_ if silent else nn.init.xavier_uniform_)(self.proj.weight)

    def forward(self, graphs: Batch, grid: tuple[int, int]) -> Tensor:
        """Return [B, L, D] of the tiles of `graphs` on a `grid` (rows, columns) of patches.

        Raise ModelError for graphs of a city whose label codes are not known.
        """
        drawn = self.draw(graphs, grid).unflatten(3, (grid[1], CELLS)).unflatten(2, (grid[0],
                                                                                     CELLS))
        # [B, channels, rows, cells, columns, cells] -> [B, L, channels * cells * cells]
        return self.proj(drawn.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))

    @torch.no_grad()
    def draw(self, graphs: Batch, grid: tuple[int, int]) -> Tensor:
        """Return [B, 2 * channels, rows * CELLS, columns * CELLS] in 0..1: coverage by each
        channel's objects, then nearness to them; 0 where a tile has none."""
        count, (rows, columns) = len(self.channels), (grid[0] * CELLS, grid[1] * CELLS)
        with torch.autocast(graphs.x.device.type, enabled=False):
            x = graphs.x.float()
            distance = x.new_full((graphs.num_graphs * count, rows, columns), _FAR)
            channel = self.channel_of(graphs)                                               # [N]
            drawn = channel >= 0
            place = (graphs.batch * count + channel)[drawn]
            boxes = x[drawn, CORNERS].unflatten(1, (4, 2))                              # [N, 4, 2]
            for some, at in zip(boxes.split(_AT_ONCE), place.split(_AT_ONCE), strict=True):
                new = box_distance(some, rows, columns)
                distance.scatter_reduce_(0, at[:, None, None].expand_as(new), new, "amin")
            coverage = (0.5 - distance * rows).clamp(0, 1)
            if graphs.get("cover_index") is not None:
                outlined = torch.ones(graphs.num_graphs, dtype=torch.bool, device=x.device)
                outlined.index_fill_(0, graphs.batch[~has_outlines(graphs)], False)
                coverage = torch.where(outlined.repeat_interleave(count)[:, None, None],
                                       self._outlines(graphs, channel, rows, columns), coverage)
            nearness = (1 - distance.clamp(min=0) / REACH).clamp(min=0)
        return torch.stack([coverage, nearness]).unflatten(1, (-1, count)).transpose(0, 1).flatten(
            1, 2)

    def _outlines(self, graphs: Batch, channel: Tensor, rows: int, columns: int) -> Tensor:
        """Return coverage by outlines, [B * channels, rows, columns] in 0..1."""
        count = len(self.channels)
        entries = channel[graphs.cover_index] >= 0                                         # [k]
        node = graphs.cover_index[entries]
        at = ((graphs.batch[node] * count + channel[node]) * SIDE**2
              + graphs.cover_cell[entries].long())
        # whole numbers: their sum does not depend on the order, which a GPU leaves open
        shares = at.new_zeros(graphs.num_graphs * count * SIDE**2, dtype=torch.int32)
        shares.index_add_(0, at, graphs.cover_share[entries].int())
        cells = (shares.view(-1, SIDE, SIDE) / FULL).clamp(max=1)
        return resampled(cells, rows, columns)
