"""Tagged features of a GeoPackage, a GeoJSON, Shapefiles, a FlatGeobuf or a GeoParquet, chunk by
chunk; `tag_columns.py` says how they name their tags, `default_tags.py` what those without get."""

import functools
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyogrio
from pyproj import CRS

from datasets.prepare.geo.crs import Bounds
from datasets.prepare.geo.formats import ENDINGS, own_drivers
from datasets.prepare.geo.vector_io import (
    READ_ERRORS,
    Layer,
    checked_crs,
    groups_near,
    open_layers,
    parquet_batches,
    quietly,
    reading,
    unreadable,
)
from datasets.prepare.geo.wkb import curved, unusable
from datasets.prepare.osm.all_tags import columns_of_tags, tags_of
from datasets.prepare.osm.default_tags import DefaultTags, blank_rows
from datasets.prepare.osm.element_ids import id_columns, read_elements
from datasets.prepare.osm.tag_columns import (
    NO_COLUMNS,
    Lost,
    Rows,
    TagColumns,
    tag_columns,
    unread_columns,
)
from datasets.prepare.osm.tags import LayerTable, Tagged
from utils.errors import PrepareError

CHUNK = 50_000  # features held at once
# up to this many features no window is asked for: GDAL would leave out null geometries, which are
# to be counted
READ_WHOLE = 100_000
SUFFIXES = tuple(ending for ending in ENDINGS if ending != ".json")  # looked for in a folder
FORMATS = ("an .osm.pbf or .osm file, Overpass JSON, a GeoPackage, GeoParquet, GeoJSON, "
           "FlatGeobuf or Shapefile, or a folder of them")
_GEOMETRY, _NUMBER = "geometry of the feature", "number of the feature"  # names of columns here
_LISTED = 8  # columns that a note names
_UNREADABLE = ("not a readable vector file",
               f"Get the file again if it should be one, or pass osm= {FORMATS}.")


