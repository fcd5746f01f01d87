"""build_graph against the parity packs, a plain double loop, and cases worked out by hand."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from shapely.affinity import rotate

from datasets.prepare.graph import build_graph, tile_graphs
from utils.errors import ConfigError, PrepareError
from utils.recipes import resolve_recipe

SHARED = Path(os.environ.get("ROSE_SHARED", Path(__file__).parents[4] / "shared"))
PACKS = sorted((SHARED / "parity").glob("graph_*.json"))
UNIT = (0.0, 0.0, 1.0, 1.0)


def graph_of(geometries, bounds=UNIT, **keys):
    count = len(geometries)
    return build_graph(geometries, np.zeros((count, 512)), np.zeros(count, int), bounds, **keys)


def edges_of(graph) -> dict[tuple[int, int], int]:
    return {(i, j): int(code) for (i, j), code in zip(graph.edge_index.T.tolist(),
                                                      graph.edge_attr[:, 0].tolist(), strict=True)}


def corner_set(values) -> np.ndarray:
    points = np.asarray(values, dtype=float).reshape(4, 2)
    return points[np.lexsort(np.round(points, 5).T)]


@pytest.mark.skipif(not PACKS, reason=f"no graph packs in {SHARED / 'parity'} (set ROSE_SHARED)")
@pytest.mark.parametrize(("recipe", "suffix"), [("rose", ""), ("release", "_release")])
@pytest.mark.parametrize("pack", PACKS, ids=lambda path: path.stem)
def test_pack(pack, recipe, suffix):
    expected = json.loads(pack.read_text())
    graph = graph_of(shapely.from_wkt(expected["wkt"]), expected["bounds"],
                     tile_px=expected["tile_px"], recipe=recipe)
    x = graph.x.numpy()
    np.testing.assert_allclose(x[:, 512], expected["area"], atol=1e-6)
    np.testing.assert_allclose(x[:, 513], expected["perimeter"], atol=1e-6)
    np.testing.assert_allclose(x[:, 522:524], expected["centroid" + suffix], atol=1e-6)
    for found, corners in zip(x[:, 514:522], expected["corners" + suffix], strict=True):
        np.testing.assert_allclose(corner_set(found), corner_set(corners), atol=1e-6)
    assert [[i, j, code]
            for (i, j), code in edges_of(graph).items()] == sorted(expected["edges" + suffix])


def reference_code(a, b, release: bool) -> int | None:
    """Return the relation of a to b, the later one, by the definitions of the predicates."""
    if not a.intersects(b):
        return None
    if a.touches(b):
        return 2
    if a.contains(b):
        return 4
    return 5 if a.within(b) and not release else 3


@pytest.mark.parametrize("relation_codes", ["symmetric", "release"])
def test_relations_agree_with_a_double_loop(relation_codes):
    random = np.random.default_rng(3)
    # a lattice: all relations occur
    cells = [shapely.box(x, y, x + w, y + h) for x, y, w, h in random.integers(1, 6, (40, 4)) / 10]
    blobs = [shapely.Point(x, y).buffer(r) for x, y, r in random.uniform(0.05, 0.4, (20, 3))]
    objects = cells + blobs
    expected = {}
    for j in range(len(objects)):
        for i in range(j):
            code = reference_code(objects[i], objects[j], relation_codes == "release")
            if code is not None:
                expected[i, j], expected[j, i] = code, {2: 2, 3: 3, 4: 5, 5: 4}[code]
    assert set(expected.values()) == {2, 3, 4, 5}
    found = edges_of(graph_of(objects, relation_codes=relation_codes))
    assert found == expected
    assert list(found) == sorted(found)


def code_by_matrix(a, b) -> int | None:
    """Return the relation of a to b, by the DE-9IM matrix of a relative to b."""
    matrix = a.relate(b)
    if matrix[0] == matrix[1] == matrix[3] == matrix[4] == "F":
        return None
    if matrix[0] == "F":
        return 2
    return 4 if matrix[6:8] == "FF" else 5 if matrix[2] == matrix[5] == "F" else 3


def test_relations_agree_with_the_matrix_for_shapes_with_holes_and_many_vertices():
    random = np.random.default_rng(5)
    discs = [(shapely.Point(x, y), r) for x, y, r in random.uniform(0.1, 0.5, (15, 3))]
    rings = [point.buffer(r, quad_segs=60) - point.buffer(r / 2) for point, r in discs]
    # in a hole: apart from its ring
    inner = [shapely.Point(*ring.centroid.coords[0]).buffer(0.02) for ring in rings]
    turned = [rotate(shapely.box(x, y, x + 0.2, y + 0.1), angle)
              for x, y, angle in random.uniform(0, 0.9, (20, 3)) * (1, 1, 90)]
    # two equal pairs
    objects = rings + inner + turned + [shapely.reverse(turned[0]), rings[3].segmentize(0.01)]
    expected = {}
    for j in range(len(objects)):
        for i in range(j):
            code = code_by_matrix(objects[i], objects[j])
            if code is not None:
                expected[i, j], expected[j, i] = code, {2: 2, 3: 3, 4: 5, 5: 4}[code]
    assert edges_of(graph_of(objects)) == expected


def test_many_tiles_at_once_are_the_tiles_one_by_one():
    random = np.random.default_rng(6)
    bounds = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [2, 0, 3, 1]], dtype=float)
    tile = np.repeat([0, 1], [12, 9])  # none in the third
    corners = random.uniform(0, 0.7, (21, 2)) + np.stack([bounds[tile, 0], bounds[tile, 1]],
                                                         axis=1)
    shapes = shapely.box(*corners.T, *(corners + random.uniform(0.05, 0.3, (21, 2))).T)
    shapes[[11, 12]] = shapely.box([0.9, 1], 0, [1, 1.1], 1)  # touch across the tiles' edge
    columns, edges, codes = tile_graphs(shapes, tile, bounds, 224, resolve_recipe("rose"))
    for index in (0, 1):
        mine = np.flatnonzero(tile == index)
        alone = graph_of(shapes[mine], tuple(bounds[index]))
        np.testing.assert_array_equal(columns[mine], alone.x[:, 512:524])
        inside = np.isin(edges[0], mine)
        np.testing.assert_array_equal(edges[:, inside] - mine[0], alone.edge_index)
        np.testing.assert_array_equal(codes[inside], alone.edge_attr[:, 0])
    assert (tile[edges[0]] == tile[edges[1]]).all()


@pytest.mark.parametrize(
    ("first", "second", "symmetric", "release"),
    [
        (shapely.box(0, 0, 1, 1), shapely.box(0, 0, 1, 1), (4, 5), (4, 5)),
        (shapely.box(0, 0, 1, 1), shapely.box(0.2, 0.2, 0.4, 0.4), (4, 5), (4, 5)),
        (shapely.box(0.2, 0.2, 0.4, 0.4), shapely.box(0, 0, 1, 1), (5, 4), (3, 3)),
        (shapely.box(0, 0, 0.5, 1), shapely.box(0.5, 0, 1, 1), (2, 2), (2, 2)),
        (shapely.box(0, 0, 0.5, 0.5), shapely.box(0.5, 0.5, 1, 1), (2, 2), (2, 2)),
        (shapely.LineString([(0, 0), (1, 1)]).buffer(0.05),
         shapely.LineString([(0, 1), (1, 0)]).buffer(0.05), (3, 3), (3, 3)),
    ],
    ids=["equal", "contains", "within", "share an edge", "share a corner", "roads cross"],
)
def test_code_of_a_pair(first, second, symmetric, release):
    for relation_codes, codes in (("symmetric", symmetric), ("release", release)):
        assert edges_of(graph_of([first, second],
                                 relation_codes=relation_codes)) == {(0, 1): codes[0],
                                                                     (1, 0): codes[1]}


def test_disjoint_objects_have_no_edge():
    assert edges_of(graph_of([shapely.box(0, 0, 0.1, 0.1), shapely.box(0.2, 0, 0.3, 0.1)])) == {}


def test_no_object():
    graph = build_graph([], np.zeros((0, 512)), [], UNIT)
    assert (graph.x.shape, graph.edge_index.shape,
            graph.edge_attr.shape) == ((0, 525), (2, 0), (0, 1))
    assert (graph.x.dtype, graph.edge_index.dtype,
            graph.edge_attr.dtype) == (torch.float32, torch.int64, torch.float32)


def test_node_row_in_tile_units_with_pixels_that_are_not_square():
    bounds = (100.0, 50.0, 108.0, 54.0)  # twice as wide as high
    graph = build_graph([shapely.box(102, 52, 104, 53)], np.full((1, 4), 7.0), [9], bounds)
    row = graph.x[0].tolist()
    assert row[:4] == [7.0] * 4
    assert row[4:6] == pytest.approx([2 / 32, 6 / 24])
    assert {tuple(corner) for corner in np.reshape(row[6:14], (4, 2)).tolist()} == {(0.25, 0.25),
                                                                                    (0.5, 0.25),
                                                                                    (0.5, 0.5),
                                                                                    (0.25, 0.5)}
    assert row[14:16] == pytest.approx([0.375, 0.375])
    assert row[16] == 9
    assert graph.x.shape == (1, 17)


def test_corners_are_those_of_the_rotated_rectangle():
    tilted = rotate(shapely.box(0.4, 0.3, 0.6, 0.7), 30)
    expected = np.array(tilted.minimum_rotated_rectangle.exterior.coords)[:4] * (1, -1) + (0, 1)
    np.testing.assert_allclose(corner_set(graph_of([tilted]).x[0, 514:522]), corner_set(expected),
                               atol=1e-6)


def test_integer_coordinates_are_truncated_to_pixels_of_the_tile():
    x = graph_of([shapely.box(0.26, 0.26, 0.51, 0.51)], tile_px=10, coordinates="integer").x[0]
    assert sorted(set(x[514:522].tolist())) == pytest.approx([0.2, 0.4, 0.5, 0.7])
    assert x[522:524].tolist() == pytest.approx([0.3, 0.6])


def test_several_parts_are_one_node():
    parts = shapely.MultiPolygon([shapely.box(0, 0, 0.2, 0.2), shapely.box(0.8, 0.8, 1, 1)])
    collection = shapely.GeometryCollection([shapely.box(0.8, 0.8, 1, 1),
                                             shapely.box(0.3, 0.3, 0.4, 0.4)])
    graph = graph_of([parts, collection])
    assert graph.x[:, 512].tolist() == pytest.approx([0.08, 0.05])
    assert edges_of(graph) == {(0, 1): 3, (1, 0): 3}


@pytest.mark.parametrize("flat", [shapely.LineString([(0.2, 0.2), (0.6, 0.6)]),
                                  shapely.Point(0.5, 0.5)], ids=["line", "point"])
def test_a_rectangle_without_area_still_has_four_corners(flat):
    corners = {tuple(np.round(corner, 5))
               for corner in graph_of([flat]).x[0, 514:522].reshape(4, 2).tolist()}
    assert corners == {(round(x, 5), round(1 - y, 5)) for x, y in flat.coords}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([shapely.box(0, 0, 1, 1)], np.zeros((2, 512)), [0], UNIT),
         r"text_features of shape \[2, 512\].*one text vector"),
        (([shapely.box(0, 0, 1, 1)], np.zeros((1, 512)), [0, 1], UNIT),
         r"label_codes of shape \[2\]"),
        (([shapely.Polygon()], np.zeros((1, 512)), [0], UNIT), "geometry 0 is missing or empty"),
        (([shapely.box(0, 0, 1, 1)], np.zeros((1, 512)), [0], (1, 0, 0, 1)),
         r"bounds \(1, 0, 0, 1\) enclose nothing"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(PrepareError, match=message):
        build_graph(*arguments)


def test_unknown_relation_codes():
    with pytest.raises(ConfigError, match="relation_codes=other: choose one of symmetric, "
                                          "release"):
        graph_of([], relation_codes="other")
