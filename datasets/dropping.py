"""OSM objects dropped at random while a network is trained, as nodes of graphs are for the same end
(GRAND, Feng et al., NeurIPS 2020): so that what it makes of an image does not lean on them.

Rates differ from tile to tile, as the gaps of OSM do. A share p is dropped on average, with the
rate u ** ((1 - p) / p), u uniform in 0..1, whose mean is p: most tiles keep nearly all of their
objects, a few hardly any. With p = 0.15, 12 % of the tiles lose more than half.
"""

from dataclasses import dataclass

import torch
from torch_geometric.data import Data

from datasets.osm_degrader import remove_nodes
from datasets.sampler import keyed_generator

_STREAM = 2  # of what a tile loses, beside those of its augmentation and of its masks


@dataclass(frozen=True)
class Dropping:
    """What training drops of the tiles' OSM objects: `dropping(graph, seed, epoch, index)` returns
    what is left of a tile's graph, which depends on these numbers alone.

    Attributes:
        objects: mean share of a tile's objects, from 0 to 1.
        graphs: share of tiles that lose all, from 0 to 1.
    """

    objects: float = 0.0
    graphs: float = 0.0

    def __call__(self, graph: Data, *key: int) -> Data:
        if not (self.objects or self.graphs):
            return graph
        generator = keyed_generator(*key, _STREAM)
        whole, rate = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        chance = 1.0 if whole < self.graphs else self._rate(rate)
        drawn = torch.rand(len(graph.x), generator=generator, dtype=torch.float64)
        return remove_nodes(graph, (drawn < chance).nonzero()[:, 0], 1.0)

    def _rate(self, uniform: float) -> float:
        return uniform ** ((1 - self.objects) / self.objects) if self.objects else 0.0
