"""The config of a program: composed by Hydra, typed and checked."""

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

from utils.cli.checks import check_all, unknown_key, with_implied
from utils.cli.overrides import quote
from utils.cli.program import Program
from utils.config import check_type, check_values, keys_of, not_given, type_name
from utils.errors import ConfigError


def read(program: Program, *overrides: str) -> Any:
    """Return the config of some overrides ("key=value"), as the command line would.

    Raises:
        ConfigError: unknown key, wrong type, impossible or missing value; one line.
    """
    return typed(program, _composed(program, [quote(override) for override in overrides]))


def configured(program: Program, **values: Any) -> Any:
    """Return the config of some values by key, for calls from Python. Errors as of `read`."""
    chosen = [quote(f"{name}={value}") for name, value in values.items() if program.choice(name)]
    composed = _composed(program, chosen)
    for name, value in values.items():
        if program.choice(name):
            continue
        if name not in keys_of(program.schema):
            raise unknown_key(name, str(value), program.schema, program.choices)
        value = str(value) if isinstance(value, Path) else value
        OmegaConf.update(composed, name, check_type(program.schema, name, value))
    return typed(program, composed)


def typed(program: Program, composed: DictConfig) -> Any:
    """Return an instance of the schema with composed values. Errors as of `read`."""
    try:
        cfg = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(program.schema), composed))
    except MissingMandatoryValue as error:
        raise not_given(error.full_key, keys_of(program.schema)[error.full_key]) from error
    except OmegaConfBaseException as error:
        raise ConfigError(explained(program, error)) from error
    check_values(cfg)
    return cfg


def explained(program: Program, error: Exception) -> str:
    """Return in one line what Hydra or OmegaConf found wrong with files or values."""
    text = str(error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException)
               and str(error.__cause__) not in str(error) else error)
    key, source = re.search(r"full_key: (\S+)", text), re.match(r"In '(\S+)'", text)
    file = f"{source[1]}: " if source and source[1] not in (program.name, "hydra/config") else ""
    name, keys = key[1] if key else "", keys_of(program.schema)
    if name.startswith("hydra."):
        return f"{name}: no key of Hydra's; --cfg hydra shows them"
    if name in keys and "convert" in text:
        return f"{file}{name}: expected {type_name(keys[name])}"
    if program.choice(name.partition(".")[0]) and "not in" in text:
        return f"{file}has no `# @package _global_`; add it as the first line"
    if name and "not in" in text:
        return f"{file}{unknown_key(name, '...', program.schema, program.choices)}"
    return " ".join(text.split("Config search path")[0].split())


def _composed(program: Program, overrides: Sequence[str]) -> DictConfig:
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
