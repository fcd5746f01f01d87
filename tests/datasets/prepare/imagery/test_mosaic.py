"""Window reads of one file and of many, and which pixels hold imagery."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.transform import array_bounds
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from datasets.prepare.imagery import mosaic as raster_module
from datasets.prepare.imagery.mosaic import Mosaic, open_mosaic
from tests.datasets.prepare.places import NORTH, PIXEL, UTM, WEST, grid, pixels, write_raster
from utils.errors import PrepareError


def read_all(path):
    with open_mosaic(path) as mosaic:
        return mosaic.read(Window(0, 0, mosaic.width, mosaic.height))


def cut(folder, image, side=40, transform=lambda row, col, side: grid(col, row)):
    """Write chips of an image, each with its own georeference."""
    for row in range(0, image.shape[0], side):
        for col in range(0, image.shape[1], side):
            write_raster(folder / f"chip_{row}_{col}.tif", image[row:row + side, col:col + side],
                         transform(row, col, side))
    return folder


def test_a_single_file_is_read_as_it_is(tmp_path):
    image = pixels(50, 60)
    with open_mosaic(write_raster(tmp_path / "a.tif", image)) as mosaic:
        rgb, valid = mosaic.read(Window(7, 11, 20, 30))
        assert (mosaic.width, mosaic.height, mosaic.transform,
                mosaic.crs.to_epsg()) == (60, 50, grid(), 32633)
    np.testing.assert_array_equal(rgb, image[11:41, 7:27])
    assert valid.all()


@pytest.mark.parametrize("pattern", ["", "*.tif"], ids=["folder", "glob"])
def test_a_mosaic_of_chips_equals_the_uncut_raster(tmp_path, pattern):
    image = pixels(100, 130)
    with open_mosaic(cut(tmp_path, image) / pattern) as mosaic:
        assert mosaic.transform == grid()
        rgb, valid = mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
        crop, _ = mosaic.read(Window(33, 21, 64, 64))
    np.testing.assert_array_equal(rgb, image)
    np.testing.assert_array_equal(crop, image[21:85, 33:97])
    assert valid.all()


def test_few_files_are_open_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(raster_module, "MAX_OPEN", 2)
    image = pixels(80, 80)
    with open_mosaic(cut(tmp_path, image, side=20)) as mosaic:
        rgb, _ = mosaic.read(Window(0, 0, 80, 80))
        assert len(mosaic._readers) == 2
    np.testing.assert_array_equal(rgb, image)


def test_chips_whose_pixel_size_drifts_leave_no_seam_and_are_not_resampled(tmp_path):
    """As in chips of a web map: each row's pixels are some 6e-6 smaller than those of the row
    above, and the rows adjoin."""
    image = pixels(120, 80)
    heights = PIXEL * (1 + 6e-6 * np.arange(3))
    tops = NORTH - np.concatenate([[0], np.cumsum(heights * 40)])

    def drifting(row, col, side):
        return Affine(PIXEL, 0, WEST + col * PIXEL, 0, -heights[row // side], tops[row // side])

    rgb, valid = read_all(cut(tmp_path, image, transform=drifting))
    np.testing.assert_array_equal(rgb, image)
    assert valid.all()


def test_a_chip_off_the_grid_is_resampled_onto_it(tmp_path):
    ramp = np.repeat(np.linspace(0, 200, 41, dtype=np.uint8)[None, :, None], 40,
                     axis=0).repeat(3, axis=2)  # 5 more a pixel
    write_raster(tmp_path / "a.tif", ramp[:, :20])
    write_raster(tmp_path / "b.tif", ramp[:, 20:], grid(20.5, 0))
    rgb, valid = read_all(tmp_path)
    assert rgb.shape == (40, 41, 3)
    np.testing.assert_array_equal(rgb[:, :20], ramp[:, :20])
    assert np.abs(rgb[1:-1, 22:40, 0].astype(float) - (5 * np.arange(22, 40) - 2.5)).max() <= 1
    assert valid.all()


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


def lattice(side: int = 64) -> np.ndarray:
    """Return a smooth picture whose colours reveal the position: red grows eastwards, green
    southwards."""
    row, col = np.mgrid[:side, :side] * (250 / side)
    return np.stack([col, row, np.full_like(row, 99)], axis=-1).astype(np.uint8)


def test_a_vrt_is_read_and_its_files_are_listed(tmp_path):
    image = pixels(40, 80)
    write_raster(tmp_path / "a.tif", image[:, :40])
    write_raster(tmp_path / "b.tif", image[:, 40:], grid(40))
    write_vrt(tmp_path / "pair.vrt", ["a.tif", "b.tif"])
    write_vrt(tmp_path / "outer.vrt", ["pair.vrt"], (80,))
    for name, files in (("pair", ["pair.vrt", "a.tif", "b.tif"]),
                        ("outer", ["outer.vrt", "pair.vrt", "a.tif", "b.tif"])):
        with open_mosaic(tmp_path / f"{name}.vrt") as mosaic:
            assert [file.name for file in mosaic.files] == files
            rgb, valid = mosaic.read(Window(0, 0, 80, 40))
            np.testing.assert_array_equal(rgb, image)
            assert valid.all()


def write_vrt(path, names, widths=(40, 40)):
    """Write a VRT of three bands over files of 40 rows side by side."""
    bands = ""
    for band in (1, 2, 3):
        bands += f'<VRTRasterBand dataType="Byte" band="{band}">'
        for index, name in enumerate(names):
            size = f'yOff="0" xSize="{widths[index]}" ySize="40"'
            bands += (f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename>'
                      f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" {size}/>'
                      f'<DstRect xOff="{sum(widths[:index])}" {size}/></SimpleSource>')
        bands += "</VRTRasterBand>"
    transform = ", ".join(map(str, grid().to_gdal()))
    path.write_text(f'<VRTDataset rasterXSize="80" rasterYSize="40"><SRS>{UTM}</SRS>'
                    f"<GeoTransform>{transform}</GeoTransform>{bands}</VRTDataset>")


def test_a_vrt_without_its_file(tmp_path):
    write_vrt(tmp_path / "pair.vrt", ["a.tif", "b.tif"])
    with pytest.raises(PrepareError,
                       match=r"pair.vrt: the VRT names .*a.tif, and there is no such file"):
        open_mosaic(tmp_path / "pair.vrt")


def test_files_beside_a_raster_are_listed(tmp_path):
    path = write_raster(tmp_path / "a.tif", pixels(40, 40))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.ones((40, 40), bool))
    with open_mosaic(path) as mosaic:
        assert {file.name for file in mosaic.files} == {"a.tif", "a.tif.msk"}


def test_a_folder_of_geotiffs_leaves_their_vrt_out(tmp_path):
    write_raster(tmp_path / "a.tif", pixels(40, 40))
    write_raster(tmp_path / "b.tif", pixels(40, 40), grid(40))
    write_vrt(tmp_path / "pair.vrt", ["a.tif", "b.tif"])
    with open_mosaic(tmp_path) as mosaic:
        assert [source.path.name for source in mosaic.sources] == ["a.tif", "b.tif"]


def test_a_file_of_another_crs_is_warped_to_the_first(tmp_path):
    """The same picture twice: in UTM on the left half, in degrees over all of it."""
    image = lattice()
    write_raster(tmp_path / "a.tif", image[:, :32])
    west, south, east, north = transform_bounds(UTM, "EPSG:4326", *array_bounds(64, 64, grid()))
    degrees = Affine((east - west) / 128, 0, west, 0, (south - north) / 128, north)
    warped = np.zeros((3, 128, 128), np.uint8)
    reproject(np.moveaxis(image, -1, 0), warped, src_transform=grid(), src_crs=UTM,
              dst_transform=degrees, dst_crs="EPSG:4326",
              resampling=Resampling.bilinear)
    write_raster(tmp_path / "b.tif", np.moveaxis(warped, 0, -1), degrees, crs="EPSG:4326",
                 nodata=0)
    with open_mosaic(tmp_path) as mosaic:
        (warning,) = mosaic.warnings
        for phrase in ("b.tif", "CRS EPSG:4326", "warped to EPSG:32633", "a.tif"):
            assert phrase in warning
        assert mosaic.crs.to_epsg() == 32633
        rgb, valid = mosaic.read(Window(0, 0, 64, 64))
    np.testing.assert_array_equal(rgb[:, :32], image[:, :32])
    assert valid[2:-2, :-2].all()
    assert np.abs(rgb[2:-2, 34:-2].astype(int) - image[2:-2, 34:-2]).max() <= 6  # a pixel is 3.9


def test_a_file_that_has_no_place_in_the_first_ones_crs(tmp_path):
    write_raster(tmp_path / "a.tif", pixels(9, 9))
    write_raster(tmp_path / "b.tif", pixels(9, 9), Affine(1e7, 0, 9e8, 0, -1e7, 9e8),
                 crs="EPSG:2056")
    with pytest.raises(PrepareError,
                       match=r"b.tif: the raster \(EPSG:2056\) has no place in EPSG:32633"):
        open_mosaic(tmp_path)


def test_a_flipped_raster_is_turned(tmp_path):
    image = pixels(30, 40)
    for name, turned, transform in (
        ("south_up", image[::-1], grid(0, 30) @ Affine.scale(1, -1)),
        ("east_first", image[:, ::-1], grid(40, 0) @ Affine.scale(-1, 1)),
        ("columns_first", image.swapaxes(0, 1), grid() @ Affine(0, 1, 0, 1, 0, 0)),
    ):
        with open_mosaic(write_raster(tmp_path / f"{name}.tif", turned, transform)) as mosaic:
            assert f"{name}.tif: rotated or flipped" in mosaic.warnings[0]
            assert mosaic.transform == grid()
            rgb, valid = mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
        np.testing.assert_array_equal(rgb, image)
        assert valid.all()


def test_a_rotated_raster_is_straightened(tmp_path):
    image = lattice()
    with open_mosaic(write_raster(tmp_path / "a.tif", image,
                                  grid(100, 100) @ Affine.rotation(30))) as mosaic:
        rgb, valid = mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
        assert valid.mean() == pytest.approx(64 ** 2 / (mosaic.width * mosaic.height), abs=0.02)
        own = ~(grid(100, 100) @ Affine.rotation(30))
        for col, row in ((40, 40), (30, 50), (55, 35)):
            x, y = own @ (mosaic.transform @ (col + 0.5, row + 0.5))
            assert np.abs(rgb[row, col, :2] - np.array([x - 0.5, y - 0.5]) * 250 / 64).max() < 3
            assert valid[row, col]


@pytest.mark.parametrize(("crs", "transform", "metres"), [
    (UTM, grid(), (0.5002, 0.5002)),  # 0.9996 metres of UTM are a metre on its central meridian
    ("EPSG:4326", Affine(1e-5, 0, 24.9, 0, -1e-5, 60.2), (0.5549, 1.1141)),
    ("EPSG:3857", Affine(1, 0, 2_770_000, 0, -1, 8_440_000), (0.4985, 0.4969)),
])
@pytest.mark.parametrize("resolution", [0.25, 2.0])
def test_resolution_in_true_metres(tmp_path, crs, transform, metres, resolution):
    path = write_raster(tmp_path / "a.tif", lattice(80), transform, crs)
    with open_mosaic(path) as mosaic:
        assert mosaic.metres_per_pixel == pytest.approx(metres, rel=5e-3)
        own, bounds = np.array(mosaic.metres_per_pixel), mosaic.bounds
    with open_mosaic(path, resolution=resolution) as mosaic:
        assert mosaic.metres_per_pixel == pytest.approx((resolution, resolution), rel=1e-5)
        assert np.abs(np.array([mosaic.width, mosaic.height])
                      - 80 * own / resolution).max() <= 0.52
        np.testing.assert_allclose(mosaic.bounds[::3], bounds[::3])
        rgb, valid = mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
        crop, _ = mosaic.read(Window(3, 5, 11, 9))
    assert valid.all()
    np.testing.assert_array_equal(crop, rgb[5:14, 3:14])  # whatever the window
    row, col = np.mgrid[:mosaic.height, :mosaic.width] + 0.5
    # pixels of the file
    expected = np.stack([col * resolution / own[0], row * resolution / own[1]], axis=-1) - 0.5
    error = rgb[..., :2] - expected * 250 / 80
    assert np.abs(error)[1:-1, 1:-1].max() < 250 / 80


def test_a_resolution_that_the_raster_has_leaves_it_as_it_is(tmp_path):
    image = pixels(40, 40)
    with open_mosaic(write_raster(tmp_path / "a.tif", image), resolution=0.5) as mosaic:
        np.testing.assert_array_equal(mosaic.read(Window(0, 0, 40, 40))[0], image)


def test_a_resolution_off_the_earth(tmp_path):
    with pytest.raises(PrepareError, match=r"a.tif: .*no place on Earth.*rio info"):
        open_mosaic(write_raster(tmp_path / "a.tif", pixels(9, 9), Affine(1, 0, 0, 0, -1, 200),
                                 crs="EPSG:4326"), resolution=2)


def test_pixels_are_averaged_and_no_seam_is_left_between_chips(tmp_path):
    noise = np.random.default_rng(0).integers(80, 120, (150, 150, 3)).astype(np.uint8)
    with open_mosaic(cut(tmp_path, noise, side=37), resolution=3.3) as mosaic:
        rgb, valid = mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
        small, has_imagery = mosaic.thumbnail(10)
    assert valid.all()
    assert has_imagery.all()
    assert np.abs(rgb[1:-1, 1:-1].astype(float) - 99.5).max() < 12  # single pixels differ by 20
    assert small.shape[0] == 10
    assert mosaic.warnings == []  # it was asked for


def with_overviews(path, image):
    """Write a raster whose overviews have another colour, so that pixels show what was read."""
    write_raster(path, image, tiled=True, blockxsize=128, blockysize=128)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
        dataset.write(np.full((3, *image.shape[:2]), 50, np.uint8))
    return path


def test_overviews_serve_where_they_are_fine_enough(tmp_path):
    path = with_overviews(tmp_path / "a.tif", np.full((512, 512, 3), 200, np.uint8))
    for resolution, expected in ((0.9, 50), (1.1, 200), (4.2, 200)):
        with open_mosaic(path, resolution=resolution) as mosaic:
            rgb, valid = mosaic.read(Window(5, 5, 20, 20))
        assert (rgb == expected).all()
        assert valid.all()
    with open_mosaic(path) as mosaic:
        assert (mosaic.thumbnail(100)[0] == 200).all()
        assert (mosaic.thumbnail(512)[0] == 50).all()


@pytest.mark.parametrize("options", [{}, {"resolution": 0.8}], ids=["own", "resampled"])
def test_a_thumbnail_of_many_files(tmp_path, options):
    image = lattice(200)
    with open_mosaic(cut(tmp_path, image), **options) as mosaic:
        rgb, valid = mosaic.thumbnail(50)
    assert rgb.shape == (50, 50, 3)
    assert valid.all()
    assert np.abs(rgb.astype(int) - image[2::4, 2::4]).max() <= 8  # a pixel of it is 5


def test_a_thumbnail_is_never_larger_than_the_raster(tmp_path):
    image = pixels(30, 40)
    with open_mosaic(write_raster(tmp_path / "a.tif", image)) as mosaic:
        np.testing.assert_array_equal(mosaic.thumbnail(500)[0], image)


@pytest.mark.parametrize("options",
                         [{}, {"resolution": 0.8, "nodata": "7"},
                          {"bands": [3, 1, 1], "nodata": "none"}])
def test_another_process_reads_the_same_without_inspecting(tmp_path, monkeypatch, options):
    cut(tmp_path, pixels(80, 80))
    monkeypatch.chdir(tmp_path)
    with open_mosaic("*.tif", **options) as mosaic:
        text = json.dumps(mosaic.to_dict())
        expected = mosaic.read(Window(5, 5, 40, 40))
    monkeypatch.chdir("/")
    monkeypatch.setattr(raster_module, "find_imagery", None)
    with Mosaic.from_dict(json.loads(text)) as there:
        assert (there.crs, there.transform, there.width,
                there.height) == (mosaic.crs, mosaic.transform, mosaic.width, mosaic.height)
        assert [file.name for file in there.files] == [file.name for file in mosaic.files]
        for ours, theirs in zip(expected, there.read(Window(5, 5, 40, 40)), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert json.dumps(there.to_dict()) == text


def test_a_given_crs(tmp_path):
    path = write_raster(tmp_path / "a.tif", pixels(20, 20), crs=None)
    write_raster(tmp_path / "b.tif", pixels(20, 20), grid(20))
    with open_mosaic(tmp_path, raster_crs=UTM) as mosaic:
        assert mosaic.crs.to_epsg() == 32633
        assert mosaic.warnings == []
        assert mosaic.read(Window(0, 0, 40, 20))[1].all()
    with open_mosaic(path, raster_crs=UTM, resolution=1) as mosaic:
        assert mosaic.read(Window(0, 0, 10, 10))[1].all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("options", [{}, {"resolution": 0.8}], ids=["own", "resampled"])
def test_damaged_pixels_are_named(tmp_path, options, dtype):
    path = write_raster(tmp_path / "a.tif", pixels(300, 300).astype(dtype))
    path.write_bytes(path.read_bytes()[:60_000])
    damaged = pytest.raises(PrepareError,
                            match=r"a.tif: the raster is damaged.*Get the file again")
    with damaged as raised, open_mosaic(path, **options) as mosaic:
        mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
    assert "\n" not in str(raised.value)
    with damaged, open_mosaic(path, **options) as mosaic:
        mosaic.thumbnail(500)


def far_apart(folder):
    """Write chips of 2 km at 15 and at 45 degrees east."""
    write_raster(folder / "a.tif", pixels(20, 20), Affine(1e-5, 0, 15, 0, -1e-5, 50), "EPSG:4326")
    write_raster(folder / "b.tif", pixels(20, 20), Affine(1e-5, 0, 15.001, 0, -1e-5, 50),
                 "EPSG:4326")
    write_raster(folder / "c.tif", pixels(20, 20), Affine(1e-5, 0, 45, 0, -1e-5, 51), "EPSG:4326")
    return folder


def targets_beside(folder):
    write_raster(folder / "a_co2.tif", pixels(20, 20, bands=1))
    write_raster(folder / "city.tif", pixels(20, 20))
    return folder / "*.tif"


def deeper(folder):
    (folder / "chips/north").mkdir(parents=True)
    write_raster(folder / "chips/north/a.tif", pixels(20, 20))
    return folder / "chips"


@pytest.mark.parametrize(("make", "options", "phrases"), [
    (far_apart, {}, ["a.tif and ", "c.tif lie 2,1", " km apart", "one place at a time",
                     "city of its own"]),
    (targets_beside, {}, ["a_co2.tif", "city.tif has them", "files that are no imagery",
                          "Narrow it"]),
    (targets_beside, {"bands": [3, 2, 1]},
     ["a_co2.tif", "city.tif has them", "files that are no imagery"]),
    (deeper, {}, ["chips: the folder holds no GeoTIFF", "subfolders are not searched",
                  "chips/**/*.tif'"]),
])
def test_files_that_are_no_mosaic(tmp_path, make, options, phrases):
    with pytest.raises(PrepareError) as raised:
        open_mosaic(make(tmp_path), **options)
    assert all(phrase in str(raised.value) for phrase in phrases)
    assert "\n" not in str(raised.value)


def test_few_small_chips_of_one_city_are_a_mosaic(tmp_path):
    for name, offset in (("a", 0), ("b", 20_000)):
        write_raster(tmp_path / f"{name}.tif", pixels(20, 20), grid(offset, offset))
    with open_mosaic(tmp_path) as mosaic:
        assert (mosaic.width, mosaic.height) == (20_020, 20_020)


def test_one_band_alone_keeps_its_own_remedy(tmp_path):
    path = write_raster(tmp_path / "a.tif", pixels(20, 20, bands=1))
    with pytest.raises(PrepareError, match=r"1 band\(s\).*Pass bands=\[1,1,1\]"):
        open_mosaic(path)
