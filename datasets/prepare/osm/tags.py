"""The table of layers, and the tags that a source's text columns hold.

The table (`configs/osm_layers.yaml`, or the user's own) has one rule per OSM key: its layer, the
values it takes, and what its points and lines become. A tag that no rule takes is not seen by
anything after this file.
"""

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from utils.errors import ConfigError

# of the paper, in the order of nodes and label codes
LAYERS = ("amenity", "building", "landuse", "leisure", "nature", "road")
LINES = ("ring", "buffer", "drop")
_LAYERS_FILE = Path(__file__).parents[3] / "configs" / "osm_layers.yaml"
_RULE_KEYS = ("layer", "points", "lines", "only", "except")
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_HSTORE = re.compile(rf"{_QUOTED}\s*=>\s*{_QUOTED}")

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Rule:
    """What becomes of the objects with one OSM key.

    Attributes:
        layer: index into the layer names.
        radius_m: of the disc that a point becomes; None: points are left out.
        lines: `ring`, `buffer` or `drop`, see `configs/osm_layers.yaml`.
        only: the values taken; None: all but `without`.
    """

    key: str
    layer: int
    radius_m: float | None
    lines: str
    only: frozenset[str] | None
    without: frozenset[str]

    def takes(self, value: str) -> bool:
        return value in self.only if self.only is not None else value not in self.without


@dataclass(frozen=True)
class LayerTable:
    """The rules by key, and the widths in metres of widened lines by the value of their key."""

    path: Path
    rules: tuple[Rule, ...]
    width_m: dict[str, float]
    default_width_m: float

    @property
    def names(self) -> tuple[str, ...]:
        return LAYERS

    @functools.cached_property
    def rule_of_key(self) -> dict[str, int]:
        """Index of each key's rule."""
        return {rule.key: index for index, rule in enumerate(self.rules)}

    @property
    def layer_of_key(self) -> dict[str, int]:
        return {rule.key: rule.layer for rule in self.rules}

    @property
    def margin_m(self) -> float:
        """How far a disc or a widened line reaches beyond its point or centre line at most."""
        radii = [rule.radius_m for rule in self.rules if rule.radius_m is not None]
        widths = [self.default_width_m,
                  *self.width_m.values()] if any(rule.lines == "buffer"
                                                 for rule in self.rules) else []
        return max([0, *radii, *(width / 2 for width in widths)])

    def key_for(self, name: str) -> str | None:
        """The key that a file or column called `name` stands for: that key, or the first one of
        the layer of that name."""
        name = name.casefold()
        if name in self.rule_of_key:
            return name
        return next((rule.key for rule in self.rules if LAYERS[rule.layer] == name), None)

    def matches(self, pairs: Pairs) -> list[tuple[int, str]]:
        """Rule index and value of the tags (key, value) that a rule takes; keys in any case, blank
        values are no tags."""
        found = []
        for key, value in pairs:
            rule, value = self.rule_of_key.get(key.strip().casefold()), value.strip()
            if rule is not None and value and self.rules[rule].takes(value):
                found.append((rule, value))
        return found


@dataclass(frozen=True)
class Tagged:
    """One chunk of a source: the features that a rule takes, and one row for each of their tags.

    Attributes:
        read: features that the source gave for this chunk, those without a tag that counts
            included.
        wkb: [features] object, well-known binary in bytes or hexadecimal; None where there is no
            geometry.
        owner: [tags] feature of each tag, ascending.
        rule: [tags] index of the tag's rule.
        value: [tags] object, the tag's value.
        dropped: features that cannot be had, by reason.
    """

    read: int
    wkb: np.ndarray
    owner: np.ndarray
    rule: np.ndarray
    value: np.ndarray
    dropped: Counter[str]


