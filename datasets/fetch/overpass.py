"""OSM objects of a box from a server of the Overpass API, in pieces that are asked for one by one.

overpy, overpass and osmnx were weighed: they keep an answer as objects of their own in memory and
lose what our reader needs, so the shared session (`remote/http.py`) streams it to disk.

The query asks for the keys of the table of layers, and for `out geom;`: ways and multipolygons come
whole with the places of their nodes, also those that only cross the box or lie around it. A piece
that is too much for the server is asked for in four parts. Pieces overlap in what crosses their
sides, and each element is written once.
"""

import heapq
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError

from datasets.bbox import BBox
from datasets.prepare.osm.osm_xml import IncompleteAnswer, xml_elements
from datasets.prepare.osm.tags import LayerTable
from datasets.remote.http import Http, RemoteError
from datasets.remote.urls import short_url
from utils.errors import PrepareError, one_line
from utils.files import digest_of, replacing

ALTERNATIVE = "https://overpass.kumi.systems/api/interpreter"
TIMEOUT_S = 180
MOST_KM2 = 100  # of a piece
LEAST_KM2 = 1   # of a piece that is divided further
_KINDS = ("node", "way", "relation")
_XML = ("application/osm3s+xml", "application/xml", "text/xml")
_AREAS = '["type"~"^(multipolygon|boundary)$"]'
_OTHER = (f"pass overpass_url= another server, such as {ALTERNATIVE}, or osm= the URL of an "
          "extract (.osm.pbf)")

Row = tuple[int, int, bytes]  # rank of the kind, id, XML


@dataclass(frozen=True)
class Answers:
    """What a server gave.

    Attributes:
        elements: nodes, ways and relations in the file.
        as_of: when the server's data were as they are, "" if it does not say.
    """

    elements: int
    as_of: str


def query_of(box: BBox, table: LayerTable) -> str:
    """Return the query for the objects of the table's keys in a box, or around it."""
    place = f"({box.south:.7f},{box.west:.7f},{box.north:.7f},{box.east:.7f})"
    middle = f"{(box.south + box.north) / 2:.7f},{(box.west + box.east) / 2:.7f}"
    lines = []
    for rule in table.rules:
        key = f"[{json.dumps(rule.key, ensure_ascii=False)}]"
        if rule.radius_m is not None:
            lines.append(f"  node{key}{place};")
        lines += [f"  way{key}{place};", f"  way(pivot.around){key};",
                  f"  relation{key}{_AREAS}{place};", f"  relation(pivot.around){key}{_AREAS};"]
    return "\n".join([f"[out:xml][timeout:{TIMEOUT_S}];", f"is_in({middle})->.around;",
                      "(", *lines, ");", "out geom;"])


def pieces_of(box: BBox, most_km2: float = MOST_KM2) -> list[BBox]:
    """Return boxes of at most `most_km2` and about square that cover a box, row by row."""
    middle = math.radians((box.south + box.north) / 2)
    side = math.sqrt(most_km2) / 111.7  # degrees of latitude; a degree is never longer
    rows = math.ceil((box.north - box.south) / side)
    columns = math.ceil((box.east - box.west) * math.cos(middle) / side)
    return _divided(box, columns, rows)


def _divided(box: BBox, columns: int, rows: int) -> list[BBox]:
    x = [box.west + (box.east - box.west) * step / columns for step in range(columns)] + [box.east]
    y = [box.south + (box.north - box.south) * step / rows for step in range(rows)] + [box.north]
    return [BBox(west, south, east, north) for south, north in itertools.pairwise(y)
            for west, east in itertools.pairwise(x)]


