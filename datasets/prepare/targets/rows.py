"""Rows that have a place and a value: tables with coordinates or H3 cells, and layers of points."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyproj import CRS

from datasets.prepare.geo.crs import DEGREES
from datasets.prepare.geo.formats import own_drivers
from datasets.prepare.geo.vector_io import (
    NUMBER,
    TEXT,
    Layer,
    checked_crs,
    geopandas_program,
    is_parquet,
    open_layers,
    parquet_batches,
    parquet_columns,
    reading,
    usable_crs,
)
from datasets.prepare.geo.wkb import kinds_of, shapes_of
from datasets.prepare.targets import h3_cells
from datasets.prepare.targets.delimited import (
    DelimitedText,
    is_delimited,
    is_like_number,
    pandas_program,
)
from datasets.prepare.targets.polygons import one_layer, which_column
from utils.errors import PrepareError

_STEMS = {"lon": "lat", "lng": "lat", "long": "lat", "longitude": "latitude", "x": "y",
          "easting": "northing"}
_X = re.compile(rf"(?P<before>(?:\w*_)?)(?P<stem>{'|'.join(_STEMS)})(?P<after>(?:_\w+|coord)?)")
_WKT = ("wkt", "geometry", "geom", "the_geom", "geo")
_NUMBERING = ("id", "fid", "gid", "objectid", "ogc_fid", "index", "unnamed: 0")
_MISSING = ("", "na", "n/a", "nan", "null", "none")
_POINT, _MULTIPOINT, _POLYGONS = 1, 4, (3, 6)  # kinds of WKB
# in GDAL's name of a geometry type
_KINDS = {"Polygon": 3, "Surface": 3, "Point": 1, "Line": 2, "Curve": 2}
_SAMPLE = 1000  # features of a layer without a stated kind that are looked at


@dataclass(frozen=True)
class Places:
    """All rows of a file, in its order."""

    points: np.ndarray      # [n, 2] x, y in `crs`, nan without coordinates
    values: np.ndarray      # [n] float64, nan where missing
    crs: CRS
    resolution: int | None  # of the H3 cells whose centres the points are


class Rows:
    """Rows of a table or a layer of points.

    Args:
        key: the key of the command line that named the file, for messages.
        column: the column of values; None takes the only one of numbers.
        crs: of the coordinates, if the file does not say it.
        cells: take H3 cells, where there is a column of them, rather than coordinates.

    Raises:
        PrepareError: no place, no such column, several that may be meant, or a CRS that is none.
    """

    path: Path
    columns: dict[str, str]  # name -> kind, as in `Layer`
    others = 0               # features read that are no points

    def __init__(self, key: str, column: str | None, crs: str | None, cells: bool):
        self.key, self.files = key, [self.path]
        self._given = self._given_crs(crs)
        named = [name for name in self.columns if h3_cells.NAMES.fullmatch(name)]
        self.cells = named[0] if named and (cells or not self._has_coordinates()) else None
        if self.cells and self._given:
            raise PrepareError(f"{self.path}: {key}_crs={crs}, but its column {self.cells} holds "
                               f"H3 cells, which say where they lie. Leave {key}_crs= out.")
        self._x_y = None if self.cells else self._coordinates()
        self.column = self._value_column(column)

    def read(self) -> Places:
        """Read all rows; raise PrepareError if one cannot be understood."""
        points, values = [np.empty((0, 2))], [np.empty(0)]
        resolution = None
        if self.cells:
            numbers = [np.empty(0, np.uint64)]
            for first, (cells, amounts) in self._numbered([self.cells, self.column]):
                numbers.append(h3_cells.cell_numbers(cells, self.path, self.cells, first))
                values.append(self._amounts(amounts, first))
            numbers = np.concatenate(numbers)
            resolution = self._resolution(numbers)
            points.append(h3_cells.centres(numbers))
        else:
            for first, (place, amounts) in self._placed():
                points.append(place)
                values.append(self._amounts(amounts, first))
        points, values = np.concatenate(points), np.concatenate(values)
        if not len(values):
            raise PrepareError(f"{self.path}: has no rows, expected one for each point or cell.")
        return Places(points, values, DEGREES if self.cells else self._crs(points), resolution)

    def program(self, method: str, suffix: str, reading: str = "") -> str:
        """Return the command that writes a copy.

        Args:
            method: an expression of the table f.
            suffix: ends the copy's name.
            reading: more arguments of the function that reads a table of text.
        """
        raise NotImplementedError

    def swapped(self) -> str:
        """Return the command that writes a copy with x and y exchanged."""
        raise NotImplementedError

    def _batches(self, names: list[str]) -> Iterator[list[pa.Array]]:
        """Yield columns, some rows at a time."""
        raise NotImplementedError

    def _placed(self) -> Iterator[tuple[int, tuple[np.ndarray, pa.Array]]]:
        """Yield number of the first row, points [n, 2] and values [n], some rows at a time."""
        for first, (x, y, amounts) in self._numbered([*self._x_y, self.column]):
            place = np.stack([self._numbers(column, name, first)
                              for column, name in zip((x, y), self._x_y, strict=True)], axis=1)
            place[~np.isfinite(place).all(1)] = np.nan
            yield first, (place, amounts)

    def _numbered(self, names: list[str]) -> Iterator[tuple[int, list[pa.Array]]]:
        first = 1
        for batch in self._batches(names):
            yield first, batch
            first += len(batch[0])

    def _amounts(self, column: pa.Array, first: int) -> np.ndarray:
        return self._numbers(column, self.column, first)

    def _numbers(self, column: pa.Array, name: str, first: int) -> np.ndarray:
        """Return a column as float64 [n], nan where missing; raise PrepareError if one is text."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if self.columns[name] != TEXT and not pa.types.is_string(column.type):
            return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        texts = pc.utf8_trim_whitespace(column.cast(pa.string()))
        missing = pc.is_in(pc.utf8_lower(texts), pa.array(_MISSING))
        texts = pc.if_else(missing, None, texts)
        try:
            return texts.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
        except pa.ArrowInvalid:
            pass
        values = np.full(len(texts), np.nan)
        for index, text in enumerate(texts.to_pylist()):
            try:
                values[index] = np.nan if text is None else float(text.replace("_", "x"))
            except ValueError as error:
                raise self._no_number(text, name, first + index) from error
        return values

    def _no_number(self, text: str, name: str, row: int) -> PrepareError:
        fault = f"{self.path}: {name} of row {row} is {text[:40]!r}"
        if "," in text and is_like_number(text):
            again = self.program("f", "points", ", decimal=','")
            return PrepareError(f"{fault}, a number with a comma, expected a point or none. Write "
                                f"the table anew: `{again}` (thousands=',' instead of decimal=',' "
                                "if the commas separate thousands).")
        return PrepareError(f"{fault}, expected a number. Mend the row, or leave the value empty.")

    def _resolution(self, numbers: np.ndarray) -> int | None:
        counts = h3_cells.resolutions(numbers)
        if len(counts) > 1:
            commonest = max(counts, key=counts.get)
            listing = ", ".join(f"{count} of resolution {level}"
                                for level, count in counts.items())
            base = ", 16" if self.columns[self.cells] == TEXT else ""
            again = self.program(
                f"f.dropna(subset=[{self.cells!r}]).loc[lambda f: f[{self.cells!r}].map("
                f"lambda c: int(c{base}) >> 52 & 15) == {commonest}]",
                f"resolution_{commonest}", f", dtype={{{self.cells!r}: str}}")
            raise PrepareError(f"{self.path}: its H3 cells in {self.cells} are of several "
                               f"resolutions ({listing}), expected one: a cell beside those that "
                               f"it consists of would count twice. Keep one: `{again}`.")
        return next(iter(counts), None)

    def _has_coordinates(self) -> bool:
        raise NotImplementedError

    def _coordinates(self) -> tuple[str, str] | None:
        """Return the columns of coordinates; None of a layer, whose geometries have them."""
        raise NotImplementedError

    def _given_crs(self, crs: str | None) -> CRS | None:
        """Return the CRS that a key states."""
        if crs is None:
            return None
        if (usable := usable_crs(crs)) is None:
            raise PrepareError(f"{self.key}_crs={crs}: is no geographic or projected coordinate "
                               "reference system, expected one such as EPSG:3035")
        return usable

    def _crs(self, points: np.ndarray) -> CRS:
        raise NotImplementedError

    def _value_column(self, column: str | None) -> str:
        if column in self.columns:
            return column
        known = {*_NUMBERING, *_WKT}
        pairs = {name for pair in pairs_of(self.columns) for name in pair}
        usual = [name for name, kind in self.columns.items()
                 if kind == NUMBER and name.casefold() not in known and name not in pairs
                 and not h3_cells.NAMES.fullmatch(name)]
        if column is None and len(usual) == 1:
            return usual[0]
        raise PrepareError(which_column(self.path, self.columns, f"{self.key}_column", column,
                                        [] if column else usual))


