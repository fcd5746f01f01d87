"""The six tiles of Rose's cities that the GeoLink paper published; its heterogeneous graphs become
Rose's.

A node row of theirs is its tag's CLIP vector (512) and coordinates in tile units, x right, y down:
laid over the images, roads lie on roads and roofs on roofs. The numbers show what the coordinates
are:

    point    its position
    line     centroid, both ends
    polygon  three points around the centroid, towards 0, -120 and 120 degrees; the centroid. Each
             is half as far out as the outline's vertices of its third are on average: the outline
             of a whole tile has all three at 0.3536, a quarter of the diagonal, and a square of
             twice that radius fits the square roofs of the images

This does not determine an outline. Here a polygon is the upright square whose corners are as far
from the centroid as its vertices are on average, exact for the whole tile; a line is a strip
through its three points; a point is a small square. All are cut by the tile's edge, and keep the
centroid of the file.

An edge's attribute is a one-hot of the spatial relation, here by its column: of two polygons 0
itself, 1 touch, 2 overlap, 3 contains, 4 within (3 and 4 mirror each other, and a tile's outline
contains all); of two lines 0 itself, 1 touch (most share an end), 2 cross (none does); of a line
and a polygon 0 touch, 1 cross, 2 within; of a point and a line 0 its end, 1 on it; of a point and
a polygon 1 inside. Two points have edges to their neighbours, which meet nothing; Rose has no code
for that, and they are left out, as are loops.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import shapely
import torch
from PIL import Image
from torch.serialization import safe_globals
from torch_geometric.data import HeteroData
from torch_geometric.data.feature_store import TensorAttr
from torch_geometric.data.graph_store import EdgeAttr
from torch_geometric.data.storage import BaseStorage, EdgeStorage, NodeStorage

from datasets.prepare.graph import CONTAINS, OVERLAP, TOUCH, WITHIN, build_graph
from datasets.stores.release import write_release_meta, write_release_tile
from datasets.stores.tile import CENTROID, GEOMETRY_WIDTH, Tile

TEXT = 512
ROAD, SQUARE = 2 / 224, 1 / 224  # half the width of a line's strip and of a point's square
NODES = ("polygon", "line", "point")
NONE = 0
CODES = {  # of the columns of an edge's attribute
    ("polygon", "polygon"): (NONE, TOUCH, OVERLAP, CONTAINS, WITHIN),
    ("line", "line"): (NONE, TOUCH, OVERLAP),
    ("point", "point"): (NONE, NONE),
    ("line", "polygon"): (TOUCH, OVERLAP, WITHIN), ("polygon", "line"): (TOUCH, OVERLAP, CONTAINS),
    ("point", "line"): (TOUCH, WITHIN), ("line", "point"): (TOUCH, CONTAINS),
    ("point", "polygon"): (TOUCH, WITHIN), ("polygon", "point"): (TOUCH, CONTAINS),
}


def read_graph(path: Path) -> HeteroData:
    """Read the graph of a file without letting it run code."""
    with safe_globals([HeteroData, BaseStorage, NodeStorage, EdgeStorage, TensorAttr, EdgeAttr]):
        return torch.load(path, weights_only=True)


def write_geolink_tiles(source: Path, root: Path) -> list[str]:
    """Write the tiles at `source` in the release's layout and return their names, sorted. Labels
    stay as they are, 9 and 255 included."""
    graphs = {path.stem: read_graph(path) for path in sorted((source / "graph").glob("*.pt"))}
    nodes = {name: np.concatenate([graph[kind].x[:, :TEXT] for kind in NODES])
             for name, graph in graphs.items()}
    # [values, 512]; a tag's row is its label code, too
    table = np.unique(np.concatenate(list(nodes.values())), axis=0)
    for name, graph in graphs.items():
        text = _rows(table, nodes[name])
        tile = Tile(name, _read(source / "img" / f"{name}.png").transpose(2, 0, 1),
                    _geometry(graph), text, text, *_edges(graph),
                    _read(source / "label" / f"{name}.png"))
        write_release_tile(root, tile, table)
        write_release_meta(root, name.split("_")[0], {}, table)
    return list(graphs)


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def _rows(table: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Return the row of the table that each vector is, [n]."""
    indices = {row.tobytes(): index for index, row in enumerate(table)}
    return np.array([indices[row.tobytes()] for row in text], np.int64)


def _geometry(graph: HeteroData) -> np.ndarray:
    """Return the columns AREA to CENTROID of the polygons, lines and points, [n, 12]."""
    polygons, lines, points = (graph[kind].x[:, TEXT:].double().numpy() for kind in NODES)
    shapes = np.array([*map(_square, polygons), *map(_strip, lines),
                       *(_around(point, SQUARE) for point in points)], dtype=object)
    clipped = shapely.intersection(shapely.transform(shapes, lambda xy: xy * (1, -1) + (0, 1)),
                                   shapely.box(0, 0, 1, 1))  # y up, as maps
    rows = build_graph(clipped, np.zeros((len(shapes), 0)), np.zeros(len(shapes)),
                       (0, 0, 1, 1)).x.numpy()
    rows[:, CENTROID] = np.concatenate([polygons[:, 6:], lines[:, :2], points])
    return rows[:, :GEOMETRY_WIDTH]


def _square(polygon: np.ndarray) -> shapely.Polygon:
    out, centroid = polygon[:6].reshape(3, 2), polygon[6:]
    distance = 2 * np.linalg.norm(out - centroid, axis=1).mean()
    return _around(centroid, distance / np.sqrt(2))


def _strip(line: np.ndarray) -> shapely.Polygon:
    middle, start, end = line.reshape(3, 2)
    return shapely.LineString([start, middle, end]).buffer(ROAD, cap_style="flat")


def _around(centre: np.ndarray, half: float) -> shapely.Polygon:
    return shapely.box(*(centre - half), *(centre + half))


def _edges(graph: HeteroData) -> tuple[np.ndarray, np.ndarray]:
    """Return edges [2, e] between rows of the joined node table, and their codes [e]."""
    first = dict(zip(NODES, np.cumsum([0, *(len(graph[kind].x) for kind in NODES)]), strict=False))
    edges, codes = (np.concatenate(arrays, axis=-1)
                    for arrays in zip(*_coded(graph, first), strict=True))
    order = np.lexsort(edges[::-1])
    return edges[:, order], codes[order]


def _coded(graph: HeteroData, first: dict[str, int]) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    for (source, target), columns in CODES.items():
        store = graph[source, "to", target]
        ends = store.edge_index.numpy() + np.array([[first[source]], [first[target]]])     # [2, e]
        codes = np.array(columns, np.float32)[store.edge_attr.numpy().argmax(1)]            # [e]
        yield ends[:, codes != NONE], codes[codes != NONE]
