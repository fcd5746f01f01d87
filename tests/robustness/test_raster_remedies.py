"""Every command that an error of a raster prints is run on the case that it answers; then what
failed works."""

import numpy as np
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.windows import Window

from datasets.prepare.geo import raster_io
from datasets.prepare.imagery.mosaic import open_mosaic
from datasets.prepare.targets.land_use import LandUse
from datasets.prepare.targets.zonal import Zonal
from tests.datasets.prepare.places import NORTH, UTM, WEST, grid, pixels, write_raster
from tests.robustness.remedies import commands_in, follow
from utils.errors import PrepareError

BOUNDS = (WEST, NORTH - 20, WEST + 20, NORTH)
IMAGE, ONE = pixels(40, 40), pixels(40, 40, bands=1) % 9


def imagery(path, **options):
    with open_mosaic(path, **options) as mosaic:
        mosaic.read(Window(0, 0, 8, 8))


def labels(path, **_):
    LandUse(path).check(UTM, BOUNDS)


def people(path, **_):
    Zonal(path, "population").check(UTM, BOUNDS)


def points():
    return [GroundControlPoint(row, col, WEST + col, NORTH - row)
            for row, col in [(0, 0), (0, 40), (40, 0), (40, 39)]]


# what is done, arguments of the raster, words of the message, file that the remedy makes
CASES = {
    "no CRS": (imagery, {"image": IMAGE, "crs": None}, "no coordinate reference system", None),
    "another CRS": (imagery, {"image": IMAGE, "options": {"raster_crs": "EPSG:32634"}},
                    "raster_crs=EPSG:32634, but the raster has EPSG:32633", None),
    "no geotransform": (imagery, {"image": IMAGE, "transform": Affine.identity()},
                        "no geotransform", None),
    "control points": (imagery, {"image": IMAGE, "transform": Affine.identity(),
                                 "gcps": points()}, "4 ground control points", "warped.tif"),
    "complex": (imagery, {"image": IMAGE.astype(np.complex64)}, "complex64", "float.tif"),
    "large blocks": (imagery, {"image": IMAGE, "blockysize": 40, "compress": "deflate"},
                     "its blocks of 40 x 40 pixels", "tiled.tif"),
    "labels without CRS": (labels, {"image": ONE, "crs": None}, "no coordinate reference", None),
    "labels without place": (labels, {"image": ONE, "transform": Affine.identity()},
                             "no geotransform", None),
    "labels of two bands": (labels, {"image": IMAGE[..., :2] % 9}, "2 bands", "one_band.tif"),
    "labels in complex": (labels, {"image": ONE.astype(np.complex64)}, "complex64",
                          "numbers.tif"),
    "people of two bands": (people, {"image": IMAGE[..., :2]}, "2 bands", "one_band.tif"),
    "people below nothing": (people, {"image": -ONE.astype(np.float32).clip(1, 1)},
                             "is -1, expected", None),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_the_remedy_works(tmp_path, case, monkeypatch):
    use, arguments, words, made = CASES[case]
    options = arguments.get("options", {})
    arguments = {key: value for key, value in arguments.items() if key != "options"}
    if case == "large blocks":
        monkeypatch.setattr(raster_io, "MOST_BLOCK_BYTES", 16 * 16 * 3)
    path = write_raster(tmp_path / "it's [my] {city}.tif", **arguments)
    with pytest.raises(PrepareError, match=words) as raised:
        use(path, **options)
    (command,) = commands_in(str(raised.value))
    follow(as_meant(command), tmp_path)
    if case == "large blocks":
        monkeypatch.setattr(raster_io, "MOST_BLOCK_BYTES", 512 * 512 * 3)
    use(tmp_path / made if made else path, **options)


def as_meant(command: str) -> str:
    """Return a command with the place of this test's data, as its message asks for."""
    return (command.replace("EPSG:32648", UTM).replace("480000", str(WEST))
            .replace("5500000", str(NORTH)).replace("--dst-crs EPSG:4326", f"--dst-crs {UTM}"))


def test_one_band_is_made_grey(tmp_path):
    path = write_raster(tmp_path / "a.tif", IMAGE[..., :1])
    with pytest.raises(PrepareError, match=r"Pass bands=\[1,1,1\]"):
        imagery(path)
    imagery(path, bands=[1, 1, 1])


def test_a_file_named_as_no_raster(tmp_path):
    path = write_raster(tmp_path / "a.tif", IMAGE, grid()).rename(tmp_path / "a.dat")
    with pytest.raises(PrepareError, match=r"a.dat: the ending .dat is of no raster"):
        imagery(path)
    imagery(path.rename(tmp_path / "b.tif"))
