"""One entry for all scripts: `key=value` command lines composed by Hydra, with errors of one line and exit code 2."""

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from utils.cli_help import CONFIG_DIR, defaults_of, help_text, options
from utils.config import check_values, is_group, keys_of, type_name
from utils.errors import ConfigError, RoseError, one_line
from utils.recipes import RECIPES
from utils.stopping import end_workers

_HELP, _SHOW = ("--help", "-h"), ("--cfg", "-c")
_KEY = re.compile(r"[+~]*[A-Za-z_][\w.]*")


def script(config: str, schema: type, positional: Sequence[str] = ()) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Make `main(cfg)` a command: `python script.py key=value ...`.

    The values come from configs/`config`.yaml and its groups (`text=clip` takes configs/text/clip.yaml), then a chosen `experiment=`, then
    the command line; `schema` types them. A `RoseError`, wherever it comes from, and any fault of the command line end the program with one
    line on stderr and exit code 2. --help says what each key means; --cfg job prints the values that a command would use.

    Args:
        config: name of the yaml in configs/, without its ending.
        schema: dataclass that types its keys; `main` receives an instance.
        positional: keys that arguments without a key are given to, in this order.
    """
    def decorate(main: Callable[[Any], None]) -> Callable[[], None]:
        def run() -> None:
            flags = [argument for argument in sys.argv[1:] if argument.startswith("-")]
            shown = any(flag in _SHOW for flag in flags)
            arguments = [argument for argument in sys.argv[1:] if argument not in flags and not (shown and argument == "job")]
            try:
                for flag in flags:
                    if flag not in _HELP + _SHOW:
                        raise ConfigError(f"{flag}: unknown option; keys are given as key=value; --help lists them")
                if any(flag in _HELP for flag in flags):
                    print(help_text(config, schema))
                    return
                overrides = [_quote(argument) for argument in _named(arguments, schema, positional)]
                if shown:
                    print(OmegaConf.to_yaml(_composed(config, schema, overrides)), end="")
                    return
                main(read_config(config, schema, overrides))
            except RoseError as error:
                fail(error)
            except OSError as error:  # a full disk, a folder that may not be written
                where = error.filename or "input or output"
                fail(RoseError(f"{where}: {error.strerror or one_line(error)}; free space, or give another path"))
            except KeyboardInterrupt:
                print("interrupted; nothing half-written is left, and the same command goes on or starts again", file=sys.stderr)
                sys.exit(130)
            finally:
                end_workers()
        return run
    return decorate


def read_config(config: str, schema: type, overrides: list[str]) -> Any:
    """An instance of `schema` with the values of configs/`config`.yaml and of `overrides` ("key=value").

    Raises:
        ConfigError: unknown key, wrong type, impossible or missing value; one line.
    """
    composed = _composed(config, schema, overrides)
    _check_names(composed, keys_of(schema))
    try:
        cfg = OmegaConf.to_object(composed)
    except MissingMandatoryValue as error:
        name = error.full_key
        why = keys_of(schema)[name].metadata["why"]
        raise ConfigError(f"{name}: no value given; add {name}=..." + (f" ({why})" if why else "")) from error
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from error
    check_values(cfg)
    return cfg


def fail(error: RoseError) -> None:
    """Print `error` as one line and exit with code 2."""
    # an error that crossed from a data loading process carries that process's traceback before its own line
    message = [line for line in str(error).splitlines() if line.strip()][-1]
    message = message.removeprefix(f"{type(error).__module__}.{type(error).__qualname__}: ")
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _named(arguments: list[str], schema: type, positional: Sequence[str]) -> list[str]:
    """`arguments` with those that have no key given to the keys of `positional` that are not named otherwise, in order."""
    keyed = {argument.partition("=")[0]: argument for argument in arguments if _has_key(argument, schema)}
    free = [name for name in positional if name not in keyed]
    named = []
    for argument in arguments:
        takes = not _has_key(argument, schema) and free
        named.append(f"{free.pop(0)}={_in_quotes(argument)}" if takes else argument)
    return named


def _has_key(argument: str, schema: type) -> bool:
    """Whether `argument` is key=value, and not a path with an equals sign in it."""
    name, separator, _ = argument.partition("=")
    looks = bool(separator) and _KEY.fullmatch(name) is not None
    return looks and (name in keys_of(schema) or not Path(argument).exists())


def _quote(override: str) -> str:
    """`override` with its value in quotes where Hydra's grammar would stumble over it, or take it for a sweep: a path with commas."""
    name, separator, value = override.partition("=")
    if not separator or value[:1] in ("[", "{"):
        return override
    try:
        plain = not OverridesParser.create().parse_overrides([override])[0].is_sweep_override()
    except HydraException:
        plain = False
    return override if plain else f"{name}={_in_quotes(value)}"


