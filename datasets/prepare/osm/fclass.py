"""The tags that Geofabrik's free files mean by their column `fclass` (configs/osm_fclass.yaml)."""

import functools
import re
from pathlib import Path

import yaml

COLUMN = "fclass"
_TABLE = Path(__file__).parents[3] / "configs" / "osm_fclass.yaml"
_NAME = re.compile(r"(?:gis_)?osm_([a-z]+?)(?:_a)?(?:_free)?(?:_\d+)?", re.IGNORECASE)
_ANY = "*"


def classes_of(name: str) -> dict[str, str] | None:
    """Return the rows, class -> KEY=VALUE, for a file or layer of this name; None if it is none of
    Geofabrik's."""
    found = _NAME.fullmatch(name)
    return _tables().get(found[1].casefold()) if found else None


def tag_of(classes: dict[str, str], fclass: str) -> tuple[str, str] | None:
    """Return key and value of a class; the value may be the name of a column behind an @."""
    fclass = fclass.strip()
    tag = classes.get(fclass, classes.get(_ANY)) if fclass else None
    if tag is None:
        return None
    key, _, value = tag.partition("=")
    return key, fclass if value == _ANY else value


@functools.cache
def _tables() -> dict[str, dict[str, str]]:
    return yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
