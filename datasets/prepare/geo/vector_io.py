"""The one way into vector files: layers of any format that GDAL reads, and GeoParquet.

GDAL's and Arrow's errors become one line, and a missing coordinate reference system one message.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS
from pyproj.exceptions import CRSError as ProjError
from shapely.errors import GEOSException

from datasets.prepare.geo.crs import Bounds
from utils.errors import PrepareError, one_line

PARQUET = (".parquet", ".geoparquet", ".pq")
READ_ERRORS = (DataLayerError, DataSourceError, GEOSException, pa.ArrowException, OSError)
TEXT, NUMBER, OTHER = "text", "number", "other"  # what a column holds
_GDAL_KINDS = {"OFTString": TEXT, "OFTInteger": NUMBER, "OFTInteger64": NUMBER, "OFTReal": NUMBER}
_POLYGONAL = ("Polygon", "Surface", "Unknown", "Collection")  # in GDAL's name of a geometry type
_BATCH = 65_536  # rows of a GeoParquet file decoded at a time
T = TypeVar("T")


@dataclass(frozen=True)
class Layer:
    """One layer of a vector file."""

    path: Path
    name: str | None  # None in a GeoParquet file, which is one layer
    crs: str | dict | None  # of its geometries, as the file states it; None: unknown
    columns: dict[str, str]  # name -> TEXT, NUMBER or OTHER; geometries and their boxes left out
    count: int  # number of features
    shapes: str | None  # GDAL's name of the geometry type; None: a table without geometries
    indexed: bool  # the file finds the features of a window without being read whole
    geometry: str | None = None  # name of a GeoParquet file's geometry column (WKB)
    box: Bounds | None = None  # bounds of all geometries, where a GeoParquet file states them

    @property
    def polygonal(self) -> bool:
        """Whether the layer may hold polygons."""
        return self.shapes is not None and any(word in self.shapes for word in _POLYGONAL)

    def bounds(self) -> Bounds | None:
        """Return minx, miny, maxx, maxy of all geometries; None if there is none."""
        if self.box:
            return self.box
        if self.geometry is None:
            info = pyogrio.read_info(self.path, layer=self.name, force_total_bounds=True)
            boxes = [] if info["total_bounds"] is None else [info["total_bounds"]]
        else:
            boxes = [shapely.total_bounds(shapely.from_wkb(batch.column(0).to_pylist()))
                     for batch in parquet_batches(self.path, [self.geometry])]
        boxes = np.reshape([box for box in boxes if np.isfinite(box).all()], (-1, 4))
        if not len(boxes):
            return None
        return (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())


def open_layers(path: Path) -> list[Layer]:
    """Return the layers of a vector file.

    Raises:
        PrepareError: a `!` in the path, or a Parquet file without geometries encoded as WKB.
        One of `READ_ERRORS`: no vector file, or damaged.
    """
    if is_parquet(path):
        return [parquet_file(path)]
    if "!" in str(path):
        raise PrepareError(f"{path}: its path has a !, which the reader of vector files takes for "
                           "the end of an archive's name. Rename the file or its folder, or pass "
                           "a GeoParquet file.")
    layers = []
    for name, shapes in pyogrio.list_layers(path):
        info = pyogrio.read_info(path, layer=name, force_feature_count=True)
        kinds = [_GDAL_KINDS.get(kind, OTHER) for kind in info["ogr_types"]]
        layers.append(Layer(path, name, info["crs"],
                            dict(zip(info["fields"].tolist(), kinds, strict=True)),
                            info["features"], shapes,
                            bool(info["capabilities"]["fast_spatial_filter"])))
    return layers


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() in PARQUET


def parquet_file(path: Path) -> Layer:
    """Return the layer that a GeoParquet file's metadata describe; raise PrepareError if there is
    none encoded as WKB, one of `READ_ERRORS` if the file is damaged."""
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    geo = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
    geometry = geo.get("primary_column")
    about = geo.get("columns", {}).get(geometry)
    if about is None or geometry not in schema.names:
        raise PrepareError(f"{path}: a Parquet file without geometries; expected GeoParquet, "
                           "whose metadata names a geometry column. Write it with geopandas: "
                           "GeoDataFrame.to_parquet.")
    if about.get("encoding") != "WKB":
        raise PrepareError(f"{path}: its geometries are encoded as {about.get('encoding')}; "
                           "expected WKB. Write it again with "
                           f"`geopandas.read_parquet({str(path)!r}).to_parquet('wkb.parquet')`.")
    boxes = {names[0] for names in about.get("covering", {}).get("bbox", {}).values()}
    columns = {field.name: _arrow_kind(field.type) for field in schema
               if field.name not in boxes | {geometry}}
    bbox = about.get("bbox")
    return Layer(
        path, None, about.get("crs", "OGC:CRS84"),  # the format's default; null means unknown
        columns, rows, "Unknown", bool(boxes), geometry,
        bbox and (bbox[0], bbox[1], bbox[len(bbox) // 2], bbox[len(bbox) // 2 + 1]),
    )


def _arrow_kind(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return TEXT
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return NUMBER
    return OTHER


def parquet_batches(path: Path, columns: list[str], size: int = _BATCH) -> Iterator[pa.RecordBatch]:
    """Yield columns of a Parquet file, `size` rows at a time."""
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(size, columns=columns)


def usable_crs(crs: str | dict | None) -> CRS | None:
    """Return a geographic or projected CRS; None if there is none, or one of another kind."""
    try:
        parsed = CRS.from_user_input(crs) if crs else None
    except ProjError:
        return None
    return parsed if parsed is not None and (parsed.is_geographic or parsed.is_projected) else None


def checked_crs(path: Path, crs: str | dict | None, what: str) -> CRS:
    """Return the usable CRS of a file, or raise PrepareError: `what` has no place on the Earth."""
    usable = usable_crs(crs)
    if usable is None:
        read = "read_parquet" if is_parquet(path) else "read_file"
        raise PrepareError(f"{path}: no coordinate reference system, so {what} cannot be placed on "
                           "the imagery. Give the file one: `python -c \"import geopandas as g; "
                           f"g.{read}('{path}').set_crs(4326, allow_override=True)"
                           f".to_file('{path.stem}_crs.gpkg')\"` (with the EPSG code of your data "
                           "instead of 4326).")
    return usable


@contextmanager
def reading(path: Path, fault: str, remedy: str) -> Iterator[None]:
    """Hide GDAL's warnings inside, and raise a failure to read the file as `unreadable`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    except READ_ERRORS as error:
        raise unreadable(path, error, fault, remedy) from error


def unreadable(path: Path, error: Exception, fault: str, remedy: str) -> PrepareError:
    """Return the error of a file that GDAL or Arrow cannot read."""
    index = path.with_suffix(".shx")
    if path.suffix.lower() == ".shp" and path.exists() and not index.exists():
        return PrepareError(f"{path}: the Shapefile's index {index.name} is missing. Put it beside "
                            "the .shp; if it is lost, set the environment variable "
                            "SHAPE_RESTORE_SHX=YES for one run, which writes it anew.")
    return PrepareError(f"{path}: {fault} ({reason(error)}). {remedy}")


def reason(error: Exception) -> str:
    """Return the message of GDAL or Arrow in one line, without pyogrio's advice on drivers."""
    message = str(error).split("; It might help")[0].replace("\n", " ")
    return one_line(Exception(message)).rstrip(".")


def quietly(function: Callable[..., T], *arguments: object) -> T:
    """Call without GDAL's warnings on odd but readable files; unusable features are counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*arguments)
