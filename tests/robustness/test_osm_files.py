"""Damaged, hostile and odd files of OpenStreetMap: one line, or an account that adds up."""

import bz2
import gzip
import json
import random
import zlib
from pathlib import Path

import osmium
import pytest

from datasets.prepare.osm.objects import no_overlap_message
from datasets.prepare.osm.osm_files import (
    BROKEN_RINGS,
    EMPTY_WAYS,
    INCOMPLETE_AREAS,
    NO_MULTIPOLYGON,
    NO_PLACE,
    SHORT_WAYS,
)
from datasets.prepare.osm.rewriting import NO_ELEMENTS, NO_TEXT
from datasets.prepare.osm.tags import load_layers
from tests.datasets.prepare.osm.test_osm_files import BOUNDS, CRS, Drawing, box
from tests.datasets.prepare.osm.test_rewriting import at, ring, tags
from tests.datasets.prepare.reading import Reading, read
from utils.errors import ConfigError, PrepareError

CAFE = f'<node id="9" {at(9, 9)}>{tags(amenity="cafe")}</node>'


def checked(path: Path) -> Reading | str:
    """Return the reading, whose account must add up, or the one line of its error."""
    try:
        objects = read(path, CRS, BOUNDS)
    except PrepareError as error:
        return one_line_of(error, path)
    census = objects.census
    assert census.read == (census.tagged + census.without + census.unread + census.lost.total())
    for count in census.layers.values():
        assert count.read == count.kept + count.outside + count.left_out.total()
    assert sum(count.kept for count in census.layers.values()) == len(objects.layers)
    return objects


def one_line_of(error: PrepareError, path: Path) -> str:
    message = str(error)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def drawn() -> str:
    drawing = Drawing()
    drawing.node(1, 1, amenity="cafe")
    drawing.way(*box(0, 0, 4), building="yes")
    drawing.way((10, 0), (20, 0), highway="residential")
    outer = [drawing.way((0, 20), (9, 20), (9, 29)), drawing.way((9, 29), (0, 29), (0, 20))]
    drawing.relation(*(("outer", name) for name in outer), landuse="forest")
    return drawing.text()


def as_json() -> bytes:
    outline = [{"lat": 60.2 + y / 1000, "lon": 25 + x / 1000} for x, y in box(0, 0, 4)]
    return json.dumps({"version": 0.6, "elements": [
        {"type": "way", "id": 7, "nodes": [1, 2, 3, 4, 1], "geometry": outline,
         "tags": {"building": "yes"}},
        {"type": "relation", "id": 3, "tags": {"type": "multipolygon", "landuse": "forest"},
         "members": [{"type": "way", "ref": 9, "role": "outer", "geometry": outline}]}]}).encode()


def as_pbf(folder: Path) -> bytes:
    """Return a PBF without compression, so that a flipped bit reaches what it holds."""
    (folder / "drawn.osm").write_text(drawn())
    file = osmium.io.File(str(folder / "drawn.osm.pbf"), "pbf,pbf_compression=none")
    with osmium.SimpleWriter(file) as writer:
        osmium.apply(str(folder / "drawn.osm"), writer)
    return (folder / "drawn.osm.pbf").read_bytes()


@pytest.mark.parametrize("name", ["a.osm", "a.osm.gz", "a.osm.bz2", "a.osm.pbf", "a.json"])
def test_flipped_bits_and_cut_files(tmp_path, name):
    data = {"a.osm": lambda: drawn().encode(), "a.json": as_json,
            "a.osm.gz": lambda: gzip.compress(drawn().encode()),
            "a.osm.bz2": lambda: bz2.compress(drawn().encode()),
            "a.osm.pbf": lambda: as_pbf(tmp_path)}[name]()
    path, chance = tmp_path / name, random.Random(zlib.crc32(name.encode()))
    path.write_bytes(data)
    assert isinstance(checked(path), Reading)
    for attempt in range(60):
        broken = bytearray(data)
        if attempt % 3:
            broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            del broken[chance.randrange(len(data)):]
        path.write_bytes(broken)
        checked(path)


