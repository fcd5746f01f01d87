"""Tags of features that have none, such as footprints of buildings: `default_tags=building=yes`.

Of several default tags, a geometry gets those that make an area of it as it is meant: a polygon
those whose lines are not widened (a building, no road), a line those whose lines are, a point
those that give a disc. A feature that no default tag suits is counted.
"""

import functools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely

from datasets.prepare.geo.wkb import kinds_of, shapes_of
from datasets.prepare.osm.tag_columns import Lost, Rows, holds_text, words_of
from datasets.prepare.osm.tags import LayerTable

POINTS, LINES = "untagged points", "untagged lines"
REMEDIES = {
    POINTS: "add a tag that makes discs of points to default_tags, such as amenity=yes",
    LINES: "add a tag that widens lines to default_tags, such as highway=road",
}
_POINTS, _LINES = (1, 4), (2, 5, 8, 9, 11, 13)  # kinds of well-known binary, curves included
_NOTHING = ("", "{}", "[]", "null")  # texts that state no tag

Tag = tuple[int, str]  # rule and value


@dataclass(frozen=True)
class DefaultTags:
    """The default tags of a table, by kind of geometry."""

    table: LayerTable

    @functools.cached_property
    def of_kind(self) -> dict[str, tuple[Tag, ...]]:
        """Return the tags of points, open lines, closed lines and areas."""
        tags, rules = self.table.defaults, self.table.rules
        widened = tuple(tag for tag in tags if rules[tag[0]].lines == "buffer")
        ring = tuple(tag for tag in tags if rules[tag[0]].lines == "ring")
        return {"point": tuple(tag for tag in tags if rules[tag[0]].radius_m is not None),
                "line": widened, "ring": widened or ring,
                "area": tuple(tag for tag in tags if tag not in widened) or tags}

    def rows(self, geometry: pa.Array, blank: np.ndarray, lost: Lost) -> Rows:
        """Return the default tags of the rows that are `blank`, [n] bool, given all geometries
        as well-known binary [n]."""
        features = np.flatnonzero(blank)
        kind = _kinds(geometry.take(pa.array(features)).to_numpy(zero_copy_only=False))
        pieces = [(np.array([], np.int64), np.array([], np.int64), np.array([], object))]
        for name, tags in self.of_kind.items():
            members = features[kind == name]
            pieces += [(members, np.full(len(members), rule), np.full(len(members), value, object))
                       for rule, value in tags]
            if not tags and len(members):
                reason = POINTS if name == "point" else LINES
                rows = lost.setdefault(reason, np.zeros(len(blank), bool))
                rows[members] = True
        owner, rule, value = (np.concatenate(column) for column in zip(*pieces, strict=True))
        return owner, rule, value


def _kinds(wkb: np.ndarray) -> np.ndarray:
    """Return which geometries are points, open lines, closed lines or areas; without a geometry
    as areas: [n] text."""
    number = kinds_of(wkb)
    kind = np.full(len(wkb), "area", dtype="<U5")
    kind[np.isin(number, _POINTS)] = "point"
    lines = np.flatnonzero(np.isin(number, _LINES))
    shapes = shapes_of(wkb[lines])
    closed = shapely.is_closed(shapely.get_geometry(shapes, 0))
    kind[lines] = np.where(closed & (shapely.get_num_geometries(shapes) == 1), "ring", "line")
    return kind


def blank_rows(batch: pa.RecordBatch, names: tuple[str, ...]) -> np.ndarray:
    """Return which rows have no tag in any of these columns: [n] bool."""
    blank = np.ones(len(batch), bool)
    for name in names:
        blank &= _blank(batch.column(name))
    return blank


def _blank(column: pa.Array) -> np.ndarray:
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    missing, kind = column.is_null().to_numpy(zero_copy_only=False), column.type
    if pa.types.is_struct(kind):
        return missing | np.all([_blank(part) for part in column.flatten()] or [missing], axis=0)
    if pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return missing | (np.diff(column.offsets.to_numpy()) == 0)
    if pa.types.is_boolean(kind) or not holds_text(kind):  # false states that it is none
        return missing
    codes, words = words_of(column)
    return np.array([word.strip() in _NOTHING for word in words] + [True])[codes]
