"""Simple statistics of tiles' OSM objects, and a linear model of totals by them: a baseline that
any network for totals should beat."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from datasets.labelled import LabelledTiles
from datasets.stores.city import NO_CITY, city_of
from datasets.stores.tile import AREA, LABEL
from models.tag_channels import OTHER, channel_table, choose_channels

STRENGTHS = torch.logspace(-5, 3, 17, dtype=torch.float64)  # of the ridge, from which val chooses


class Tagged(NamedTuple):
    """The objects of a tile."""

    tags: list[str]  # "layer/value" of each; "tag CODE" if the city does not name it; or OTHER
    area: Tensor     # [n] share of the tile that each covers


def tagged(graph: Data, tags: Mapping[str, Sequence[str]]) -> Tagged:
    """Return the objects of a graph, whose label codes `tags` names by city."""
    names = tags.get(city_of(graph.name) or NO_CITY, ())
    codes = graph.x[:, LABEL].int().tolist()
    return Tagged([OTHER if code < 0 else names[code] if code < len(names) else f"tag {code}"
                   for code in codes], graph.x[:, AREA].double())


def channels_of(tiles: LabelledTiles) -> tuple[str, ...]:
    """Return the channels in which a network that is trained on `tiles` sees drawn objects."""
    tags, tiles_with = tiles.dataset.tags, Counter()
    for graph in tiles.graphs():
        tiles_with.update(set(tagged(graph, tags).tags))
    return choose_channels(tiles_with)


def osm_statistics(tiles: LabelledTiles, channels: Sequence[str]) -> Tensor:
    """Return float64 [n, columns], number and covered area of the objects of each channel, of each
    layer, and of all."""
    tags = tiles.dataset.tags
    layers = sorted({channel.rpartition("/")[0] for channel in channels})
    groups, rows = len(channels) + len(layers) + 1, []
    for graph in tiles.graphs():
        names, area = tagged(graph, tags)
        # a column for each kind; the last place of each is for objects of none
        of_channel = torch.tensor(channel_table(channels, names), dtype=torch.long)
        of_layer = torch.tensor([layers.index(layer) if layer in layers else -1 for layer in
                                 (name.rpartition("/")[0] for name in names)], dtype=torch.long)
        columns = []
        for weights in (torch.ones_like(area), area):
            for kind, count in ((of_channel, len(channels)), (of_layer, len(layers))):
                columns.append(torch.bincount(kind % (count + 1), weights, count + 1)[:count])
            columns.append(weights.sum()[None])
        rows.append(torch.cat(columns))
    return torch.stack(rows) if rows else torch.empty(0, 2 * groups, dtype=torch.float64)


def linear_estimates(train: LabelledTiles, val: LabelledTiles, reported: LabelledTiles,
                     totals: Tensor, val_totals: Tensor) -> Tensor:
    """Return [m] estimates of the reported tiles' totals by a ridge regression on the statistics of
    the training tiles; its strength is the best on val. No estimate is negative.

    Args:
        totals, val_totals: [n] and [v] float64, of the training and the validation tiles.
    """
    channels = channels_of(train)
    known, chosen_by, asked = (osm_statistics(tiles, channels)
                               for tiles in (train, val, reported))
    errors = [(Ridge(known, totals, strength)(chosen_by) - val_totals).square().mean()
              for strength in STRENGTHS]
    return Ridge(known, totals, STRENGTHS[int(torch.stack(errors).argmin())])(asked)


class Ridge:
    """Linear regression with a penalty on the weights of standardised columns, in closed form:
    w = (X'X / n + strength I)^-1 X'y / n.

    Args:
        rows: [n, columns] float64.
        targets: [n].
    """

    def __init__(self, rows: Tensor, targets: Tensor, strength: float | Tensor):
        self.mean, spread = rows.mean(0), rows.std(0, correction=0)
        self.spread = spread.where(spread > 0, 1)  # a constant column says nothing
        self.offset = targets.mean()
        x = (rows - self.mean) / self.spread
        penalty = strength * torch.eye(x.shape[1], dtype=x.dtype)
        self.weights = torch.linalg.solve(x.T @ x / len(x) + penalty,
                                          x.T @ (targets - self.offset) / len(x))

    def __call__(self, rows: Tensor) -> Tensor:
        """Return estimates [m] for rows [m, columns], never negative."""
        estimates = (rows - self.mean) / self.spread @ self.weights + self.offset
        return estimates.clamp(min=0)
