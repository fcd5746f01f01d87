"""Tagged features of a GeoPackage, a GeoJSON, Shapefiles, a GeoParquet, or any other vector file
that GDAL opens, chunk by chunk.

A layer names the tags of its features in one of these ways, tried in this order:
- a text column `f_tag` (the release's Shapefiles) that names, row by row, the column of the value,
and the OSM key unless the file does;
- text columns called like OSM keys, and the rest in an hstore or JSON column `other_tags`,
`all_tags` or `tags`;
- one text column `label` of `key:value;key:value`.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
from pyproj import CRS

from datasets.prepare.geo.crs import Bounds
from datasets.prepare.geo.vector_io import (
    PARQUET,
    READ_ERRORS,
    TEXT,
    Layer,
    checked_crs,
    open_layers,
    parquet_batches,
    quietly,
    reading,
    unreadable,
)
from datasets.prepare.osm.tags import LayerTable, Pairs, Tagged, label_pairs, packed_pairs, tag_rows
from utils.errors import PrepareError

CHUNK = 50_000  # features held at once
# up to this many features no window is asked for: GDAL would leave out null geometries, which are
# to be counted
READ_WHOLE = 100_000
SUFFIXES = (".gpkg", ".geojson", ".shp", *PARQUET)
FORMATS = ("an .osm.pbf or .osm file, a GeoPackage, GeoParquet, GeoJSON or Shapefile, or a folder "
           "of them")
POINTER, LABEL, PACKED = "f_tag", "label", ("other_tags", "all_tags", "tags")
_GEOMETRY = "geometry of the feature"  # what its column is called here, whatever GDAL calls it
_SHAPEFILE_NAME = 10  # letters of a column's name that a Shapefile keeps
_UNREADABLE = ("not a readable vector file",
               f"Get the file again if it should be one, or pass osm= {FORMATS}.")


@dataclass(frozen=True)
class TaggedLayer:
    """One layer of a vector file that has tags."""

    layer: Layer
    crs: CRS               # of its geometries
    text: tuple[str, ...]  # the text columns that hold its tags
    table: LayerTable      # the rules that its tags are read by

    @property
    def path(self) -> Path:
        return self.layer.path

    @property
    def count(self) -> int:
        """Number of its features."""
        return self.layer.count

    def chunks(self, window: Bounds | None) -> Iterator[Tagged]:
        """Yield all features, or at least those that meet `window` (in `crs`), in file order.
        Raise PrepareError if the file is damaged."""
        window, read = window if self.count > READ_WHOLE else None, 0
        try:
            for batch in self._batches(window):
                read += len(batch)
                yield self._tagged(batch)
        except READ_ERRORS as error:
            raise unreadable(self.path, error, *_UNREADABLE) from error
        lost = 0 if window else self.count - read
        if lost and not read:
            raise PrepareError(f"{self.path}: damaged: none of its {self.count} features can be "
                               "read. Get the file again.")
        if lost > 0:  # a Shapefile marks features as deleted
            none, nothing = np.array([], dtype=np.int64), np.array([], dtype=object)
            yield Tagged(lost, nothing, none, none, nothing,
                         Counter({"deleted or unreadable": lost}))

    @property
    def _geometry(self) -> str:
        return self.layer.geometry or _GEOMETRY

    def _batches(self, window: Bounds | None) -> Iterator[pa.RecordBatch]:
        if self.layer.geometry:
            yield from parquet_batches(self.path, [*self.text, self.layer.geometry], CHUNK)
            return
        with pyogrio.open_arrow(self.path, layer=self.layer.name, columns=list(self.text),
                                bbox=window, batch_size=CHUNK, use_pyarrow=True) as (meta, reader):
            geometry = meta["geometry_name"] or "wkb_geometry"
            batches = iter(reader)
            while (batch := quietly(next, batches, None)) is not None:
                yield batch.rename_columns([_GEOMETRY if name == geometry else name
                                            for name in batch.schema.names])

    def _tagged(self, batch: pa.RecordBatch) -> Tagged:
        dropped = Counter()
        pointer = _named(self.text, POINTER)
        if pointer is None:
            rows = [tag_rows(*_words(batch.column(name)), parse, self.table)
                    for name, parse in _parsers(self.text, self.table).items()]
        else:
            rows = self._pointed_rows(batch, pointer, dropped)
        owner, rule, value = (np.concatenate(column) for column in zip(*rows, strict=True))
        order = np.lexsort((rule, owner))
        features, owner = np.unique(owner[order], return_inverse=True)
        wkb = batch.column(self._geometry).take(pa.array(features)).to_pylist()
        return Tagged(len(batch), np.array(wkb, dtype=object), owner, rule[order], value[order],
                      dropped)

    def _pointed_rows(self, batch: pa.RecordBatch, pointer: str,
                      dropped: Counter[str]) -> list[tuple[np.ndarray, ...]]:
        """Return the tags of rows whose column `pointer` names the column of their value. If it
        names no OSM key, the file's name does."""
        codes, names = _words(batch.column(pointer))
        none = np.array([], dtype=np.int64)
        rows = [(none, none, none.astype(object))]
        for code, name in enumerate(names):
            column = _named(self.text, name) or _named(self.text, name[:_SHAPEFILE_NAME])
            key = (self.table.key_for(name)
                   or self.table.key_for(self.layer.name or self.path.stem))
            if column is None or key is None:
                lacking = "column" if column is None else "layer"
                dropped[f"whose {POINTER} names no {lacking}"] += int((codes == code).sum())
                continue
            values, words = _words(batch.column(column))
            rows.append(tag_rows(np.where(codes == code, values, -1), words,
                                 functools.partial(_one_pair, key), self.table))
        return rows

    def bounds(self) -> Bounds | None:
        """Return the bounds of all features, in `crs`; None if there is none."""
        return self.layer.bounds()


