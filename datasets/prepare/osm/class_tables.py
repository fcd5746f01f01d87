"""The tags that classes of other schemas mean: those of Overture Maps (configs/osm_overture.yaml),
known by the columns of its files, and Geofabrik's `fclass` (configs/osm_fclass.yaml), known by the
names of its files."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from datasets.prepare.geo.vector_io import TAGS, TEXT, Layer
from utils.contents import Either, Null, Table, Text, parse_yaml

FCLASS = "fclass"
_CONFIGS = Path(__file__).parents[3] / "configs"
_RULE = Table(Table(Either((Text(), Null()))))
_NAME = re.compile(r"(?:gis_)?osm_([a-z]+?)(?:_a)?(?:_free)?(?:_\d+)?", re.IGNORECASE)
_ANY = "*"
_OVERTURE = {"id", "version", "sources"}  # columns of each of its types
SOURCE_TAGS = "source_tags"
_LEVELS = ("subtype", "class", "subclass")
# a type is that of the first row of which a layer has a column
_TYPES = {
    "building_part": {"building_id"},
    "segment": {"connectors", "road_surface", "road_flags", "speed_limits", "width_rules"},
    "base": {SOURCE_TAGS},
    "building": {"has_parts", "is_underground", "num_floors", "height", "roof_shape"},
}


@dataclass(frozen=True)
class ClassTable:
    """What the classes of one layer mean.

    Attributes:
        rows: classes, joined by /, and KEY=VALUE; None: no tag.
        columns: of the layer, that hold a feature's classes, the widest first; None: there is none.
        packed: columns of OSM tags, which go before the classes.
    """

    rows: dict[str, str | None]
    columns: tuple[str | None, ...]
    packed: tuple[str, ...] = ()

    def tag_of(self, *classes: str) -> tuple[str, str] | None:
        """Return key and value of a feature's classes, "" where it has none; the value may be the
        name of a column behind an @."""
        names = [name.strip() for name in classes]
        fitting = ["/".join(names[:end]) for end in range(len(names), 0, -1) if names[end - 1]]
        tag = next((self.rows[name] for name in [*fitting, _ANY if fitting else ""]
                    if name in self.rows), None)
        if tag is None:
            return None
        key, _, value = tag.partition("=")
        return key, next(filter(None, names[1::-1]), "") if value == _ANY else value

    @property
    def references(self) -> set[str]:
        """Names of columns, in lower case, that values are taken from."""
        return {tag.partition("@")[2] for tag in self.rows.values() if tag} - {""}


def class_table(layer: Layer) -> ClassTable | None:
    """Return the table of a layer with the columns of Geofabrik or Overture; None if it has no
    rows there."""
    text = {name.casefold(): name for name, kind in layer.columns.items() if kind == TEXT}
    if (rows := geofabrik_rows(layer.name or layer.path.stem)) and FCLASS in text:
        return ClassTable(rows, (text[FCLASS],))
    columns = {name.casefold(): name for name in layer.columns}
    kind = next((kind for kind, names in _TYPES.items() if names & columns.keys()), None)
    if kind is None or not columns.keys() >= _OVERTURE or not (rows := _tables("overture")[kind]):
        return None
    packed = [columns[name] for name in (SOURCE_TAGS,) if name in columns
              and layer.columns[columns[name]] in (TEXT, TAGS)]
    return ClassTable(rows, tuple(map(text.get, _LEVELS)), tuple(packed))


def geofabrik_rows(name: str) -> dict[str, str | None] | None:
    """Return the rows for a file or layer of this name; None if it is none of Geofabrik's."""
    found = _NAME.fullmatch(name)
    return _tables("fclass").get(found[1].casefold()) if found else None


@functools.cache
def _tables(name: str) -> dict[str, dict[str, str | None]]:
    return parse_yaml((_CONFIGS / f"osm_{name}.yaml").read_bytes(), _RULE)
