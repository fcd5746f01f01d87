"""Tagged features of OpenStreetMap's own files: `.osm.pbf`, `.osm` and its compressed forms.

The file is read kind by kind: relations (which ways form multipolygons), nodes (their locations go
to an index on disk of 16 bytes each, enough for a country), ways (with the areas they complete).

A closed way is also an area of OSM unless it has area=no. The key's rule decides which of the two
is taken: a key whose lines are widened takes the way, and the area only if it has area=yes or is a
multipolygon relation; any other key takes the area. So nothing is counted twice.
"""

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import osmium
import shapely
from osmium.osm import NODE, NOTHING, RELATION, WAY
from pyproj import CRS

from datasets.prepare.geo.crs import DEGREES, Bounds
from datasets.prepare.osm.tags import LayerTable, Tagged
from utils.errors import PrepareError, one_line

SUFFIXES = (".osm", ".pbf", ".osm.gz", ".osm.bz2", ".o5m")
CHUNK = 50_000  # features held at once
INCOMPLETE_WAYS = "parts of ways (their nodes are not in the file)"
INCOMPLETE_AREAS = "incomplete or broken multipolygons"
_LEAST_NODES = 4  # of a closed way that is an area

# well-known binary in hexadecimal, and the rule and value of each tag
_Feature = tuple[str | None, list[tuple[int, str]]]