def _in_quotes(value: str) -> str:
    """`value` as a quoted text of Hydra's grammar, where backslashes count only before a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value) + "'"


def _composed(config: str, schema: type, overrides: list[str]) -> DictConfig:
    """The values of configs/`config`.yaml, its groups and `overrides`, before they are checked as a whole."""
    store = ConfigStore.instance()
    store.store(name=f"{config}_schema", node=schema)
    for recipe, values in RECIPES.items():  # a recipe is a choice of those of its keys that the schema has
        chosen = {name: value for name, value in vars(values).items() if name in keys_of(schema)}
        store.store(group="recipe", name=recipe, package="_global_", node={"recipe": recipe, **chosen})
    overrides = [override.lstrip("+") for override in overrides]
    for override in overrides:
        _check_override(override, config, schema)
    try:
        with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return hydra.compose(config, overrides=overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(_explain(error, schema, overrides)) from error


def _check_override(override: str, config: str, schema: type) -> None:
    """Raises ConfigError where `override` is not key=value, its key is unknown, or it chooses what a group does not have."""
    if override.startswith("~"):
        raise ConfigError(f"{override}: keys cannot be removed; set a value, or null where a key may be empty")
    name, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"{override}: not of the form key=value, such as {next(iter(keys_of(schema)))}=..., without spaces around =")
    groups, keys = defaults_of(config), keys_of(schema)
    if name in groups:
        choices = options(name)
        if value not in choices and not (value == "null" and groups[name] is None):
            raise ConfigError(f"{name}={value}: choose one of {', '.join(choices)}")
    elif name not in keys:
        raise ConfigError(_unknown(name, value, [*keys, *groups]))


def _check_names(composed: DictConfig, keys: dict, prefix: str = "") -> None:
    """Raises ConfigError for a key that a file of configs/ brought and the schema does not have."""
    for name in composed:
        full = f"{prefix}{name}"
        if full not in keys:
            raise ConfigError(_unknown(full, composed[name], list(keys)))
        if is_group(keys[full]):
            _check_names(composed[name], keys, f"{full}.")


def _explain(error: Exception, schema: type, overrides: list[str]) -> str:
    """The fault of a command line whose keys are known, in one line: the key, the value found and what is allowed."""
    keys = keys_of(schema)
    for override in overrides:
        name, _, value = override.partition("=")
        if name in keys and not is_group(keys[name]):
            try:
                OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.from_dotlist([override]))
            except (OmegaConfBaseException, yaml.YAMLError):
                return f"{name}={value}: expected {type_name(keys[name])}"
    return " ".join(str(error).split())


def _unknown(name: str, value: Any, names: list[str]) -> str:
    """The message for an unknown key, with the one it resembles: as a whole, or without the group it is in."""
    within = {full.rpartition(".")[2]: full for full in reversed(names)}
    close = difflib.get_close_matches(name, names, n=1) or difflib.get_close_matches(name.rpartition(".")[2], within, n=1)
    meant = within.get(close[0], close[0]) if close and close[0] not in names else "".join(close)
    return f"{name}={value}: unknown key; " + (f"did you mean {meant}?" if meant else f"the keys are {', '.join(sorted(names))}")
