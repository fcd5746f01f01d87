"""What is done to a tile's OSM objects: which are removed, where shifts bring them, and what is
left to read."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from datasets import TileDataset
from datasets.osm_degradation import OsmDegradation
from datasets.osm_degrader import OsmDegrader
from datasets.stores.tile import AREA, CENTROID, CORNERS, LABEL, NO_LABEL, PERIMETER
from tests.random_tiles import META, random_tile, write_compact
from utils.errors import ConfigError, TileError

SIDE = 32
NAMED = META | {"label_names": [f"tag{code}" for code in range(300)],
                "label_layers": ["amenity", "building", "road"] * 100,
                "metres_per_pixel": [0.5, 1.0]}  # tiles of 16 by 32 m
PLACES = [(column, row) for column in range(4) for row in range(3)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> TileDataset:
    """Two cities of 4 x 3 tiles whose objects are boxes at random places."""
    root = tmp_path_factory.mktemp("degraded") / "tiles"
    for city in ("lima", "oslo"):
        write_compact(root, [boxes(f"{city}_{column}_{row}") for column, row in PLACES], city,
                      meta=NAMED)
    return TileDataset(root, image_size=SIDE)


def boxes(name: str, nodes: int = 20):
    """A tile with rectangles that lie in it."""
    tile = random_tile(name, nodes, 30, SIDE)
    draw = np.random.default_rng([*name.encode()])
    low, size = draw.uniform(0.05, 0.6, (nodes, 2)), draw.uniform(0.05, 0.35, (nodes, 2))
    steps = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    tile.geometry[:, 0], tile.geometry[:, 1] = size.prod(1), size.sum(1) / 2
    tile.geometry[:, 2:10] = (low[:, None] + steps * size[:, None]).reshape(nodes, 8)
    tile.geometry[:, 10:] = low + size / 2
    return tile


def degraded(dataset: TileDataset, index: int, *of, **keys):
    """A tile's graph as it is, and degraded."""
    graph = dataset.read(index)[1]
    before = graph.clone()
    after = OsmDegrader(dataset, OsmDegradation(*of, **keys), [index])(index, graph)
    assert all(torch.equal(graph[key], before[key]) for key in ("x", "edge_index", "edge_attr"))
    return graph, after


def rows(graph) -> set[tuple[float, ...]]:
    return set(map(tuple, graph.x.tolist()))


def test_by_default_a_graph_is_left_as_it_is(dataset):
    graph, after = degraded(dataset, 0)
    assert after is graph


def test_the_smallest_go_first(dataset):
    graph, after = degraded(dataset, 3, 0.4, "smallest")
    assert len(after.x) == 12
    gone = rows(graph) - rows(after)
    assert max(row[AREA] for row in gone) < after.x[:, AREA].min()


@pytest.mark.parametrize(("name", "codes"), [("building", range(1, 300, 3)), ("tag7", [7])])
def test_a_layer_or_tag_goes_whole_or_in_part_and_nothing_else(dataset, name, codes):
    kept, removed = 0, 0
    for index in range(len(dataset)):
        graph, after = degraded(dataset, index, 1.0, f"layer:{name}")
        own = torch.isin(graph.x[:, LABEL], torch.tensor([*map(float, codes)]))
        assert torch.equal(after.x, graph.x[~own])
        half = degraded(dataset, index, 0.5, f"layer:{name}")[1]
        assert len(graph.x) - len(half.x) == round(0.5 * int(own.sum()))
        assert rows(half) >= rows(after)
        kept, removed = kept + len(after.x), removed + int(own.sum())
    assert kept
    assert removed


def test_a_quarter_loses_the_objects_of_its_tiles_in_every_city(dataset):
    # of three rows the middle one counts to the north
    quarters = {"north_west": ((0, 1), (0, 1)), "south_east": ((2, 3), (2,))}
    for quarter, (columns, lines) in quarters.items():
        empty = [dataset.names[index] for index in range(len(dataset))
                 if not len(degraded(dataset, index, 1.0, f"quarter:{quarter}")[1].x)]
        assert empty == sorted(f"{city}_{column}_{row}" for city in ("lima", "oslo")
                               for column in columns for row in lines)


def test_objects_move_together_by_the_metres_asked_for(dataset):
    graph, after = degraded(dataset, 2, shift=1.0)
    moves = {}
    for row in after.x:
        before = graph.x[(graph.x[:, :-13] == row[:-13]).all(1)
                         & (graph.x[:, LABEL] == row[LABEL])]
        for one in before:
            if torch.isclose(one[AREA], row[AREA]):  # not cut
                metres = (row[CENTROID] - one[CENTROID]).numpy() * (16, 32)
                moves[tuple(metres.round(3).tolist())] = metres
                moved = row[CORNERS].view(4, 2) - one[CORNERS].view(4, 2)
                assert torch.allclose(moved, (row[CENTROID] - one[CENTROID]).expand(4, 2),
                                      atol=1e-5)
                assert torch.isclose(one[PERIMETER], row[PERIMETER], atol=1e-6)
    (metres,) = moves.values()
    assert math.hypot(*metres) == pytest.approx(1, abs=1e-3)
    offset = OsmDegrader(dataset, OsmDegradation(shift=1.0), [2])._offset("lima")
    assert metres == pytest.approx(offset * (16, 32), abs=1e-3)


def test_a_city_moves_in_one_direction_a_seed_and_further_in_the_same(dataset):
    def move(index, metres, seed=0):
        return OsmDegrader(dataset, OsmDegradation(shift=metres, seed=seed),
                           [index])._offset(dataset.names[index].partition("_")[0])
    assert np.allclose(move(0, 2), move(5, 2))
    assert np.allclose(3 * move(0, 2), move(0, 6))
    assert not np.allclose(move(0, 2), move(20, 2))
    assert not np.allclose(move(0, 2), move(0, 2, seed=1))


