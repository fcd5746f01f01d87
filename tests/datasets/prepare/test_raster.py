"""Window reads of one file and of many, and which pixels hold imagery."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from datasets.prepare import raster as raster_module
from datasets.prepare.raster import open_mosaic
from tests.datasets.prepare.places import NORTH, PIXEL, WEST, grid, pixels, write_raster


def read_all(path):
    with open_mosaic(path) as mosaic:
        return mosaic.read(Window(0, 0, mosaic.width, mosaic.height))


def cut(folder, image, side=40, transform=lambda row, col, side: grid(col, row)):
    """Chips of an image, each with its own georeference."""
    for row in range(0, image.shape[0], side):
        for col in range(0, image.shape[1], side):
            write_raster(folder / f"chip_{row}_{col}.tif", image[row:row + side, col:col + side], transform(row, col, side))
    return folder


def test_a_single_file_is_read_as_it_is(tmp_path):
    image = pixels(50, 60)
    with open_mosaic(write_raster(tmp_path / "a.tif", image)) as mosaic:
        rgb, valid = mosaic.read(Window(7, 11, 20, 30))
        assert (mosaic.width, mosaic.height, mosaic.transform, mosaic.crs.to_epsg()) == (60, 50, grid(), 32633)
    np.testing.assert_array_equal(rgb, image[11:41, 7:27])
    assert valid.all()


@pytest.mark.parametrize("pattern", ["", "*.tif"], ids=["folder", "glob"])
def test_a_mosaic_of_chips_equals_the_uncut_raster(tmp_path, pattern):
    image = pixels(100, 130)
    with open_mosaic(cut(tmp_path, image) / pattern) as mosaic:
        assert mosaic.transform == grid()
        rgb, valid = mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
        part, _ = mosaic.read(Window(33, 21, 64, 64))
    np.testing.assert_array_equal(rgb, image)
    np.testing.assert_array_equal(part, image[21:85, 33:97])
    assert valid.all()


def test_few_files_are_open_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(raster_module, "MAX_OPEN", 2)
    image = pixels(80, 80)
    with open_mosaic(cut(tmp_path, image, side=20)) as mosaic:
        rgb, _ = mosaic.read(Window(0, 0, 80, 80))
        assert len(mosaic._readers) == 2
    np.testing.assert_array_equal(rgb, image)


def test_chips_whose_pixel_size_drifts_leave_no_seam_and_are_not_resampled(tmp_path):
    """As in chips of a web map: each row's pixels are some 6e-6 smaller than those of the row above, and the rows adjoin."""
    image = pixels(120, 80)
    heights = PIXEL * (1 + 6e-6 * np.arange(3))
    tops = NORTH - np.concatenate([[0], np.cumsum(heights * 40)])

    def drifting(row, col, side):
        return Affine(PIXEL, 0, WEST + col * PIXEL, 0, -heights[row // side], tops[row // side])

    rgb, valid = read_all(cut(tmp_path, image, transform=drifting))
    np.testing.assert_array_equal(rgb, image)
    assert valid.all()


def test_a_chip_off_the_grid_is_resampled_onto_it(tmp_path):
    ramp = np.repeat(np.linspace(0, 200, 41, dtype=np.uint8)[None, :, None], 40, axis=0).repeat(3, axis=2)  # 5 more a pixel
    write_raster(tmp_path / "a.tif", ramp[:, :20])
    write_raster(tmp_path / "b.tif", ramp[:, 20:], grid(20.5, 0))
    rgb, valid = read_all(tmp_path)
    assert rgb.shape == (40, 42, 3)
    np.testing.assert_array_equal(rgb[:, :20], ramp[:, :20])
    assert np.abs(rgb[1:-1, 22:40, 0].astype(float) - (5 * np.arange(22, 40) - 2.5)).max() <= 1
    assert valid[:, 21:41].all()


def test_the_first_file_sets_the_grid_wherever_it_lies(tmp_path):
    write_raster(tmp_path / "a.tif", pixels(10, 10), grid(10, 20))
    write_raster(tmp_path / "b.tif", pixels(10, 10), grid())
    with open_mosaic(tmp_path) as mosaic:
        assert mosaic.transform == grid()
        rgb, valid = mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
    assert rgb.shape == (30, 20, 3)
    assert valid[:10, :10].all()
    assert valid[20:, 10:].all()
    assert valid.sum() == 200
    assert not rgb[~valid].any()


def test_imagery_of_a_later_file_fills_the_gaps_of_an_earlier(tmp_path):
    first, second = np.full((10, 10, 3), 50, np.uint8), np.full((10, 10, 3), 90, np.uint8)
    first[:, 5:] = 0
    second[:, :2] = 0
    write_raster(tmp_path / "a.tif", first, nodata=0)
    write_raster(tmp_path / "b.tif", second, nodata=0)
    rgb, valid = read_all(tmp_path)
    assert (rgb[:, :5] == 50).all()
    assert (rgb[:, 5:] == 90).all()
    assert valid.all()


@pytest.mark.parametrize("shift", [0, 0.5], ids=["aligned", "resampled"])
@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
def test_pixels_without_imagery(tmp_path, kind, shift):
    image = pixels(40, 40, bands=4 if kind == "alpha" else 3)
    hole = np.zeros((40, 40), bool)
    hole[10:20, 5:25] = True
    image[hole] = 0
    if kind == "alpha":
        image[~hole, 3] = 255
    write_raster(tmp_path / "a.tif", pixels(10, 10), grid(100, 0))  # sets the grid
    path = write_raster(tmp_path / "b.tif", image, grid(shift, shift), nodata=0 if kind == "nodata" else None)
    with rasterio.open(path, "r+") as dataset:
        if kind == "alpha":
            dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        if kind == "mask":
            dataset.write_mask(~hole)
    _, valid = read_all(tmp_path)
    inner = valid[1:39, 1:39]
    expected = ~hole[1:39, 1:39]
    differs = inner != expected
    assert differs.sum() == 0 if shift == 0 else differs.sum() < 70  # half a pixel along the hole's border


def test_a_fourth_band_that_is_no_alpha_is_left_out(tmp_path):
    image = pixels(20, 20, bands=4)
    image[..., 3] = 0  # near infrared over water
    path = write_raster(tmp_path / "a.tif", image, photometric="RGB")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined]
    rgb, valid = read_all(path)
    np.testing.assert_array_equal(rgb, image[..., :3])
    assert valid.all()
