"""A linear model of how many OSM objects of each kind a tile has, and how much they cover.

A total such as people or building volume is a sum over a tile's objects, which a mean of their
vectors forgets: a graph's readout is the same for one house and for ten. Their numbers and areas
by kind say it, and a ridge regression on them (Hoerl and Kennard, Technometrics 12, 1970) is what
dasymetric mapping estimates totals with. A network beside it learns what it leaves.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from models.tag_channels import TagChannels

_AREA = -13  # of a node row, as in datasets/stores/tile.py


class LinearModel(NamedTuple):
    """offset + weight . (min(row, most) - mean) / spread.

    Attributes:
        mean, spread, most, weight: [columns]; offset: a scalar.
    """

    mean: Tensor
    spread: Tensor
    most: Tensor
    weight: Tensor
    offset: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Return estimates [m] for rows [m, columns]."""
        return (rows.minimum(self.most) - self.mean) / self.spread @ self.weight + self.offset


class ObjectCounts(TagChannels):
    """Estimates a total of tiles by a `LinearModel` of their `amounts`, whose fields are buffers.

    It is fitted in closed form (evaluation/osm_statistics.py), and not trained: before that, it
    estimates 0.

    Args:
        channels: of `choose_channels`.
    """

    def __init__(self, channels: Sequence[str]):
        super().__init__(channels)
        of_channel = [channel.rpartition("/")[0] for channel in self.channels]
        self._layers = sorted({*of_channel})
        self._layer_of = [self._layers.index(layer) for layer in of_channel]
        columns = 2 * (len(self.channels) + len(self._layers) + 1)
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("spread", torch.ones(columns))
        self.register_buffer("most", torch.full((columns,), torch.finfo(torch.float32).max))
        self.register_buffer("weight", torch.zeros(columns))
        self.register_buffer("offset", torch.zeros(()))

    def set_to(self, **values: Tensor) -> None:
        """Take fields of a fitted `LinearModel`, by name."""
        for name, value in values.items():
            getattr(self, name).copy_(value)

    @torch.no_grad()
    def amounts(self, graphs: Batch) -> Tensor:
        """Return float64 [B, columns], number and covered area (a tile is 1) of the objects of each
        channel, of each layer, and of all. Raise ModelError for graphs of a city whose label codes
        are not known."""
        kinds = len(self.channels) + 1                     # the last is that of no channel
        place = graphs.batch * kinds + self.channel_of(graphs) % kinds                      # [N]
        area = graphs.x[:, _AREA].double()
        sums = torch.stack([
            area.new_zeros(graphs.num_graphs * kinds).index_add_(0, place, weights)
            for weights in (torch.ones_like(area), area)]).view(2, -1, kinds)       # [2, B, kinds]
        layers = sums.new_zeros(*sums.shape[:2], len(self._layers)).index_add_(
            2, torch.tensor(self._layer_of, device=sums.device), sums[..., :-1])
        columns = torch.cat([sums[..., :-1], layers, sums.sum(-1, keepdim=True)], -1)
        return columns.transpose(0, 1).flatten(1)

    def forward(self, graphs: Batch) -> Tensor:
        """Return estimates [B, 1] of the tiles of `graphs`, in the units that it was fitted in."""
        with torch.autocast(graphs.x.device.type, enabled=False):
            model = LinearModel(*(getattr(self, name) for name in LinearModel._fields))
            return model(self.amounts(graphs).float())[:, None]