class TableRows(Rows):
    """Rows of a table of text, or of a Parquet file without geometries."""

    def __init__(self, path: Path, key: str, column: str | None, crs: str | None, cells: bool):
        self.path = path
        self._text = None if is_parquet(path) else DelimitedText(path)
        self.columns = self._text.columns if self._text else parquet_columns(path)
        super().__init__(key, column, crs, cells)
        for name in (*(self._x_y or ()), self.column):
            if self.columns[name] not in (NUMBER, TEXT):
                raise PrepareError(f"{path}: the column {name} holds {self.columns[name]}, "
                                   "expected numbers. Pass another file or column.")

    def program(self, method: str, suffix: str, reading: str = "") -> str:
        if self._text:
            return self._text.program(method, suffix, reading)
        return pandas_program(self.path, f"read_parquet({str(self.path)!r})", method, suffix)

    def swapped(self) -> str:
        x, y = self._x_y
        return self.program(f"f.rename(columns={{{x!r}: {y!r}, {y!r}: {x!r}}})", "swapped")

    def _batches(self, names: list[str]) -> Iterator[list[pa.Array]]:
        if self._text:
            yield from self._text.batches(names)
            return
        with reading(self.path, "cannot be read as a table", "Get the file again."):
            for batch in parquet_batches(self.path, list(dict.fromkeys(names))):
                yield [batch.column(name) for name in names]

    def _has_coordinates(self) -> bool:
        return bool(pairs_of(self.columns))

    def _coordinates(self) -> tuple[str, str]:
        pairs = pairs_of(self.columns)
        if len(pairs) > 1:  # of several, those in degrees if nothing else is asked for
            geographic = self._given is None or self._given.is_geographic
            pairs = [pair for pair in pairs if _in_degrees(pair) == geographic] or pairs
        if len(pairs) == 1:
            return pairs[0]
        if pairs:
            listing = "; ".join(", ".join(pair) for pair in pairs)
            again = self.program(f"f.drop(columns={list(pairs[-1])!r})", "points")
            raise PrepareError(f"{self.path}: several columns may hold the coordinates "
                               f"({listing}), expected one of each. Leave the others out, such as "
                               f"with `{again}`.")
        names = list(self.columns)
        listing = ", ".join(names[:30]) + (" ..." if len(names) > 30 else "")
        fault = f"{self.path}: has no columns of coordinates (found {listing})"
        if wkt := [name for name in names if name.casefold() in _WKT]:
            again = self._as_features(wkt[0])
            raise PrepareError(f"{fault}. Write its geometries in {wkt[0]} as a GeoPackage: "
                               f"`{again}` (with the EPSG code of your data instead of 4326).")
        raise PrepareError(f"{fault}, expected lon and lat, or x and y, or H3 cells in a column "
                           "h3. Rename its columns.")

    def _as_features(self, column: str) -> str:
        reader = "read_csv" if self._text else "read_parquet"
        table = self.program("f", "x").split("f = p.", 1)[1].split("; f.to_csv", 1)[0]
        assert table.startswith(reader)
        geometry = f"g.GeoSeries.from_wkt(f.pop({column!r}))"
        program = (f"import geopandas as g, pandas as p; f = p.{table}; g.GeoDataFrame("
                   f"geometry={geometry}, data=f, crs=4326).to_file({self.path.stem + '.gpkg'!r})")
        return f"python -c {shlex.quote(program)}"

    def _crs(self, points: np.ndarray) -> CRS:
        """Return the CRS of the coordinates: the stated one, or degrees."""
        if self._given and self._given.is_projected:
            return self._given
        inside = (np.abs(points) <= (360, 90)).all(1) | np.isnan(points[:, 0])
        if inside.all():
            return self._given or DEGREES
        if (np.abs(points[:, ::-1]) <= (360, 90))[~np.isnan(points[:, 0])].all():
            raise PrepareError(f"{self.path}: {self._x_y[1]} goes up to "
                               f"{np.nanmax(np.abs(points[:, 1])):.10g}, expected 90 at most: its "
                               "columns of longitude and latitude are swapped. Write a copy: "
                               f"`{self.swapped()}`.")
        row = int(np.argmin(inside))
        where = " and ".join(f"{name} {value:.10g}" for name, value in
                             zip(self._x_y, points[row].tolist(), strict=True))
        raise PrepareError(f"{self.path}: {where} of row {row + 1} are no degrees. Say which "
                           f"coordinate reference system they are in, such as "
                           f"{self.key}_crs=EPSG:3035.")


