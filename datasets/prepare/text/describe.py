"""What a text encoder reads of an OSM object: `text.describe=`.

    value      school                the value of the tag that puts the object into its layer
    key_value  building: school      that tag's key, too
    tags       building: school      all tags of the object, a line each
               amenity: school
               name: ZŠ Studánka
               roof shape: flat

Of `tags`, the classifying tag comes first, then those of other keys in the table of layers, the
name, keys without a colon and keys with one, each group by key. Tags that name or locate an object
and say nothing of what it is are left out (`_PARTS`, `_KEYS`; names in other languages; URLs and
JSON). The text ends before the tag with which it would exceed MOST_TAGS or MOST_CHARACTERS.
"""

from collections.abc import Container, Iterable

DESCRIPTIONS = ("value", "key_value", "tags")
MOST_TAGS, MOST_CHARACTERS = 12, 250
# keys with one of these between their colons: addresses, contacts, identifiers, sources, imports
_PARTS = frozenset((
    "addr", "contact", "phone", "fax", "mobile", "email", "website", "url", "image",
    "mapillary", "wikidata", "wikipedia", "wikimedia_commons", "ref", "osm_id", "osm_way_id",
    "source", "source_ref", "attribution", "note", "fixme", "comment", "created_by",
    "import_uuid", "survey", "check_date", "opening_hours", "tiger", "gnis", "naptan", "ruian",
    "uir_adr"))
# keys of structure, and columns of files about OSM
_KEYS = frozenset((
    "type", "area", "id", "code", "fclass", "version", "timestamp", "changeset", "uid", "user",
    "osm_type", "osm_version", "osm_timestamp", "element", "z_order", "way_area", "f_tag",
    "label", "oneway", "layer"))


def tag_line(key: str, value: str) -> str:
    """Return a tag as words: `building:use=place_of_worship` as `building use: place of
    worship`."""
    key, value = (" ".join(text.replace("_", " ").split()) for text in
                  (key.replace(":", " "), value))
    return f"{key}: {value}"


def all_tags(key: str, value: str, tags: Iterable[tuple[str, str]],
             classes: Container[str]) -> str:
    """Return the lines of an object's tags.

    Args:
        key, value: of the classifying tag.
        tags: all of the object, in any order, the classifying one among them or not.
        classes: the keys of the table of layers.
    """
    others: dict[str, str] = {}
    for other, text in tags:
        other = other.strip().casefold()
        if other not in (key, "") and text.strip() and not _left_out(other, text):
            others.setdefault(other, text)
    order = sorted(others, key=lambda other: (other not in classes, other != "name",
                                              ":" in other, other))
    lines = [tag_line(key, value)]
    length = len(lines[0])
    for other in order[:MOST_TAGS - 1]:
        line = tag_line(other, others[other])
        length += 1 + len(line)
        if length > MOST_CHARACTERS:
            break
        lines.append(line)
    return "\n".join(lines)


def _left_out(key: str, value: str) -> bool:
    parts = {*key.split(":"), key.split("_")[0]}  # GDAL may write addr:city as addr_city
    return (key in _KEYS or key.startswith(("name:", "@"))
            or key.partition(":")[0].endswith(("_name", "_ref")) or not _PARTS.isdisjoint(parts)
            or value.lstrip().startswith(("http:", "https:", "{", "[")))
