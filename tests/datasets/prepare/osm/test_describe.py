"""What is encoded of an object: the same tags, whatever kind of file they come from."""

import json

import numpy as np
import osmium
import pyarrow as pa
import pytest

from datasets import TileDataset
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.objects import read_objects
from datasets.prepare.osm.tags import load_layers
from datasets.prepare.text.describe import MOST_CHARACTERS, MOST_TAGS, all_tags
from datasets.prepare.text.hashed import HashText
from tests.datasets.prepare.osm.test_osm_files import Drawing, box
from tests.datasets.prepare.osm.test_tag_columns import geojson, parquet
from tests.datasets.prepare.places import UTM, prepare, square
from tests.datasets.prepare.reading import BOUNDS, WORLD, write
from utils.errors import ConfigError

SCHOOL = {"addr:city": "Brno", "amenity": "school", "building": "school", "name": "ZŠ Studánka",
          "building:levels": "3", "source": "survey", "website": "https://x.example",
          "name:en": "Spring", "ref:ruian": "12", "shop": "house_goods"}
LINES = ["amenity: school", "building: school"]
REST = "\nname: ZŠ Studánka\nshop: house goods\nbuilding levels: 3"
TEXTS = ["\n".join(LINES) + REST, "\n".join(LINES[::-1]) + REST, "landuse: forest"]


def texts(path, crs, bounds, describe="tags", **keys) -> list[str]:
    table = load_layers(describe=describe, **keys)
    return [text for chunk in read_objects(path, crs, bounds, table, Census())
            for text in chunk.text]


def drawing() -> Drawing:
    city = Drawing()
    city.way(*box(0, 0, 1), **SCHOOL)
    city.way(*box(5, 0, 1), landuse="forest")
    return city


def as_xml(folder):
    return drawing().write(folder / "a.osm")


def as_pbf(folder):
    with osmium.SimpleWriter(str(folder / "a.osm.pbf")) as writer:
        for element in osmium.FileProcessor(str(as_xml(folder))):
            writer.add(element)
    (folder / "a.osm").unlink()
    return folder / "a.osm.pbf"


def as_history(folder):
    """A file without order, which is rewritten."""
    return drawing().write(folder / "a.osm", nodes_last=True)


def as_overpass(folder):
    def ring(x):
        return [{"lon": 25 + (x + dx) / 1000, "lat": 60.2 + dy / 1000}
                for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))]
    ways = [{"type": "way", "id": number, "geometry": ring(5 * number), "tags": tags}
            for number, tags in enumerate((SCHOOL, {"landuse": "forest"}), 1)]
    (folder / "a.json").write_text(json.dumps({"elements": ways}))
    return folder / "a.json"


@pytest.mark.parametrize("make", [as_xml, as_pbf, as_history, as_overpass])
def test_files_of_openstreetmap(tmp_path, make):
    path = make(tmp_path)
    assert texts(path, *WORLD) == TEXTS
    assert texts(path, *WORLD, "key_value") == [*LINES, "landuse: forest"]
    assert texts(path, *WORLD, "value") == ["school", "school", "forest"]


def columns(folder):
    """Keys in columns of their own, as osmnx has them."""
    return geojson(folder / "a.geojson", [{**SCHOOL, "osm_id": 7}, {"landuse": "forest"}])


def geopackage(folder):
    """A few keys in columns, and the others in an hstore, as GDAL writes an extract."""
    rest = ",".join(f'"{key}"=>"{value}"' for key, value in SCHOOL.items()
                    if key not in ("building", "name"))
    return write(folder / "a.gpkg", {
        "osm_id": ["1", "2"], "building": ["school", None], "name": ["ZŠ Studánka", None],
        "landuse": [None, "forest"], "other_tags": [rest, None]},
        [square(0, 0, 9), square(20, 0, 9)])


def maps(folder):
    rows = [[*SCHOOL.items()], [("landuse", "forest")], None, None]
    return parquet(folder / "a.parquet", pa.array(rows, pa.map_(pa.string(), pa.string())))


def structs(folder):
    rows = [SCHOOL, {"landuse": "forest"}, None, None]
    return parquet(folder / "a.parquet", pa.array(rows))


def labels(folder):
    text = ";".join(f"{key}:{value}" for key, value in SCHOOL.items()
                    if ":" not in key + value)
    path = write(folder / "a.gpkg", {"label": [text + ";x:1", "landuse:forest"]},
                 [square(0, 0, 9), square(20, 0, 9)])
    return path


