"""The check of a command line, before Hydra starts and without any slow library."""

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_origin

from hydra.core.override_parser.types import ValueType
from omegaconf import grammar_parser
from omegaconf.errors import OmegaConfBaseException

from utils.cli.overrides import in_quotes, parsed, parsed_value, plain, split_override, values_of
from utils.cli.program import Choice, Program
from utils.config import check_rule, check_type, keys_of, not_given
from utils.errors import ConfigError, one_line, printable

_SAME = {"data_path": "data_root", "data_root": "data_path"}  # a dataset, in other programs
_KEY = re.compile(r"[+~]*[A-Za-z_][\w.@/]*")


def named(arguments: Sequence[str], program: Program) -> list[str]:
    """Return `arguments` with the program's positional keys before those that have no key."""
    schema = program.schema
    keyed = {argument.partition("=")[0] for argument in arguments if _has_key(argument, program)}
    free = [name for name in program.positional if name not in keyed]
    with_keys: list[str] = []
    listed: list[str] = []
    for argument in arguments:
        if not free or _has_key(argument, program):
            with_keys.append(argument)
        elif get_origin(keys_of(schema)[free[0]].type) is list:
            listed.append(in_quotes(argument))
        else:
            with_keys.append(f"{free.pop(0)}={in_quotes(argument)}")
    return [*with_keys, f"{free[0]}=[{','.join(listed)}]"] if listed else with_keys


def _has_key(argument: str, program: Program) -> bool:
    """Return whether `argument` is key=value or ~key, and not a path with an equals sign."""
    name, separator, _ = argument.partition("=")
    known = name in keys_of(program.schema) or program.choice(name)
    return (bool(separator) or name.startswith("~")) and _KEY.fullmatch(name) is not None and (
        bool(known) or not Path(argument).exists())


def forwarded(overrides: Sequence[str], program: Program) -> tuple[list[str], list[str]]:
    """Return the overrides of keys that the program has, and those to be handed on; raise
    ConfigError for a key that neither it nor one of the programs it hands on to has."""
    if not program.forward:
        return list(overrides), []
    others = [override for override in overrides
              if "=" in override and _KEY.fullmatch(override.partition("=")[0])
              and override.lstrip("+").partition("=")[0] not in program.names
              and not override.startswith(("~", "hydra"))]
    for override in others:
        name, value = split_override(override, program.schema)
        if not any(name in other.names for other in program.forward):
            raise unknown_key(name, plain(value), program, *program.forward)
    return [override for override in overrides if override not in others], others


def check_all(
    program: Program, overrides: Sequence[str], sweeps: bool = False, own: Path | None = None,
) -> list[str]:
    """Return `overrides` as Hydra takes them, each of them checked.

    Args:
        sweeps: keys may have several values.
        own: a user's own folder of configs; what only it can know is left to Hydra.

    Raises:
        ConfigError: unknown key, wrong type or impossible value; one line.
    """
    keys, checked = keys_of(program.schema), {}
    for override in overrides:
        name, value = split_override(override, program.schema)
        choice, removes = program.choice(name), override.startswith("~")
        entry = override
        if name.startswith(("hydra.", "hydra/")) or (own and (own / name).is_dir() and not choice):
            pass
        elif choice and not removes:
            override = _check_choice(program, choice, override, value, sweeps, own)
            entry = name  # Hydra takes a choice once; here the last one wins
        elif name in keys and removes:
            if "." in name:
                raise ConfigError(f"{override}: a key of a group cannot be removed; set a value, "
                                  "or null where a key may be empty")
            if keys[name].default is None:
                override = f"{name}=null"  # Hydra finds nothing to remove where the value is null
        elif name in keys:
            override = _check_value(program, name, override, value, sweeps)
        elif not choice:
            raise unknown_key(name, plain(value), program)
        checked.pop(entry, None)
        checked[entry] = override
    return list(checked.values())


def with_implied(program: Program, overrides: Sequence[str]) -> list[str]:
    """Return `overrides` after those that they imply.

    Raises:
        ConfigError: they have several values which imply different overrides.
    """
    if not program.implied:
        return list(overrides)
    given = {}
    for override in overrides:
        name, value = split_override(override, program.schema)
        given[name] = [plain(text) for text in values_of(override) or [value]]
    first = program.implied({name: values[0] for name, values in given.items()})
    for name, values in given.items():
        for value in values[1:]:
            others = {key: texts[0] for key, texts in given.items()} | {name: value}
            if program.implied(others) != first:
                raise ConfigError(f"{name}={','.join(values)}: its values imply different "
                                  f"{' '.join(program.implied(others) or first)}; make a grid for "
                                  "each of them")
    return [*first, *overrides]


