"""Imagery of more than 8 bits, and the warning where nodata hits imagery."""

import json

import numpy as np
import pytest
from rasterio.windows import Window

from datasets.prepare.imagery import stretch as stretch_module
from datasets.prepare.imagery.mosaic import Mosaic, open_mosaic
from datasets.prepare.imagery.stretch import apply_stretch
from tests.datasets.prepare.places import grid, pixels, write_raster
from utils.errors import PrepareError


def read_all(mosaic):
    return mosaic.read(Window(0, 0, mosaic.width, mosaic.height))


def ramp(dtype, low, high, shape=(100, 100)):
    """Return evenly spread values, in another order in each band: [h, w, 3]."""
    values = np.linspace(low, high, shape[0] * shape[1]).astype(dtype)
    return np.stack([np.random.default_rng(band).permutation(values).reshape(shape)
                     for band in range(3)], axis=-1)


@pytest.mark.parametrize(("dtype", "low", "high"), [
    ("uint16", 100, 4000), ("int16", -2000, 2000), ("float32", 0, 1), ("float64", -1e6, 1e6),
    ("int8", -100, 100), ("uint32", 0, 4e9),
    ("int32", -2e9, 2e9),
])
def test_the_percentiles_become_black_and_white(tmp_path, dtype, low, high):
    image = ramp(dtype, low, high)
    with open_mosaic(write_raster(tmp_path / "a.tif", image)) as mosaic:
        rgb, valid = read_all(mosaic)
    np.testing.assert_allclose(mosaic.stretch,
                               np.percentile(image.reshape(-1, 3).astype(float), (2, 98),
                                             axis=0).T, rtol=1e-6)
    position = (image.astype(float) - mosaic.stretch[0][0]) / (mosaic.stretch[0][1]
                                                               - mosaic.stretch[0][0])
    np.testing.assert_allclose(rgb, (255 * position).clip(0, 255), atol=0.51)
    assert (rgb.reshape(-1, 3) == 0).mean(0) == pytest.approx(0.02, abs=0.006)
    assert (rgb.reshape(-1, 3) == 255).mean(0) == pytest.approx(0.02, abs=0.006)
    assert valid.all()  # what is as dark as can be is imagery still


def test_other_percentiles(tmp_path):
    image = ramp("uint16", 0, 9999)
    with open_mosaic(write_raster(tmp_path / "a.tif", image), stretch=[0, 100]) as mosaic:
        assert mosaic.stretch == [[0, 9999]] * 3
        rgb, _ = read_all(mosaic)
    assert rgb.min() == 0
    assert rgb.max() == 255


def test_each_band_has_its_own_stretch_and_one_over_all_files(tmp_path):
    image = ramp("uint16", 0, 1000) + np.array([0, 5000, 9000], np.uint16)
    write_raster(tmp_path / "a.tif", image[:, :50])
    write_raster(tmp_path / "b.tif", image[:, 50:] + 1000, grid(50))
    with open_mosaic(tmp_path, stretch=(0, 100)) as mosaic:
        rgb, _ = read_all(mosaic)
    low, high = np.array(mosaic.stretch).T
    np.testing.assert_allclose(low, [0, 5000, 9000], atol=2)
    np.testing.assert_allclose(high, [2000, 7000, 11000], atol=2)
    assert rgb[:, :50].max() <= 128 <= rgb[:, 50:].min() + 1


