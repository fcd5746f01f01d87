"""The table of layers, and the tags that a source's text columns hold.

The table (`configs/osm_layers.yaml`, or the user's own) has one rule per OSM key: its layer, the
values it takes, and what its points and lines become. Tags without a rule end here.
"""

import functools
import json
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.prepare.text.describe import all_tags, tag_line
from utils.contents import Anything, ContentFault, parse_yaml
from utils.errors import ConfigError, one_line

# of the paper, in the order of nodes and label codes
LAYERS = ("amenity", "building", "landuse", "leisure", "nature", "road")
LINES = ("ring", "buffer", "drop")
_LAYERS_FILE = Path(__file__).parents[3] / "configs" / "osm_layers.yaml"
MOST_METRES = 100_000
_MOST_BYTES = 1 << 20
_MOST_SHOWN = 120  # characters of a value in a message
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring = 3, 60
_RULE_KEYS = ("layer", "points", "lines", "only", "except")
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_TEXT = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_PAIR = rf"{_TEXT}\s*:\s*(?:{_TEXT}|None|nan)"
_DICT = re.compile(rf"\s*\{{\s*{_PAIR}(?:\s*,\s*{_PAIR})*\s*\}}\s*")
_DICT_PAIR = re.compile(rf"({_TEXT})\s*:\s*(?:({_TEXT})|None|nan)")
_HSTORE = re.compile(rf"{_QUOTED}\s*=>\s*{_QUOTED}")

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Rule:
    """The rule for objects with one OSM key."""

    key: str
    layer: int                   # index into the layer names
    radius_m: float | None       # of the disc that a point becomes; None: points are left out
    lines: str                   # `ring`, `buffer` or `drop`, see `configs/osm_layers.yaml`
    only: frozenset[str] | None  # the values taken; None: all but `without`
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
    # rule and value of the tags that features of vector files get if they have none
    defaults: tuple[tuple[int, str], ...] = ()
    describe: str = "value"  # what of a tagged object is encoded as text: `text.describe=`

    @functools.cached_property
    def rule_of_key(self) -> dict[str, int]:
        """Index of each key's rule."""
        return {rule.key: index for index, rule in enumerate(self.rules)}

    @property
    def default_text(self) -> str:
        """The default tags as `default_tags=` states them."""
        return ",".join(f"{self.rules[rule].key}={value}" for rule, value in self.defaults)

    @property
    def margin_m(self) -> float:
        """The farthest that a disc or a widened line reaches beyond its point or centre line."""
        radii = [rule.radius_m for rule in self.rules if rule.radius_m is not None]
        if any(rule.lines == "buffer" for rule in self.rules):
            radii += [width / 2 for width in (self.default_width_m, *self.width_m.values())]
        return max([0, *radii])

    def key_for(self, name: str) -> str | None:
        """Return the key that a file or column names: itself, or the first one of that layer."""
        name = name.casefold()
        if name in self.rule_of_key:
            return name
        return next((rule.key for rule in self.rules if LAYERS[rule.layer] == name), None)

    def matches(self, pairs: Pairs) -> list[tuple[int, str]]:
        """Return rule index and value of the tags (key, value) that a rule takes. Keys may be in
        any case; blank values are no tags."""
        matched = []
        for key, value in pairs:
            rule, value = self.rule_of_key.get(key.strip().casefold()), value.strip()
            if rule is not None and value and self.rules[rule].takes(value):
                matched.append((rule, value))
        return matched

    @property
    def reads_all(self) -> bool:
        """Whether texts are made of all tags of an object, not only of those that a rule takes."""
        return self.describe == "tags"

    def text(self, rule: int, value: str, tags: Pairs = ()) -> str:
        """Return the text of an object with a tag of this rule; `tags` are all of the object, and
        needed only where the table `reads_all`."""
        if self.describe == "value":
            return value
        key = self.rules[rule].key
        if not self.reads_all:
            return tag_line(key, value)
        return all_tags(key, value, tags, self.rule_of_key)


@dataclass(frozen=True)
class Tagged:
    """One chunk of a source: the features that a rule takes, and a row for each of their tags.

    Each feature that was read has a tag here, or was dropped, or has no tag that a rule takes.
    """

    read: int  # features read for this chunk, those dropped or without a tag that counts included
    wkb: np.ndarray  # [features] object, bytes or hexadecimal; None where there is no geometry
    owner: np.ndarray  # [tags] feature of each tag, ascending
    rule: np.ndarray  # [tags] index of the tag's rule
    value: np.ndarray  # [tags] object, the tag's value
    text: np.ndarray   # [tags] object, what is encoded of the feature, as `LayerTable.text`
    dropped: Counter[str]  # features that cannot be read, by reason
    partial: int = 0  # features of which only a part could be read
    defaulted: int = 0  # features whose tags are the table's defaults
    elements: np.ndarray | None = None  # [features] int64, `element_ids.element_key`; None: unknown


