"""Overrides `key=value` in Hydra's grammar."""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException

from utils.config import keys_of
from utils.errors import ConfigError


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


@lru_cache(4096)  # a value is looked at from several sides
def parsed(override: str) -> Override | None:
    """Return an override as Hydra reads it; None if its grammar does not know it."""
    try:
        return _parser().parse_override(override)
    except (HydraException, ValueError, RecursionError):
        return None


def parsed_value(value: str) -> Override | None:
    """Return the value of an override as Hydra reads it; None if its grammar does not know it."""
    return parsed(f"key={value}")


def split_override(override: str, schema: type) -> tuple[str, str]:
    """Return key and value of `override`; the value of a removed key `~key` is "".

    Raises:
        ConfigError: it is not key=value.
    """
    name, separator, value = override.lstrip("+~").partition("=")
    if not separator and not override.startswith("~"):
        example = override if override in keys_of(schema) else next(iter(keys_of(schema)))
        raise ConfigError(f"{override}: not of the form key=value, such as {example}=..., without "
                          "spaces around =")
    return name, value


def plain(value: str) -> str:
    """Return what the value of an override says, as a reader writes it: without quotes."""
    override = parsed_value(value)
    read = override.value() if override and not override.is_sweep_override() else value
    return read if isinstance(read, str) else value.lower() if isinstance(read, bool) else value


def written(value: Any) -> str:
    """Return a value as it is given on a command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{written(item)}' for key, item in value.items())}}}"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def in_quotes(value: str) -> str:
    """Return `value` as a quoted text of Hydra's grammar.

    Backslashes count only before a quote there.
    """
    return "'" + re.sub(r"(\\*)('|$)", lambda end: end[1] * 2 + ("\\'" if end[2] else ""),
                        value) + "'"


def quote(override: str, sweeps: bool = False) -> str:
    """Return `override` with its value, or those of a list, in quotes if Hydra's grammar would
    stumble over it.

    Args:
        sweeps: several values (`a,b`) are wanted; else they are one text, as a path with commas.
    """
    name, separator, value = override.partition("=")
    if not separator or name.startswith("hydra"):
        return override
    read = parsed_value(value)
    if read is not None and (sweeps or not read.is_sweep_override()):
        return override
    items = re.fullmatch(r"\[\s*([^][{}'\"]+?)\s*,?\s*\]", value)  # as [a b, c=d,]
    value = f"[{','.join(map(in_quotes, re.split(' *, *', items[1])))}]" if items else (
        in_quotes(value))
    return f"{name}={value}"


def values_of(override: str) -> list[str] | None:
    """Return the values that an override gives its key, in Hydra's grammar; None if only one.

    An interval has no list of values, and gives an empty one.
    """
    read = parsed(override)
    if read is None or not read.is_sweep_override():
        return None
    if read.value_type in (ValueType.INTERVAL_SWEEP, ValueType.GLOB_CHOICE_SWEEP):
        return []
    return list(read.sweep_string_iterator())
