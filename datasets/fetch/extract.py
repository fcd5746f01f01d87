"""Cut an extract of OpenStreetMap to a box: what reaches into it, whole.

Kept are nodes with tags in the box, ways with tags whose bounds meet it, and the multipolygons of
the layers' keys whose bounds meet it, with all their ways; and all nodes of these ways. A way that
crosses the box, or a forest around it, need not have a node in it. So the layers' objects in the
box are the same, one for one, as those of the whole extract.

Memory holds the ids of what is kept and of the ways of multipolygons. The locations of all nodes
go to disk, 16 bytes each, as in `osm_files.py`.
"""

import itertools
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import osmium
import shapely
from osmium.osm import NODE, RELATION, WAY, mutable

from datasets.bbox import BBox
from datasets.prepare.osm.osm_files import CHUNK, is_osm_file
from datasets.prepare.osm.osm_xml import READ_ERRORS
from datasets.prepare.osm.rewriting import Extract, extract_of, objects
from datasets.prepare.osm.tags import LayerTable
from utils.errors import PrepareError, one_line
from utils.files import replacing

_AREAS = ("multipolygon", "boundary")
_DISK = re.compile("no space left|too large|quota", re.IGNORECASE)  # in words of the system
_UNIT = 10_000_000  # of a degree, in which osmium keeps places
_NOWHERE = (np.inf, np.inf, -np.inf, -np.inf)


@dataclass
class Cut:
    """Numbers of elements kept."""

    nodes: int = 0
    ways: int = 0
    relations: int = 0

    def __str__(self) -> str:
        return (f"{self.nodes:,} nodes, {self.ways:,} ways, "
                f"{self.relations:,} multipolygon{'s' * (self.relations != 1)}")


@dataclass
class _Kept:
    """What meets the box; ids are of the extract."""

    relations: set[int] = field(default_factory=set)
    ways: set[int] = field(default_factory=set)


def cut_extract(source: Path, target: Path, box: BBox, table: LayerTable, folder: Path) -> Cut:
    """Write what of `source` reaches into the box to `target`, a .osm.pbf of ordered elements.

    Args:
        source: any file of OpenStreetMap's own formats.
        folder: of temporary files.

    Raises:
        PrepareError: no such file, damaged, no extract, or nothing of it lies in the box.
    """
    if not source.is_file() or not is_osm_file(source):
        fault = "is not a file of OpenStreetMap" if source.exists() else "no such file"
        raise PrepareError(f"{source}: {fault}, expected an extract such as city.osm.pbf. Pass "
                           "osm= an extract, its URL, or overpass; other vector files go to "
                           "prepare_dataset.py as they are, which crops them to bbox=.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cut-", dir=folder) as scratch:
        try:
            extract = extract_of(source, Path(scratch),
                                 frozenset(table.rule_of_key) | {"type", "area"}, bool)
            cut = _Cutter(source, extract, box, table, Path(scratch)).write(target)
        except (RuntimeError, *READ_ERRORS) as error:  # osmium's are of many kinds
            if isinstance(error, OSError) and error.errno:
                raise
            reason = one_line(error)
            if _DISK.search(reason):
                raise PrepareError(f"{folder}: the disk is full ({reason}), and {source} needs "
                                   "room for its nodes, 16 bytes each. Free space, or choose "
                                   "another out=.") from error
            raise PrepareError(f"{source}: cannot be cut ({reason}). It may be damaged or cut "
                               "short: get the file again.") from error
    return cut


