"""Land use of tiles, one class a pixel, from a raster of classes or polygons with classes."""

import re
import shlex
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
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
from datasets.prepare.targets.colours import ColourRaster, colour_text, has_colours
from datasets.prepare.targets.polygons import TargetPolygons
from datasets.prepare.targets.rasters import OUTSIDE, TargetRaster, open_raster
from datasets.targets import CLASSES, IGNORED, UNKNOWN
from utils.contents import Anything, ContentFault, parse_yaml
from utils.errors import PrepareError, one_line

USUAL_COLUMNS = ("class", "class_id", "classid", "label", "land_use", "landuse", "category",
                 "code", "fclass", "gridcode")
_EXAMPLE = "'label_map={11:residential,12:8}'"  # quoted, or bash splits it
_LISTED = 12              # values named in a message
_CHUNK = (32, 8)          # tiles whose polygons are read at once
_CHUNKS = 8               # of them held
_ALIGNED = 1e-3           # pixels that two grids may be apart and count as one


class ClassRaster(TargetRaster):
    """A raster of class numbers."""

    def check_bands(self, source: rasterio.DatasetReader) -> None:
        """Raise PrepareError unless the raster has one band of numbers, with the colours of one
        that is coded by colours."""
        if has_colours(source):
            colours = ColourRaster(self.path, self.key).listing(_LISTED)
            named = ",".join(f'"{colour}":{CLASSES[index % len(CLASSES)]}'
                             for index, (colour, _) in enumerate(colours))
            shares = ", ".join(f"{colour} ({share:.1%})" for colour, share in colours)
            raise PrepareError(f"{self.path}: the raster has {source.count} bands, as one whose "
                               f"colours are the classes: {shares}. Say what each colour means, "
                               f"such as 'label_map={{{named}}}' (with your own classes), or in a "
                               "yaml file; or pass a raster of one band of class numbers.")
        super().check_bands(source)


