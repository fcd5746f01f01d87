"""Pictures with world files, and which files of a folder are imagery."""

import numpy as np
import pytest
from PIL import Image
from pyproj import CRS
from rasterio.windows import Window

from datasets.prepare.imagery.mosaic import open_mosaic
from tests.datasets.prepare.places import NORTH, PIXEL, UTM, WEST, grid, pixels, write_raster
from tests.datasets.prepare.web_map import encoded
from tests.robustness.remedies import commands_in, follow
from utils.errors import PrepareError

IMAGE = pixels(40, 50)
PRJ = CRS.from_user_input(UTM).to_wkt("WKT1_ESRI")


def world(col=0, row=0):
    numbers = (PIXEL, 0, 0, -PIXEL, WEST + (col + 0.5) * PIXEL, NORTH - (row + 0.5) * PIXEL)
    return "\n".join(map(str, numbers))


def write(folder, name="a.png", ending="pgw", text=None, prj=PRJ, image=IMAGE):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(encoded(image, path.suffix[1:]))
    path.with_suffix(f".{ending}").write_text(world() if text is None else text)
    if prj is not None:
        path.with_suffix(".prj").write_text(prj)
    return path


def read_all(path, **options):
    with open_mosaic(path, **options) as mosaic:
        return *mosaic.read(Window(0, 0, mosaic.width, mosaic.height)), mosaic


@pytest.mark.parametrize(("name", "ending"), [
    ("a.png", "pgw"), ("a.png", "PGW"), ("a.png", "wld"), ("a.PNG", "pgw"), ("a.png", "pngw"),
    ("a.webp", "wpw"), ("a.webp", "wld"), ("a.tif", "tfw"), ("a.bmp", "bpw"),
    ("a.jp2", "j2w")])
def test_a_picture_lies_where_its_world_file_says(tmp_path, name, ending):
    path = write(tmp_path, name, ending)
    rgb, valid, mosaic = read_all(path)
    np.testing.assert_array_equal(rgb, IMAGE)
    assert valid.all()
    assert mosaic.transform.almost_equals(grid())
    assert mosaic.crs.to_epsg() == 32633
    assert path.with_suffix(".prj") in mosaic.files
    if ending != "bpw":  # which GDAL does not list
        assert path.with_suffix(f".{ending}") in mosaic.files


def test_a_jpeg_equals_its_pixels_as_geotiff(tmp_path):
    write(tmp_path, "a.jpg", "jgw", image=np.full((40, 50, 3), (200, 100, 50), np.uint8))
    pixel = np.array(Image.open(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(read_all(tmp_path / "a.jpg")[0], pixel)


def test_a_folder_of_pictures_is_a_mosaic(tmp_path):
    image = pixels(40, 100)
    write(tmp_path, "a.png", image=image[:, :50])
    write(tmp_path, "b.png", text=world(50), image=image[:, 50:])
    (tmp_path / "thumbnail.jpg").write_bytes(encoded(IMAGE, "jpg"))
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "._a.png").write_bytes(b"of macOS")
    rgb, valid, mosaic = read_all(tmp_path)
    np.testing.assert_array_equal(rgb, image)
    assert valid.all()
    (note,) = mosaic.warnings
    assert "thumbnail.jpg: not read, being of another kind than a.png" in note


def test_geotiffs_come_before_pictures(tmp_path):
    write_raster(tmp_path / "z.tif", IMAGE)
    write(tmp_path)
    mosaic = read_all(tmp_path)[2]
    assert [source.path.name for source in mosaic.sources] == ["z.tif"]
    assert "a.png: not read" in mosaic.warnings[0]


def test_bands_as_pictures_are_stacked(tmp_path):
    for band, name in enumerate(("T_B04.png", "T_B03.png", "T_B02.png")):
        write(tmp_path, name, image=IMAGE[..., band:band + 1])
    np.testing.assert_array_equal(read_all(tmp_path)[0], IMAGE)


def test_decimal_commas_and_a_crs_by_key(tmp_path):
    for name, ending in (("a.png", "pgw"), ("a.webp", "wld")):
        path = write(tmp_path / ending, name, ending, world().replace(".", ","), prj=None)
        mosaic = read_all(path, raster_crs=UTM)[2]
        assert mosaic.transform.almost_equals(grid())


def test_a_rotated_world_file_is_resampled(tmp_path):
    path = write(tmp_path, text=f"0.4\n0.1\n0.1\n-0.4\n{WEST}\n{NORTH}")
    _, valid, mosaic = read_all(path)
    assert "rotated or flipped" in mosaic.warnings[0]
    assert 0.3 < valid.mean() < 0.9


def test_the_prj_of_a_shapefile_is_none_of_the_raster(tmp_path):
    path = write(tmp_path)
    path.with_suffix(".shp").write_bytes(b"")
    with pytest.raises(PrepareError, match="no coordinate reference system"):
        read_all(path)


@pytest.mark.parametrize(("text", "message"), [
    ("", "pgw beside it holds 0 numbers, expected six"),
    ("0.5\n0\n0\n-0.5", "pgw beside it holds 4 numbers"),
    ("a\nb\nc\nd\ne\nf", "pgw beside it states no grid"),
    ("0\n0\n0\n0\n1\n2", "pgw beside it states no grid"),
])
def test_a_world_file_that_is_none(tmp_path, text, message):
    with pytest.raises(PrepareError, match=message):
        read_all(write(tmp_path, text=text))


@pytest.mark.parametrize(("name", "ending"), [("a.png", "pgw"), ("a.webp", "wpw")])
def test_the_remedy_of_a_bad_world_file(tmp_path, name, ending):
    path = write(tmp_path, name, ending, "0\n0\n0\n0\n1\n2")
    with pytest.raises(PrepareError, match=f"{ending} beside it states no grid") as caught:
        read_all(path)
    (command,) = commands_in(str(caught.value))
    follow(command, tmp_path)
    assert read_all(path)[1].all()


def test_a_prj_that_is_none(tmp_path):
    with pytest.raises(PrepareError, match=r"reference system and a\.prj beside it states none"):
        read_all(write(tmp_path, prj="hello"))


def test_an_archive_and_a_picture_are_not_mixed(tmp_path):
    write(tmp_path)
    (tmp_path / "b.mbtiles").write_bytes(b"")
    with pytest.raises(PrepareError, match=r"b\.mbtiles: an archive .* but .*a\.png"):
        read_all(tmp_path / "*[gs]")