def tagged_layers(path: Path, table: LayerTable) -> tuple[list[TaggedLayer], list[str], int]:
    """Return the layers with features, geometries and tags; the names of all columns; and the
    number of all features.

    Raises:
        PrepareError: not a readable vector file, a `!` in its path, or tags without a CRS.
    """
    with reading(path, *_UNREADABLE):
        layers = open_layers(path)
    tagged = []
    for layer in layers:
        text = [name for name, kind in layer.columns.items() if kind == TEXT]
        text = tuple(text if _named(text, POINTER) else _parsers(text, table))
        if text and layer.count and layer.shapes is not None:
            crs = checked_crs(path, layer.crs, "OSM objects")
            tagged.append(TaggedLayer(layer, crs, text, table))
    return (tagged, [name for layer in layers for name in layer.columns],
            sum(layer.count for layer in layers))


def _named(columns: Sequence[str], name: str) -> str | None:
    return next((column for column in columns if column.casefold() == name.casefold()), None)


def _parsers(text: Sequence[str], table: LayerTable) -> dict[str, Callable[[str], Pairs]]:
    """Return how the words of each tag column become tags."""
    keyed = {column: functools.partial(_one_pair, column) for column in text
             if column.casefold() in table.rule_of_key}
    packed = {column: packed_pairs for column in text if column.casefold() in PACKED}
    return keyed | packed or {column: label_pairs for column in text if column.casefold() == LABEL}


def _one_pair(key: str, value: str) -> Pairs:
    return [(key, value)]


def _words(column: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Return each row's index [n] in the column's distinct texts (-1: none), and those texts. Text
    that is no UTF-8 is read as Latin-1."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    coded = column.cast(pa.large_binary()).dictionary_encode()
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    return codes, [_decoded(word) for word in coded.dictionary.to_pylist()]


def _decoded(word: bytes) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError:
        return word.decode("latin-1")
