"""Imagery with one file a band, and files that hide others."""

import shutil

import numpy as np
import pytest
from rasterio.windows import Window

from datasets.prepare.imagery.mosaic import open_mosaic
from tests.datasets.prepare.places import grid, pixels, write_raster
from tests.robustness.remedies import commands_in, follow
from utils.errors import PrepareError

IMAGE = pixels(40, 50)


def read_all(path, **options):
    with open_mosaic(path, **options) as mosaic:
        return *mosaic.read(Window(0, 0, mosaic.width, mosaic.height)), mosaic


def write_bands(folder, names, image=IMAGE, transform=None):
    folder.mkdir(exist_ok=True)
    for name, band in zip(names, np.moveaxis(image, -1, 0), strict=True):
        write_raster(folder / name, band[..., None], transform)
    return folder


@pytest.mark.parametrize("names", [
    ("T32_B04.tif", "T32_B03.tif", "T32_B02.tif"),
    ("LC08_X_B4.TIF", "LC08_X_B3.TIF", "LC08_X_B2.TIF"),
    ("LE07_X_B3.TIF", "LE07_X_B2.TIF", "LE07_X_B1.TIF"),
    ("red.tif", "green.tif", "blue.tif"), ("city_R.tif", "city_G.tif", "city_B.tif"),
    ("T32_B04_10m.tif", "T32_B03_10m.tif", "T32_B02_10m.tif"),
    ("city_1.tif", "city_2.tif", "city_3.tif"), ("band01.tif", "band02.tif", "band03.tif"),
])
def test_bands_are_stacked_by_their_names(tmp_path, names):
    rgb, valid, mosaic = read_all(write_bands(tmp_path / "bands", names))
    np.testing.assert_array_equal(rgb, IMAGE)
    assert valid.all()
    (note,) = mosaic.warnings
    assert f"red {names[0]}, green {names[1]}, blue {names[2]}" in note
    assert {file.name for file in mosaic.files} == set(names)


def test_several_pictures_and_bands_of_no_colour(tmp_path):
    folder = write_bands(tmp_path / "bands", ["a_B04.tif", "a_B03.tif", "a_B02.tif"],
                         IMAGE.astype(np.uint16))
    write_bands(folder, ["b_B04.tif", "b_B03.tif", "b_B02.tif"],
                IMAGE.astype(np.uint16), grid(50))
    write_raster(folder / "a_B08.tif", IMAGE[..., :1].astype(np.uint16))
    rgb, _, mosaic = read_all(folder, stretch=[0, 100])
    assert rgb.shape == (40, 100, 3)
    np.testing.assert_array_equal(rgb[:, :50], rgb[:, 50:])
    assert np.abs(rgb[:, :50].astype(int) - IMAGE).max() <= 2
    assert any("a_B08.tif: of none of these colours" in note for note in mosaic.warnings)
    again = type(mosaic).from_dict(mosaic.to_dict())
    np.testing.assert_array_equal(again.read(Window(0, 0, 100, 40))[0], rgb)
    assert read_all(folder, resolution=1)[1][2:-2, 2:-2].all()
    assert mosaic.thumbnail(20)[1].all()


def test_each_band_keeps_its_nodata(tmp_path):
    image = IMAGE.astype(np.float32)
    image[:5] = -1
    folder = tmp_path
    for name, band in zip(("red", "green", "blue"), np.moveaxis(image, -1, 0), strict=True):
        write_raster(folder / f"{name}.tif", band[..., None], nodata=-1)
    np.testing.assert_array_equal(read_all(folder)[1], np.arange(40)[:, None] >= [5] * 50)


def test_names_that_do_not_say_it_have_a_remedy(tmp_path):
    folder = write_bands(tmp_path / "my bands", ["x.tif", "y.tif", "z.tif"])
    with pytest.raises(PrepareError, match="the names do not say") as raised:
        open_mosaic(folder)
    (command,) = commands_in(str(raised.value))
    follow(command, tmp_path)
    np.testing.assert_array_equal(read_all(tmp_path / "rgb.tif")[0], IMAGE)


@pytest.mark.parametrize(("file", "band"), [("a_B02.tif", 2), ("a_B04.tif", 0)])
def test_a_band_of_larger_pixels_is_put_on_the_finest_grid(tmp_path, file, band):
    folder = write_bands(tmp_path / "my bands", ["a_B04.tif", "a_B03.tif", "a_B02.tif"])
    write_raster(folder / file, IMAGE[::2, ::2, :1], grid() @ grid().scale(2))
    with pytest.raises(PrepareError, match=rf"{file}: .*another grid") as raised:
        open_mosaic(folder)
    before = (folder / file).read_bytes()
    for command in commands_in(str(raised.value)):
        follow(command, tmp_path)
    assert (folder / f"{file}.original").read_bytes() == before
    rgb = read_all(folder)[0]
    np.testing.assert_array_equal(rgb[..., band], IMAGE[::2, ::2, 0].repeat(2, 0).repeat(2, 1))


def test_chips_of_one_band_are_no_stack(tmp_path):
    for number in (1, 2, 3):
        write_raster(tmp_path / f"chip_{number}.tif", IMAGE[..., :1], grid(50 * number))
    with pytest.raises(PrepareError, match=r"Pass bands=\[1,1,1\]"):
        open_mosaic(tmp_path)
    rgb, _, mosaic = read_all(tmp_path, bands=[1, 1, 1])
    assert rgb.shape[1] == 150
    assert mosaic.warnings == []


def test_bands_that_are_given_leave_a_stack_alone(tmp_path):
    folder = write_bands(tmp_path / "bands", ["a_R.tif", "a_G.tif", "a_B.tif"])
    with pytest.raises(PrepareError, match="Leave bands= out"):
        open_mosaic(folder, bands=[3, 2, 1])
    rgb, _, mosaic = read_all(folder, bands=[1, 1, 1])
    np.testing.assert_array_equal(rgb[..., 0], rgb[..., 2])
    (note,) = mosaic.warnings
    assert "a_G.tif: lies wholly under " in note
    assert "the same holds for 1 more" in note


@pytest.mark.parametrize(("nodata", "hidden"), [(None, True), (0, False)])
def test_a_file_wholly_under_another_is_named(tmp_path, nodata, hidden):
    write_raster(tmp_path / "a.tif", IMAGE, nodata=nodata)
    write_raster(tmp_path / "b.tif", IMAGE[5:20, 5:20], grid(5, 5))
    shutil.copy(write_raster(tmp_path / "c.tif", IMAGE, grid(25)), tmp_path / "d.tif")
    notes = read_all(tmp_path)[2].warnings
    assert any("b.tif: lies wholly under " in note for note in notes) == hidden
    assert any("c.tif" in note.split(":")[0] for note in notes) is False
