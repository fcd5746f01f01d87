"""Footprints without tags are the same objects as those of an extract, by default_tags=."""

import json

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from datasets.prepare.osm import vector_files
from datasets.prepare.osm.default_tags import LINES, POINTS
from datasets.prepare.osm.objects import no_overlap_message
from datasets.prepare.osm.tags import load_layers
from inference.keys import ExtractConfig, PredictConfig
from tests.datasets.prepare.osm.test_osm_files import Drawing, as_pbf
from tests.datasets.prepare.places import UTM, metres, prepare, square
from tests.datasets.prepare.reading import BOUNDS, WORLD, assert_same_objects, read, write
from utils.config import result_keys
from utils.errors import ConfigError, PrepareError

BUILDINGS = load_layers(default_tags="building=yes")
BOTH = load_layers(default_tags="[building=yes, highway=road]")
SQUARES = [square(0, 0, 9), square(20, 0, 9), square(40, 0, 9)]
RING = metres((0, 40), (9, 40), (9, 49), (0, 49), (0, 40))
# columns of footprints that are published without tags
COLUMNS = {"area_in_meters": [81.0, 81.5, 9.0], "confidence": [0.7, 0.8, None],
           "height": [None, 3.5, 4.0], "full_plus_code": ["a", "b", None]}


def test_footprints_are_the_buildings_of_an_extract(tmp_path):
    drawing = Drawing()
    for x in range(3):
        drawing.way((x, 0), (x + 0.5, 0), (x + 0.5, 1), (x, 1), (x, 0), building="yes")
    extract = read(as_pbf(drawing.write(tmp_path / "a.osm")), *WORLD)
    frame = gpd.GeoDataFrame(COLUMNS, geometry=extract.geometry, crs=4326)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.gpkg", "a.geojson", "a.shp", "a.fgb"):
        frame.rename(columns=lambda name: name[:10]).to_file(tmp_path / name)
    for name in ("a.parquet", "a.gpkg", "a.geojson", "a.shp", "a.fgb"):
        objects = read(tmp_path / name, *WORLD, BUILDINGS)
        assert_same_objects(objects, extract)
        assert objects.census.defaulted == objects.census.tagged == 3
        assert len(objects.census.notes) == 1
        assert objects.census.notes[0].startswith(
            f"{name}: 3 features get default_tags=building=yes, as no column has OSM tags")


