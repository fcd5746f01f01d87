"""Batches made by hand are PyG's own."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch, Data

from datasets.batching import join_graphs, stack


def graph_of(nodes: int, edges: int, **others: torch.Tensor) -> Data:
    edge_index = torch.randint(max(nodes, 1), (2, edges))
    return Data(x=torch.rand(nodes, 20), edge_index=edge_index, edge_attr=torch.rand(edges, 1),
                name=f"n{nodes}", **others)


@pytest.mark.parametrize("sizes", [[(3, 2), (0, 0), (4, 7)], [(0, 0), (2, 0)], [(0, 0)], [(5, 9)],
                                   [(2, 1), (0, 0)]])
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


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 4, 2), (), (0,)])
def test_tensors_are_stacked(dtype, shape):
    tensors = [torch.randint(9, shape).to(dtype) for _ in range(3)]
    stacked = stack([*tensors, tensors[0].movedim(0, -1).contiguous().movedim(-1, 0) if shape
                     else tensors[0]])
    assert (stacked.dtype, stacked.shape) == (dtype, (4, *shape))
    assert all(torch.equal(one, other)
               for one, other in zip(stacked, [*tensors, tensors[0]], strict=True))


class Rows(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((3,), index, dtype=torch.uint8)


def shared(rows: list[torch.Tensor]) -> tuple[torch.Tensor, bool]:
    stacked = stack(rows)
    return stacked, stacked.is_shared()


def test_a_worker_stacks_into_memory_that_is_shared():
    for workers in (0, 1):
        loader = DataLoader(Rows(), 2, num_workers=workers, collate_fn=shared)
        (first, was_shared), (second, _) = loader
        assert (first.tolist(), second.tolist()) == ([[0] * 3, [1] * 3], [[2] * 3, [3] * 3])
        assert was_shared == (workers > 0)