def listed(counts: Mapping[str, int]) -> str:
    """Counts in words: `3 points, 1 empty geometry`; those of zero are left out."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def tag_rows(codes: np.ndarray, words: list[str], parse: Callable[[str], Pairs],
             table: LayerTable) -> tuple[np.ndarray, ...]:
    """The tags of a text column, given as place [n] of each row in its distinct words (below 0: no
    text); each word is parsed once.

    Returns:
        owner [tags] row that each tag belongs to, ascending; rule [tags] its rule; value [tags]
        its value, object.
    """
    found = [table.matches(parse(word)) for word in words]
    rule = np.array([rule for tags in found for rule, _ in tags], dtype=np.int64)
    value = np.array([value for tags in found for _, value in tags], dtype=object)
    # the last one is that of code -1
    size = np.array([len(tags) for tags in found] + [0], dtype=np.int64)
    start = np.concatenate([[0], np.cumsum(size[:-1])])
    count = size[codes]
    owner = np.repeat(np.arange(len(codes)), count)
    inside = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    place = start[codes][owner] + inside
    return owner, rule[place], value[place]


def label_pairs(text: str) -> Pairs:
    """Tags of `key:value;key:value`; a value may hold a colon."""
    return [(key, value) for key, _, value in (pair.partition(":") for pair in text.split(";"))]


def packed_pairs(text: str) -> Pairs:
    """Tags of an hstore (`"key"=>"value","key"=>"value"`), as GDAL and osm2pgsql write it, or of a
    JSON object, as HOT exports do."""
    if text.lstrip().startswith("{"):
        try:
            return [(key, value) for key, value in json.loads(text).items()
                    if isinstance(value, str)]
        except ValueError:
            return []
    return [(key, re.sub(r"\\(.)", r"\1", value)) for key, value in _HSTORE.findall(text)]


def load_layers(path: str | Path | None = None) -> LayerTable:
    """The table of layers in `path`; None: `configs/osm_layers.yaml`.

    Raises:
        ConfigError: no such file, not YAML, or a row with an unknown name, a wrong type or an
            impossible number.
    """
    path = _LAYERS_FILE if path is None else Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"layers={path}: cannot be read ({error.strerror}). Copy "
                          "configs/osm_layers.yaml and change the copy.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"layers={path}: not YAML ({' '.join(str(error).split())[:160]}). "
                          f"Copy configs/osm_layers.yaml and change the copy.") from error
    _check_names(path, "the file", content, ("keys", "width_m"), needed=("keys",))
    if not isinstance(content["keys"], dict) or not content["keys"]:
        raise ConfigError(f"layers={path}: keys={content['keys']!r}: expected a row for each OSM "
                          "key, such as building: {layer: building, points: drop, lines: ring}")
    rules = tuple(_rule(path, key, row) for key, row in content["keys"].items())
    widths = _widths(path, content.get("width_m"),
                     needed=any(rule.lines == "buffer" for rule in rules))
    return LayerTable(path, rules,
                      {value: width for value, width in widths.items() if value != "default"},
                      widths["default"])


def _check_names(path: Path, where: str, found: Any, allowed: tuple[str, ...],
                 needed: tuple[str, ...]) -> None:
    if not isinstance(found, dict):
        raise ConfigError(f"layers={path}: {where} is {found!r}; expected the names "
                          f"{', '.join(allowed)} with values")
    unknown = [name for name in found if name not in allowed]
    if unknown:
        raise ConfigError(f"layers={path}: unknown name {unknown[0]!r} in {where}; allowed are "
                          f"{', '.join(allowed)}")
    missing = [name for name in needed if name not in found]
    if missing:
        raise ConfigError(f"layers={path}: {where} lacks {missing[0]}; needed are "
                          f"{', '.join(needed)}")


def _rule(path: Path, key: Any, row: Any) -> Rule:
    if not isinstance(key, str) or not key or key != key.strip().casefold():
        raise ConfigError(f"layers={path}: key {key!r}: expected an OSM key, text in lower case")
    where = f"keys.{key}"
    _check_names(path, where, row, _RULE_KEYS, needed=("layer", "points", "lines"))
    for name, allowed in (("layer", LAYERS), ("lines", LINES)):
        if row[name] not in allowed:
            raise ConfigError(f"layers={path}: {where}.{name}={row[name]!r}: choose one of "
                              f"{', '.join(allowed)}")
    radius = None if row["points"] == "drop" else _metres(path, f"{where}.points", row["points"],
                                                          " or drop")
    if "only" in row and "except" in row:
        raise ConfigError(f"layers={path}: {where} has both only and except; give one of them")
    only, without = (_values(path, f"{where}.{name}", row[name]) if name in row else None
                     for name in ("only", "except"))
    return Rule(key, LAYERS.index(row["layer"]), radius, row["lines"], only,
                without or frozenset())


def _metres(path: Path, where: str, value: Any, also: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value,
                                                 int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"layers={path}: {where}={value!r}: expected metres above 0{also}")
    return float(value)


def _values(path: Path, where: str, values: Any) -> frozenset[str]:
    if not isinstance(values, list) or not values or not all(isinstance(value, str)
                                                             for value in values):
        raise ConfigError(f"layers={path}: {where}={values!r}: expected a list of values such as "
                          "[water, wood]; put yes, no and numbers in quotes, as YAML takes them "
                          "for something else")
    return frozenset(values)


def _widths(path: Path, widths: Any, needed: bool) -> dict[str, float]:
    if widths is None and not needed:
        return {"default": 0.0}
    if not isinstance(widths, dict) or "default" not in widths:
        raise ConfigError(f"layers={path}: width_m={widths!r}: expected widths in metres by "
                          "value, with one called default, as a key has lines: buffer")
    for value in widths:
        if not isinstance(value, str):
            raise ConfigError(f"layers={path}: width_m has the value {value!r}; expected text, in "
                              "quotes if it is yes, no or a number")
    return {value: _metres(path, f"width_m.{value}", width) for value, width in widths.items()}
