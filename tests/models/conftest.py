"""Small networks and random batches for the tests of models/."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from models import build_rose
from models.heads import Head
from models.network_file import NetworkFile, save_finetuned

SMALL = "test_vit"  # timm's own ViT for tests: width 64, 6 blocks, patch 16


def random_graphs(counts: list[int], width: int = 525, edges_per_node: int = 3,
                  seed: int = 0) -> Batch:
    """A batch with `counts` nodes per tile."""
    draw = torch.Generator().manual_seed(seed)
    tiles = []
    for n in counts:
        edges = torch.randint(n, (2, edges_per_node * n),
                              generator=draw) if n else torch.empty(2, 0, dtype=torch.long)
        codes = torch.randint(2, 6, (edges.shape[1], 1), generator=draw).float()
        tiles.append(Data(x=torch.rand(n, width, generator=draw), edge_index=edges,
                          edge_attr=codes))
    return Batch.from_data_list(tiles)


def random_images(count: int, height: int = 64, width: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def randomise(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Move every parameter off its initial value, so that zero biases and unit gains cannot hide a
    mistake."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return module.eval()


def read_back(folder, model: torch.nn.Module, head: Head, tags: dict[str, list[str]],
              graphs: Batch) -> NetworkFile:
    """Save a fine-tuned model, check that its file has the head and gives the same answer, and
    return the file."""
    save_finetuned(folder / "best.safetensors", model, head)
    network = NetworkFile(folder / "best.safetensors")
    assert network.head == head
    inputs = random_images(1, 224, 224), graphs
    there, here = (each.know_tags(tags).eval() for each in (network.downstream(), model))
    torch.testing.assert_close(there(*inputs), here(*inputs))
    return network


@pytest.fixture
def rose():
    torch.manual_seed(0)
    return randomise(build_rose(SMALL))