@pytest.mark.parametrize("make", [columns, geopackage, maps, structs])
def test_vector_files(tmp_path, make):
    path = make(tmp_path)
    assert texts(path, UTM, BOUNDS) == TEXTS
    assert texts(path, UTM, BOUNDS, "key_value") == [*LINES, "landuse: forest"]
    assert texts(path, UTM, BOUNDS, "value") == ["school", "school", "forest"]


def test_a_column_of_labels(tmp_path):
    rest = "\nname: ZŠ Studánka\nshop: house goods\nx: 1"
    assert texts(labels(tmp_path), UTM, BOUNDS) == [
        "\n".join(LINES) + rest, "\n".join(LINES[::-1]) + rest, "landuse: forest"]


def test_default_tags_are_described_as_well(tmp_path):
    path = write(tmp_path / "a.gpkg", {"height": [3.0], "roof": ["flat"]}, [square(0, 0, 9)])
    assert texts(path, UTM, BOUNDS, default_tags="building=yes") == ["building: yes\nroof: flat"]
    assert texts(path, UTM, BOUNDS, "key_value", default_tags="building=yes") == ["building: yes"]


def test_the_order_and_the_length_of_a_text():
    classes = load_layers().rule_of_key
    many = [(f"key{number:02}", "x") for number in range(30)]
    lines = all_tags("building", "yes", [*many, ("name", "N"), ("Landuse", "z"), ("name", "M")],
                     classes).split("\n")
    assert lines == ["building: yes", "landuse: z", "name: N",
                     *(f"key{number:02}: x" for number in range(MOST_TAGS - 3))]
    long = all_tags("building", "yes", [("description", "word " * 30), ("use", "word " * 30),
                                        ("z", "short")], classes)
    assert len(long) <= MOST_CHARACTERS
    assert [line.partition(":")[0] for line in long.split("\n")] == ["building", "description"]
    assert all_tags("building", "yes", [("", "x"), ("roof", " ")], classes) == "building: yes"


@pytest.mark.parametrize("key", [
    "addr:city", "addr_city", "contact:phone", "phone", "ref", "ref:ruian", "building:ruian:type",
    "wikidata", "brand:wikidata", "source", "source:date", "note", "fixme", "name:cs", "alt_name",
    "old_name:fi", "int_ref",
    "type", "osm_id", "@id", "check_date:roof"])
def test_tags_that_say_nothing_of_an_object_are_left_out(key):
    assert all_tags("building", "yes", [(key, "x"), ("roof:shape", "flat")], ()) == (
        "building: yes\nroof shape: flat")


def test_tiles_hold_the_vectors_of_their_texts(place):
    """Label codes stay those of the values, and only the text columns differ."""
    prepare(place, out=place.folder / "value")
    prepare(place, out=place.folder / "tags", text={"name": "hash", "describe": "tags"})
    prepare(place, out=place.folder / "files", text={"name": "hash", "describe": "tags"},
            layout="release")
    plain, tiles, files = (TileDataset(place.folder / name, image_size=64)
                           for name in ("value", "tags", "files"))
    meta = tiles.meta["c"]
    assert meta["text"] == {"name": "hash", "width": 512, "describe": "tags"}
    assert meta["keys"]["text"]["describe"] == tiles.describe()["text"]["describe"] == "tags"
    assert "describe" not in plain.meta["c"]["text"]
    assert "describe" not in plain.meta["c"]["keys"]["text"]  # as an earlier version wrote it
    assert meta["label_names"] == plain.meta["c"]["label_names"]
    vectors = {}  # of hashed words, whose order does not count
    for text, vector in zip(meta["text_values"], HashText().encode(meta["text_values"]),
                            strict=True):
        vectors.setdefault(vector.tobytes(), []).append(text)
    assert "building: house\nlanduse: residential" in meta["text_values"]
    for index in range(len(plain)):
        (_, before), (_, after), (_, same) = (tiles.read(index) for tiles in (plain, tiles, files))
        np.testing.assert_array_equal(before.x[:, 512:], after.x[:, 512:])
        np.testing.assert_array_equal(after.x, same.x)
        for row in after.x.numpy():
            classes = [text.split("\n")[0] for text in vectors[row[:512].tobytes()]]
            tag = f": {tiles.tag(index, int(row[-1]))}"
            assert any(line.endswith(tag) for line in classes)


def test_an_unknown_description(place):
    with pytest.raises(ConfigError, match=r"text\.describe=all: choose one of value, key_"):
        prepare(place, text={"name": "hash", "describe": "all"})
