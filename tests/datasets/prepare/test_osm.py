"""OSM objects from every kind of source, their layers, and how lines become polygons."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from datasets.prepare.osm import layer_table, polygonal_part, read_osm
from tests.datasets.prepare.places import NORTH, UTM, WEST, metres, square

BOUNDS = (WEST, NORTH - 70, WEST + 105, NORTH)
HOLE = shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(3, 3), (6, 3), (6, 6), (3, 6)]])


def read(path, **keys):
    return read_osm(path, UTM, BOUNDS, **keys)


def listing(objects) -> list[tuple[str, str]]:
    return [(layer_table().names[layer], value) for layer, value in zip(objects.layer, objects.value, strict=True)]


def write(path, columns: dict, geometry: list, crs: str = UTM):
    gpd.GeoDataFrame(columns, geometry=geometry, crs=crs).to_file(path)
    return path


def to_gpkg(frame, folder):
    frame[["building", "geometry"]].to_file(folder / "a.gpkg", layer="buildings")
    frame.drop(columns="building").to_file(folder / "a.gpkg", layer="others")
    return folder / "a.gpkg"


def to_geojson(frame, folder):
    frame.to_crs(4326).to_file(folder / "a.geojson")
    return folder / "a.geojson"


def to_shapefiles(frame, folder):
    lines = frame.geometry.geom_type == "LineString"
    (folder / "shp").mkdir()
    frame[lines].to_crs(3857).to_file(folder / "shp" / "lines.shp")
    frame[~lines].to_crs(32632).to_file(folder / "shp" / "polygons.shp")
    return folder / "shp"


def to_label_column(frame, folder):
    keys = ["building", "landuse", "highway"]
    label = [";".join(["name:A: B", *(f"{key}:{row[key]}" for key in keys if isinstance(row[key], str))]) for _, row in frame.iterrows()]
    gpd.GeoDataFrame({"label": label}, geometry=frame.geometry, crs=frame.crs).to_crs(4326).to_file(folder / "label.geojson")
    return folder / "label.geojson"


@pytest.mark.parametrize("written", [to_gpkg, to_geojson, to_shapefiles, to_label_column])
def test_every_kind_of_source_gives_the_same_objects(place, tmp_path, written):
    objects = read(written(place.frame, tmp_path))
    assert listing(objects) == [
        ("building", "house"), ("building", "yes"), ("building", "house"), ("landuse", "grass"), ("landuse", "residential"),
        ("road", "residential"),
    ]
    assert (objects.repaired, sum(objects.dropped.values())) == (0, 0)
    expected = place.frame.geometry.iloc[[0, 1, 3, 2, 3]].to_numpy()
    assert shapely.area(shapely.symmetric_difference(objects.geometry[:5], expected)).max() < 1e-3  # GeoJSON keeps 7 decimals: 1 cm
    assert objects.geometry[5].area == pytest.approx(60 * 6 + np.pi * 9, rel=0.02)


def test_the_other_names_of_natural_and_highway(tmp_path):
    columns = {"natural": [None, "wood", None], "nature": ["heath", None, None], "road": [None, None, "path"]}
    path = write(tmp_path / "a.gpkg", columns, [square(0, 0, 5), square(9, 0, 5), metres((0, 20), (9, 20))])
    assert listing(read(path)) == [("nature", "heath"), ("nature", "wood"), ("road", "path")]  # in the source's order


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize(("value", "width"), [("motorway", 22), ("footway", 2), ("a new class", 5)])
def test_a_road_is_as_wide_as_its_class_in_metres(tmp_path, crs, value, width):
    """Far north, where a degree of longitude and a unit of web Mercator are half of what they are at the equator."""
    line = gpd.GeoSeries([shapely.LineString([(25.000, 60.001), (25.004, 60.0015)])], crs=4326)
    path = write(tmp_path / "a.geojson", {"highway": [value]}, list(line), crs="EPSG:4326")
    bounds = tuple(line.to_crs(line.estimate_utm_crs()).buffer(100).to_crs(crs).total_bounds)
    road = gpd.GeoSeries(read_osm(path, crs, bounds).geometry, crs=crs).to_crs(line.estimate_utm_crs())
    length = line.to_crs(road.crs).length[0]
    assert (road.area[0] - np.pi * (width / 2) ** 2) / length == pytest.approx(width, rel=0.02)


def test_a_road_beside_the_raster_still_reaches_into_it(tmp_path):
    path = write(tmp_path / "a.gpkg", {"highway": ["motorway"]}, [metres((-8, 0), (-8, 60))])
    assert listing(read(path)) == [("road", "motorway")]


def test_lines_that_are_no_roads_become_polygons_only_when_closed(tmp_path):
    ring = [(0, 0), (9, 0), (9, 9), (0, 0)]
    one_part = shapely.MultiLineString([metres(*ring[::-1])])
    geometry = [metres(*ring), metres(*ring, (9, 20), (9, 30)), one_part, metres((20, 20), (30, 20), (20, 20))]
    objects = read(write(tmp_path / "a.gpkg", {"leisure": ["park", "track", "garden", "slipway"]}, geometry))
    assert listing(objects) == [("leisure", "park")]
    assert objects.geometry[0].area == pytest.approx(40.5)
    assert objects.dropped == {"lines": 2, "repeated in their layer": 1}


def test_what_cannot_be_used_is_counted(tmp_path):
    bow = shapely.Polygon([(WEST, NORTH), (WEST + 10, NORTH - 10), (WEST + 10, NORTH), (WEST, NORTH - 10)])
    flat = shapely.Polygon([(WEST + 20, NORTH - 20), (WEST + 30, NORTH - 20), (WEST + 20, NORTH - 20)])
    mixed = shapely.GeometryCollection([square(40, 0, 4), shapely.Point(WEST + 1, NORTH - 1), shapely.MultiPolygon([square(50, 0, 4)])])
    geometry = [bow, flat, mixed, shapely.Point(WEST + 1, NORTH - 1), None, shapely.Polygon(), square(0, 30, 5)]
    path = tmp_path / "a.gpkg"
    gpd.GeoDataFrame({"amenity": [*"abcdef", "  "]}, geometry=geometry, crs=UTM).to_file(path, engine="pyogrio")
    objects = read(path)
    assert listing(objects) == [("amenity", "a"), ("amenity", "c")]  # blank values are no tags
    assert objects.geometry[0].area == pytest.approx(50)
    assert objects.geometry[1].area == pytest.approx(32)
    assert objects.repaired == 1
    assert objects.dropped["points"] == 1
    assert objects.dropped["without area"] == 1


def test_identical_geometries_of_a_layer_are_kept_once(tmp_path):
    first = square(0, 0, 5)
    turned = shapely.Polygon([*first.exterior.coords[2:-1], *first.exterior.coords[:3]])
    columns = {"building": ["yes", "house", None], "amenity": [None, None, "school"]}
    objects = read(write(tmp_path / "a.gpkg", columns, [first, turned, first]))
    assert listing(objects) == [("amenity", "school"), ("building", "yes")]
    assert objects.dropped == {"repeated in their layer": 1}


def test_only_the_window_of_the_raster_is_taken(tmp_path):
    around = metres((-17, 30), (-17, 78), (40, 78)).buffer(1)
    assert shapely.intersects(shapely.box(*around.bounds), shapely.box(*BOUNDS))
    geometry = [square(10, 10, 5), square(900, 10, 5), square(-15, 10, 5), around]
    assert listing(read(write(tmp_path / "a.gpkg", {"building": ["in", "far", "near", "around"]}, geometry))) == [("building", "in")]


def test_nothing_there_may_be_allowed(tmp_path):
    path = write(tmp_path / "a.geojson", {"label": [None, "building:yes"]}, [square(10, 10, 5), square(900, 10, 5)])
    objects = read(path, allow_none=True)
    assert len(objects) == 0
    assert objects.geometry.shape == (0,)


def test_a_label_column_of_numbers_is_no_tag_column(tmp_path):
    path = write(tmp_path / "a.gpkg", {"label": [1], "building": ["yes"]}, [square(0, 0, 5)])
    assert listing(read(path)) == [("building", "yes")]


def test_columns_of_keys_go_before_a_label_column(tmp_path):
    path = write(tmp_path / "a.gpkg", {"label": ["landuse:grass"], "building": ["yes"]}, [square(0, 0, 5)])
    assert listing(read(path)) == [("building", "yes")]


def test_polygonal_part():
    line, inner = shapely.LineString([(0, 0), (1, 1)]), shapely.MultiPolygon([square(0, 0, 1), square(2, 0, 1)])
    given = np.array([HOLE, line, inner, shapely.GeometryCollection([line, HOLE, inner]), shapely.GeometryCollection([line])], dtype=object)
    parts = polygonal_part(given)
    assert shapely.area(parts).tolist() == pytest.approx([72, 0, 2, 74, 0])
    assert [part.geom_type for part in parts] == ["Polygon", "Polygon", "MultiPolygon", "MultiPolygon", "Polygon"]
    assert given[1] is line


def test_a_ring_of_two_points_is_counted_and_stops_nothing(tmp_path):
    path = write(tmp_path / "a.geojson", {"building": ["yes"]}, [square(0, 0, 5)], crs=UTM)
    broken = {"type": "Polygon", "coordinates": [[[WEST + 1, NORTH - 1], [WEST + 2, NORTH - 2]]]}
    collection = json.loads(path.read_text())
    collection["features"].append({"type": "Feature", "properties": {"building": "hut"}, "geometry": broken})
    path.write_text(json.dumps(collection))
    objects = read(path)
    assert listing(objects) == [("building", "yes")]
    assert objects.dropped == {"without geometry": 1}
