"""The one way into vector files: the layers of those that `formats.py` lets GDAL open, and
GeoParquet.

GDAL's and Arrow's errors become one line, and a missing coordinate reference system one message.
"""

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FieldError, GeometryError
from pyproj import CRS
from pyproj.exceptions import CRSError as ProjError
from shapely.errors import GEOSException

from datasets.prepare.geo.crs import Bounds
from datasets.prepare.geo.formats import (
    PARQUET,
    check_driver,
    check_file,
    own_drivers,
)
from datasets.prepare.geo.wkb import shapes_of
from utils.contents import (
    Anything,
    ContentFault,
    Either,
    Fields,
    Items,
    Null,
    Table,
    Text,
    parse_json,
)
from utils.errors import PrepareError, one_line
from utils.remedies import python_command

READ_ERRORS = (DataLayerError, DataSourceError, FieldError, GeometryError, GEOSException,
               pa.ArrowException, OSError, NotImplementedError,
               UnicodeDecodeError)
KEY_NAMES, VALUE_NAMES = ("k", "key"), ("v", "value")  # in a list of tags
# what a column holds; TEXTS: lists of text, TAGS: keys with values
TEXT, NUMBER, FLAG, TEXTS, TAGS, OTHER = ("text", "numbers", "true and false", "lists of text",
                                          "keys with values", "values of another kind")
_GDAL_KINDS = {"OFTString": TEXT, "OFTInteger": NUMBER, "OFTInteger64": NUMBER, "OFTReal": NUMBER,
               "OFTStringList": TEXTS}
_BOX, _SIDES = "bbox", ("xmin", "ymin", "xmax", "ymax")
_GEO = Fields({}, {"primary_column": Text(), "columns": Table(Fields({}, {
    "encoding": Text(), "crs": Either((Null(), Text(), Table(Anything()))),
    "covering": Fields({}, {"bbox": Fields(dict.fromkeys(_SIDES, Items(Text(), least=1)))})}))})
_POLYGONAL = ("Polygon", "Surface", "Unknown", "Collection")  # in GDAL's name of a geometry type
_BATCH = 65_536  # rows of a GeoParquet file decoded at a time
T = TypeVar("T")


@dataclass(frozen=True)
class Layer:
    """One layer of a vector file."""

    path: Path
    name: str | None  # None in a GeoParquet file, which is one layer
    crs: str | dict | None  # of its geometries, as the file states it; None: unknown
    columns: dict[str, str]  # name -> TEXT, NUMBER, ..., OTHER; geometries and their boxes left out
    count: int  # number of features
    shapes: str | None  # GDAL's name of the geometry type; None: a table without geometries
    indexed: bool  # the file finds the features of a window without being read whole
    geometry: str | None = None  # name of a GeoParquet file's geometry column (WKB)
    box: Bounds | None = None  # bounds of all geometries, where a GeoParquet file states them
    # side such as xmin -> name of its column, in a GeoParquet file with boxes of its geometries
    covering: dict[str, list[str]] | None = None
    further: tuple[str, ...] = ()  # more columns of geometries in a GeoParquet file

    @property
    def polygonal(self) -> bool:
        """Whether the layer may hold polygons."""
        return self.shapes is not None and any(word in self.shapes for word in _POLYGONAL)

    def bounds(self) -> Bounds | None:
        """Return minx, miny, maxx, maxy of all geometries; None if there is none."""
        if self.box:
            return self.box
        if self.geometry is None:
            with own_drivers():
                info = pyogrio.read_info(self.path, layer=self.name, force_total_bounds=True)
            boxes = [] if info["total_bounds"] is None else [info["total_bounds"]]
        else:
            boxes = [shapely.total_bounds(shapes_of(batch.column(0).to_pylist()))
                     for batch in parquet_batches(self.path, [self.geometry])]
        boxes = np.reshape([box for box in boxes if np.isfinite(box).all()], (-1, 4))
        if not len(boxes):
            return None
        return (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())


