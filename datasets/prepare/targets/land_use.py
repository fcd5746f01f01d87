"""Land use of tiles, one class a pixel, from a raster of classes or polygons with classes."""

import shlex
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import shapely
from affine import Affine
from pyproj import CRS
from rasterio.features import rasterize
from rasterio.windows import Window

from datasets.prepare.geo.crs import Bounds
from datasets.prepare.geo.raster_io import open_raster_file
from datasets.prepare.targets.categories import categories
from datasets.prepare.targets.colours import (
    MOST_COLOURS,
    ColourRaster,
    colour_text,
    has_colours,
    is_background,
    nearest_colours,
)
from datasets.prepare.targets.label_values import LabelValues, check_tolerance
from datasets.prepare.targets.legend import (
    ALL,
    LISTED,
    Legend,
    LegendKeys,
    as_key,
    legend_of_all,
    value_text,
)
from datasets.prepare.targets.polygons import TargetPolygons
from datasets.prepare.targets.rasters import OUTSIDE, TargetRaster, open_raster
from datasets.targets import UNKNOWN
from utils.errors import PrepareError

USUAL_COLUMNS = ("class", "class_id", "classid", "label", "land_use", "landuse", "category",
                 "code", "fclass", "gridcode")
_CHUNK = (32, 8)          # tiles whose polygons are read at once
_CHUNKS = 8               # of them held
_ALIGNED = 1e-3           # pixels that two grids may be apart and count as one


class ClassRaster(TargetRaster):
    """A raster of class numbers, with the `names` and `colours` that its file gives to them."""

    def check_bands(self, source: rasterio.DatasetReader) -> None:
        """Raise PrepareError unless the raster has one band of numbers, with the colours of one
        that is coded by colours."""
        if has_colours(source):
            colours, widest = ColourRaster(self.path, self.key).listing(LISTED)
            shares = ", ".join(f"{colour} ({share:.1%})" for colour, share in colours)
            names = (f"class{number}" for number in range(1, len(colours) + 1))
            named = {colour: "unknown" if is_background(index, colour, len(colours))
                     else next(names) for index, (colour, _) in enumerate(colours)}
            tolerance = f" colour_tolerance={widest}" * bool(widest)
            raise PrepareError(f"{self.path}: the raster has {source.count} bands, as one whose "
                               f"colours are the classes: {shares}. Say what each colour means, "
                               f"such as {as_key('classes', named)}{tolerance} (with your own "
                               "names; `unknown` stands for pixels without a class), or in a "
                               "yaml file; classes=all calls each by its colour. Or pass a "
                               "raster of one band of class numbers.")
        super().check_bands(source)
        self.names, self.colours = categories(source)


