"""Coverage stays with its objects, whatever happens to their tile."""

import numpy as np
import pytest
import shapely
import torch
from shapely import affinity
from torch_geometric.data import Batch, Data

from datasets.augment import Drawn, apply_to_graph
from datasets.batching import join_graphs
from datasets.graph_cover import cover_of
from datasets.graph_window import graph_in_window
from datasets.osm_degradation import OsmDegradation
from datasets.osm_degrader import OsmDegrader, remove_nodes
from datasets.prepare.graph import build_graph
from datasets.stores.cover import CELLS, FULL, KEYS, SIDE, fault_of
from datasets.stores.tile import CORNERS
from datasets.tiles import TileDataset
from models import coverage
from tests.datasets.test_osm_degradation import NAMED, boxes
from tests.random_tiles import random_tile, write_compact

PIXELS, TILE = 224, shapely.box(0, 0, 1, 1)
L_SHAPE = shapely.box(0.1, 0.1, 0.6, 0.9) - shapely.box(0.1, 0.1, 0.5, 0.8)
SHAPES = [L_SHAPE, shapely.Point(0.5, 0.45).buffer(0.35) - shapely.Point(0.5, 0.5).buffer(0.2),
          affinity.rotate(shapely.box(0.6, 0.2, 0.9, 0.25), 35), shapely.box(0.02, 0.9, 0.05, 0.95)]


def graph_of(shapes: list[shapely.Geometry], **others) -> Data:
    """A graph of shapes in tile units, y down."""
    graph = build_graph([affinity.scale(shape, 1, -1, origin=(0, 0)) for shape in shapes],
                        np.zeros((len(shapes), 512)), np.arange(len(shapes)), (0, -1, 1, 0))
    graph.update(others)
    return graph


def cells(graph: Data) -> np.ndarray:
    """[n, SIDE, SIDE] shares."""
    cover = cover_of(graph)
    assert fault_of(*cover, len(graph.x)) is None
    assert [array.dtype for array in cover] == [np.int64, np.int16, np.uint8]
    shares = np.zeros((len(graph.x), CELLS))
    shares[cover.index, cover.cell] = cover.share / FULL
    return shares.reshape(-1, SIDE, SIDE)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crop", [None, (0, 0, 190, 190), (13, 30, 150, 194), (40, 0, 184, 170)])
def test_cropped_and_mirrored_cover_is_that_of_the_objects_there(crop, flip):
    graph = apply_to_graph(graph_of(SHAPES), Drawn(PIXELS, crop, (), grey=False, flip=flip))
    top, left, height, width = (side / PIXELS for side in crop or (0, 0, PIXELS, PIXELS))
    moved = [shapely.transform(shape, lambda xy: (xy - (left, top)) / (width, height))
             for shape in SHAPES]
    moved = [affinity.scale(shape, -1, 1, origin=(0.5, 0.5)) if flip else shape for shape in moved]
    expected = [shapely.intersection(shape, TILE) for shape in moved]
    expected = cells(graph_of([shape for shape in expected if shape.area > 0]))
    found = cells(graph)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.mean((1, 2)), expected.mean((1, 2)), atol=2e-3)
    # a cell of the crop is the mean of up to four: the outline blurs within a cell of it
    near = np.abs(found - expected)
    assert near.mean() < 0.02
    assert near.max() < (0.75 if crop else 1e-9)


def test_a_shift_within_a_cell_is_divided_by_area():
    box = shapely.box(10 / SIDE, 20 / SIDE, 12 / SIDE, 21 / SIDE)
    offset = np.array([0.25, 2.5]) / SIDE
    shifted = cells(graph_in_window(graph_of([box]), -offset, 1 - offset))[0]
    np.testing.assert_allclose(shifted[22:24, 10:13], [[0.375, 0.5, 0.125]] * 2, atol=1 / FULL)
    assert np.count_nonzero(shifted) == 6


def test_what_leaves_the_tile_is_gone_and_nothing_enters():
    offset = np.array([0.5, 0])  # whole cells
    shifted = cells(graph_in_window(graph_of([L_SHAPE]), -offset, 1 - offset))[0]
    moved = shapely.intersection(affinity.translate(L_SHAPE, 0.5), TILE)
    assert shifted.mean() == pytest.approx(moved.area, abs=1e-3)


