"""The sample city: one grid, honest labels, an OSM that knows part of what the image shows."""

import random
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.features import rasterize

from datasets.sample_city import quarters
from datasets.sample_city.marker import MARKER
from datasets.sample_city.paint import make_canvas, paint_window
from datasets.sample_city.plan import make_plan
from datasets.sample_city.record import Scene
from datasets.sample_city.site import Site
from datasets.sample_city.write import build_scene, write_sample_city
from tests.processes import limited
from utils.errors import RoseError, message_of

LAYERS = ("amenity", "building", "landuse", "leisure", "natural", "highway")
HIGHWAYS = {"motorway", "primary", "secondary", "tertiary", "residential", "service",
            "unclassified", "track", "footway"}


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return write_sample_city(tmp_path_factory.mktemp("city"), tiles=5)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()


def layer(city, name: str):
    return pyogrio.read_dataframe(city.osm, layer=name)


def inside(city, shapes) -> np.ndarray:
    """[H, W] bool, True where a pixel's centre lies in one of the shapes."""
    with rasterio.open(city.image) as source:
        return rasterize(list(shapes), source.shape, transform=source.transform).astype(bool)


def test_rasters_share_one_grid(city):
    with rasterio.open(city.image) as image, rasterio.open(city.landuse) as labels:
        assert (image.shape, image.count, image.dtypes[0],
                image.res) == ((1120, 1120), 3, "uint8", (1.0, 1.0))
        assert image.crs.is_projected
        assert (labels.shape, labels.transform, labels.crs,
                labels.nodata) == (image.shape, image.transform, image.crs, 255)
        for path, unit in ((city.population, "persons"), (city.co2, "tonnes")):
            with rasterio.open(path) as density:
                assert (density.shape, density.dtypes[0], density.bounds,
                        density.crs) == ((20, 20), "float32", image.bounds, image.crs)
                assert unit in density.descriptions[0]
    assert pyogrio.read_info(city.osm, layer="building")["crs"] == "EPSG:32633"