class LayerRows(Rows):
    """Rows of a layer of points, or of one without geometries that has H3 cells."""

    def __init__(self, layer: Layer, several: bool, key: str, column: str | None,
                 crs: str | None, cells: bool):
        self.path, self.columns, self._layer = layer.path, layer.columns, layer
        self._several = several
        super().__init__(key, column, crs, cells)
        if self.columns[self.column] != NUMBER:
            command = self.program(f"f.astype({{{self.column!r}: float}})", "numbers")
            raise PrepareError(f"{self.path}: the column {self.column} holds "
                               f"{self.columns[self.column]}, expected numbers. Pass "
                               f"{key}_column= another column; if it is numbers written as text, "
                               f"make a copy: `{command}`.")

    def program(self, method: str, suffix: str, reading: str = "") -> str:
        return geopandas_program(self.path, self._layer.name if self._several else None,
                                 f".pipe(lambda f: {method}).to_file",
                                 f"{self.path.stem}_{suffix}.gpkg")

    def swapped(self) -> str:
        return self.program("f.set_geometry(g.points_from_xy(f.geometry.y, f.geometry.x, "
                            "crs=f.crs))", "swapped")

    def _batches(self, names: list[str]) -> Iterator[list[pa.Array]]:
        for _, *columns in self._features(names):
            yield columns

    def _features(self, names: list[str]) -> Iterator[list[pa.Array | None]]:
        """Yield geometries as WKB, None without any, and columns, some rows at a time."""
        layer, asked = self._layer, list(dict.fromkeys(names))
        with reading(self.path, "cannot be read as points", "Get the file again."):
            if layer.geometry is not None:
                for batch in parquet_batches(self.path, [layer.geometry, *asked]):
                    yield [batch.column(layer.geometry), *map(batch.column, names)]
                return
            with own_drivers(), pyogrio.raw.open_arrow(
                self.path, layer=layer.name, columns=asked,
                read_geometry=layer.shapes is not None, use_pyarrow=True,
            ) as (about, batches):
                geometry = about["geometry_name"] or "wkb_geometry"
                for batch in batches:
                    held = geometry in batch.schema.names
                    yield [batch.column(geometry) if held else None, *map(batch.column, names)]

    def _placed(self) -> Iterator[tuple[int, tuple[np.ndarray, pa.Array]]]:
        first = 1
        for wkb, amounts in self._features([self.column]):
            shapes = shapes_of(wkb.to_pylist())
            kinds = shapely.get_type_id(shapes)
            if (crowds := shapely.get_num_geometries(shapes) > 1).any():
                command = self.program("f.set_geometry(f.centroid)", "centres")
                index = int(np.argmax(crowds))
                raise PrepareError(f"{self.path}: row {first + index} has "
                                   f"{shapely.get_num_geometries(shapes[index])} places, expected "
                                   "one point with its value. Take their middle, with "
                                   f"`{command}`, or mend the rows.")
            multiple = kinds == 4
            shapes[multiple] = shapely.get_geometry(shapes[multiple], 0)
            other = ~np.isin(kinds, (0, -1, 4))
            self.others += int(other.sum())
            shapes[other] = None
            place = np.stack([shapely.get_x(shapes), shapely.get_y(shapes)], axis=1)
            place[~np.isfinite(place).all(1)] = np.nan
            yield first, (place, amounts)
            first += len(amounts)

    def _has_coordinates(self) -> bool:
        return self._layer.shapes is not None

    def _coordinates(self) -> None:
        return None

    def _given_crs(self, crs: str | None) -> CRS | None:
        given = super()._given_crs(crs)
        own = usable_crs(self._layer.crs)
        if given and own and given != own:
            raise PrepareError(f"{self.path}: {self.key}_crs={crs}, but the file says that it is "
                               f"in {own.name}. Leave {self.key}_crs= out, or mend the file.")
        return given

    def _crs(self, points: np.ndarray) -> CRS:
        return self._given or checked_crs(self.path, self._layer.crs, self.key)


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
        points = points or [layer for layer in layers if layer.shapes is None and any(
            map(h3_cells.NAMES.fullmatch, layer.columns))]
    points = [layer for layer in points if column in layer.columns] or points
    if not points:
        return None
    if len(points) > 1:
        raise PrepareError(f"{path}: {len(points)} layers have points "
                           f"({', '.join(layer.name for layer in points)}), expected one. "
                           f"{one_layer(path, points, key)}")
    return LayerRows(points[0], len(layers) > 1, key, column, crs, cells)


def pairs_of(names: dict[str, str]) -> list[tuple[str, str]]:
    """Return the pairs of columns whose names say that they hold x and y."""
    by_name, pairs = {name.casefold(): name for name in names}, []
    for name, own in by_name.items():
        if match := _X.fullmatch(name):
            partner = match["before"] + _STEMS[match["stem"]] + match["after"]
            partner = re.sub(r"^(_?)x_", r"\1y_", partner) if partner not in by_name else partner
            if partner in by_name:
                pairs.append((own, by_name[partner]))
    return pairs


def _in_degrees(pair: tuple[str, str]) -> bool:
    return "l" in _X.fullmatch(pair[0].casefold())["stem"]


def _has(layer: Layer, kinds: tuple[int, ...]) -> bool:
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
    return bool(np.isin(kinds_of(wkb), kinds).any())


def _is_geoparquet(path: Path) -> bool:
    with reading(path, "cannot be read as Parquet", "Get the file again."):
        return b"geo" in (pq.read_schema(path).metadata or {})
