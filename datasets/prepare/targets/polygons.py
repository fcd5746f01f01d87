"""Polygons with a column of values, from any vector file and in any CRS, read by windows."""

import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from pyproj import CRS

from datasets.prepare.geo.crs import Bounds, box_in, moved_shapes, no_overlap
from datasets.prepare.geo.formats import own_drivers
from datasets.prepare.geo.vector_io import (
    Layer,
    checked_crs,
    geopandas_program,
    open_layers,
    parquet_batches,
    parquet_table,
    reading,
)
from datasets.prepare.geo.wkb import shapes_of
from utils.errors import PrepareError

_SHAPES = (3, 6)  # shapely's type ids of Polygon and MultiPolygon
_POLYGONS = ("Polygon", "MultiPolygon", "Polygon Z", "MultiPolygon Z")  # nothing else, to GDAL
_SLOW_BYTES = 50e6


class TargetPolygons:
    """Polygons of one layer, and one column of it.

    Args:
        key: the key of the command line that named the file, for messages.
        column_key: the key that names its column.
        column: the column of values; None takes the only one that `usual` names.
        usual: columns (name -> kind, as in `Layer`) -> names of those that may be meant.

    Attributes:
        kind: what the column holds, as in `Layer`.
        notes: what the user should know; `overlap` adds to them.

    Raises:
        PrepareError: not readable, no CRS, no such column, or several that may be meant.
    """

    def __init__(self, path: Path, key: str, column_key: str, column: str | None,
                 usual: Callable[[dict[str, str]], list[str]]):
        self.path, self.key, self.files = path, key, [path]
        with self._reading():
            layers = [layer for layer in open_layers(path) if layer.polygonal]
        if not layers:
            raise self._no_polygons()
        candidates = [(layer, name) for layer in layers
                      for name in ([column] if column else usual(layer.columns))
                      if name in layer.columns]
        if len(candidates) != 1:
            raise PrepareError(self._which_column(layers, column_key, column,
                                                  [name for _, name in candidates]))
        self._layer, self.column = candidates[0]
        self.kind = self._layer.columns[self.column]
        self._several = len(layers) > 1
        self.notes = self._notes(len(layers))
        self.crs = checked_crs(path, self._layer.crs, key)

    def read(self, bounds: Bounds, crs: CRS) -> tuple[np.ndarray, np.ndarray]:
        """Return the polygons near `bounds`, both in `crs`, in the file's order.

        Returns:
            shapely Polygons and MultiPolygons [n], valid and not empty, and their values [n]; a
                missing value is None or nan.
        """
        box = box_in(bounds, crs, self.crs)
        if box is None:
            return np.empty(0, object), np.empty(0, object)
        with self._reading():
            geometry, values = _read(self._layer, self.column, box)
        polygons = np.isin(shapely.get_type_id(geometry), _SHAPES)
        geometry, values = moved_shapes(geometry[polygons], self.crs, crs), values[polygons]
        broken = ~shapely.is_valid(geometry)
        geometry[broken] = shapely.make_valid(geometry[broken], method="structure",
                                              keep_collapsed=False)
        # some points have no coordinates in some CRSs
        finite = np.isfinite(shapely.bounds(geometry)).all(1)
        return geometry[finite], values[finite]

    def overlap(self, bounds: Bounds, crs: CRS) -> np.ndarray:
        """Return the values of the polygons near `bounds`; raise PrepareError if none is."""
        box = box_in(bounds, crs, self.crs)
        mixed = self._layer.shapes not in _POLYGONS
        with self._reading():
            shapes, values = (_read(self._layer, self.column, box, shapes=mixed) if box
                              else (None, []))
        if not len(values):
            raise no_overlap(self.path, self.key, self.extent, self.crs, bounds, crs)
        others = int((~np.isin(shapely.get_type_id(shapes), _SHAPES)).sum()) if mixed else 0
        if others == len(values):
            raise self._no_polygons()
        if others:
            self.notes.append(f"{self.path.name}: {others} of {len(values)} features near the "
                              "imagery are no polygons and are left out")
        if lost := self._lost():
            self.notes.append(f"{self.path.name}: {lost} of {self._layer.count} polygons cannot "
                              "be read and are left out: deleted, or without a row")
        return values

    def _lost(self) -> int:
        """Return how many features of a Shapefile its table has no row for, or marks as deleted."""
        if self.path.suffix.lower() != ".shp":
            return 0
        with self._reading(), own_drivers():
            rows = pyogrio.raw.read(self.path, columns=[], read_geometry=False, return_fids=True)[1]
        return self._layer.count - len(rows)

    def _notes(self, layers: int) -> list[str]:
        """Return what the user should know: which of several layers is read, and that a large file
        is slow, and what is faster."""
        notes = [] if layers == 1 else [f"{self.path.name}: of its {layers} layers of polygons, "
                                        f"{self._layer.name} is read for its column {self.column}"]
        if not self._layer.indexed and self.path.stat().st_size >= _SLOW_BYTES:
            notes.append(f"{self.path.name}: has no spatial index, so all of it is read again for "
                         "every few rows of tiles; a GeoPackage is read faster")
        return notes

    def program(self, method: str, suffix: str) -> str:
        """Return the command that writes the layer as a GeoPackage with geopandas, changed by
        `method`."""
        return geopandas_program(self.path, self._layer.name if self._several else None,
                                 f"{method}.to_file", f"{self.path.stem}_{suffix}.gpkg")

    @cached_property
    def extent(self) -> Bounds | None:
        """minx, miny, maxx, maxy of all polygons; None of an empty file."""
        with self._reading():
            return self._layer.bounds()

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self.path, "readable neither as a raster nor as polygons",
                       f"Pass {self.key}= a GeoTIFF of one band, or polygons as GeoPackage, "
                       "GeoParquet, GeoJSON or Shapefile.")

    def _no_polygons(self) -> PrepareError:
        return PrepareError(f"{self.path}: holds no layer of polygons, expected one with the "
                            f"values of {self.key}. Pass polygons, or a raster.")

    def _which_column(self, layers: list[Layer], column_key: str, column: str | None,
                      candidates: list[str]) -> str:
        if candidates and len(set(candidates)) == 1:
            return (f"{self.path}: {len(candidates)} layers have a column {candidates[0]}, "
                    f"expected one ({', '.join(layer.name for layer in layers)}). "
                    f"{one_layer(self.path, layers, self.key)}")
        columns = sorted({name for layer in layers for name in layer.columns})
        return which_column(self.path, columns, column_key, column, candidates)


