"""A population grid cropped to an area: the cells that touch it, as they are."""

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

from datasets.bbox import BBox
from datasets.fetch.population import crop_grid
from tests.datasets.prepare.places import grid, write_raster
from utils.errors import PrepareError


def write(path, crs="EPSG:32633", **profile):
    values = np.random.default_rng(0).gamma(2, 10, (900, 700, 1)).astype(np.float32)
    values[:40, :, 0] = -99999
    write_raster(path, values, crs=crs, nodata=-99999, **profile)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(units="people per cell", TIFFTAG_COPYRIGHT="(C) Census")
    return values[..., 0]


@pytest.mark.parametrize("profile", [{}, {"tiled": True, "blockxsize": 128, "blockysize": 128}])
def test_cells_are_those_of_the_whole(tmp_path, profile):
    values = write(tmp_path / "all.tif", **profile)
    inner = rasterio.transform.array_bounds(600, 300, grid(100, 20))
    box = BBox(*transform_bounds("EPSG:32633", "EPSG:4326", *inner))
    notes = crop_grid(tmp_path / "all.tif", "all.tif", tmp_path / "crop.tif", box)
    with rasterio.open(tmp_path / "crop.tif") as crop:
        left, top = (round(value) for value in ~grid() @ (crop.bounds.left, crop.bounds.top))
        window = np.s_[top:top + crop.height, left:left + crop.width]
        assert np.array_equal(crop.read(1), values[window])
        assert (crop.nodata, crop.crs.to_epsg(), crop.tags()["units"]) == (
            -99999, 32633, "people per cell")
        total = crop.read(1, masked=True).sum(dtype=np.float64)
    assert 98 <= left <= 100
    assert 18 <= top <= 20
    assert 300 <= crop.width <= 305
    assert float(notes[0].split("add up to ")[1].split(":")[0]) == pytest.approx(total, rel=1e-3)
    assert notes[1] == "the file says: people per cell; (C) Census"


def test_bad_grids(tmp_path):
    write(tmp_path / "all.tif")
    write(tmp_path / "nowhere.tif", crs=None)
    (tmp_path / "page.tif").write_text("<html>")
    for name, box, words in (("all.tif", BBox(0, 0, 1, 1), "has no cell in the area"),
                             ("nowhere.tif", BBox(0, 0, 1, 1), "has no place on the Earth"),
                             ("page.tif", BBox(0, 0, 1, 1), "not a readable raster")):
        with pytest.raises(PrepareError, match=words) as caught:
            crop_grid(tmp_path / name, name, tmp_path / "crop.tif", box)
        assert str(caught.value).startswith(f"{name}: ")
    assert not (tmp_path / "crop.tif").exists()