@dataclass(frozen=True)
class TaggedLayer:
    """One layer of a vector file that has tags."""

    layer: Layer
    crs: CRS               # of its geometries
    columns: TagColumns    # that hold its tags
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
            yield Tagged(lost, nothing, none, none, nothing, nothing,
                         Counter({"deleted or unreadable": lost}))

    def _batches(self, window: Bounds | None) -> Iterator[pa.RecordBatch]:
        """Yield the columns of tags, and those called _GEOMETRY and, by GDAL, _NUMBER."""
        columns = list(dict.fromkeys((*self.columns.names, *self._all_columns,
                                      *self._id_columns.values())))
        if self.layer.geometry:
            groups = groups_near(self.layer, window) if window else None
            for batch in parquet_batches(self.path, [*columns, self.layer.geometry], CHUNK, groups):
                yield batch.rename_columns([_GEOMETRY if name == self.layer.geometry else name
                                            for name in batch.schema.names])
            return
        with ExitStack() as stack:
            with own_drivers():
                meta, reader = stack.enter_context(pyogrio.open_arrow(
                    self.path, layer=self.layer.name, columns=columns, bbox=window,
                    batch_size=CHUNK, return_fids=True, use_pyarrow=True))
            geometry = meta["geometry_name"] or "wkb_geometry"
            batches = iter(reader)
            while (batch := quietly(next, batches, None)) is not None:
                names = [_GEOMETRY if name == geometry else name for name in batch.schema.names]
                yield batch.rename_columns([_NUMBER, *names[1:]])

    def _tagged(self, batch: pa.RecordBatch) -> Tagged:
        none, lost = np.array([], dtype=np.int64), Lost()
        rows = [(none, none, none.astype(object)), *self.columns.read(batch, lost)]
        defaulted = self._defaults(batch, [owner for owner, _, _ in rows], lost)
        rows.append(defaulted)
        owner, rule, value = (np.concatenate(column) for column in zip(*rows, strict=True))
        dropped, without = Counter(), ~np.isin(np.arange(len(batch)), owner)
        for reason, places in lost.items():
            dropped[reason] += int((places & without).sum())
            without &= ~places
        features = np.unique(owner)
        wkb = batch.column(_GEOMETRY).take(pa.array(features)).to_numpy(zero_copy_only=False)
        wkb = self._linear(wkb, batch, features)
        bad, reasons = unusable(wkb)
        kept = ~bad[np.searchsorted(features, owner)]
        owner, rule, value = owner[kept], rule[kept], value[kept]
        order = np.lexsort((rule, owner))
        features, owner = np.unique(owner[order], return_inverse=True)
        rule, value = rule[order], value[order]
        text = self._texts(batch, features, owner, rule, value)
        elements = (read_elements(batch, self._id_columns, features, wkb[~bad])
                    if self._id_columns else None)
        return Tagged(len(batch), wkb[~bad], owner, rule, value, text, dropped + reasons,
                      defaulted=len(np.unique(defaulted[0])), elements=elements)

    @functools.cached_property
    def _id_columns(self) -> dict[str, str]:
        return id_columns(self.layer)

    @functools.cached_property
    def _all_columns(self) -> tuple[str, ...]:
        """Names of the columns with tags of any key, if texts are made of all tags."""
        return columns_of_tags(self.layer) if self.table.reads_all else ()

    def _texts(self, batch: pa.RecordBatch, features: np.ndarray, owner: np.ndarray,
               rule: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Return the text of each tag: [tags] object, given `owner` as indices into `features`,
        which are rows of the batch."""
        if self.table.describe == "value":
            return value
        tags = (tags_of(batch, self._all_columns, features) if self.table.reads_all
                else [()] * len(features))
        return np.array([self.table.text(*row, tags[index]) for index, *row in
                         zip(owner.tolist(), rule.tolist(), value.tolist(), strict=True)],
                        dtype=object)

    @functools.cached_property
    def _default_tags(self) -> DefaultTags:
        return DefaultTags(self.table)

    def _defaults(self, batch: pa.RecordBatch, tagged: list[np.ndarray], lost: Lost) -> Rows:
        """Return the default tags of the rows without any tag, given those with one."""
        blank = (blank_rows(batch, self.columns.names) if self.table.defaults
                 else np.zeros(len(batch), bool))
        blank[np.concatenate(tagged)] = False
        return self._default_tags.rows(batch.column(_GEOMETRY), blank, lost)

    def _linear(self, wkb: np.ndarray, batch: pa.RecordBatch, features: np.ndarray) -> np.ndarray:
        """Return the geometries of `features` with curves as lines, which GDAL makes of them."""
        if self.layer.geometry or not (curves := curved(wkb)).any():
            return wkb
        numbers = batch.column(_NUMBER).to_numpy(zero_copy_only=False)[features[curves]]
        with own_drivers():
            _, _, lines, _ = pyogrio.raw.read(self.path, layer=self.layer.name, columns=[],
                                              fids=numbers)
        wkb = wkb.copy()
        wkb[curves] = lines
        return wkb

    def bounds(self) -> Bounds | None:
        """Return the bounds of all features, in `crs`; None if there is none."""
        return self.layer.bounds()


class TaggedFile(NamedTuple):
    """What a vector file has for tags."""

    layers: list[TaggedLayer]  # with features, geometries and tags
    columns: list[str]  # the names of all columns
    count: int          # number of all features
    notes: list[str]    # layers and columns that are passed over, in words


def tagged_layers(path: Path, table: LayerTable) -> TaggedFile:
    """Open a vector file.

    Raises:
        PrepareError: not a readable vector file, a `!` in its path, or tags without a CRS.
    """
    with reading(path, *_UNREADABLE):
        layers = open_layers(path)
    file = TaggedFile([], [name for layer in layers for name in layer.columns],
                      sum(layer.count for layer in layers), [])
    for layer in layers:
        if not layer.count:
            continue
        where = f"{path.name}, layer {layer.name}" if len(layers) > 1 else path.name
        columns = tag_columns(layer, table)
        if columns is None or layer.shapes is None:
            why = (f"no column has OSM tags of {table.path.name} "
                   f"(columns: {_listing(list(layer.columns))})" if columns is None
                   else "they have no geometries")
            if layer.shapes is None or not table.defaults:
                remedy = ("; default_tags=building=yes makes buildings of its polygons"
                          if layer.polygonal else "")
                file.notes.append(f"{where}: {layer.count} features are passed over, as {why}"
                                  f"{remedy}")
                continue
            file.notes.append(f"{where}: {layer.count} features get default_tags="
                              f"{table.default_text}, as {why}")
            columns = NO_COLUMNS
        file.notes.extend(f"{where}: the column {column}, which is not read as tags"
                          for column in unread_columns(layer, columns, table))
        crs = checked_crs(path, layer.crs, "OSM objects")
        file.layers.append(TaggedLayer(layer, crs, columns, table))
    return file


def passed_over(folder: Path, read: list[Path]) -> list[str]:
    """Return a note on the files and folders in a folder that are no source and belong to none, if
    any."""
    own = tuple(f"{file.stem}." if file.suffix.lower() == ".shp" else file.name for file in read)
    others = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir()
                    if not entry.name.startswith((".", *own)))
    if not others:
        return []
    return [f"{folder.name}: {len(others)} files of other kinds are passed over: "
            f"{_listing(others)}"]


def _listing(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (" ..." if len(names) > _LISTED else "") or "none"
