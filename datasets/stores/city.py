"""Cities: their tiles' names, and the JSON file that describes one as a whole, in either
layout."""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from utils.errors import TileError, one_line

LEAST_PIXELS = 16  # along a tile's side, of those whose names count pixels
NO_CITY = "@"  # the compact layout's folder for tiles whose names have no city


def city_of(name: str) -> str | None:
    """The city in a tile's name `{city}_{col}_{row}`; None for a name of another form."""
    parts = re.fullmatch(r"(.+)_\d+_\d+", name)
    return parts and parts[1]


def places_of(names: Sequence[str], among: Sequence[str] | None = None) -> np.ndarray:
    """Column and row [n, 2] in tiles, of the names of one city's tiles, each of the form
    `{city}_{col}_{row}`.

    Args:
        among: the names of all the city's tiles, where `names` are some of them.

    The authors' published tiles count pixels, such as singapore_22176_12992: that is taken for
    granted where all differences are multiples of a number that columns and rows would not share
    by chance.
    """
    places, all_places = _numbers(names), _numbers(names if among is None else among)
    step = np.gcd.reduce(all_places - all_places[:1], axis=None)
    return (places - all_places.min(0)) // step if step >= LEAST_PIXELS else places


def _numbers(names: Sequence[str]) -> np.ndarray:
    return np.array([name.rsplit("_", 2)[1:] for name in names], dtype=np.int64)           # [n, 2]


def cities_of(names: Iterable[str]) -> list[str]:
    """The cities of the tiles called so, sorted."""
    return sorted({city for city in map(city_of, names) if city})


def repeated(names: list[str]) -> str | None:
    """The first of sorted names that comes twice, if any."""
    return next((one for one, other in pairwise(names) if one == other), None)


def check_cities(cities: Sequence[str], found: list[str], root: Path) -> None:
    """Raises TileError where one of `cities` is not among those found in the dataset."""
    unknown = [city for city in cities if city not in found]
    if unknown:
        listing = ", ".join(found) or "none, for no tile's name has the form {city}_{col}_{row}"
        raise TileError(f"{root}: no tile of cities={','.join(unknown)}; the cities found are: "
                        f"{listing}; choose among them")


def read_meta(path: Path, remedy: str) -> dict:
    """The object in a JSON file.

    Args:
        path: the file.
        remedy: of the message, should there be need.

    Raises:
        TileError: it cannot be read, or holds something else.
    """
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TileError(f"{path}: cannot be read as JSON ({one_line(error)}); {remedy}") from error
    if not isinstance(meta, dict):
        raise TileError(f"{path}: holds a {type(meta).__name__}, expected an object with "
                        f"label_names; {remedy}")
    return meta


def check_labels(labels: object, path: Path) -> None:
    """Raises TileError where the label names of the file at `path` are neither absent nor a list
    of strings."""
    if labels is not None and not (isinstance(labels, list)
                                   and all(isinstance(label, str) for label in labels)):
        raise TileError(f"{path}: label_names is {json.dumps(labels)[:60]}, expected a list of "
                        "strings; make the city again with prepare_dataset.py")
