"""predict_scene.py raster=null: a model of OSM objects alone maps them without imagery."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image

from datasets.prepare.pipeline import prepare_tiles
from inference import map_scene
from tests.evaluation.evaluating import run
from tests.inference.maps.scenes import (
    UTM,
    noise,
    pixels_of,
    predict,
    write_model,
    write_objects,
    write_raster,
)
from utils.errors import RoseError
from utils.style import OSM_GROUND, rgb

ONE = {"metres_per_pixel": [0.5001, 0.5001], "tile_px": 224}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Objects, districts, a census and models."""
    folder = tmp_path_factory.mktemp("bare")
    raster = write_raster(folder / "city.tif", noise(460, 700))
    objects = gpd.read_file(write_objects(folder / "osm.gpkg", raster, 40))
    west, south, east, north = objects.total_bounds
    middle = (west + east) / 2
    halves = shapely.box([west, middle], south, [middle, east], north)
    gpd.GeoDataFrame({"name": ["west", "east"]}, geometry=halves, crs=objects.crs).to_file(
        folder / "zones.gpkg")
    gpd.GeoDataFrame({"people": [900.0, 300.0]}, geometry=halves, crs=objects.crs).to_file(
        folder / "people.gpkg")
    write_model(folder / "osm.safetensors", "regression", "osm", tiles=ONE)
    write_model(folder / "fusion.safetensors", "regression", "fusion")
    return folder


def test_a_map_has_the_pixels_of_training_the_objects_as_ground_and_zones(place, tmp_path, capsys):
    out = predict(None, place / "osm.safetensors", tmp_path / "map", osm=place / "osm.gpkg",
                  zones=place / "zones.gpkg")
    tiles, zones = gpd.read_file(out / "tiles.gpkg"), gpd.read_file(out / "zones.gpkg")
    assert list(tiles.columns) == ["column", "row", "population", "inside", "objects", "geometry"]
    assert tiles["objects"].sum() >= 40
    assert zones["population"].sum() == pytest.approx(tiles["population"].sum(), rel=0.1)
    with rasterio.open(out / "totals.tif") as file:
        assert file.crs == UTM
        assert file.transform.a == 112
    record = json.loads((out / "scene.json").read_text())
    assert [layer["name"] for layer in record["layers"]] == ["OSM objects", "people a tile"]
    assert [entry["name"] for entry in record["layers"][0]["legend"]] == ["building"]
    with Image.open(out / record["layers"][0]["file"]) as picture:
        shown = np.asarray(picture.convert("RGB"))
    ground = (shown == rgb([OSM_GROUND])[0]).all(2)
    assert 0.1 < ground.mean() < 0.95
    assert record["title"] == "Population of osm.gpkg"
    assert any("without imagery, tiles are cut from the extent of" in line
               for line in record["lines"])
    assert "people a tile" in (out / "report.html").read_text()
    assert "note: without imagery" in capsys.readouterr().out


def test_estimates_are_those_of_the_same_tiles_over_imagery(place, tmp_path):
    bare = predict(None, place / "osm.safetensors", tmp_path / "bare", osm=place / "osm.gpkg")
    with rasterio.open(bare / "totals.tif") as file:
        left, top = file.transform.c, file.transform.f
        shape = file.height * 224, file.width * 224
    with rasterio.open(tmp_path / "there.tif", "w", driver="GTiff", width=shape[1],
                       height=shape[0], count=3, dtype="uint8", crs=UTM,
                       transform=rasterio.Affine(0.5, 0, left, 0, -0.5, top)) as file:
        file.write(np.moveaxis(noise(*shape), -1, 0))
    over = predict(tmp_path / "there.tif", place / "osm.safetensors", tmp_path / "over",
                   osm=place / "osm.gpkg")
    np.testing.assert_array_equal(*(pixels_of(out / "totals.tif") for out in (bare, over)))


def test_bbox_and_resolution_choose_another_area_and_pixels(place, tmp_path, capsys):
    box = gpd.read_file(place / "zones.gpkg").to_crs(4326).total_bounds.tolist()
    half = [box[0], box[1], (box[0] + box[2]) / 2, box[3]]
    out = predict(None, place / "osm.safetensors", tmp_path / "map", osm=place / "osm.gpkg",
                  bbox=half, resolution=1.0)
    assert pixels_of(out / "totals.tif").shape == (1, 1, 1)
    text = capsys.readouterr().out
    assert "the area of bbox=" in text
    assert "a pixel is 1 m here, and was 0.5 m where the model was trained" in text
    assert "pass resolution=0.5" in text


@pytest.mark.parametrize(("keys", "message"), [
    ({"osm": None}, "raster=null: there is no osm= either, so there is nothing to map"),
    ({"checkpoint": "fusion.safetensors"},
     r"fusion.safetensors: reads the image \(modality=fusion\), and raster=null has none; pass the "
     r"place's imagery as raster=, or a checkpoint of an evaluation with modality=osm"),
    ({"bands": [1, 2, 3]}, r"bands=\[1, 2, 3\]: there is no raster= that it could describe"),
    ({"bbox": [13.5, 52.4, 13.4, 52.5]}, r"bbox=\[13.5,52.4,13.4,52.5\]: west 13.5 is east of"),
    ({"bbox": [0.0, 10.0, 0.01, 10.01]}, "osm.gpkg: no usable OSM object overlaps the area.*or "
                                         "pass another bbox="),
])
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(place, tmp_path, keys, message):
    keys = {"checkpoint": "osm.safetensors", "osm": place / "osm.gpkg", **keys}
    with pytest.raises(RoseError, match=message) as raised:
        map_scene(None, place / keys.pop("checkpoint"), tmp_path / "map", num_workers=0, **keys)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "map/scene.json").exists()


def test_from_objects_and_a_census_to_a_map(place, tmp_path):
    root = tmp_path / "tiles"
    prepare_tiles(None, place / "osm.gpkg", root, "town", population=str(place / "people.gpkg"),
                  tile_px=64, split={"block": 1, "guard": 0}, progress=False)
    run("pop", f"data_root={root}", "modality=osm", "mode=scratch", "image_encoder=test_vit",
        "image_size=64", "target_scale=standard", f"save_path={tmp_path / 'pop'}")
    out = predict(None, tmp_path / "pop", tmp_path / "map", osm=place / "osm.gpkg")
    tiles = gpd.read_file(out / "tiles.gpkg")
    assert (tiles["inside"] == 1).sum() >= 4
    assert tiles["population"].notna().all()
