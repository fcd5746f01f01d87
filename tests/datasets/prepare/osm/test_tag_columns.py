"""Columns of every kind that name tags, what the tags become, and what is passed over in words."""

import json
from collections import Counter
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from datasets.prepare.osm import class_tables, vector_files
from datasets.prepare.osm.tags import load_layers, packed_pairs
from datasets.prepare.osm.vector_files import tagged_layers
from tests.datasets.prepare.places import UTM, metres, prepare, square
from tests.datasets.prepare.reading import read, write

SHAPES = [square(0, 0, 9), square(20, 0, 9), metres((0, 40), (60, 40)), square(40, 0, 9)]
LISTING = [("building", "house"), ("landuse", "forest"), ("road", "primary")]
TAGS = [{"building": "house", "name": "A"}, {"landuse": "forest"},
        {"highway": "primary", "ref": None}, None]
KEYS_AND_VALUES = [tags and [*tags.items()] for tags in TAGS]


def parquet(path: Path, tags: pa.Array) -> Path:
    """Write SHAPES as a GeoParquet file with a column of tags."""
    gpd.GeoDataFrame(geometry=SHAPES, crs=UTM).to_parquet(path)
    table = pq.read_table(path)
    pq.write_table(table.append_column("tags", tags), path, row_group_size=3)
    return path


