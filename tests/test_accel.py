"""Rose with torch-scatter, which PyG uses where it is installed (requirements-accel.txt), and
without it."""

import pytest
import torch
from torch_geometric.utils import segment

from models import build_rose
from tests.models.conftest import SMALL, random_graphs, random_images, randomise

pytest.importorskip("torch_scatter", reason="torch-scatter is not installed: pip install "
                                            "--no-build-isolation -r requirements-accel.txt")

from benchmarks.accel import counted_calls, results, torch_scatter_used


def outcome(used: bool) -> list[torch.Tensor]:
    """Node embeddings, readout, both losses and all gradients."""
    torch.manual_seed(0)
    rose = randomise(build_rose(SMALL, relation_edges=True))
    images, graphs = random_images(3), random_graphs([5, 0, 9], edges_per_node=4)
    torch.manual_seed(1)
    with torch_scatter_used(used):
        out = rose(images, graphs)
        out.loss.backward()
        nodes, readout = rose.encode_osm(graphs)
    return [nodes, readout, out.image_loss, out.osm_loss,
            *(parameter.grad for parameter in rose.parameters())]


def test_the_network_computes_the_same_with_it_and_without():
    with_it, without = outcome(used=True), outcome(used=False)
    assert len(with_it) == len(without) > 100
    for one, other in zip(with_it, without, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_switch_turns_torch_scatter_on_and_off():
    """Else the comparison above would be of one thing with itself."""
    values, starts = torch.rand(6, 2), torch.tensor([0, 2, 2, 6])
    found = {}
    for used in (True, False):
        with torch_scatter_used(used), counted_calls() as calls:
            found[used] = segment(values, starts, "sum")
        assert bool(calls) == used
    torch.testing.assert_close(found[True], found[False])


def test_the_benchmark_counts_calls():
    assert "calls of torch-scatter" in results(quick=True)[-1].splitlines()[0]