def test_an_object_of_which_nothing_is_left_is_at_its_centroid():
    # the box of the L reaches into the window, the L does not
    graph = graph_in_window(graph_of([L_SHAPE]), np.array([0.1, 0.1]), np.array([0.4, 0.4]))
    column, row = (graph.x[0, -3:-1] * SIDE).long().tolist()
    shares = cells(graph)[0]
    assert shares[row, column] == pytest.approx(1 / FULL)
    assert np.count_nonzero(shares) == 1


def test_nodes_without_entries_stay_without():
    graph = graph_of(SHAPES)
    known = graph.cover_index != 1
    for key in KEYS:
        graph[key] = graph[key][known]
    for after in (graph_in_window(graph, np.zeros(2), np.array([0.9, 0.9])),
                  remove_nodes(graph, torch.tensor([3]), 1)):
        assert sorted(set(after.cover_index.tolist())) == [0, 2]


@pytest.mark.parametrize("removed", [[0], [1, 2], [0, 1, 2, 3]])
def test_removed_nodes_take_their_cover(removed):
    graph = graph_of(SHAPES)
    left = remove_nodes(graph, torch.tensor(removed), 1.0)
    np.testing.assert_array_equal(cells(left), np.delete(cells(graph), removed, 0))
    assert len(graph.x) == 4
    assert graph.cover_index.max() == 3


def test_removal_does_not_take_entries_for_nodes():
    # as many entries as nodes, which PyG's subgraph takes for a column of nodes
    graph = graph_of([shapely.box(0, 0, 1 / SIDE, 1 / SIDE), shapely.box(0.5, 0.5, 0.501, 0.501)])
    assert len(graph.cover_index) == len(graph.x)
    left = remove_nodes(graph, torch.tensor([0]), 1.0)
    assert (left.cover_index.tolist(), left.cover_cell.tolist()) == ([0], [28 * SIDE + 28])


@pytest.mark.parametrize(("reads", "covers"), [("geometry", True), ("tags", False)])
def test_outlines_are_geometry(tmp_path, reads, covers):
    dataset = TileDataset(write_compact(tmp_path / "tiles", [boxes("lima_0_0")], meta=NAMED),
                          image_size=32)
    graph = graph_of(SHAPES, name="lima_0_0")
    read = OsmDegrader(dataset, OsmDegradation(reads=reads), [0])(0, graph)
    assert all((key in read) == covers and key in graph for key in KEYS)
    if covers:
        np.testing.assert_array_equal(cells(read), cells(graph))


def test_a_batch_is_what_pyg_makes():
    graphs = [graph_of(SHAPES, name="a"), graph_of([], name="b"), graph_of(SHAPES[:2], name="c")]
    made, expected = join_graphs(graphs), Batch.from_data_list(graphs)
    assert set(made.keys()) == set(expected.keys())
    for key in KEYS:
        assert made[key].dtype == expected[key].dtype
        assert torch.equal(made[key], expected[key])
    for one, other in zip(made.to_data_list(), graphs, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in KEYS)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_graphs_with_and_without_it_share_a_batch(first, named):
    graphs = [graph_of(SHAPES), random_tile("lima_0_0", 5, 3, 8).graph(np.zeros((7, 512)))]
    graphs[0].name = "lima_0_1"
    if not named:
        del graphs[0].name, graphs[1].name
    batch = join_graphs(graphs if first else graphs[::-1])
    assert sorted(set(batch.cover_index.tolist())) == ([0, 1, 2, 3] if first else [5, 6, 7, 8])
    assert "cover_index" not in graphs[1]


def test_an_empty_tile_has_an_empty_cover():
    graph = graph_of([])
    drawn = Drawn(PIXELS, (10, 10, 200, 200), (), grey=False, flip=True)
    assert cells(apply_to_graph(graph, drawn)).shape == (0, SIDE, SIDE)


def test_networks_read_the_lattice_that_tiles_are_written_on():
    assert (coverage.SIDE, coverage.FULL, coverage.CORNERS) == (SIDE, FULL, CORNERS)
    graphs = [graph_of(SHAPES, name="a"), graph_of(SHAPES[:2], name="b")]
    read = coverage.cell_shares(join_graphs(graphs))
    np.testing.assert_allclose(read, np.concatenate([*map(cells, graphs)]), atol=1e-6)