def which_column(path: Path, columns: Iterable[str], column_key: str, column: str | None,
                 candidates: list[str]) -> str:
    """Return the message on a file whose column of values is not clear.

    Args:
        column: what `column_key` asks for, if anything.
        candidates: the columns that may be meant.
    """
    names = list(columns)
    listing = ", ".join(names[:30]) + (" ..." if len(names) > 30 else "") or "none"
    if column:
        return (f"{path}: no column {column} ({column_key}={column}); columns found: "
                f"{listing}. Choose among them.")
    fault = (f"several columns may hold the values ({', '.join(candidates)})" if candidates
             else "cannot tell which column holds the values")
    return f"{path}: {fault}; columns found: {listing}. Pass {column_key}= one of them."


def one_layer(path: Path, layers: list[Layer], key: str) -> str:
    """Return the remedy of a file with several layers, with a command."""
    command = geopandas_program(path, layers[0].name, ".to_file",
                                f"{path.stem}_{safe_name(layers[0].name)}.gpkg")
    return (f"Save the right layer as a file of its own, such as `{command}`, and pass that as "
            f"{key}=.")


def safe_name(text: str) -> str:
    """Return a text as part of a file's name."""
    return re.sub(r"[^\w-]+", "_", text)[:40]


def _read(layer: Layer, column: str, box: Bounds,
          shapes: bool = True) -> tuple[np.ndarray | None, np.ndarray]:
    """Return shapes [n] (None without `shapes`) and values [n] in a box, in the file's order."""
    if layer.geometry is None:
        with own_drivers():
            _, rows, wkb, (values,) = pyogrio.raw.read(
                layer.path, layer=layer.name, columns=[column], bbox=box, read_geometry=shapes,
                return_fids=True)
        if layer.indexed:  # an index need not answer in the file's order
            order = np.argsort(rows, kind="stable")
            wkb, values = wkb[order] if shapes else None, values[order]
        return shapes_of(wkb) if shapes else None, values
    columns = [layer.geometry, column]
    batches = ([parquet_table(layer, columns, box)] if layer.indexed
               else parquet_batches(layer.path, columns))
    geometry, values = [np.empty(0, object)], [np.empty(0, object)]
    for batch in batches:
        shape = shapes_of(batch.column(layer.geometry).to_pylist())
        low, high = np.split(shapely.bounds(shape), 2, axis=1)  # [n, 2], nan if missing
        near = ((low <= box[2:]) & (high >= box[:2])).all(1)
        geometry.append(shape[near])
        values.append(batch.column(column).to_pandas().to_numpy()[near])
    return np.concatenate(geometry), np.concatenate(values)