def open_layers(path: Path) -> list[Layer]:
    """Return the layers of a vector file.

    Raises:
        PrepareError: a `!` in the path, a file that is cut short or refers elsewhere, or a Parquet
            file without geometries encoded as WKB.
        One of `READ_ERRORS`: no vector file by its ending, or damaged.
    """
    if is_parquet(path):
        return [parquet_file(path)]
    if "!" in str(path):
        raise PrepareError(f"{path}: its path has a !, which the reader of vector files takes for "
                           "the end of an archive's name. Rename the file or its folder, or pass "
                           "a GeoParquet file.")
    if re.search(r"[\n\r\t]", str(path)):
        raise PrepareError(f"{str(path)!r}: its path has a tab or the end of a line, which the "
                           "reader of vector files leaves out. Rename the file or its folder.")
    check_file(path)
    layers = []
    with own_drivers():
        for name, shapes in pyogrio.list_layers(path):
            info = pyogrio.read_info(path, layer=name, force_feature_count=True)
            check_driver(path, info["driver"])
            if info["features"] > path.stat().st_size:  # one takes several bytes
                raise DataSourceError(f"it states {info['features']} features, in "
                                      f"{path.stat().st_size} bytes")
            kinds = [FLAG if part == "OFSTBoolean" else _GDAL_KINDS.get(kind, OTHER)
                     for kind, part in zip(info["ogr_types"], info["ogr_subtypes"], strict=True)]
            layers.append(Layer(path, name, info["crs"],
                                dict(zip(info["fields"].tolist(), kinds, strict=True)),
                                info["features"], shapes,
                                bool(info["capabilities"]["fast_spatial_filter"])))
    if not layers:
        raise DataSourceError("it has no layer that can be read")
    return layers


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() in PARQUET


def parquet_file(path: Path) -> Layer:
    """Return the layer that a GeoParquet file's metadata describe; raise PrepareError if there is
    none encoded as WKB, one of `READ_ERRORS` if the file is damaged."""
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    try:
        geo = parse_json((schema.metadata or {}).get(b"geo", b"{}"), _GEO, "its metadata geo")
    except ContentFault as error:
        raise PrepareError(f"{path}: {error}. Write the file again with geopandas: "
                           "GeoDataFrame.to_parquet.") from error
    _check_names(path, schema)
    geometry = geo.get("primary_column")
    about = geo.get("columns", {}).get(geometry)
    if about is None or geometry not in schema.names:
        raise PrepareError(f"{path}: a Parquet file without geometries; expected GeoParquet, "
                           "whose metadata names a geometry column. Write it with geopandas: "
                           "GeoDataFrame.to_parquet.")
    if about.get("encoding") != "WKB":
        again = geopandas_program(path, None, ".to_parquet", f"{path.stem}_wkb.parquet")
        raise PrepareError(f"{path}: its geometries are encoded as {about.get('encoding')}; "
                           f"expected WKB. Write it again: `{again}`.")
    if not pa.types.is_binary(kind := schema.field(geometry).type) and not (
            pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)):
        raise PrepareError(f"{path}: its geometries {geometry} are of the type {kind}, expected "
                           "binary WKB. Write the file again with geopandas: "
                           "GeoDataFrame.to_parquet.")
    covering = about.get("covering", {}).get("bbox", {})
    if not covering and "crs" not in about:
        covering = _undeclared_boxes(schema)
    boxes = {names[0] for names in covering.values()}
    further = tuple(name for name in geo["columns"] if name != geometry and name in schema.names)
    columns = {field.name: _arrow_kind(field.type) for field in schema
               if field.name not in {*boxes, geometry, *further}}
    return Layer(
        path, None, about.get("crs", "OGC:CRS84"),  # the format's default; null means unknown
        columns, rows, "Unknown", bool(boxes), geometry, _stated_box(about.get("bbox")), covering,
        further,
    )


def parquet_columns(path: Path) -> dict[str, str]:
    """Return name -> kind, as in `Layer`, of the columns of a Parquet file without geometries;
    raise PrepareError if two have one name, one of `READ_ERRORS` if the file is damaged."""
    schema = pq.read_schema(path)
    _check_names(path, schema)
    return {field.name: _arrow_kind(field.type) for field in schema}


def _check_names(path: Path, schema: pa.Schema) -> None:
    if twice := sorted(name for name, count in Counter(schema.names).items() if count > 1):
        raise PrepareError(f"{path}: has two columns called {twice[0]}, expected one of each name. "
                           "Rename one of them.")


