"""Files of editors, histories, answers of the Overpass API: read as the map they state."""

import json
from pathlib import Path

import osmium
import pytest
from osmium.osm import mutable

from datasets.prepare.osm.elements import element_id, place_id
from datasets.prepare.osm.osm_files import EMPTY_WAYS, INCOMPLETE_AREAS, INCOMPLETE_WAYS
from datasets.prepare.osm.rewriting import NO_ELEMENTS
from tests.datasets.prepare.osm.test_osm_files import BOUNDS, CRS
from tests.datasets.prepare.reading import Reading, read
from utils.errors import PrepareError

SQUARE = [(0, 0), (2, 0), (2, 2), (0, 2)]


def place(x: float, y: float) -> dict[str, float]:
    return {"lat": round(60.2 + y / 1000, 7), "lon": round(25 + x / 1000, 7)}


def at(x: float, y: float) -> str:
    return " ".join(f'{name}="{value}"' for name, value in place(x, y).items())


def tags(**values: str) -> str:
    return "".join(f'<tag k="{key}" v="{value}"/>' for key, value in values.items())


def ring(first: int, step: int, corner: tuple[float, float] = (0, 0), side: float = 1,
         state: str = "", **values: str) -> str:
    """Return four nodes and the closed way over them, all with ids counted from `first`."""
    names = [first + step * index for index in range(4)]
    nodes = "".join(f'<node id="{name}" {at(corner[0] + side * x, corner[1] + side * y)}/>'
                    for name, (x, y) in zip(names, SQUARE, strict=True))
    members = "".join(f'<nd ref="{name}"/>' for name in [*names, names[0]])
    return f'{nodes}<way id="{first}" {state}>{members}{tags(**values)}</way>'


def osm(tmp_path: Path, content: str, name: str = "a.osm") -> Reading:
    (tmp_path / name).write_text(f'<osm version="0.6">{content}</osm>')
    return read(tmp_path / name, CRS, BOUNDS)


def answer(tmp_path: Path, *elements: object, **more: str) -> Reading:
    (tmp_path / "a.json").write_text(json.dumps({"elements": elements, **more}))
    return read(tmp_path / "a.json", CRS, BOUNDS)


EDITED = (
    f'<node id="9" action="delete" visible="true" version="3" {at(9, 9)}>{tags(amenity="pub")}'
    f'</node><node id="-1" action="modify" {at(8, 8)}>{tags(amenity="cafe")}</node>'
    + ring(-10, -1, building="house")
    + ring(40, 1, (5, 0), state='action="delete" version="2"', building="ruins")
    + ring(50, 1, (9, 0), building="garage")
    + ring(-20, -1, (0, 10), 4) + ring(-30, -1, (1, 11))
    + f'<node id="-40" {at(0, 30)}/><node id="-41" {at(9, 30)}/>'
    + f'<way id="-40"><nd ref="-40"/><nd ref="-41"/>{tags(highway="residential")}</way>'
    + '<relation id="-5"><member type="way" ref="-20" role="outer"/><member type="way" ref="-30" '
    + f'role="inner"/>{tags(type="multipolygon", landuse="forest")}</relation>')


def check_edited(objects: Reading) -> None:
    assert sorted(objects.listing) == [("amenity", "cafe"), ("building", "garage"),
                                       ("building", "house"), ("landuse", "forest"),
                                       ("road", "residential")]
    assert len(objects.one("landuse", "forest").interiors) == 1
    assert objects.census.dropped == {}


def test_new_and_removed_elements_of_an_editor(tmp_path):
    check_edited(osm(tmp_path, EDITED))


def test_new_elements_in_a_pbf(tmp_path):
    (tmp_path / "a.osm").write_text(
        f'<osm version="0.6">{EDITED.replace("ruins", "no").replace("pub", "x")}</osm>')
    with osmium.SimpleWriter(str(tmp_path / "b.osm.pbf")) as writer:
        for element in osmium.FileProcessor(str(tmp_path / "a.osm")):
            if element.id not in (9, 40):
                writer.add(element)
    check_edited(read(tmp_path / "b.osm.pbf", CRS, BOUNDS))