@pytest.mark.parametrize("chunk", [1, 100])
def test_features_with_a_tag_keep_it(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(vector_files, "CHUNK", chunk)
    shapes = [square(12 * index, 0, 9) for index in range(7)]
    wide = write(tmp_path / "wide.gpkg", {
        "building": ["hut", None, None, "", "no", None, None],
        "other_tags": [None, '"power"=>"tower"', None, None, None, '"landuse"=>"grass"', "  "],
    }, shapes)
    expected = [("building", "hut"), ("building", "yes"), ("building", "yes"),
                ("landuse", "grass"), ("building", "yes")]
    objects = read(wide, table=BUILDINGS)
    assert objects.listing == expected
    assert (objects.census.defaulted, objects.census.without) == (3, 2)
    # of a map and a struct
    tags = [{"building": "hut"}, {"power": "tower"}, {}, None, {"building": "no"},
            {"landuse": "grass"}, {"building": None}]
    gpd.GeoDataFrame(geometry=shapes, crs=UTM).to_parquet(tmp_path / "bare.parquet")
    bare = pq.read_table(tmp_path / "bare.parquet")
    map_type = pa.map_(pa.string(), pa.string())
    for number, column in enumerate((
            pa.array(tags), pa.array([row and [*row.items()] for row in tags[:6]] + [[]],
                                     map_type))):
        pq.write_table(bare.append_column("tags", column), tmp_path / f"{number}.parquet")
        objects = read(tmp_path / f"{number}.parquet", table=BUILDINGS)
        assert objects.listing == expected
        assert objects.census.defaulted == 3
    stated = [{"tags": row} if row else {} for row in tags]
    stated[-1] = {"tags": "{}"}
    assert read(geojson(tmp_path / "c.geojson", shapes, stated),
                table=BUILDINGS).listing == expected


def geojson(path, shapes, properties):
    features = [{"type": "Feature", "properties": values, "geometry": json.loads(
        shapely.to_geojson(shape))} for values, shape in zip(
            properties, gpd.GeoSeries(shapes, crs=UTM).to_crs(4326), strict=True)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_false_says_that_a_feature_is_no_building(tmp_path):
    frame = gpd.GeoDataFrame({"building": [True, False, None]}, geometry=SQUARES, crs=UTM)
    frame.to_parquet(tmp_path / "a.parquet")
    objects = read(tmp_path / "a.parquet", table=BUILDINGS)
    assert (len(objects.values), objects.census.defaulted, objects.census.without) == (2, 1, 1)


SHAPES = [SQUARES[0], shapely.MultiPolygon(SQUARES[1:]), metres((0, 60), (60, 60)), RING,
          shapely.Point(SQUARES[0].centroid), None]


def test_each_default_tag_takes_the_shapes_that_it_suits(tmp_path):
    path = write(tmp_path / "a.gpkg", {"id": [*"abcdef"]}, SHAPES)
    one, two = read(path, table=BUILDINGS), read(path, table=BOTH)
    assert one.listing == [("building", "yes")] * 3  # the ring is one
    assert one.census.lost == {LINES: 1, POINTS: 1}
    assert two.listing == [("building", "yes")] * 2 + [("road", "road")] * 2
    assert two.census.lost == {POINTS: 1}
    assert two.census.dropped["without geometry"] == 1
    for census in (one.census, two.census):
        assert census.read == census.tagged + census.without + census.lost.total() == 6
    roads = load_layers(default_tags="highway=road")
    assert read(path, table=roads).listing == [("road", "road")] * 4
    points = load_layers(default_tags="amenity=yes,building=yes")
    assert ("amenity", "yes") in read(path, table=points).listing


def test_what_default_tags_do_not_reach_is_said(tmp_path):
    drawing = Drawing()
    drawing.way((0, 0), (1, 0), (1, 1), (0, 0), building="hut")
    drawing.way((2, 0), (3, 0), (3, 1), (2, 0))
    objects = read(as_pbf(drawing.write(tmp_path / "a.osm")), *WORLD, BUILDINGS)
    assert objects.listing == [("building", "hut")]
    assert objects.census.notes == ["default_tags=building=yes changes nothing: it is for features "
                                    "of vector files without any tag, and there is none"]


def test_points_that_no_default_tag_suits_say_what_would(tmp_path):
    path = write(tmp_path / "a.gpkg", {"id": ["a"]}, [SQUARES[0].centroid])
    census = read(path, table=BUILDINGS).census
    assert len(census.notes) == 1  # that they have no column of tags
    assert no_overlap_message(path, census, UTM, BOUNDS, "or not") == (
        f"{path}: none of its 1 features can be read: 1 untagged points. For untagged points, add "
        "a tag that makes discs of points to default_tags, such as amenity=yes.")


def test_the_message_on_untagged_footprints_names_the_key_that_helps(place):
    gpd.GeoDataFrame({"confidence": [0.5]}, geometry=[square(2, 2, 10)], crs=UTM).to_file(
        place.folder / "footprints.gpkg")
    osm = place.folder / "footprints.gpkg"
    with pytest.raises(PrepareError, match=(
            r"footprints\.gpkg: no column names OSM tags; columns found: confidence\. If .* add "
            r"default_tags=building=yes\.")):
        prepare(place, osm=osm)
    summary = prepare(place, osm=osm, default_tags="building=yes")
    assert summary.objects["building"] == 1
    assert "by default   1 features without a tag got default tags" in str(summary)


def test_the_message_on_footprints_with_an_empty_column_names_the_key(place):
    gpd.GeoDataFrame({"building": ["", None]}, geometry=SQUARES[:2], crs=UTM).to_file(
        place.folder / "a.gpkg")
    with pytest.raises(PrepareError, match=r"none of its 2 features has a tag .* add "
                                           r"default_tags=building=yes"):
        prepare(place, osm=place.folder / "a.gpkg")
    summary = prepare(place, osm=place.folder / "a.gpkg", default_tags="building=yes")
    assert summary.objects["building"] == 2


@pytest.mark.parametrize(("text", "message"), [
    ("building", "building is no tag; expected KEY=VALUE"),
    ("=yes", "=yes is no tag"),
    ("building=", "building= is no tag"),
    ("building=yes,", "an empty text is no tag"),
    ("[]", "an empty text is no tag"),
    ("shop=yes", r"no row of .*osm_layers\.yaml takes the key shop; choose one of amenity, b"),
    ("building=no", "the row building of .* leaves out the value no; choose another, such as b"),
    ("building=yes,Building=hut", "gives Building twice"),
])
def test_default_tags_that_are_none(text, message):
    with pytest.raises(ConfigError, match=rf"default_tags=.*: {message}"):
        load_layers(default_tags=text)


def test_maps_and_features_have_the_key_and_depend_on_it():
    for schema in (PredictConfig, ExtractConfig):
        assert "default_tags" in result_keys(schema)
