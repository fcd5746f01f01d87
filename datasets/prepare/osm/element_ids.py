"""The elements of OpenStreetMap that features are, by their ids, which say what was mapped first.

Ids ascend with the time of mapping, in a sequence of its own for nodes, ways and relations; edits
do not change them. A time stamp would be that of the last edit, and many extracts have none.
"""

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import shapely

from datasets.prepare.geo.vector_io import Layer
from datasets.prepare.osm.elements import element_id

UNKNOWN = -1
_KIND_BIT = 60  # of a key; the bits below hold the id
_KINDS = ("n", "w", "r")
_WRITTEN = re.compile(r"(node|way|relation|[nwr])/?(-?[0-9]{1,18})")  # way/123 or w123
_NUMBERS, _WAY = ("osm_id", "osmid", "@osm_id"), "osm_way_id"
_TYPES = ("osm_type", "element_type", "element", "@type")
_WORDS = ("@id", "id", "full_id")  # numbers in them may count rows
_POINTS, _LINES = (0, 4), (1, 2, 5)  # shapely's type ids, single and multi


def element_key(kind: str, number: object) -> int:
    """Return a whole number for a node ("n"), way or relation; UNKNOWN if the number is no id."""
    found = element_id(number)
    return UNKNOWN if not found else (_KINDS.index(kind) << _KIND_BIT) + found


def newness(elements: np.ndarray) -> np.ndarray:
    """Return the share of the objects of the same kind that were not mapped later, in (0, 1]: 1
    for the newest, nan where `elements` [n] has UNKNOWN. [n] float32."""
    shares, kinds = np.full(len(elements), np.nan, np.float32), elements >> _KIND_BIT
    for kind in range(len(_KINDS)):
        own = elements[kinds == kind]
        if len(own):
            shares[kinds == kind] = np.searchsorted(np.sort(own), own, side="right") / len(own)
    return shares


def id_columns(layer: Layer) -> dict[str, str]:
    """Return the columns of a layer that may hold ids of OSM: usual name, in small letters ->
    name. Empty if there is none."""
    columns = {name.casefold(): name for name in layer.columns}
    usual = {name: columns[name] for name in (*_WORDS, _WAY, *_NUMBERS, *_TYPES)
             if name in columns}
    return usual if usual.keys() - {*_TYPES} else {}


def read_elements(batch: pa.RecordBatch, columns: Mapping[str, str], features: np.ndarray,
                  wkb: np.ndarray) -> np.ndarray:
    """Return `element_key` of rows of a batch: [features] int64, UNKNOWN where no column says it.

    A column of types says of which kind a number is the id; without one the geometry does: a point
    is a node, a line a way, a polygon of several parts or with holes a relation, and any other a
    way. In a layer with osm_way_id, as GDAL makes it, osm_id of a polygon is that of a relation.

    Args:
        columns: as `id_columns` returns.
        features: rows of the batch.
        wkb: [features] their geometries.
    """
    elements = np.full(len(features), UNKNOWN, np.int64)
    cells = {usual: batch.column(name).take(pa.array(features)).to_pylist()
             for usual, name in columns.items()}
    types = next((cells[name] for name in _TYPES if name in cells), None)
    kinds = ([str(kind or "")[:1].lower() for kind in types] if types
             else _kinds_of(wkb, _WAY in cells))
    for name in cells.keys() - {*_TYPES}:
        numbers = name in _NUMBERS or types is not None
        own = ["w"] * len(kinds) if name == _WAY else kinds
        keys = np.array([_key(cell, kind, numbers or name == _WAY)
                         for cell, kind in zip(cells[name], own, strict=True)], np.int64)
        elements = np.maximum(elements, keys)
    return elements


def _key(cell: object, kind: str, numbers: bool) -> int:
    """Return the key of a cell's element, given the kind that a number would be the id of."""
    if isinstance(cell, str) and (written := _WRITTEN.fullmatch(cell)):
        return element_key(written[1][0], written[2])
    return element_key(kind, cell) if numbers and kind in _KINDS else UNKNOWN


def _kinds_of(wkb: np.ndarray, relations: bool) -> list[str]:
    """Return the kind of element that each geometry is of, [n]; polygons are `relations`, or as
    their shape says."""
    geometry = shapely.from_wkb(wkb, on_invalid="ignore")
    types = shapely.get_type_id(geometry)
    rings = shapely.get_num_interior_rings(shapely.get_geometry(geometry, 0))
    several = relations | (shapely.get_num_geometries(geometry) > 1) | (rings > 0)
    return np.select([np.isin(types, _POINTS), np.isin(types, _LINES), several],
                     ["n", "w", "r"], "w").tolist()
