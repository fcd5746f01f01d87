"""The picture of a dry run."""

import numpy as np
import pytest
import shapely
from matplotlib.colors import to_rgb
from PIL import Image

from datasets.prepare import preview
from datasets.prepare.grid import TileGrid
from datasets.prepare.imagery.mosaic import open_mosaic
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.objects import OsmObjects
from datasets.prepare.osm.spool import Spool, write_spool
from datasets.prepare.osm.tags import LAYERS
from datasets.prepare.preview import LARGEST, draw_preview
from tests.datasets.prepare.places import pixels, square, write_raster
from utils.style import LAYER_COLOURS


def drawn(folder, image, layers=(), shapes=(), tile_px=64):
    """Return the picture [h, w, 3] of an image with objects."""
    with open_mosaic(write_raster(folder / "a.tif", image)) as mosaic:
        grid = TileGrid.over(mosaic, tile_px, tile_px)
        layer = np.array([LAYERS.index(name) for name in layers], dtype=np.int64)
        names = np.array(["x"] * len(layers), dtype=object)
        objects = OsmObjects(layer, names, names,
                             np.array(shapes, dtype=object))
        write_spool(folder / "spool", [objects], Census(), LAYERS, grid)
        draw_preview(folder / "new/c.png", mosaic, grid, Spool(folder / "spool"), "c", "")
    return np.asarray(Image.open(folder / "new/c.png").convert("RGB")).astype(int)


def share_of(picture, name):
    """Share of the page in a layer's own colour, of which the legend has a little."""
    return (np.abs(picture - 255 * np.array(to_rgb(LAYER_COLOURS[name]))).max(-1) < 16).mean()


@pytest.mark.parametrize("chunk", [1, 100])
def test_outlines_have_the_colour_of_their_layer_and_hide_little(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(preview, "CHUNK", chunk)
    grey = np.full((140, 140, 3), 60, np.uint8)
    names = ["building", "leisure", "nature", "amenity", "landuse"]
    shapes = [square(5 + 12 * index, 20, 10) for index in range(5)]
    without, with_objects = drawn(tmp_path, grey), drawn(tmp_path, grey, names, shapes)
    for name in names:
        # four sides of 10 m on 70 m, two pixels wide
        assert 0.0005 < share_of(with_objects, name) - share_of(without, name) < 0.01


def test_what_no_whole_tile_covers_is_veiled(tmp_path):
    black = drawn(tmp_path, np.zeros((100, 100, 3), np.uint8))
    veil = np.abs(black - round(128 * preview.VEIL)).max(-1) < 8
    veiled = veil.mean() * black.shape[0] * black.shape[1] / 1400 ** 2
    assert veiled == pytest.approx(1 - 0.64 ** 2, abs=0.03)


@pytest.mark.parametrize("shape", [(1400, 1400), (64, 4000), (4000, 64)])
def test_a_picture_of_any_shape_is_small(tmp_path, shape):
    picture = drawn(tmp_path, pixels(*shape), tile_px=16)
    assert (tmp_path / "new/c.png").stat().st_size <= LARGEST
    assert max(picture.shape) < 1600


def test_an_object_that_lies_across_the_edge(tmp_path):
    houses = shapely.MultiPolygon([square(-5, 30, 20), square(40, 40, 9)])
    picture = drawn(tmp_path, np.zeros((140, 140, 3), np.uint8), ["building"], [houses])
    assert share_of(picture, "building") > 0.001