def fetch_overpass(http: Http, url: str, box: BBox, table: LayerTable, target: Path, folder: Path,
                   progress: Callable[[int], object] = lambda done: None) -> Answers:
    """Write the objects of a box to `target`, an .osm file of nodes, ways and relations by id.

    Args:
        url: of the server's interpreter.
        folder: where answers wait; a later call asks only for the others.
        progress: receives the number of pieces that are there.

    Raises:
        PrepareError: the server refuses, fails, or has nothing in the box.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces = pieces_of(box)
    files: list[Path] = []
    for number, piece in enumerate(pieces, start=1):
        files += _Pieces(http, url, table, folder).fetch(piece)
        progress(number)
    with replacing(target) as temporary:
        count = _merge(files, temporary)
        if not count:
            raise PrepareError(f"{short_url(url)}: has no object with a key of "
                               f"{table.path.name} in {box}, expected some; look at bbox=")
    return Answers(count, min(filter(None, map(_as_of, files)), default=""))


@dataclass
class _Pieces:
    http: Http
    url: str
    table: LayerTable
    folder: Path

    def fetch(self, box: BBox) -> list[Path]:
        """Return the files of a piece's answers, fetched unless they are there."""
        query = query_of(box, self.table)
        path = self.folder / f"{digest_of(query)[:24]}.osm"
        divided = path.with_suffix(".divided")
        if not path.is_file() and not divided.is_file():
            try:
                self._ask(query, path)
            except IncompleteAnswer as stop:
                if not self._is_too_much(stop.remark) or box.area_km2 < LEAST_KM2:
                    raise PrepareError(
                        f"{short_url(self.url)}: the server stopped with '{stop.remark}' at "
                        f"the objects of {box} ({box.area_km2:.2g} km2), so its answer is not "
                        f"whole and was left out. Run the same command later, or {_OTHER}."
                    ) from stop
                divided.touch()
        if path.is_file():
            return [path]
        return [file for part in _divided(box, 2, 2) for file in self.fetch(part)]

    def _is_too_much(self, remark: str) -> bool:
        return "timed out" in remark.lower() or "memory" in remark.lower()

    def _ask(self, query: str, path: Path) -> None:
        """Fetch the answer to a query; nothing is kept of one that is not whole."""
        unchecked = path.with_suffix(".xml")
        try:
            self.http.download(self.url, unchecked, data={"data": query}, kinds=_XML)
            _check_order(unchecked)
            unchecked.replace(path)
        except IncompleteAnswer:
            raise
        except RemoteError as error:
            raise RemoteError(f"{str(error).rstrip('.')}; or {_OTHER}", error.status) from error
        except (PrepareError, ExpatError, ValueError) as error:
            reason = one_line(ValueError(str(error).replace(f"{unchecked}: ", "")))
            raise PrepareError(f"{short_url(self.url)}: the answer is no whole OpenStreetMap "
                               f"data ({reason}). Run the same command again, or {_OTHER}."
                               ) from error
        finally:
            unchecked.unlink(missing_ok=True)


def _check_order(path: Path) -> None:
    """Read an answer to its end; raise ValueError if its elements do not come by kind and id."""
    last = (0, -1)
    for element in xml_elements(path, frozenset()):
        this = "nwr".index(element.kind), -1 if element.id is None else element.id
        if this < last:
            raise ValueError("its elements are not ordered by kind and id")
        last = this


def _merge(files: Sequence[Path], target: Path) -> int:
    """Write each element of the files once, by kind and id; return how many there are."""
    count = 0
    with target.open("wb") as out:
        out.write(b'<?xml version="1.0" encoding="UTF-8"?>\n<osm version="0.6" generator="rose">\n'
                  b"<note>The data included in this document is from www.openstreetmap.org. The "
                  b"data is made available under ODbL.</note>\n")
        for _, rows in itertools.groupby(heapq.merge(*map(_rows, files)), lambda row: row[:2]):
            out.write(max((xml for _, _, xml in rows), key=len) + b"\n")  # one may lack tags
            count += 1
        out.write(b"</osm>\n")
    return count


def _rows(path: Path) -> Iterator[Row]:
    """Yield the elements of an answer that was checked."""
    root = None
    for event, element in ElementTree.iterparse(path, ("start", "end")):
        if root is None:
            root = element
        if event == "end" and element.tag in _KINDS:
            element.tail = None
            yield (_KINDS.index(element.tag), int(element.get("id")),
                   ElementTree.tostring(element, encoding="unicode").encode())
            root.clear()


def _as_of(path: Path) -> str:
    """Return the time of the server's data that an answer states."""
    for _, element in ElementTree.iterparse(path):
        if element.tag == "meta":
            return element.get("osm_base", "")[:40]
        if element.tag in _KINDS:
            return ""
    return ""
