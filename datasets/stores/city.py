"""What both layouts know of a city: its tiles' names, and the JSON file that describes it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from datasets.targets import MOST_CLASSES
from utils.contents import Anything, Fields, Items, Number, Rule, Table, Text, Whole
from utils.errors import TileError

LEAST_PIXELS = 16  # a common step of columns and rows from which on names count pixels
MODALITIES = ("image", "osm")
NO_CITY = "@"      # the compact layout's folder for tiles whose names have no city


@dataclass(frozen=True)
class _Known:
    """A value of a rule; null where it is not known."""

    rule: Rule

    def check(self, value: Any, at: str) -> Any:
        return value if value is None else self.rule.check(value, at)


CAPTION = Text(most=200, line=True)  # of a class or a total, on pages and in terminals
# What the maker of a city says of it; whatever is not known is missing or null.
META = Fields({}, {name: _Known(rule) for name, rule in {
    "label_names": Items(Text()), "label_layers": Items(_Known(Text())), "crs": Text(),
    "transform": Items([Number()] * 6), "raster_size": Items([Whole(least=1)] * 2),
    "metres_per_pixel": Items([Number(least=0)] * 2), "tile_px": Whole(least=1),
    "classes": Items(CAPTION, least=2, most=MOST_CLASSES),
    "class_colours": Items(Text(pattern="#[0-9a-f]{6}"), most=MOST_CLASSES),
    "stride": Whole(least=1), "text": Table(Anything()),
    "keys": Fields({}, dict.fromkeys(("population_what", "co2_what"), _Known(CAPTION))),
    "modalities": Items(Text(MODALITIES), least=1),
}.items()})


def modalities_of(meta: dict[str, Any]) -> tuple[str, ...]:
    """Return what a city's tiles have, by its meta file: both image and OSM objects unless it says
    otherwise."""
    return tuple(meta.get("modalities") or MODALITIES)


def in_words(modalities: Sequence[str]) -> str:
    """Return what tiles have, for a message."""
    words = {"image": "imagery", "osm": "OSM objects"}
    return " and ".join(words[name] for name in modalities)


def city_of(name: str) -> str | None:
    """Return the city in a tile's name `{city}_{col}_{row}`; None for a name of another form."""
    match = re.fullmatch(r"(.+)_[0-9]{1,18}_[0-9]{1,18}", name)
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


def check_cities(cities: Sequence[str], present: list[str], root: Path,
                 key: str = "cities") -> None:
    """Raise TileError if one of `cities`, given by a key, is not present in the dataset."""
    unknown = [city for city in cities if city not in present]
    if unknown:
        listing = ", ".join(present) or "none, for no tile's name has the form {city}_{col}_{row}"
        raise TileError(f"{root}: no tile of {key}={','.join(unknown)}; the cities found are: "
                        f"{listing}; choose among them")
