"""Each picture of a scene shows what its map holds, where it lies, in the shape of the ground."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from matplotlib import colormaps
from PIL import Image

from inference.maps.totals import TotalsMap
from reports.poster import save_poster
from tests.inference.maps.scenes import noise, pixels_of, predict, write_model, write_raster
from utils.style import SEQUENTIAL, class_colours, rgb

ACROSS, DOWN = 5.58, 11.14  # metres of 1e-4 degrees at 60 degrees north, along the ellipsoid


@pytest.fixture(scope="module")
def far_north(tmp_path_factory) -> Path:
    """Return the map of a scene in degrees: a red disk of 1 km radius on green ground.

    The ground is 2.5 km x 3.3 km on 448 x 300 pixels.
    """
    folder = tmp_path_factory.mktemp("north")
    y, x = np.mgrid[:300, :448] - np.array([150, 224])[:, None, None]
    pixels = np.full((300, 448, 3), (40, 120, 40), np.uint8)
    pixels[np.hypot(ACROSS * x, DOWN * y) < 1000] = (220, 40, 40)
    with rasterio.open(folder / "north.tif", "w", driver="GTiff", width=448, height=300, count=3,
                       dtype="uint8", crs="EPSG:4326",
                       transform=Affine(1e-4, 0, 10.7, 0, -1e-4, 60.015)) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    return predict(folder / "north.tif", write_model(folder / "best.safetensors"), folder / "map")


def test_a_scene_in_degrees_has_the_shape_of_its_ground_on_the_page(far_north):
    ratio = float(re.search(r"--ratio:([\d.]+)", (far_north / "report.html").read_text())[1])
    assert ratio == pytest.approx(448 * ACROSS / (300 * DOWN), rel=2e-3)
    assert json.loads((far_north / "scene.json").read_text())["size_metres"] == pytest.approx(
        [448 * ACROSS, 300 * DOWN], rel=2e-3)


def test_a_disk_in_degrees_is_round_on_the_poster(far_north, tmp_path):
    save_poster([far_north], tmp_path / "poster.png")
    with Image.open(tmp_path / "poster.png") as picture:
        shown = np.asarray(picture.convert("RGB")).astype(int)
    # of the imagery: the map above it is another colour
    red = (shown[..., 0] > 180) & (shown[..., 1] < 80)
    height, width = (np.ptp(places) + 1 for places in np.nonzero(red))
    assert width > 200
    assert width == pytest.approx(height, rel=0.02)


def test_the_picture_of_classes_is_clear_where_no_imagery_is(tmp_path):
    pixels = noise(300, 500)
    pixels[40:90, 100:300] = 0
    raster = write_raster(tmp_path / "city.tif", pixels, nodata=0)
    out = predict(raster, write_model(tmp_path / "best.safetensors"), tmp_path / "map")
    classes = pixels_of(out / "map.tif")[0]
    with Image.open(out / "figures" / "map.png") as picture:
        shown = np.asarray(picture.convert("RGBA"))
    known = classes != 255
    np.testing.assert_array_equal(shown[..., 3], np.where(known, 255, 0))
    assert (~known).sum() == 50 * 200
    colours = rgb(class_colours(["water", "green", "farmland"]))
    np.testing.assert_array_equal(shown[known][:, :3], colours[classes[known]])


@pytest.mark.parametrize(("height", "width"), [(300, 800), (800, 300)])
def test_each_total_is_drawn_on_its_own_tile(tmp_path, monkeypatch, height, width):
    monkeypatch.setattr(TotalsMap, "network",
                        lambda self, images, graphs: images.mean((1, 2, 3))[:, None])
    raster = write_raster(tmp_path / "city.tif", noise(height, width))
    out = predict(raster, write_model(tmp_path / "best.safetensors", "regression"),
                  tmp_path / "map")
    totals = pixels_of(out / "totals.tif")[0].astype(float)              # [rows, columns] of tiles
    scale = json.loads((out / "scene.json").read_text())["layers"][1]["scale"]
    shares = (totals - scale["low"]) / (scale["high"] - scale["low"])
    colours = (255 * colormaps[SEQUENTIAL](shares)).astype(np.uint8)
    expected = colours.repeat(224, 0).repeat(224, 1)[:height, :width]
    with Image.open(out / "figures" / "totals.png") as picture:
        shown = np.asarray(picture)
    assert len(np.unique(colours.reshape(-1, 4), axis=0)) > 2
    assert np.abs(shown.astype(int) - expected).max() <= 2            # totals.tif has fewer digits
