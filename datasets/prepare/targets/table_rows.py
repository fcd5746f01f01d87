"""Rows of tables: CSV, and Parquet files without geometries."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyproj import CRS

from datasets.prepare.geo.crs import DEGREES
from datasets.prepare.geo.vector_io import (
    NUMBER,
    TEXT,
    is_parquet,
    parquet_batches,
    parquet_columns,
    reading,
)
from datasets.prepare.targets.delimited import DelimitedText, pandas_program
from datasets.prepare.targets.rows import GEOMETRIES, X_NAME, Rows, pairs_of
from utils.errors import PrepareError
from utils.remedies import python_command


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
        return pandas_program(self.path, self._reader(), method, suffix)

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
        if wkt := [name for name in names if name.casefold() in GEOMETRIES]:
            again = self._as_features(wkt[0])
            raise PrepareError(f"{fault}. Write its geometries in {wkt[0]} as a GeoPackage: "
                               f"`{again}` (with the EPSG code of your data instead of 4326).")
        raise PrepareError(f"{fault}, expected lon and lat, or x and y, or H3 cells in a column "
                           "h3. Rename its columns.")

    def _as_features(self, column: str) -> str:
        return python_command(
            f"import geopandas as g, pandas as p; f = p.{self._reader()}; g.GeoDataFrame("
            f"geometry=g.GeoSeries.from_wkt(f.pop({column!r})), data=f, crs=4326)"
            f".to_file({self.path.stem + '.gpkg'!r})")

    def _reader(self) -> str:
        """Return the call of pandas that reads the table."""
        return self._text.reader() if self._text else f"read_parquet({str(self.path)!r})"

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


def _in_degrees(pair: tuple[str, str]) -> bool:
    return "l" in X_NAME.fullmatch(pair[0].casefold())["stem"]
