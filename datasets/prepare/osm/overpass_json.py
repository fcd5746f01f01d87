"""The elements of the Overpass API's JSON, with shapes (`out geom;`) or with nodes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.prepare.osm.elements import Element, Place, element_id, place_of, tag_text
from datasets.prepare.osm.osm_xml import refuse_remark
from utils.contents import Anything, Fields, Items, Text, read_json
from utils.errors import PrepareError

SUFFIX = ".json"
_ANSWER = Fields({"elements": Items(Anything())}, optional={"remark": Text()})
_KINDS = {"node": "n", "way": "w", "relation": "r"}
_SNIFFED = 1 << 16  # bytes


def is_overpass_json(path: Path) -> bool:
    """Return whether a `.json` file begins as an answer of the Overpass API does; it may also be
    GeoJSON."""
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_SNIFFED)
    return b'"elements"' in head and b'"features"' not in head


def json_elements(path: Path, keys: frozenset[str] | None) -> Iterator[Element | None]:
    """Yield the elements of a file in its order, with those of their tags whose key is in `keys`
    (None: with all); None for an entry that is no element.

    Raises:
        PrepareError: no JSON of the Overpass API, or an incomplete answer.
    """
    answer = read_json(path, _ANSWER, "ask the Overpass API again, with [out:json] and out geom;",
                       PrepareError)
    refuse_remark(path, answer.get("remark", ""))
    for item in answer["elements"]:
        if not isinstance(item, dict):
            yield None
        elif (kind := item.get("type")) in ("node", "way", "relation"):
            yield _element(_KINDS[kind], item, keys)


def _element(kind: str, item: dict[str, Any], keys: frozenset[str] | None) -> Element:
    tags = item.get("tags")
    element = Element(kind, element_id(item.get("id")), element_id(item.get("version")) or 0,
                      item.get("visible") is not False, centre="center" in item)
    element.tags = {tag_text(key): tag_text(_text(value)) for key, value in tags.items()
                    if keys is None or key in keys} if isinstance(tags, dict) else {}
    if kind == "n":
        element.location = _place(item)
    elif kind == "w":
        ids, places = _list(item.get("nodes")), _list(item.get("geometry"))
        ids += [None] * (len(places) - len(ids))
        places = [_place(place) for place in places] + [None] * (len(ids) - len(places))
        element.nodes = [place or element_id(name)
                         for name, place in zip(ids, places, strict=True)]
    else:
        element.members = [
            (element_id(member.get("ref")), _text(member.get("role")),
             [_place(place) for place in _list(member.get("geometry"))])
            for member in _list(item.get("members"))
            if isinstance(member, dict) and member.get("type") == "way"]
    return element


def _list(value: Any) -> list:
    return list(value) if isinstance(value, list) else []


def _place(value: Any) -> Place | None:
    return place_of(value.get("lon"), value.get("lat")) if isinstance(value, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
