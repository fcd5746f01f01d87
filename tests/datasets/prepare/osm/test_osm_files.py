"""OpenStreetMap's own files: what becomes of nodes, ways and relations."""

import bz2
import gzip
import lzma
from itertools import count

import osmium
import pytest
import shapely

from datasets.prepare.osm import osm_files, unpacking
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.objects import no_overlap_message, read_objects
from datasets.prepare.osm.osm_files import (
    BROKEN_RINGS,
    INCOMPLETE_AREAS,
    INCOMPLETE_WAYS,
    SHORT_WAYS,
)
from datasets.prepare.osm.tags import load_layers
from tests.datasets.prepare.reading import WORLD, read
from utils.errors import PrepareError

CRS, BOUNDS = "EPSG:4326", (24.9, 60.1, 25.1, 60.3)
METRES_2 = 111_412 * 55_660  # of a square degree near 60 degrees north, roughly


class Drawing:
    """OSM XML, drawn on a grid of 0.001 degrees around 25 E, 60.2 N; one node for each point of
    the grid."""

    def __init__(self) -> None:
        self.nodes, self.lines, self.ids = {}, [], count(1000)

    def node(self, x: float, y: float, **tags: str) -> int:
        if (x, y) not in self.nodes:
            self.nodes[x, y] = (next(self.ids), tags)
        return self.nodes[x, y][0]

    def way(self, *points: tuple[float, float], **tags: str) -> int:
        return self.way_of([self.node(*point) for point in points], **tags)

    def way_of(self, nodes: list[int], **tags: str) -> int:
        name, members = next(self.ids), "".join(f'<nd ref="{node}"/>' for node in nodes)
        self.lines.append(f'<way id="{name}" version="1">{members}{xml(tags)}</way>')
        return name

    def relation(self, *members: tuple[str, int], **tags: str) -> None:
        inside = "".join(f'<member type="way" ref="{name}" role="{role}"/>'
                         for role, name in members)
        inside += xml({"type": "multipolygon", **tags})
        self.lines.append(f'<relation id="{next(self.ids)}" version="1">{inside}</relation>')

    def text(self, nodes_last: bool = False) -> str:
        nodes = [f'<node id="{name}" version="1" lon="{25 + x / 1000}" lat="{60.2 + y / 1000}">'
                 f"{xml(tags)}</node>" for (x, y), (name, tags) in self.nodes.items()]
        lines = self.lines[::-1] + nodes[::-1] if nodes_last else nodes + self.lines
        return f'<?xml version="1.0"?><osm version="0.6" generator="test">{"".join(lines)}</osm>'

    def write(self, path, **options):
        path.write_text(self.text(**options))
        return path


def xml(tags: dict[str, str]) -> str:
    return "".join(f'<tag k="{key}" v="{value}"/>' for key, value in tags.items())


def box(x: float, y: float, side: float) -> list[tuple[float, float]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]


@pytest.fixture
def drawing() -> Drawing:
    """One of everything."""
    drawing = Drawing()
    drawing.node(1, 1, amenity="cafe", name="x")
    drawing.node(2, 2, highway="crossing")
    drawing.node(3, 3, name="no tag that counts")
    drawing.way(*box(0, 0, 4), building="yes", amenity="school")
    drawing.way((10, 0), (20, 0), highway="residential")
    drawing.way(*box(10, 10, 4), highway="service")
    drawing.way(*box(20, 10, 4), highway="pedestrian", area="yes")
    drawing.way(*box(30, 10, 4), highway="footway", leisure="garden")
    drawing.way(*box(40, 10, 4), leisure="track", area="no")
    drawing.way((30, 0), (34, 0), natural="wood")
    outer = [drawing.way((0, 20), (9, 20), (9, 29)), drawing.way((9, 29), (0, 29), (0, 20))]
    inner = drawing.way(*box(3, 23, 3), natural="water")
    drawing.relation(*(("outer", name) for name in outer), ("inner", inner), landuse="forest")
    far = drawing.way(*box(20, 20, 2))
    drawing.relation(("outer", drawing.way(*box(30, 20, 2))), ("outer", far), building="retail")
    return drawing


EXPECTED = [
    ("amenity", "cafe"), ("amenity", "school"), ("building", "retail"), ("building", "yes"),
    ("landuse", "forest"), ("leisure", "garden"),
    ("nature", "water"), ("road", "footway"), ("road", "pedestrian"), ("road", "residential"),
    ("road", "service"),
]


def degrees_2(shape) -> float:
    return shape.area * 1e6  # in squares of the drawing's grid


