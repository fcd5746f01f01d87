"""The raw files of a city, and the targets that are made of them."""

import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from studies.benchmark_data import find_city, write_high_ground
from tests.studies.tiny_city import TILE, write_city
from utils.errors import ConfigError, PrepareError


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Path:
    return write_city(tmp_path_factory.mktemp("city") / "brno")


@pytest.mark.parametrize(("name", "found"), [("nowhere", "no such folder"),
                                             ("ortho.tif", "is a file")])
def test_a_city_that_is_no_folder(city, name, found):
    with pytest.raises(ConfigError, match=rf"data=.*{name}: {found}, expected the folder of a c"):
        find_city(str(city / name), ["land_use"])


def test_a_shapefile_is_the_file_among_those_beside_it(city, tmp_path):
    for name in ("ortho.tif", "osm.gpkg"):
        shutil.copyfile(city / name, tmp_path / name)
    for name in ("ortho.jgw", "ortho.aux.xml", "ortho.tif.ovr", "osm.txt"):
        (tmp_path / name).touch()
    gpd.read_file(city / "landuse.gpkg").to_file(tmp_path / "landuse.shp")
    assert (tmp_path / "landuse.cpg").is_file()
    files = find_city(str(tmp_path), ["land_use", "trees"]).files
    assert {name: path.name for name, path in files.items()} == {
        "ortho": "ortho.tif", "osm": "osm.gpkg", "landuse": "landuse.shp"}
    shutil.copyfile(city / "landuse.gpkg", tmp_path / "landuse.gpkg")
    with pytest.raises(ConfigError, match=r"has landuse.gpkg and landuse.shp, expected one"):
        find_city(str(tmp_path), ["land_use"])
    (tmp_path / "ortho.tif").rename(tmp_path / "city.tif")  # as the sample city's
    (tmp_path / "landuse.gpkg").unlink()
    assert find_city(str(tmp_path), ["land_use"]).files["ortho"].name == "city.tif"
    shutil.copyfile(city / "ortho.tif", tmp_path / "ortho.tif")
    with pytest.raises(ConfigError, match=r"has city.tif and ortho.tif, expected one ortho"):
        find_city(str(tmp_path), ["land_use"])


@pytest.mark.parametrize(("file", "expected"), [
    ("ortho.ecw", r"ortho.\* or city.\* with one of .tif, .*; convert it to one of these"),
    ("osm.kml", r"osm.\* with one of .pbf, .*.gpkg, "),
    ("landuse.kml", r"landuse.\* with one of .tif, .*.gpkg, "),
    ("landuse.csv", r"landuse.\* with one of .tif, .*.gpkg, "),
])
def test_a_file_of_a_kind_that_is_not_read_is_named(city, tmp_path, file, expected):
    for name in ("ortho.tif", "osm.gpkg", "landuse.gpkg", "height.tif"):
        if name.partition(".")[0] != file.partition(".")[0]:
            shutil.copyfile(city / name, tmp_path / name)
    (tmp_path / file).touch()
    (tmp_path / "building_volume.pdf").touch()  # of a task that is not asked for
    with pytest.raises(ConfigError, match=rf"data=.*: has {file}, expected {expected}"):
        find_city(str(tmp_path), ["land_use", "trees"])


@pytest.mark.parametrize(("damaged", "what"), [("ortho.tif", "imagery"),
                                               ("height.tif", "metres above ground")])
def test_high_ground_names_the_file_that_is_damaged(city, tmp_path, damaged, what):
    for name in ("ortho.tif", "height.tif", "osm.gpkg"):
        shutil.copyfile(city / name, tmp_path / name)
    (tmp_path / damaged).write_bytes(b"no raster")
    with pytest.raises(PrepareError, match=f"{damaged}: cannot be read .*, expected {what}"):
        write_high_ground(tmp_path / "height.tif", tmp_path / "osm.gpkg", tmp_path / "ortho.tif",
                          TILE, tmp_path / "high.tif")


@pytest.mark.parametrize(("spoilt", "keys", "message"), [
    ("ortho.tif", {"crs": None}, r"no coordinate reference system, .*`rio edit-info --crs EPSG:"),
    ("height.tif", {"crs": None}, r"no coordinate reference system, .*`rio edit-info --crs EPSG:"),
    ("height.tif", {"transform": rasterio.Affine(8, 0, 600_000, 0, -8, 5_500_000)},
     r"does not overlap the imagery\. .* Pass data= data of the imagery's place"),
])
def test_high_ground_without_a_place(city, tmp_path, spoilt, keys, message):
    for name in ("ortho.tif", "height.tif"):
        with rasterio.open(city / name) as source:
            profile = source.profile | (keys if name == spoilt else {})
            with rasterio.open(tmp_path / name, "w", **profile) as target:
                target.write(source.read())
    with pytest.raises(PrepareError, match=f"{spoilt}: .*{message}"):
        write_high_ground(tmp_path / "height.tif", city / "osm.gpkg", tmp_path / "ortho.tif", TILE,
                          tmp_path / "high.tif")


def test_heights_that_are_no_numbers_are_no_low_ground(city, tmp_path):
    with rasterio.open(city / "height.tif") as source:
        values, profile = source.read(), source.profile
    values[0, 0] = np.nan
    with rasterio.open(tmp_path / "height.tif", "w", **profile) as target:
        target.write(values)
    write_high_ground(tmp_path / "height.tif", city / "osm.gpkg", city / "ortho.tif", TILE,
                      tmp_path / "high.tif")
    with rasterio.open(tmp_path / "high.tif") as high:
        mask = high.read_masks(1)
    assert not mask[0].any()
    assert mask[1:].all()


def test_high_ground_is_outside_buildings(city, tmp_path):
    write_high_ground(city / "height.tif", city / "osm.gpkg", city / "ortho.tif", TILE,
                      tmp_path / "high.tif")
    with rasterio.open(tmp_path / "high.tif") as high, rasterio.open(city / "height.tif") as source:
        density, height = high.read(1), source.read(1)
    share = density * TILE**2  # a pixel is a metre
    assert share.max() == pytest.approx(1, rel=2e-3)  # in true metres
    assert not share[height <= 2.5].any()
    free = (share > 0).sum() / (height > 2.5).sum()
    assert 0.2 < free < 0.9  # buildings touch many cells