def is_osm_file(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


@dataclass
class OsmFile:
    """One file of OpenStreetMap, a source of features like `vector_files.TaggedLayer`."""

    path: Path
    table: LayerTable
    scratch: Path | None = None  # folder of temporary files; None: the system's
    count: int = 0  # tagged features seen
    _boxes: list[np.ndarray] = field(default_factory=list)  # [4] of each chunk read

    @property
    def crs(self) -> CRS:
        return DEGREES

    def bounds(self) -> Bounds | None:
        """Return the bounds of all features read so far; None if there is none."""
        if not self._boxes:
            return None
        return tuple(shapely.total_bounds(shapely.box(*np.transpose(self._boxes))).tolist())

    def chunks(self, window: Bounds | None) -> Iterator[Tagged]:
        """Yield all features: nodes, ways, areas as they complete, each in the file's order.
        `window` is not used, as the file has no index. Raise PrepareError if the file is damaged,
        or the disk has no room for the index of its nodes."""
        lost = Counter()
        features = self._features(lost)
        try:
            while chunk := list(itertools.islice(features, CHUNK)):
                yield self._tagged(chunk, lost)
                lost.clear()
        except (RuntimeError, OSError, ValueError) as error:  # osmium's, for any fault of a file
            raise self._unreadable(error) from error
        if lost:
            yield self._tagged([], lost)

    def _tagged(self, chunk: list[_Feature], lost: Counter[str]) -> Tagged:
        wkb = np.array([binary for binary, _ in chunk], dtype=object)
        rule = np.array([rule for _, tags in chunk for rule, _ in tags], dtype=np.int64)
        value = np.array([value for _, tags in chunk for _, value in tags], dtype=object)
        owner = np.repeat(np.arange(len(chunk)), [len(tags) for _, tags in chunk])
        box = shapely.total_bounds(shapely.from_wkb(wkb)) if chunk else np.full(4, np.nan)
        if np.isfinite(box).all():
            self._boxes.append(box)
        self.count += len(chunk)
        return Tagged(len(chunk), wkb, owner, rule, value, Counter(lost))

    def _unreadable(self, error: Exception) -> PrepareError:
        return PrepareError(f"{self.path}: not a readable OpenStreetMap file ({one_line(error)}). "
                            "It may be damaged or cut short: get the file again; its name must "
                            f"end as its format does ({', '.join(SUFFIXES)}).")

    def _features(self, lost: Counter[str]) -> Iterator[_Feature]:
        keys = osmium.filter.KeyFilter(*self.table.rule_of_key)
        areas = osmium.area.AreaManager()
        with tempfile.TemporaryDirectory(prefix="rose-osm-", dir=self.scratch) as folder:
            path = _in_order(self.path, Path(folder))
            multipolygons = self._multipolygons(path, keys, areas)
            index = osmium.index.create_map(f"sparse_file_array,{folder}/locations")
            locations = osmium.NodeLocationsForWays(index)
            locations.ignore_errors()  # ways with missing nodes are counted below
            factory = osmium.geom.WKBFactory()
            for node in _objects(path, NODE, locations, keys):
                tags = self._tags(node)
                if tags:
                    yield factory.create_point(node), tags
            complete = osmium.BufferIterator(keys)
            ways = _objects(path, WAY, locations, areas.second_pass_to_buffer(complete), keys)
            for way in itertools.chain(ways, [None]):  # None: areas that the end completes
                if way is not None:
                    yield from self._way(way, factory, lost)
                for area in complete:
                    multipolygons.discard(None if area.from_way() else area.orig_id())
                    yield from self._area(area, factory, lost)
        lost[INCOMPLETE_AREAS] += len(multipolygons)

    def _multipolygons(self, path: Path, keys: osmium.filter.KeyFilter,
                       areas: osmium.area.AreaManager) -> set[int]:
        """Prepare `areas` for the ways, and return the ids of the relations to be completed."""
        with osmium.io.Reader(str(path), RELATION) as reader:
            osmium.apply(reader, keys, areas.first_pass_handler())
        relations = _objects(path, RELATION, keys)
        return {relation.id for relation in relations
                if relation.tags.get("type") in ("multipolygon", "boundary")
                and self._tags(relation)}

    def _tags(self, element: osmium.osm.OSMObject) -> list[tuple[int, str]]:
        tags = element.tags
        return self.table.matches((key, tags[key]) for key in self.table.rule_of_key
                                  if key in tags)

    def _way(self, way: osmium.osm.Way, factory: osmium.geom.WKBFactory,
             lost: Counter[str]) -> Iterator[_Feature]:
        tags, area = self._tags(way), way.tags.get("area")
        if way.is_closed() and len(way.nodes) >= _LEAST_NODES:
            lines = [(rule, value) for rule, value in tags if self._is_widened(rule)
                     and area != "yes"]
            # a ring tagged as no area
            lost["lines"] += len(tags) - len(lines) if area == "no" else 0
            tags = lines
        if not tags:
            return
        try:
            if way.nodes[0].location.valid():  # osmium itself checks the others
                yield factory.create_linestring(way), tags
                return
        except (RuntimeError, osmium.InvalidLocationError):  # also if all nodes are at one point
            pass
        lost[INCOMPLETE_WAYS] += 1
        stretches = _known_stretches(way)
        if stretches is not None:
            yield stretches, tags

    def _area(self, area: osmium.osm.Area, factory: osmium.geom.WKBFactory,
              lost: Counter[str]) -> Iterator[_Feature]:
        tags = self._tags(area)
        if area.from_way() and area.tags.get("area") != "yes":
            tags = [(rule, value) for rule, value in tags if not self._is_widened(rule)]
        if not tags:
            return
        try:
            binary = factory.create_multipolygon(area)
        except (RuntimeError, osmium.InvalidLocationError):
            lost[INCOMPLETE_AREAS] += 1
            return
        yield binary, tags

    def _is_widened(self, rule: int) -> bool:
        return self.table.rules[rule].lines == "buffer"


def _objects(path: Path, kinds: osmium.osm.osm_entity_bits,
             *handlers: object) -> Iterator[osmium.osm.OSMObject]:
    with osmium.io.Reader(str(path), kinds) as reader:
        yield from osmium.OsmFileIterator(reader, *handlers)


def _in_order(path: Path, folder: Path) -> Path:
    """Return the file, or a copy in `folder` in the order that areas need; editors write any."""
    with osmium.io.Reader(str(path), NOTHING) as reader:
        if reader.header().get("sorting") == "Type_then_ID":
            return path
    ranks = ((element.is_relation(), element.id > 0, abs(element.id))
             for element in _objects(path, WAY | RELATION))
    if all(earlier < later for earlier, later in itertools.pairwise(ranks)):
        return path
    merged = osmium.MergeInputReader()
    merged.add_file(str(path))
    with osmium.SimpleWriter(str(folder / "sorted.osm.pbf")) as writer:
        merged.apply(writer, simplify=True)
    return folder / "sorted.osm.pbf"


def _known_stretches(way: osmium.osm.Way) -> str | None:
    """Return the stretches of a way without the nodes that a clipped file lacks, as WKB."""
    groups = itertools.groupby(way.nodes, lambda node: node.location.valid())
    runs = [[(node.lon, node.lat) for node in run] for known, run in groups if known]
    lines = [shapely.LineString(run) for run in runs if len(run) > 1]
    return shapely.to_wkb(shapely.MultiLineString(lines), hex=True) if lines else None
