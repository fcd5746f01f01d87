"""Simple statistics of tiles' OSM objects, and a linear model of totals by them: a baseline that
any network for totals should beat, and what one with count_objects=true begins from."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor
from torch_geometric.data import Data

from datasets.batching import join_graphs
from datasets.labelled import LabelledTiles
from datasets.stores.city import NO_CITY, city_of
from datasets.stores.tile import LABEL
from models.object_counts import LinearModel, ObjectCounts
from models.tag_channels import OTHER, choose_channels

REACH = 2.0    # of a column: times its range over the training tiles
_AT_ONCE = 64  # graphs
STRENGTHS = torch.logspace(-5, 3, 17, dtype=torch.float64)  # of the ridge, from which val chooses


def tags_of(graph: Data, tags: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the tags in a graph, whose label codes `tags` names by city: "layer/value"; "tag CODE"
    if the city does not name it; or OTHER."""
    names = tags.get(city_of(graph.name) or NO_CITY, ())
    codes = graph.x[:, LABEL].int().unique().tolist()
    return {OTHER if code < 0 else names[code] if code < len(names) else f"tag {code}"
            for code in codes}


def channels_of(tiles: LabelledTiles) -> tuple[str, ...]:
    """Return the channels in which a model that is trained on `tiles` draws or counts objects."""
    tags, tiles_with = tiles.dataset.tags, Counter()
    for graph in tiles.graphs():
        tiles_with.update(tags_of(graph, tags))
    return choose_channels(tiles_with)


def osm_statistics(tiles: LabelledTiles, channels: Sequence[str]) -> Tensor:
    """Return `ObjectCounts.amounts` of all tiles, float64 [n, columns]."""
    counts = ObjectCounts(channels)
    counts.know_tags(tiles.dataset.tags)
    rows, graphs = [torch.empty(0, len(counts.mean), dtype=torch.float64)], tiles.graphs()
    while some := [*islice(graphs, _AT_ONCE)]:
        rows.append(counts.amounts(join_graphs(some)))
    return torch.cat(rows)


Statistics = Callable[[LabelledTiles, Sequence[str]], Tensor]


def linear_estimates(train: LabelledTiles, val: LabelledTiles, reported: LabelledTiles,
                     totals: Tensor, val_totals: Tensor,
                     statistics: Statistics = osm_statistics) -> Tensor:
    """Return [m] estimates of the reported tiles' totals by a ridge regression on the statistics of
    the training tiles; its strength is the best on val. No estimate is negative.

    Args:
        totals, val_totals: [n] and [v] float64, of the training and the validation tiles.
        statistics: `osm_statistics`, or one that keeps what it returned.
    """
    channels = channels_of(train)
    rows, val_rows, asked = (statistics(tiles, channels) for tiles in (train, val, reported))
    return fit_ridge(rows, totals, val_rows, val_totals, 0.0)(asked).clamp(min=0)


def fit_ridge(rows: Tensor, targets: Tensor, val_rows: Tensor, val_targets: Tensor,
              least: float) -> LinearModel:
    """Return the ridge regression of targets [n] on rows [n, columns], whose strength is the best
    for those of val, [v] and [v, columns], where estimates below `least` are raised to it."""
    ridges = [ridge(rows, targets, strength) for strength in STRENGTHS]
    errors = [(model(val_rows).clamp(min=least) - val_targets).square().mean()
              for model in ridges]
    return ridges[int(torch.stack(errors).argmin())]


def ridge(rows: Tensor, targets: Tensor, strength: float | Tensor) -> LinearModel:
    """Return the linear regression with a penalty on the weights of standardised columns, in closed
    form: w = (X'X / n + strength I)^-1 X'y / n. A row counts for as much as REACH times the range
    of `rows` at most: what no training tile was near to, such as a tag that one had a sliver of,
    says nothing about more of it.

    Args:
        rows: [n, columns] float64.
        targets: [n].
    """
    low, high = rows.aminmax(dim=0)
    mean, spread = rows.mean(0), rows.std(0, correction=0)
    spread = spread.where(spread > 0, 1)  # a constant column says nothing
    offset = targets.mean()
    x = (rows - mean) / spread
    penalty = strength * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(x.T @ x / len(x) + penalty, x.T @ (targets - offset) / len(x))
    return LinearModel(mean, spread, low + REACH * (high - low), weight, offset)
