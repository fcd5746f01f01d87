"""What a key is: type, default, meaning and rule, stated once where its room's keys are.

`--help`, the check of every value, and the answer to "do two runs have the same results?" all
follow from this one statement.
"""

import dataclasses
import operator
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, field
from functools import partial
from typing import Any, get_args, get_type_hints

from omegaconf import MISSING as NOT_GIVEN
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from utils.errors import ConfigError
from utils.recipes import RECIPES, Recipe, meaning_of

# the headings of --help, in order
SECTIONS = ("", "inputs", "what is asked", "what is drawn", "data", "schedule", "network",
            "what is trained", "how it is judged", "outputs", "imagery", "tiles",
            "what there is to learn (optional)", "how", "machine")
_BOUNDS = (("above", "above {}", operator.gt), ("least", "{} or more", operator.ge),
           ("below", "below {}", operator.lt), ("most", "{} or less", operator.le))
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text",
               Any: "a path, or pairs such as {5:0,6:1}"}


def key(
    default: Any = NOT_GIVEN, meaning: str = "", *, section: str = "",
    choices: Sequence[str] | Callable[[], Sequence[str]] = (),
    above: float | None = None, least: float | None = None, below: float | None = None,
    most: float | None = None, result: bool = True, why: str = "",
) -> Any:
    """State a key of a dataclass.

    Args:
        default: its value if none is given; without one the key must be given.
        meaning: what `--help` says of it.
        section: the heading under which `--help` lists it.
        choices: the only values allowed, or a function that returns them.
        above, least, below, most: bounds; `above` and `below` exclude the bound itself.
        result: whether results depend on the key. False: where, or with how much at a time, a
            run works.
        why: what to give, in the message for a key that must be given and is not.
    """
    metadata = {"meaning": meaning, "section": section, "choices": choices, "above": above,
                "least": least, "below": below, "most": most, "result": result, "why": why}
    if isinstance(default, list | dict) or dataclasses.is_dataclass(default):
        copy = partial(dataclasses.replace, default) if dataclasses.is_dataclass(default) else (
            partial(type(default), default))
        return field(default_factory=copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def section(name: str) -> Callable[..., Any]:
    """Return `key` for the keys under one heading of `--help`, one of SECTIONS."""
    return partial(key, section=SECTIONS[SECTIONS.index(name)])


def recipe_key(name: str, default: Any = MISSING, meaning: str = "", **rules: Any) -> Any:
    """State a key that a recipe sets: its choices and meaning are the recipe's.

    Args:
        default: the value without a recipe; by default that of recipe=rose.
    """
    hint = get_type_hints(Recipe)[name]
    default = getattr(RECIPES["rose"], name) if default is MISSING else default
    choices = () if hint is bool else get_args(hint)
    return key(default, meaning or meaning_of(name), choices=choices, **rules)


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
        alone = dataclasses.make_dataclass("Alone", [("value", item.type, NOT_GIVEN)])
        return OmegaConf.merge(OmegaConf.structured(alone), {"value": value}).value
    except OmegaConfBaseException as error:
        shown = value if shown is None else shown
        raise ConfigError(f"{name}={shown}: expected {type_name(item)}") from error


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
    rule = item.metadata
    if value == "":
        raise ConfigError(f"{name}=: no value given; write {name}=..., without spaces around =")
    if value is None or not rule:
        return
    choices = allowed(item)
    if choices and value not in choices:
        raise ConfigError(f"{name}={value}: choose one of {', '.join(choices)}")
    bounds = [(words.format(rule[bound]), holds(value, rule[bound]))
              for bound, words, holds in _BOUNDS if rule[bound] is not None]
    if not all(kept for _, kept in bounds):
        raise ConfigError(f"{name}={value}: must be {' and '.join(words for words, _ in bounds)}")


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
