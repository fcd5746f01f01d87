"""Maps and features of real imagery and real OSM, where it is at hand: every file lies where its
raster does."""

import json
import os
import subprocess
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine

from inference import extract_features
from tests.conftest import SHARED
from tests.inference.maps.scenes import pixels_of, predict, write_model
from tests.pretrained import save_pretrained
from utils.errors import RoseError

DATA = Path(os.environ.get("ROSE_REAL_DATA", SHARED / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; set "
                                                          "ROSE_REAL_DATA to the folder that "
                                                          "holds it")

CHIPS = "banepa_nepal/train/oam/OAM-38669[12]-22024[56]-19.tif"
BUILDINGS = "banepa_nepal/train/osm/osm_features_ac7e343eb1faacd2.geojson"
PAIRS = ("a702502933_US_21", "n4503852781_DE_")
ODD = {  # name: keys that it needs
    "m_4709963_se_14_1_20170827": {},                    # four bands, 0 is nodata
    "pix4d_alpha_nodata": {},                            # RGBA, a fifth transparent
    "OSBS_029": {},                                      # 255 is nodata, and the colour of specks
    "1091-322_00": {},                                   # EPSG:2056
    "test_tiled": {},                                    # EPSG:28992
    "5b90f92da0d7280005fab355_4310": {"tile_px": 448},   # EPSG:3395, pixels not square
    "sample_geotiff": {"bands": [1, 1, 1]},              # one band of uint16
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder of untrained models: what they find means nothing, where it lies does."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "classes.safetensors")
    write_model(folder / "totals.safetensors", "regression")
    save_pretrained(folder / "rose.tar")
    return folder


def objects_in(out: Path) -> int:
    return gpd.read_file(out / "tiles.gpkg")["objects"].sum()


def assert_on_its_raster(made: Path, raster: Path) -> None:
    """The same pixels on the ground, and nodata where the raster has none."""
    with rasterio.open(made) as here, rasterio.open(raster) as there:
        assert (here.crs, here.transform, here.shape) == (there.crs, there.transform, there.shape)
        np.testing.assert_array_equal(here.dataset_mask() > 0, there.dataset_mask() > 0)


def test_chips_become_one_map_as_large_as_all_of_them(models, tmp_path):
    out = predict(DATA / CHIPS, models / "classes.safetensors", tmp_path / "map",
                  osm=DATA / BUILDINGS, overlap=0)
    chips = [rasterio.open(chip) for chip in sorted(DATA.glob(CHIPS))]
    bounds = np.array([chip.bounds for chip in chips])
    with rasterio.open(out / "map.tif") as file:
        assert (file.shape, file.crs, file.res) == ((1024, 1024), chips[0].crs,
                                                    pytest.approx(chips[0].res, rel=1e-4))
        whole = [*bounds.min(0)[:2], *bounds.max(0)[2:]]
        # chips fit each other to a tenth of a pixel
        np.testing.assert_allclose(file.bounds, whole, rtol=0, atol=0.1 * min(file.res))
        assert (file.read(1) != 255).all()
    assert json.loads((out / "scene.json").read_text())["title"] == "Land use of oam"


def test_the_objects_of_the_place_are_found(models, tmp_path):
    """The outlines of the buildings that lie on the chips, by themselves and by the tiles'
    counts."""
    out = predict(DATA / CHIPS, models / "totals.safetensors", tmp_path / "totals",
                  osm=DATA / BUILDINGS)
    tiles, buildings = gpd.read_file(out / "tiles.gpkg"), gpd.read_file(DATA / BUILDINGS)
    expected = gpd.sjoin(tiles, buildings[["geometry"]],
                         predicate="intersects").groupby(["column", "row"]).size()
    found = tiles.set_index(["column", "row"])["objects"]
    assert found.sum() > 100
    # slivers, and equal outlines, are left out
    assert abs(found - expected.reindex(found.index, fill_value=0)).max() <= 4


def test_chips_without_any_object_are_mapped_without(models, tmp_path):
    keys = {"raster": DATA / "banepa_nepal/predict/oam",
            "checkpoint": models / "totals.safetensors", "resolution": 0.5}
    with pytest.raises(RoseError, match=r"no usable OSM object overlaps the raster.*or leave osm= "
                                        r"out, to do without OSM"):
        predict(out=tmp_path / "map", osm=DATA / BUILDINGS, **keys)
    assert objects_in(predict(out=tmp_path / "map", **keys)) == 0


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_raster_and_osm(models, tmp_path, name):
    raster, osm = DATA / f"geolink_pairs/{name}.tif", DATA / f"geolink_pairs/{name}.geojson"
    out = predict(raster, models / "classes.safetensors", tmp_path / "map", osm=osm,
                  probabilities=True)
    assert_on_its_raster(out / "map.tif", raster)
    assert_on_its_raster(out / "probabilities.tif", raster)
    assert objects_in(predict(raster, models / "totals.safetensors", tmp_path / "totals",
                              osm=osm)) > 10
    record = extract_features(models / "rose.safetensors", tmp_path / "features", raster=raster,
                              osm=osm, num_workers=0)
    assert record["areas"][0]["name"] == name
    with (rasterio.open(tmp_path / "features/patches_osm.tif") as patches,
          rasterio.open(raster) as there):
        assert (patches.crs, patches.transform) == (there.crs, there.transform @ Affine.scale(16))
        assert np.isfinite(patches.read(1)).any()


@pytest.mark.parametrize("name", ODD)
def test_odd_rasters_are_mapped_where_they_are(models, tmp_path, name):
    raster = DATA / f"edgecases/{name}.tif"
    out = predict(raster, models / "classes.safetensors", tmp_path / "map", overlap=0, **ODD[name])
    assert_on_its_raster(out / "map.tif", raster)
    assert len(np.unique(pixels_of(out / "map.tif"))) > 1


@pytest.mark.parametrize(("name", "message"), [
    ("1087767-1046604-21", "no geotransform .* so nobody knows where it lies. Give it one with "
                           "`rio edit-info"),
    ("cog_gcps", "by 210 ground control points only, so its pixels lie on no regular grid. Give "
                 "it one with `rio warp"),
    ("sample_geotiff",
     r"has 1 band\(s\), but red, green and blue are needed. Pass bands=\[1,1,1\]"),
])
def test_rasters_that_cannot_be_placed_or_seen_are_refused_in_one_line(models, tmp_path, name,
                                                                       message):
    with pytest.raises(RoseError, match=message) as raised:
        predict(DATA / f"edgecases/{name}.tif", models / "classes.safetensors", tmp_path / "map")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "map").exists()


def test_a_whole_extract_in_a_crs_whose_axes_are_turned(models, tmp_path):
    """Helsinki's projection names the northing first; the census cells are its zones."""
    cells = gpd.read_file(DATA / "helsinki_pop/helsinki_population_grid_2020.gpkg").to_crs(3879)
    west, south, east, north = cells.total_bounds.round(1)
    raster, zones = tmp_path / "plain.tif", tmp_path / "cells.gpkg"
    cells.rename(columns={"population": "census"}).to_file(zones)
    with rasterio.open(raster, "w", driver="GTiff", width=(east - west) // 5,
                       height=(north - south) // 5, count=3, dtype="uint8",
                       crs="EPSG:3879", transform=Affine(5, 0, west, 0, -5, north)) as target:
        target.write(np.full((3, target.height, target.width), 128, np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        out = predict(raster, models / "totals.safetensors", tmp_path / "map",
                      osm=DATA / "helsinki_pop/Helsinki.osm.pbf", zones=zones)
    assert pyogrio.read_info(out / "tiles.gpkg")["crs"] == "EPSG:3879"
    assert objects_in(out) > 3000
    made, tiles = gpd.read_file(out / "zones.gpkg"), gpd.read_file(out / "tiles.gpkg")
    assert made["census"].sum() == cells["population"].sum()
    np.testing.assert_allclose(made["covered"], 1, atol=1e-3)
    whole = tiles.assign(share=tiles.intersection(made.union_all()).area / tiles.area)
    assert made["population"].sum() == pytest.approx((whole["share"] * whole["population"]).sum(),
                                                     rel=1e-2)


def test_gdal_itself_finds_the_map_where_the_raster_is(models, tmp_path):
    raster = DATA / "edgecases/pix4d_alpha_nodata.tif"
    out = predict(raster, models / "classes.safetensors", tmp_path / "map", overlap=0)
    try:
        there, here = (json.loads(subprocess.run(["gdalinfo", "-json", path], capture_output=True,
                                                 text=True, check=True).stdout)
                       for path in (raster, out / "map.tif"))
    except FileNotFoundError:
        pytest.skip("no gdalinfo")
    assert {key: here[key] for key in ("size", "geoTransform", "cornerCoordinates",
                                       "coordinateSystem")} == {
        key: there[key] for key in ("size", "geoTransform", "cornerCoordinates",
                                    "coordinateSystem")}
