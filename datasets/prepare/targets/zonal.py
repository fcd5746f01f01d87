"""Population or CO2 of tiles: sums over rasters, census cells and H3 cells, each cell weighted by
the fraction of it that lies in the tile, and over points."""

import re
import shlex
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from pyproj import CRS
from rasterio.windows import Window

from datasets.prepare.geo.crs import (
    DEGREES,
    Bounds,
    box_in,
    degrees_text,
    is_cut,
    mapped,
    moved,
    near_antimeridian,
    outlines,
)
from datasets.prepare.geo.vector_io import NUMBER
from datasets.prepare.targets.area_weighting import (
    EQUAL_AREA,
    PACIFIC,
    SLIVER,
    area_weighted_sums,
    equal_area_at,
)
from datasets.prepare.targets.cell_size import CellSize
from datasets.prepare.targets.placing import MOST, impossible, place
from datasets.prepare.targets.points import Points
from datasets.prepare.targets.polygons import TargetPolygons
from datasets.prepare.targets.rasters import MAX_CELLS, open_raster
from datasets.prepare.targets.row_files import open_rows
from datasets.prepare.targets.rows import Rows
from utils.errors import PrepareError

SQUARE_METRES = {"per_km2": 1e6, "per_hectare": 1e4, "per_m2": 1.0}  # of a density's unit area


