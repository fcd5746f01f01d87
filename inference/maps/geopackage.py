"""GeoPackages of any table with geometries: the columns that one can hold, and their bytes."""

import io
import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from geopandas.array import GeometryDtype
from pandas.api.types import is_object_dtype

from datasets.prepare.geo.geopackage import constant_date
from datasets.prepare.geo.vector_io import READ_ERRORS, reason
from utils.errors import PrepareError

# raised by pyogrio for types and values
_UNHOLDABLE = (*READ_ERRORS, OverflowError, TypeError, ValueError)


def holdable(frame: gpd.GeoDataFrame) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Return the table as a GeoPackage can hold it, and notes on columns that are left out or
    renamed.

    A GeoPackage has one geometry column, does not distinguish capitals in names, and has texts
    for lists and dictionaries, which become JSON.
    """
    shape = frame.geometry.name
    further = [name for name, kind in frame.dtypes.items() if isinstance(kind, GeometryDtype)
               and name != shape]
    frame = frame.drop(columns=further)
    notes = [f"its geometry column {name} is left out: a GeoPackage holds one" for name in further]
    names, taken, seen = [], _folded(frame), set()
    for name in map(str, frame.columns):
        free = _free(name, taken) if name != shape and name.casefold() in seen else name
        if free != name:
            notes.append(f"its column {name} is called {free}: a GeoPackage does not "
                         "distinguish capitals, and there is one of that name already")
        seen |= {free.casefold()} - {shape}
        taken.add(free.casefold())
        names.append(free)
    frame = frame.set_axis(names, axis=1)
    texts = {name: frame[name].map(_plain) for name, kind in frame.dtypes.items()
             if is_object_dtype(kind)}
    return frame.assign(**texts), notes


def check_holdable(path: Path, frame: gpd.GeoDataFrame) -> None:
    """Raise PrepareError, naming the columns, if a GeoPackage cannot hold the table at `path`."""
    try:
        as_geopackage(frame, path.stem)
    except _UNHOLDABLE as error:
        columns = [name for name in frame.columns if name != frame.geometry.name
                   and not _is_held(frame[[name, frame.geometry.name]])]
        blamed = f"its column {', '.join(columns)}" if columns else "it"
        raise PrepareError(f"{path}: a GeoPackage cannot hold {blamed} ({reason(error)}), and the "
                           "totals are written as one. Leave such columns out of the file, or "
                           "make texts or plain numbers of them.") from error


def is_geopackage(path: Path) -> bool:
    """Return whether a file begins as a GeoPackage does; GDAL would open any other kind, too."""
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def as_geopackage(frame: gpd.GeoDataFrame, layer: str) -> bytes:
    """Return the bytes of a GeoPackage with one layer, made in memory: pyogrio takes a `!` in a
    path for the end of an archive's name. Raise pyogrio's error if it cannot hold a column."""
    taken, data = _folded(frame), io.BytesIO()
    # columns of the format itself are renamed
    own = {"FID": _free("fid", taken), "GEOMETRY_NAME": _free("geom", taken)}
    with constant_date():
        frame.to_file(data, driver="GPKG", layer=layer, layer_options=own)
    return data.getvalue()


def _is_held(frame: gpd.GeoDataFrame) -> bool:
    try:
        as_geopackage(frame, "column")
    except _UNHOLDABLE:
        return False
    return True


def _folded(frame: gpd.GeoDataFrame) -> set[str]:
    """Return the names of all columns but the geometry's, as a GeoPackage compares them."""
    return {str(name).casefold() for name in frame.columns if name != frame.geometry.name}


def _free(name: str, taken: set[str]) -> str:
    """Return the first of name, name_2, name_3 ... that is not taken."""
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _plain(value: Any) -> Any:
    """Return a list, dictionary or array as JSON, bytes in hexadecimal, other values unchanged."""
    if isinstance(value, list | tuple | dict | np.ndarray):
        return json.dumps(value, ensure_ascii=False, default=_json)
    return value.hex() if isinstance(value, bytes) else value


def _json(value: Any) -> Any:
    """Return what JSON does not know as what it knows; the last resort is text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.hex() if isinstance(value, bytes) else str(value)
