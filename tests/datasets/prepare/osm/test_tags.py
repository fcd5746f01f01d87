"""The table of layers: what it says, and every way in which a table of one's own may be wrong."""

import numpy as np
import pytest
import yaml

from datasets.prepare.osm.tags import (
    LAYERS,
    label_pairs,
    listed,
    load_layers,
    packed_pairs,
    tag_rows,
)
from tests.datasets.prepare.places import metres, square
from tests.datasets.prepare.reading import read, write
from utils.errors import ConfigError

BUILDING = {"layer": "building", "points": "drop", "lines": "ring"}


def table_file(folder, table):
    path = folder / "mine.yaml"
    path.write_text(table if isinstance(table, str) else yaml.safe_dump(table))
    return path


def test_the_table_of_the_repository():
    table = load_layers()
    assert LAYERS == ("amenity", "building", "landuse", "leisure", "nature", "road")
    assert {LAYERS[rule.layer] for rule in table.rules} == set(LAYERS)
    assert table.margin_m == 11  # half a motorway, more than a disc
    assert table.matches([("building", "no"), ("Building", " yes "), ("name", "x"),
                          ("building", ""), ("natural", "coastline")]) == [
        (table.rule_of_key["building"], "yes")]


def test_a_table_of_ones_own(tmp_path):
    table = load_layers(table_file(tmp_path, {
        "keys": {
            "waterway": {"layer": "nature", "points": "drop", "lines": "buffer",
                         "only": ["river", "stream"]},
            "shop": {"layer": "amenity", "points": 3.5, "lines": "drop"},
            "building": BUILDING | {"except": ["ruins"]},
        },
        "width_m": {"default": 3, "river": 20},
    }))
    assert table.margin_m == 10
    ring = metres((60, 0), (69, 0), (69, 9), (60, 0))
    columns = {"waterway": ["river", "stream", "canal", None, None, None],
               "shop": [None, None, None, "bakery", None, "mall"],
               "building": [None, None, None, None, "ruins", None]}
    geometry = [metres((0, 10), (60, 10)), metres((0, 40), (60, 40)), metres((0, 50), (60, 50)),
                square(30, 60, 0.1).centroid,
                square(50, 50, 5), ring]
    objects = read(write(tmp_path / "a.gpkg", columns, geometry), table=table)
    assert objects.listing == [("nature", "river"), ("nature", "stream"), ("amenity", "bakery")]
    areas = [60 * 20 + np.pi * 10**2, 60 * 3 + np.pi * 1.5**2, np.pi * 3.5**2]
    assert [shape.area for shape in objects.geometry] == pytest.approx(areas, rel=0.02)
    assert objects.census.dropped == {"lines": 1}


