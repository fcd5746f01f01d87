"""Which vector files are opened, and by what: by the drivers of their ending alone.

GDAL opens a file by its content, so one named .geojson could be a virtual dataset that reads other
files or the network. Before GDAL sees a file here, its first bytes are those of its ending's
format, its parts are as long as their headers state, and nothing in it refers elsewhere.
"""

import csv
import functools
import importlib
import json
import lzma
import re
import shlex
import sqlite3
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pyogrio

# pyogrio has no list of allowed drivers; registering again is what applies GDAL_SKIP
from pyogrio._ogr import _register_drivers
from pyogrio.errors import DataSourceError

from utils.errors import PrepareError, one_line
from utils.remedies import python_command

PARQUET = (".parquet", ".geoparquet", ".pq")  # opened by Arrow
_JSON = ("GeoJSON", "GeoJSONSeq", "JSONFG", "TopoJSON", "ESRIJSON")
_DRIVERS = {".gpkg": ("GPKG",), ".geojson": _JSON, ".json": _JSON, ".geojsonl": _JSON,
            ".geojsons": _JSON, ".shp": ("ESRI Shapefile",), ".fgb": ("FlatGeobuf",)}
_OTHERS = (".gdb", ".gml", ".gpx", ".kml", ".kmz", ".mif", ".sqlite", ".tab")  # often met
_PACKERS = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
_WKT = ("geometry", "geom", "wkt", "the_geom")  # names of columns with well-known text
ENDINGS = (*_DRIVERS, *PARQUET)
_LOCK = threading.RLock()
_CHUNK = 1 << 24
_LONGEST_CRS = 1 << 16  # bytes of a GeoJSON file's member crs
# as json-c takes it: in any case, with escapes, in either kind of quotes
_CRS = re.compile(rb"""["'](?:[cC]|\\u00[46]3)(?:[rR]|\\u00[57]2)(?:[sS]|\\u00[57]3)["']""")
_NODE = np.dtype([("box", "V32"), ("offset", "<u8")])  # of a FlatGeobuf's index
_VIRTUAL = re.compile(r"\s*create(?:\s|/\*.*?\*/|--[^\n]*\n)+virtual\b", re.IGNORECASE | re.DOTALL)
_INDEX = re.compile(r"\busing\s+[\"'`\[]?(?:rtree|fts\d)\b", re.IGNORECASE)


@contextmanager
def own_drivers() -> Iterator[None]:
    """Let GDAL open vector files with no other drivers than those of `ENDINGS` inside."""
    own = {name for names in _DRIVERS.values() for name in names}
    with _LOCK:
        before = pyogrio.get_gdal_config_option("GDAL_SKIP")
        others = sorted(set(pyogrio.list_drivers()) - own)
        _skip(",".join(others))
        try:
            yield
        finally:
            _skip(before)


def _skip(drivers: str | None) -> None:
    pyogrio.set_gdal_config_options({"GDAL_SKIP": drivers})
    _register_drivers()


def check_driver(path: Path, driver: str) -> None:
    """Raise DataSourceError if a file was opened by a driver of another ending."""
    if driver not in _DRIVERS[path.suffix.lower()]:
        raise DataSourceError(f"its content is {driver}, not what the ending {path.suffix} says")


def check_file(path: Path) -> None:
    """Check a file before GDAL opens it.

    Raises:
        DataSourceError: another ending, or content of another format than its ending's.
        PrepareError: an archive, of a format that is not read, cut short, or it refers to another
            file or the network.
        OSError: it cannot be read.
    """
    ending = path.suffix.lower()
    if ending in _OTHERS:
        command = python_command(f"import geopandas as g; g.read_file({str(path)!r})"
                                 f".to_file({path.stem + '.gpkg'!r})")
        raise PrepareError(f"{path}: files that end in {path.suffix} are not read. Save it as a "
                           f"GeoPackage: `{command}`.")
    if ending == ".zip":  # as Geofabrik's Shapefiles come
        command = f"python -m zipfile -e {shlex.quote(str(path))} {shlex.quote(path.stem)}"
        raise PrepareError(f"{path}: archives are not read. Unpack it with `{command}`, and pass "
                           "what is in it.")
    if ending in _PACKERS:
        raise _packed(path)
    if ending == ".csv" and (remedy := _of_table(path)):
        raise PrepareError(f"{path}: tables of text are not read. {remedy}")
    if ending not in _DRIVERS:
        raise DataSourceError(f"its ending {path.suffix or 'is missing and'} is none of "
                              f"{', '.join(ENDINGS)}")
    if not path.is_file():  # a pipe would be waited for
        raise DataSourceError("it is not a file" if path.exists() else "no such file")
    head = _first(path, 100)
    begins, check = _CHECKS.get(ending, (re.compile(rb"(?:\xef\xbb\xbf)?[\s\x1e]*[{\[]"),
                                         _check_json))
    if not begins.match(head):
        raise DataSourceError(f"it does not begin like a file that ends in {path.suffix}")
    check(path, head)