@pytest.mark.parametrize("kind", ["osh", "osh.pbf"])
def test_a_history_is_read_as_its_latest_day(tmp_path, kind):
    def node(version: int, x: float, **more: object) -> mutable.Node:
        return mutable.Node(id=1, version=version, location=(25 + x / 1000, 60.2), **more)

    header = osmium.io.Header()
    header.has_multiple_object_versions = True
    header.set("sorting", "Type_then_ID")
    with osmium.SimpleWriter(str(tmp_path / f"a.{kind}"), header=header) as writer:
        writer.add_node(node(1, 1, tags={"amenity": "cafe"}))
        writer.add_node(node(2, 2, tags={"amenity": "bar"}))
        writer.add_node(mutable.Node(id=2, version=1, location=(25, 60.2),
                                     tags={"amenity": "pub"}))
        writer.add_node(mutable.Node(id=2, version=2, visible=False))
    objects = read(tmp_path / f"a.{kind}", CRS, BOUNDS)
    assert objects.listing == [("amenity", "bar")]
    assert objects.geometry[0].centroid.x == pytest.approx(25.002)


def test_places_on_the_ways_of_a_pbf(tmp_path):
    path = tmp_path / "a.osm"
    path.write_text(f'<osm version="0.6">{ring(1, 1, building="yes")}</osm>')
    file = osmium.io.File(str(tmp_path / "b.osm.pbf"), "pbf,locations_on_ways=true")
    with osmium.SimpleWriter(file) as writer:
        for element in osmium.FileProcessor(str(path)).with_locations():
            if element.is_way():
                writer.add(element)
    objects = read(tmp_path / "b.osm.pbf", CRS, BOUNDS)
    assert objects.listing == [("building", "yes")]


def test_places_on_nodes_of_ways_and_members(tmp_path):
    """As in an Overpass answer to `out geom;`, which has no nodes of their own."""
    def nodes(corner: float, side: float, ref: str = "") -> str:
        return "".join(f"<nd {ref} {at(corner + side * x, corner + side * y)}/>"
                       for x, y in [*SQUARE, SQUARE[0]])

    refs = 'ref="5"'
    objects = osm(tmp_path, (
        f'<way id="7">{nodes(0, 1, refs)}{tags(building="yes")}</way>'
        f'<relation id="3"><member type="way" ref="1" role="outer">{nodes(10, 4)}</member>'
        f'<member type="way" ref="2" role="inner">{nodes(11, 1)}</member>'
        f'{tags(type="multipolygon", building="school")}</relation>'))
    assert sorted(objects.values) == ["school", "yes"]
    assert len(objects.one("building", "school").interiors) == 1


def test_an_element_that_comes_twice_keeps_its_tags(tmp_path):
    """As in an answer to `out body; >; out skel qt;`."""
    for order in (slice(None), slice(None, None, -1)):
        ways = [ring(1, 1, building="yes"), ring(1, 1)][order]
        objects = osm(tmp_path, "".join(ways))
        assert (objects.listing, objects.census.read) == ([("building", "yes")], 1)


def test_json_with_shapes(tmp_path):
    outline = [place(*corner) for corner in [*SQUARE, SQUARE[0]]]
    objects = answer(
        tmp_path,
        {"type": "node", "id": 1, **place(9, 9), "tags": {"amenity": "cafe"}},
        {"type": "way", "id": 2, "nodes": [1, 2, 3, 4, 1], "geometry": outline,
         "tags": {"building": "yes"}},
        {"type": "way", "id": 3, "geometry": [place(0, 9), None, place(4, 9), place(6, 9)],
         "tags": {"highway": "path"}},
        {"type": "relation", "id": 4, "tags": {"type": "multipolygon", "landuse": "forest"},
         "members": [{"type": "way", "ref": 8, "role": "outer", "geometry": outline}]},
        {"type": "count", "id": 0, "tags": {"nodes": "3"}})
    assert sorted(objects.listing) == [("amenity", "cafe"), ("building", "yes"),
                                       ("landuse", "forest"), ("road", "path")]
    assert (objects.census.dropped, objects.census.partial) == ({}, 1)