def _stated_box(bbox: object) -> Bounds | None:
    """Return the bounds in a GeoParquet file's metadata, in 2 or 3 dimensions, if there are any."""
    numbers = isinstance(bbox, list) and len(bbox) in (4, 6) and all(
        isinstance(value, int | float) and math.isfinite(value) for value in bbox)
    return (*bbox[:2], *bbox[len(bbox) // 2:][:2]) if numbers else None


def _undeclared_boxes(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the sides of a column `bbox`, as Overture's files older than GeoParquet 1.1 have in
    degrees. In a file with a stated CRS they may be those of another one."""
    kind = schema.field(_BOX).type if _BOX in schema.names else None
    if kind is None or not pa.types.is_struct(kind):
        return {}
    numbers = {field.name for field in kind if pa.types.is_floating(field.type)}
    return {side: [_BOX, side] for side in _SIDES} if numbers >= {*_SIDES} else {}


def _arrow_kind(kind: pa.DataType) -> str:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if _is_text(kind):
        return TEXT
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return NUMBER
    if pa.types.is_boolean(kind):
        return FLAG
    if pa.types.is_struct(kind):
        return TAGS
    if pa.types.is_map(kind):
        texts = _is_text(kind.key_type) and _arrow_kind(kind.item_type) in (TEXT, TEXTS, FLAG)
        return TAGS if texts else OTHER
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if pa.types.is_struct(kind.value_type):
            names = {field.name.casefold() for field in kind.value_type}
            return TAGS if names & {*KEY_NAMES} and names & {*VALUE_NAMES} else OTHER
        return TEXTS if _is_text(kind.value_type) else OTHER
    return OTHER


def _is_text(kind: pa.DataType) -> bool:
    return (pa.types.is_string(kind) or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind))


def parquet_batches(path: Path, columns: list[str], size: int = _BATCH,
                    groups: list[int] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield columns of a Parquet file, `size` rows at a time; with `groups`, of these row
    groups."""
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(size, groups, columns=columns)


def groups_near(layer: Layer, box: Bounds) -> list[int]:
    """Return the row groups of a GeoParquet file that may have features in a box: those of which
    the statistics of their features' own boxes do not say otherwise."""
    metadata = pq.read_metadata(layer.path)
    numbers = {metadata.schema.column(number).path: number
               for number in range(metadata.num_columns)}
    sides = {side: numbers.get(".".join(names)) for side, names in (layer.covering or {}).items()}

    def reaches(group: int, side: str, limit: float, low: bool) -> bool:
        stated = None if sides.get(side) is None else metadata.row_group(group).column(
            sides[side]).statistics
        if stated is None or not stated.has_min_max or not isinstance(stated.min, int | float):
            return True
        return not (stated.min > limit if low else stated.max < limit)

    limits = (("xmin", box[2], True), ("ymin", box[3], True), ("xmax", box[0], False),
              ("ymax", box[1], False))
    return [group for group in range(metadata.num_row_groups)
            if all(reaches(group, *limit) for limit in limits)]


def parquet_table(layer: Layer, columns: list[str] | None = None,
                  box: Bounds | None = None) -> pa.Table:
    """Return columns of a GeoParquet file, all by default; with `box`, of the rows whose own boxes,
    in a file that has them, meet it."""
    near = None
    if box and layer.covering:
        side = {name: pc.field(*names) for name, names in layer.covering.items()}
        near = ((side["xmin"] <= box[2]) & (side["xmax"] >= box[0])
                & (side["ymin"] <= box[3]) & (side["ymax"] >= box[1]))
    return pq.read_table(layer.path, columns=columns, filters=near, partitioning=None)


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
        command = geopandas_program(path, None, ".set_crs(4326, allow_override=True).to_file",
                                    f"{path.stem}_crs.gpkg")
        raise PrepareError(f"{path}: no coordinate reference system, so {what} cannot be placed on "
                           f"the imagery. Give the file one: `{command}` (with the EPSG code of "
                           "your data instead of 4326).")
    return usable


def geopandas_program(path: Path, layer: str | None, method: str, target: str) -> str:
    """Return the command that reads a file, or one layer of it, and writes another with geopandas,
    `method` being what is called last: its one argument is the file `target`."""
    reader = "read_parquet" if is_parquet(path) else "read_file"
    chosen = "" if layer is None else f", layer={layer!r}"
    return python_command(f"import geopandas as g; g.{reader}({str(path)!r}{chosen}){method}"
                          f"({target!r})")


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
