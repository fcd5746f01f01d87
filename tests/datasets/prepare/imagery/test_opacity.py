"""Bands declared as alpha: opacity, or an image."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from datasets.prepare.imagery.mosaic import Mosaic, open_mosaic
from tests.datasets.prepare.places import grid, pixels, write_raster
from tests.robustness.remedies import commands_in, follow

LAKE = np.s_[10:30, 5:25]


def with_alpha(path, alpha, dtype=np.uint8):
    image = np.concatenate([pixels(40, 50), np.zeros((40, 50, 1))], axis=2).astype(dtype)
    image[..., 3] = alpha
    write_raster(path, image, photometric="RGB")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue,
                               ColorInterp.alpha]
    return path, image


def infrared(top=120):
    """Return near infrared as a camera sees it: dark water, bright plants."""
    values = np.full((40, 50), top, np.float64)
    values[LAKE] = 0
    return values


def noise(dtype, top):
    values = np.random.default_rng(0).random((40, 50)) * top
    values[LAKE] = 0
    return values.astype(dtype)


@pytest.mark.parametrize(("alpha", "dtype"), [
    (infrared(), np.uint8), (noise(np.uint8, 255), np.uint8), (noise(np.uint16, 9000), np.uint16),
    (noise(np.float32, 0.6), np.float32),
])
def test_an_alpha_that_is_an_image_hides_nothing(tmp_path, alpha, dtype):
    path, _ = with_alpha(tmp_path / "a b.tif", alpha, dtype)
    with open_mosaic(path) as mosaic:
        assert mosaic.read(Window(0, 0, 50, 40))[1].all()
        assert Mosaic.from_dict(mosaic.to_dict()).read(Window(0, 0, 50, 40))[1].all()
        assert mosaic.thumbnail(20)[1].all()
    (note,) = mosaic.warnings
    assert "band 4 is declared as alpha" in note
    (command,) = commands_in(note)
    follow(command, tmp_path)
    with open_mosaic(path) as mosaic:
        assert mosaic.warnings == []
        assert mosaic.read(Window(0, 0, 50, 40))[1].all()
    with open_mosaic(path, resolution=1) as mosaic:
        assert mosaic.read(Window(2, 2, 20, 15))[1].all()


@pytest.mark.parametrize(("top", "dtype"), [
    (255, np.uint8), (1, np.uint8), (65535, np.uint16), (255, np.uint16), (1, np.float32),
    (0.2, np.float32),
])
def test_an_alpha_is_opacity_with_soft_edges(tmp_path, top, dtype):
    alpha = infrared(top)
    alpha[10:30, 25:28] = np.array([0.2, 0.5, 0.8]) * top
    if dtype is not np.float32:
        alpha = alpha.round()
    path, _ = with_alpha(tmp_path / "a.tif", alpha, dtype)
    with open_mosaic(path) as mosaic:
        assert mosaic.warnings == []
        np.testing.assert_array_equal(mosaic.read(Window(0, 0, 50, 40))[1], alpha > 0)


def test_a_band_chosen_as_colour_is_no_alpha(tmp_path):
    path, image = with_alpha(tmp_path / "a.tif", infrared(255))
    with open_mosaic(path, bands=[4, 1, 2]) as mosaic:
        rgb, valid = mosaic.read(Window(0, 0, 50, 40))
    np.testing.assert_array_equal(rgb, image[..., [3, 0, 1]])
    assert valid.all()
    assert mosaic.warnings == []


def test_chips_are_judged_together(tmp_path):
    """A chip of water alone has an infrared of zeros."""
    with_alpha(tmp_path / "a.tif", infrared())
    image = np.concatenate([pixels(40, 50), np.zeros((40, 50, 1), np.uint8)], axis=2)
    write_raster(tmp_path / "b.tif", image, grid(50), photometric="RGB", alpha="yes")
    with open_mosaic(tmp_path) as mosaic:
        assert mosaic.read(Window(0, 0, 100, 40))[1].all()
    assert "and 1 more" in mosaic.warnings[0]
