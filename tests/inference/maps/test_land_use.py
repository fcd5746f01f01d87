"""predict_scene.py with a model of classes: what is where, and with which georeference."""

import json
import xml.etree.ElementTree as ElementTree

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import torch
from rasterio.shutil import copy

from datasets import normalise
from inference.maps.land_use import LandUseMap
from models import build_rose
from models.heads import SegmentationHead
from models.network_file import save_finetuned
from tests.inference.maps.scenes import (
    CLASSES,
    CRS,
    noise,
    pixels_of,
    predict,
    write_model,
    write_objects,
    write_raster,
)
from utils.errors import ConfigError, PrepareError, RoseError
from utils.style import class_colours, rgb


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "best.safetensors")


@pytest.fixture
def by_colour(monkeypatch):
    """In place of a network: each pixel's most intense colour is its class."""
    monkeypatch.setattr(LandUseMap, "network",
                        lambda self, images, graphs: (8 * images).softmax(1))


@pytest.fixture(scope="module", params=CRS)
def mapped(request, model, tmp_path_factory):
    """A scene of 500 x 300 pixels whose left 60 columns have no imagery, and its map."""
    folder = tmp_path_factory.mktemp("mapped")
    pixels = noise(300, 500)
    pixels[:, :60] = 0
    raster = write_raster(folder / "city.tif", pixels, request.param, nodata=0)
    out = predict(raster, model, folder / "map", osm=write_objects(folder / "osm.gpkg", raster),
                  probabilities=True)
    return raster, out


def test_the_map_lies_where_the_raster_does(mapped):
    raster, out = mapped
    with rasterio.open(raster) as there:
        for name in ("map.tif", "probabilities.tif"):
            with rasterio.open(out / name) as here:
                assert (here.crs, here.transform, here.shape,
                        here.bounds) == (there.crs, there.transform, there.shape, there.bounds)


def test_classes_have_names_and_colours_and_no_class_is_where_no_imagery_is(mapped):
    raster, out = mapped
    classes = pixels_of(out / "map.tif")[0]
    np.testing.assert_array_equal(classes == 255, (pixels_of(raster) == 0).all(0))
    assert set(np.unique(classes)) <= {0, 1, 2, 255}
    with rasterio.open(out / "map.tif") as file:
        assert (file.nodata, file.profile["tiled"],
                file.profile["compress"]) == (255, True, "deflate")
        assert [file.tags()[f"CLASS_{value}"] for value in range(3)] == CLASSES
        table = file.colormap(1)
        assert file.overviews(1) == [2]
    colours = rgb(class_colours(CLASSES)).tolist()
    assert [table[value][:3] for value in range(3)] == [tuple(colour) for colour in colours]
    assert table[255][3] == 0
    with rasterio.open(out / "map.tif") as file:
        copy(file, out / "described.vrt", driver="VRT")  # as every program that uses GDAL sees it
    described = ElementTree.parse(out / "described.vrt").getroot()
    (out / "described.vrt").unlink()
    assert [name.text for name in described.iter("Category")] == CLASSES
    entries = ElementTree.parse(out / "map.qml").getroot().iter("paletteEntry")
    assert [(entry.get("value"), entry.get("label"), entry.get("color")) for entry in entries] == [
        (str(place), name, colour)
        for place, (name, colour) in enumerate(zip(CLASSES, class_colours(CLASSES), strict=True))]


def test_a_map_has_the_colours_that_the_labels_had(tmp_path):
    colours = ("#e6194b", "#3cb44b", "#4363d8")
    model = write_model(tmp_path / "best.safetensors", colours=colours)
    out = predict(write_raster(tmp_path / "city.tif", noise(230, 230)), model, tmp_path / "map")
    with rasterio.open(out / "map.tif") as file:
        assert [file.colormap(1)[value][:3] for value in range(3)] == list(map(tuple, rgb(colours)))
    assert all(colour in (out / "map.qml").read_text() for colour in colours)
    legend = json.loads((out / "scene.json").read_text())["layers"][1]["legend"]
    assert [entry["colour"] for entry in legend] == list(colours)


