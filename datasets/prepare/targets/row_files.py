"""Which files have rows with a place and a value, and who reads them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyogrio

from datasets.prepare.geo.formats import own_drivers
from datasets.prepare.geo.vector_io import (
    Layer,
    is_parquet,
    open_layers,
    parquet_batches,
    reading,
)
from datasets.prepare.geo.wkb import kinds_of
from datasets.prepare.targets import h3_cells
from datasets.prepare.targets.delimited import is_delimited
from datasets.prepare.targets.layer_rows import LayerRows
from datasets.prepare.targets.polygons import one_layer
from datasets.prepare.targets.rows import Rows
from datasets.prepare.targets.table_rows import TableRows
from utils.errors import PrepareError

_POINT, _MULTIPOINT, _POLYGONS = 1, 4, (3, 6)  # kinds of WKB
_ANY = range(1, 18)
# in GDAL's name of a geometry type
_KINDS = {"Polygon": 3, "Surface": 3, "Point": 1, "Line": 2, "Curve": 2}
_SAMPLE = 1000  # features of a layer without a stated kind that are looked at

def open_rows(path: Path, key: str, column: str | None, crs: str | None,
              cells: bool) -> Rows | None:
    """Return the rows of a file of points or H3 cells; None of one with polygons, or of another
    kind. See `Rows`, also for the errors."""
    if is_delimited(path) or (is_parquet(path) and not _is_geoparquet(path)):
        return TableRows(path, key, column, crs, cells)
    with reading(path, "readable neither as a raster, nor as polygons, points or a table",
                 f"Pass {key}= a GeoTIFF of one band, polygons or points as GeoPackage, "
                 "GeoParquet, GeoJSON or Shapefile, or a table as CSV."):
        layers = open_layers(path)
        if any(_has(layer, _POLYGONS) for layer in layers):
            return None
        points = [layer for layer in layers if _has(layer, (_POINT, _MULTIPOINT))]
        points = points or [layer for layer in layers if not _has(layer, _ANY)
                            and any(map(h3_cells.NAMES.fullmatch, layer.columns))]
    points = [layer for layer in points if column in layer.columns] or points
    if not points:
        return None
    if len(points) > 1:
        raise PrepareError(f"{path}: {len(points)} layers have points "
                           f"({', '.join(layer.name for layer in points)}), expected one. "
                           f"{one_layer(path, points, key)}")
    return LayerRows(points[0], len(layers) > 1, key, column, crs, cells)


def _has(layer: Layer, kinds: Iterable[int]) -> bool:
    """Return whether a layer has geometries of some kinds: as it states, or among the first."""
    if layer.shapes is None:
        return False
    if stated := [name for name in _KINDS if name in layer.shapes]:
        return any(_KINDS[name] in kinds for name in stated)
    if layer.geometry is not None:
        batch = next(parquet_batches(layer.path, [layer.geometry], _SAMPLE), None)
        wkb = [] if batch is None else batch.column(0).to_pylist()
    else:
        with own_drivers():
            wkb = pyogrio.raw.read(layer.path, layer=layer.name, columns=[],
                                   max_features=_SAMPLE)[2]
    return bool(np.isin(kinds_of(wkb), list(kinds)).any())


def _is_geoparquet(path: Path) -> bool:
    with reading(path, "cannot be read as Parquet", "Get the file again."):
        return b"geo" in (pq.read_schema(path).metadata or {})
