"""Files of OpenStreetMap as extracts that osmium builds shapes from: a PBF of the latest version
of each element, ordered by kind and id, with ids above 0.

XML and JSON are always rewritten, as they may come from an editor (new elements have negative ids,
removed ones `action='delete'`) or state places on ways and members (`out geom;`). A PBF is
rewritten only if it is not such an extract: a history, one with negative ids, or without order.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import osmium
from osmium.osm import NODE, NOTHING, RELATION, WAY, mutable

from datasets.prepare.osm.elements import MISSING, Element, element_id, place_id
from datasets.prepare.osm.osm_xml import xml_elements
from datasets.prepare.osm.overpass_json import SUFFIX as JSON_SUFFIX
from datasets.prepare.osm.overpass_json import json_elements

BINARY = (".pbf", ".o5m")
NO_ELEMENTS = "entries without an id"
NO_TEXT = "features whose tags are no text"
_ALL = NODE | WAY | RELATION
_ROLES = ("outer", "inner")
_RANKS = {"n": 0, "w": 1, "r": 2}


@dataclass
class Extract:
    """A file that osmium builds shapes from.

    Attributes:
        path: of the file, or of a temporary one.
        placed: whether its ways carry the places of their nodes.
        centres: number of ways and relations of which the source states a centre.
        lost: elements that could not be taken over, by reason.
    """

    path: Path
    placed: bool = False
    centres: int = 0
    lost: Counter[str] = field(default_factory=Counter)


def objects(path: Path, kinds: osmium.osm.osm_entity_bits,
            *handlers: object) -> Iterator[osmium.osm.OSMObject]:
    """Yield the objects of a file through handlers and filters of osmium."""
    with opened(path, kinds) as reader:
        yield from osmium.OsmFileIterator(reader, *handlers)


def opened(path: Path, kinds: osmium.osm.osm_entity_bits) -> osmium.io.Reader:
    """Return a reader of a file, as the format of its ending; by a whole path, since osmium takes
    the beginning of others for the address of a server."""
    return osmium.io.Reader(osmium.io.File(str(path.resolve()), path.suffix.lower()[1:]), kinds)


def extract_of(path: Path, folder: Path, keys: frozenset[str] | None,
               counts: Callable[[dict[str, str]], bool]) -> Extract:
    """Return the file as an extract, in `folder` unless it is one.

    Args:
        keys: of the tags that are needed; None: all.
        counts: whether an element with these tags is a feature, to be counted if lost.
    """
    if not path.name.lower().endswith(BINARY):
        return _rewritten(path, folder, keys, counts)
    with opened(path, NOTHING) as reader:
        header = reader.header()
        ordered = header.get("sorting") == "Type_then_ID"
        history = header.has_multiple_object_versions
        placed = "LocationsOnWays" in (header.get(f"pbf_optional_feature_{n}") for n in range(9))
    gone, lost = {}, Counter()
    if _has_editor_ids(path, ordered):
        path = _renumbered(path, folder / "ids.osm.pbf", gone)
        ordered = False
    if not ordered:
        order = _Order()
        for element in objects(path, WAY | RELATION):
            order.add(element.type_str(), element.id)
        path = path if order.kept else _sorted(path, folder / "sorted.osm.pbf")
        history |= not order.strict
    if history or gone:
        path = _latest(path, folder / "latest.osm.pbf", gone, keys, lost)
    return Extract(path, placed, lost=lost)


def _rewritten(path: Path, folder: Path, keys: frozenset[str] | None,
               counts: Callable[[dict[str, str]], bool]) -> Extract:
    read = json_elements if path.suffix.lower() == JSON_SUFFIX else xml_elements
    extract, gone = Extract(folder / "elements.osm.pbf"), {}
    with osmium.SimpleWriter(str(extract.path)) as writer:
        target = _Writer(writer, extract, gone, counts)
        for element in read(path, keys):
            target.add(element)
    if not target.order.kept:
        extract.path = _sorted(extract.path, folder / "sorted.osm.pbf")
    if not target.order.strict or gone:
        extract.path = _latest(extract.path, folder / "latest.osm.pbf", gone, keys, extract.lost)
    return extract


@dataclass
class _Order:
    """Whether elements come by kind and id, `strict` if none comes twice."""

    kept: bool = True
    strict: bool = True
    _last: tuple[int, int] = (0, -1)

    def add(self, kind: str, name: int) -> None:
        rank = _RANKS[kind], name
        if rank <= self._last:
            self.strict = False
            self.kept = self.kept and rank == self._last
        self._last = rank


@dataclass
class _Writer:
    """Writes parsed elements to a PBF."""

    writer: osmium.SimpleWriter
    extract: Extract
    gone: dict[tuple[str, int], int]  # version of removed elements
    counts: Callable[[dict[str, str]], bool]
    places: set[int] = field(default_factory=set)  # ids of nodes that stand for places
    order: _Order = field(default_factory=_Order)
    unnamed: Iterator[int] = field(default_factory=lambda: itertools.count(-(1 << 58), 1))

    def add(self, element: Element | None) -> None:
        if element is None or element.id is None:
            if element is None or self.counts(element.tags):
                self.extract.lost[NO_ELEMENTS] += 1
        elif not element.visible:
            _remove(self.gone, element.kind, element.id, element.version)
        elif element.kind == "n":
            self.order.add("n", element.id)
            self.writer.add_node(element)
        else:
            self.extract.centres += element.centre and self.counts(element.tags)
            if element.kind == "w":
                self.way(element.id, element.version, element.nodes, element.tags)
            else:
                self.relation(element)

    def way(self, name: int, version: int, nodes: list, tags: dict[str, str]) -> None:
        ids = [self.node(node) for node in nodes]
        self.order.add("w", name)
        self.writer.add_way(mutable.Way(id=name, version=version, nodes=ids, tags=tags))

    def relation(self, element: Element) -> None:
        members = []
        for way, role, places in element.members:
            name = element_id(next(self.unnamed)) if way is None else way
            if places:
                self.way(name, 0, places, {})
            members.append(("w", name, role if role in _ROLES else ""))
        self.order.add("r", element.id)
        self.writer.add_relation(mutable.Relation(id=element.id, version=element.version,
                                                  members=members, tags=element.tags))

    def node(self, node: object) -> int:
        """Return the id of a node of a way."""
        if not isinstance(node, tuple):
            return _or_missing(node)
        name = place_id(node)
        if name not in self.places:
            self.places.add(name)
            self.order.add("n", name)
            self.writer.add_node(mutable.Node(id=name, location=node))
        return name


def _remove(gone: dict[tuple[str, int], int], kind: str, name: int, version: int) -> None:
    gone[kind, name] = max(version, gone.get((kind, name), 0))


def _or_missing(name: int | None) -> int:
    return MISSING if name is None else name


def _has_editor_ids(path: Path, ordered: bool) -> bool:
    """Return whether ids are negative; in an ordered file these come first."""
    kinds = (NODE, WAY, RELATION)
    if ordered:
        return any(element.id < 0 for kind in kinds
                   for element in itertools.islice(objects(path, kind), 1))
    return any(element.id < 0 or (element.is_way() and any(node.ref < 0 for node in element.nodes))
               for element in objects(path, WAY | RELATION)) or any(
        element.id < 0 for element in itertools.islice(objects(path, NODE), 1))


def _renumbered(path: Path, target: Path, gone: dict[tuple[str, int], int]) -> Path:
    """Write the file with positive ids."""
    with osmium.SimpleWriter(str(target)) as writer:
        for element in objects(path, _ALL):
            name = element_id(element.id)
            if name is None:
                continue
            if element.deleted:
                _remove(gone, element.type_str(), name, element.version)
            elif element.is_node():
                writer.add_node(mutable.Node(element, id=name))
            elif element.is_way():
                nodes = [_or_missing(element_id(node.ref)) for node in element.nodes]
                writer.add_way(mutable.Way(element, id=name, nodes=nodes))
            else:
                members = [(member.type, _or_missing(element_id(member.ref)), member.role)
                           for member in element.members]
                writer.add_relation(mutable.Relation(element, id=name, members=members))
    return target


def _sorted(path: Path, target: Path) -> Path:
    """Write the file in the order that areas need."""
    merged = osmium.MergeInputReader()
    merged.add_file(str(path.resolve()))
    with osmium.SimpleWriter(str(target)) as writer:
        merged.apply(writer, simplify=False)
    return target


def _latest(path: Path, target: Path, gone: dict[tuple[str, int], int],
            keys: frozenset[str] | None, lost: Counter[str]) -> Path:
    """Write the latest version of each element that was not removed since; of several, the one
    with tags. An answer of the Overpass API holds some twice, once without tags."""
    with osmium.SimpleWriter(str(target)) as writer:
        copies = (_copy(element, keys, lost) for element in objects(path, _ALL))
        for (kind, name), versions in itertools.groupby(copies, lambda copy: (copy[0],
                                                                              copy[1].id)):
            best = max((copy for _, copy in versions),
                       key=lambda copy: (copy.version, bool(copy.tags)))
            if best.visible and gone.get((kind, name), -1) < best.version:
                writer.add(best)
    return target


def _copy(element: osmium.osm.OSMObject, keys: frozenset[str] | None,
          lost: Counter[str]) -> tuple[str, mutable.OSMObject]:
    """Return an element that stays when osmium reads on, and its kind."""
    try:
        tags = (dict(element.tags) if keys is None else
                {key: element.tags[key] for key in keys if key in element.tags})
    except UnicodeDecodeError:
        tags = {}
        lost[NO_TEXT] += 1
    stated = {"id": element.id, "version": element.version, "visible": element.visible,
              "tags": tags}
    if element.is_node():
        place = element.location
        copy = mutable.Node(location=(place.lon, place.lat) if place.valid() else None, **stated)
    elif element.is_way():
        copy = mutable.Way(nodes=[node.ref for node in element.nodes], **stated)
    else:
        copy = mutable.Relation(members=[(member.type, member.ref, member.role)
                                         for member in element.members], **stated)
    return element.type_str(), copy