def test_json_with_nodes(tmp_path):
    nodes = [{"type": "node", "id": number, **place(*corner)}
             for number, corner in enumerate(SQUARE)]
    way = {"type": "way", "id": 2, "nodes": [0, 1, 2, 3, 0], "tags": {"building": "yes"}}
    assert answer(tmp_path, way, *nodes).listing == [("building", "yes")]


def test_json_of_another_kind_is_left_to_others(tmp_path):
    feature = {"type": "Feature", "properties": {"building": "yes"}, "geometry": {
        "type": "Polygon", "coordinates": [[[25, 60.2], [25.001, 60.2], [25, 60.201], [25, 60.2]]]}}
    (tmp_path / "a.json").write_text(json.dumps({"type": "FeatureCollection",
                                                 "features": [feature]}))
    assert read(tmp_path / "a.json", CRS, BOUNDS).listing == [("building", "yes")]


def test_what_one_entry_of_json_lacks_is_counted(tmp_path):
    objects = answer(
        tmp_path, 3, None, {"type": [1]}, {"type": "node", "id": 1e400, "tags": {"amenity": "x"}},
        {"type": "way", "id": 1, "nodes": 5, "geometry": "x", "tags": {"building": "yes"}},
        {"type": "relation", "id": 2, "members": [7, {"type": "way"}],
         "tags": {"type": "multipolygon", "landuse": "forest"}},
        {"type": "node", "id": 2, **place(1, 1), "tags": {"amenity": "caf\ud800\0e", "x": 3}})
    assert objects.listing == [("amenity", "caf?e")]
    assert objects.census.lost == {NO_ELEMENTS: 3, EMPTY_WAYS: 1, INCOMPLETE_AREAS: 1}


CENTRES = {"center": place(1, 1), "tags": {"building": "yes"}}


@pytest.mark.parametrize("nodes", [{}, {"nodes": [1, 2, 3, 1]}])
def test_centres_in_place_of_shapes_are_refused(tmp_path, nodes):
    with pytest.raises(PrepareError, match=r"a\.json: states only the centres of 1 ways.*'out "
                                           r"geom;' in place of 'out center;'"):
        answer(tmp_path, {"type": "way", "id": 1, **nodes, **CENTRES})
    inside = "".join(f'<nd ref="{node}"/>' for node in nodes.get("nodes", []))
    with pytest.raises(PrepareError, match=r"a\.osm: states only the centres of 1 ways"):
        osm(tmp_path, f'<way id="1"><center {at(1, 1)}/>{inside}{tags(building="yes")}</way>')


def test_a_centre_beside_the_shape_does_no_harm(tmp_path):
    content = ring(1, 1, building="yes").replace("<nd", f"<center {at(1, 1)}/><nd", 1)
    assert osm(tmp_path, content).listing == [("building", "yes")]


def test_ways_without_their_nodes_are_counted_with_a_remedy(tmp_path):
    alone = "".join(f'<way id="{number}"><nd ref="1"/><nd ref="2"/><nd ref="3"/><nd ref="1"/>'
                    f"{tags(building='yes')}</way>" for number in range(3))
    objects = osm(tmp_path, f'<node id="9" {at(1, 1)}>{tags(amenity="cafe")}</node>{alone}')
    assert objects.listing == [("amenity", "cafe")]
    assert objects.census.lost == {INCOMPLETE_WAYS: 3}
    assert "'out geom;'" in objects.census.advice[0]


def test_ids_do_not_meet():
    names = [0, 5, (1 << 59) - 2, -1, 2 - (1 << 59)]
    places = [(-180, -90), (180, 90), (0, 0), (0, 1e-7)]
    distinct = [*map(element_id, names), *map(place_id, places)]
    assert len(set(distinct)) == len(distinct)
    assert all(0 <= name < 1 << 63 for name in distinct)
    assert [element_id(value) for value in ("x", None, 1e400, "9" * 5000, 1 << 60)] == [None] * 5
