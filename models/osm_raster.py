"""OSM objects as an image: a baseline that draws them for the ViT instead of reading a graph.

Each class of objects has two channels: coverage, the share of a cell inside the objects, and
nearness, 1 in the nearest object's rotated box and falling to 0 at half a tile from it. Objects are
drawn by their outlines where a tile has them of all (models/coverage.py), their shares of a cell
added up; else by their boxes, from the distance of a cell's centre to each, as nearness is. So a
batch is drawn at once on its device, and what was removed from its graphs, or moved in them, is
drawn so. A patch of 16 pixels has 4 x 4 cells.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from models.coverage import CORNERS, FULL, SIDE, box_distance, has_outlines, resampled
from models.linear import Linear
from models.rose import Rose
from utils.errors import ModelError

CELLS = 4           # of a patch, down and across
REACH = 0.5         # tile sides from a box to where its nearness is 0
MOST_CHANNELS = 32  # tags with a channel of their own
OTHER, LAYER_OTHER = "*", "{}/*"  # channels of the remaining tags: of no layer, of one
ANY_TILE = "@"      # key of `know_tags` for tiles of any other name
_FAR = 1.0          # a distance beyond REACH, of a class without objects
_LABEL = -1         # of a node row, as in datasets/stores/tile.py
_AT_ONCE = 2048     # boxes: 25 MB a tensor on a grid of 14 x 14 patches
_UNNAMED = re.compile(r"tag ([0-9]{1,6})")


def choose_channels(tiles_with: Mapping[str, int], most: int = MOST_CHANNELS) -> tuple[str, ...]:
    """Return the channels for tags: the `most` that most tiles have, and one for each layer's
    remaining ones.

    Args:
        tiles_with: tag, "layer/value" or "value" -> number of training tiles that have it.
    """
    ordered = sorted(tiles_with, key=lambda tag: (-tiles_with[tag], tag))
    others = sorted({_other(tag) for tag in ordered[most:]})
    return (*ordered[:most], *others) or (OTHER,)


def channel_table(channels: Sequence[str], tags: Sequence[str]) -> list[int]:
    """Return the channel of each tag: its own, else its layer's, else the last resort's; -1, drawn
    nowhere, for a kind of object that no training tile had."""
    number = {channel: index for index, channel in enumerate(channels)}
    return [number.get(tag, number.get(_other(tag), number.get(OTHER, -1))) for tag in tags]


def _other(tag: str) -> str:
    layer, separator, _ = tag.rpartition("/")
    return LAYER_OTHER.format(layer) if separator else OTHER


class OsmRaster(nn.Module):
    """Draws the objects of tiles, and projects each patch of the drawing to the ViT's width.

    Args:
        rose: whose image encoder reads the patches.
        channels: of `choose_channels`.
        silent: start the projection from zero, so that the objects add nothing at first.
    """

    def __init__(self, rose: Rose, channels: Sequence[str], silent: bool = False):
        super().__init__()
        self.channels = tuple(channels)
        self.proj = Linear(2 * len(self.channels) * CELLS**2, rose.width)
        nn.init.zeros_(self.proj.bias)
        (nn.init.zeros_ if silent else nn.init.xavier_uniform_)(self.proj.weight)
        self.register_buffer("table", None, persistent=False)
        self.know_tags({})

    def know_tags(self, tags: Mapping[str, Sequence[str]]) -> None:
        """Learn what the label codes of graphs mean.

        Args:
            tags: city -> tag by label code, as of `TileDataset.tags`. The key ANY_TILE has those of
                tiles of any other city. Without it, codes of other cities are called "tag CODE",
                as in training on cities that do not name theirs.
        """
        tables = {city: channel_table(self.channels, names) for city, names in tags.items()}
        numbers = [int(match[1]) for name in self.channels if (match := _UNNAMED.fullmatch(name))]
        if numbers or OTHER in self.channels:
            unnamed = [f"tag {code}" for code in range(max(numbers, default=-1) + 1)]
            tables.setdefault(ANY_TILE, channel_table(self.channels, unnamed))
        self._cities = {city: row for row, city in enumerate(tables)}
        # the last column is that of codes without a name, and of objects without a code
        unknown, = channel_table(self.channels, [OTHER])
        most = max(map(len, tables.values()), default=0) + 1
        rows = [[*table, *[unknown] * (most - len(table))] for table in tables.values()]
        self.table = torch.tensor(rows or [[unknown]], device=self.proj.weight.device)

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
            channel = self._channel(graphs)                                                # [N]
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

    def _channel(self, graphs: Batch) -> Tensor:
        """Return each node's channel [N], -1 if it is drawn nowhere."""
        names = getattr(graphs, "name", [""] * graphs.num_graphs)
        other = self._cities.get(ANY_TILE)
        rows = [self._cities.get(name.rsplit("_", 2)[0], other) for name in names]
        if None in rows:
            self._refuse(names, rows, graphs.ptr.diff().tolist())
        row = torch.tensor([row or 0 for row in rows], device=graphs.x.device)[graphs.batch]
        last = self.table.shape[1] - 1
        code = graphs.x[:, _LABEL].long()
        return self.table[row, code.where((code >= 0) & (code < last), last)]

    def _refuse(self, names: Sequence[str], rows: Sequence[int | None],
                counts: Sequence[int]) -> None:
        """Raise ModelError if a tile with objects is of a city without a row of the table."""
        unknown = [name for name, row, count in zip(names, rows, counts, strict=True)
                   if row is None and count]
        if unknown:
            raise ModelError(f"tile {unknown[0]!r}: nothing says what its label codes mean, and "
                             f"the model draws objects by their tags, such as {self.channels[0]}; "
                             "choose tiles whose city has label_names (in Python, call "
                             "know_tags(dataset.tags)), another modality, or draw_objects=false")