def _packed(path: Path) -> PrepareError:
    """Return the error of a packed file, with the command that unpacks it."""
    packer = _PACKERS[path.suffix.lower()]
    try:
        with importlib.import_module(packer).open(path) as file:
            lines = file.read(1) == b"{" and path.stem.endswith(".csv")  # GeoJSON, a line each
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        return PrepareError(f"{path}: damaged or not packed by {packer} ({one_line(error)}). Get "
                            "the file again.")
    target = path.with_suffix("").with_suffix(".geojsonl").name if lines else path.stem
    command = python_command(f"import {packer}, shutil; shutil.copyfileobj({packer}.open("
                             f"{str(path)!r}), open({target!r}, 'wb'))")
    return PrepareError(f"{path}: packed vector files are not read. Unpack it: `{command}`, and "
                        f"pass {target}.")


def _of_table(path: Path) -> str:
    """Return the remedy for a CSV file of footprints; "" if it has no column of geometries."""
    head = _first(path, 1 << 16).decode(errors="replace").lstrip("\ufeff")
    if head.startswith("{"):
        return f"It holds GeoJSON: rename it to {path.with_suffix('.geojsonl').name}."
    names = next(csv.reader(head.splitlines()[:1]), [])
    column = next((name for name in names if name.casefold() in _WKT), None)
    if column is None:
        return ""
    target = path.with_suffix(".parquet").name
    command = python_command(
        f"import geopandas as g, pandas as p; t = p.read_csv({str(path)!r}); g.GeoDataFrame("
        f"t.drop(columns={column!r}), geometry=g.GeoSeries.from_wkt(t[{column!r}]), crs=4326)"
        f".to_parquet({target!r})")
    return (f"If its {column} is in degrees of longitude and latitude, write it as GeoParquet: "
            f"`{command}`, and pass {target}.")


def _check_size(path: Path, expected: int) -> None:
    if (found := path.stat().st_size) < expected:
        raise PrepareError(f"{path}: damaged: {found} bytes long, but its header states "
                           f"{expected}. Get the file again.")


def _check_shapefile(path: Path, head: bytes) -> None:
    """Compare the sizes that the parts of a Shapefile state with those that they have."""
    parts = {part.suffix.lower(): part for part in path.parent.iterdir()
             if part.stem == path.stem and part.is_file()}
    _check_size(path, 2 * int.from_bytes(head[24:28], "big"))
    if index := parts.get(".shx"):
        _check_size(index, 2 * int.from_bytes(_first(index, 28)[24:], "big"))
    if table := parts.get(".dbf"):
        about = _first(table, 32)
        rows, start, width = (int.from_bytes(about[first:end], "little")
                              for first, end in ((4, 8), (8, 10), (10, 12)))
        _check_size(table, start + rows * width)


def _first(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count).ljust(count, b"\0")


def _check_geopackage(path: Path, head: bytes) -> None:
    """Compare the file's size with its pages, and refuse tables that are other files."""
    if head[24:28] == head[92:96]:  # else the number of pages is not kept
        page = int.from_bytes(head[16:18], "big")
        _check_size(path, (65536 if page == 1 else page) * int.from_bytes(head[28:32], "big"))
    virtual = [name for name, sql in _tables(path)
               if _VIRTUAL.match(sql or "") and not _INDEX.search(sql)]
    if virtual:
        raise PrepareError(f"{path}: its table {virtual[0]} is virtual and may read another file, "
                           "so the file is not opened. Remove the table, or save the layers that "
                           "you need as a GeoPackage of their own.")


