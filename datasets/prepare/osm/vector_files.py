"""Tagged features of a GeoPackage, a GeoJSON, Shapefiles, a GeoParquet, or any other vector file
that GDAL opens, chunk by chunk.

A layer names the tags of its features in one of these ways, looked for in this order:
- a text column `f_tag` (the release's Shapefiles) that names, row by row, the column of the value,
and the OSM key unless the file does;
- text columns called like OSM keys, and the rest in an hstore or JSON column `other_tags`,
`all_tags` or `tags`;
- one text column `label` of `key:value;key:value`.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyogrio
from pyproj import CRS

from datasets.prepare.geo.vector_io import (
    PARQUET,
    READ_ERRORS,
    check_path,
    is_parquet,
    parquet_file,
    quietly,
    reason,
    usable_crs,
)
from datasets.prepare.osm.tags import LayerTable, Pairs, Tagged, label_pairs, packed_pairs, tag_rows
from utils.errors import PrepareError

CHUNK = 50_000  # features held at once
# up to this many features a window is not asked for: GDAL leaves out null geometries then, which
# are to be counted
READ_WHOLE = 100_000
SUFFIXES = (".gpkg", ".geojson", ".shp", *PARQUET)
POINTER, LABEL, PACKED = "f_tag", "label", ("other_tags", "all_tags", "tags")
_GEOMETRY = "geometry of the feature"  # what its column is called here, whatever GDAL calls it
_SHAPEFILE_PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")
_SHAPEFILE_NAME = 10  # letters of a column's name that a Shapefile keeps

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class VectorLayer:
    """One layer of a vector file that has tags; `text` are its text columns that are needed.

    Attributes:
        crs: of its geometries.
        count: number of its features.
    """

    path: Path
    name: str | None
    crs: CRS
    count: int
    geometry: str
    text: tuple[str, ...]
    table: LayerTable

    def chunks(self, window: Box | None) -> Iterator[Tagged]:
        """All features, or at least those that meet `window` (in `crs`), in the file's order.

        Raises:
            PrepareError: the file is damaged.
        """
        window, read = window if self.count > READ_WHOLE else None, 0
        try:
            for batch in self._batches(window):
                read += len(batch)
                yield self._tagged(batch)
        except READ_ERRORS as error:
            raise unreadable(self.path, error) from error
        lost = 0 if window else self.count - read
        if lost and not read:
            raise PrepareError(f"{self.path}: damaged: none of its {self.count} features can be "
                               "read. Get the file again.")
        if lost > 0:  # a Shapefile marks features as deleted
            none, nothing = np.array([], dtype=np.int64), np.array([], dtype=object)
            yield Tagged(lost, nothing, none, none, nothing,
                         Counter({"deleted or unreadable": lost}))

    def _batches(self, window: Box | None) -> Iterator[pa.RecordBatch]:
        if is_parquet(self.path):
            with pq.ParquetFile(self.path) as file:
                yield from file.iter_batches(CHUNK, columns=[*self.text, self.geometry])
        else:
            with pyogrio.open_arrow(
                self.path, layer=self.name, columns=list(self.text), bbox=window, batch_size=CHUNK,
                use_pyarrow=True
            ) as (meta, reader):
                geometry = meta["geometry_name"] or "wkb_geometry"
                batches = iter(reader)
                while (batch := quietly(next, batches, None)) is not None:
                    yield batch.rename_columns([self.geometry if name == geometry else name
                                                for name in batch.schema.names])

    def _tagged(self, batch: pa.RecordBatch) -> Tagged:
        dropped = Counter()
        if self._pointer is None:
            rows = [tag_rows(*_words(batch.column(name)), parse, self.table)
                    for name, parse in _parsers(self.text, self.table).items()]
        else:
            rows = self._pointed_rows(batch, dropped)
        owner, rule, value = (np.concatenate(column) for column in zip(*rows, strict=True))
        order = np.lexsort((rule, owner))
        features, owner = np.unique(owner[order], return_inverse=True)
        wkb = np.array(batch.column(self.geometry).take(pa.array(features)).to_pylist(),
                       dtype=object)
        return Tagged(len(batch), wkb, owner, rule[order], value[order], dropped)

    @property
    def _pointer(self) -> str | None:
        return _named(self.text, POINTER)

    def _pointed_rows(self, batch: pa.RecordBatch,
                      dropped: Counter[str]) -> list[tuple[np.ndarray, ...]]:
        """Tags of rows whose `f_tag` names the column of their value; where it names no key, the
        file's name does."""
        codes, names = _words(batch.column(self._pointer))
        none = np.array([], dtype=np.int64)
        rows = [(none, none, none.astype(object))]
        for code, name in enumerate(names):
            column = _named(self.text, name) or _named(self.text, name[:_SHAPEFILE_NAME])
            key = self.table.key_for(name) or self.table.key_for(self.name or self.path.stem)
            if column is None or key is None:
                dropped[f"whose {POINTER} names no {'column' if column is None else 'layer'}"] += int((codes == code).sum())
                continue
            places, words = _words(batch.column(column))
            rows.append(tag_rows(np.where(codes == code, places, -1), words,
                                 functools.partial(_one_pair, key), self.table))
        return rows

    def bounds(self) -> Box | None:
        """Of all features, in `crs`; None where there is none."""
        if is_parquet(self.path):
            return parquet_file(self.path).bbox
        found = pyogrio.read_info(self.path, layer=self.name,
                                  force_total_bounds=True)["total_bounds"]
        return None if found is None or not np.isfinite(found).all() else tuple(found)

    @property
    def files(self) -> list[Path]:
        if self.path.suffix.lower() != ".shp":
            return [self.path]
        return [part for part in map(self.path.with_suffix, _SHAPEFILE_PARTS) if part.exists()]