def geojson(path: Path, properties: list[dict]) -> Path:
    shapes = gpd.GeoSeries(SHAPES, crs=UTM).to_crs(4326)
    features = [{"type": "Feature", "properties": values,
                 "geometry": shapely.geometry.mapping(shape)}
                for values, shape in zip(properties, shapes, strict=False)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def rows(names: tuple[str, str]) -> list[list[dict] | None]:
    return [pairs and [dict(zip(names, pair, strict=True)) for pair in pairs]
            for pairs in KEYS_AND_VALUES]


PACKED = {
    "map": pa.array(KEYS_AND_VALUES, pa.map_(pa.string(), pa.string())),
    "map_of_categories": pa.array(
        KEYS_AND_VALUES, pa.map_(pa.string(), pa.large_string())),
    "struct": pa.array(TAGS),
    "list_of_k_and_v": pa.array(rows(("k", "v"))),
    "list_of_key_and_value": pa.array(rows(("key", "value")), pa.large_list(
        pa.struct({"key": pa.string(), "value": pa.string()}))),
    "json": pa.array([json.dumps(tags) if tags else None for tags in TAGS]),
    "json_list": pa.array([json.dumps(row) if row else None for row in rows(("k", "v"))]),
    "dict": pa.array([str(tags) if tags else None for tags in TAGS]),
    "list_of_pairs": pa.array([json.dumps(pairs) if pairs else None for pairs in KEYS_AND_VALUES]),
    "hstore": pa.array([tags and ",".join(f'"{key}"=>"{value}"' for key, value in tags.items()
                                          if value) for tags in TAGS]),
    "map_of_lists": pa.array([pairs and [(key, value and [value, "b"]) for key, value in pairs]
                              for pairs in KEYS_AND_VALUES],
                             pa.map_(pa.string(), pa.list_(pa.string()))),
}


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.parametrize("kind", PACKED)
def test_packed_tags_of_every_kind(tmp_path, monkeypatch, kind, chunk):
    monkeypatch.setattr(vector_files, "CHUNK", chunk)
    objects = read(parquet(tmp_path / "a.parquet", PACKED[kind]))
    assert objects.listing == LISTING
    assert +objects.census.dropped == Counter()
    assert objects.census.notes == []


@pytest.mark.parametrize("tags", [
    {"building": "yes", "name": "O'Hara's", "landuse": 'the "wood"'},
    {"name": "it's: {\"}, 'landuse': 'x'", "building": "yes"}, {"a": "1"}])
def test_a_dict_as_python_writes_it(tags):
    assert packed_pairs(str(tags)) == [*tags.items()]
    assert packed_pairs(f"  {str(tags)[:-1]}, 'ref' : None }}") == [*tags.items(), ("ref", "")]


@pytest.mark.parametrize("text", ["{'building': 'yes'", "{'building'}", "{building: 'yes'}",
                                  "{'building': f()}", "{'a': 'b' 'c': 'd'}"])
def test_a_dict_that_is_none(text):
    with pytest.raises(ValueError):  # noqa: PT011
        packed_pairs(text)


def test_wide_columns_of_quackosm(tmp_path):
    """Exploded tags, and groups of them, whose values state the key once more."""
    exploded = {"feature_id": ["way/1", "way/2", "way/3"], "building": ["house", None, None],
                "landuse": [None, "forest", None], "highway": [None, None, "primary"]}
    grouped = {**exploded, "building": ["building=house", None, None],
               "highway": [None, None, "highway=primary"]}
    for number, columns in enumerate((exploded, grouped)):
        gpd.GeoDataFrame(columns, geometry=SHAPES[:3], crs=UTM).to_parquet(
            tmp_path / f"{number}.parquet")
        assert read(tmp_path / f"{number}.parquet").listing == LISTING


@pytest.mark.filterwarnings("ignore:.*(Normalized|10 characters)")
def test_the_columns_of_a_hot_export_that_a_shapefile_cuts(tmp_path):
    """A key is not mistaken for another that begins alike, and one that was cut is found."""
    columns = {"building": ["house", None], "building_levels": ["2", "3"],
               "building_material": ["brick", None], "construction:use": [None, "hut"]}
    path = write(tmp_path / "a.shp", columns, SHAPES[:2])
    assert set(tagged_layers(path, load_layers()).columns) == {"building", "building_l",
                                                               "building_m", "constructi"}
    assert read(path).listing == [("building", "house")]
    row = "{layer: building, points: drop, lines: ring}"
    (tmp_path / "mine.yaml").write_text(f"keys: {{building: {row}, construction:use: {row}}}")
    mine = load_layers(tmp_path / "mine.yaml")
    assert read(path, table=mine).listing == [("building", "house"), ("building", "hut")]
    (tmp_path / "mine.yaml").write_text(
        f"keys: {{construction:use: {row}, construction:year: {row}}}")
    assert tagged_layers(path, load_layers(tmp_path / "mine.yaml")).layers == []


def test_json_tags_of_a_geojson(tmp_path):
    for number, tags in enumerate((TAGS[:3], rows(("k", "v"))[:3])):
        path = geojson(tmp_path / f"{number}.geojson", [{"tags": value} for value in tags])
        assert read(path).listing == LISTING


def test_packed_tags_that_cannot_be_read_are_counted_once(tmp_path):
    path = write(tmp_path / "a.gpkg", {"building": ["yes", None, None],
                                       "tags": ["{broken", "building=yes", '{"a": 1}']}, SHAPES[:3])
    objects = read(path)
    assert objects.listing == [("building", "yes")]
    assert objects.census.dropped == {"whose tags are neither an hstore nor JSON": 1}


def test_true_is_yes_and_false_is_no_tag(tmp_path):
    whole = geojson(tmp_path / "a.geojson", [{"building": True}, {"building": False},
                                             {"highway": "primary"}, {}])
    mixed = geojson(tmp_path / "b.geojson", [{"building": True}, {"building": "hut"},
                                             {"highway": "path"}, {"building": False}])
    frame = gpd.GeoDataFrame({"building": [True, False, None]}, geometry=SHAPES[:3], crs=UTM)
    frame.to_parquet(tmp_path / "c.parquet")
    assert read(whole).listing == [("building", "yes"), ("road", "primary")]
    assert read(mixed).listing == [("building", "yes"), ("building", "hut"), ("road", "path")]
    assert read(tmp_path / "c.parquet").listing == [("building", "yes")]


def test_the_first_of_several_values_counts(tmp_path):
    texts = {"highway": ["['primary', 'primary_link']", '["path", "steps"]', "[odd"]}
    lines = [metres((0, 10 * row), (60, 10 * row)) for row in range(1, 4)]
    objects = read(write(tmp_path / "a.gpkg", texts, lines))
    assert objects.listing == [("road", "primary"), ("road", "path"), ("road", "[odd")]
    assert objects.one("road", "primary").bounds[3] - objects.one(
        "road", "primary").bounds[1] == pytest.approx(14, rel=0.01)
    listed = pd.Series([["primary", "path"], [], None])
    gpd.GeoDataFrame({"highway": listed}, geometry=lines, crs=UTM).to_parquet(
        tmp_path / "b.parquet")
    assert read(tmp_path / "b.parquet").listing == [("road", "primary")]
    arrays = geojson(tmp_path / "c.geojson", [{"building": ["hut", "yes"]}, {"building": ["b"]}])
    assert read(arrays).listing == [("building", "hut"), ("building", "b")]


def test_columns_that_are_no_tags_are_named(tmp_path):
    path = write(tmp_path / "a.gpkg", {
        "building": [1, 2], "leisure": pd.to_datetime(["2026-01-01"] * 2),
        "landuse": ["grass", None], "osm_id": [3, 4]}, SHAPES[:2])
    objects = read(path)
    assert objects.listing == [("landuse", "grass")]
    assert objects.census.notes == [
        "a.gpkg: the column building holds numbers, which is not read as tags",
        "a.gpkg: the column leisure holds values of another kind, which is not read as tags"]


@pytest.mark.parametrize("tags", [
    pa.array([[("building", 3)]] * 4, pa.map_(pa.string(), pa.int32())),
    pa.array([[(3, "house")]] * 4, pa.map_(pa.int32(), pa.string())),
    pa.array([[{"a": "building"}]] * 4), pa.array([[1]] * 4), pa.array([b"x"] * 4),
    pa.array([[[("building", "x")]]] * 4, pa.list_(pa.map_(pa.string(), pa.string()))),
])
def test_packed_tags_of_other_kinds_are_named(tmp_path, tags):
    file = tagged_layers(parquet(tmp_path / "a.parquet", tags), load_layers())
    assert file.layers == []
    assert file.notes == ["a.parquet: 4 features are passed over, as no column has OSM tags of "
                          "osm_layers.yaml (columns: tags); default_tags=building=yes makes "
                          "buildings of its polygons"]


def test_keys_that_are_no_text_name_no_tag(tmp_path):
    tags = pa.array([[{"k": 1, "v": "house"}]] * 4)
    assert read(parquet(tmp_path / "a.parquet", tags)).listing == []


def test_layers_and_files_that_are_passed_over_are_named(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    write(folder / "a.gpkg", {"building": ["yes"]}, SHAPES[:1])
    gpd.GeoDataFrame({"name": ["x"] * 2}, geometry=SHAPES[:2], crs=UTM).to_file(
        folder / "a.gpkg", layer="names")
    pyogrio.write_dataframe(pd.DataFrame({"building": ["yes"] * 3}), folder / "a.gpkg",
                            layer="table")
    write(folder / "b.shp", {"kind": ["x"]}, SHAPES[:1])
    (folder / "more").mkdir()
    for name in ("roads.kml", "b.shp.xml", "b.qix", "a.gpkg-wal", ".hidden", "notes.txt"):
        (folder / name).touch()
    (folder / "a.gpkg-wal").unlink()
    assert read(folder).census.notes == [
        "mixed: 3 files of other kinds are passed over: more/, notes.txt, roads.kml",
        "a.gpkg, layer names: 2 features are passed over, as no column has OSM tags of "
        "osm_layers.yaml (columns: name)"
        "; default_tags=building=yes makes buildings of its polygons",
        "a.gpkg, layer table: 3 features are passed over, as they have no geometries",
        "b.shp: 1 features are passed over, as no column has OSM tags of osm_layers.yaml "
        "(columns: kind); default_tags=building=yes makes buildings of its polygons"]


def test_the_notes_reach_the_terminal(place, capsys):
    frame = gpd.GeoDataFrame({"building": [1] * 2, "landuse": ["grass", None]},
                             geometry=SHAPES[:2], crs=UTM)
    frame.to_crs(place.frame.crs).to_file(place.folder / "b.gpkg")
    prepare(place, osm=place.folder / "b.gpkg", progress=True, dry_run=False)
    assert "note: b.gpkg: the column building holds numbers" in "".join(capsys.readouterr())


def geofabrik(folder: Path) -> Path:
    """Write the files of one of Geofabrik's free extracts."""
    folder.mkdir()
    for name, columns, shapes in (
            ("buildings_a_free_1", {"fclass": ["building"] * 2, "type": ["house", None]},
             [SHAPES[0], SHAPES[1]]),
            ("landuse_a_free_1", {"fclass": ["forest", "park"]}, [square(0, 20, 9), SHAPES[3]]),
            ("roads_free_1", {"fclass": ["track_grade2", "primary"]},
             [SHAPES[2], metres((0, 60), (60, 60))]),
            ("pois_a_free_1", {"fclass": ["town_hall", "hotel"]},
             [square(60, 0, 9), square(80, 0, 9)]),
            ("railways_free_1", {"fclass": ["rail"]}, [SHAPES[2]])):
        write(folder / f"gis_osm_{name}.shp", {"osm_id": ["1"] * len(shapes), **columns}, shapes)
    return folder


def test_the_classes_of_geofabrik(tmp_path):
    objects = read(geofabrik(tmp_path / "free"))
    assert objects.listing == [
        ("building", "house"), ("building", "yes"), ("landuse", "forest"), ("leisure", "park"),
        ("amenity", "townhall"), ("road", "track"), ("road", "primary")]
    assert objects.census.notes == [
        "gis_osm_railways_free_1.shp: 1 features are passed over, as no column has OSM tags of "
        "osm_layers.yaml (columns: osm_id, fclass)"]


def test_a_column_fclass_alone_is_no_tag(tmp_path):
    path = write(tmp_path / "mine.gpkg", {"fclass": ["forest"]}, SHAPES[:1])
    assert tagged_layers(path, load_layers()).layers == []
    assert class_tables.geofabrik_rows("gis_osm_landuse_a_free") is not None
    assert class_tables.geofabrik_rows("gis_osm_unheard_free_1") is None


@pytest.mark.parametrize("schema", ["fclass", "overture"])
def test_every_class_means_a_tag(schema):
    for rows in class_tables._tables(schema).values():
        table = class_tables.ClassTable(rows, ("a", "b", "c"))
        for classes, tag in rows.items():
            key, value = table.tag_of(*classes.split("/")) or ("none", "none")
            assert (key == "none") == (tag is None)
            assert key
            assert value
