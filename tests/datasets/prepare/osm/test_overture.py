"""Files of Overture Maps give the same objects as the same content in an extract."""

import json
from pathlib import Path

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from datasets.prepare.osm import vector_files
from datasets.prepare.osm.tags import load_layers
from tests.datasets.prepare.osm.test_osm_files import Drawing, as_pbf, box
from tests.datasets.prepare.reading import WORLD, assert_same_objects, read
from utils.errors import PrepareError

TEXT = pa.string()
TAGS = pa.map_(TEXT, TEXT)
RULES = pa.list_(pa.struct({"value": pa.float64(), "between": pa.list_(pa.float64())}))
COMMON = {
    "id": TEXT, "bbox": pa.struct(dict.fromkeys(("xmin", "xmax", "ymin", "ymax"), pa.float32())),
    "version": pa.int32(),
    "sources": pa.list_(pa.struct({"property": TEXT, "dataset": TEXT, "confidence": pa.float64()})),
    "names": pa.struct({"primary": TEXT, "common": TAGS, "rules": pa.list_(pa.struct({
        "variant": TEXT, "value": TEXT}))}),
    "subtype": TEXT, "class": TEXT,
}
SCHEMAS = {
    "building": COMMON | {"level": pa.int32(), "height": pa.float64(), "has_parts": pa.bool_(),
                          "is_underground": pa.bool_(), "num_floors": pa.int32(),
                          "roof_shape": TEXT},
    "building_part": COMMON | {"height": pa.float64(), "building_id": TEXT},
    "segment": COMMON | {"subclass": TEXT, "connectors": pa.list_(pa.struct({
        "connector_id": TEXT, "at": pa.float64()})), "width_rules": RULES,
        "road_surface": pa.list_(pa.struct({"value": TEXT}))},
    "land_use": COMMON | {"source_tags": TAGS, "surface": TEXT, "level": pa.int32()},
    "connector": {name: COMMON[name] for name in ("id", "bbox", "version", "sources")},
}


def rows_of(kind: str, features: list[tuple[shapely.Geometry, dict]]) -> list[dict]:
    """Return features as Overture states them, without their geometries."""
    rows = []
    for number, (shape, stated) in enumerate(features):
        sides = dict(zip(("xmin", "ymin", "xmax", "ymax"), shape.bounds, strict=True))
        row = {"id": f"08b2{number:012x}", "bbox": sides, "version": 1, "has_parts": False,
               "sources": [{"property": "", "dataset": "OpenStreetMap", "confidence": None}],
               "names": {"primary": "A", "common": [("en", "A")], "rules": None},
               "connectors": [{"connector_id": "a", "at": 0.0}], "building_id": "b", **stated}
        rows.append({name: row.get(name) for name in SCHEMAS[kind]})
    return rows


