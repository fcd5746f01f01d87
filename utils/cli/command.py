"""One entry for all scripts: `key=value` command lines composed by Hydra, with errors of one line
and exit code 2."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_origin

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from utils.cli.help import CONFIG_DIR, groups_of, help_text
from utils.config import check_values, is_group, keys_of, type_name
from utils.errors import ConfigError, RoseError, one_line
from utils.recipes import RECIPES
from utils.stopping import end_workers

Implied = Callable[[dict[str, str]], list[str]]

_HELP, _SHOW, _GRID = ("--help", "-h"), ("--cfg", "-c"), ("--multirun", "-m")
_MANY = ("--multirun (or -m) makes one run of every combination of values given as key=a,b or "
         "key=range(0,3), or for a choice as key=* or key=b*; each has a folder of its own, and "
         "grid.csv beside them has the figures of all.")
_FORWARDED = "Keys that are not listed here are handed on to the script that makes the runs; its --help lists them."
_KEY = re.compile(r"\+*[A-Za-z_][\w.]*")


def script(
    config: str, schema: type, positional: Sequence[str] = (), *, implied: Implied | None = None,
    folder: str | None = None,
    forward: bool = False,
) -> Callable[[Callable[..., Any]], Callable[[], None]]:
    """Make `main(cfg)` a command: `python script.py key=value ...`.

    The values come from configs/`config`.yaml and its groups (`text=clip` takes
    configs/text/clip.yaml), then a chosen `experiment=`, then the command line; `schema` types
    them. A `RoseError`, wherever it comes from, and any fault of the command line end the program
    with one line on stderr and exit code 2. --help says what each key means; --cfg job prints the
    values that a command would use; --multirun runs `main` once for every combination of values
    such as `a=1,2` (utils/cli/multirun.py).

    Args:
        config: name of the yaml in configs/, without its ending.
        schema: dataclass that types its keys; `main` receives an instance.
        positional: keys that arguments without a key are given to, in this order; one whose values
            are lists takes all that are left.
        implied: further overrides that follow from the texts given on the command line, by key;
            what is given there holds before them.
        folder: the key that says where the outputs go, after the key of the folder that this is in
            if there is one ("save_root_dir/save_dir"); where it is null the runs of a grid go to
            save_root_dir/`config`. None: no --multirun.
        forward: `main(cfg, rest)` also receives, as they were given, the overrides of keys that
            `schema` does not have.
    """
    def decorate(main: Callable[..., Any]) -> Callable[[], None]:
        command = _Command(config, schema, tuple(positional), implied, folder, forward)
        return lambda: guarded(lambda: command.run(main, sys.argv[1:]))
    return decorate


def guarded(action: Callable[[], None]) -> None:
    """Run `action`; end the program with one line on stderr where it fails for a reason that the
    user can mend, or is interrupted."""
    try:
        action()
    except (RoseError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left, and the same command goes on or starts "
              "again", file=sys.stderr)
        sys.exit(130)
    finally:
        end_workers()


def read_config(config: str, schema: type, overrides: list[str],
                implied: Implied | None = None) -> Any:
    """An instance of `schema` with the values of configs/`config`.yaml and of `overrides`
    ("key=value"), and what these have `implied`.

    Raises:
        ConfigError: unknown key, wrong type, impossible or missing value; one line.
    """
    return _checked(_composed(config, schema, overrides, implied), schema)


def configured(config: str, schema: type, values: dict[str, Any]) -> Any:
    """An instance of `schema` with the values of configs/`config`.yaml and, in their place,
    `values` by key: for calls from Python.

    Raises:
        ConfigError: as of `read_config`.
    """
    groups = groups_of(config)
    chosen = [f"{name}={_in_quotes(str(value))}" for name, value in values.items()
              if name in groups]
    composed = _composed(config, schema, chosen)
    for name, value in values.items():
        if name in groups:
            continue
        _check_override(name, str(value), config, schema)
        try:
            OmegaConf.update(composed, name, str(value) if isinstance(value, Path) else value)
        except OmegaConfBaseException as error:
            raise ConfigError(
                f"{name}={value}: expected {type_name(keys_of(schema)[name])}") from error
    return _checked(composed, schema)


@dataclass(frozen=True)
class _Command:
    """A script's command line; the attributes are the arguments of `script`."""

    config: str
    schema: type
    positional: tuple[str, ...]
    implied: Implied | None
    folder: str | None
    forward: bool

    def run(self, main: Callable[..., Any], arguments: list[str]) -> None:
        """What the command line `arguments` asks for."""
        flags = [argument for argument in arguments if argument.startswith("-")]
        shown, grid = (any(flag in names for flag in flags) for names in (_SHOW, _GRID))
        for flag in flags:
            if flag not in _HELP + _SHOW + _GRID:
                raise ConfigError(f"{flag}: unknown option; keys are given as key=value; --help "
                                  "lists them")
        if any(flag in _HELP for flag in flags):
            print(help_text(self.config, self.schema,
                            [_MANY] * bool(self.folder) + [_FORWARDED] * self.forward))
            return
        if shown and grid:
            raise ConfigError("--multirun: --cfg shows the values of a single run; leave one of "
                              "them out")
        arguments = [argument for argument in arguments if argument not in flags
                     and not (shown and argument == "job")]
        named = _named(arguments, self.schema, self.positional)
        if grid:
            self._run_grid(main, named)
            return
        try:
            composed, rest = self._composed([quote(argument) for argument in named])
            if shown:
                print(OmegaConf.to_yaml(composed), end="")
                return
            cfg = _checked(composed, self.schema)
        except ConfigError as error:
            swept = self.folder and any(_is_sweep(argument)
                                        and str(error).startswith(f"{argument}: ")
                                        for argument in named)
            raise ConfigError(
                f"{error}; --multirun makes a run of each of several values") if swept else error from None
        self._call(main, cfg, rest)

    def _run_grid(self, main: Callable[..., Any], arguments: list[str]) -> None:
        """`main` with every combination of the values of `arguments`, all of them checked before
        the first."""
        from utils.cli.multirun import check_alone, combinations, place_runs, run_grid

        if self.folder is None:
            raise ConfigError("--multirun: this script makes no grids; call it once for each "
                              "value")
        root_key, _, key = self.folder.rpartition("/")
        grid = combinations(arguments, groups_of(self.config))
        for name in (root_key, key):
            if name in grid[0].swept:
                raise ConfigError(f"{name}={grid[0].swept[name]},...: is where the folders of all "
                                  "runs go; give one value")
        found = [self._composed(combination.overrides) for combination in grid]
        given = [_checked(composed, self.schema) for composed, _ in found]
        for cfg in given:
            check_alone(cfg)
        roots = [Path(getattr(cfg, root_key) if root_key else "") for cfg in given]
        folders = [root / (getattr(cfg, key) or Path("" if root_key else cfg.save_root_dir,
                                                     self.config))
                   for root, cfg in zip(roots, given, strict=True)]
        places = place_runs(folders, [combination.name for combination in grid], key)
        runs = []
        for combination, (composed, rest), root, place in zip(grid, found, roots, places,
                                                              strict=True):
            composed[key] = os.path.relpath(place, root) if root_key else str(place)
            runs.append((combination,
                         partial(self._call, main, _checked(composed, self.schema), rest)))
        run_grid(runs, places[0].parent)

    def _call(self, main: Callable[..., Any], cfg: Any, rest: list[str]) -> Any:
        return main(cfg, rest) if self.forward else main(cfg)

    def _composed(self, overrides: list[str]) -> tuple[DictConfig, list[str]]:
        """The values of `overrides`, and those of them that are to be handed on."""
        own, rest = self._split(overrides)
        return _composed(self.config, self.schema, own, self.implied), rest

    def _split(self, overrides: list[str]) -> tuple[list[str], list[str]]:
        """`overrides` of keys that the script has, and the others, which are wrong unless they are
        to be handed on."""
        known = {*keys_of(self.schema), *groups_of(self.config)}
        rest = [override for override in overrides if self.forward
                and _KEY.fullmatch(override.partition("=")[0])
                and "=" in override and override.lstrip("+").partition("=")[0] not in known]
        return [override for override in overrides if override not in rest], rest


