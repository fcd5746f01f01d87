"""Which bands become red, green and blue, palettes, and what counts as no imagery: as read, and as
resampled."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from datasets.prepare.imagery.mosaic import open_mosaic
from tests.datasets.prepare.places import PIXEL, UTM, grid, pixels, write_raster
from utils.errors import ConfigError, PrepareError


def read_all(path, **options):
    with open_mosaic(path, **options) as mosaic:
        return mosaic.read(Window(0, 0, mosaic.width, mosaic.height))


def with_meaning(path, *meanings):
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp[meaning] for meaning in meanings]
    return path


def source(band):
    return ('<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
            f"<SourceBand>{band}</SourceBand></SimpleSource>")


def write_vrt(path, bands, side):
    """Write a square VRT with the georeference of `write_raster`."""
    transform = ", ".join(map(str, grid().to_gdal()))
    path.write_text(f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><SRS>{UTM}</SRS>'
                    f"<GeoTransform>{transform}</GeoTransform>{bands}</VRTDataset>")
    return path


@pytest.mark.parametrize(("meanings", "bands", "expected"), [
    (["gray", "undefined", "undefined", "undefined"], None, [1, 2, 3]),
    (["blue", "green", "red", "undefined"], None, [3, 2, 1]),
    (["red", "green", "blue", "alpha"], None, [1, 2, 3]),
    (["alpha", "undefined", "undefined", "undefined"], None, [2, 3, 4]),
    (["red", "green", "blue", "undefined"], [4, 1, 2], [4, 1, 2]),
    (["red", "green", "blue", "undefined"], [2, 2, 2], [2, 2, 2]),
])
def test_bands(tmp_path, meanings, bands, expected):
    image = pixels(9, 8, bands=4)
    path = with_meaning(write_raster(tmp_path / "a.tif", image, photometric="MINISBLACK"),
                        *meanings)
    rgb, valid = read_all(path, bands=bands)
    np.testing.assert_array_equal(rgb, image[..., np.array(expected) - 1])
    assert valid.all()


def test_one_band_made_grey(tmp_path):
    image = pixels(9, 8, bands=1)
    rgb, _ = read_all(write_raster(tmp_path / "a.tif", image), bands=[1, 1, 1])
    np.testing.assert_array_equal(rgb, image.repeat(3, axis=2))


@pytest.mark.parametrize(("options", "phrases"), [
    ({"bands": [1, 2]}, ["bands=[1, 2]", "three band numbers", "[1,1,1]"]),
    ({"bands": [0, 1, 2]}, ["bands=[0, 1, 2]", "from 1"]),
    ({"nodata": "zero"}, ["nodata=zero", "file, none, or a number"]),
    ({"nodata": "inf"}, ["nodata=inf", "file, none, or a number"]),
    ({"nodata": float("-inf")}, ["nodata=-inf", "file, none, or a number"]),
    ({"raster_crs": "EPSG:1"}, ["raster_crs=EPSG:1", "EPSG:32648"]),
    ({"raster_crs": "http://127.0.0.1:9/crs"}, ["raster_crs=http://127.0.0.1:9/crs", "EPSG:32648"]),
    ({"raster_crs": "/vsicurl/http:/x"}, ["raster_crs=/vsicurl/http:/x", "EPSG:32648"]),
    ({"raster_crs": 'LOCAL_CS["site",UNIT["metre",1]]'}, ["neither geographic nor projected"]),
    ({"resolution": 0}, ["resolution=0", "above 0"]),
    ({"stretch": [98, 2]}, ["stretch=[98.0, 2.0]", "between 0 and 100"]),
    ({"stretch": [2]}, ["stretch=[2.0]", "two rising percentiles"]),
])
def test_impossible_values(tmp_path, options, phrases):
    with pytest.raises(ConfigError) as raised:
        open_mosaic(write_raster(tmp_path / "a.tif", pixels(9, 8)), **options)
    assert all(phrase in str(raised.value) for phrase in phrases)
    assert "\n" not in str(raised.value)


PALETTE = {0: (0, 0, 0, 255), 1: (200, 10, 30, 255), 2: (20, 180, 40, 255),
           3: (255, 255, 255, 255)}


def palette_raster(path, indices, **profile):
    write_raster(path, indices[..., None], **profile)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, PALETTE)
    return path


def test_a_palette_is_looked_up(tmp_path):
    indices = np.random.default_rng(1).integers(0, 4, (40, 40), dtype=np.uint8)
    path = palette_raster(tmp_path / "a.tif", indices)
    rgb, valid = read_all(path)
    np.testing.assert_array_equal(rgb, np.array([PALETTE[index][:3] for index in range(4)],
                                                np.uint8)[indices])
    assert valid.all()
    rgb, valid = read_all(path, bands=[1, 1, 1])
    np.testing.assert_array_equal(rgb[..., 0], indices)
    assert valid.all()


def test_a_transparent_colour_of_a_palette_is_no_imagery(tmp_path):
    indices = np.random.default_rng(1).integers(0, 2, (40, 40), dtype=np.uint8)
    write_raster(tmp_path / "a.tif", indices[..., None])
    band = ('<VRTRasterBand dataType="Byte" band="1"><ColorInterp>Palette</ColorInterp>'
            '<ColorTable><Entry c1="9" c2="9" c3="9" c4="0"/>'
            f'<Entry c1="200" c2="10" c3="30" c4="255"/></ColorTable>{source(1)}</VRTRasterBand>')
    rgb, valid = read_all(write_vrt(tmp_path / "a.vrt", band, 40))
    np.testing.assert_array_equal(valid, indices > 0)
    assert (rgb[valid] == [200, 10, 30]).all()


def test_a_palettes_colours_and_not_its_indices_are_averaged(tmp_path):
    columns = np.tile(np.array([1, 3], np.uint8), (40, 20))
    rgb, valid = read_all(palette_raster(tmp_path / "a.tif", columns), resolution=2 * PIXEL)
    assert (np.abs(rgb[2:-2, 2:-2].astype(int) - (228, 132, 142)) <= 1).all()
    assert valid.all()


def test_the_nodata_of_a_palette(tmp_path):
    indices = np.random.default_rng(1).integers(1, 4, (40, 40), dtype=np.uint8)
    path = palette_raster(tmp_path / "a.tif", indices, nodata=2)
    np.testing.assert_array_equal(read_all(path)[1], indices != 2)
    assert read_all(path, nodata="none")[1].all()
    # the value of white
    np.testing.assert_array_equal(read_all(path, nodata=255)[1], indices != 3)


def hole_raster(path, kind, dtype=np.uint8):
    """Write 40 x 40 pixels, 10 x 12 of them without imagery but bright, unless `kind` is nodata."""
    image = pixels(40, 40, bands=4 if kind == "alpha" else 3).astype(dtype)
    hole = np.zeros((40, 40), bool)
    hole[10:20, 8:20] = True
    if kind == "nodata":
        image[hole] = 0
    if kind == "nan":
        image[hole] = np.nan
    if kind == "alpha":
        image[..., 3] = np.where(hole, 0, 255)
    write_raster(path, image, grid(), nodata=0 if kind == "nodata" else None, photometric="RGB")
    if kind == "alpha":
        with_meaning(path, "red", "green", "blue", "alpha")
    if kind == "mask":
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(~hole)
    return path, hole


@pytest.mark.parametrize(("kind", "dtype"), [
    (kind, dtype) for kind in ("nodata", "alpha", "mask")
    for dtype in ("uint8", "uint16", "int16", "float32")
] + [("nan", "float32"), ("nan", "float64")])
def test_pixels_without_imagery(tmp_path, kind, dtype):
    path, hole = hole_raster(tmp_path / "a.tif", kind, dtype)
    rgb, valid = read_all(path)
    np.testing.assert_array_equal(valid, ~hole)
    assert not rgb[hole].any()
    assert (rgb[~hole] > 0).any(1).mean() > 0.98
    # sets the grid, off that of the other
    write_raster(tmp_path / "0.tif", pixels(1, 1).astype(dtype), grid(-9.5, -9.5))
    rgb, valid = read_all(tmp_path)
    assert not valid[21:28, 19:28].any()
    assert not rgb[21:28, 19:28].any()
    # half a pixel along the hole's border
    assert (valid[10:49, 10:49] != ~hole[:39, :39]).sum() < 60


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
def test_every_pixel_counts(tmp_path, kind):
    path, _ = hole_raster(tmp_path / "a.tif", kind)
    rgb, valid = read_all(path, nodata="none")
    assert valid.all()
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(rgb, np.moveaxis(dataset.read([1, 2, 3]), 0, -1))


@pytest.mark.parametrize("nodata", ["7", 7, "7.0"])
def test_a_value_that_means_no_imagery_has_to_be_in_all_three_bands(tmp_path, nodata):
    image = pixels(20, 20).clip(8)
    image[3, 4] = 7
    image[5, 6, :2] = 7
    rgb, valid = read_all(write_raster(tmp_path / "a.tif", image, nodata=9), nodata=nodata)
    assert np.argwhere(~valid).tolist() == [[3, 4]]
    np.testing.assert_array_equal(rgb[valid], image[valid])


def test_a_fourth_band_does_not_make_imagery(tmp_path):
    image = pixels(20, 20, bands=4)
    image[3, 4, :3] = 0
    _, valid = read_all(write_raster(tmp_path / "a.tif", image, nodata=0,
                                     photometric="MINISBLACK"))
    assert np.argwhere(~valid).tolist() == [[3, 4]]


def test_one_band_at_its_nodata_value_survives_resampling(tmp_path):
    image = np.full((40, 40, 3), 200, np.uint8)
    image[..., 0] = 0  # pure cyan, all over
    image[:, 30:] = 0
    rgb, valid = read_all(write_raster(tmp_path / "a.tif", image, nodata=0), resolution=2 * PIXEL)
    assert valid[:, :14].all()
    assert (rgb[:, :14] == [0, 200, 200]).all()
    assert not valid[:, 16:].any()


def test_gaps_do_not_bleed_into_what_is_averaged(tmp_path):
    image = np.full((40, 40, 3), 200, np.uint8)
    image[:, 21:] = 0
    rgb, valid = read_all(write_raster(tmp_path / "a.tif", image, nodata=0), resolution=4 * PIXEL)
    assert (rgb[valid] == 200).all()


def test_a_nodata_value_that_the_type_cannot_hold_means_nothing(tmp_path):
    image = pixels(20, 20)
    write_raster(tmp_path / "a.tif", image)
    bands = "".join(f'<VRTRasterBand dataType="Byte" band="{band}">'
                    f"<NoDataValue>-9999</NoDataValue>{source(band)}</VRTRasterBand>"
                    for band in (1, 2, 3))
    rgb, valid = read_all(write_vrt(tmp_path / "a.vrt", bands, 20))
    np.testing.assert_array_equal(rgb, image)
    assert valid.all()


def test_a_band_that_is_missing(tmp_path):
    message = r"a.tif: bands=\[1,2,5\], but the raster has 3 band\(s\). Choose three of 1..3"
    with pytest.raises(PrepareError, match=message):
        read_all(write_raster(tmp_path / "a.tif", pixels(9, 9)), bands=[1, 2, 5])


@pytest.mark.parametrize(("dtype", "faint"), [("float32", 0.2), ("uint16", 1), ("uint8", 1)])
def test_faint_alpha_is_imagery(tmp_path, dtype, faint):
    image = pixels(20, 20, bands=4).astype(dtype)
    image[..., 3] = faint
    image[:5, :, 3] = 0
    path = with_meaning(write_raster(tmp_path / "a.tif", image, photometric="RGB"), "red", "green",
                        "blue", "alpha")
    np.testing.assert_array_equal(read_all(path)[1],
                                  np.arange(20)[:, None].repeat(20, axis=1) >= 5)


@pytest.mark.parametrize(("dtype", "nodata", "pixel"), [
    ("float32", -3.4028234663852886e38, -3.4028232e38), ("float32", 0.1, 0.10000001),
    ("float64", -9999.0, -9999.0), ("float32", float("nan"), np.nan),
])
@pytest.mark.parametrize("options", [{}, {"resolution": 2 * PIXEL}], ids=["own", "resampled"])
def test_nodata_of_floats_is_compared_as_gdal_does(tmp_path, dtype, nodata, pixel, options):
    image = pixels(40, 40).astype(dtype)
    image[:20] = pixel
    path = write_raster(tmp_path / "a.tif", image, nodata=nodata)
    with rasterio.open(path) as dataset:
        assert not dataset.read_masks(1)[:20].any()
    _, valid = read_all(path, **options)
    half = len(valid) // 2
    assert not valid[:half - 1].any()
    assert valid[half + 1:].all()


@pytest.mark.parametrize(("values", "dtype", "expected"), [
    (np.full((9, 9, 3), 7), "uint16", [0]), (np.zeros((9, 9, 3)), "float32", [0]),
    (np.full((9, 9, 3), np.nan), "float32", [0]),
    (pixels(9, 9) % 2 * 65535.0, "uint16", [0, 255]),
])
def test_a_stretch_of_few_values(tmp_path, values, dtype, expected):
    path = write_raster(tmp_path / "a.tif", values.astype(dtype))
    rgb, valid = read_all(path)
    assert np.unique(rgb).tolist() == expected
    assert valid.all() == np.isfinite(values).all()
@pytest.mark.parametrize("name", ["{}", "{GUID}", "a%s%d", "a[1]", "a&<b", "a'\"b", "${x}"])
@pytest.mark.parametrize("indirectly", [False, True])
def test_no_name_is_a_template(tmp_path, name, indirectly):
    image = pixels(9, 8, bands=4)
    (tmp_path / name).mkdir()
    path = write_raster(tmp_path / name / f"{name}.tif", image, photometric="RGB", alpha="YES")
    rgb, valid = read_all(tmp_path / name / "*.tif" if indirectly else path)
    np.testing.assert_array_equal(rgb, image[..., :3])
    assert (valid == (image[..., 3] > 0)).all()
