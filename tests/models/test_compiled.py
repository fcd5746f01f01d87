"""torch.compile of the network's parts: no graph break, few graphs for any number of nodes, equal
numbers."""

import pytest
import torch
from torch._dynamo.utils import counters

from models import build_rose, build_segmenter, linear
from models.compiled import compile_network
from tests.models.conftest import SMALL, random_graphs, random_images, randomise

NODES = ([4, 7, 3], [9, 2, 6], [0, 15, 1], [5, 0, 0], [13, 14, 2])


@pytest.fixture(scope="module")
def pair():
    """A network with products of any size by the functions that large networks use, and its like
    compiled without the code generator, which takes minutes. Graphs are made once for all
    tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(linear, "FEWEST_PRODUCTS", 1)
        torch._dynamo.reset()
        plain, compiled = randomise(build_rose(SMALL)), build_rose(SMALL).eval()
        compiled.load_state_dict(plain.state_dict())
        compile_network(compiled, backend="aot_eager")
        yield plain, compiled
        torch._dynamo.reset()


@pytest.fixture(autouse=True)
def no_counts():
    counters.clear()


def losses(rose, images, graphs):
    torch.manual_seed(4)
    rose.zero_grad()
    out = rose(images, graphs)
    out.loss.backward()
    return out


def test_pretraining_with_changing_node_counts(pair):
    plain, compiled = pair
    for counts in NODES:
        images, graphs = random_images(len(counts), 32,
                                       48), random_graphs(counts, edges_per_node=2)
        found, expected = losses(compiled, images, graphs), losses(plain, images, graphs)
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=1e-5)
        total = torch.stack([parameter.grad.norm() for parameter in plain.parameters()]).norm()
        for (name, mine), theirs in zip(compiled.named_parameters(), plain.parameters(),
                                        strict=True):
            assert (mine.grad
                    - theirs.grad).norm() <= 1e-4 * theirs.grad.norm() + 1e-6 * total, name
    assert not counters["graph_break"]
    # one graph a part (encoder, readout, two blocks, ViT block, decoder), and a second of some for
    # counts of 0 and 1
    assert counters["stats"]["unique_graphs"] <= 14


def test_every_kind_of_batch_in_training_and_in_use(pair):
    """More cases than torch.compile's own limit of graphs: none ends the run."""
    plain, compiled = pair
    for counts, edges in ([4, 7], 2), ([0, 0], 2), ([1, 0],
                                                    0), ([2, 1],
                                                         0), ([1], 0), ([3], 2), ([1, 1], 2):
        images, graphs = random_images(len(counts), 32,
                                       48), random_graphs(counts, edges_per_node=edges)
        torch.testing.assert_close(losses(compiled, images, graphs).loss,
                                   losses(plain, images, graphs).loss, rtol=1e-5, atol=1e-5)
        with torch.inference_mode():
            torch.testing.assert_close(compiled.fuse(images, graphs, "fine"),
                                       plain.fuse(images, graphs, "fine"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("modality", ["image", "fusion", "fine"])
def test_segmentation(pair, modality):
    plain, compiled = (build_segmenter(rose, modality).eval() for rose in pair)
    compiled.decoder.load_state_dict(plain.decoder.state_dict())
    for counts in NODES[:2]:
        images, graphs = random_images(len(counts), 32,
                                       48), random_graphs(counts, edges_per_node=2)
        torch.testing.assert_close(compiled(images, graphs), plain(images, graphs), rtol=1e-4,
                                   atol=1e-4)
    assert not counters["graph_break"]


def test_names_stay(pair):
    plain, compiled = pair
    assert list(compiled.state_dict()) == list(plain.state_dict())


def test_relations_and_neighbours():
    plain, compiled = (randomise(build_rose(SMALL, relation_edges=True, neighbours=2))
                       for _ in range(2))
    compiled.load_state_dict(plain.state_dict())
    compile_network(compiled, backend="aot_eager")
    graphs = random_graphs([4, 3], edges_per_node=2)
    nodes, readout = compiled.encode_osm(graphs)
    torch.testing.assert_close(nodes, plain.encode_osm(graphs)[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(readout, plain.encode_osm(graphs)[1], rtol=1e-5, atol=1e-5)
