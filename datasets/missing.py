"""Tiles whose OSM objects are partly missing: the noise study (Rose section 5.5)."""

import torch
from torch import Generator
from torch_geometric.data import Data


def remove_nodes(graph: Data, ratio: float, generator: Generator) -> Data:
    """The graph without a random share of its nodes and without every edge that touches one; the given one is not changed.

    The rest keeps its order, edges are renumbered. The nodes that one state of the generator removes at a ratio are among those that it
    removes at any larger one.

    Args:
        graph: of one tile, n nodes.
        ratio: from 0 to 1; `round(ratio * n)` nodes are removed. 0 gives the graph itself, 1 an empty one: a tile without OSM.
        generator: draws the nodes.
    """
    if ratio == 0:
        return graph
    nodes = len(graph.x)
    keep = torch.ones(nodes, dtype=torch.bool)
    keep[torch.randperm(nodes, generator=generator)[:round(ratio * nodes)]] = False
    return graph.subgraph(keep)
