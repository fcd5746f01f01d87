"""Removing OSM objects: how many, which, and what becomes of the edges."""

from itertools import pairwise

import pytest
import torch
from torch_geometric.data import Data

from datasets.osm_degrader import remove_nodes
from datasets.sampler import keyed_generator


def graph_of(nodes: int, edges: int) -> Data:
    """Node rows count the nodes, edge rows name the two ends."""
    edge_index = torch.randint(max(nodes, 1), (2, edges), generator=keyed_generator(nodes, edges))
    return Data(x=torch.arange(nodes).float()[:, None].expand(nodes, 5).clone(),
                edge_index=edge_index,
                edge_attr=(edge_index[0] * 1000 + edge_index[1]).float()[:, None], name="lima_0_0")


def removed(graph: Data, ratio: float, seed: int = 0) -> Data:
    order = torch.randperm(len(graph.x), generator=keyed_generator(seed))
    return remove_nodes(graph, order, ratio)


@pytest.mark.parametrize(("nodes", "ratio", "left"), [
    (40, 0.25, 30), (40, 0.5, 20), (40, 0.9, 4), (7, 0.5, 3), (1, 0.4, 1), (1, 0.6, 0),
    (40, 1.0, 0), (0, 0.5, 0), (0, 1.0, 0),
])
def test_a_share_of_the_nodes_goes_with_every_edge_that_touches_one(nodes, ratio, left):
    graph = graph_of(nodes, 3 * nodes)
    got = removed(graph, ratio)
    assert got.x.shape == (left, 5)
    survivors = got.x[:, 0].long()
    assert survivors.tolist() == sorted(set(survivors.tolist()))
    stays = torch.isin(graph.edge_index, survivors).all(0)
    assert torch.equal(got.edge_attr, graph.edge_attr[stays])
    assert torch.equal(survivors[got.edge_index], graph.edge_index[:, stays])
    assert (got.edge_index.dtype, got.edge_index.shape[0],
            got.edge_attr.shape[1]) == (torch.int64, 2, 1)
    assert got.name == graph.name
    assert sorted(got.keys()) == sorted(graph.keys())


def test_ratio_0_is_the_graph_itself():
    graph = graph_of(9, 20)
    assert removed(graph, 0) is graph


@pytest.mark.parametrize("ratio", [0.3, 1.0])
def test_the_given_graph_is_not_changed(ratio):
    graph, same = graph_of(9, 20), graph_of(9, 20)
    removed(graph, ratio)
    assert all(torch.equal(graph[key], same[key]) for key in ("x", "edge_index", "edge_attr"))


def test_nodes_removed_at_a_ratio_are_removed_at_every_larger_one():
    graph = graph_of(50, 100)
    left = [set(removed(graph, ratio / 20).x[:, 0].tolist()) for ratio in range(21)]
    assert all(more >= fewer for more, fewer in pairwise(left))
    assert [len(nodes) for nodes in left[::10]] == [50, 25, 0]


def test_every_node_is_removed_as_often_as_any():
    graph = graph_of(20, 0)
    left = torch.cat([removed(graph, 0.5, seed).x[:, 0] for seed in range(400)]).long().bincount(
        minlength=20)
    assert left.sum() == 4000
    assert (left - 200).abs().max() < 50  # five standard deviations
