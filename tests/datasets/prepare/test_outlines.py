"""Shares of cells inside outlines: those of shapely, whatever the objects are."""

import numpy as np
import pytest
import shapely
import torch

from datasets import TileDataset
from datasets.prepare.graph import build_graph
from datasets.prepare.outlines import outline_cells
from datasets.stores.cover import CELLS, FULL, SIDE, Cover, fault_of
from tests.datasets.prepare.places import prepare

BOUNDS = (500_000.0, 5_000_000.0, 500_112.0, 5_000_224.0)  # metres; twice as high as wide
HOUSE = shapely.box(0.31, 0.62, 0.335, 0.64)
COURT = shapely.Point(0.5, 0.5).buffer(0.3) - shapely.Point(0.45, 0.5).buffer(0.1)
SHAPES = {
    "house": HOUSE, "house the other way around": HOUSE.reverse(), "court": COURT,
    "court, rings as they come": shapely.Polygon(COURT.exterior.reverse(), COURT.interiors),
    "whole tile": shapely.box(0, 0, 1, 1), "a cell": shapely.box(0, 0, 1 / SIDE, 1 / SIDE),
    "two parts": shapely.MultiPolygon([HOUSE, shapely.box(0.9, 0.9, 1, 1)]),
    "parts in a collection": shapely.GeometryCollection([
        shapely.MultiPolygon([HOUSE, shapely.box(0, 0, 0.3, 0.3)]), shapely.Point(0.9, 0.9)]),
    "sliver": shapely.Polygon([(0.1, 0.1), (0.9, 0.1002), (0.9, 0.1003)]),
}


def placed(shape: shapely.Geometry) -> shapely.Geometry:
    """A shape in tile units, y up, on the ground of BOUNDS."""
    low, size = np.array(BOUNDS[:2]), np.subtract(BOUNDS[2:], BOUNDS[:2])
    return shapely.transform(shape, lambda xy: low + size * xy)


def covers(*shapes: shapely.Geometry) -> Cover:
    return outline_cells(np.array([placed(shape) for shape in shapes], object),
                         np.tile(BOUNDS, (len(shapes), 1)))


def exact(shape: shapely.Geometry) -> np.ndarray:
    """Shares [CELLS] of shapely, rows from the top."""
    row, column = np.divmod(np.arange(CELLS), SIDE)
    cells = shapely.box(column / SIDE, 1 - (row + 1) / SIDE, (column + 1) / SIDE, 1 - row / SIDE)
    return shapely.area(shapely.intersection(cells, shape)) * CELLS


def test_shares_are_those_of_shapely():
    cover = covers(*SHAPES.values())
    assert fault_of(*cover, len(SHAPES)) is None
    for node, (name, shape) in enumerate(SHAPES.items()):
        own, shares = cover.index == node, exact(shape)
        inside = np.flatnonzero(shares > 1e-5)
        assert set(inside) <= set(cover.cell[own]) <= set(np.flatnonzero(shares > 0)), name
        found = np.zeros(CELLS)
        found[cover.cell[own]] = cover.share[own]
        expected = np.floor(shares * FULL + 0.5).clip(1)[inside]  # steps, but at least one
        np.testing.assert_allclose(found[inside], expected, atol=1, err_msg=name)
        assert (found[inside] == expected).mean() > 0.98, name  # but for ties


@pytest.mark.parametrize(("shape", "cells"), [
    (shapely.Point(0.5, 0.5), [(28, 28)]), (shapely.Point(0, 1), [(0, 0)]),
    (shapely.Point(1, 0), [(55, 55)]),
    (shapely.MultiPoint([(0.01, 0.01), (0.5, 0.99)]), [(0, 28), (55, 0)]),
    (shapely.LineString([(0.01, 0.99), (0.05, 0.99)]), [(0, 0), (0, 1), (0, 2)]),
    (shapely.Polygon([(0.1, 0.5), (0.1 + 1e-7, 0.5), (0.1, 0.5 + 1e-7)]), [(27, 5), (28, 5)])])
def test_what_covers_nothing_has_the_least_share_where_it_is(shape, cells):
    cover = covers(SHAPES["a cell"], shape)
    own = cover.index == 1
    assert {divmod(cell, SIDE) for cell in cover.cell[own].tolist()} <= set(cells)
    assert own.any()
    assert set(cover.share[own]) == {1}


def test_objects_do_not_depend_on_others():
    shapes = [*SHAPES.values()] * 300  # more than are done at once
    cover, count = covers(*shapes), len(SHAPES)
    for first in (0, 250 * count):
        for one, other in zip(cover.of_nodes(first, first + count), covers(*SHAPES.values()),
                              strict=True):
            np.testing.assert_array_equal(one, other)
    assert covers().index.shape == (0,)


def test_a_graph_has_them():
    graph = build_graph([placed(SHAPES["court"]), placed(HOUSE)], np.zeros((2, 4)), [0, 1], BOUNDS)
    assert graph.cover_index.dtype == torch.int64
    assert graph.cover_cell.dtype == torch.int16
    covered = torch.zeros(2).index_add_(0, graph.cover_index, graph.cover_share / FULL) / CELLS
    torch.testing.assert_close(covered, graph.x[:, 4], atol=1e-5, rtol=0.01)


@pytest.mark.parametrize("layout", ["compact", "release"])
def test_prepared_tiles_have_them(place, layout):
    prepare(place, keep_empty=True, layout=layout)
    tiles = TileDataset(place.folder / "out", image_size=64)
    graphs = [tiles.graph(index) for index in range(len(tiles))]
    assert {len(graph.x) for graph in graphs} >= {0, 1}
    for graph in graphs:
        covered = torch.zeros(len(graph.x)).index_add_(0, graph.cover_index,
                                                       graph.cover_share / FULL) / CELLS
        torch.testing.assert_close(covered, graph.x[:, -13], atol=1e-4, rtol=0.02)
