"""Coverage of patches by OSM objects: by outlines, by boxes, and both in one batch."""

import numpy as np
import pytest
import shapely
import torch
from torch_geometric.data import Batch, Data

from models.coverage import SIDE, box_distance, cell_shares, has_outlines, patch_shares, resampled
from tests.models.test_osm_raster import BOXES, corners, graphs_of


def outlined(entries: list[tuple[int, int, int, int]], nodes: int) -> Data:
    """A graph whose nodes cover cells (node, row, column, share of 255); boxes are the tile."""
    x = torch.zeros(nodes, 525)
    x[:, -11:-3] = corners(shapely.box(0, 0, 1, 1)).flatten()
    index, row, column, share = torch.tensor(entries, dtype=torch.long).reshape(-1, 4).T
    return Data(x=x, edge_index=torch.empty(2, 0, dtype=torch.long), edge_attr=torch.empty(0, 1),
                cover_index=index, cover_cell=(row * SIDE + column).short(),
                cover_share=share.byte(), name="lima_0_0")


@pytest.mark.parametrize("shape", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("turn", [1, -1], ids=["as given", "mirrored"])
def test_distances_are_those_of_shapely(shape, turn):
    distance = box_distance(corners(shape).flip(0)[None] if turn < 0 else corners(shape)[None],
                            12, 20)[0]
    y, x = np.mgrid[:12, :20]
    points = shapely.points((x + 0.5) / 20, (y + 0.5) / 12)
    outside = shapely.distance(points, shape)
    inside = np.where(shapely.contains(shape, points), shapely.distance(points, shape.boundary), 0)
    np.testing.assert_allclose(distance, outside - inside, atol=1e-6)


def exact(shape: shapely.Geometry, rows: int, columns: int) -> np.ndarray:
    """[rows * columns] shares of patches, of shapely."""
    y, x = (side.ravel() for side in np.mgrid[:rows, :columns])
    patches = shapely.box(x / columns, y / rows, (x + 1) / columns, (y + 1) / rows)
    return shapely.area(shapely.intersection(patches, shape)) * rows * columns


@pytest.mark.parametrize("grid", [(14, 14), (7, 7), (16, 16), (3, 100)])
def test_a_box_covers_what_shapely_says(grid):
    shares = patch_shares(graphs_of([(BOXES["upright"], 0), (BOXES["turned"], 0)]), grid)
    assert shares.shape == (2, grid[0] * grid[1])
    np.testing.assert_allclose(shares[0], exact(BOXES["upright"], *grid), atol=1e-5)
    np.testing.assert_allclose(shares[1], exact(BOXES["turned"], *grid), atol=0.1)
    assert shares[1].mean() == pytest.approx(BOXES["turned"].area, abs=0.002)


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.3, 0.7), (1, 0), (-0.2, 1.3)])
def test_a_point_is_somewhere(at):
    cells = cell_shares(graphs_of([(shapely.Point(at), 0)]))
    column, row = (min(max(int(side * SIDE), 0), SIDE - 1) for side in at)
    assert cells[0, row, column] > 0
    assert cells.count_nonzero() <= 4


def test_outlines_count_where_a_graph_has_them_and_boxes_elsewhere():
    graphs = [outlined([(0, 0, 0, 255), (0, 3, 3, 51), (1, 55, 55, 255)], nodes=2),
              outlined([], nodes=0), outlined([], nodes=1), outlined([(0, 28, 0, 255)], nodes=1)]
    batch = Batch.from_data_list(graphs)
    assert has_outlines(batch).tolist() == [True, True, False, True]
    shares = patch_shares(batch, (14, 14))
    assert shares[0].nonzero().tolist() == [[0]]
    assert shares[0, 0] == pytest.approx(1.2 / 16)
    assert shares[1].nonzero().tolist() == [[195]]
    assert shares[1, 195] == pytest.approx(1 / 16)
    torch.testing.assert_close(shares[2], torch.ones(196))  # no outline: the box, here the tile
    assert shares[3].nonzero().tolist() == [[98]]
    del batch.cover_index, batch.cover_cell, batch.cover_share
    torch.testing.assert_close(patch_shares(batch, (2, 2)), torch.ones(4, 4))


def test_no_node_covers_nothing():
    assert patch_shares(Batch.from_data_list([outlined([], nodes=0)]), (14, 14)).shape == (0, 196)


@pytest.mark.parametrize("grid", [(14, 14), (24, 37), (1, 1), (200, 56)])
def test_resampling_keeps_areas(grid):
    cells = torch.rand(2, SIDE, SIDE)
    patches = resampled(cells, *grid)
    assert patches.shape == (2, *grid)
    torch.testing.assert_close(patches.mean((1, 2)), cells.mean((1, 2)))
    torch.testing.assert_close(resampled(torch.ones(1, SIDE, SIDE), *grid), torch.ones(1, *grid))
