"""What all readers of vector files share: GDAL's and Arrow's errors in one line, coordinate
reference systems, GeoParquet's metadata."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyogrio.errors import (
    CRSError,
    DataLayerError,
    DataSourceError,
    FeatureError,
    FieldError,
    GeometryError,
)
from pyproj import CRS
from pyproj.exceptions import CRSError as ProjError
from shapely.errors import GEOSException

from utils.errors import PrepareError, one_line

PARQUET = (".parquet", ".geoparquet", ".pq")
READ_ERRORS = (
    CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError,
    GEOSException, pa.ArrowException, OSError,
)
T = TypeVar("T")


@dataclass(frozen=True)
class ParquetFile:
    """A GeoParquet file with WKB geometries.

    Attributes:
        geometry: name of the geometry column.
        crs: of its geometries, as the file has it; None: unknown.
        bbox: minx, miny, maxx, maxy of all geometries, where the file says so.
        boxes: columns that hold each row's bounds, which lets whole row groups be passed over;
            often none.
        schema, rows: its columns, and the number of its rows.
    """

    geometry: str
    crs: str | dict | None
    bbox: tuple[float, float, float, float] | None
    boxes: frozenset[str]
    schema: pa.Schema
    rows: int


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() in PARQUET


def parquet_file(path: Path) -> ParquetFile:
    """What a GeoParquet file's metadata say.

    Raises:
        PrepareError: no geometries, or encoded in another way than WKB.
        One of `READ_ERRORS`: no Parquet file, or damaged.
    """
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    geo = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
    about = geo.get("columns", {}).get(geo.get("primary_column"))
    if about is None or geo["primary_column"] not in schema.names:
        raise PrepareError(f"{path}: a Parquet file without geometries; expected GeoParquet, "
                           "whose metadata names a geometry column. Write it with geopandas: "
                           "GeoDataFrame.to_parquet.")
    if about.get("encoding") != "WKB":
        raise PrepareError(f"{path}: its geometries are encoded as {about.get('encoding')}; "
                           "expected WKB. Write it again with "
                           f"`geopandas.read_parquet({str(path)!r}).to_parquet('wkb.parquet')`.")
    box = about.get("bbox")
    return ParquetFile(
        # the format's default where the key is absent; null means unknown
        geo["primary_column"], about.get("crs", "OGC:CRS84"),
        box and (box[0], box[1], box[len(box) // 2], box[len(box) // 2 + 1]),
        frozenset(way[0] for way in about.get("covering", {}).get("bbox", {}).values()), schema,
        rows,
    )


def check_path(path: Path) -> None:
    """Raises PrepareError of a path that pyogrio takes for one into an archive."""
    if "!" in str(path):
        raise PrepareError(f"{path}: its path has a !, which the reader of vector files takes for "
                           "the end of an archive's name. Rename the file or its folder, or pass "
                           "a GeoParquet file.")


def usable_crs(crs: str | dict | None) -> CRS | None:
    """A geographic or projected CRS; None where there is none, or one of another kind."""
    try:
        parsed = CRS.from_user_input(crs) if crs else None
    except ProjError:
        return None
    return parsed if parsed is not None and (parsed.is_geographic or parsed.is_projected) else None


def reason(error: Exception) -> str:
    """What GDAL or Arrow says, in one line without pyogrio's advice on driver prefixes."""
    return one_line(Exception(str(error).split("; It might help")[0].replace("\n", " "))).rstrip(
        ".")


def quietly(function: Callable[..., T], *arguments: object) -> T:
    """Without GDAL's warnings on odd but readable files: features that cannot be used are
    counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*arguments)
