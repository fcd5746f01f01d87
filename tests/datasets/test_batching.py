"""Batches made by hand are PyG's own."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from datasets.batching import join_graphs, stack


def graph_of(nodes: int, edges: int, **others: torch.Tensor) -> Data:
    edge_index = torch.randint(max(nodes, 1), (2, edges))
    return Data(x=torch.rand(nodes, 20), edge_index=edge_index, edge_attr=torch.rand(edges, 1), name=f"n{nodes}", **others)


@pytest.mark.parametrize("sizes", [[(3, 2), (0, 0), (4, 7)], [(0, 0), (2, 0)], [(0, 0)], [(5, 9)], [(2, 1), (0, 0)]])
def test_a_batch_is_what_pyg_makes(sizes):
    graphs = [graph_of(*size) for size in sizes]
    made, expected = join_graphs(graphs), Batch.from_data_list(graphs)
    assert type(made) is type(expected)
    assert made.keys() == expected.keys()
    assert made.name == expected.name
    assert made.num_graphs == expected.num_graphs
    for key in ("x", "edge_index", "edge_attr", "batch", "ptr"):
        assert made[key].dtype == expected[key].dtype
        assert torch.equal(made[key], expected[key])
    for one, other in zip(made.to_data_list(), graphs, strict=True):
        assert one.name == other.name
        assert all(torch.equal(one[key], other[key]) for key in ("x", "edge_index", "edge_attr"))
    assert torch.equal(made[len(sizes) - 1].x, graphs[-1].x)
    assert made.clone().to("cpu").num_nodes == expected.num_nodes


def test_graphs_with_more_in_them_lose_nothing():
    made = join_graphs([graph_of(2, 1, y=torch.ones(1)), graph_of(3, 2, y=torch.zeros(1))])
    assert made.y.tolist() == [1, 0]


def test_rows_of_one_tensor_are_not_copied_and_others_are():
    whole = torch.rand(4, 3, 2, 2)
    rows = whole.unbind()
    assert stack(rows) is whole
    for images in (rows[::-1], rows[:3], [*rows[:3], rows[2]], [row.clone() for row in rows], [row * 2 for row in rows]):
        stacked = stack(images)
        assert stacked is not whole
        assert all(torch.equal(one, other) for one, other in zip(stacked, images, strict=True))