ENTITIES = "".join(f'<!ENTITY {name} "{before * 10}">' for name, before in
                   [("b", "aaaaaaaaa"), *((new, f"&{old};") for old, new in
                                          zip("bcdefgh", "cdefghi", strict=True))])
REFUSED = {
    "page.osm": ("<!DOCTYPE html><html><body>busy</body></html>", "is a web page"),
    "old_page.osm": ("<html><body><p>busy</body></html>", "is a web page"),
    "bomb.osm": (f"<!DOCTYPE osm [{ENTITIES}]><osm><node id='&i;'/></osm>", "a document type"),
    "reader.osm": ('<!DOCTYPE osm [<!ENTITY x SYSTEM "file:///etc/passwd">]><osm/>',
                   "a document type"),
    "caller.osm": ('<!DOCTYPE osm SYSTEM "http://127.0.0.1:9/x.dtd"><osm/>', "a document type"),
    "remark.osm": (f"<osm>{CAFE}<remark> runtime error: Query timed out </remark></osm>",
                   "an incomplete answer.*Query timed out.*timeout:900"),
    "remark.json": ('{"elements": [], "remark": "runtime error: out of memory"}',
                    "an incomplete answer.*out of memory"),
    "changes.osm": ("<osmChange><create/></osmChange>", "holds changes"),
    "changes.osc": ("<osmChange/>", "holds changes"),
    "diff.osm": ('<osm><action type="create"/></osm>', "holds changes"),
    "tour.osm": ("<kml/>", "outermost element is <kml>"),
    "shapes.osm": ('{"type": "FeatureCollection", "features": []}', "not a readable Open"),
    "xml.osm.pbf": (f"<osm>{CAFE}</osm>", "not a readable OpenStreetMap file"),
    "json.osm.gz": ('{"elements": []}', "it holds no XML, but begins with b'{"),
    "letters.osm": ('<?xml version="1.0" encoding="klingon"?><osm/>', "unknown encoding"),
    "deep.json": ('{"elements":' + "[" * 100_000, "nested too deeply"),
    "table.json": ('{"elements": {"a": 1}}', "elements is .*expected a list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_map_is_refused_in_words(tmp_path, name):
    content, message = REFUSED[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(PrepareError, match=message):
        read(tmp_path / name, CRS, BOUNDS)
    assert "/etc" not in checked(tmp_path / name)


NODES = "".join(f'<node id="{number}" {at(*corner)}/>'
                for number, corner in enumerate([(0, 0), (2, 2), (2, 0), (0, 2)], 1))
BOW = "".join(f'<nd ref="{number}"/>' for number in (1, 2, 3, 4, 1))
LOSSES = {
    "no_nodes": (f'<way id="1">{tags(building="yes")}</way>', EMPTY_WAYS),
    "no_nodes_of_a_road": (f'<way id="1">{tags(highway="path")}</way>', EMPTY_WAYS),
    "one_node": (f'<way id="1"><nd ref="9"/>{tags(highway="path")}</way>', SHORT_WAYS),
    "self_crossing": (f'{NODES}<way id="5">{BOW}{tags(building="yes")}</way>', BROKEN_RINGS),
    "no_place": (f'<node id="1">{tags(amenity="bar")}</node>', NO_PLACE),
    "pole": (f'<node id="1" lat="95" lon="9">{tags(amenity="bar")}</node>', NO_PLACE),
    "comma": (f'<node id="1" lat="60,2" lon="25">{tags(amenity="bar")}</node>', NO_PLACE),
    "nan": (f'<node id="1" lat="nan" lon="inf">{tags(amenity="bar")}</node>', NO_PLACE),
    "no_id": (f'<node {at(1, 1)}>{tags(amenity="bar")}</node>', NO_ELEMENTS),
    "huge_id": (f'<node id="{"9" * 5000}" {at(1, 1)}>{tags(amenity="bar")}</node>', NO_ELEMENTS),
    "no_members": (f'<relation id="1">{tags(type="multipolygon", landuse="forest")}</relation>',
                   INCOMPLETE_AREAS),
    "strange_member": ('<relation id="1"><member type="way" ref="x" role="outer"/>'
                       f'{tags(type="multipolygon", landuse="forest")}</relation>',
                       INCOMPLETE_AREAS),
    "site": (f'<relation id="1">{tags(type="site", amenity="school")}</relation>',
             NO_MULTIPOLYGON),
}


@pytest.mark.parametrize("case", LOSSES)
@pytest.mark.parametrize("alone", [False, True])
def test_a_degenerate_element_is_counted_and_stops_nothing(tmp_path, case, alone):
    content, reason = LOSSES[case]
    (tmp_path / "a.osm").write_text(
        f'<osm version="0.6">{"" if alone and case != "one_node" else CAFE}{content}</osm>')
    objects = checked(tmp_path / "a.osm")
    assert objects.census.lost == {reason: 1}
    if alone and case != "one_node":
        message = no_overlap_message("a.osm", objects.census, CRS, BOUNDS, "or do without")
        assert f"none of its 1 features can be read: 1 {reason}. " in message
    else:
        assert objects.listing == [("amenity", "cafe")]


def test_tags_that_are_no_text(tmp_path):
    data = as_pbf(tmp_path).replace(b"residential", b"r\xffsidential")
    (tmp_path / "a.osm.pbf").write_bytes(data)
    objects = checked(tmp_path / "a.osm.pbf")
    assert objects.census.lost == {NO_TEXT: 1}
    assert len(objects.listing) == 3


def test_values_that_no_rule_takes(tmp_path):
    (tmp_path / "a.osm").write_text(f'<osm version="0.6">{ring(1, 1, building="no")}</osm>')
    census = checked(tmp_path / "a.osm").census
    message = no_overlap_message("a.osm", census, CRS, BOUNDS, "or do without")
    assert "a.osm: none of its 1 features has a tag that the table of layers takes" in message


def test_a_ring_of_very_many_nodes(tmp_path):
    count = 20_000
    around = range(count)
    nodes = "".join(f'<node id="{number + 1}" {at(number, 0 if number < count - 1 else 9)}/>'
                    for number in around)
    members = "".join(f'<nd ref="{number + 1}"/>' for number in [*around, 0])
    (tmp_path / "a.osm").write_text(
        f'<osm version="0.6">{CAFE}{nodes}<way id="1">{members}{tags(building="x")}</way></osm>')
    assert ("amenity", "cafe") in checked(tmp_path / "a.osm").listing


RULE = "{layer: building, points: drop, lines: ring}"
TABLES = {
    "deep": "[" * 3000,
    "program": "!!python/object/apply:os.system ['true']",
    "date": "keys: 2024-99-99",
    "flag": "keys: !!bool maybe",
    "time": "keys: !!timestamp soon",
    "digits": "keys: " + "9" * 5000,
    "number_as_key": f"keys: {{1: {RULE}}}",
    "list_as_key": "? [a, b]\n: 1",
    "itself": "keys: &a\n  b: *a",
    "huge": "keys:\n  b: {layer: road, points: 1" + "0" * 400 + ", lines: ring}",
    "far": "keys:\n  b: {layer: road, points: 1.0e+300, lines: ring}",
    "repeated": "keys:\n  - &a [x, x, x, x]\n" + "".join(
        f"  - &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_of_layers_that_says_anything_else(tmp_path, case):
    (tmp_path / "layers.yaml").write_text(TABLES[case])
    with pytest.raises(ConfigError, match=r"layers=.*layers\.yaml: ") as raised:
        load_layers(tmp_path / "layers.yaml")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_a_table_of_layers_that_is_no_file_of_that_size(tmp_path):
    (tmp_path / "long.yaml").write_text("#" * (2 << 20))
    for path in (tmp_path, tmp_path / "long.yaml", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="no file of 1048576 bytes or fewer"):
            load_layers(path)
