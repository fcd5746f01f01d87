"""Nearest neighbours beside intersections, and the second layer of graph attention."""

from dataclasses import replace

import pytest
import torch
from torch_geometric.data import Batch, Data

from models import build_rose, load_rose, save_rose
from models.neighbours import nearest_edges
from tests.models.conftest import SMALL, random_graphs, random_images, randomise
from utils.errors import CheckpointError, ConfigError
from utils.recipes import RECIPES

PLUS = {"neighbours": 2, "osm_layers": 2, "relation_edges": True}


def one_by_one(points: torch.Tensor, tile: torch.Tensor, count: int) -> list[tuple[int, int]]:
    """The edges of `nearest_edges`, by a search of one point after the other."""
    edges = []
    for node, point in enumerate(points):
        others = [(float((points[other] - point).square().sum()), other)
                  for other in range(len(points)) if tile[other] == tile[node] and other != node]
        edges += [(other, node) for _, other in sorted(others)[:count]]
    return edges


@pytest.mark.parametrize("pairs", [1, 40, 1 << 22])
@pytest.mark.parametrize(("sizes", "count"), [
    ([7, 0, 1, 12], 3), ([3, 2], 9), ([1], 2), ([0, 0], 2), ([], 2), ([5], 0)])
def test_the_nearest_are_those_of_a_search_one_by_one(sizes, count, pairs, monkeypatch):
    monkeypatch.setattr("models.neighbours._PAIRS", pairs)
    tile = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.long))
    # on a grid, so that many are equally near, and some in one place
    points = torch.randint(4, (len(tile), 2), generator=torch.Generator().manual_seed(1)) / 4
    found = nearest_edges(points, tile, len(sizes), count)
    assert found.dtype == torch.long
    assert list(map(tuple, found.T.tolist())) == one_by_one(points, tile, count)


@pytest.mark.parametrize("changes", [PLUS, {"neighbours": 3}, {"osm_layers": 2},
                                     {**PLUS, "osm_norm_scope": "batch"}])
@pytest.mark.parametrize("counts", [[0, 0], [4, 0, 7], [1], [2]])
def test_every_parameter_learns_from_every_batch(counts, changes):
    rose = randomise(build_rose(SMALL, **changes))
    out = rose(random_images(len(counts)), random_graphs(counts, edges_per_node=1))
    out.loss.backward()
    for name, parameter in rose.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_tile_is_the_same_in_every_batch():
    rose = randomise(build_rose(SMALL, **PLUS))
    together, alone = (rose.encode_osm(random_graphs(counts, edges_per_node=1))[0]
                       for counts in ([4, 7], [4]))
    torch.testing.assert_close(together[:4], alone, atol=1e-5, rtol=1e-5)


def graph(edges: list[list[int]], code: float = 3) -> Batch:
    """Four objects in a row; the first two are near each other, so are the last two."""
    x = torch.rand(4, 525, generator=torch.Generator().manual_seed(0))
    x[:, 522:524] = torch.tensor([[0.1, 0.5], [0.2, 0.5], [0.7, 0.5], [0.9, 0.5]])
    edges = torch.tensor(edges, dtype=torch.long).reshape(2, -1)
    return Batch.from_data_list([Data(x=x, edge_index=edges,
                                      edge_attr=torch.full((edges.shape[1], 1), code))])


def test_an_intersecting_neighbour_keeps_its_relation():
    encoder = build_rose(SMALL, neighbours=1, relation_edges=True).osm_encoder
    edges, relations = encoder._joined(graph([[0, 3, 0], [1, 0, 3]]))
    assert edges.T.tolist() == [[0, 1], [3, 0], [0, 3], [1, 0], [3, 2], [2, 3]]
    distance = torch.tensor([0.1, 0.8, 0.8, 0.1, 0.2, 0.2])
    torch.testing.assert_close(relations[:, -1], distance)
    assert relations[:, :-1].argmax(1).tolist() == [1, 1, 1, 4, 4, 4]
    assert (relations[:, :-1].sum(1) == 1).all()


def test_messages_come_from_neighbours_and_from_theirs():
    """Seen without the norm, which mixes all objects of a tile."""
    for changes, reached in (({}, {0}), ({"neighbours": 1}, {0, 1}),
                             ({"neighbours": 2}, {0, 1}), ({"neighbours": 3}, {0, 1, 2, 3}),
                             ({"neighbours": 2, "osm_layers": 2}, {0, 1, 2, 3})):
        encoder = randomise(build_rose(SMALL, **changes)).osm_encoder
        encoder._normalise = lambda norm, x, graphs, copies: x
        before, after = graph([]), graph([])
        after.x[0, :100] += 1
        change = (encoder(before, (4, 4), None)[0] - encoder(after, (4, 4), None)[0]).abs().sum(1)
        assert set(change.gt(1e-4).nonzero()[:, 0].tolist()) == reached, changes


def test_a_second_layer_adds_to_the_first():
    """LayerNorm(h + GATConv(GELU(h))), and h alone where its attention says nothing."""
    encoder = randomise(build_rose(SMALL, osm_layers=2)).osm_encoder
    graphs = graph([[0, 1], [1, 0]])
    both, = encoder(graphs, (4, 4), None)
    conv2, norm2, encoder.conv2 = encoder.conv2, encoder.norm2, None
    first, = encoder(graphs, (4, 4), None)
    message = conv2(torch.nn.functional.gelu(first), graphs.edge_index)
    torch.testing.assert_close(both, norm2(first + message, graphs.batch, 1))


def test_a_file_states_what_differs_from_the_method(tmp_path):
    assert not {"neighbours", "osm_layers"} & build_rose(SMALL).build.keys()
    rose = randomise(build_rose(SMALL, **PLUS))
    assert rose.build.items() >= PLUS.items()
    save_rose(tmp_path / "plus.safetensors", rose)
    again, graphs = load_rose(tmp_path / "plus.safetensors"), random_graphs([5])
    assert torch.equal(again.eval().encode_osm(graphs)[0], rose.encode_osm(graphs)[0])
    with pytest.raises(CheckpointError, match="was made with osm_layers=2, not osm_layers=1; "
                                              "leave osm_layers= out"):
        load_rose(tmp_path / "plus.safetensors", osm_layers=1)


def test_a_file_of_plus_outlives_changes_of_the_recipe(tmp_path, monkeypatch):
    rose = randomise(build_rose(SMALL, neighbours=2))
    rose.build |= {"recipe": "plus"}
    save_rose(tmp_path / "plus.safetensors", rose)
    monkeypatch.setitem(RECIPES, "plus", replace(RECIPES["plus"], osm_layers=2, contrast=1.0))
    again = load_rose(tmp_path / "plus.safetensors")
    assert again.state_dict().keys() == rose.state_dict().keys()
    assert again.osm_encoder.neighbours == 2


@pytest.mark.parametrize(("keys", "message"), [
    ({"neighbours": -1}, "neighbours=-1: must be 0 or more and 64 or less"),
    ({"neighbours": 1.5}, "neighbours=1.5: expected a whole number"),
    ({"osm_layers": 3}, "osm_layers=3: must be 1 or more and 2 or less"),
    ({"relation_edges": "soup"}, "relation_edges=soup: expected true or false"),
])
def test_impossible_values_are_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        build_rose(SMALL, **keys)
