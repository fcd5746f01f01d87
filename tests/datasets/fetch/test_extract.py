"""An extract that is cut to a box has the objects of the whole one there, one for one."""

import random

import osmium
import pytest
import shapely

from datasets.bbox import BBox
from datasets.fetch.extract import cut_extract
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.objects import read_objects
from datasets.prepare.osm.tags import load_layers
from tests.datasets.fetch.overpass import Planet
from utils.errors import PrepareError

BOX = BBox(10.0, 50.0, 10.01, 50.01)
TABLE = load_layers()


def ring(west, south, east, north):
    return [(west, south), (east, south), (east, north), (west, north), (west, south)]


def planet():
    """Objects that lie in the box, reach into it in each way there is, and lie outside."""
    draw = random.Random(0)
    made = Planet()
    for name in range(300):
        lon, lat = draw.uniform(9.98, 10.03), draw.uniform(49.98, 50.03)
        made.ways[name + 1] = ([(round(x, 7), round(y, 7)) for x, y in ring(
            lon, lat, lon + 0.0002, lat + 0.0002)], {"building": draw.choice(["yes", "house"])})
    made.ways |= {
        1001: ([(9.99, 50.005), (10.02, 50.006)], {"highway": "primary"}),     # no node in the box
        1002: (ring(9.97, 49.97, 10.04, 50.04), {"landuse": "forest"}),        # around the box
        1003: ([(9.95, 49.95), (10.05, 49.95), (10.05, 50.0055)], {}),         # two halves of one
        1004: ([(10.05, 50.0055), (9.95, 50.0056), (9.95, 49.95)], {}),        # outline ...
        1005: (ring(10.004, 49.97, 10.006, 49.98), {}),                        # ... and its hole
        1006: (ring(9.9, 49.9, 10.1, 50.1), {}),                               # around all
        1007: (ring(10.02, 50.02, 10.03, 50.03), {"natural": "water"}),        # outside
        1008: ([(10.001, 50.001), (10.002, 50.001)], {"railway": "rail"})}     # of no layer
    made.relations = {
        1: ([(1003, "outer"), (1004, "outer"), (1005, "inner")],
            {"type": "multipolygon", "natural": "wood"}),
        2: ([(1006, "outer")], {"type": "boundary", "leisure": "nature_reserve"}),
        3: ([(1007, "outer")], {"type": "multipolygon", "landuse": "basin"}),
        4: ([(1006, "outer")], {"type": "boundary", "boundary": "administrative"})}
    made.nodes = {1: ((10.005, 50.005), {"amenity": "pub", "name": "Zum Löwen"}),
                  2: ((10.02, 50.02), {"amenity": "cafe"})}
    return made


def write(folder, name="all.osm"):
    """Write the planet as .osm, and as a .osm.pbf that no reader needs to rewrite."""
    (folder / name).write_text(planet().osm(), encoding="utf-8")
    target = folder / "all.osm.pbf"
    with osmium.SimpleWriter(str(target)) as writer:
        for element in osmium.FileProcessor(str(folder / name)):
            writer.add(element)
    return target


def objects(path, box=BOX):
    """Layer, value and geometry of the objects in a box, sorted."""
    chunks = read_objects(path, "EPSG:4326", box.bounds, TABLE, Census())
    return sorted((int(layer), value, shapely.to_wkb(shapely.normalize(shape)))
                  for chunk in chunks for layer, value, shape in zip(
                      chunk.layer, chunk.value, chunk.geometry, strict=True))


@pytest.mark.parametrize("suffix", [".osm.pbf", ".osm"])
def test_objects_are_those_of_the_whole_extract(tmp_path, suffix):
    write(tmp_path)
    whole, target = tmp_path / f"all{suffix}", tmp_path / "cut.osm.pbf"
    cut = cut_extract(whole, target, BOX, TABLE, tmp_path / "work")
    assert objects(target) == objects(whole)
    assert {value for _, value, _ in objects(target)} == {
        "forest", "house", "nature_reserve", "primary", "pub", "wood", "yes"}
    assert (cut.relations, list((tmp_path / "work").iterdir())) == (2, [])
    assert sum(1 for _ in osmium.FileProcessor(str(target))) == cut.nodes + cut.ways + cut.relations
    assert target.stat().st_size < (tmp_path / "all.osm.pbf").stat().st_size / 2


def test_places_on_ways_and_missing_nodes(tmp_path):
    """A file without nodes whose ways state places, and one whose ways lack nodes."""
    placed, clipped = tmp_path / "placed.osm.pbf", tmp_path / "clipped.osm.pbf"
    source = write(tmp_path)
    file = osmium.io.File(str(placed), "pbf,locations_on_ways=true")
    with osmium.SimpleWriter(file) as one, osmium.SimpleWriter(str(clipped)) as other:
        for element in osmium.FileProcessor(str(source)).with_locations():
            if not element.is_node() or len(element.tags):
                one.add(element)
            if not element.is_node() or element.id % 5:
                other.add(element)
    for whole in (placed, clipped):
        target = tmp_path / f"cut-{whole.name}"
        cut_extract(whole, target, BOX, TABLE, tmp_path)
        assert objects(target) == objects(whole)
    assert objects(placed) == objects(source)


def test_the_result_is_ordered_and_keeps_all_tags(tmp_path):
    target = tmp_path / "cut.osm.pbf"
    cut_extract(write(tmp_path), target, BOX, TABLE, tmp_path)
    kinds = [("nwr".index(element.type_str()), element.id)
             for element in osmium.FileProcessor(str(target))]
    assert kinds == sorted(set(kinds))
    with osmium.io.Reader(str(target)) as reader:
        assert reader.header().get("sorting") == "Type_then_ID"
    names = {element.tags.get("name") for element in osmium.FileProcessor(str(target))}
    values = {element.tags.get("railway") for element in osmium.FileProcessor(str(target))}
    assert "Zum Löwen" in names
    assert "rail" in values


def test_bad_extracts(tmp_path):
    target = tmp_path / "cut.osm.pbf"
    whole = write(tmp_path)
    half = tmp_path / "half.osm.pbf"
    half.write_bytes(whole.read_bytes()[:-300])
    (tmp_path / "page.osm.pbf").write_text("<html>busy</html>")
    far = BBox(60, 50, 60.01, 50.01)
    for path, box, words in (
            (tmp_path / "none.osm.pbf", BOX, "no such file"), (half, BOX, "get the file again"),
            (tmp_path / "page.osm.pbf", BOX, "get the file again"),
            (whole, far, "holds nothing in 60,50,60.01,50.01")):
        with pytest.raises(PrepareError, match=words) as caught:
            cut_extract(path, target, box, TABLE, tmp_path / "work")
        assert str(caught.value).startswith(f"{path}: ")
    assert not target.exists()