def test_what_leaves_the_tile_is_dropped_or_cut_with_its_edges(dataset):
    for index in range(len(dataset)):
        graph, after = degraded(dataset, index, shift=15.9)  # of 16 m across
        assert len(after.x) < len(graph.x)
        corners = after.x[:, CORNERS].view(-1, 4, 2)
        centroids = after.x[:, CENTROID]
        assert ((centroids > -1e-5) & (centroids < 1 + 1e-5)).all()
        assert corners.numel() == 8 * len(after.x)
        assert not after.edge_index.numel() or after.edge_index.max() < len(after.x)
        assert after.edge_attr.shape == (after.edge_index.shape[1], 1)


def test_a_tile_may_be_left_without_objects(tmp_path):
    tile = boxes("lima_0_0", nodes=1)
    tile.geometry[:, 2:10] = np.array([[0, 0], [.1, 0], [.1, .1], [0, .1]]).reshape(8)
    tile.geometry[:, 10:] = 0.05
    root = write_compact(tmp_path / "tiles", [tile], meta=NAMED)
    data = TileDataset(root, image_size=SIDE)
    left = [len(degraded(data, 0, shift=8, seed=seed)[1].x) for seed in range(8)]
    assert sorted(set(left)) == [0, 1]


def test_geometry_alone_knows_no_tags(dataset):
    graph, after = degraded(dataset, 4, reads="geometry")
    assert torch.equal(after.x[:, AREA:LABEL], graph.x[:, AREA:LABEL])
    assert not after.x[:, :AREA].any()
    assert (after.x[:, LABEL] == NO_LABEL).all()
    assert torch.equal(after.edge_index, graph.edge_index)


def test_tags_alone_know_no_place_size_or_relation(dataset):
    graph, after = degraded(dataset, 4, reads="tags")
    assert torch.equal(after.x[:, :AREA], graph.x[:, :AREA])
    assert torch.equal(after.x[:, LABEL], graph.x[:, LABEL])
    assert len(after.x[:, AREA:LABEL].unique(dim=0)) == 1
    assert (after.edge_index.shape, after.edge_attr.shape) == ((2, 0), (0, 1))


@pytest.mark.parametrize(("what", "said"), [
    ("oldest", "remove_what=oldest: choose one of random, smallest, newest, layer:NAME"),
    ("newest:way", "remove_what=newest:way: choose one of"),
    ("layer", "remove_what=layer: choose one of"),
    ("random:x", "remove_what=random:x: choose one of"),
    ("quarter:north", "remove_what=quarter:north: no quarter north; choose among "
                      "quarter:north_west, quarter:north_east"),
    ("quarter", "remove_what=quarter: no quarter is named"),
])
def test_what_cannot_be_removed_is_refused(what, said):
    with pytest.raises(ConfigError, match=f"^{said}"):
        OsmDegradation(1.0, what)


def test_removing_a_share_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="removes nothing with remove_ratio=0; pass"):
        OsmDegradation(0.0, "smallest")


@pytest.mark.parametrize(("degradation", "meta", "name", "said"), [
    (OsmDegradation(shift=16), NAMED, "lima_0_0",
     "osm_shift=16: a shift beyond the tile; tiles of lima are 16 m wide"),
    (OsmDegradation(shift=1), META, "lima_0_0",
     r"tiles: does not say how large a pixel of lima is \(metres_per_pixel\)"),
    (OsmDegradation(1, "layer:roads"), NAMED, "lima_0_0",
     r"remove_what=layer:roads: no layer and no tag .* a layer \(amenity, building, road\)"),
    (OsmDegradation(1, "layer:road"), {}, "lima_0_0", "does not say what its label codes mean"),
    (OsmDegradation(1, "quarter:north_west"), NAMED, "lima", "tile lima says nothing of its place"),
])
def test_what_the_tiles_do_not_allow_is_refused(tmp_path, degradation, meta, name, said):
    city = "lima" if "_" in name else "@"
    root = write_compact(tmp_path / "tiles", [boxes(name)], city, meta=meta)
    with pytest.raises((ConfigError, TileError), match=said):
        OsmDegrader(TileDataset(root, image_size=SIDE), degradation, [0])


def test_the_newest_of_the_city_go_not_of_each_tile(tmp_path):
    shares = np.arange(1, 81, dtype=np.float32).reshape(4, 20) / 80
    shares[0, 3] = np.nan
    write_compact(tmp_path, [replace(boxes(f"lima_{column}_0"), newness=own)
                             for column, own in enumerate(shares)], "lima", meta=NAMED)
    dataset = TileDataset(tmp_path, image_size=SIDE)
    assert [len(degraded(dataset, index, 0.25, "newest")[1].x) for index in range(4)] == [
        20, 20, 20, 0]
    graph, after = degraded(dataset, 2, 0.375, "newest")
    assert torch.equal(after.x, graph.x[:10])
    # an object without an id stays
    assert [len(degraded(dataset, index, 1.0, "newest")[1].x) for index in range(4)] == [1, 0, 0, 0]


def test_tiles_that_do_not_know_what_is_new_are_refused(dataset):
    with pytest.raises(TileError, match=r"the tile lima_0_0 does not say when its objects were "
                                        "mapped, expected that for remove_what=newest; make the "
                                        "tiles again with prepare_dataset.py from a source with"):
        OsmDegrader(dataset, OsmDegradation(0.5, "newest"), [0])
