"""H3 cells: their numbers in a table, their centres and their outlines."""

import re
import sys
from pathlib import Path

import h3.api.basic_int as h3
import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS

from datasets.prepare.geo.crs import DEGREES, moved
from utils.errors import PrepareError

NAMES = re.compile(r"(h3|hex)(_?(index|cell|id|address|\d{1,2}|r(es)?_?\d{1,2}))?|hexagon_id",
                   re.IGNORECASE)
_HEX, _DECIMAL = re.compile(r"(0x)?0?8[0-9a-f]{14}", re.IGNORECASE), re.compile(r"\d{18}")
EARTH = 6_371_007.2  # metres, of a sphere
_WIDEST = 1.3  # radius of a cell, in average edges of its resolution; measured: 1.104


def cell_numbers(column: pa.Array, path: Path, name: str, first: int) -> np.ndarray:
    """Return the numbers of cells in a column of text or whole numbers: uint64 [n], 0 where there
    is none; raise PrepareError if one is no cell.

    Args:
        first: number of the column's first row, for messages.
    """
    numbers = np.zeros(len(column), np.uint64)
    for index, value in enumerate(column.to_pylist()):
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        number = _number(value)
        if number is None or not h3.is_valid_cell(number):
            raise PrepareError(f"{path}: {name} of row {first + index} is {str(value)[:40]!r}, no "
                               "H3 cell; expected 15 hexadecimal digits, such as "
                               "'88089ba4c5fffff', or the whole number. Mend the row, or export "
                               f"{name} again as text: programs round numbers of 18 digits.")
        numbers[index] = number
    return numbers


def _number(value: object) -> int | None:
    if isinstance(value, int):
        return value if 0 < value <= sys.maxsize else None
    text = str(value).strip()
    if _HEX.fullmatch(text):
        return int(text, 16)
    return int(text) if _DECIMAL.fullmatch(text) else None


def resolutions(numbers: np.ndarray) -> dict[int, int]:
    """Return resolution -> count of cells, without those numbered 0."""
    values, counts = np.unique(numbers[numbers > 0] >> np.uint64(52) & np.uint64(15),
                               return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def centres(numbers: np.ndarray) -> np.ndarray:
    """Return longitude and latitude of the cells' centres [n, 2], nan for number 0."""
    points = np.full((len(numbers), 2), np.nan)
    for index in np.flatnonzero(numbers):
        points[index] = h3.cell_to_latlng(int(numbers[index]))[::-1]
    return points


def radius(resolution: int) -> float:
    """Return metres from a cell's centre that none of its corners exceeds."""
    return _WIDEST * h3.average_hexagon_edge_length(resolution, unit="m")


def outlines(points: np.ndarray, resolution: int, crs: CRS) -> np.ndarray:
    """Return the cells around points [n, 2] in degrees as polygons of another CRS: [n]."""
    rings, sizes = [], []
    for longitude, latitude in points.tolist():
        cell = h3.latlng_to_cell(latitude, longitude, resolution)
        ring = np.array(h3.cell_to_boundary(cell))[:, ::-1]
        rings.append(ring)
        sizes.append(len(ring))
    if not rings:
        return np.empty(0, object)
    corners = moved(np.concatenate(rings), DEGREES, crs)
    return shapely.polygons(shapely.linearrings(corners, indices=np.repeat(np.arange(len(sizes)),
                                                                           sizes)))