class LandUse:
    """Land use classes of tiles; raise PrepareError if the file, its column or the keys cannot be
    used.

    Args:
        path: a raster of one band of whole numbers, or one of colours, in any CRS and on any grid,
            or polygons (GeoPackage, GeoParquet, GeoJSON, Shapefile).
        label_map, classes: which classes there are, and which one a value is: see legend.py.
        column: the polygons' class column; None takes the only one of a usual name.
        colour_tolerance: the largest difference, in the channel that differs most, of a colour to
            a named one that counts as it.
        legend: what `arguments` of another one holds, in place of both keys.

    Attributes:
        legend: the classes and what values mean; None with classes=all before `check`.
        files: every file that is read.
        notes: what the user should know; filled by `check`.
    """

    def __init__(self, path: str | Path, label_map: Any = None, column: str | None = None, *,
                 classes: Any = None, colour_tolerance: int = 0,
                 legend: Mapping[str, Any] | None = None):
        self.path, self.notes, self._column = Path(path), [], column
        self._tolerance = colour_tolerance
        keys = LegendKeys.of(classes, label_map)
        given = legend and Legend(**{**legend, "classes": tuple(legend["classes"]),
                                     "colours": tuple(legend["colours"])})
        coloured = given.coloured if given else keys.coloured
        kind = ColourRaster if coloured else _any_raster if keys.classes == ALL else ClassRaster
        self._source = open_raster(self.path, "labels", kind) or TargetPolygons(
            self.path, "labels", "label_column", column, _usual_columns)
        self._coloured = isinstance(self._source, ColourRaster)
        self._names, self._colours = ((self._source.names, self._source.colours)
                                      if isinstance(self._source, ClassRaster) else ({}, {}))
        self.legend = given or self._completed(keys.legend(self._names, self.path))
        self._chunks: OrderedDict[tuple, tuple[shapely.STRtree, list[str]]] = OrderedDict()
        self.files = [*self._source.files, *keys.files]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that make another one with the same classes, as JSON, once checked."""
        return {"path": str(self.path), "column": self._column,
                "colour_tolerance": self._tolerance, "legend": asdict(self.legend)}

    def check(self, crs: Any, bounds: Bounds, transform: Affine | None = None) -> None:
        """Look through the source inside the imagery, before any tile is made.

        Args:
            transform: of the imagery's grid; `notes` then also names a raster of the same CRS
                whose grid is another.

        Raises:
            PrepareError: no overlap, values that are no classes, or classes of which none is
                there.
        """
        crs = CRS.from_user_input(crs)
        if isinstance(self._source, TargetRaster):
            counts = self._count_cells(bounds, crs)
            values = LabelValues(self.path, counts, "pixels", self._names, lambda: counts)
            if crs != self._source.crs or not (
                    transform is None or _on_one_grid(self._source.transform, transform)):
                self._note(f"{self.path.name}: on another grid than the imagery; resampled by "
                           "nearest neighbour")
        else:
            column = self._source.overlap(bounds, crs)
            counts = Counter(map(value_text, column))
            names = {value_text(value): str(value).strip() for value in reversed(column)
                     if isinstance(value, str)}
            values = LabelValues(self.path, counts, "polygons", names,
                                 lambda: self._areas(bounds, crs))
            self.notes += self._source.notes
        if self.legend is None:
            self.legend = self._completed(legend_of_all(values.values, values.names, self.path))
        values.check(self.legend, self._tolerance)
        for note in values.notes(self.legend, self._tolerance):
            self._note(note)
        if counts[""] and isinstance(self._source, ClassRaster):
            self._note_nodata()
        if self._colours and not self.legend.key:
            self._note(f"{self.path.name}: its numbers are taken for the paper's classes, "
                       "0 water, 1 green ...; if its colours are a legend of your own, name the "
                       f"numbers with classes=, such as {as_key('classes', ['town', 'forest'])}")

    def tile(self, bounds: Bounds, crs: Any, side: int) -> np.ndarray:
        """Return the classes of a tile of `side` x `side` pixels: uint8 [side, side], 0, 1 ... or
        255 for unknown. Raise PrepareError if a value must not be there, or the file is
        damaged."""
        crs = CRS.from_user_input(crs)
        grid = rasterio.transform.from_bounds(*bounds, side, side)
        if isinstance(self._source, TargetRaster):
            codes, distinct = self._resampled(grid, crs, side)
        else:
            codes, distinct = self._burnt(grid, bounds, crs, side)
        return self._look_up(distinct)[codes]

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _note_nodata(self) -> None:
        """Note that a raster declares the number of a class as nodata."""
        value = value_text(self._source.dataset.nodata)
        number = self._meaning.get(value, UNKNOWN)
        if number != UNKNOWN:
            self._note(f"{self.path.name}: declares its value {value} as nodata, so that "
                       f"{self.legend.classes[number]} is unknown there; if it is a class, take "
                       f"the declaration away: `rio edit-info --unset-nodata "
                       f"{shlex.quote(str(self.path))}`")

    def _resampled(self, grid: Affine, crs: CRS, side: int) -> tuple[np.ndarray, list[str]]:
        """Return a tile's values: indices [side, side] into a list of distinct ones."""
        cells = self._source.resampled(grid, crs, side)
        codes, distinct = pd.factorize(cells.ravel())
        return codes.reshape(side, side), ["" if value == OUTSIDE else self._value(value)
                                           for value in distinct.tolist()]

    def _value(self, cell: float) -> str:
        """Return a cell's value like a legend's."""
        return colour_text(cell) if self._coloured else value_text(cell)

    def _completed(self, legend: Legend | None) -> Legend | None:
        """Return a legend with the colours that the labels have for its classes."""
        if legend is None:
            return None
        check_tolerance(legend, self._tolerance)
        if self._coloured:
            return legend.coloured_by({value: value for value in legend.meaning
                                       if value.startswith("#")})
        return legend.coloured_by(self._colours)

    def _burnt(self, grid: Affine, bounds: Bounds, crs: CRS,
               side: int) -> tuple[np.ndarray, list[str]]:
        """Return values like `_resampled`, of the last polygon that contains a pixel's centre."""
        tree, values = self._near(bounds, crs)
        # a box so large that its cuts fall outside the tile
        box = shapely.box(*bounds).buffer(abs(grid.a) + abs(grid.e), join_style="mitre")
        members = np.sort(tree.query(box))
        # a forest may be as large as a county
        shapes = shapely.intersection(tree.geometries[members], box)
        solid = shapely.area(shapes) > 0
        distinct = ["", *dict.fromkeys(values[member] for member in members[solid])]
        code = {value: index for index, value in enumerate(distinct)}
        burnt = [(shape, code[values[member]])
                 for shape, member in zip(shapes[solid], members[solid], strict=True)]
        if not burnt:
            return np.zeros((side, side), np.int32), distinct
        return rasterize(burnt, (side, side), fill=0, transform=grid, dtype="int32"), distinct

    def _near(self, bounds: Bounds, crs: CRS) -> tuple[shapely.STRtree, list[str]]:
        """Return the polygons around a tile and their values. Read a window of many tiles at once,
        and hold a few such windows."""
        size = np.array([bounds[2] - bounds[0], bounds[3] - bounds[1]])
        middle = np.add(bounds[:2], bounds[2:]) / 2
        column, row = np.floor(middle / size / _CHUNK).astype(int).tolist()
        key = (column, row, *size.round(9).tolist(), crs)
        if key not in self._chunks:
            if len(self._chunks) == _CHUNKS:
                self._chunks.popitem(last=False)
            low = np.multiply((column, row), _CHUNK) * size - 2 * size
            high = np.multiply((column + 1, row + 1), _CHUNK) * size + 2 * size
            geometry, values = self._source.read((*low.tolist(), *high.tolist()), crs)
            self._chunks[key] = shapely.STRtree(geometry), list(map(value_text, values.tolist()))
        self._chunks.move_to_end(key)
        return self._chunks[key]

    def _areas(self, bounds: Bounds, crs: CRS) -> Counter[str]:
        """Return the polygons' area inside the imagery by value."""
        shapes, values = self._source.read(bounds, crs)
        areas: Counter[str] = Counter()
        inside = shapely.area(shapely.intersection(shapes, shapely.box(*bounds)))
        for value, area in zip(values, inside.tolist(), strict=True):
            areas[value_text(value)] += area
        return areas

    def _count_cells(self, bounds: Bounds, crs: CRS) -> Counter[str]:
        """Count the raster's pixels inside the imagery by value, those without data as ""."""
        cells: Counter[float] = Counter()
        without = 0
        for strip in self._source.strips(self._source.overlap(bounds, crs)):
            values, valid = self._source.read(strip)
            if values.dtype.kind == "f":
                self._check_whole(strip, values, valid)
            cells.update(pd.Series(values[valid]).value_counts(dropna=False).to_dict())
            without += int((~valid).sum())
            if len(cells) > MOST_COLOURS:
                raise PrepareError(f"{self.path}: more than {MOST_COLOURS:,} different values "
                                   "inside the imagery: a picture or a measurement, expected "
                                   f"{'colours' if self._coloured else 'numbers'} of classes. "
                                   "Pass labels= a raster or polygons of classes.")
        counts: Counter[str] = Counter()
        for cell, count in cells.items():
            counts[self._value(cell)] += count
        counts[""] += without
        return counts

    def _check_whole(self, window: Window, values: np.ndarray, valid: np.ndarray) -> None:
        """Raise PrepareError if a value [h, w] is no whole number, and no value that has a
        class."""
        odd = valid & ~np.isnan(values) & (values != np.rint(values))
        if odd.any() and (unnamed := [value for value in np.unique(values[odd]).tolist()
                                      if value_text(value) not in self._meaning]):
            row, column = np.argwhere(odd & (values == unnamed[0]))[0].tolist()
            raise PrepareError(f"{self.path}: the value in row {window.row_off + row}, column "
                               f"{window.col_off + column} is {unnamed[0]:.9g}, but classes are "
                               "whole numbers; the raster was perhaps resampled by averaging. "
                               "Make it again by nearest neighbour, or round its values with `rio "
                               "calc --not-masked '(rint (read 1 1))' "
                               f"{shlex.quote(str(self.path))} classes.tif`.")

    @property
    def _meaning(self) -> Mapping[str, int]:
        return self.legend.meaning if self.legend else {}

    def _look_up(self, values: Sequence[str]) -> np.ndarray:
        """Return the class of each value: uint8 [n]; raise PrepareError if one must not be
        there."""
        wrong = [value for value in values if self.legend.refuses(value)]
        if wrong:
            raise PrepareError(f"{self.path}: the value {wrong[0]} is no class, as when the "
                               "imagery was looked through; was the file changed meanwhile? Run "
                               "the command again.")
        classes = np.array([self._meaning.get(value, UNKNOWN) for value in values], np.uint8)
        named = [value for value in self._meaning if value.startswith("#")]
        near = [at for at, value in enumerate(values)
                if self._tolerance and value and value not in self._meaning]
        if near:
            distance, index = nearest_colours([values[at] for at in near], named)
            for at in np.flatnonzero(distance <= self._tolerance):
                classes[near[at]] = self._meaning[named[index[at]]]
        return classes


def _any_raster(path: Path, key: str) -> TargetRaster:
    """Return the raster at `path`, of colours if it has three bands of them."""
    with open_raster_file(path) as source:
        kind = ColourRaster if has_colours(source) else ClassRaster
    return kind(path, key)


def _usual_columns(columns: dict[str, str]) -> list[str]:
    return [name for name in columns if name.casefold() in USUAL_COLUMNS]


def _on_one_grid(one: Affine, other: Affine) -> bool:
    """Return whether the pixels of two grids of one CRS, rotated or not, coincide."""
    step = ~one @ other
    shift = np.array([step.c, step.f])
    return bool(np.allclose([step.a, step.b, step.d, step.e], [1, 0, 0, 1], atol=1e-6)
                and np.abs(shift - shift.round()).max() < _ALIGNED)
