"""What both layouts know of a city: its tiles' names, and the JSON file that describes it."""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from utils.errors import TileError, one_line

LEAST_PIXELS = 16  # a common step of columns and rows from which on names count pixels
NO_CITY = "@"      # the compact layout's folder for tiles whose names have no city


def city_of(name: str) -> str | None:
    """Return the city in a tile's name `{city}_{col}_{row}`; None for a name of another form."""
    match = re.fullmatch(r"(.+)_\d+_\d+", name)
    return match and match[1]


def grid_cells(names: Sequence[str], among: Sequence[str] | None = None) -> np.ndarray:
    """Return column and row [n, 2] of tiles of one city, named `{city}_{col}_{row}`.

    The authors' published names count pixels (singapore_22176_12992). Names are taken to do so
    where all differences, `among` all names of the city, are multiples of at least
    LEAST_PIXELS."""
    cells, city = _numbers(names), _numbers(names if among is None else among)
    step = np.gcd.reduce(city - city[:1], axis=None)
    return (cells - city.min(0)) // step if step >= LEAST_PIXELS else cells


def _numbers(names: Sequence[str]) -> np.ndarray:
    return np.array([name.rsplit("_", 2)[1:] for name in names], dtype=np.int64)           # [n, 2]


def cities_of(names: Iterable[str]) -> list[str]:
    """Return the cities in tiles' names, sorted."""
    return sorted({city for city in map(city_of, names) if city})


def repeated(names: list[str]) -> str | None:
    """Return the first of sorted names that occurs twice; None if all differ."""
    return next((name for name, following in pairwise(names) if name == following), None)


def check_cities(cities: Sequence[str], present: list[str], root: Path) -> None:
    """Raise TileError if one of `cities` is not present in the dataset."""
    unknown = [city for city in cities if city not in present]
    if unknown:
        listing = ", ".join(present) or "none, for no tile's name has the form {city}_{col}_{row}"
        raise TileError(f"{root}: no tile of cities={','.join(unknown)}; the cities found are: "
                        f"{listing}; choose among them")


def read_meta(path: Path, remedy: str) -> dict:
    """Return the object in a JSON file, or raise TileError, whose message ends with `remedy`."""
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TileError(f"{path}: cannot be read as JSON ({one_line(error)}); {remedy}") from error
    if not isinstance(meta, dict):
        raise TileError(f"{path}: holds a {type(meta).__name__}, expected an object with "
                        f"label_names; {remedy}")
    return meta


def check_labels(labels: object, path: Path) -> None:
    """Raise TileError if the label names in the file `path` are neither absent nor strings."""
    if labels is not None and not (isinstance(labels, list)
                                   and all(isinstance(label, str) for label in labels)):
        raise TileError(f"{path}: label_names is {json.dumps(labels)[:60]}, expected a list of "
                        "strings; make the city again with prepare_dataset.py")