def _checked(composed: DictConfig, schema: type) -> Any:
    """An instance of `schema` with the values that were composed."""
    _check_names(composed, keys_of(schema))
    try:
        cfg = OmegaConf.to_object(composed)
    except MissingMandatoryValue as error:
        name = error.full_key
        why = keys_of(schema)[name].metadata["why"]
        raise ConfigError(f"{name}: no value given; add {name}=..."
                          + (f" ({why})" if why else "")) from error
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from error
    check_values(cfg)
    return cfg


def fail(error: RoseError | OSError) -> None:
    """Print `error` as one line and exit with code 2."""
    print(f"error: {message_of(error)}", file=sys.stderr)
    sys.exit(2)


def message_of(error: RoseError | OSError) -> str:
    """What `error` says, in one line."""
    if isinstance(error, OSError):  # a full disk, a folder that may not be written
        return f"{error.filename or 'input or output'}: {error.strerror or one_line(error)}; free space, or give another path"
    # an error that crossed from a data loading process carries that process's traceback before its
    # own line
    message = [line for line in str(error).splitlines() if line.strip()][-1]
    return message.removeprefix(f"{type(error).__module__}.{type(error).__qualname__}: ")


def _named(arguments: list[str], schema: type, positional: Sequence[str]) -> list[str]:
    """`arguments` with those that have no key given to the keys of `positional` that are not named
    otherwise, in order."""
    keyed = {argument.partition("=")[0]: argument for argument in arguments
             if _has_key(argument, schema)}
    free = [name for name in positional if name not in keyed]
    named: list[str] = []
    listed: list[str] = []
    for argument in arguments:
        if _has_key(argument, schema) or not free:
            named.append(argument)
        elif get_origin(keys_of(schema)[free[0]].type) is list:
            listed.append(_in_quotes(argument))
        else:
            named.append(f"{free.pop(0)}={_in_quotes(argument)}")
    return [*named, f"{free[0]}=[{','.join(listed)}]"] if listed else named


