"""bbox= reads files as if they were cut to their whole pixels that touch the box."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from datasets.bbox import BBox
from datasets.prepare.imagery.mosaic import Mosaic, open_mosaic
from tests.datasets.prepare.places import UTM, grid, pixels, write_raster
from tests.datasets.prepare.web_map import IMAGE as MAP
from tests.datasets.prepare.web_map import as_archive, as_geotiff, write_tiles
from utils.errors import PrepareError

IMAGE = pixels(100, 120)
LEFT, TOP, RIGHT, BOTTOM = 33, 21, 90, 70
CUT = np.s_[TOP:BOTTOM, LEFT:RIGHT]


def box_of(left=LEFT, top=TOP, right=RIGHT, bottom=BOTTOM):
    """Return a box inside these pixels whose own box in UTM is as good as these."""
    west, north = grid(left + 0.2, top + 0.2) @ (0, 0)
    east, south = grid(right - 0.2, bottom - 0.2) @ (0, 0)
    return BBox(*transform_bounds(UTM, "EPSG:4326", west, south, east, north))


def read_all(path, **options):
    with open_mosaic(path, **options) as opened:
        mosaic = Mosaic.from_dict(json.loads(json.dumps(opened.to_dict())))
    with mosaic:
        return *mosaic.read(Window(0, 0, mosaic.width, mosaic.height)), mosaic


def one(folder, image):
    return write_raster(folder / "a.tif", image)


def chips(folder, image):
    for row in range(0, 100, 40):
        for col in range(0, 120, 40):
            write_raster(folder / f"{row}_{col}.tif", image[row:row + 40, col:col + 40],
                         grid(col, row))
    return folder


def bands(folder, image):
    for band, name in enumerate(("T_B04.tif", "T_B03.tif", "T_B02.tif")):
        write_raster(folder / name, image[..., band:band + 1])
    return folder


def with_alpha(folder, image):
    alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
    return write_raster(folder / "a.tif", np.dstack([image, alpha]), photometric="RGB",
                        alpha="YES")


@pytest.mark.parametrize("make", [one, chips, bands, with_alpha])
def test_a_mosaic_is_cut_to_whole_pixels(tmp_path, make):
    rgb, valid, mosaic = read_all(make(tmp_path, IMAGE), bbox=box_of())
    np.testing.assert_array_equal(rgb, IMAGE[CUT])
    assert valid.all()
    assert mosaic.transform.almost_equals(grid(LEFT, TOP))
    np.testing.assert_array_equal(mosaic.read(Window(10, 5, 20, 30))[0], IMAGE[CUT][5:35, 10:30])
    assert mosaic.thumbnail(1000)[0].shape == rgb.shape
    np.testing.assert_array_equal(mosaic.thumbnail(1000)[0], rgb)


def test_a_box_around_all_changes_nothing(tmp_path):
    path = one(tmp_path, IMAGE)
    with open_mosaic(path) as whole, open_mosaic(path, bbox=BBox(14, 49, 16, 50)) as boxed:
        assert boxed.to_dict() == whole.to_dict()


@pytest.mark.parametrize("resolution", [None, 0.8])
def test_16_bit_imagery_is_stretched_by_the_crop_alone(tmp_path, resolution):
    """As the same crop in a file of its own, overviews included."""
    image = IMAGE.astype(np.uint16) * 3
    image[:, 100:] = 60_000
    path = one(tmp_path, image)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2])
    (tmp_path / "cut").mkdir()
    alone = write_raster(tmp_path / "cut/a.tif", image[CUT], grid(LEFT, TOP))
    rgb, valid, mosaic = read_all(path, bbox=box_of(), resolution=resolution)
    wanted, wanted_valid, reference = read_all(alone, resolution=resolution)
    assert mosaic.stretch == reference.stretch
    np.testing.assert_array_equal(rgb, wanted)
    np.testing.assert_array_equal(valid, wanted_valid)


def test_overviews_of_a_crop(tmp_path):
    ramp = np.mgrid[:100, :120][1].astype(np.uint8)[..., None].repeat(3, 2)
    path = one(tmp_path, ramp)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], rasterio.enums.Resampling.average)
    rgb, valid, mosaic = read_all(path, bbox=box_of(), resolution=2)  # four pixels to one
    assert valid[1:-1, 1:-1].all()
    columns = [(mosaic.transform @ (col + 0.5, 0))[0] for col in range(mosaic.width)]
    expected = [(~grid() @ (x, 0))[0] - 0.5 for x in columns]
    assert np.abs(rgb[3, 1:-1, 0].astype(float) - expected[1:-1]).max() < 1.5


def test_a_palette_and_a_rotated_file(tmp_path):
    path = write_raster(tmp_path / "p.tif", IMAGE[..., :1])
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {value: (value, 255 - value, 7, 255) for value in range(256)})
        dataset.colorinterp = [ColorInterp.palette]
    rgb, _, _ = read_all(path, bbox=box_of())
    np.testing.assert_array_equal(rgb[..., 0], IMAGE[CUT][..., 0])
    turned = write_raster(tmp_path / "r.tif", IMAGE, grid() @ Affine.rotation(30))
    valid, whole = read_all(turned, bbox=box_of(0, 10, 20, 30))[1], read_all(turned)[1]
    assert 0 < valid.sum() < whole.sum()


@pytest.mark.parametrize("kind", ["folder", "a.mbtiles", "a.pmtiles"])
def test_web_map_tiles_are_cut_as_the_geotiff(tmp_path, kind):
    path = (write_tiles(tmp_path / "tiles") if kind == "folder" else as_archive(tmp_path / kind))
    with rasterio.open(as_geotiff(tmp_path / "map.tif")) as dataset:
        west, south, east, north = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    box = BBox(west + 0.3 * (east - west), south + 0.2 * (north - south),
               west + 0.7 * (east - west), south + 0.5 * (north - south))
    wanted, _, reference = read_all(tmp_path / "map.tif", bbox=box)
    rgb, valid, mosaic = read_all(path, bbox=box)
    np.testing.assert_array_equal(rgb, wanted)
    assert valid.all()
    assert rgb.shape[0] < MAP.shape[0] / 2
    assert mosaic.transform.almost_equals(reference.transform, 1e-6)


def test_a_file_outside_the_box_is_not_opened_again(tmp_path):
    folder = chips(tmp_path, IMAGE)
    content = (folder / "80_80.tif").read_bytes()
    (folder / "80_80.tif").write_bytes(content[:-2000])  # its pixels are damaged
    assert read_all(folder, bbox=box_of())[1].all()


def test_a_box_outside_names_both_extents(tmp_path):
    with pytest.raises(PrepareError, match=r"bbox=\[1,2,3,4\] lies outside the imagery, which "
                                           r"reaches over \[15.00000,49.652"):
        open_mosaic(chips(tmp_path, IMAGE), bbox=BBox(1, 2, 3, 4))