@pytest.mark.parametrize(("table", "phrases"), [
    ("keys: [", ["not YAML"]),
    ("", ["the file is None", "keys, width_m"]),
    ({"layers": {}}, ["unknown name 'layers'", "keys, width_m"]),
    ({"width_m": {"default": 1}}, ["the file lacks keys"]),
    ({"keys": []}, ["keys=[]", "building: {layer: building"]),
    ({"keys": {"building": BUILDING | {"hue": "red"}}},
     ["unknown name 'hue' in keys.building", "layer, points, lines, only, except"]),
    ({"keys": {"building": {"layer": "building", "points": 1}}}, ["keys.building lacks lines"]),
    ({"keys": {"building": "yes"}}, ["keys.building is 'yes'"]),
    ({"keys": {"building": BUILDING | {"layer": "houses"}}},
     ["keys.building.layer='houses'", "amenity, building"]),
    ({"keys": {"building": BUILDING | {"lines": "wide"}}},
     ["keys.building.lines='wide'", "ring, buffer, drop"]),
    ({"keys": {"building": BUILDING | {"lines": ["ring"]}}},
     ["keys.building.lines=['ring']", "ring, buffer, drop"]),
    ({"keys": {"building": BUILDING | {"points": -2}}},
     ["keys.building.points=-2", "metres above 0 or drop"]),
    ({"keys": {"building": BUILDING | {"points": True}}},
     ["keys.building.points=True", "metres above 0 or drop"]),
    ({"keys": {"building": BUILDING | {"points": float("nan")}}},
     ["keys.building.points=nan", "metres above 0"]),
    ("keys: {building: {layer: building, points: drop, lines: ring, except: [no]}}",
     ["keys.building.except=[False]", "in quotes"]),
    ({"keys": {"building": BUILDING | {"only": "yes"}}},
     ["keys.building.only='yes'", "a list of values"]),
    ({"keys": {"building": BUILDING | {"only": ["yes"], "except": ["no"]}}},
     ["both only and except"]),
    ({"keys": {"Building": BUILDING}}, ["key 'Building'", "lower case"]),
    ({"keys": {1: BUILDING}}, ["key 1", "text"]),
    ({"keys": {"road": BUILDING | {"lines": "buffer"}}}, ["width_m=None", "default"]),
    ({"keys": {"road": BUILDING}, "width_m": {"path": 1}}, ["width_m={'path': 1}", "default"]),
    ({"keys": {"road": BUILDING}, "width_m": {"default": 1, "path": -1}},
     ["width_m.path=-1", "metres above 0"]),
    ({"keys": {"road": BUILDING}, "width_m": {"default": 1, "path": "2 m"}},
     ["width_m.path='2 m'", "metres above 0"]),
    ({"keys": {"road": BUILDING}, "width_m": {"default": 1, 5: 1}},
     ["width_m has the value 5", "in quotes"]),
])
def test_a_wrong_table_is_refused_in_one_line(tmp_path, table, phrases):
    with pytest.raises(ConfigError) as raised:
        load_layers(table_file(tmp_path, table))
    message = str(raised.value)
    assert message.startswith(f"layers={tmp_path / 'mine.yaml'}: ")
    assert "\n" not in message
    for phrase in phrases:
        assert phrase in message


def test_a_missing_table(tmp_path):
    with pytest.raises(ConfigError,
                       match=r"layers=.*nope.yaml: cannot be read \(no such file or folder\)"):
        load_layers(tmp_path / "nope.yaml")


def test_tags_of_distinct_words():
    table = load_layers()
    words = ["name:x", "building:yes;landuse:grass:x;", "highway:path"]
    owner, rule, value = tag_rows(np.array([1, -1, 0, 2, 1]), words, label_pairs, table)
    assert owner.tolist() == [0, 0, 3, 4, 4]
    assert [table.rules[index].key for index in rule] == ["building", "landuse", "highway",
                                                          "building", "landuse"]
    assert value.tolist() == ["yes", "grass:x", "path", "yes", "grass:x"]


def test_no_words_no_tags():
    owner, _, value = tag_rows(np.array([-1, -1]), [], label_pairs, load_layers())
    assert (len(owner), len(value)) == (0, 0)


@pytest.mark.parametrize(("text", "pairs"), [
    ('"amenity"=>"school","name"=>"a \\"b\\", c"', [("amenity", "school"), ("name", 'a "b", c')]),
    ('"amenity" => "school", "x"=>NULL', [("amenity", "school")]),
    ('{"amenity": "school", "level": 2}', [("amenity", "school")]),
    ("", []),
    ('{"building": true, "landuse": ["grass", "forest"]}',
     [("building", "yes"), ("landuse", "grass")]),
    ('[{"k": "building", "v": "hut"}, {"key": "highway", "value": "path"}, 3]',
     [("building", "hut"), ("highway", "path")]),
])
def test_packed_tags(text, pairs):
    assert packed_pairs(text) == pairs


@pytest.mark.parametrize("text", ["{broken", "[1", "building=yes", "[" * 100_000])
def test_text_that_packs_no_tags(text):
    with pytest.raises(ValueError, match=r"."):
        packed_pairs(text)


def test_listed():
    assert listed({"points": 3, "lines": 0,
                   "empty geometries": 1}) == "3 points, 1 empty geometries"
    assert listed({}) == "none"
