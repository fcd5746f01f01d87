"""Every raster of the edge cases, the chips and the aerial images, where at hand: prepared, or
refused with a remedy that works."""

import shutil

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.rio.main import main_group
from rasterio.windows import Window

from datasets.prepare.imagery.mosaic import open_mosaic
from utils.errors import PrepareError

GREY = {"bands": [1, 1, 1]}
# file, options, width, height, metres a pixel, share with imagery, words of its warning
PREPARED = [
    ("1091-322_00", {}, 875, 600, 0.5, 1, None),
    ("5b3622402b6a08001185f8d8_10_00004", {}, 2048, 2048, 0.0664, 1, "pure white (255)"),
    ("5b90f92da0d7280005fab355_4310", {}, 2048, 2048, 0.0968, 1, "pure black (0)"),
    ("OSBS_029", {}, 400, 400, 0.1, 0.9971, "nodata is 255, but 0.2"),
    ("OSBS_029", {"nodata": "none"}, 400, 400, 0.1, 1, None),
    ("m_4709963_se_14_1_20170827", {}, 934, 724, 5.002, 1, None),
    ("m_4709963_se_14_1_20170827", {"resolution": 20}, 234, 181, 20, 1, None),
    ("pix4d_alpha_nodata", {}, 686, 758, 0.3527, 0.8754, None),
    ("sample_geotiff", GREY, 900, 900, 0.5, 1, None),
    ("test_tiled", {}, 1000, 1000, 0.25, 1, None),
]
REFUSED = [
    ("1087767-1046604-21", {}, ["has no geotransform (found (1.0, 0.0, 0.0", "rio edit-info"]),
    ("1087767-1046604-21", {"raster_crs": "EPSG:3857"}, ["has no geotransform", "rio edit-info"]),
    ("cog_gcps", {}, ["210 ground control points", "rio warp"]),
    ("sample_geotiff", {}, ["has 1 band(s)", "bands=[1,1,1]"]),
    ("test_tiled", {"raster_crs": "EPSG:3857"}, ["raster_crs=EPSG:3857, but the raster has "
                                                 "EPSG:28992", "Leave it out"]),
]


@pytest.fixture(scope="module")
def edgecases(shared):
    folder = shared / "data/edgecases"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


def test_every_file_is_tried(edgecases):
    assert {path.stem for path in edgecases.glob("*.tif")} == {name
                                                               for name, *_ in PREPARED + REFUSED}


@pytest.mark.parametrize(("name", "options", "width", "height", "metres", "share", "warning"),
                         PREPARED)
def test_prepared(edgecases, name, options, width, height, metres, share, warning):
    path = edgecases / f"{name}.tif"
    with open_mosaic(path, **options) as mosaic:
        rgb, valid = mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
        assert (mosaic.width, mosaic.height) == (width, height)
        assert mosaic.metres_per_pixel == pytest.approx((metres, metres), rel=2e-3)
        assert [bool(warning and warning in message)
                for message in mosaic.warnings] == ([True] if warning else [])
    assert valid.mean() == pytest.approx(share, abs=1e-3)
    assert not rgb[~valid].any()
    with rasterio.open(path) as dataset:
        if mosaic.stretch is None and "resolution" not in options:
            np.testing.assert_array_equal(rgb[valid],
                                          np.moveaxis(dataset.read([1, 2, 3]), 0, -1)[valid])
        elif mosaic.stretch:
            assert mosaic.stretch == [[126, 1109]] * 3
            assert np.percentile(rgb, (2, 50, 98)) == pytest.approx((0, 72, 255), abs=4)


@pytest.mark.parametrize(("name", "options", "phrases"), REFUSED)
def test_refused(edgecases, name, options, phrases):
    with pytest.raises(PrepareError) as raised:
        open_mosaic(edgecases / f"{name}.tif", **options)
    assert all(phrase in str(raised.value) for phrase in (f"{name}.tif", *phrases))
    assert "\n" not in str(raised.value)


def rio(*arguments):
    result = CliRunner().invoke(main_group, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_the_remedy_of_control_points(edgecases, tmp_path):
    rio("warp", edgecases / "cog_gcps.tif", tmp_path / "warped.tif", "--dst-crs", "EPSG:4326",
        "--resampling", "bilinear")
    with open_mosaic(tmp_path / "warped.tif", bands=[1, 1, 1], nodata=0) as mosaic:
        rgb, valid = mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
    assert 0.4 < valid.mean() < 0.9  # a scene of a satellite lies askew
    assert rgb[valid].std() > 20


def test_the_remedy_of_no_georeference(edgecases, tmp_path):
    path = tmp_path / "a.tif"
    shutil.copyfile(edgecases / "1087767-1046604-21.tif", path)
    rio("edit-info", path, "--crs", "EPSG:3857", "--transform",
        "[0.0746, 0, 767000, 0, -0.0746, 33000]")
    with open_mosaic(path) as mosaic:
        rgb, valid = mosaic.read(Window(0, 0, 256, 256))
        assert mosaic.bounds[0] == 767000
    assert valid.all()
    assert rgb.std() > 20


@pytest.mark.parametrize("resolution", [None, 0.3, 1.0])
def test_chips_have_no_seam(shared, resolution):
    folder = shared / "data/banepa_nepal/train/oam"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    with open_mosaic(folder, resolution=resolution) as mosaic:
        assert mosaic.warnings == []
        assert mosaic.read(Window(0, 0, mosaic.width, mosaic.height))[1].all()
        assert mosaic.thumbnail(300)[1].all()
        assert mosaic.metres_per_pixel == pytest.approx((resolution or 0.1320,) * 2, rel=5e-3)


@pytest.mark.parametrize(("name", "metres"),
                         [("a702502933_US_21", 0.596), ("n4503852781_DE_", 0.195)])
def test_aerial_images(shared, name, metres):
    path = shared / f"data/geolink_pairs/{name}.tif"
    if not path.is_file():
        pytest.skip(f"no real data at {path}")
    with open_mosaic(path) as mosaic:
        assert mosaic.read(Window(0, 0, mosaic.width, mosaic.height))[1].all()
        assert mosaic.metres_per_pixel == pytest.approx((metres, metres), rel=5e-3)