def vector_layers(path: Path, table: LayerTable) -> tuple[list[VectorLayer], list[str], int]:
    """The layers of a file that have features with geometries and tags, the names of all columns,
    and the number of all features.

    Raises:
        PrepareError: not a readable vector file, one with a `!` in its path, or a layer with tags
            that has no coordinate reference system.
    """
    if not is_parquet(path):
        check_path(path)
    try:
        return quietly(_parquet_layers if is_parquet(path) else _gdal_layers, path, table)
    except READ_ERRORS as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> PrepareError:
    if path.suffix.lower() == ".shp" and not path.with_suffix(".shx").exists():
        return PrepareError(f"{path}: the Shapefile's index {path.with_suffix('.shx').name} is "
                            "missing. Put it beside the .shp; if it is lost, set the environment "
                            "variable SHAPE_RESTORE_SHX=YES for one run, which writes it anew.")
    return PrepareError(f"{path}: not a readable vector file ({reason(error)}). Get the file "
                        "again if it should be one, or pass osm= an .osm.pbf or .osm file, a "
                        "GeoPackage, GeoParquet, GeoJSON or Shapefile, or a folder of them.")


def _gdal_layers(path: Path, table: LayerTable) -> tuple[list[VectorLayer], list[str], int]:
    layers, fields, features = [], [], 0
    for name, geometry_type in pyogrio.list_layers(path):
        info = pyogrio.read_info(path, layer=name, force_feature_count=True)
        fields += info["fields"].tolist()
        features += info["features"]
        text = [field for field, kind in zip(info["fields"], info["ogr_types"], strict=True)
                if kind == "OFTString"]
        wanted = _wanted(text, table)
        if geometry_type is not None and wanted and info["features"]:
            layers.append(VectorLayer(path, name, _checked_crs(path, info["crs"]),
                                      info["features"], _GEOMETRY, wanted, table))
    return layers, fields, features


def _parquet_layers(path: Path, table: LayerTable) -> tuple[list[VectorLayer], list[str], int]:
    file = parquet_file(path)
    wanted = _wanted([field.name for field in file.schema if _is_text(field.type)], table)
    usable = wanted and file.rows
    layers = [VectorLayer(path, None, _checked_crs(path, file.crs), file.rows, file.geometry,
                          wanted, table)] if usable else []
    return layers, file.schema.names, file.rows


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(
        kind)


def _checked_crs(path: Path, crs: str | dict | None) -> CRS:
    parsed = usable_crs(crs)
    if parsed is None:
        raise PrepareError(f"{path}: the vector file has no coordinate reference system, so it "
                           "cannot be placed on the raster. Give it one with `python -c \"import "
                           f"geopandas; geopandas.read_file('{path}').set_crs(4326, "
                           "allow_override=True).to_file('with_crs.gpkg')\"` (with the EPSG code "
                           "of your data).")
    return parsed


def _wanted(text: list[str], table: LayerTable) -> tuple[str, ...]:
    """The text columns that are needed to know the tags; none if they name no tags."""
    return tuple(text) if _named(text, POINTER) else tuple(_parsers(text, table))


def _named(columns: list[str] | tuple[str, ...], name: str) -> str | None:
    return next((column for column in columns if column.casefold() == name.casefold()), None)


def _parsers(text: list[str] | tuple[str, ...],
             table: LayerTable) -> dict[str, Callable[[str], Pairs]]:
    """How the words of each tag column become tags."""
    keyed = {column: functools.partial(_one_pair, column) for column in text
             if column.casefold() in table.rule_of_key}
    packed = {column: packed_pairs for column in text if column.casefold() in PACKED}
    return keyed | packed or {column: label_pairs for column in text if column.casefold() == LABEL}


def _one_pair(key: str, value: str) -> Pairs:
    return [(key, value)]


def _words(column: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Place [n] of each row in the column's distinct texts (-1: none), and those; what is no UTF-8
    is taken for Latin-1."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    coded = column.cast(pa.large_binary()).dictionary_encode()
    return pc.fill_null(coded.indices,
                        -1).to_numpy(zero_copy_only=False), [_decoded(word)
                                                             for word in coded.dictionary.to_pylist()]


def _decoded(word: bytes) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError:
        return word.decode("latin-1")
