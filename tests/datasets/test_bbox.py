"""bbox=: what it refuses, the tiles and the pixels of a box."""

import mercantile
import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Transformer

from datasets.bbox import BBox
from utils.errors import ConfigError, PrepareError

HERE = (15.74, 50.03, 15.79, 50.05)


@pytest.mark.parametrize(("values", "fault"), [
    ((15.79, 50.03, 15.74, 50.05), "west 15.79 is east of east 15.74"),
    ((15.74, 50.05, 15.79, 50.03), "south 50.05 is above north 50.03"),
    ((15.74, 50.03, 15.74, 50.05), "an empty box"),
    ((15.74, 50.03, 15.79, 95), "off the Earth"),
    ((300, 50, 301, 51), "off the Earth"),
    ((15.74, 50.03, 15.79), "3 numbers"),
    ((float("nan"), 50, 16, 51), "4 numbers"),
    ((179.9, -17, -179.9, -16),
     "pass the two sides one after the other, bbox=[179.9,-17,180,-16] and "
     "bbox=[-180,-17,-179.9,-16]"),
])
def test_an_impossible_box_is_an_error_of_its_key(values, fault):
    with pytest.raises(ConfigError) as error:
        BBox.of("bbox", values)
    assert str(error.value).startswith("bbox=[")
    assert fault in str(error.value)


def test_its_tiles_are_those_that_touch_it():
    box = BBox.of("bbox", HERE)
    tiles = box.tiles(16)
    assert sorted(tiles) == sorted(mercantile.tiles(*HERE, 16))
    assert len(tiles) == len(list(tiles))
    one = BBox(*mercantile.bounds(mercantile.Tile(35634, 22170, 16)))
    assert list(one.tiles(16)) == [mercantile.Tile(35634, 22170, 16)]


def test_web_map_tiles_end_before_the_pole():
    assert len(BBox(0, 80, 10, 90).tiles(3)) > 0
    with pytest.raises(PrepareError, match="nearer to the equator"):
        BBox(0, 86, 10, 90).tiles(3)


def test_its_pixels_are_the_whole_pixels_that_touch_it():
    grid = Affine(0.1, 0, 10, 0, -0.1, 50)
    degrees = CRS.from_epsg(4326)
    assert BBox(10.2, 49.5, 10.4, 49.7).pixels(degrees, grid, 100, 100) == (2, 3, 4, 5)
    assert BBox(10.21, 49.49, 10.41, 49.69).pixels(degrees, grid, 100, 100) == (2, 3, 5, 6)
    assert BBox(9, 49, 10.05, 60).pixels(degrees, grid, 100, 100) == (0, 0, 1, 10)
    assert BBox(20.5, 49, 21, 50).pixels(degrees, grid, 100, 100) is None


@pytest.mark.parametrize("grid", [Affine(500, 0, 400000, 0, -500, 5600000),
                                  Affine.translation(4e5, 5.4e6) @ Affine.rotation(33)
                                  @ Affine.scale(500, -500)])
@pytest.mark.parametrize("box", [(-180, -90, 180, 90), (-30, 0, 60, 80), (14, 49, 20, 50)])
def test_a_large_box_loses_no_pixel(box, grid):
    utm, size = CRS.from_epsg(32633), 400
    left, top, right, bottom = BBox(*box).pixels(utm, grid, size, size)
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    lon, lat = Transformer.from_crs(utm, 4326, always_xy=True).transform(*(grid @ (x, y)))
    inside = (lon > box[0]) & (lon < box[2]) & (lat > box[1]) & (lat < box[3])
    rows, columns = np.nonzero(inside)
    assert len(rows)
    assert left <= columns.min()
    assert columns.max() < right
    assert top <= rows.min()
    assert rows.max() < bottom


def test_its_area_is_that_of_the_ground():
    assert BBox.of("bbox", HERE).area_km2 == pytest.approx(7.97, abs=0.01)
