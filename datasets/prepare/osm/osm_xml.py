"""The elements of `.osm` files (XML), as editors, osmium and the Overpass API write them.

The file is read with expat, without entities and without anything from elsewhere. What one element
lacks ends nothing: it is left to whoever builds shapes.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from datasets.prepare.osm.elements import Element, element_id, place_of, tag_text
from datasets.prepare.osm.unpacking import UNPACK_ERRORS, unpacked
from utils.errors import PrepareError, one_line

READ_ERRORS = (expat.ExpatError, ValueError, LookupError, *UNPACK_ERRORS)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<|\xff\xfe|\xfe\xff")
_KINDS = {"node": "n", "way": "w", "relation": "r"}


def xml_elements(path: Path, keys: frozenset[str] | None) -> Iterator[Element]:
    """Yield the elements of a file in its order, with those of their tags whose key is in `keys`;
    None: with all.

    Raises:
        PrepareError: the file is a web page, holds changes or an incomplete answer, or declares
            entities.
        READ_ERRORS: the file is damaged.
    """
    parser = _Parser(path, keys)
    for number, chunk in enumerate(unpacked(path)):
        if not number and not _XML.match(chunk):
            raise ValueError(f"it holds no XML, but begins with {chunk[:12]!r}")
        parser.feed(chunk)
        yield from parser.finished()
    parser.feed(b"", last=True)
    yield from parser.finished()


class _Parser:
    """Elements collected from the events of expat."""

    def __init__(self, path: Path, keys: frozenset[str] | None):
        self.path, self.keys = path, keys
        self.depth, self.remark = 0, ""
        self.element: Element | None = None  # the one that is open
        self.places: list | None = None      # of the open member
        self.ready: list[Element] = []
        self.expat = expat.ParserCreate()
        self.expat.buffer_text = True
        self.expat.StartElementHandler, self.expat.EndElementHandler = self.start, self.end
        self.expat.StartDoctypeDeclHandler = self.doctype

    def feed(self, data: bytes, last: bool = False) -> None:
        self.expat.Parse(data, last)

    def finished(self) -> list[Element]:
        ready, self.ready = self.ready, []
        return ready

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self.depth == 0:
            self.root(name)
        elif self.depth == 1:
            self.open(name, attributes)
        elif self.element is not None:
            self.inside(name, attributes)
        self.depth += 1

    def end(self, name: str) -> None:
        self.depth -= 1
        if self.depth == 1 and self.element is not None:
            self.ready.append(self.element)
            self.element = self.places = None
        elif name == "member":
            self.places = None
        elif self.depth == 1 and name == "remark":
            self.expat.CharacterDataHandler = None
            refuse_remark(self.path, self.remark)

    def root(self, name: str) -> None:
        if name.lower() == "html":
            self.refuse_page()
        if name == "osmChange":
            raise changes(self.path)
        if name != "osm":
            raise PrepareError(f"{self.path}: its outermost element is <{name[:60]}>, expected "
                               "<osm>. Pass an extract of OpenStreetMap, such as an .osm.pbf.")

    def doctype(self, name: str, *_: object) -> None:
        if name.lower() == "html":
            self.refuse_page()
        raise PrepareError(f"{self.path}: declares a document type ({name[:60]}), which files of "
                           "OpenStreetMap do not need and which may hide other files; remove the "
                           "line that begins with <!DOCTYPE.")

    def refuse_page(self) -> None:
        raise PrepareError(f"{self.path}: is a web page, most likely the error of a busy server, "
                           "expected OpenStreetMap data. Open it to read the reason, and ask "
                           "the server again.")

    def open(self, name: str, attributes: dict[str, str]) -> None:
        if kind := _KINDS.get(name):
            element = self.element = Element(
                kind, element_id(attributes.get("id")), element_id(attributes.get("version")) or 0,
                attributes.get("visible") != "false" and attributes.get("action") != "delete")
            if kind == "n":
                element.location = place_of(attributes.get("lon"), attributes.get("lat"))
            elif kind == "w":
                element.nodes = []
            else:
                element.members = []
        elif name == "action":  # a diff with old and new states
            raise changes(self.path)
        elif name == "remark":
            self.remark = ""
            self.expat.CharacterDataHandler = self.text

    def inside(self, name: str, attributes: dict[str, str]) -> None:
        element = self.element
        if name == "tag":
            key = attributes.get("k", "")
            if self.keys is None or key in self.keys:
                element.tags[tag_text(key)] = tag_text(attributes.get("v", ""))
        elif name == "nd":
            place = place_of(attributes.get("lon"), attributes.get("lat"))
            if self.places is not None:
                self.places.append(place)
            elif element.kind == "w":
                element.nodes.append(place or element_id(attributes.get("ref")))
        elif name == "member" and element.kind == "r" and attributes.get("type") == "way":
            self.places = []
            element.members.append((element_id(attributes.get("ref")), attributes.get("role", ""),
                                    self.places))
        elif name == "center":
            element.centre = True

    def text(self, data: str) -> None:
        self.remark += data[:1000 - len(self.remark)]


def changes(path: Path) -> PrepareError:
    """Return the error of a file that holds changes."""
    return PrepareError(f"{path}: holds changes of OpenStreetMap, not its objects. Pass the "
                        "extract with the changes applied (osmium apply-changes), or an extract "
                        "of a later day.")


class IncompleteAnswer(PrepareError):
    """The Overpass API stopped before its answer was complete; `remark` is what it says."""

    def __init__(self, path: Path, remark: str):
        self.remark = one_line(ValueError(remark))
        super().__init__(f"{path}: an incomplete answer: the Overpass API stopped with "
                         f"'{self.remark}'. Ask for a smaller area, or for more time and memory "
                         "with [timeout:900][maxsize:1073741824] in the query's first line.")


def refuse_remark(path: Path, remark: str) -> None:
    """Raise IncompleteAnswer if a remark says so."""
    if "error" in remark.casefold():
        raise IncompleteAnswer(path, remark)