class Zonal:
    """Totals of tiles; raise PrepareError if the file or its column cannot be used.

    Args:
        path: a raster of one band, in any CRS; polygons, points or H3 cells with a column of
            values (GeoPackage, GeoParquet, GeoJSON, Shapefile); or a table of points or H3 cells
            (CSV, Parquet).
        name: the key that named it, population or co2, for messages.
        unit: count, the total of a cell; or a density per_km2, per_hectare or per_m2.
        column: the column of values; None takes the only one of numbers.
        cell: what each point stands for, as `CellSize` reads it; of points only.
        cell_key: the key that states it, for messages.
        crs: of a table's coordinates, if they are no degrees.
        points: what is near the imagery, if it was read already; no file is opened then.

    Attributes:
        files: every file that is read.
        notes: what the user should know; filled by `check`.
        sized: whether `cell` says something of the source.
    """

    def __init__(self, path: str | Path, name: str, unit: str = "count",
                 column: str | None = None, cell: str | None = None, cell_key: str = "cell",
                 crs: str | None = None, points: Points | None = None):
        self.path, self.name, self.unit, self.notes = Path(path), name, unit, []
        self._cell = None if cell is None else CellSize.of(cell_key, cell)
        self._cell_key, self.points = cell_key, points
        self._source = points or open_raster(self.path, name) or open_rows(
            self.path, name, column, crs, cells=cell is None) or TargetPolygons(
            self.path, name, f"{name}_column", column, _numeric_columns)
        self.files = [self.path] if points else self._source.files
        if isinstance(self._source, TargetPolygons) and self._source.kind != NUMBER:
            used = self._source.column
            command = self._source.program(f".astype({{{used!r}: float}})", "numbers")
            raise PrepareError(f"{path}: the column {used} holds {self._source.kind}, expected "
                               f"numbers. Pass {name}_column= another column; if it is numbers "
                               f"written as text, make a copy: `{command}`.")
        rows = isinstance(self._source, Rows)
        self.sized = rows and not self._source.cells
        if crs is not None and not rows and not points:
            raise PrepareError(f"{path}: {name}_crs={crs} is of points and tables only; leave it "
                               "out, or give the file its own.")
        if self.sized and cell is not None and not self._cell.side and unit != "count":
            raise PrepareError(f"{path}: {name}_unit={unit} with {cell_key}=0: a point has no "
                               f"area. Pass {name}_unit=count, or {cell_key}= the side of the "
                               "square that each point is the centre of.")

    def check(self, crs: Any, bounds: Bounds) -> None:
        """Look through the source inside the imagery, before any tile is made. Raise PrepareError
        if there is no overlap, or a value that is negative or not a number."""
        crs = CRS.from_user_input(crs)
        if isinstance(self._source, Rows):
            self._place(bounds, crs)
            return
        if near_antimeridian(bounds, crs):
            bounds, crs = box_in(bounds, crs, PACIFIC), PACIFIC
        if isinstance(self._source, TargetPolygons):
            if impossible(self._source.overlap(bounds, crs)).any():
                self._polygons(bounds, crs)
            self.notes += self._source.notes
            return
        window = self._source.overlap(bounds, crs)
        if self._turn is None and is_cut(self._source.cells(bounds, crs)):
            raise PrepareError(f"{self.path}: its CRS, {self._source.crs.name}, is cut inside the "
                               f"imagery, so {self.name} cannot be summed there. Pass "
                               f"{self.name}= a raster in degrees (EPSG:4326), or prepare the "
                               "imagery on each side of the cut as a city of its own.")
        for strip in self._source.strips(window):
            self._read(strip)
        band = self._source.dataset
        description = " ".join(filter(None, (band.descriptions[0], band.units[0])))
        if self.unit == "count" and re.search(r"\bper\b|/|densit", description, re.IGNORECASE):
            self.notes.append(
                f'{self.path.name}: its band is described as "{description}", but '
                f"{self.name}_unit=count takes each value for the total of its cell; pass "
                f"{self.name}_unit=per_km2 (or per_hectare, per_m2) if it is a density")

    def totals_and_cover(self, bounds: np.ndarray, crs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return each tile's total, and the fraction of the tile that it is the total of.

        Args:
            bounds: [m, 4] of tiles near each other, such as some of one row: what lies between
                them is read at once.
            crs: of the bounds.

        Returns:
            Totals, float64 [m], nan where the source has no value in the tile; and the fraction of
                each tile's area that has a value, float64 [m], 0..1 (overlapping polygons each
                count).

        Raises:
            PrepareError: a value is negative or not a number, or the file is damaged.
        """
        bounds, crs = np.asarray(bounds, dtype=float).reshape(-1, 4), CRS.from_user_input(crs)
        if not len(bounds):
            return np.empty(0), np.empty(0)
        if isinstance(self._source, Rows) and self.points is None:
            self._place((*bounds[:, :2].min(0).tolist(), *bounds[:, 2:].max(0).tolist()), crs)
        if self.points is not None and self.points.counted:
            total, cover = self._over_points(bounds, crs)
        elif self.points is not None or isinstance(self._source, TargetPolygons):
            total, cover = self._over_polygons(bounds, crs)
        else:
            total, cover = self._over_turns(self._source.cells(bounds, crs))
            if self.unit != "count":
                total *= _true_areas(bounds, crs) / SQUARE_METRES[self.unit]
        grazed = cover < SLIVER  # a neighbour's edge, which is straight in another CRS only
        return np.where(grazed, np.nan, total), np.where(grazed, 0, cover)

    def _place(self, bounds: Bounds, crs: CRS) -> None:
        """Read the points near the imagery."""
        self.points, notes = place(self._source, bounds, crs, self._cell, self._cell_key)
        self.notes += notes

    def _over_points(self, bounds: np.ndarray, crs: CRS) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of the points in tiles, and the share of each tile in their hull, where
        no point means nobody."""
        total = self.points.totals(bounds)
        cover = np.maximum(self.points.cover(bounds, crs), np.where(total > 0, 2 * SLIVER, 0))
        return np.where(cover > 0, total, np.nan), cover

    def _over_turns(self, rings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `_over_cells`, for a raster in degrees summed over turns of the Earth: it is cut
        at some meridian, so a tile may lie on it a turn to either side."""
        if self._turn is None:
            return self._over_cells(rings)
        rings = np.where(np.isfinite(rings), rings, np.nan)
        anchor = rings[np.isfinite(rings).all(2)][:1]                               # [1, 2]
        if not len(anchor):
            return self._over_cells(rings)
        turns = np.rint((rings - anchor) @ self._turn / (self._turn @ self._turn))  # [m, points]
        # each ring in one piece, and the tiles side by side
        rings = rings - turns[..., None] * self._turn
        totals, covers = zip(*(self._over_cells(rings + turn * self._turn) for turn in (-1, 0, 1)),
                             strict=True)
        cover = np.sum(covers, axis=0)
        return np.where(cover > 0, np.nansum(totals, axis=0), np.nan), np.minimum(cover, 1)

    @cached_property
    def _turn(self) -> np.ndarray | None:
        """360 degrees in cells of the raster (columns, rows); None of a projected raster."""
        if not self._source.crs.is_geographic:
            return None
        transform = ~self._source.transform
        return np.array([transform.a, transform.d]) * 360

    def _over_cells(self, rings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums over tiles, given as outlines [m, points, 2] in the raster's cells, and
        the covered fraction of each; of a density return the mean instead, with nodata as 0."""
        window = self._source.window(rings.reshape(-1, 2))
        if window is None:
            return np.full(len(rings), np.nan), np.zeros(len(rings))
        if window.width * window.height > MAX_CELLS and len(rings) > 1:
            half = len(rings) // 2
            pieces = [self._over_cells(rings[:half]), self._over_cells(rings[half:])]
            return tuple(np.concatenate(parts) for parts in zip(*pieces, strict=True))
        finite = np.isfinite(rings).all((1, 2))
        corner = window.col_off, window.row_off + window.height
        tiles = shapely.polygons((rings[finite] - corner) * (1, -1))  # y upwards
        sums, covered = _exact_sums(self._read(window), tiles)
        sums = sums if self.unit == "count" else sums / shapely.area(tiles)
        return _of_all(finite, sums, covered, tiles)

    def _read(self, window: Window) -> np.ndarray:
        """Return the values of a window, float64 [h, w], nan where the raster has none."""
        values, valid = self._source.read(window)
        values = values.astype(np.float64)
        wrong = valid & impossible(values)
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            centre = np.array([window.col_off + column + 0.5, window.row_off + row + 0.5])
            where = degrees_text(*mapped(self._source.transform, centre), self._source.crs)
            nodata = f"{values[row, column]:.9g}"
            command = f"rio edit-info --nodata {nodata} {shlex.quote(str(self.path))}"
            raise PrepareError(f"{self.path}: the value at {where} is {nodata}, expected "
                               f"{self.name} of 0 or more, {MOST:g} at most. If it marks cells "
                               f"without data, say so with `{command}`; else mend the raster.")
        band = self._source.dataset
        return np.where(valid, values * band.scales[0] + band.offsets[0], np.nan)

    def _over_polygons(self, bounds: np.ndarray, crs: CRS) -> tuple[np.ndarray, np.ndarray]:
        ground = equal_area_at((*bounds[:, :2].min(0), *bounds[:, 2:].max(0)), crs)
        rings = moved(outlines(bounds), crs, ground)  # [m, points, 2]
        finite = np.isfinite(rings).all((1, 2))
        if not finite.any():
            return np.full(len(bounds), np.nan), np.zeros(len(bounds))
        points = rings[finite].reshape(-1, 2)
        geometry, values = self._polygons((*points.min(0).tolist(), *points.max(0).tolist()),
                                          ground)
        tiles = shapely.polygons(rings[finite])
        per = shapely.area(geometry) if self.unit == "count" else SQUARE_METRES[self.unit]
        return _of_all(finite, *area_weighted_sums(tiles, geometry, values, per), tiles)

    def _polygons(self, bounds: Bounds, crs: CRS) -> tuple[np.ndarray, np.ndarray]:
        """Return the polygons near `bounds`, both in `crs`, [n] and their values, float64 [n];
        raise PrepareError if one is impossible."""
        geometry, values = (self.points or self._source).read(bounds, crs)
        values = values.astype(np.float64)
        wrong = np.flatnonzero(impossible(values))
        if len(wrong):
            inside = shapely.point_on_surface(geometry[wrong[0]])
            value = "missing" if np.isnan(values[wrong[0]]) else f"{values[wrong[0]]:.9g}"
            command = self._source.program(
                f".loc[lambda f: f[{self._source.column!r}].between(0, {MOST:g})]", "known")
            raise PrepareError(f"{self.path}: {self._source.column} of the polygon at "
                               f"{degrees_text(inside.x, inside.y, crs)} is {value}, as of "
                               f"{len(wrong)} there, expected 0 or more, {MOST:g} at most. Set "
                               f"the values of such polygons, or leave them out: `{command}`.")
        return geometry, values


def _of_all(finite: np.ndarray, sums: np.ndarray, covered: np.ndarray,
            tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return total and covered fraction of all tiles [m], nan and 0 without a value, from sums and
    covered areas of the finite ones."""
    total, cover = np.full(len(finite), np.nan), np.zeros(len(finite))
    total[finite] = np.where(covered > 0, sums, np.nan)
    cover[finite] = np.minimum(covered / shapely.area(tiles), 1)
    return total, cover


def _exact_sums(cells: np.ndarray, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum and the number of cells with data in each tile [m], weighted by their
    overlap. Row 0, column 0 of `cells` (float64 [h, w], nan without data) spans x 0..1 and y
    h-1..h."""
    # any CRS for both: exactextract compares them
    frame = gpd.GeoDataFrame(geometry=tiles, crs=EQUAL_AREA)
    result = exact_extract(NumPyRasterSource(cells, srs_wkt=EQUAL_AREA.to_wkt()), frame,
                           ["sum", "count"], output="pandas")
    return result["sum"].to_numpy(np.float64), result["count"].to_numpy(np.float64)


def _true_areas(bounds: np.ndarray, crs: CRS) -> np.ndarray:
    """Return the geodesic areas of tiles [m, 4] in square metres."""
    rings = moved(outlines(bounds), crs, DEGREES)
    geod = DEGREES.get_geod()
    return np.array([abs(geod.polygon_area_perimeter(ring[:, 0], ring[:, 1])[0])
                     for ring in rings])


def _numeric_columns(columns: dict[str, str]) -> list[str]:
    """Return the columns of numbers, without those that number the features."""
    return [name for name, kind in columns.items() if kind == NUMBER
            and name.casefold() not in ("id", "fid", "gid", "objectid", "ogc_fid")]
