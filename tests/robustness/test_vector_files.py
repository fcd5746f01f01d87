"""Vector files that are damaged, hostile or odd: one line, or an account that adds up; nothing is
fetched, and no other file is opened."""

import json
import os
import random
import shutil
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from pyproj import CRS

from datasets.prepare.osm.tags import load_layers
from datasets.prepare.osm.vector_files import tagged_layers
from datasets.prepare.targets.polygons import TargetPolygons
from inference.maps.zones import zone_totals
from tests.datasets.prepare.places import UTM, square
from tests.datasets.prepare.reading import BOUNDS, read
from utils.errors import RoseError

KINDS = ("gpkg", "geojson", "fgb", "shp", "parquet")
ROUNDS = 8  # damaged copies of each kind of file and of damage
FEATURES = 30
TILES = gpd.GeoDataFrame({"people": [10.0]}, geometry=[shapely.box(*BOUNDS)], crs=UTM)


def frame(**columns) -> gpd.GeoDataFrame:
    shapes = [square(index % 6 * 15, index // 6 * 12, 9) for index in range(FEATURES)]
    return gpd.GeoDataFrame({"building": ["house", "garage", "yes"] * (FEATURES // 3), **columns},
                            geometry=shapes, crs=UTM)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with the same features in a file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    for kind in KINDS[:-1]:
        (frame().to_crs(4326) if kind == "geojson" else frame()).to_file(folder / f"a.{kind}")
    frame().to_parquet(folder / "a.parquet")
    return folder


@pytest.fixture(scope="module")
def server():
    """The URL of a server on the loopback interface, and the list of what it is asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)
        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def requests(server):
    server[1].clear()
    return server


def as_objects(path: Path) -> None:
    """Read a file as OSM objects, and check that the account adds up."""
    for layer in tagged_layers(path, load_layers()).layers:
        chunks = list(layer.chunks(None))
        assert sum(chunk.read for chunk in chunks) == layer.count
        for chunk in chunks:
            assert len(chunk.wkb) + chunk.dropped.total() <= chunk.read
            assert set(chunk.owner) == set(range(len(chunk.wkb)))
    objects = read(path)
    assert len(objects.geometry) + objects.census.dropped.total() <= 2 * FEATURES


def as_targets(path: Path) -> None:
    source = TargetPolygons(path, "labels", "label_column", "building", list)
    source.overlap(BOUNDS, CRS(UTM))
    source.read(BOUNDS, CRS(UTM))


def as_zones(path: Path) -> None:
    zone_totals(path, TILES, "people")


SLOTS = (as_objects, as_targets, as_zones)


def message_of(slot, path: Path) -> str:
    """Return the error of reading a file in one of the SLOTS, one line; "" if there is none."""
    try:
        slot(path)
        message = ""
    except RoseError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 1500
    return message


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("damage", ["cut", "flipped"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_ends_in_one_line_or_adds_up(whole, tmp_path, kind, damage, slot):
    lines = 0
    for number in range(ROUNDS):
        chance = random.Random(number)
        for part in whole.glob("a.*" if kind == "shp" else f"a.{kind}"):
            shutil.copy(part, tmp_path)
        victim = tmp_path / f"a.{chance.choice(('shp', 'shx', 'dbf')) if kind == 'shp' else kind}"
        data = bytearray(victim.read_bytes())
        if damage == "cut":
            del data[chance.randrange(len(data)):]
        else:
            for _ in range(chance.choice((1, 4, 64))):
                data[chance.randrange(chance.choice((200, len(data))))] ^= 1 << chance.randrange(8)
        victim.write_bytes(data)
        lines += bool(message_of(slot, tmp_path / f"a.{kind}"))
    if damage == "cut":
        assert lines == ROUNDS


@pytest.mark.parametrize("part", ["shp", "shx", "dbf", "gpkg", "fgb"])
@pytest.mark.parametrize("slot", SLOTS)
def test_half_a_file_says_how_long_it_should_be(whole, tmp_path, part, slot):
    kind = part if part in KINDS else "shp"
    for file in whole.glob("a.*" if kind == "shp" else f"a.{kind}"):
        shutil.copy(file, tmp_path)
    data = (tmp_path / f"a.{part}").read_bytes()
    for length in (len(data) - 2, len(data) // 2):
        (tmp_path / f"a.{part}").write_bytes(data[:length])
        message = message_of(slot, tmp_path / f"a.{kind}")
        assert f"a.{part}: damaged: {length} bytes long, but its header states" in message


def test_a_flatgeobuf_without_an_index(tmp_path):
    frame().to_file(tmp_path / "a.fgb", SPATIAL_INDEX="NO")
    assert message_of(as_objects, tmp_path / "a.fgb") == ""
    data = (tmp_path / "a.fgb").read_bytes()
    (tmp_path / "a.fgb").write_bytes(data[:-300])
    assert "a.fgb: " in message_of(as_objects, tmp_path / "a.fgb")


def test_rows_of_a_shapefile_that_are_deleted_are_counted(whole, tmp_path):
    for file in whole.glob("a.*"):
        shutil.copy(file, tmp_path)
    table = bytearray((tmp_path / "a.dbf").read_bytes())
    table[int.from_bytes(table[8:10], "little")] = ord("*")
    (tmp_path / "a.dbf").write_bytes(table)
    objects = read(tmp_path / "a.shp")
    assert (len(objects.geometry), objects.census.dropped) == (
        FEATURES - 1, {"deleted or unreadable": 1})
    assert zone_totals(tmp_path / "a.shp", TILES, "people").attrs["notes"] == [
        f"a.shp: 1 of {FEATURES} zones cannot be read"]
    source = TargetPolygons(tmp_path / "a.shp", "labels", "label_column", "building", list)
    source.overlap(BOUNDS, CRS(UTM))
    assert source.notes == [f"a.shp: 1 of {FEATURES} polygons cannot be read and are left out: "
                            "deleted, or without a row"]


def link_of_crs(kind: str, key: str = "crs"):
    return lambda url: (
        f'{{"type": "FeatureCollection", "{key}": {{"type": "{kind}", "properties": '
        f'{{"href": "{url}crs", "url": "{url}crs"}}}}, "features": [{{"type": "Feature", '
        '"properties": {"building": "yes"}, "geometry": {"type": "Point", "coordinates": '
        '[15, 49]}}]}')


VIRTUAL = ('<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{}a.geojson</SrcDataSource>'
           '</OGRVRTLayer></OGRVRTDataSource>')
PIPELINE = json.dumps({"type": "gdal_streamed_alg", "command_line":
                       "gdal vector pipeline read URLa.geojson ! write --output-format=stream x"})
FETCHING = {
    "virtual": lambda url: VIRTUAL.replace("{}", url),
    "virtual_file": lambda url: VIRTUAL.replace("{}", "secret/"),
    "pipeline": lambda url: PIPELINE.replace("URL", url),
    "service": lambda url: f"<OGRWFSDataSource><URL>{url}wfs</URL></OGRWFSDataSource>",
    "tiles": lambda url: f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}</ServerUrl></Service>'
                         '</GDAL_WMS>',
    "gml": lambda url: '<?xml version="1.0"?><a:FeatureCollection xmlns:xsi="http://www.w3.org/'
                       f'2001/XMLSchema-instance" xsi:schemaLocation="http://a/ {url}a.xsd" '
                       'xmlns:a="http://a/" xmlns:gml="http://www.opengis.net/gml"/>',
    "link": link_of_crs("link"),
    "url": link_of_crs("url"),
    "escaped_link": link_of_crs("lin\\u006b", "cr\\u0073"),
    "capital_link": link_of_crs("Link", "CRS"),
    "commented_link": lambda url: link_of_crs("link")(url).replace('"crs":', '"crs"/**/ :'),
    "quoted_link": lambda url: link_of_crs("link")(url).replace('"', "'"),
    "blank_link": lambda url: link_of_crs("link")(url).replace('"crs":', '"crs"' + " " * 99_999
                                                               + ":" + " " * 99),
    "late_link": lambda url: '{"type": "FeatureCollection", "features": [' + " " * (1 << 24)
                             + '], "crs": {"type": "link", "properties": {"href": "' + url
                             + 'crs"}}}',
}


@pytest.mark.parametrize(("case", "ending"), [
    *((case, ".geojson") for case in FETCHING),
    *((case, ending) for case in ("virtual", "link")
      for ending in (".json", ".geojsonl", ".gpkg", ".shp", ".fgb", ".parquet", ".kml", ".vrt")),
])
def test_a_file_that_refers_elsewhere_is_not_followed(tmp_path, requests, case, ending):
    url, asked = requests
    (tmp_path / "secret").mkdir()
    frame().to_file(tmp_path / "secret" / "a.geojson")
    path = tmp_path / f"a{ending}"
    path.write_text(FETCHING[case](url))
    for slot in SLOTS:
        assert message_of(slot, path).startswith(str(path))
    assert asked == []


def altered(whole: Path, path: Path, *statements: str) -> Path:
    """Return a copy of the GeoPackage in which SQL statements were carried out."""
    shutil.copy(whole / "a.gpkg", path)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            database.execute(statement)
    database.close()
    return path


def with_view(value: str) -> list[str]:
    return [f"CREATE VIEW v AS SELECT fid AS OGC_FID, geom, {value} AS building FROM a",
            "INSERT INTO gpkg_contents (table_name, identifier, data_type, srs_id) "
            "SELECT 'v', 'v', data_type, srs_id FROM gpkg_contents",
            "INSERT INTO gpkg_geometry_columns SELECT 'v', column_name, geometry_type_name, "
            "srs_id, z, m FROM gpkg_geometry_columns"]


def with_virtual(sql: str) -> list[str]:
    return ["INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) "
            f"VALUES ('table', 'other', 'other', 0, '{sql}')",
            "INSERT INTO gpkg_contents (table_name, identifier, data_type) "
            "VALUES ('other', 'other', 'attributes')"]


@pytest.mark.parametrize(("statements", "message"), [
    (lambda url: with_view(f"ogr_geocode(''x'', ''geometry'', ''QUERY_TEMPLATE={url}'')".replace(
        "''", "'")), "a.gpkg"),
    (lambda url: with_view(f"gdal_get_pixel_value('/vsicurl/{url}a.tif', 1, 'georef', 1, 2)"), ""),
    (lambda url: with_view("load_extension('/tmp/a.so')"), "a.gpkg"),
    (lambda url: with_virtual(f'CREATE VIRTUAL TABLE other USING VirtualOGR("{url}a")'),
     "table other is virtual"),
    (lambda url: with_virtual('create/**/virtual table other using VirtualShape("/tmp/a")'),
     "table other is virtual"),
])
def test_a_geopackage_that_reads_elsewhere(whole, tmp_path, requests, statements, message):
    url, asked = requests
    path = altered(whole, tmp_path / "a.gpkg", *statements(url))
    for slot in SLOTS:
        found = message_of(slot, path)
        assert message in found
    assert asked == []


def test_a_reference_system_that_is_a_url_is_not_fetched(whole, tmp_path, requests):
    url, asked = requests
    for part in whole.glob("a.*"):
        shutil.copy(part, tmp_path)
    (tmp_path / "a.prj").write_text(f"{url}crs")
    altered(whole, tmp_path / "b.gpkg",
            f"UPDATE gpkg_spatial_ref_sys SET definition = '{url}crs', organization = 'x'")
    table = pq.read_table(tmp_path / "a.parquet")
    about = json.loads(table.schema.metadata[b"geo"])
    about["columns"]["geometry"]["crs"] = f"{url}crs"
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(about)}),
                   tmp_path / "c.parquet")
    for name in ("a.shp", "b.gpkg", "c.parquet"):
        for slot in SLOTS:
            assert "no coordinate reference system" in message_of(slot, tmp_path / name)
    assert asked == []


def test_other_drivers_are_back_afterwards(whole):
    before = pyogrio.list_drivers()
    assert "OGR_VRT" in before
    as_objects(whole / "a.gpkg")
    assert pyogrio.list_drivers() == before


def with_geo(about) -> bytes:
    return about if isinstance(about, bytes) else json.dumps(about).encode()


@pytest.mark.parametrize("geo", [
    b"{", b"[" * 100_000, b"\xff", [], 3, {"primary_column": 3},
    {"primary_column": "geometry", "columns": []},
    {"primary_column": "geometry", "columns": {"geometry": None}},
    {"primary_column": "geometry", "columns": {"geometry": {"encoding": ["WKB"]}}},
    {"primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB", "crs": [3]}}},
    {"primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB", "crs": {"a": 1}}}},
    {"primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB", "crs": "x" * 9999}}},
    {"primary_column": "geometry", "columns": {"geometry": {
        "encoding": "WKB", "covering": {"bbox": {"xmin": 3}}}}},
    {"primary_column": "geometry", "columns": {"geometry": {
        "encoding": "WKB", "covering": {"bbox": {
            side: ["no", "such"] for side in ("xmin", "ymin", "xmax", "ymax")}}}}},
    {"primary_column": "building", "columns": {"building": {"encoding": "WKB"}}},
    {"primary_column": "gone", "columns": {"gone": {"encoding": "WKB"}}},
])
@pytest.mark.parametrize("slot", SLOTS)
def test_metadata_of_a_parquet_file_that_are_well_formed_and_wrong(whole, tmp_path, slot, geo):
    table = pq.read_table(whole / "a.parquet")
    path = tmp_path / "a.parquet"
    pq.write_table(table.replace_schema_metadata({b"geo": with_geo(geo)}), path)
    message = message_of(slot, path)
    assert message.startswith(str(path)) or "covering" in str(geo)


@pytest.mark.parametrize("value", [b"", b"\1", b"\1\3\0\0\0\xff\xff\xff\xff", b"junk" * 9,
                                   b"\1\7\0\0\0\1\0\0\0" * 200_000, b"\0" * 50, b"\1" * 50])
@pytest.mark.parametrize("slot", SLOTS)
def test_a_geometry_that_is_no_geometry_loses_one_feature(whole, tmp_path, slot, value):
    table = pq.read_table(whole / "a.parquet")
    shapes = [value, *table.column("geometry").to_pylist()[1:]]
    place = table.schema.get_field_index("geometry")
    pq.write_table(table.set_column(place, "geometry", [shapes]), tmp_path / "a.parquet")
    path = tmp_path / "a.parquet"
    assert message_of(slot, path) == ""
    if slot is as_objects:
        objects = read(path)
        assert len(objects.geometry) == FEATURES - 1
        assert objects.census.dropped.total() == 1
    if slot is as_zones:
        notes = zone_totals(path, TILES, "people").attrs["notes"]
        assert any(note.startswith(f"a.parquet: 1 of {FEATURES} zones left out") for note in notes)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e308])
def test_coordinates_that_are_no_place(whole, tmp_path, odd):
    table = pq.read_table(whole / "a.parquet")
    first, *shapes = table.column("geometry").to_pylist()
    broken = first[:13] + np.full(4, odd).tobytes() + first[45:]
    place = table.schema.get_field_index("geometry")
    pq.write_table(table.set_column(place, "geometry", [[broken, *shapes]]),
                   tmp_path / "a.parquet")
    for slot in SLOTS:
        assert message_of(slot, tmp_path / "a.parquet") == ""
    assert len(read(tmp_path / "a.parquet").geometry) == FEATURES - 1


@pytest.mark.parametrize("slot", SLOTS)
def test_two_columns_of_one_name(whole, tmp_path, slot):
    table = pq.read_table(whole / "a.parquet")
    pq.write_table(table.append_column("building", table.column("building")),
                   tmp_path / "a.parquet")
    assert "has two columns called building" in message_of(slot, tmp_path / "a.parquet")


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("name", ["a b.gpkg", "a'b.gpkg", "{}{GUID}.gpkg", "a%20?#[1]&=.gpkg",
                                  "$HOME`x`.gpkg", "-x.gpkg", "a=1.parquet", "ä.geojson"])
def test_any_name_of_a_file(whole, tmp_path, slot, name):
    shutil.copy(whole / f"a{Path(name).suffix}", tmp_path / name)
    assert message_of(slot, tmp_path / name) == ""


@pytest.mark.parametrize("slot", SLOTS)
def test_a_path_of_two_lines_is_said_in_one(whole, tmp_path, slot):
    shutil.copy(whole / "a.gpkg", tmp_path / "a\nb.gpkg")
    assert r"a\nb.gpkg': its path has a tab" in message_of(slot, tmp_path / "a\nb.gpkg")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    (tmp_path / "a.gpkg").mkdir()
    os.mkfifo(tmp_path / "b.geojson")
    (tmp_path / "c.gpkg").symlink_to("/etc/hostname")
    (tmp_path / "d.fgb").touch()
    for path in tmp_path.iterdir():
        for slot in SLOTS[1:]:
            assert message_of(slot, path).startswith(str(path))
