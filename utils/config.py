"""What a key is: type, default, meaning and rule, stated once where its room's keys are.

`--help`, the check of every value, and the answer to "do two runs have the same results?" all
follow from this one statement.
"""

import dataclasses
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, field
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

from omegaconf import MISSING as NOT_GIVEN

from utils.errors import ConfigError, printable

# the headings of --help, in order
SECTIONS = ("", "inputs", "what is asked", "what is drawn", "data", "schedule", "network",
            "what is trained", "how it is judged", "outputs", "imagery", "tiles",
            "what there is to learn (optional)", "how", "machine")
_BOUNDS = (("above", "above {}", operator.gt), ("least", "{} or more", operator.ge),
           ("below", "below {}", operator.lt), ("most", "{} or less", operator.le))
_LARGEST = 2**31 - 1  # of whole numbers whose key states no bound of its own
_LONGEST = 4096       # bytes of a text: as a path may have
_WHOLE = re.compile(r"[+-]?\d{1,40}")
_FLAGS = {"true": True, "yes": True, "on": True, "y": True, "1": True,
          "false": False, "no": False, "off": False, "n": False, "0": False}
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text",
               Any: "a path, a list, or pairs such as {5:0,6:1}"}


def key(
    default: Any = NOT_GIVEN, meaning: str = "", *, section: str = "",
    choices: Sequence[str] | Callable[[], Sequence[str]] = (),
    above: float | None = None, least: float | None = None, below: float | None = None,
    most: float | None = None, items: tuple[int, int] = (0, 10_000), result: bool = True,
    why: str = "", by_recipe: bool = False,
) -> Any:
    """State a key of a dataclass.

    Args:
        default: its value if none is given; without one the key must be given.
        meaning: what `--help` says of it.
        section: the heading under which `--help` lists it.
        choices: the only values allowed, or a function that returns them.
        above, least, below, most: bounds of a number, or of each in a list; `above` and `below`
            exclude the bound itself.
        items: how many a list may have, at least and at most.
        result: whether results depend on the key. False: where, or with how much at a time, a
            run works.
        why: what to give, in the message for a key that must be given and is not.
        by_recipe: the choice recipe= sets it.
    """
    metadata = {"meaning": meaning, "section": section, "choices": choices, "above": above,
                "least": least, "below": below, "most": most, "items": items, "result": result,
                "why": why, "by_recipe": by_recipe}
    if isinstance(default, list | dict) or dataclasses.is_dataclass(default):
        copy = partial(dataclasses.replace, default) if dataclasses.is_dataclass(default) else (
            partial(type(default), default))
        return field(default_factory=copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def section(name: str) -> Callable[..., Any]:
    """Return `key` for the keys under one heading of `--help`, one of SECTIONS."""
    return partial(key, section=SECTIONS[SECTIONS.index(name)])


def is_group(item: Field) -> bool:
    """Return whether a key is a group of keys, such as `text` of `text.model`."""
    return dataclasses.is_dataclass(item.type)


def keys_of(schema: type) -> dict[str, Field]:
    """Return the keys of a script by name, those of a group with a dot: `text`, `text.model`."""
    keys = {}
    for item in dataclasses.fields(schema):
        keys[item.name] = item
        if is_group(item):
            keys |= {f"{item.name}.{name}": inner for name, inner in keys_of(item.type).items()}
    return keys


def choices_of(schema: type, name: str) -> tuple[str, ...]:
    """Return the values that the key `name` may have."""
    return allowed(keys_of(schema)[name])


def allowed(item: Field) -> tuple[str, ...]:
    """Return the values that a key may have; empty if its type allows all."""
    choices = item.metadata.get("choices", ())
    return tuple(choices() if callable(choices) else choices)


def result_keys(schema: type) -> list[str]:
    """Return the keys that results depend on, groups as one."""
    return [item.name for item in dataclasses.fields(schema) if item.metadata.get("result", True)]


def result_values(cfg: Any) -> dict[str, Any]:
    """Return the values of `cfg` that results depend on, groups as dicts."""
    values = dataclasses.asdict(cfg)
    return {name: values[name] for name in result_keys(type(cfg))}


def check_type(schema: type, name: str, value: Any, shown: Any = None) -> Any:
    """Return `value`, which may be text, as the type of the key `name`.

    Args:
        shown: the value as a message shows it; by default `value`.

    Raises:
        ConfigError: it is of another type.
    """
    item = keys_of(schema)[name]
    if is_group(item):
        return value
    try:
        return _converted(value, item.type)
    except (TypeError, ValueError, OverflowError) as error:
        shown = printable(value if shown is None else shown)
        raise ConfigError(f"{name}={shown}: expected {type_name(item)}") from error


def _converted(value: Any, hint: Any) -> Any:
    """Return `value` as the type `hint`; raise TypeError, ValueError or OverflowError."""
    options = get_args(hint)
    if type(None) in options:
        return None if value is None else _converted(value, options[0])
    if get_origin(hint) is not list:
        return _CONVERTED[hint](value)
    items = value.split(",") if isinstance(value, str) and "," in value else value  # no brackets
    if not isinstance(items, list | tuple):
        raise TypeError
    return [_converted(item, options[0]) for item in items]


def _whole(value: Any) -> int:
    if type(value) is int or (isinstance(value, str) and _WHOLE.fullmatch(value)):
        return int(value)
    raise TypeError


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(number := float(value)):
        raise ValueError
    return number


def _flag(value: Any) -> bool:
    if (text := str(value).lower()) not in _FLAGS:
        raise ValueError
    return _FLAGS[text]


def _text(value: Any) -> str:
    if not isinstance(value, str | int | float | Path):
        raise TypeError
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text_or_pairs(value: Any) -> Any:
    items = [*value.values()] if isinstance(value, Mapping) else value
    flat = isinstance(items, list | tuple) and not any(isinstance(i, list | Mapping) for i in items)
    if not flat and not isinstance(value, str | Path | None):
        raise TypeError
    return value


_CONVERTED = {int: _whole, float: _number, bool: _flag, str: _text, Any: _text_or_pairs}


def check_values(cfg: Any, prefix: str = "") -> None:
    """Raise ConfigError for the first key of `cfg` that is missing or has an impossible value."""
    for item in dataclasses.fields(cfg):
        name, value = f"{prefix}{item.name}", getattr(cfg, item.name)
        if is_group(item):
            check_values(value, f"{name}.")
        else:
            check_rule(name, value, item)


def check_rule(name: str, value: Any, item: Field) -> None:
    """Raise ConfigError if a key is empty or has a value that its rule does not allow."""
    if value is None or not item.metadata:
        return
    several = isinstance(value, list | tuple)
    if several:
        least, most = item.metadata["items"]
        if not least <= len(value) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            raise ConfigError(f"{name}={printable(value)}: a list of {len(value)}, expected "
                              f"{count} items")
    for one in value if several else [value]:
        if fault := _fault(name, one, item):
            raise ConfigError(f"{name}={printable(value)}: {fault}")


def _fault(name: str, value: Any, item: Field) -> str:
    """Return what a value must be and is not, "" if its rule allows it."""
    rule, choices = item.metadata, allowed(item)
    if value == "":
        return f"no value given; write {name}=..., without spaces around ="
    if choices and value not in choices:
        return f"choose one of {', '.join(choices)}"
    if isinstance(value, str):
        return _fault_of_text(value)
    if not isinstance(value, int | float):
        return ""
    bounds = [(words.format(rule[bound]), holds(value, rule[bound]))
              for bound, words, holds in _BOUNDS if rule[bound] is not None]
    if not all(kept for _, kept in bounds):
        return f"must be {' and '.join(words for words, _ in bounds)}"
    bounded = rule["most"] is not None or rule["below"] is not None
    if isinstance(value, int) and not bounded and abs(value) > _LARGEST:
        return f"must be {_LARGEST} or less"
    return ""


def _fault_of_text(value: str) -> str:
    if printable(value, len(value)) != value:
        return "must be text without control characters, in UTF-8"
    if len(value.encode()) > _LONGEST:
        return f"must be text of {_LONGEST} bytes or fewer"
    return ""


def not_given(name: str, item: Field) -> ConfigError:
    """Return the error for a key that must be given and is not."""
    why = item.metadata["why"]
    return ConfigError(f"{name}: no value given; add {name}=..." + (f" ({why})" if why else ""))


def type_name(item: Field) -> str:
    """Return what the values of a key are, in words."""
    options = [option for option in get_args(item.type) if option is not type(None)]
    if options and type(None) in get_args(item.type):
        return f"{_plain_type_name(options[0], item)} or null"
    return _plain_type_name(item.type, item)


def _plain_type_name(hint: Any, item: Field) -> str:
    if hint in _TYPE_NAMES:
        return _TYPE_NAMES[hint]
    default = item.default_factory() if callable(item.default_factory) else []
    example = {int: "0,1", float: "2,98"}.get(get_args(hint)[0], "a,b")
    return f"a list such as [{','.join(map(str, default)) or example}]"