def test_one_of_everything(drawing, tmp_path):
    objects = read(drawing.write(tmp_path / "a.osm"), CRS, BOUNDS)
    assert sorted(objects.listing) == EXPECTED
    # the crossing; the wood and the track, which says that it is no area
    assert objects.census.dropped == {"points": 1, "lines": 2}
    assert shapely.area(objects.one("amenity", "cafe")) * METRES_2 == pytest.approx(314, rel=0.05)
    assert degrees_2(objects.one("building", "yes")) == pytest.approx(16)


def test_a_multipolygon_keeps_its_hole_and_its_parts(drawing, tmp_path):
    objects = read(drawing.write(tmp_path / "a.osm"), CRS, BOUNDS)
    forest, retail = objects.one("landuse", "forest"), objects.one("building", "retail")
    assert (forest.geom_type, len(forest.interiors)) == ("Polygon", 1)
    assert degrees_2(forest) == pytest.approx(81 - 9)
    assert (retail.geom_type, len(retail.geoms)) == ("MultiPolygon", 2)


def test_a_closed_road_is_a_band_unless_it_is_an_area(drawing, tmp_path):
    objects = read(drawing.write(tmp_path / "a.osm"), CRS, BOUNDS)
    for value in ("service", "footway"):
        assert len(objects.one("road", value).interiors) == 1
    assert degrees_2(objects.one("road", "pedestrian")) == pytest.approx(16)
    assert degrees_2(objects.one("leisure", "garden")) == pytest.approx(16)


def as_pbf(path):
    with osmium.SimpleWriter(str(path.with_suffix(".osm.pbf"))) as writer:
        osmium.apply(str(path), writer)
    return path.with_suffix(".osm.pbf")


def compressed(suffix, compress):
    def change(path):
        packed = path.with_suffix(suffix)
        packed.write_bytes(compress(path.read_bytes()))
        return packed

    return change


@pytest.mark.parametrize("change",
                         [as_pbf, compressed(".osm.gz", gzip.compress),
                          compressed(".osm.bz2", bz2.compress),
                          compressed(".osm.xz", lzma.compress),
                          compressed(".osm.gz", bytes),  # unpacked on the way
                          compressed(".osh.gz", bz2.compress),
                          compressed(".osm.bz2", lambda data: bz2.compress(data[:999])
                                     + bz2.compress(data[999:]))])
def test_every_format_gives_the_same(drawing, tmp_path, change):
    path = drawing.write(tmp_path / "a.osm")
    first, second = read(path, CRS, BOUNDS), read(change(path), CRS, BOUNDS)
    assert first.listing == second.listing
    assert shapely.equals_exact(first.geometry, second.geometry).all()


def test_the_order_of_the_file_does_not_matter(drawing, tmp_path):
    first = read(drawing.write(tmp_path / "a.osm"), CRS, BOUNDS)
    second = read(drawing.write(tmp_path / "b.osm", nodes_last=True), CRS, BOUNDS)
    assert first.listing == second.listing


def test_chunks_change_nothing(drawing, tmp_path, monkeypatch):
    path = drawing.write(tmp_path / "a.osm")
    first = read(path, CRS, BOUNDS)
    monkeypatch.setattr(osm_files, "CHUNK", 2)
    second = read(path, CRS, BOUNDS)
    assert first.listing == second.listing
    assert first.census.dropped == second.census.dropped


def test_what_a_clipped_extract_lacks_is_counted(tmp_path):
    drawing = Drawing()
    known = [drawing.node(x, 0) for x in range(6)]
    drawing.way_of([known[0], known[1], 7, known[3], known[4]], highway="primary")
    drawing.way_of([7, known[5], drawing.node(9, 0)], highway="path")
    drawing.way_of([7, 8], highway="track")
    drawing.relation(("outer", drawing.way((0, 20), (9, 20), (9, 29))), ("outer", 5),
                     landuse="forest")
    drawing.relation(("outer", drawing.way((0, 40), (9, 40), (9, 49))), landuse="farmland")
    drawing.relation(("outer", 5), name="nothing that counts")
    objects = read(drawing.write(tmp_path / "a.osm"), CRS, BOUNDS)
    assert objects.listing == [("road", "primary"), ("road", "path")]
    assert len(objects.one("road", "primary").geoms) == 2  # both sides of the gap
    assert objects.census.dropped == {INCOMPLETE_WAYS: 1, INCOMPLETE_AREAS: 2}
    assert (objects.census.partial, objects.census.tagged, objects.census.read) == (2, 2, 5)


def test_no_object_near_the_raster(drawing, tmp_path):
    path, bounds = drawing.write(tmp_path / "a.osm"), (10, 48, 11, 49)
    objects = read(path, CRS, bounds)
    assert objects.listing == []
    message = no_overlap_message(path, objects.census, CRS, bounds, "or do without")
    assert ("Extent of the OSM data 25.00000, 60.20000, 25.03400, 60.22900, of the raster "
            "10.00000, 48.00000, 11.00000, 49.00000") in message


