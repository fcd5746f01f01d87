"""The files of a user's own --config-dir, checked before Hydra reads them: values, and no code.

Hydra would make an object of any Python class that such a file names, expand references within
references without end, and say in several lines what is wrong with a value.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from utils.config import check_type, is_group, keys_of
from utils.contents import Anything, ContentFault, Either, Fields, Null, Unbounded, parse_yaml
from utils.errors import ConfigError, printable

MOST_BYTES = 1 << 20
_VALUES = Either([Null(), Fields({})])
# what may stand under the keys that make objects: Hydra's own, its plugins', and of logging
_RUNS = {"_target_": ("hydra.", "hydra_plugins.", "utils.cli.grid.GridFolder"), "()": (),
         "class": ("logging.",)}


def check_own_files(schema: type, folder: Path, named: Sequence[str]) -> None:
    """Raise ConfigError if a file in `folder` names code to run, or one of the files `named`, such
    as `experiment/fast`, is no table of values, or gives a key a value of another type."""
    for path in sorted(_files(folder)):
        chosen = str(path.relative_to(folder).with_suffix("")) in named
        if not path.is_file():
            if chosen:
                raise ConfigError(f"{path}: is no file, expected one of keys and values")
            continue
        text = path.read_bytes()[:MOST_BYTES + 1]
        try:
            if len(text) > MOST_BYTES:
                raise ContentFault(f"is larger than {MOST_BYTES} bytes, expected a few keys")
            _check_runs_nothing(text)
            values = parse_yaml(text, _VALUES) if chosen else {}
        except ContentFault as error:
            raise ConfigError(f"{path}: {error}; mend the file") from error
        _check_types(schema, path, values or {})


def _files(folder: Path) -> Iterator[Path]:
    for depth in ("*", "*/*", "*/*/*"):
        yield from folder.glob(f"{depth}.yaml")


def _check_runs_nothing(text: bytes) -> None:
    """Raise ContentFault if a key names a Python class or function, or this cannot be known."""
    try:
        parse_yaml(text, Anything())
    except Unbounded:  # code may hide there
        raise
    except ContentFault:  # what is no YAML, Hydra cannot read either
        return
    nodes, seen = [yaml.compose(text, yaml.SafeLoader)], set()
    while nodes:
        node = nodes.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))
        for item in node.value:
            nodes += item if isinstance(item, tuple) else [item]
            name, what = (str(part.value) for part in item) if isinstance(item, tuple) else ("", "")
            if name in _RUNS and not what.startswith(_RUNS[name]):
                raise ContentFault(f"{name}: {printable(what)} would run code, and a file may only "
                                   "hold values")


def _check_types(schema: type, path: Path, values: dict[Any, Any]) -> None:
    keys = keys_of(schema)
    for name, value in values.items():
        refers = isinstance(value, str) and ("${" in value or value == "???")
        if name in keys and not is_group(keys[name]) and not refers:
            try:
                check_type(schema, name, value)
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from error