def test_probabilities_are_a_cloud_optimised_raster_that_the_map_follows_from(mapped):
    _, out = mapped
    classes, per_cent = pixels_of(out / "map.tif")[0], pixels_of(out / "probabilities.tif").astype(
        int)
    known = classes != 255
    assert np.array_equal(per_cent == 255, np.broadcast_to(~known, per_cent.shape))
    assert np.abs(per_cent.sum(0)[known] - 100).max() <= 2  # each is rounded
    assert (np.take_along_axis(per_cent, np.minimum(classes, 2)[None].astype(int), 0)[0]
            == per_cent.max(0))[known].all()
    with rasterio.open(out / "probabilities.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert list(file.descriptions) == CLASSES


def test_what_the_folder_says_of_the_map(mapped):
    _, out = mapped
    said = json.loads((out / "scene.json").read_text())
    area = np.prod(said["size_metres"]) * 440 / 500 / 1e4
    assert said["title"] == "Land use of city.tif"
    imagery, land_use = said["layers"]
    assert sum(entry["hectares"] for entry in land_use["legend"]) == pytest.approx(area, rel=1e-3)
    assert sum(entry["share"] for entry in land_use["legend"]) == pytest.approx(1, abs=1e-3)
    assert all((out / layer["file"]).is_file() for layer in (imagery, land_use))
    assert all((out / file["name"]).is_file() for file in said["files"])
    assert b"Land use of city.tif" in (out / "report.html").read_bytes()
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("height", "width", "overlap"),
                         [(300, 500, 0.5), (448, 448, 0), (225, 600, 0.75), (100, 150, 0.5),
                          (231, 90, 0)])
def test_each_pixel_gets_the_class_of_its_own_place(by_colour, model, tmp_path, height, width,
                                                    overlap):
    pixels = noise(height, width)
    raster = write_raster(tmp_path / "city.tif", pixels)
    out = predict(raster, model, tmp_path / "map", overlap=overlap)
    normalised = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_array_equal(pixels_of(out / "map.tif")[0], normalised.argmax(-1))


def test_overviews_hold_classes_that_are_there(by_colour, model, tmp_path):
    """Red and blue are the first class and the last; the one between does not appear."""
    pixels = np.where(np.random.default_rng(0).random((500, 1100, 1)) < 0.5, [200, 20, 20],
                      [20, 20, 200]).astype(np.uint8)
    out = predict(write_raster(tmp_path / "city.tif", pixels), model, tmp_path / "map")
    for level in range(3):
        with rasterio.open(out / "map.tif", overview_level=level) as file:
            assert set(np.unique(file.read(1))) == {0, 2}
    with rasterio.open(out / "map.tif") as file:
        assert file.overviews(1) == [2, 4, 8]


def test_hectares_shrink_towards_the_pole(by_colour, model, tmp_path):
    """Of two classes on as many pixels each, the northern covers less ground; against areas of the
    ellipsoid."""
    pixels = np.full((900, 230, 3), 20, np.uint8)
    pixels[:450, :, 0] = pixels[450:, :, 2] = 200
    raster, step = tmp_path / "city.tif", 0.02
    with rasterio.open(raster, "w", driver="GTiff", width=230, height=900, count=3, dtype="uint8",
                       crs="EPSG:4326",
                       transform=rasterio.Affine(step, 0, 10, 0, -step, 68)) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    out = predict(raster, model, tmp_path / "map")
    legend = json.loads((out / "scene.json").read_text())["layers"][1]["legend"]
    for found, (south, north) in zip((legend[0], legend[2]), ((59, 68), (50, 59)), strict=True):
        latitudes = np.arange(south, north + step / 2, step)
        outline = shapely.Polygon([*((10, latitude) for latitude in latitudes),
                                   *((14.6, latitude) for latitude in latitudes[::-1])])
        steps = shapely.segmentize(outline, step)                 # parallels are no shortest lines
        area = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(steps)[0])
        # a row of tiles, here two degrees, has one latitude
        assert found["hectares"] == pytest.approx(area / 1e4, rel=4e-3)


def test_what_tiles_disagree_on_changes_smoothly(model, tmp_path, monkeypatch):
    """Each tile has one value for all its pixels, another one than its neighbours: no edge of a
    tile is visible."""
    def of_brightness(self, images, graphs):
        share = (2 * images.mean((1, 2, 3))).sigmoid()[:, None, None].expand(-1, *images.shape[2:])
        return torch.stack([share, 1 - share, torch.zeros_like(share)], 1)

    monkeypatch.setattr(LandUseMap, "network", of_brightness)
    pixels = np.full((230, 900, 3), 30, np.uint8)
    pixels[:, 450:] = 230
    out = predict(write_raster(tmp_path / "city.tif", pixels), model, tmp_path / "map",
                  probabilities=True)
    shares = pixels_of(out / "probabilities.tif")[0].astype(int)
    assert np.ptp(shares) > 80
    assert np.abs(np.diff(shares, axis=1)).max() <= 2