class LandUse:
    """Land use classes of tiles; raise PrepareError if the file, its column or the map cannot be
    used.

    Args:
        path: a raster of one band of whole numbers, in any CRS and on any grid, or polygons
            (GeoPackage, GeoParquet, GeoJSON, Shapefile).
        label_map: the source's values (numbers, text, or colours #rrggbb) -> 0..8, a class's
            name, or 9, 255 or null for "unknown"; a mapping, or the path of a yaml or json file
            with one. None: the values are class numbers or names already.
        column: the polygons' class column; None takes the only one of a usual name.

    Attributes:
        files: every file that is read.
        notes: what the user should know; filled by `check`.
    """

    def __init__(self, path: str | Path, label_map: Mapping | str | Path | None = None,
                 column: str | None = None):
        self.path, self.notes = Path(path), []
        self._mapped = label_map is not None
        self._classes = read_label_map(label_map) if self._mapped else _own_values()
        self._coloured = any(value.startswith("#") for value in self._classes)
        kind = ColourRaster if self._coloured else ClassRaster
        self._source = open_raster(self.path, "labels", kind) or TargetPolygons(
            self.path, "labels", "label_column", column, _usual_columns)
        self._chunks: OrderedDict[tuple, tuple[shapely.STRtree, list[str]]] = OrderedDict()
        map_files = [Path(label_map)] if isinstance(label_map, str | Path) and not _is_inline(
            label_map) else []
        self.files = self._source.files + map_files

    def check(self, crs: Any, bounds: Bounds, transform: Affine | None = None) -> None:
        """Look through the source inside the imagery, before any tile is made.

        Args:
            transform: of the imagery's grid; `notes` then also names a raster of the same CRS
                whose grid is another.

        Raises:
            PrepareError: no overlap, values that are no classes and have no map, or a map that
                names none of the values.
        """
        crs = CRS.from_user_input(crs)
        if isinstance(self._source, TargetRaster):
            counts, unit = self._count_cells(bounds, crs), "pixels"
            if crs != self._source.crs or not (
                    transform is None or _on_one_grid(self._source.transform, transform)):
                self._note(f"{self.path.name}: on another grid than the imagery; resampled by "
                           "nearest neighbour")
        else:
            counts, unit = Counter(map(_text, self._source.overlap(bounds, crs))), "polygons"
            self.notes += self._source.notes
        self._look_up(list(counts))
        unnamed = Counter({value: count for value, count in counts.items() if value
                           and value not in self._classes})
        if unnamed and not set(counts) & set(self._classes):
            raise PrepareError(f"{self.path}: label_map names none of the values inside the "
                               f"imagery, which are {_listing(list(unnamed))}; it names "
                               f"{_listing(list(self._classes))}. Map them to 0..8 or to "
                               f"{', '.join(CLASSES)}.")
        if unnamed:
            values = ", ".join(f"{value} ({count})"
                               for value, count in unnamed.most_common(_LISTED))
            self._note(f"{self.path.name}: {unnamed.total()} {unit} of values that label_map does "
                       f"not name are unknown: {values}; {unnamed.total() / counts.total():.2%} "
                       f"of all {unit}")
        if counts[""]:
            self._note(f"{self.path.name}: {counts['']} {unit} without a value are unknown")

    def tile(self, bounds: Bounds, crs: Any, side: int) -> np.ndarray:
        """Return the classes of a tile of `side` x `side` pixels: uint8 [side, side], 0..8, or 255
        for unknown. Raise PrepareError if a value is no class and has no map, or the file is
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

    def _resampled(self, grid: Affine, crs: CRS, side: int) -> tuple[np.ndarray, list[str]]:
        """Return a tile's values: indices [side, side] into a list of distinct ones."""
        cells = self._source.resampled(grid, crs, side)
        codes, distinct = pd.factorize(cells.ravel())
        return codes.reshape(side, side), ["" if value == OUTSIDE else self._value(value)
                                           for value in distinct.tolist()]

    def _value(self, cell: float) -> str:
        """Return a cell's value like a map's keys."""
        return colour_text(cell) if self._coloured else _text(cell)

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
            self._chunks[key] = shapely.STRtree(geometry), list(map(_text, values.tolist()))
        self._chunks.move_to_end(key)
        return self._chunks[key]

    def _count_cells(self, bounds: Bounds, crs: CRS) -> Counter[str]:
        """Count the raster's pixels inside the imagery by value, those without data as ""."""
        counts: Counter[str] = Counter()
        for strip in self._source.strips(self._source.overlap(bounds, crs)):
            values, valid = self._source.read(strip)
            if values.dtype.kind == "f":
                self._check_whole(strip, values, valid)
            for value, count in pd.Series(values[valid]).value_counts(dropna=False).items():
                counts[self._value(value)] += count
            counts[""] += int((~valid).sum())
        return counts

    def _check_whole(self, window: Window, values: np.ndarray, valid: np.ndarray) -> None:
        """Raise PrepareError if a value [h, w] is no whole number, and no value that the map
        names."""
        odd = valid & ~np.isnan(values) & (values != np.rint(values))
        if odd.any() and (unnamed := [value for value in np.unique(values[odd]).tolist()
                                      if _text(value) not in self._classes]):
            row, column = np.argwhere(odd & (values == unnamed[0]))[0].tolist()
            raise PrepareError(f"{self.path}: the value in row {window.row_off + row}, column "
                               f"{window.col_off + column} is {unnamed[0]:.9g}, but classes are "
                               "whole numbers; the raster was perhaps resampled by averaging. "
                               "Make it again by nearest neighbour, or round its values with `rio "
                               "calc --not-masked '(rint (read 1 1))' "
                               f"{shlex.quote(str(self.path))} classes.tif`.")

    def _look_up(self, values: Sequence[str]) -> np.ndarray:
        """Return the class of each value: uint8 [n]; raise PrepareError if one is no class and
        there is no map."""
        wrong = [value for value in values if value and value not in self._classes]
        if wrong and not self._mapped:
            raise PrepareError(f"{self.path}: the values {_listing(wrong)} are no land use "
                               f"classes, which are 0..8 ({', '.join(CLASSES)}; 9 and 255 are "
                               "unknown). Say what yours mean with label_map=, such as "
                               f"'label_map={{{wrong[0]}:green}}', or a yaml file of lines such "
                               f"as `{wrong[0]}: green`.")
        return np.array([self._classes.get(value, UNKNOWN) for value in values], np.uint8)