def to_parquet(path: Path, kind: str, features: list, group: int = 2,
               covering: bool = True) -> Path:
    """Write features as a file that Overture publishes."""
    table = pa.Table.from_pylist(rows_of(kind, features), pa.schema(SCHEMAS[kind]))
    table = table.append_column("geometry", pa.array(shapely.to_wkb([s for s, _ in features])))
    geo = {"version": "1.1.0", "primary_column": "geometry",
           "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}}}
    if covering:
        geo["columns"]["geometry"]["covering"] = {"bbox": {
            side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path,
                   row_group_size=group)
    return path


def to_geojson(path: Path, kind: str, features: list) -> Path:
    """Write features as the program overturemaps does: no box, and nothing that is null."""
    items = []
    for row, (shape, _) in zip(rows_of(kind, features), features, strict=True):
        properties = {name: value for name, value in row.items()
                      if name != "bbox" and value is not None}
        items.append({"type": "Feature", "geometry": json.loads(shapely.to_geojson(shape)),
                      "properties": properties})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


def degrees(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points of a drawing as its file states them."""
    return [(25 + x / 1000, 60.2 + y / 1000) for x, y in points]


def areas(*classes: dict) -> list[tuple[shapely.Polygon, dict]]:
    return [(shapely.Polygon(degrees(box(4 * number, 0, 2))), stated)
            for number, stated in enumerate(classes)]


def lines(*classes: dict) -> list[tuple[shapely.LineString, dict]]:
    return [(shapely.LineString(degrees([(0, 10 + number), (9, 10 + number)])), stated)
            for number, stated in enumerate(classes)]


# what Overture states, and the tags of OpenStreetMap that it made it of
BUILDINGS = [({"subtype": "residential", "class": "house"}, {"building": "house"}),
             ({"subtype": "commercial"}, {"building": "commercial"}),
             ({"class": "shed"}, {"building": "shed"}), ({}, {"building": "yes"})]
ROADS = [({"subtype": "road", "class": "residential"}, {"highway": "residential"}),
         ({"subtype": "road", "class": "motorway", "subclass": "link"},
          {"highway": "motorway_link"}),
         ({"subtype": "road", "class": "footway", "subclass": "sidewalk",
           "width_rules": [{"value": 2.0, "between": None}]}, {"highway": "footway"}),
         ({"subtype": "road", "class": "unknown"}, {"highway": "road"}),
         ({"subtype": "road"}, {"highway": "road"}),
         ({"subtype": "rail", "class": "standard_gauge"}, {"railway": "rail"}),
         ({"subtype": "water"}, {"route": "ferry"})]
LAND = [({"subtype": "park", "class": "park"}, {"leisure": "park"}),
        ({"subtype": "developed", "class": "retail"}, {"landuse": "retail"}),
        ({"subtype": "education", "class": "school"}, {"amenity": "school"}),
        ({"subtype": "grass", "class": "grass", "source_tags": [("leisure", "common")]},
         {"leisure": "common"}),
        ({"subtype": "forest", "class": "wood", "source_tags": [("source", "survey")]},
         {"natural": "wood"}),
        ({"subtype": "golf", "class": "tee"}, {"golf": "tee"})]


@pytest.fixture
def extract(tmp_path):
    drawing = Drawing()
    for number, (_, tags) in enumerate(BUILDINGS):
        drawing.way(*box(4 * number, 0, 2), **tags)
    for number, (_, tags) in enumerate(LAND):
        drawing.way(*box(4 * number, 0, 2), **tags)
    for number, (_, tags) in enumerate(ROADS):
        drawing.way((0, 10 + number), (9, 10 + number), **tags)
    return read(as_pbf(drawing.write(tmp_path / "drawn.osm")), *WORLD)


@pytest.mark.parametrize(("write", "suffix"), [(to_parquet, "parquet"), (to_geojson, "geojson")])
def test_overture_has_the_objects_of_the_extract(tmp_path, extract, write, suffix):
    folder = tmp_path / "overture"
    folder.mkdir()
    write(folder / f"a.{suffix}", "building", areas(*(row for row, _ in BUILDINGS)))
    write(folder / f"b.{suffix}", "segment", lines(*(row for row, _ in ROADS)))
    write(folder / f"c.{suffix}", "land_use", areas(*(row for row, _ in LAND)))
    write(folder / f"d.{suffix}", "building_part", areas({}))
    write(folder / f"e.{suffix}", "connector", areas({}))
    objects = read(folder, *WORLD)
    assert_same_objects(objects, extract)
    census = objects.census
    assert (census.read, census.tagged, census.without) == (17, 14, 3)
    assert [note.split(":")[0] for note in census.notes] == [f"d.{suffix}", f"e.{suffix}"]


def test_buildings_without_any_class(tmp_path):
    features = areas({}, {})
    for path in (to_parquet(tmp_path / "a.parquet", "building", features),
                 to_geojson(tmp_path / "a.geojson", "building", features)):
        assert read(path, *WORLD).listing == [("building", "yes")] * 2


def test_default_tags_leave_overture_its_own(tmp_path):
    table = load_layers(default_tags="building=hut")
    path = to_parquet(tmp_path / "a.parquet", "building", areas({}, {"class": "house"}))
    objects = read(path, *WORLD, table)
    assert objects.listing == [("building", "yes"), ("building", "house")]
    assert (objects.census.defaulted, +objects.census.dropped) == (0, {})
    path = to_parquet(tmp_path / "b.parquet", "segment", lines({"subtype": "rail"}))
    assert read(path, *WORLD, table).listing == []


def test_a_table_of_layers_without_the_key_of_overtures_classes(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "keys: {landuse: {layer: landuse, points: drop, lines: ring}}")
    path = to_parquet(tmp_path / "a.parquet", "building", areas({}, {"class": "house"}))
    objects = read(path, *WORLD, load_layers(tmp_path / "mine.yaml"))
    assert (objects.census.without, objects.listing) == (2, [])


def test_overture_without_geometries(tmp_path):
    table = pa.Table.from_pylist(rows_of("building", areas({})), pa.schema(SCHEMAS["building"]))
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(PrepareError, match=r"a\.parquet: a Parquet file without geometries"):
        read(tmp_path / "a.parquet", *WORLD)


@pytest.mark.parametrize("covering", [True, False])
@pytest.mark.parametrize("whole", [0, 100])
def test_only_row_groups_near_the_raster_are_read(tmp_path, monkeypatch, covering, whole):
    monkeypatch.setattr(vector_files, "READ_WHOLE", whole)
    features = areas(*[{"class": f"kind{number}"} for number in range(9)])
    path = to_parquet(tmp_path / "a.parquet", "building", features, covering=covering)
    for number, (shape, _) in enumerate(features):
        objects = read(path, "EPSG:4326", shape.bounds)
        assert objects.values == [f"kind{number}"]
        assert objects.census.unread == (0 if whole else 8 if number == 8 else 7)
        assert objects.census.outside == 8
        assert objects.census.notes == []


def test_boxes_without_statistics_leave_nothing_out(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_files, "READ_WHOLE", 0)
    path = to_parquet(tmp_path / "a.parquet", "building", areas({}, {"class": "house"}))
    pq.write_table(pq.read_table(path), path, write_statistics=False)
    assert len(read(path, *WORLD).values) == 2


def test_boxes_that_are_no_numbers_leave_nothing_out(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_files, "READ_WHOLE", 0)
    path = to_parquet(tmp_path / "a.parquet", "building", areas(*[{"subtype": "civic"}] * 2))
    content = pq.read_table(path)
    geo = content.schema.metadata[b"geo"].replace(b'["bbox", "xmin"]', b'["subtype"]')
    pq.write_table(content.replace_schema_metadata({"geo": geo}), path)
    assert len(read(path, *WORLD).values) == 2


def test_boxes_that_a_reprojection_left_behind_leave_nothing_out(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_files, "READ_WHOLE", 0)
    path = to_parquet(tmp_path / "a.parquet", "building", areas({}, {"class": "house"}),
                      covering=False)
    frame = gpd.read_parquet(path).to_crs("EPSG:32635")
    frame.to_parquet(tmp_path / "b.parquet")
    assert "bbox" in frame.columns
    objects = read(tmp_path / "b.parquet", "EPSG:32635", tuple(frame.total_bounds))
    assert objects.listing == [("building", "yes"), ("building", "house")]
