"""One node, way or relation as its file states it, before osmium builds shapes from it."""

from dataclasses import dataclass, field

Place = tuple[float, float]  # longitude, latitude
Member = tuple[int | None, str, list[Place | None]]  # a way's id, its role, places if stated

_MOST_ID = 1 << 59   # ids of OpenStreetMap and of editors lie below, by far
_PLACES = 1 << 60    # ids of places begin here
MISSING = _PLACES - 1  # id of no node
_UNIT = 10_000_000   # of a degree, as OpenStreetMap rounds
_LONGEST = 255       # characters of a value, OpenStreetMap's limit


@dataclass(slots=True)
class Element:
    """A node, way or relation, with attributes that osmium's writer takes."""

    kind: str  # "n", "w" or "r"
    id: int | None
    version: int = 0
    visible: bool = True
    location: Place | None = None  # of a node
    tags: dict[str, str] = field(default_factory=dict)
    nodes: list[int | Place | None] | None = None  # of a way: ids, or places
    members: list[Member] | None = None  # the ways of a relation
    centre: bool = False  # whether the file states a centre in place of a shape


def element_id(value: object) -> int | None:
    """Return an id as a positive number; an editor's negative id gets a range of its own. Return
    None if it is no id."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not 1 - _MOST_ID < number < _MOST_ID:
        return None
    return number if number >= 0 else _MOST_ID - number


def place_of(lon: object, lat: object) -> Place | None:
    """Return a place, or None if it is none on Earth."""
    try:
        place = float(lon), float(lat)
    except (TypeError, ValueError, OverflowError):
        return None
    return place if -180 <= place[0] <= 180 and -90 <= place[1] <= 90 else None


def place_id(place: Place) -> int:
    """Return the id of the node that stands for a place: equal for equal places."""
    lon, lat = (round((value + half) * _UNIT) for value, half in zip(place, (180, 90),
                                                                     strict=True))
    return _PLACES + (lon << 31) + lat


def tag_text(value: str) -> str:
    """Return a tag's key or value as osmium can store it."""
    return value[:_LONGEST].replace("\0", "").encode("utf-8", "replace").decode()