def test_eight_bits_are_never_stretched(tmp_path):
    image = (pixels(30, 30) // 8 + 40).astype(np.uint8)
    with open_mosaic(write_raster(tmp_path / "a.tif", image), stretch=(10, 90)) as mosaic:
        assert mosaic.stretch is None
        np.testing.assert_array_equal(read_all(mosaic)[0], image)


def test_what_is_no_imagery_does_not_count(tmp_path):
    image = ramp("float32", 10, 20)
    image[:30] = -9999
    image[30:40] = np.nan
    image[40, 0] = np.inf
    image[41, 0, 0] = np.nan
    with open_mosaic(write_raster(tmp_path / "a.tif", image, nodata=-9999)) as mosaic:
        rgb, valid = read_all(mosaic)
    assert 10 <= min(low for low, _ in mosaic.stretch) < max(high
                                                             for _, high in mosaic.stretch) <= 20
    expected = np.ones((100, 100), bool)
    expected[:40] = expected[40, 0] = False
    np.testing.assert_array_equal(valid, expected)
    assert rgb[41, 0, 0] == 0
    assert not rgb[~valid].any()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_band_of_one_value_is_black(tmp_path, dtype):
    image = ramp(dtype, 0, 1000)
    image[..., 1] = 77
    with np.errstate(all="raise"), open_mosaic(write_raster(tmp_path / "a.tif", image)) as mosaic:
        rgb, valid = read_all(mosaic)
    assert mosaic.stretch[1] == [77, 77]
    assert not rgb[..., 1].any()
    assert rgb[..., 0].max() == 255
    assert valid.all()


def test_a_raster_without_any_imagery_is_empty(tmp_path):
    with open_mosaic(write_raster(tmp_path / "a.tif", np.zeros((20, 20, 3), np.uint16),
                                  nodata=0)) as mosaic:
        rgb, valid = read_all(mosaic)
    assert not valid.any()
    assert not rgb.any()


def test_few_pixels_of_few_files_are_sampled_and_always_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(stretch_module, "SAMPLED_PIXELS", 2_000)
    monkeypatch.setattr(stretch_module, "SAMPLED_FILES", 3)
    image = ramp("uint16", 0, 10_000, (100, 400))
    for index in range(10):
        write_raster(tmp_path / f"{index}.tif", image[:, 40 * index:40 * index + 40],
                     grid(40 * index))
    opened, read = [], []
    open_view, read_view = stretch_module.open_view, stretch_module.read_view
    monkeypatch.setattr(stretch_module, "open_view",
                        lambda file, reading: opened.append(file.path.stem)
                        or open_view(file, reading))

    def counted(view, window):
        read.append(window.width * window.height)
        return read_view(view, window)
    monkeypatch.setattr(stretch_module, "read_view", counted)
    stretches = []
    for _ in range(2):
        with open_mosaic(tmp_path) as mosaic:
            stretches.append(mosaic.stretch)
    assert opened == ["0", "3", "6"] * 2
    assert sum(read) <= 2 * 2_100
    assert stretches[0] == stretches[1]
    np.testing.assert_allclose(stretches[0], [[200, 9800]] * 3, atol=250)


def test_a_stretch_is_known_to_other_processes(tmp_path):
    with open_mosaic(write_raster(tmp_path / "a.tif", ramp("uint16", 0, 10_000))) as mosaic:
        there = Mosaic.from_dict(json.loads(json.dumps(mosaic.to_dict())))
        assert there.stretch == mosaic.stretch
        np.testing.assert_array_equal(read_all(there)[0], read_all(mosaic)[0])


def test_a_thumbnail_is_stretched_too(tmp_path):
    with open_mosaic(write_raster(tmp_path / "a.tif", ramp("uint16", 0, 10_000))) as mosaic:
        rgb, _ = mosaic.thumbnail(20)
        np.testing.assert_allclose(np.percentile(rgb, (10, 50, 90)), (21, 127, 234), atol=18)


def test_eight_bits_and_more_do_not_mix(tmp_path):
    write_raster(tmp_path / "a.tif", pixels(20, 20))
    write_raster(tmp_path / "b.tif", pixels(20, 20).astype("uint16"), grid(20))
    with pytest.raises(PrepareError,
                       match=r"b.tif: the pixels are uint16, but those of .*a.tif are uint8"):
        open_mosaic(tmp_path)


def test_apply_stretch():
    values = np.array([-5.0, 0, 60, 100, 1e300]).reshape(1, 1, 5).repeat(3, axis=0)
    assert apply_stretch(values, [[0, 100], [50, 100], [100, 100]])[..., 0, :].tolist() == [
        [0, 0, 153, 255, 255], [0, 0, 51, 255, 255], [0, 0, 0, 0, 255]
    ]


def town(roofs: int, collar: int = 0) -> np.ndarray:
    """Return 300 x 300 pixels with saturated roofs of 6 x 6 and a white collar on the left."""
    image = pixels(300, 300).clip(0, 254)
    for roof in range(roofs):
        row, col = divmod(roof, 20)
        image[20 + 12 * row:26 + 12 * row, 30 + 12 * col:36 + 12 * col] = 255
    image[:, :collar] = 255
    return image


def test_white_roofs_that_equal_nodata_are_warned_about(tmp_path):
    path = write_raster(tmp_path / "a.tif", town(100, collar=20), nodata=255)
    with open_mosaic(path) as mosaic:
        (warning,) = mosaic.warnings
        assert not read_all(mosaic)[1].all()
    share = 100 * 36 / (300 * 280)
    assert all(phrase in warning for phrase in ("a.tif", "nodata is 255", f"{share:.2%}",
                                            "white roofs", "nodata=none"))
    with open_mosaic(path, nodata="none") as mosaic:
        assert mosaic.warnings == []
        rgb, valid = read_all(mosaic)
    np.testing.assert_array_equal(rgb, town(100, collar=20))
    assert valid.all()


@pytest.mark.parametrize(("roofs", "collar", "nodata"),
                         [(0, 60, 255), (100, 0, None), (100, 0, 0), (2, 60, 255)])
def test_true_gaps_are_not(tmp_path, roofs, collar, nodata):
    with open_mosaic(write_raster(tmp_path / "a.tif", town(roofs, collar),
                                  nodata=nodata)) as mosaic:
        assert mosaic.warnings == []


def test_a_large_raster_is_looked_at_in_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(stretch_module, "SEARCHED_PIXELS", 9 * 64 ** 2)
    sizes, read_view = [], stretch_module.read_view

    def counted(view, window):
        sizes.append((window.width, window.height))
        return read_view(view, window)
    monkeypatch.setattr(stretch_module, "read_view", counted)
    with open_mosaic(write_raster(tmp_path / "a.tif", town(400), nodata=255)) as mosaic:
        assert "white roofs" in mosaic.warnings[0]
    assert sizes == [(64, 64)] * 9
