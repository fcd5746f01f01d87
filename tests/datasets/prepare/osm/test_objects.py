"""From tagged features to valid polygons in the raster's CRS: shapes in metres, repairs, repeats
and what lies outside."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pyproj import CRS, Geod

from datasets.prepare.geo.crs import Bounds
from datasets.prepare.osm import vector_files
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.objects import (
    no_overlap_message,
    polygonal_part,
    read_objects,
    source_files,
)
from datasets.prepare.osm.tags import load_layers
from tests.datasets.prepare.places import NORTH, UTM, WEST, metres, square
from tests.datasets.prepare.reading import BOUNDS, read, write
from utils.errors import PrepareError

HOLE = shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(3, 3), (6, 3), (6, 6), (3, 6)]])


def around(lon: float, lat: float, crs: str, degrees: float = 0.02) -> Bounds:
    """Return the bounds in `crs` of a box around a point."""
    box = shapely.box(lon - degrees, lat - degrees, lon + degrees, lat + degrees)
    return tuple(gpd.GeoSeries([box], crs=4326).to_crs(crs).total_bounds)


def area_on_the_ground(shape, crs: str) -> float:
    degrees = gpd.GeoSeries([shape], crs=crs).to_crs(4326)[0]
    return abs(Geod(ellps="WGS84").geometry_area_perimeter(degrees)[0])


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:3395", "EPSG:32635"])
@pytest.mark.parametrize(("value", "width"),
                         [("motorway", 22), ("footway", 2), ("a new class", 5)])
def test_a_road_is_as_wide_as_its_class_in_metres(tmp_path, crs, value, width):
    """Far north, where a degree of longitude and a unit of web Mercator are half of what they are
    at the equator."""
    line = shapely.LineString([(25.000, 60.001), (25.004, 60.0015)])
    path = write(tmp_path / "a.geojson", {"highway": [value]}, [line], crs="EPSG:4326")
    road = read(path, crs, around(25, 60, crs)).geometry[0]
    length = Geod(ellps="WGS84").geometry_length(line)
    assert (area_on_the_ground(road, crs)
            - np.pi * (width / 2) ** 2) / length == pytest.approx(width, rel=0.01)


@pytest.mark.parametrize(("lon", "lat", "crs"), [
    (25, 60, "EPSG:3857"), (104, 1.3, "EPSG:4326"), (16, 78, "EPSG:4326"),
    (5.4, 52.2, "EPSG:28992"), (30, -89.9, "EPSG:3031"),
    (179.99, -17, "EPSG:3460"),
])
def test_a_point_becomes_a_disc_of_metres_anywhere(tmp_path, lon, lat, crs):
    columns = {"amenity": ["cafe", None], "natural": [None, "tree"]}
    path = write(tmp_path / "a.geojson", columns, [shapely.Point(lon, lat)] * 2, crs="EPSG:4326")
    objects = read(path, crs, around(lon, lat, crs, 0.005))
    assert objects.listing == [("amenity", "cafe"), ("nature", "tree")]
    assert [area_on_the_ground(disc, crs)
            for disc in objects.geometry] == pytest.approx([np.pi * 10**2, np.pi * 3**2], rel=0.01)


def test_widths_hold_far_from_the_centre_of_a_wide_raster(tmp_path):
    points = [shapely.Point(5 + 10 * east, 50) for east in (-0.4, 0, 0.4)]
    path = write(tmp_path / "a.geojson", {"amenity": ["a", "b", "c"]}, points, crs="EPSG:4326")
    discs = read(path, "EPSG:4326", (0, 45, 10, 55)).geometry
    assert [area_on_the_ground(disc, "EPSG:4326")
            for disc in discs] == pytest.approx([np.pi * 100] * 3, rel=0.01)


@pytest.mark.parametrize("kind", ["motorway", "cafe"])
def test_what_is_beside_the_raster_still_reaches_into_it(tmp_path, kind):
    columns = {"highway": [kind if kind == "motorway" else None],
               "amenity": [kind if kind == "cafe" else None]}
    shape = metres((-8, 0), (-8, 60)) if kind == "motorway" else shapely.Point(WEST - 8,
                                                                               NORTH - 30)
    assert read(write(tmp_path / "a.gpkg", columns, [shape])).values == [kind]


def test_lines_that_are_no_roads_become_polygons_only_when_closed(tmp_path):
    ring = [(0, 0), (9, 0), (9, 9), (0, 0)]
    one_part = shapely.MultiLineString([metres(*ring[::-1])])
    geometry = [metres(*ring), metres(*ring, (9, 20), (9, 30)), one_part,
                metres((20, 20), (30, 20), (20, 20))]
    objects = read(write(tmp_path / "a.gpkg", {"leisure": ["park", "track", "garden", "slipway"]},
                         geometry))
    assert objects.listing == [("leisure", "park")]
    assert objects.geometry[0].area == pytest.approx(40.5)
    assert objects.census.dropped == {"lines": 2, "repeated in their layer": 1}


def test_a_closed_line_is_a_road_and_a_park_at_once(tmp_path):
    ring = metres((0, 0), (9, 0), (9, 9), (0, 0))
    objects = read(write(tmp_path / "a.gpkg", {"highway": ["path"], "leisure": ["park"]}, [ring]))
    assert len(objects.one("road", "path").interiors) == 1
    assert objects.one("leisure", "park").area == pytest.approx(40.5)


def test_what_cannot_be_used_is_counted(tmp_path):
    bow = shapely.Polygon([(WEST, NORTH), (WEST + 10, NORTH - 10), (WEST + 10, NORTH),
                           (WEST, NORTH - 10)])
    flat = shapely.Polygon([(WEST + 20, NORTH - 20), (WEST + 30, NORTH - 20),
                            (WEST + 20, NORTH - 20)])
    mixed = shapely.GeometryCollection([square(40, 0, 4), shapely.Point(WEST + 1, NORTH - 1),
                                        shapely.MultiPolygon([square(50, 0, 4)])])
    geometry = [bow, flat, mixed, shapely.Point(WEST + 1, NORTH - 1), None, shapely.Polygon(),
                square(0, 30, 5)]
    objects = read(write(tmp_path / "a.gpkg", {"building": [*"abcdef", "  "]}, geometry))
    assert objects.listing == [("building", "a"), ("building", "c")]  # blank values are no tags
    assert [shape.area for shape in objects.geometry] == pytest.approx([50, 32])
    assert objects.census.repaired == 1
    assert objects.census.dropped == {"without geometry": 2, "points": 1, "without area": 1}


def test_identical_geometries_of_a_layer_are_kept_once_over_all_files(tmp_path):
    first = square(0, 0, 5)
    turned = shapely.Polygon([*first.exterior.coords[2:-1], *first.exterior.coords[:3]])
    write(tmp_path / "a.gpkg",
          {"building": ["yes", "house", None], "amenity": [None, None, "school"]},
          [first, turned, first])
    write(tmp_path / "b.gpkg", {"building": ["hut", "barn"]},
          [shapely.MultiPolygon([first]), square(0, 0, 6)])
    objects = read(tmp_path)
    assert objects.listing == [("building", "yes"), ("amenity", "school"), ("building", "barn")]
    assert objects.census.dropped == {"repeated in their layer": 2}
    assert [file.name for file in source_files(tmp_path)] == ["a.gpkg", "b.gpkg"]


def test_multipolygons_stay_whole_and_keep_their_holes(tmp_path):
    shape = shapely.transform(shapely.MultiPolygon([HOLE, shapely.box(20, 0, 25, 5)]),
                              lambda xy: xy + np.array([WEST, NORTH - 20]))
    objects = read(write(tmp_path / "a.gpkg", {"landuse": ["forest"]}, [shape]))
    assert shapely.equals(objects.geometry[0], shape)
    assert objects.geometry[0].area == pytest.approx(72 + 25)


def test_only_the_window_of_the_raster_is_taken(tmp_path):
    # its box overlaps the raster, itself does not
    angle = metres((-17, 30), (-17, 78), (40, 78)).buffer(1)
    geometry = [square(10, 10, 5), square(900, 10, 5), square(-15, 10, 5), angle]
    objects = read(write(tmp_path / "a.gpkg", {"building": ["in", "far", "near", "angle"]},
                         geometry))
    assert objects.listing == [("building", "in")]
    assert (objects.census.outside, objects.census.dropped) == (3, {})


def test_a_source_far_outside_the_domain_of_the_rasters_projection(tmp_path):
    path = write(tmp_path / "a.geojson", {"building": ["yes"]},
                 [shapely.box(-170, -80, -169, -79)], crs="EPSG:4326")
    objects = read(path)
    assert objects.listing == []
    assert "-170.00000, -80.00000" in no_overlap_message(path, objects.census, UTM, BOUNDS,
                                                         "or do without")


def test_progress_counts_the_features_read(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_files, "CHUNK", 2)
    write(tmp_path / "a.gpkg", {"building": ["yes", None, "hut"]},
          [square(0, 0, 5), square(9, 0, 5), None])
    write(tmp_path / "b.geojson", {"amenity": ["school"]}, [square(900, 0, 5)])
    seen = []
    list(read_objects(tmp_path, CRS(UTM), BOUNDS, load_layers(), Census(), progress=seen.append))
    assert seen == [2, 1, 1]


@pytest.mark.parametrize("kind", ["geojson", "gpkg", "parquet", "folder"])
def test_a_source_without_any_feature(tmp_path, kind):
    """Such as the answer to a query that found nothing: it has no columns that could name tags."""
    path, nothing = tmp_path / f"a.{kind}", gpd.GeoDataFrame({"id": []}, geometry=[], crs=UTM)
    if kind == "geojson":
        path.write_text('{"type": "FeatureCollection", "features": []}')
    elif kind == "parquet":
        nothing.to_parquet(path)
    else:
        path.mkdir() if kind == "folder" else None
        nothing.to_file(path / "b.gpkg" if kind == "folder" else path)
    objects = read(path)
    assert (objects.listing, objects.census.empty) == ([], True)
    message = no_overlap_message(path, objects.census, UTM, BOUNDS, "or do without")
    assert all(part in message for part in (path.name, "holds no feature",
                                            "download them again, or do without."))


def test_an_empty_layer_does_not_hide_features_without_tags(tmp_path):
    gpd.GeoDataFrame({"building": []}, geometry=[], crs=UTM).to_file(tmp_path / "a.gpkg")
    write(tmp_path / "b.gpkg", {"id": ["x"]}, [square(0, 0, 5)])
    with pytest.raises(PrepareError, match="no column names OSM tags"):
        read(tmp_path)


def test_subfolders_are_not_searched(tmp_path):
    (tmp_path / "osm/north").mkdir(parents=True)
    write(tmp_path / "osm/north/a.gpkg", {"building": ["yes"]}, [square(0, 0, 5)])
    message = r"osm: the folder itself holds no vector.*subfolders are not searched.*osm=.*north"
    with pytest.raises(PrepareError, match=message) as raised:
        read(tmp_path / "osm")
    assert "\n" not in str(raised.value)


def test_a_folder_of_several_formats(tmp_path):
    write(tmp_path / "a.gpkg", {"building": ["yes"]}, [square(0, 0, 5)])
    gpd.GeoDataFrame({"leisure": ["park"]}, geometry=[square(20, 0, 5)],
                     crs=UTM).to_crs(3857).to_parquet(tmp_path / "b.parquet")
    (tmp_path / "c.osm").write_text(
        '<osm version="0.6"><node id="1" lat="49.6523" lon="15.0005">'
        '<tag k="amenity" v="cafe"/></node></osm>')
    (tmp_path / "notes.txt").write_text("")
    assert read(tmp_path).listing == [("building", "yes"), ("leisure", "park"),
                                      ("amenity", "cafe")]


def test_one_layer_without_tags_does_not_hide_the_others(tmp_path):
    write(tmp_path / "a.gpkg", {"id": ["x"]}, [square(0, 0, 5)])
    with pytest.raises(PrepareError, match="no column names OSM tags; columns found: id"):
        read(tmp_path)
    write(tmp_path / "b.gpkg", {"building": ["yes"]}, [square(0, 0, 5)])
    assert read(tmp_path).listing == [("building", "yes")]


def test_polygonal_part():
    line = shapely.LineString([(0, 0), (1, 1)])
    inner = shapely.MultiPolygon([square(0, 0, 1), square(2, 0, 1)])
    given = np.array([HOLE, line, inner, shapely.GeometryCollection([line, HOLE, inner]),
                      shapely.GeometryCollection([line])], dtype=object)
    polygons = polygonal_part(given)
    assert shapely.area(polygons).tolist() == pytest.approx([72, 0, 2, 74, 0])
    assert [polygon.geom_type for polygon in polygons] == [
        "Polygon", "Polygon", "MultiPolygon", "MultiPolygon", "Polygon"]
    assert given[1] is line
