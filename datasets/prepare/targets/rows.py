"""Rows that have a place and a value: tables with coordinates or H3 cells, and layers of points."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyproj import CRS

from datasets.prepare.geo.crs import DEGREES
from datasets.prepare.geo.vector_io import NUMBER, TEXT, usable_crs
from datasets.prepare.targets import h3_cells
from datasets.prepare.targets.delimited import is_like_number
from datasets.prepare.targets.polygons import which_column
from utils.errors import PrepareError

_STEMS = {"lon": "lat", "lng": "lat", "long": "lat", "longitude": "latitude", "x": "y",
          "easting": "northing"}
X_NAME = re.compile(rf"(?P<before>(?:\w*_)?)(?P<stem>{'|'.join(_STEMS)})(?P<after>(?:_\w+|coord)?)")
GEOMETRIES = ("wkt", "geometry", "geom", "the_geom", "geo")
_NUMBERING = ("id", "fid", "gid", "objectid", "ogc_fid", "index", "unnamed: 0")
_MISSING = ("", "na", "n/a", "nan", "null", "none")


@dataclass(frozen=True)
class Places:
    """All rows of a file, in its order."""

    points: np.ndarray      # [n, 2] x, y in `crs`, nan without coordinates
    values: np.ndarray      # [n] float64, nan where missing
    crs: CRS
    resolution: int | None  # of the H3 cells whose centres the points are


class Rows(ABC):
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

    @abstractmethod
    def program(self, method: str, suffix: str, reading: str = "") -> str:
        """Return the command that writes a copy.

        Args:
            method: an expression of the table f.
            suffix: ends the copy's name.
            reading: more arguments of the function that reads a table of text.
        """

    @abstractmethod
    def swapped(self) -> str:
        """Return the command that writes a copy with x and y exchanged."""

    @abstractmethod
    def _batches(self, names: list[str]) -> Iterator[list[pa.Array]]:
        """Yield columns, some rows at a time."""

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

    @abstractmethod
    def _has_coordinates(self) -> bool:
        """Return whether rows have places beside a column of H3 cells."""

    @abstractmethod
    def _coordinates(self) -> tuple[str, str] | None:
        """Return the columns of coordinates; None of a layer, whose geometries have them."""

    def _given_crs(self, crs: str | None) -> CRS | None:
        """Return the CRS that a key states."""
        if crs is None:
            return None
        if (usable := usable_crs(crs)) is None:
            raise PrepareError(f"{self.key}_crs={crs}: is no geographic or projected coordinate "
                               "reference system, expected one such as EPSG:3035")
        return usable

    @abstractmethod
    def _crs(self, points: np.ndarray) -> CRS:
        """Return the CRS of the points [n, 2]."""

    def _value_column(self, column: str | None) -> str:
        if column in self.columns:
            return column
        known = {*_NUMBERING, *GEOMETRIES}
        pairs = {name for pair in pairs_of(self.columns) for name in pair}
        usual = [name for name, kind in self.columns.items()
                 if kind == NUMBER and name.casefold() not in known and name not in pairs
                 and not h3_cells.NAMES.fullmatch(name)]
        if column is None and len(usual) == 1:
            return usual[0]
        raise PrepareError(which_column(self.path, self.columns, f"{self.key}_column", column,
                                        [] if column else usual))


def pairs_of(names: dict[str, str]) -> list[tuple[str, str]]:
    """Return the pairs of columns whose names say that they hold x and y."""
    by_name, pairs = {name.casefold(): name for name in names}, []
    for name, own in by_name.items():
        if match := X_NAME.fullmatch(name):
            partner = match["before"] + _STEMS[match["stem"]] + match["after"]
            partner = re.sub(r"^(_?)x_", r"\1y_", partner) if partner not in by_name else partner
            if partner in by_name:
                pairs.append((own, by_name[partner]))
    return pairs