def read_label_map(label_map: Mapping | str | Path) -> dict[str, int]:
    """Return a map of land use, or of the yaml or json file with one, with its keys as text and
    its classes as numbers, 255 for unknown; raise PrepareError for no such file, no mapping or no
    class."""
    where = "label_map"
    if _is_inline(label_map):
        label_map = _parse_map(str(label_map), f"label_map={label_map}")
    elif isinstance(label_map, str | Path):
        where, label_map = f"{label_map}", _load_map(Path(label_map))
    if not isinstance(label_map, Mapping) or not label_map:
        raise PrepareError(f"{where}: found {label_map!r}, expected a map from the source's "
                           f"values to classes, such as {_EXAMPLE} or, in a file, lines such as "
                           "`11: residential`.")
    for value in label_map:
        if isinstance(value, bool):
            raise PrepareError(f"{where}: a value is read as {value}; write it in quotes, such as "
                               "'yes' or 'no'.")
    return {_text(value): _class_number(where, value, name) for value, name in label_map.items()}


def _load_map(path: Path) -> Any:
    try:
        return _parse_map(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError) as error:
        if re.fullmatch(r"[^:/\\]+:[^:/\\.]+", str(path)):
            raise PrepareError(f"label_map={path}: no such file; the shell splits braces; write "
                               f"it in quotes: {_EXAMPLE}.") from error
        reason = getattr(error, "strerror", None) or one_line(error)
        raise PrepareError(f"{path}: {reason}. Pass a map such as {_EXAMPLE}, or label_map= a yaml "
                           "or json file of one.") from error


def _is_inline(label_map: Any) -> bool:
    """Return whether a map stands in a text itself, as the command line gives one with colours."""
    return isinstance(label_map, str) and label_map.lstrip().startswith("{")


def _parse_map(text: str, where: str) -> Any:
    """Return the map that yaml or json says; `#` before six hexadecimal digits begins a colour,
    not a comment."""
    text = re.sub(r"""(['"]?)(#[0-9A-Fa-f]{6})\1[ \t]*:(?=[^\n])""", r'"\2": ', text)
    try:
        return parse_yaml(text, Anything())
    except ContentFault as error:
        raise PrepareError(f"{where}: cannot be read as yaml or json: {error}, such as "
                           "`11: residential`.") from error


def _class_number(where: str, value: Any, name: Any) -> int:
    if name is None or _text(name) in ("unknown", "ignore", *map(str, IGNORED)):
        return UNKNOWN
    number = _own_values().get(_text(name)) if not isinstance(name, bool) else None
    if number is None:
        raise PrepareError(f"{where}: {value}: {name} is no class of land use; choose among 0..8 "
                           f"({', '.join(CLASSES)}), or 255 for unknown.")
    return number


def _own_values() -> dict[str, int]:
    """Return the class of each number and name that a class may be written as."""
    numbers = {str(number): number for number in range(len(CLASSES))}
    names = {name: number for number, name in enumerate(CLASSES)}
    return numbers | names | {str(value): UNKNOWN for value in IGNORED}


def _text(value: Any) -> str:
    """Return a value like a map's keys: 12, 12.0, "12" are one, as are "A" and "a"; "" is none."""
    if value is None or value != value:  # nan
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def _listing(values: list[str]) -> str:
    ordered = sorted(values, key=lambda value: (not value.lstrip("-").isdigit(),
                                                len(value) if value.isdigit() else 0, value))
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return ", ".join(ordered[:_LISTED]) + more


def _usual_columns(columns: dict[str, str]) -> list[str]:
    return [name for name in columns if name.casefold() in USUAL_COLUMNS]


def _on_one_grid(one: Affine, other: Affine) -> bool:
    """Return whether the pixels of two grids of one CRS, rotated or not, coincide."""
    step = ~one @ other
    shift = np.array([step.c, step.f])
    return bool(np.allclose([step.a, step.b, step.d, step.e], [1, 0, 0, 1], atol=1e-6)
                and np.abs(shift - shift.round()).max() < _ALIGNED)
