"""The config of a program: composed by Hydra, typed and checked."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from utils.cli.checks import check_all, unknown_key, unusable_reference, with_implied
from utils.cli.overrides import quote
from utils.cli.program import Program
from utils.config import (
    check_rule,
    check_type,
    check_values,
    is_group,
    keys_of,
    not_given,
    type_name,
)
from utils.errors import ConfigError, printable


def read(program: Program, *overrides: str) -> Any:
    """Return the config of some overrides ("key=value"), as the command line would.

    Raises:
        ConfigError: unknown key, wrong type, impossible or missing value; one line.
    """
    return typed(program, composed_config(program, [quote(override) for override in overrides]))


def configured(program: Program, **values: Any) -> Any:
    """Return the config of some values by key, for calls from Python. Errors as of `read`."""
    chosen = [quote(f"{name}={value}") for name, value in values.items() if program.choice(name)]
    composed = composed_config(program, chosen)
    for name, value in values.items():
        if program.choice(name):
            continue
        if name not in keys_of(program.schema):
            raise unknown_key(name, str(value), program)
        value = str(value) if isinstance(value, Path) else value
        OmegaConf.update(composed, name, _literal(check_type(program.schema, name, value)))
    return typed(program, composed)


def typed(program: Program, composed: DictConfig) -> Any:
    """Return an instance of the schema with composed values. Errors as of `read`."""
    _check_references(program, composed)
    try:
        cfg = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(program.schema), composed))
    except MissingMandatoryValue as error:
        raise not_given(error.full_key, keys_of(program.schema)[error.full_key]) from error
    except OmegaConfBaseException as error:
        raise ConfigError(explained(program, error)) from error
    _as_declared(cfg, program.schema)
    check_values(cfg)
    return cfg


def _check_references(program: Program, composed: DictConfig) -> None:
    """Raise ConfigError for a value `${...}` that refers to nothing, or to what its key cannot
    be."""
    values = OmegaConf.to_container(composed, resolve=False)
    for name, item in keys_of(program.schema).items():
        group, _, key = name.rpartition(".")
        given = values.get(group, {}) if group else values
        if is_group(item) or key not in given or not has_reference(given[key]):
            continue
        raw = given[key]
        try:
            value = (composed[group] if group else composed)[key]
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True)
        except (OmegaConfBaseException, RecursionError) as error:
            raise unusable_reference(name, raw, error) from error
        try:
            check_rule(name, check_type(program.schema, name, value), item)
        except ConfigError as error:
            raise ConfigError(f"{error}; it comes from {name}={printable(raw)}") from error


def _as_declared(cfg: Any, schema: type, prefix: str = "") -> None:
    """Give every key of `cfg` the type that it is declared with, the items of lists, too."""
    for item in dataclasses.fields(cfg):
        name, value = f"{prefix}{item.name}", getattr(cfg, item.name)
        if is_group(item):
            _as_declared(value, schema, f"{name}.")
        else:
            setattr(cfg, item.name, check_type(schema, name, value))


def has_reference(value: Any) -> bool:
    """Return whether a value, or one within it, refers to another one by `${...}`."""
    if isinstance(value, dict):
        return any(map(has_reference, value.values()))
    if isinstance(value, list):
        return any(map(has_reference, value))
    return isinstance(value, str) and "${" in value


def _literal(value: Any) -> Any:
    """Return a value in which `${` is text, which OmegaConf takes for a reference."""
    return value.replace("${", "\\${") if isinstance(value, str) else value


def explained(program: Program, error: Exception) -> str:
    """Return in one line what Hydra or OmegaConf found wrong with files or values."""
    if isinstance(error, RecursionError):
        return "the config files refer to one another without end; mend their defaults lists"
    text = str(error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException)
               and str(error.__cause__) not in str(error) else error)
    key, source = re.search(r"full_key: (\S+)", text), re.match(r"In '(\S+)'", text)
    file = f"{source[1]}: " if source and source[1] not in (program.name, "hydra/config") else ""
    name, keys = key[1] if key else "", keys_of(program.schema)
    if name.startswith("hydra.") and "hydra.overrides" not in name:
        return f"{name}: no key of Hydra's; --cfg hydra shows them"
    if program.choice(name.partition(".")[0]) and ("not in" in text or "'DictConfig'" in text):
        return f"{file}has no `# @package _global_`; add it as the first line"
    if name in keys and "convert" in text:
        return f"{file}{name}: expected {type_name(keys[name])}"
    if name and "not in" in text:
        return f"{file}{unknown_key(name, '...', program)}"
    return " ".join(text.split("Config search path")[0].split())


def composed_config(program: Program, overrides: Sequence[str]) -> DictConfig:
    """Return the values of Hydra's overrides, and of those that they imply."""
    overrides = check_all(program, with_implied(program, overrides))
    program.register()
    running, one = GlobalHydra.instance().hydra, GlobalHydra.instance()
    one.clear()  # a study, itself a program, reads the config of another one
    try:
        with hydra.initialize_config_dir(str(program.config_dir), version_base="1.3"):
            return hydra.compose(program.name, overrides=overrides)
    except (HydraException, OmegaConfBaseException, ValueError, YAMLError) as error:
        raise ConfigError(explained(program, error)) from error
    finally:
        one.hydra = running