def test_a_file_without_any_tag(tmp_path):
    path = Drawing().write(tmp_path / "a.osm")
    objects = read(path, CRS, BOUNDS)
    assert "a.osm: holds no object" in no_overlap_message(path, objects.census, CRS, BOUNDS,
                                                          "or do without")


def test_nothing_is_left_in_the_temporary_folder(drawing, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "data").mkdir()
    read(drawing.write(tmp_path / "data" / "a.osm", nodes_last=True), CRS, BOUNDS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(("name", "content"), [
    ("empty.osm.pbf", b""), ("junk.osm.pbf", b"junk" * 99), ("empty.osm", b""),
    ("cut.osm", b'<osm version="0.6"><node id="1" '),
    ("junk.osm.gz", b"junk"), ("junk.osm.bz2", b"junk"),
    *((f"cut.osm.{name}", pack(b"<osm>" + bytes(range(256)))[:-20]) for name, pack in (
        ("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress))),
    ("wrong.osm.gz", gzip.compress(b"<osm></osm>", mtime=0)[:-6] + b"junk??"),
    ("of_pbf.osm.gz", gzip.compress(b"\0\0\0\x0d\n\tOSMHeader", mtime=0)),
    ("nothing.osm.gz", gzip.compress(b"", mtime=0)),
])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    message = rf"{name}: not a readable OpenStreetMap file \(.*get the file again"
    with pytest.raises(PrepareError, match=message) as raised:
        read(tmp_path / name, CRS, BOUNDS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(unpacking, "_ALWAYS", 1 << 21)
    (tmp_path / "a.osm.gz").write_bytes(pack(b"<osm>" + b" " * (4 << 20)))
    with pytest.raises(PrepareError, match=r"a\.osm\.gz: unpacks to more than 2 MiB, over 300"):
        read(tmp_path / "a.osm.gz", CRS, BOUNDS)


def test_a_pbf_that_is_cut_short(tmp_path, drawing):
    path = as_pbf(drawing.write(tmp_path / "a.osm"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(PrepareError, match=r"a\.osm\.pbf: not a readable OpenStreetMap file"):
        read(path, CRS, BOUNDS)


def test_a_real_pbf(shared):
    objects = read(shared / "data/helsinki_pop/Helsinki.osm.pbf", *WORLD)
    counts = {layer: objects.layers.count(layer) for layer in sorted(set(objects.layers))}
    assert counts == {"amenity": 1079, "building": 446, "landuse": 207, "leisure": 39,
                      "nature": 811, "road": 2581}
    assert sum(shapely.get_num_interior_rings(objects.geometry) > 0) > 50
    assert shapely.is_valid(objects.geometry).all()


def test_holes_of_real_multipolygons(shared):
    path = shared / "data/helsinki_pop/Helsinki.osm.pbf"
    keys = osmium.filter.KeyFilter("building")
    areas = osmium.FileProcessor(str(path)).with_areas(keys).with_filter(keys)
    expected = sum(area.num_rings()[1] for area in areas if area.is_area())
    objects = read(path, *WORLD)
    buildings = objects.geometry[[layer == "building" for layer in objects.layers]]
    parts = shapely.get_parts(buildings)
    assert shapely.get_num_interior_rings(parts).sum() == expected > 0


def test_a_real_xml_extract(shared):
    objects = read(shared / "data/osm_small/planet_10.068,48.135_10.071,48.137.osm", *WORLD)
    assert {layer: objects.layers.count(layer)
            for layer in sorted(set(objects.layers))} == {"building": 31, "road": 14}
    assert objects.census.dropped == {SHORT_WAYS: 7, INCOMPLETE_AREAS: 3,
                                      BROKEN_RINGS: 1, "points": 1, "lines": 1}


def test_temporary_files_lie_in_the_given_folder_and_do_not_stay(tmp_path, drawing, monkeypatch):
    scratch, seen = tmp_path / "scratch", []
    scratch.mkdir()
    path = drawing.write(tmp_path / "a.osm")
    for _ in read_objects(path, CRS, BOUNDS, load_layers(), Census(), scratch=scratch):
        pass
    assert list(scratch.iterdir()) == []
    monkeypatch.setattr(osm_files, "CHUNK", 1)
    reading = read_objects(path, CRS, BOUNDS, load_layers(),
                           Census(), lambda _: seen.append(len(list(scratch.iterdir()))), scratch)
    next(reading)
    assert seen[0] == 1
    reading.close()  # a run that is given up
    assert list(scratch.iterdir()) == []
