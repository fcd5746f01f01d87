"""Polygons with a column of values, in any CRS: files that pyogrio reads, and GeoParquet; read by
windows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyproj import CRS

from datasets.prepare.geo.crs import Bounds, box_in, moved, no_overlap
from datasets.prepare.geo.vector_io import (
    READ_ERRORS,
    is_parquet,
    parquet_file,
    quietly,
    reason,
    usable_crs,
)
from utils.errors import PrepareError

_POLYGONAL = (3, 6)  # shapely's type ids of Polygon and MultiPolygon
_NUMERIC = ("OFTInteger", "OFTInteger64", "OFTReal")
_SLOW_BYTES = 50e6
_BATCH = 65_536      # rows of a GeoParquet file decoded at a time


class TargetPolygons:
    """Polygons of one layer, and one column of it.

    Args:
        path: of the file.
        key: the key of the command line that named it, for messages; `{key}_column` names its
            column.
        column: the column of values; None takes the only one that `usual` names.
        usual: columns (name -> whether it holds numbers) -> names of those that may be meant.

    Attributes:
        crs: of the polygons.
        column, numeric: the column of values, and whether it holds numbers.
        files: the file.

    Raises:
        PrepareError: not readable, no CRS, no such column, or several that may be meant.
    """

    def __init__(self, path: Path, key: str, column_key: str, column: str | None,
                 usual: Callable[[dict[str, bool]], list[str]]):
        self.path, self.key, self.files = path, key, [path]
        layers = self._reading(lambda: _parquet_layers(path) if is_parquet(path)
                               else _vector_layers(path))
        if not layers:
            raise PrepareError(f"{path}: holds no layer of polygons, expected one with the values "
                               f"of {key}. Pass polygons, or a raster.")
        chosen = [(layer, name) for layer in layers
                  for name in ([column] if column else usual(layer.columns))
                  if name in layer.columns]
        if len(chosen) != 1:
            raise PrepareError(self._which_column(layers, column_key, column,
                                                  [name for _, name in chosen]))
        self._layer, self.column = chosen[0]
        self.numeric = self._layer.columns[self.column]
        if self._layer.crs is None:
            raise PrepareError(f"{path}: the polygons have no coordinate reference system, so "
                               f"{key} cannot be placed on the imagery. Give them one: `python -c "
                               "\"import geopandas as g; "
                               f"g.read_file('{path}').set_crs('EPSG:32648', "
                               f"allow_override=True).to_file('{path.stem}_crs.gpkg')\"` (with "
                               "the EPSG code of your data).")
        self.crs = self._layer.crs

    def read(self, bounds: Bounds, crs: CRS) -> tuple[np.ndarray, np.ndarray]:
        """Polygons near `bounds`, both in `crs`, in the file's order.

        Returns:
            shapely Polygons and MultiPolygons [n], valid and not empty, and their values [n]; a
            missing value is None or nan.
        """
        box = box_in(bounds, crs, self.crs)
        if box is None:
            return np.empty(0, object), np.empty(0, object)
        geometry, values = self._reading(lambda: self._layer.read(self.column, box))
        polygonal = np.isin(shapely.get_type_id(geometry), _POLYGONAL)
        geometry, values = geometry[polygonal], values[polygonal]
        geometry = shapely.transform(geometry, lambda points: moved(points, self.crs, crs))
        broken = ~shapely.is_valid(geometry)
        geometry[broken] = shapely.make_valid(geometry[broken], method="structure",
                                              keep_collapsed=False)
        # some places have no coordinates in some CRSs
        kept = np.isfinite(shapely.bounds(geometry)).all(1)
        return geometry[kept], values[kept]

    def overlap(self, bounds: Bounds, crs: CRS) -> np.ndarray:
        """The values of the polygons near `bounds`, without their shapes.

        Raises:
            PrepareError: there are none.
        """
        box = box_in(bounds, crs, self.crs)
        values = self._reading(lambda: self._layer.read(self.column, box,
                                                        shapes=False)[1]) if box else []
        if not len(values):
            raise no_overlap(self.path, self.key, self.extent, self.crs, bounds, crs)
        return values

    @property
    def notes(self) -> list[str]:
        """What the user should know: that a large file is slow, and what is faster."""
        if self._layer.indexed or self.path.stat().st_size < _SLOW_BYTES:
            return []
        return [f"{self.path.name}: has no spatial index, so all of it is read again for every "
                "few rows of tiles; a GeoPackage is read faster"]

    @cached_property
    def extent(self) -> Bounds | None:
        """minx, miny, maxx, maxy of all polygons; None of an empty file."""
        bounds = self._reading(self._layer.extent)
        return tuple(map(float,
                         bounds)) if bounds is not None and np.isfinite(bounds).all() else None

    def _reading(self, action: Callable[[], Any]) -> Any:
        try:
            return quietly(action)
        except READ_ERRORS as error:
            raise PrepareError(f"{self.path}: readable neither as a raster nor as polygons "
                               f"({reason(error)}). Pass {self.key}= a GeoTIFF of one band, or "
                               "polygons as GeoPackage, GeoParquet, GeoJSON or Shapefile.") from error

    def _which_column(self, layers: list["_VectorLayer | _ParquetLayer"], column_key: str,
                      column: str | None, chosen: list[str]) -> str:
        columns = sorted({name for layer in layers for name in layer.columns})
        listing = ", ".join(columns[:30]) + (" ..." if len(columns) > 30
                                             else "") if columns else "none"
        if chosen and len(set(chosen)) == 1:
            return (f"{self.path}: {len(chosen)} layers have a column {chosen[0]}, expected one. "
                    f"Save the right layer as a file of its own and pass that as {self.key}=.")
        if column:
            return f"{self.path}: no column {column} ({column_key}={column}); columns found: {listing}. Choose among them."
        found = f"several columns may hold the values ({', '.join(chosen)})" if chosen else "cannot tell which column holds the values"
        return f"{self.path}: {found}; columns found: {listing}. Pass {column_key}= one of them."


@dataclass(frozen=True)
class _VectorLayer:
    """A layer that pyogrio reads; `indexed`: the file finds a window without being read whole."""

    path: Path
    name: str
    crs: CRS | None
    columns: dict[str, bool]
    indexed: bool

    def read(self, column: str, box: Bounds, shapes: bool = True) -> tuple[np.ndarray | None,
                                                                           np.ndarray]:
        _, rows, wkb, (values,) = pyogrio.raw.read(
            self.path, layer=self.name, columns=[column], bbox=box, read_geometry=shapes,
            return_fids=True
        )
        if self.indexed:  # an index need not answer in the file's order
            order = np.argsort(rows, kind="stable")
            wkb, values = wkb[order] if shapes else None, values[order]
        return shapely.from_wkb(wkb) if shapes else None, values

    def extent(self) -> np.ndarray | None:
        return pyogrio.read_info(self.path, layer=self.name,
                                 force_total_bounds=True)["total_bounds"]


@dataclass(frozen=True)
class _ParquetLayer:
    """A GeoParquet file with WKB geometries; `indexed`: its rows carry their bounds, which lets
    whole row groups be passed over."""

    path: Path
    geometry: str
    crs: CRS | None
    columns: dict[str, bool]
    indexed: bool

    def read(self, column: str, box: Bounds, shapes: bool = True) -> tuple[np.ndarray | None,
                                                                           np.ndarray]:
        if self.indexed:
            frame = gpd.read_parquet(self.path, columns=[self.geometry, column], bbox=box)
            return np.asarray(frame.geometry.values), frame[column].to_numpy()
        geometry, values = [np.empty(0, object)], [np.empty(0, object)]
        for batch in pq.ParquetFile(self.path).iter_batches(_BATCH,
                                                            columns=[self.geometry, column]):
            shape = shapely.from_wkb(batch.column(self.geometry).to_numpy(zero_copy_only=False))
            near = _meets(shapely.bounds(shape), box)
            geometry.append(shape[near])
            values.append(batch.column(column).to_pandas().to_numpy()[near])
        return np.concatenate(geometry), np.concatenate(values)

    def extent(self) -> np.ndarray | None:
        batches = pq.ParquetFile(self.path).iter_batches(_BATCH, columns=[self.geometry])
        bounds = [shapely.total_bounds(
            shapely.from_wkb(batch.column(0).to_numpy(zero_copy_only=False))) for batch in batches]
        return np.array([*np.nanmin(bounds, axis=0)[:2],
                         *np.nanmax(bounds, axis=0)[2:]]) if bounds else None


def _meets(bounds: np.ndarray, box: Bounds) -> np.ndarray:
    """Which boxes [n, 4] meet `box`; none that is nan."""
    return (bounds[:, 0] <= box[2]) & (bounds[:, 2]
                                       >= box[0]) & (bounds[:, 1]
                                                     <= box[3]) & (bounds[:, 3] >= box[1])


def _vector_layers(path: Path) -> list[_VectorLayer]:
    layers = []
    for name, kind in pyogrio.list_layers(path):
        if kind is None or not any(word in kind
                                   for word in ("Polygon", "Surface", "Unknown", "Collection")):
            continue
        info = pyogrio.read_info(path, layer=name)
        columns = {field: type_ in _NUMERIC
                   for field, type_ in zip(info["fields"], info["ogr_types"], strict=True)}
        layers.append(_VectorLayer(path, name, usable_crs(info["crs"]), columns,
                                   bool(info["capabilities"]["fast_spatial_filter"])))
    return layers


def _parquet_layers(path: Path) -> list[_ParquetLayer]:
    file = parquet_file(path)
    columns = {field.name: pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
               or pa.types.is_decimal(field.type)
               for field in file.schema if field.name not in file.boxes | {file.geometry}}
    return [_ParquetLayer(path, file.geometry, usable_crs(file.crs), columns, bool(file.boxes))]