@dataclass
class _Cutter:
    source: Path
    extract: Extract
    box: BBox
    table: LayerTable
    scratch: Path

    def __post_init__(self) -> None:
        self.path = self.extract.path

    def write(self, target: Path) -> Cut:
        index = osmium.index.create_map(f"sparse_file_array,{self.scratch}/locations")
        self.locations = [] if self.extract.placed else [osmium.NodeLocationsForWays(index)]
        for handler in self.locations:
            handler.ignore_errors()  # ways may lack nodes in the whole extract, too
        tagged = self.scratch / "tagged.osm.pbf"
        with osmium.SimpleWriter(str(tagged)) as writer:
            for node in objects(self.path, NODE, *self.locations, osmium.filter.EmptyTagFilter()):
                place = node.location
                if place.valid() and (self.box.west <= place.lon <= self.box.east
                                      and self.box.south <= place.lat <= self.box.north):
                    writer.add_node(node)
        kept = self._kept()
        if not kept.ways and not any(objects(tagged, NODE)):
            raise PrepareError(f"{self.source}: holds nothing in {self.box}, expected an extract "
                               "of this place; look at bbox= and the extract")
        nodes, places = self._nodes(kept.ways)
        cut = Cut()
        header = osmium.io.Header()
        header.set("sorting", "Type_then_ID")
        with replacing(target) as temporary, osmium.SimpleWriter(
                osmium.io.File(str(temporary), "pbf"), header=header) as writer:
            for node in _merged(objects(tagged, NODE), nodes, places):
                cut.nodes += 1
                writer.add_node(node)
            for way in objects(self.path, WAY):
                if way.id in kept.ways:
                    cut.ways += 1
                    writer.add_way(way)
            for relation in objects(self.path, RELATION):
                if relation.id in kept.relations:
                    cut.relations += 1
                    writer.add_relation(relation)
        return cut

    def _kept(self) -> _Kept:
        """Return the ways and multipolygons whose bounds meet the box."""
        relations, members = self._multipolygons()
        ids, boxes = array("q"), []
        kept, of_areas = _Kept(), set(members.tolist())
        ways = (way for way in objects(self.path, WAY, *self.locations)
                if len(way.tags) or way.id in of_areas)
        for chunk in iter(lambda: _bounds(itertools.islice(ways, CHUNK)), None):
            names, tagged, bounds = chunk
            meets = tagged & self._meet(bounds)
            kept.ways.update(names[meets].tolist())
            inner = np.fromiter((name in of_areas for name in names.tolist()), bool, len(names))
            ids.extend(names[inner].tolist())
            boxes.append(bounds[inner])
        if not len(relations):
            return kept
        names, boxes = np.asarray(ids, np.int64), np.concatenate([*boxes, np.empty((0, 4))])
        order = np.argsort(names)
        names = np.append(names[order], 0)
        boxes = np.concatenate([boxes[order], [_NOWHERE]])  # the last: of ways that are missing
        place = np.searchsorted(names[:-1], members)
        boxes = boxes[np.where(names[place] == members, place, len(names) - 1)]
        starts = np.flatnonzero(np.diff(relations, prepend=-1))
        whole = np.concatenate([np.minimum.reduceat(boxes[:, :2], starts),
                                np.maximum.reduceat(boxes[:, 2:], starts)], axis=1)
        meets = self._meet(whole)
        kept.relations.update(relations[starts][meets].tolist())
        kept.ways.update(members[np.isin(relations, relations[starts][meets])].tolist())
        return kept

    def _multipolygons(self) -> tuple[np.ndarray, np.ndarray]:
        """Return relation and way of each member of the layers' multipolygons, [members] both."""
        owners, members = array("q"), array("q")
        for relation in objects(self.path, RELATION,
                                osmium.filter.KeyFilter(*self.table.rule_of_key)):
            if relation.tags.get("type") in _AREAS:
                for member in relation.members:
                    if member.type == "w":
                        owners.append(relation.id)
                        members.append(member.ref)
        return np.asarray(owners, np.int64), np.asarray(members, np.int64)

    def _meet(self, bounds: np.ndarray) -> np.ndarray:
        """Return which bounds [n, 4] meet the box: [n]."""
        west, south, east, north = self.box.bounds
        return ((bounds[:, 0] <= east) & (bounds[:, 2] >= west)
                & (bounds[:, 1] <= north) & (bounds[:, 3] >= south))

    def _nodes(self, ways: set[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of the ways' nodes [n], ascending, and their places [n, 2] in units of
        osmium; nodes that the extract lacks are left out."""
        ids, places = array("q"), array("i")
        for way in objects(self.path, WAY, *self.locations):
            if way.id in ways:
                for node in way.nodes:
                    if node.location.valid():
                        ids.append(node.ref)
                        places.extend((node.x, node.y))
        names, first = np.unique(np.asarray(ids, np.int64), return_index=True)
        return names, np.asarray(places, np.int32).reshape(-1, 2)[first]


def _bounds(ways: Iterable[osmium.osm.Way]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return id [n], whether it has tags [n] and bounds [n, 4] of each way; None of no way."""
    factory = osmium.geom.WKBFactory()
    ids, tagged, lines = [], [], []
    for way in ways:
        ids.append(way.id)
        tagged.append(len(way.tags) > 0)
        try:
            lines.append(factory.create_linestring(way))
        except (RuntimeError, osmium.InvalidLocationError):  # it lacks nodes, or has one place
            known = [(node.lon, node.lat) for node in way.nodes if node.location.valid()]
            lines.append(shapely.to_wkb(shapely.MultiPoint(known), hex=True))
    if not ids:
        return None
    bounds = shapely.bounds(shapely.from_wkb(lines))
    return np.array(ids, np.int64), np.array(tagged), np.where(np.isnan(bounds), _NOWHERE, bounds)


def _merged(tagged: Iterator[osmium.osm.Node], ids: np.ndarray,
            places: np.ndarray) -> Iterator[object]:
    """Yield the nodes with tags and those of ways in the order of their ids, each once."""
    others = zip(ids.tolist(), (places / _UNIT).tolist(), strict=True)
    other = next(others, None)
    for node in tagged:
        while other and other[0] < node.id:
            yield mutable.Node(id=other[0], location=tuple(other[1]))
            other = next(others, None)
        if other and other[0] == node.id:
            other = next(others, None)
        yield node
    for name, place in itertools.chain([other] if other else [], others):
        yield mutable.Node(id=name, location=tuple(place))
