"""The grid of tiles and its bands."""

import numpy as np
import pytest

from datasets.prepare.grid import TileGrid

NORTH_UP = (0.5, 0.0, 1000.0, 0.0, -0.5, 2000.0)


def grid(width: int, height: int, tile_px: int = 10, stride: int | None = None) -> TileGrid:
    return TileGrid(NORTH_UP, width, height, tile_px, stride or tile_px)


@pytest.mark.parametrize(("width", "height", "stride", "columns", "rows", "partial"), [
    (30, 20, 10, 3, 2, 0),
    (35, 29, 10, 3, 2, 4 * 3 - 6),
    (30, 20, 5, 5, 3, 0),
    (32, 20, 5, 5, 3, 6 * 3 - 15),
    (30, 20, 15, 2, 1, 2 * 2 - 2),
    (9, 20, 10, 0, 2, 2),
])
def test_columns_and_rows(width, height, stride, columns, rows, partial):
    tiles = grid(width, height, stride=stride)
    assert (tiles.columns, tiles.rows, tiles.partial) == (columns, rows, partial)


@pytest.mark.parametrize(("width", "tile_px", "size"),
                         [(6400, 10, 64), (1300, 10, 64), (40 * 1000, 1000, 3), (5000, 2500, 1)])
def test_bands_hold_every_tile_once_and_few_pixels(width, tile_px, size):
    tiles = grid(width, 2 * tile_px, tile_px)
    bands = [tiles.band(number) for number in range(tiles.bands)]
    assert max(band.last - band.first for band in bands) == size
    held = [(band.row, col) for band in bands for col in range(band.first, band.last)]
    assert held == [(row, col) for row in range(tiles.rows) for col in range(tiles.columns)]


@pytest.mark.parametrize("stride", [10, 4, 17])
def test_rows_of_an_object_are_those_whose_tiles_meet_it(stride):
    tiles = grid(100, 95, stride=stride)
    random = np.random.default_rng(0)
    bottom = 2000 - random.uniform(-5, 60, 200)
    top = bottom + random.uniform(0, 20, 200)
    first, last = tiles.rows_of(bottom, top)
    bounds = [tiles.bounds(row, np.array([0]))[0] for row in range(tiles.rows)]
    for low, high, one, other in zip(bottom, top, first, last, strict=True):
        assert list(range(one, other + 1)) == [row for row, box in enumerate(bounds)
                                               if low <= box[3] and high >= box[1]]


def test_neighbours_share_their_edge_exactly():
    tiles = TileGrid((0.1, 0.0, 1 / 3, 0.0, -0.1, 2 / 3), 1000, 1000, 7, 7)
    bounds = tiles.bounds(5, np.arange(50))
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 2])
    np.testing.assert_array_equal(bounds[0, 3], tiles.bounds(4, np.arange(1))[0, 1])


@pytest.mark.parametrize(("width", "stride", "edges", "lefts"), [
    (25, 10, "drop", [0, 10]),
    (25, 10, "exceed", [0, 10, 20]),
    (25, 5, "exceed", [0, 5, 10, 15]),
    (6, 10, "exceed", [0]),
    (25, 10, "shift", [0, 10, 15]),
    (20, 10, "shift", [0, 10]),
    (6, 10, "shift", [0]),
])
def test_what_becomes_of_tiles_at_the_edge(width, stride, edges, lefts):
    tiles = TileGrid(NORTH_UP, width, width, 10, stride, edges)
    assert (tiles.lefts.tolist(), tiles.tops.tolist()) == (lefts, lefts)
    np.testing.assert_array_equal(tiles.bounds(0, np.arange(len(lefts)))[:, 0],
                                  1000 + 0.5 * np.array(lefts))


def test_tiles_of_overlapping_rasters_are_the_same_where_tiles_are_shifted_at_the_edge():
    whole = TileGrid(NORTH_UP, 100, 100, 10, 7, "shift")
    part = TileGrid((0.5, 0.0, 1000 + 0.5 * 13, 0.0, -0.5, 2000 - 0.5 * 24), 87, 76, 10, 7,
                    "shift")
    assert (part.lefts + 13)[1:].tolist() == whole.lefts[-len(part.lefts) + 1:].tolist()
    assert (part.tops + 24)[1:].tolist() == whole.tops[-len(part.tops) + 1:].tolist()
    assert np.diff(part.lefts).max() <= 7