def test_a_map_does_not_depend_on_where_the_raster_begins(model, tmp_path):
    """But for a margin of a tile, whose tiles are moved inwards."""
    pixels = noise(700, 760)
    whole = write_raster(tmp_path / "whole.tif", pixels)
    osm = write_objects(tmp_path / "osm.gpkg", whole)
    with rasterio.open(whole) as file:
        profile = file.profile
        transform = file.window_transform(rasterio.windows.Window(37, 53, 1, 1))
    with rasterio.open(tmp_path / "part.tif", "w",
                       **{**profile, "width": 723, "height": 647, "transform": transform}) as file:
        file.write(np.moveaxis(pixels[53:, 37:], -1, 0))
    one, other = (pixels_of(predict(tmp_path / f"{name}.tif", model, tmp_path / name, osm=osm)
                            / "map.tif")[0] for name in ("whole", "part"))
    inside = np.s_[224:-224, 224:-224]
    assert len(np.unique(other)) > 1
    # batches differ, and so may the last bit of two equal probabilities
    assert (one[53:, 37:][inside] != other[inside]).mean() < 1e-3


def test_footprints_without_tags_make_the_map_of_buildings(model, tmp_path):
    raster = write_raster(tmp_path / "city.tif", noise(224, 224))
    tagged = write_objects(tmp_path / "osm.gpkg", raster)
    frame = gpd.read_file(tagged)
    frame.rename(columns={"building": "source"}).to_file(tmp_path / "bare.gpkg")
    keys = {"osm": tmp_path / "bare.gpkg", "default_tags": "building=yes"}
    with pytest.raises(PrepareError, match="add default_tags=building=yes"):
        predict(raster, model, tmp_path / "none", osm=tmp_path / "bare.gpkg")
    one, other = (predict(raster, model, tmp_path / name, **osm) / "map.tif" for name, osm in
                  (("tagged", {"osm": tagged}), ("bare", keys)))
    np.testing.assert_array_equal(pixels_of(one), pixels_of(other))
    with pytest.raises(RoseError, match=r"bare.*default_tags"):
        predict(raster, model, tmp_path / "bare", **{**keys, "default_tags": "landuse=grass"})
    for name, value in (("default_tags", "building=yes"), ("layers", "mine.yaml")):
        with pytest.raises(ConfigError, match=f"{name}={value}: there is no osm= that it could"):
            predict(raster, model, tmp_path / "alone", **{name: value})


def test_a_trained_model_finds_a_polygon_where_it_was_drawn(tmp_path):
    """Blue is water: a head trained for a moment on random blue boxes finds one that straddles
    tiles, to a few pixels."""
    torch.manual_seed(0)
    head = SegmentationHead("image", "linear", ("water", "green"))
    net = head.build(build_rose("test_vit"))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    random = np.random.default_rng(0)
    for _ in range(40):
        labels = np.ones((4, 14, 14), np.int64)
        for label in labels:
            (x, y), (w, h) = random.integers(0, 11, 2), random.integers(2, 10, 2)
            label[y:y + h, x:x + w] = 0
        large = labels.repeat(16, 1).repeat(16, 2)
        images = torch.from_numpy(_coloured(large, random)).movedim(-1, 1)
        true = torch.from_numpy(large)
        loss = torch.nn.functional.cross_entropy(net(normalise(images), None), true)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_finetuned(tmp_path / "best.safetensors", net, head)
    truth = np.ones((500, 620), np.int64)
    truth[150:330, 170:400] = 0
    raster = write_raster(tmp_path / "city.tif", _coloured(truth, random))
    out = predict(raster, tmp_path / "best.safetensors", tmp_path / "map")
    water = pixels_of(out / "map.tif")[0] == 0
    both, either = (water & (truth == 0)).sum(), (water | (truth == 0)).sum()
    assert both / either > 0.85
    rows, columns = np.nonzero(water)
    assert abs(np.array([rows.mean(), columns.mean()]) - [239.5, 284.5]).max() < 4


def _coloured(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Blue where 0 and green elsewhere, with noise: [..., 3] uint8."""
    colours = np.array([[60, 90, 190], [70, 140, 60]])[labels]
    return (colours + random.normal(0, 12, colours.shape)).clip(1, 255).astype(np.uint8)