def _tables(path: Path) -> list[tuple[str | None, str | None]]:
    """Return name and SQL of all tables, views, indexes and triggers of a database."""
    for mode in ("mode=ro", "immutable=1"):  # the second: beside a log that may not be written
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{mode}",
                                         uri=True)) as database:
                database.text_factory = functools.partial(str, encoding="utf-8", errors="replace")
                return database.execute("SELECT name, sql FROM sqlite_master").fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            fault = error
    raise DataSourceError(one_line(fault)) from fault


def _check_flatgeobuf(path: Path, head: bytes) -> None:
    """Compare the file's size with the end of the feature that its index has last. See
    flatgeobuf.org: a header (a FlatBuffer), a packed tree of nodes, features after their sizes."""
    with path.open("rb") as file:
        file.seek(8)
        size = int.from_bytes(file.read(4), "little")
        header = file.read(min(size, _CHUNK))
    try:
        count, branches = _header_number(header, 8, "<Q"), _header_number(header, 9, "<H", 16)
    except struct.error:  # GDAL says what is wrong with it
        return
    if not count or branches < 2:  # without an index
        return
    nodes = level = count
    while level > 1:
        level = -(-level // branches)
        nodes += level
    index, first = 12 + size, 12 + size + _NODE.itemsize * nodes
    _check_size(path, first)
    leaves = np.memmap(path, _NODE, "r", index + _NODE.itemsize * (nodes - count), count)
    last = first + int(leaves["offset"].max())
    _check_size(path, last + 4)
    with path.open("rb") as file:
        file.seek(last)
        _check_size(path, last + 4 + int.from_bytes(file.read(4), "little"))


def _header_number(table: bytes, field: int, kind: str, default: int = 0) -> int:
    """Return a number in the root table of a FlatBuffer; raise struct.error if it is damaged."""
    (root,) = struct.unpack_from("<I", table)
    (back,) = struct.unpack_from("<i", table, root)
    entries = root - back
    (length,) = struct.unpack_from("<H", table, entries)
    if 4 + 2 * field >= length:
        return default
    (place,) = struct.unpack_from("<H", table, entries + 4 + 2 * field)
    return struct.unpack_from(kind, table, root + place)[0] if place else default


def _check_json(path: Path, _: bytes) -> None:
    """Refuse a reference system that is a link, as GDAL would fetch it."""
    with path.open("rb") as file:
        start, kept = 0, b""
        while chunk := file.read(_CHUNK):
            text = kept + chunk
            low = text.lower()
            if b"crs" in low or rb"\u00" in low:
                places = [start + found.end() for found in _CRS.finditer(text)]
                for place in places:
                    _check_member(path, place)
            kept = text[-32:]
            start = file.tell() - len(kept)


def _check_member(path: Path, place: int) -> None:
    """Raise PrepareError if what follows a text "crs", which ends at `place`, makes it a member
    that is a link."""
    with path.open("rb") as file:
        file.seek(place)
        text = file.read(_LONGEST_CRS)
        while text.isspace():
            text = file.read(_LONGEST_CRS)
        text = text.lstrip() + file.read(_LONGEST_CRS)
    if not text.startswith((b":", b"/")):  # a value, or a comment before the colon
        return
    try:
        value, _ = json.JSONDecoder().raw_decode(text[1:].decode(errors="replace").lstrip())
    except (ValueError, RecursionError):
        value = {"type": "unknown"}
    kinds = ([kind for name, kind in value.items() if name.casefold() == "type"]
             if isinstance(value, dict) else [])
    if not {str(kind).casefold() for kind in kinds} & {"link", "url", "unknown"}:
        return
    command = python_command(
        f"import json; d = json.load(open({str(path)!r})); json.dump({{k: d[k] for k in d "
        f"if k.lower() != 'crs'}}, open({path.stem + '_plain.geojson'!r}, 'w'))")
    raise PrepareError(f"{path}: its member crs is of the type {str(kinds[0])[:40]!r}, expected "
                       "name: a link is not followed. If the coordinates are degrees of WGS 84, "
                       f"leave it out: `{command}`.")


_CHECKS: dict[str, tuple[re.Pattern[bytes], Callable[[Path, bytes], None]]] = {
    ".gpkg": (re.compile(rb"SQLite format 3\0"), _check_geopackage),
    ".shp": (re.compile(rb"\x00\x00\x27\x0a"), _check_shapefile),
    ".fgb": (re.compile(rb"fgb\x03fgb"), _check_flatgeobuf),
}
