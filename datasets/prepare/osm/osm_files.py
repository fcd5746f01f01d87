"""Tagged features of OpenStreetMap's own files: `.osm.pbf`, `.osm` and its compressed forms, and
the JSON of the Overpass API.

The file, rewritten where it is no plain extract (`rewriting.py`), is read kind by kind: relations
(which ways form multipolygons), nodes (their locations go to an index on disk of 16 bytes each,
enough for a country), ways (with the areas they complete).

A closed way is also an area of OSM unless it has area=no. The key's rule decides which of the two
is taken: a key whose lines are widened takes the way, and the area only if it has area=yes or is a
multipolygon relation; any other key takes the area. So nothing is counted twice.

A feature is a node, way or relation with a key of the table; a closed way whose tags are shared out
between way and area is two. Each is yielded, has no value that the table takes, or is lost for a
reason.
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
from osmium.osm import NODE, RELATION, WAY
from pyproj import CRS

from datasets.prepare.geo.crs import DEGREES, Bounds
from datasets.prepare.osm.element_ids import element_key
from datasets.prepare.osm.osm_xml import READ_ERRORS, changes
from datasets.prepare.osm.overpass_json import is_overpass_json
from datasets.prepare.osm.rewriting import NO_TEXT, Extract, extract_of, objects, opened
from datasets.prepare.osm.tags import LayerTable, Tagged
from datasets.prepare.osm.unpacking import ENDINGS
from utils.errors import PrepareError, one_line

SUFFIXES = (".pbf", ".o5m", *(kind + suffix for kind in (".osm", ".osh")
                              for suffix in ("", *ENDINGS)))
CHANGES = (".osc.pbf", *(".osc" + suffix for suffix in ("", *ENDINGS)))
CHUNK = 50_000  # features held at once
NO_PLACE = "nodes without a place on Earth"
EMPTY_WAYS, SHORT_WAYS = "ways without nodes", "ways of a single node"
INCOMPLETE_WAYS = "ways whose nodes are not in the file"
INCOMPLETE_AREAS = "incomplete or broken multipolygons"
BROKEN_RINGS = "closed ways that are no outline"
NO_AREA = "lines"  # closed ways tagged as no area
NO_MULTIPOLYGON = "relations that are no multipolygons"
_WHOLE_WAYS = ("cut the extract with complete ways (osmium extract --strategy smart), or end the "
               "query of the Overpass API with 'out geom;'")
REMEDIES = dict.fromkeys((EMPTY_WAYS, SHORT_WAYS, INCOMPLETE_WAYS, INCOMPLETE_AREAS),
                         _WHOLE_WAYS) | {
    NO_PLACE: "get the file again; latitudes end at 90 and longitudes at 180 degrees",
    BROKEN_RINGS: "mend them in an editor such as JOSM, whose validator finds them",
}
_LEAST_NODES = 4  # of a closed way that is an area

_Tag = tuple[int, str, str]  # rule, value and text
# well-known binary in hexadecimal, its tags, `element_ids.element_key`
_Feature = tuple[str | None, list[_Tag], int]
_BUILD_ERRORS = (RuntimeError, osmium.InvalidLocationError)


def is_osm_file(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES + CHANGES) or is_overpass_json(path)


@dataclass
class _Tally:
    """Features beside those that are yielded."""

    without: int = 0  # whose values the table does not take
    partial: int = 0  # yielded in part
    lost: Counter[str] = field(default_factory=Counter)  # by reason


@dataclass
class OsmFile:
    """One file of OpenStreetMap, a source of features like `vector_files.TaggedLayer`."""

    path: Path
    table: LayerTable
    scratch: Path | None = None  # folder of temporary files; None: the system's
    count: int = 0  # features seen
    _boxes: list[np.ndarray] = field(default_factory=list)  # [4] of each chunk read

    @property
    def crs(self) -> CRS:
        return DEGREES

    def bounds(self) -> Bounds | None:
        """Return the bounds of all features read so far; None if there is none."""
        if not self._boxes:
            return None
        return tuple(shapely.total_bounds(shapely.box(*np.transpose(self._boxes))).tolist())

    def find_bounds(self) -> None:
        """Let `bounds` return what a `.osm.pbf` states of itself, as an extract of a place does;
        read any other file for it. Raise PrepareError as `chunks` does."""
        if self.path.suffix.lower() == ".pbf":
            try:
                with osmium.io.Reader(str(self.path), osmium.osm.NOTHING) as reader:
                    box = reader.header().box()
            except (RuntimeError, *READ_ERRORS) as error:
                raise self._unreadable(error) from error
            if box.valid():
                low, high = box.bottom_left, box.top_right
                self._boxes = [np.array([low.lon, low.lat, high.lon, high.lat])]
        if not self._boxes:
            for _ in self.chunks(None):
                pass

    def chunks(self, window: Bounds | None) -> Iterator[Tagged]:
        """Yield all features: nodes, ways, areas as they complete, each in the file's order.
        `window` is not used, as the file has no index. Raise PrepareError if the file is damaged
        or is no extract, or the disk has no room for the index of its nodes."""
        if self.path.name.lower().endswith(CHANGES):
            raise changes(self.path)
        tally = _Tally()
        features = self._features(tally)
        try:
            while chunk := list(itertools.islice(features, CHUNK)):
                yield self._tagged(chunk, tally)
                vars(tally).update(vars(_Tally()))
        except (RuntimeError, *READ_ERRORS) as error:  # osmium's are of many kinds
            raise self._unreadable(error) from error
        rest = self._tagged([], tally)
        if rest.read:
            yield rest

    def _tagged(self, chunk: list[_Feature], tally: _Tally) -> Tagged:
        wkb = np.array([binary for binary, _, _ in chunk], dtype=object)
        rows = [tag for _, tags, _ in chunk for tag in tags]
        rule = np.array([rule for rule, _, _ in rows], dtype=np.int64)
        value, text = (np.array([row[column] for row in rows], dtype=object)
                       for column in (1, 2))
        owner = np.repeat(np.arange(len(chunk)), [len(tags) for _, tags, _ in chunk])
        box = shapely.total_bounds(shapely.from_wkb(wkb)) if chunk else np.full(4, np.nan)
        if np.isfinite(box).all():
            self._boxes.append(box)
        read = len(chunk) + tally.without + tally.lost.total()
        self.count += read
        elements = np.array([element for _, _, element in chunk], dtype=np.int64)
        return Tagged(read, wkb, owner, rule, value, text, +tally.lost, tally.partial,
                      elements=elements)

    def _unreadable(self, error: Exception) -> PrepareError:
        reason = one_line(error)
        if "No space left" in reason:
            return PrepareError(f"{self.scratch or tempfile.gettempdir()}: the disk is full, and "
                                f"{self.path} needs room for temporary files ({reason}). Free "
                                "space, or choose another out=.")
        return PrepareError(f"{self.path}: not a readable OpenStreetMap file ({reason}). "
                            "It may be damaged or cut short: get the file again; its name must "
                            f"end as its format does ({', '.join(SUFFIXES)}).")

    def _features(self, tally: _Tally) -> Iterator[_Feature]:
        keys = osmium.filter.KeyFilter(*self.table.rule_of_key)
        areas = osmium.area.AreaManager()
        with tempfile.TemporaryDirectory(prefix="rose-osm-", dir=self.scratch) as folder:
            needed = frozenset(self.table.rule_of_key) | {"type", "area"}
            extract = extract_of(self.path, Path(folder),
                                 None if self.table.reads_all else needed,
                                 lambda tags: bool(self.table.matches(tags.items())))
            path = extract.path
            tally.lost.update(extract.lost)
            multipolygons = self._multipolygons(path, keys, areas, tally)
            locations = []
            if not extract.placed:
                index = osmium.index.create_map(f"sparse_file_array,{folder}/locations")
                locations = [osmium.NodeLocationsForWays(index)]
                locations[0].ignore_errors()  # ways with missing nodes are counted below
            factory = osmium.geom.WKBFactory()
            for node in objects(path, NODE, *locations, keys):
                if tags := self._tags(node, tally):
                    if node.location.valid():
                        yield factory.create_point(node), tags, element_key("n", node.id)
                    else:
                        tally.lost[NO_PLACE] += 1
            complete, rings, incomplete = osmium.BufferIterator(keys), set(), False
            ways = objects(path, WAY, *locations, areas.second_pass_to_buffer(complete), keys)
            for way in itertools.chain(ways, [None]):  # None: areas that the end completes
                if way is not None:
                    yield from self._way(way, factory, rings, tally)
                    incomplete |= (INCOMPLETE_WAYS in tally.lost) or (EMPTY_WAYS in tally.lost)
                for area in complete:
                    (rings if area.from_way() else multipolygons).discard(area.orig_id())
                    yield from self._area(area, factory, tally)
        tally.lost[INCOMPLETE_WAYS] += len(rings)
        tally.lost[INCOMPLETE_AREAS] += len(multipolygons)
        if extract.centres and (incomplete or rings or multipolygons):
            raise self._centres(extract)

    def _centres(self, extract: Extract) -> PrepareError:
        return PrepareError(f"{self.path}: states only the centres of {extract.centres} ways or "
                            "relations, not their shapes. Ask the Overpass API again, with "
                            "'out geom;' in place of 'out center;'.")

    def _multipolygons(self, path: Path, keys: osmium.filter.KeyFilter,
                       areas: osmium.area.AreaManager, tally: _Tally) -> set[int]:
        """Prepare `areas` for the ways, and return the ids of the relations to be completed."""
        with opened(path, RELATION) as reader:
            osmium.apply(reader, keys, areas.first_pass_handler())
        expected = set()
        for relation in objects(path, RELATION, keys):
            if not self._tags(relation, tally):
                continue
            if relation.tags.get("type") in ("multipolygon", "boundary"):
                expected.add(relation.id)
            else:
                tally.lost[NO_MULTIPOLYGON] += 1
        return expected

    def _tags(self, element: osmium.osm.OSMObject, tally: _Tally | None = None) -> list[_Tag]:
        """Return the tags that a rule takes; count in `tally`, if given, an element without."""
        tags, tally = element.tags, tally or _Tally()
        try:
            matches = self.table.matches((key, tags[key]) for key in self.table.rule_of_key
                                         if key in tags)
            everything = ([(tag.k, tag.v) for tag in tags] if matches and self.table.reads_all
                          else ())
        except UnicodeDecodeError:
            tally.lost[NO_TEXT] += 1
            return []
        tally.without += not matches
        return [(rule, value, self.table.text(rule, value, everything))
                for rule, value in matches]

    def _way(self, way: osmium.osm.Way, factory: osmium.geom.WKBFactory, rings: set[int],
             tally: _Tally) -> Iterator[_Feature]:
        """Yield a way as a line; add it to `rings` if an area is to come of it."""
        tags = self._tags(way, tally)
        if tags and not len(way.nodes):
            tally.lost[EMPTY_WAYS] += 1
            return
        if tags and way.is_closed() and len(way.nodes) >= _LEAST_NODES:
            area = way.tags.get("area")
            lines = [tag for tag in tags if self._is_widened(tag[0]) and area != "yes"]
            if len(lines) < len(tags):
                if area == "no":
                    tally.lost[NO_AREA] += 1
                else:
                    rings.add(way.id)
            tags = lines
        if not tags:
            return
        try:
            if way.nodes[0].location.valid():  # osmium itself checks the others
                yield factory.create_linestring(way), tags, element_key("w", way.id)
                return
        except _BUILD_ERRORS:  # also if all nodes are at one point
            pass
        stretches, whole = _known_stretches(way)
        if stretches is None:
            tally.lost[SHORT_WAYS if whole else INCOMPLETE_WAYS] += 1
        else:
            tally.partial += not whole
            yield stretches, tags, element_key("w", way.id)

    def _area(self, area: osmium.osm.Area, factory: osmium.geom.WKBFactory,
              tally: _Tally) -> Iterator[_Feature]:
        tags = self._tags(area)
        if area.from_way() and area.tags.get("area") != "yes":
            tags = [tag for tag in tags if not self._is_widened(tag[0])]
        if not tags:
            return
        try:
            binary = factory.create_multipolygon(area)
        except _BUILD_ERRORS:
            tally.lost[BROKEN_RINGS if area.from_way() else INCOMPLETE_AREAS] += 1
            return
        yield binary, tags, element_key("w" if area.from_way() else "r", area.orig_id())

    def _is_widened(self, rule: int) -> bool:
        return self.table.rules[rule].lines == "buffer"


def _known_stretches(way: osmium.osm.Way) -> tuple[str | None, bool]:
    """Return the stretches of a way without the nodes that a clipped file lacks, as WKB, and
    whether it lacks none."""
    groups = [(known, list(nodes)) for known, nodes in itertools.groupby(
        way.nodes, lambda node: node.location.valid())]
    runs = [[(node.lon, node.lat) for node in run] for known, run in groups if known]
    lines = [shapely.LineString(run) for run in runs if len(run) > 1]
    return (shapely.to_wkb(shapely.MultiLineString(lines), hex=True) if lines else None,
            all(known for known, _ in groups))