def test_same_seed_gives_the_same_bytes_and_another_seed_another_city(tmp_path):
    first, second, other = (write_sample_city(tmp_path / name, tiles=2, seed=seed)
                            for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    for one, two, three in zip(astuple(first)[:6], astuple(second)[:6], astuple(other)[:6],
                               strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes() != three.read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        MARKER, "city.tif", "co2.tif", "districts.gpkg", "landuse.tif", "osm.gpkg",
        "population.tif"]


def test_layers_are_valid_and_inside_the_image(city):
    assert set(pyogrio.list_layers(city.osm)[:, 0]) == set(LAYERS)
    with rasterio.open(city.image) as image:
        extent = shapely.box(*image.bounds)
    seen = []
    for name in LAYERS:
        frame = layer(city, name)
        assert len(frame) == city.written[name] > 0
        assert frame["osm_id"].dtype == np.int64
        assert frame[name].notna().all()
        shapes = frame.geometry.values
        assert shapely.is_valid(shapes).all()
        assert not shapely.is_empty(shapes).any()
        assert shapely.covers(extent, shapes).all()
        assert set(shapely.get_type_id(shapes)) == {1 if name == "highway" else 3}
        seen.extend(frame["osm_id"])
    assert len(seen) == len(set(seen))
    assert set(layer(city, "highway")["highway"]) <= HIGHWAYS


def test_every_class_has_its_share(city):
    labels = read(city.landuse)[0]
    share = np.bincount(labels[labels < 255], minlength=9) / (labels < 255).sum()
    assert len(share) == 9
    assert (share > 0.015).all()
    assert 0 < (labels == 255).mean() < 0.1


def test_objects_lie_where_the_image_shows_them(city):
    """Row 0 is the northern edge: water is darker than roofs where OSM says so, not in the
    mirrored image."""
    image, labels = read(city.image).astype(float).mean(0), read(city.landuse)[0]
    natural = layer(city, "natural")
    water = inside(city, natural.geometry[natural["natural"] == "water"])
    roofs = inside(city, layer(city, "building").geometry)
    assert (labels[water & (labels < 255)] == 0).mean() > 0.85
    assert image[roofs].mean() > image[water].mean() + 25
    assert np.abs(image[roofs].std() / image[water].std()) > 2
    assert image[water].std() < 0.7 * image[water[::-1]].std()


def test_osm_lacks_objects_that_the_image_shows(city):
    scene = build_scene(make_plan(5, 0), 0)
    assert city.omitted["building"] > 0.1 * city.written["building"]
    assert len(scene.buildings) > city.written["building"]
    assert len(scene.trees) > 4 * 1000


def test_some_tiles_have_no_object_and_built_ones_have_many(city):
    with rasterio.open(city.image) as image:
        west, south = image.bounds[:2]
    corner = 224.0 * np.mgrid[:5, :5].reshape(2, -1)
    tiles = shapely.box(west + corner[0], south + corner[1], west + corner[0] + 224,
                        south + corner[1] + 224)
    count = np.zeros(25, int)
    for name in LAYERS:
        shapes = shapely.buffer(layer(city, name).geometry.values, 4 if name == "highway" else 0)
        count += np.bincount(shapely.STRtree(shapes).query(tiles, predicate="intersects")[0],
                             minlength=25)
    assert 20 <= np.median(count) <= 80
    assert (count == 0).any()


def test_objects_relate_to_each_other(city):
    buildings = layer(city, "building").geometry.values
    grounds = np.concatenate([layer(city, name).geometry.values
                              for name in ("landuse", "leisure", "amenity")])
    tree = shapely.STRtree(buildings)
    assert (tree.query(grounds, predicate="contains")[0].size) > 100
    assert tree.query(buildings, predicate="touches")[0].size > 50
    assert tree.query(grounds, predicate="overlaps")[0].size > 0
    amenities = layer(city, "amenity").geometry.values
    a, b = tree.query(amenities, predicate="covers")
    assert shapely.equals(amenities[a], buildings[b]).any()


def test_buildings_stand_clear_of_roads_and_rivers(city):
    buildings = layer(city, "building").geometry.values
    natural, roads = layer(city, "natural"), layer(city, "highway")
    river = natural.geometry[natural["name"] == "Aue"].values
    driven = roads["highway"].isin(["motorway", "primary", "secondary", "tertiary", "residential"])
    streets = shapely.buffer(roads.geometry[driven].values, 2)
    tree = shapely.STRtree(buildings)
    assert tree.query(river, predicate="intersects")[0].size == 0
    assert len(np.unique(tree.query(streets, predicate="intersects")[1])) < 0.01 * len(buildings)


def test_people_live_where_floors_are_residential(city):
    people, emission, labels = read(city.population)[0], read(city.co2)[0], read(city.landuse)[0]
    home = (labels == 4).reshape(20, 56, 20, 56).mean((1, 3))
    industry = (labels == 7).reshape(20, 56, 20, 56).mean((1, 3))
    assert people[home > 0.9].mean() > 1000
    assert people[industry > 0.9].max() == 0
    assert emission[industry > 0.9].mean() > 2 * emission[home > 0.9].mean()
    frame = layer(city, "building")
    homes = inside(city, frame.geometry[frame["building"].isin(
        ["house", "detached", "terrace", "apartments", "residential"])])
    floor = homes.reshape(20, 56, 20, 56).mean((1, 3))
    assert np.corrcoef(floor.ravel(), people.ravel())[0, 1] > 0.6


def test_campus_and_business_park_differ_in_tags_alone():
    plan = make_plan(5, 0)
    quarter = next(q for q in plan.quarters if q.kind == "campus")
    grounds = {}
    for build in (quarters.campus, quarters.business):
        scene = Scene(0.6 - 0.8j)
        build(Site(scene, plan, random.Random(1), quarter), quarter.ring.inset())
        grounds[build.__name__] = scene
    campus, business = grounds["campus"], grounds["business"]
    assert len(campus.buildings) > 3
    assert (campus.surfaces, campus.trees, campus.buildings.flat) == (
        business.surfaces, business.trees, business.buildings.flat)
    assert campus.buildings.numbers[1::3] == business.buildings.numbers[1::3]    # storeys
    tagged = [{value for _, value, _ in scene.tags} - {"parking", "yes"}
              for scene in (campus, business)]
    assert tagged[0]
    assert tagged[1]
    assert not tagged[0] & tagged[1]


def test_no_seams_between_painted_windows():
    plan = make_plan(2, 0)
    canvas = make_canvas(build_scene(plan, 0), plan, 0)
    whole = paint_window(canvas, 0, 0, (448, 448))
    assert np.array_equal(whole[224:, 224:], paint_window(canvas, 224, 224, (224, 224)))


@pytest.mark.parametrize("tiles", [0, -3, 2.5, 10**20])
def test_impossible_size_is_one_line(tmp_path, tiles):
    with pytest.raises(RoseError, match=rf"^tiles={tiles}: .*at least 1") as error:
        write_sample_city(tmp_path, tiles=tiles)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_one_tile_is_a_city_too(tmp_path):
    city = write_sample_city(tmp_path, tiles=1)
    assert read(city.image).shape == (3, 224, 224)
    assert read(city.population).shape == (1, 4, 4)


def test_a_city_is_replaced_only_when_asked(tmp_path):
    city = write_sample_city(tmp_path, tiles=1)
    before = city.image.stat().st_mtime_ns
    with pytest.raises(RoseError, match=r"holds a city.tif already; pass overwrite=true"):
        write_sample_city(tmp_path, tiles=1, seed=1)
    assert city.image.stat().st_mtime_ns == before
    write_sample_city(tmp_path, tiles=1, seed=1, overwrite=True)
    assert city.image.stat().st_mtime_ns > before


def test_failure_leaves_no_half_written_file(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("datasets.sample_city.write.paint_window", broken)
    with pytest.raises(OSError, match="disk full"):
        write_sample_city(tmp_path, tiles=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == [MARKER, "districts.gpkg",
                                                              "osm.gpkg"]
    monkeypatch.undo()
    write_sample_city(tmp_path, tiles=1)  # a stopped generation is redone


@pytest.mark.parametrize(("most", "file"), [
    (0, MARKER), (110_000, "osm.gpkg"), (60_000, "districts.gpkg"), (90_000, "city.tif")])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, most, file):
    if file in ("districts.gpkg", "city.tif"):  # smaller than osm.gpkg
        monkeypatch.setattr("datasets.sample_city.write.write_layers",
                            lambda path, layers: (path.touch(), {})[1])
    with limited(most), pytest.raises(OSError, match=str(tmp_path / file)) as error:
        write_sample_city(tmp_path, tiles=1)
    assert "\n" not in message_of(error.value)
    assert not list(tmp_path.glob(".writing-*"))


def test_districts_share_out_the_city(city):
    with rasterio.open(city.image) as image:
        extent = shapely.box(*image.bounds)
    _, _, wkb, (names,) = pyogrio.raw.read(city.districts, columns=["district"])
    districts = shapely.from_wkb(wkb)
    assert pyogrio.read_info(city.districts)["crs"] == "EPSG:32633"
    assert shapely.area(districts).sum() == pytest.approx(extent.area, rel=1e-6)
    assert shapely.union_all(districts).area == pytest.approx(extent.area, rel=1e-6)
    assert all(name.rpartition(" ")[2].isdigit() for name in names)