def listed(counts: Mapping[str, int]) -> str:
    """Return counts in words, without those of zero: `3 points, 1 empty geometry`."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def tag_rows(codes: np.ndarray, words: list[str], parse: Callable[[str], Pairs],
             table: LayerTable) -> tuple[np.ndarray, ...]:
    """Return the tags of a text column; each distinct word is parsed once.

    Args:
        codes: [n] index of each row's word; -1: no text.
        words: the column's distinct words.

    Returns:
        [tags] each: row that the tag belongs to (ascending), its rule, and its value (object).
    """
    matches = [table.matches(parse(word)) for word in words]
    rule = np.array([rule for tags in matches for rule, _ in tags], dtype=np.int64)
    value = np.array([value for tags in matches for _, value in tags], dtype=object)
    size = np.array([len(tags) for tags in matches] + [0], dtype=np.int64)  # the last: of code -1
    start = np.concatenate([[0], np.cumsum(size[:-1])])
    count = size[codes]
    owner = np.repeat(np.arange(len(codes)), count)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    index = start[codes][owner] + within
    return owner, rule[index], value[index]


def label_pairs(text: str) -> Pairs:
    """Return the tags of `key:value;key:value`; a value may hold a colon."""
    return [(key, value) for key, _, value in (pair.partition(":") for pair in text.split(";"))]


def packed_pairs(text: str) -> Pairs:
    """Return the tags of an hstore (GDAL's and osm2pgsql's), of a JSON object (HOT's), or of a
    JSON list of keys and values (ohsome's, Overture's), or of a dict as Python writes it. Raise
    ValueError for any other text."""
    if text.lstrip().startswith(("{", "[")):
        try:
            return _json_pairs(json.loads(text))
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        except ValueError:
            if not _DICT.fullmatch(text):
                raise
            return [(_unescaped(key), _unescaped(value))
                    for key, value in _DICT_PAIR.findall(text)]
    if text.strip() and "=>" not in text:
        raise ValueError("neither an hstore nor JSON")
    return [(key, re.sub(r"\\(.)", r"\1", value)) for key, value in _HSTORE.findall(text)]


def _unescaped(text: str) -> str:
    """Return a text of Python without its quotes."""
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _json_pairs(tags: Any) -> Pairs:
    if isinstance(tags, dict):
        found = tags.items()
    else:
        found = [tuple(row) if isinstance(row, list) else _key_and_value(row)
                 for row in tags if isinstance(row, dict) or (isinstance(row, list)
                                                              and len(row) == 2)]
    return [(key, text) for key, value in found
            if isinstance(key, str) and (text := _json_text(value))]


def _key_and_value(row: dict[str, Any]) -> tuple[Any, Any]:
    row = {name.casefold(): value for name, value in row.items()}
    return row.get("k", row.get("key")), row.get("v", row.get("value"))


def _json_text(value: Any) -> str:
    """Return a tag's value as text: yes for true, the first of a list, "" for what is none."""
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else "yes" if value is True else ""


def load_layers(path: str | Path | None = None, default_tags: str | None = None,
                describe: str = "value") -> LayerTable:
    """Return a table of layers.

    Args:
        path: None: `configs/osm_layers.yaml`.
        default_tags: of features without tags, such as `building=yes,highway=residential`.
        describe: one of `describe.DESCRIPTIONS`.

    Raises:
        ConfigError: the file cannot be read, a row has an unknown name, a wrong type or an
            impossible number, or no row takes a default tag.
    """
    path = _LAYERS_FILE if path is None else Path(path)
    copy = "Copy configs/osm_layers.yaml and change the copy."
    try:
        if path.stat().st_size > _MOST_BYTES or not path.is_file():
            raise ConfigError(f"layers={path}: no file of {_MOST_BYTES} bytes or fewer. {copy}")
        content = parse_yaml(path.read_bytes(), Anything())
    except OSError as error:
        raise ConfigError(f"layers={path}: cannot be read ({one_line(error)}). {copy}") from error
    except ContentFault as error:
        raise ConfigError(f"layers={path}: not YAML: {error}. {copy}") from error
    _check_names(path, "the file", content, ("keys", "width_m"), needed=("keys",))
    if not isinstance(content["keys"], dict) or not content["keys"]:
        raise ConfigError(f"layers={path}: keys={_shown(content['keys'])}: expected a row for "
                          "each OSM key, such as building: {layer: building, points: drop, "
                          "lines: ring}")
    rules = tuple(_rule(path, key, row) for key, row in content["keys"].items())
    widths = _widths(path, content.get("width_m"),
                     needed=any(rule.lines == "buffer" for rule in rules))
    default = widths.pop("default")
    table = LayerTable(path, rules, widths, default, describe=describe)
    return table if default_tags is None else replace(table, defaults=_defaults(table,
                                                                                default_tags))


def _defaults(table: LayerTable, text: str) -> tuple[tuple[int, str], ...]:
    """Return rule and value of tags stated as `key=value,key=value`, in brackets or not."""
    tags: dict[int, str] = {}
    for pair in text.strip().removeprefix("[").removesuffix("]").split(","):
        key, _, value = (part.strip() for part in pair.partition("="))
        if not key or not value:
            raise ConfigError(f"default_tags={text}: {pair.strip() or 'an empty text'} is no tag; "
                              "expected KEY=VALUE, such as building=yes, several with commas "
                              "between")
        rule = table.rule_of_key.get(key.casefold())
        if rule is None:
            raise ConfigError(f"default_tags={text}: no row of {table.path} takes the key {key}; "
                              f"choose one of {', '.join(table.rule_of_key)}")
        if not table.rules[rule].takes(value):
            raise ConfigError(f"default_tags={text}: the row {key} of {table.path} leaves out the "
                              f"value {value}; choose another, such as {key}=yes")
        if rule in tags:
            raise ConfigError(f"default_tags={text}: gives {key} twice, expected one value a key")
        tags[rule] = value
    return tuple(sorted(tags.items()))


def _shown(value: Any) -> str:
    """Return a value for a message; nested values, which may repeat one another, are cut."""
    text = _SHORT.repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _check_names(path: Path, where: str, values: Any, allowed: tuple[str, ...],
                 needed: tuple[str, ...]) -> None:
    if not isinstance(values, dict):
        raise ConfigError(f"layers={path}: {where} is {_shown(values)}; expected the names "
                          f"{', '.join(allowed)} with values")
    unknown = [name for name in values if name not in allowed]
    if unknown:
        raise ConfigError(f"layers={path}: unknown name {_shown(unknown[0])} in {where}; "
                          f"allowed are {', '.join(allowed)}")
    missing = [name for name in needed if name not in values]
    if missing:
        raise ConfigError(f"layers={path}: {where} lacks {missing[0]}; needed are "
                          f"{', '.join(needed)}")


def _rule(path: Path, key: Any, row: Any) -> Rule:
    if not isinstance(key, str) or not key or key != key.strip().casefold():
        raise ConfigError(f"layers={path}: key {_shown(key)}: expected an OSM key, text in "
                          "lower case")
    where = f"keys.{key}"
    _check_names(path, where, row, _RULE_KEYS, needed=("layer", "points", "lines"))
    for name, allowed in (("layer", LAYERS), ("lines", LINES)):
        if row[name] not in allowed:
            raise ConfigError(f"layers={path}: {where}.{name}={_shown(row[name])}: choose one of "
                              f"{', '.join(allowed)}")
    radius = (None if row["points"] == "drop"
              else _metres(path, f"{where}.points", row["points"], " or drop"))
    if "only" in row and "except" in row:
        raise ConfigError(f"layers={path}: {where} has both only and except; give one of them")
    only, without = (_values(path, f"{where}.{name}", row[name]) if name in row else None
                     for name in ("only", "except"))
    return Rule(key, LAYERS.index(row["layer"]), radius, row["lines"], only,
                without or frozenset())


def _metres(path: Path, where: str, value: Any, also: str = "") -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= MOST_METRES:
        raise ConfigError(f"layers={path}: {where}={_shown(value)}: expected metres above "
                          f"0{also}, {MOST_METRES:,} at most")
    return float(value)


def _values(path: Path, where: str, values: Any) -> frozenset[str]:
    texts = isinstance(values, list) and all(isinstance(value, str) for value in values)
    if not texts or not values:
        raise ConfigError(f"layers={path}: {where}={_shown(values)}: expected a list of values "
                          "such as [water, wood]; put yes, no and numbers in quotes, as YAML "
                          "takes them for something else")
    return frozenset(values)


def _widths(path: Path, widths: Any, needed: bool) -> dict[str, float]:
    if widths is None and not needed:
        return {"default": 0.0}
    if not isinstance(widths, dict) or "default" not in widths:
        raise ConfigError(f"layers={path}: width_m={_shown(widths)}: expected widths in metres by "
                          "value, with one called default, as a key has lines: buffer")
    for value in widths:
        if not isinstance(value, str):
            raise ConfigError(f"layers={path}: width_m has the value {_shown(value)}; expected "
                              "text, in quotes if it is yes, no or a number")
    return {value: _metres(path, f"width_m.{value}", width) for value, width in widths.items()}