def _check_choice(program: Program, choice: Choice, override: str, value: str, sweeps: bool,
                  own: Path | None) -> str:
    """Return the override of a choice, patterns such as `b*` replaced by what they stand for."""
    options = program.options(choice, own)
    read = parsed(override)
    if sweeps and read and read.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return override
    values = [plain(text) for text in (values_of(override) if sweeps else None) or [value]]
    patterns = sweeps and any("*" in text or "?" in text for text in values)
    if patterns:
        values = [option for text in values for option in (
            [name for name in options if fnmatch(name, text)] if "*" in text or "?" in text
            else [text])]
    if not values:
        raise ConfigError(f"{choice.name}={value}: stands for no value; the choices are "
                          f"{', '.join(options)}")
    for text in values:
        known = text in options or (text == "null" and choice.default is None)
        if not known and (own is None or choice.options is not None):
            raise ConfigError(f"{choice.name}={text}: choose one of {', '.join(options)}")
    _check_distinct(choice.name, values)
    values = ["'null'" if text == "null" else text for text in values]  # an option, as any other
    given = f"choice({','.join(values)})" if patterns else ",".join(values)
    return f"{override.partition('=')[0]}={given}"


def _check_value(program: Program, name: str, override: str, value: str, sweeps: bool) -> str:
    """Return the override of a key, with text as it was typed: `city=1_000` is no number.

    Raises:
        ConfigError: the key cannot have this value, or one of the values of a grid.
    """
    if "${" in value:  # known when all values are
        try:
            grammar_parser.parse(plain(value))
        except OmegaConfBaseException as error:
            raise unusable_reference(name, value, error) from error
        return override
    if value == "???":
        raise not_given(name, keys_of(program.schema)[name])
    several = values_of(override) if sweeps else None
    if sweeps and (read := parsed(override)) and read.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise ConfigError(f"{name}={value}: its values cannot be listed; give them as {name}=a,b "
                          f"or {name}=range(0,3)")
    if several == [] and parsed(override).value_type == ValueType.RANGE_SWEEP:
        raise ConfigError(f"{name}={value}: stands for no value")
    item = keys_of(program.schema)[name]
    for text in [value] if several is None else several:
        read = parsed_value(text)
        given: Any = plain(text) if read is None or read.is_sweep_override() else read.value()
        checked = check_type(program.schema, name, given, plain(text))
        check_rule(name, checked, item)
        if several is None and isinstance(checked, str | list) and type(given) is not type(checked):
            value = in_quotes(value) if isinstance(checked, str) else checked
            return f"{override.partition('=')[0]}={value}"
    if several:
        _check_distinct(name, several)
    return override


def unusable_reference(name: str, value: Any, error: Exception) -> ConfigError:
    """Return the error for a value `${...}` that cannot be read, or refers to nothing."""
    return ConfigError(f"{name}={printable(value)}: cannot be used ({printable(one_line(error))}); "
                       "name a key, such as ${save_root_dir}, or write \\${ where a dollar and a "
                       "brace are meant")


def _check_distinct(name: str, values: Sequence[str]) -> None:
    texts = [plain(value) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise ConfigError(f"--multirun: two runs would have the folder {name}={twice}; give every "
                          "value once")


def unknown_key(name: str, value: str, *programs: Program) -> ConfigError:
    """Return the error for a key that no program knows, with the one it resembles, in or out of its
    group."""
    names = [*dict.fromkeys(known for program in programs for known in program.names)]
    within = {full.rpartition(".")[2]: full for full in reversed(names)}
    close = ([_SAME[name]] if _SAME.get(name) in names else
             difflib.get_close_matches(name, names, n=1)
             or difflib.get_close_matches(name.rpartition(".")[2], within, n=1))
    meant = within.get(close[0], close[0]) if close and close[0] not in names else "".join(close)
    remedy = f"did you mean {meant}?" if meant else f"the keys are {', '.join(sorted(names))}"
    return ConfigError(f"{printable(name)}={printable(value)}: unknown key; {remedy}")
