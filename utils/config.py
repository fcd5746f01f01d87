"""The keys of each script: their types and allowed values. The values, and what each key means,
stand in configs/*.yaml."""

import dataclasses
import operator
from dataclasses import field
from typing import Any, get_args, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from utils.errors import ConfigError
from utils.recipes import Recipe

_BOUNDS = (("above", "above {}", operator.gt), ("least", "{} or more", operator.ge),
           ("below", "below {}", operator.lt),
           ("most", "{} or less", operator.le))
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text",
               Any: "a path, or pairs such as {5:0,6:1}"}


def key(
    choices: tuple = (), above: float | None = None, least: float | None = None,
    below: float | None = None, most: float | None = None,
    why: str = "",
) -> Any:
    """A key without a default (the yaml has it) and with the values it may take; `above` and
    `below` exclude their bound."""
    return field(metadata={"choices": choices, "above": above, "least": least, "below": below,
                           "most": most, "why": why})


def is_group(item: dataclasses.Field) -> bool:
    """Whether a key is a group of keys, such as `text` of `text.model`."""
    return dataclasses.is_dataclass(item.type)


def keys_of(schema: type) -> dict[str, dataclasses.Field]:
    """The keys of a script by name, those of groups with a dot: `text` and `text.model`."""
    keys = {}
    for item in dataclasses.fields(schema):
        keys[item.name] = item
        if is_group(item):
            keys |= {f"{item.name}.{name}": inner for name, inner in keys_of(item.type).items()}
    return keys


def check_keys(values: dict[str, Any], schema: type) -> None:
    """Raises ConfigError for the first of `values`, keys of `schema` outside its groups, that is
    of another type or impossible."""
    keys = {item.name: item for item in dataclasses.fields(schema) if not is_group(item)}
    for name, value in values.items():
        try:
            OmegaConf.merge(OmegaConf.structured(schema), {name: value})
        except OmegaConfBaseException as error:
            raise ConfigError(f"{name}={value}: expected {type_name(keys[name])}") from error
        if value is not None:
            _check_value(name, value, keys[name].metadata)


def check_values(cfg: Any, prefix: str = "") -> None:
    """Raises ConfigError for the first key of `cfg`, or of a group in it, that is missing or has
    an impossible value."""
    for item in dataclasses.fields(cfg):
        name, value = f"{prefix}{item.name}", getattr(cfg, item.name)
        if is_group(item):
            check_values(value, f"{name}.")
        elif value == "":
            raise ConfigError(f"{name}=: no value given; write {name}=..., without spaces "
                              "around =")
        elif value is not None and item.metadata:
            _check_value(name, value, item.metadata)


def _check_value(name: str, value: Any, rule: dict) -> None:
    if rule["choices"] and value not in rule["choices"]:
        raise ConfigError(f"{name}={value}: choose one of {', '.join(rule['choices'])}")
    bounds = [(words.format(rule[bound]), holds(value, rule[bound]))
              for bound, words, holds in _BOUNDS if rule[bound] is not None]
    if not all(kept for _, kept in bounds):
        raise ConfigError(f"{name}={value}: must be {' and '.join(words for words, _ in bounds)}")


def type_name(item: dataclasses.Field) -> str:
    """What the values of a key are, in words."""
    inner = [part for part in get_args(item.type) if part is not type(None)]
    if inner and type(None) in get_args(item.type):
        return f"{_plain_type_name(inner[0])} or null"
    return _plain_type_name(item.type)


def _plain_type_name(hint: Any) -> str:
    if hint in _TYPE_NAMES:
        return _TYPE_NAMES[hint]
    return "a list such as " + {int: "[90,110]", float: "[2,98]"}.get(get_args(hint)[0], "[a,b]")


def recipe_key(name: str) -> Any:
    """A key that takes the values of the recipe's `name`."""
    return key(choices=get_args(get_type_hints(Recipe)[name]))


