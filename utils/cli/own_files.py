"""The files of a user's own --config-dir, checked before Hydra reads them: values, and no code.

Hydra would make an object of any Python class that such a file names, expand references within
references without end, and say in several lines what is wrong with a value.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from utils.config import check_type, is_group, keys_of
from utils.errors import ConfigError, one_line, printable

MOST_BYTES, MOST_DEPTH, MOST_ALIASES = 1 << 20, 50, 100
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
        try:
            text = path.read_bytes()[:MOST_BYTES + 1].decode()
            _check_structure(text)
            values = yaml.safe_load(text) if chosen else {}
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            if not chosen:
                continue  # not ours to judge
            raise ConfigError(f"{path}: {_reason(error)}, expected lines such as batch_size: 4; "
                              "mend the file") from error
        _check_types(schema, path, values)


def _files(folder: Path) -> Iterator[Path]:
    for depth in ("*", "*/*", "*/*/*"):
        yield from folder.glob(f"{depth}.yaml")


def _check_structure(text: str) -> None:
    """Raise ConfigError for more than a config of values has."""
    if len(text) > MOST_BYTES:
        raise ConfigError(f"is larger than {MOST_BYTES} bytes, expected a config of a few keys")
    depth = aliases = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > MOST_DEPTH or aliases > MOST_ALIASES:
            raise ConfigError("is nested too deeply or repeats itself too often, expected keys "
                              "and values")
    _check_runs_nothing(yaml.compose(text, yaml.SafeLoader), set())


def _check_runs_nothing(node: yaml.Node | None, seen: set[int]) -> None:
    """Raise ConfigError if a key in `node` names a Python class or function."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    for item in node.value:
        for inner in item if isinstance(item, tuple) else [item]:
            _check_runs_nothing(inner, seen)
        if isinstance(item, tuple) and (allowed := _RUNS.get(str(item[0].value))) is not None:
            what = str(item[1].value)
            if not what.startswith(allowed):
                raise ConfigError(f"{item[0].value}: {printable(what)} would run code, and a file "
                                  "may only hold values; remove it")


def _check_types(schema: type, path: Path, values: Any) -> None:
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}, expected lines such as "
                          "batch_size: 4; mend the file")
    keys = keys_of(schema)
    for name, value in (values or {}).items():
        refers = isinstance(value, str) and ("${" in value or value == "???")
        if name in keys and not is_group(keys[name]) and not refers:
            try:
                check_type(schema, name, value)
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return "is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else one_line(error)