def _has_key(argument: str, schema: type) -> bool:
    """Whether `argument` is key=value, and not a path with an equals sign in it."""
    name, separator, _ = argument.partition("=")
    looks = bool(separator) and _KEY.fullmatch(name.lstrip("~")) is not None
    return looks and (name in keys_of(schema) or not Path(argument).exists())


def quote(override: str) -> str:
    """`override` with its value in quotes where Hydra's grammar would stumble over it, or take it
    for a sweep: a path with commas."""
    name, separator, value = override.partition("=")
    if not separator or value[:1] in ("[", "{"):
        return override
    return f"{name}={_in_quotes(value)}" if _is_sweep(override) is not False else override


def _is_sweep(override: str) -> bool | None:
    """Whether `override` gives its key several values; None where Hydra's grammar does not know
    what it gives."""
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override()
    except (HydraException, ValueError):
        return None


def _in_quotes(value: str) -> str:
    """`value` as a quoted text of Hydra's grammar, where backslashes count only before a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""),
                        value) + "'"


def _text(value: str) -> str:
    """What `value`, of an override, says without its quotes."""
    if value[:1] not in ("'", '"'):
        return value
    try:
        return str(OverridesParser.create().parse_override(f"key={value}").value())
    except HydraException:
        return value


def _composed(config: str, schema: type, overrides: list[str],
              implied: Implied | None = None) -> DictConfig:
    """The values of configs/`config`.yaml, its groups and `overrides`, before they are checked as
    a whole."""
    store = ConfigStore.instance()
    store.store(name=f"{config}_schema", node=schema)
    # a recipe is a choice of those of its keys that the schema has
    for recipe, values in RECIPES.items():
        chosen = {name: value for name, value in vars(values).items() if name in keys_of(schema)}
        store.store(group="recipe", name=recipe, package="_global_",
                    node={"recipe": recipe, **chosen})
    given = [_split_override(override, schema) for override in overrides]
    for name, value in given:
        _check_override(name, value, config, schema)
    if implied:
        given = [_split_override(override, schema)
                 for override in implied({name: _text(value) for name, value in given})] + given
    groups = groups_of(config)
    # the last one holds
    choices = {groups[name].entry: _text(value) for name, value in given if name in groups}
    entries = [f"{entry}={choice}" for entry, choice in choices.items() if choice != "null"]
    entries += [f"{name}={value}" for name, value in given if name not in groups]
    try:
        with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            composed = hydra.compose(config, overrides=entries, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(_explain(error, schema, given)) from error
    chosen = composed.hydra.runtime.choices
    with open_dict(composed):
        del composed["hydra"]
    for name, group in groups.items():  # a key of the same name as a group says what was chosen
        if name in keys_of(schema) and OmegaConf.is_missing(composed, name):
            composed[name] = chosen[group.entry]
    return composed


def _split_override(override: str, schema: type) -> tuple[str, str]:
    """Key and value of `override`.

    Raises:
        ConfigError: it is not key=value.
    """
    if override.startswith("~"):
        raise ConfigError(f"{override}: keys cannot be removed; set a value, or null where a key "
                          "may be empty")
    name, separator, value = override.lstrip("+").partition("=")
    if not separator:
        raise ConfigError(f"{override}: not of the form key=value, such as "
                          f"{next(iter(keys_of(schema)))}=..., without spaces around =")
    return name, value


def _check_override(name: str, value: str, config: str, schema: type) -> None:
    """Raises ConfigError where a key is unknown, or a group has no such choice."""
    groups, keys = groups_of(config), keys_of(schema)
    if name in groups:
        choices = groups[name].options
        if _text(value) not in choices and not (value == "null" and groups[name].default is None):
            raise ConfigError(f"{name}={_text(value)}: choose one of {', '.join(choices)}")
    elif name not in keys:
        raise ConfigError(_unknown(name, _text(value), [*{**keys, **groups}]))


def _check_names(composed: DictConfig, keys: dict, prefix: str = "") -> None:
    """Raises ConfigError for a key that a file of configs/ brought and the schema does not
    have."""
    for name in composed:
        full = f"{prefix}{name}"
        if full not in keys:
            raise ConfigError(_unknown(full, composed[name], list(keys)))
        if is_group(keys[full]):
            _check_names(composed[name], keys, f"{full}.")


def _explain(error: Exception, schema: type, given: list[tuple[str, str]]) -> str:
    """The fault of a command line whose keys are known, in one line: the key, the value found and
    what is allowed."""
    keys = keys_of(schema)
    for name, value in given:
        if name in keys and not is_group(keys[name]):
            try:
                OmegaConf.merge(OmegaConf.structured(schema),
                                OmegaConf.from_dotlist([f"{name}={value}"]))
            except (OmegaConfBaseException, yaml.YAMLError):
                return f"{name}={_text(value)}: expected {type_name(keys[name])}"
    return " ".join(str(error).split())


def _unknown(name: str, value: Any, names: list[str]) -> str:
    """The message for an unknown key, with the one it resembles: as a whole, or without the group
    it is in."""
    within = {full.rpartition(".")[2]: full for full in reversed(names)}
    close = difflib.get_close_matches(name, names,
                                      n=1) or difflib.get_close_matches(name.rpartition(".")[2],
                                                                        within, n=1)
    meant = within.get(close[0], close[0]) if close and close[0] not in names else "".join(close)
    return f"{name}={value}: unknown key; " + (f"did you mean {meant}?" if meant
                                               else f"the keys are {', '.join(sorted(names))}")
