"""One entry for all scripts: Hydra's `key=value` command line, with errors of one line and exit code 2."""

import dataclasses
import difflib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from utils.config import check_values, type_name
from utils.errors import ConfigError, RoseError, one_line
from utils.recipes import RECIPES
from utils.stopping import end_workers

_FLAGS = ("--help", "-h", "--cfg", "-c")  # Hydra's that only look
CONFIG_DIR = Path(__file__).resolve().parent.parent / "configs"


def script(config: str, schema: type) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Make `main(cfg)` a command: `python script.py key=value ...`.

    The values come from configs/`config`.yaml, then a chosen `experiment=`, then the command line; `schema` types them. A `RoseError`,
    wherever it comes from, and any fault of the command line end the program with one line on stderr and exit code 2. Of Hydra's flags,
    those that look are taken: --help and --cfg job.

    Args:
        config: name of the yaml in configs/, without its ending.
        schema: dataclass that types its keys; `main` receives an instance.
    """
    def decorate(main: Callable[[Any], None]) -> Callable[[], None]:
        def task(composed: DictConfig) -> None:
            try:
                main(_typed(composed, schema))
            except RoseError as error:
                fail(error)
            except OSError as error:  # a full disk, a folder that may not be written
                where = error.filename or "input or output"
                fail(RoseError(f"{where}: {error.strerror or one_line(error)}; free space, or give another path"))
            except KeyboardInterrupt:
                print("interrupted; nothing half-written is left, and the same command starts again", file=sys.stderr)
                sys.exit(130)
            finally:
                end_workers()

        def run() -> None:
            sys.argv[1:] = [_quote(argument) for argument in sys.argv[1:]]
            flags = [argument for argument in sys.argv[1:] if argument.startswith("-")]
            try:
                for flag in flags:
                    if flag not in _FLAGS:
                        raise ConfigError(f"{flag}: unknown option; keys are given as key=value, such as batch_size=8; --help lists them")
                if not flags:  # Hydra would answer a fault with several lines and exit code 1
                    read_config(config, schema, sys.argv[1:])
            except RoseError as error:
                fail(error)
            hydra.main(config_path=str(CONFIG_DIR), config_name=config, version_base="1.3")(task)()

        _register(config, schema)
        return run
    return decorate


def read_config(config: str, schema: type, overrides: list[str]) -> Any:
    """An instance of `schema` with the values of configs/`config`.yaml and of `overrides` ("key=value").

    Raises:
        ConfigError: unknown key, wrong type, impossible or missing value; one line.
    """
    _register(config, schema)
    for override in overrides:
        if override.startswith("~"):
            raise ConfigError(f"{override}: keys cannot be removed; set a value, or null where a key may be empty")
    try:
        with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            composed = hydra.compose(config, overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(error, schema, overrides)) from error
    return _typed(composed, schema)


def fail(error: RoseError) -> None:
    """Print `error` as one line and exit with code 2."""
    # an error that crossed from a data loading process carries that process's traceback before its own line
    message = [line for line in str(error).splitlines() if line.strip()][-1]
    message = message.removeprefix(f"{type(error).__module__}.{type(error).__qualname__}: ")
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _quote(override: str) -> str:
    """`override` with its value in quotes where Hydra's grammar would stumble over it: a path with parentheses or an equals sign."""
    name, separator, value = override.partition("=")
    if override.startswith("-") or not separator or value[:1] in ("[", "{"):
        return override
    try:
        OverridesParser.create().parse_overrides([override])
    except HydraException:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"{name}='{escaped}'"
    return override


def _register(config: str, schema: type) -> None:
    """The schema under the name `config`_schema, and one `recipe=` choice per recipe with those of its keys that the schema has."""
    store = ConfigStore.instance()
    store.store(name=f"{config}_schema", node=schema)
    names = {field.name for field in dataclasses.fields(schema)}
    for recipe, values in RECIPES.items():
        chosen = {name: value for name, value in dataclasses.asdict(values).items() if name in names}
        store.store(group="recipe", name=recipe, package="_global_", node={"recipe": recipe, **chosen})


def _typed(composed: DictConfig, schema: type) -> Any:
    names = [field.name for field in dataclasses.fields(schema)]
    for name in composed:
        if name not in names:
            raise ConfigError(_unknown(name, composed[name], names))
    try:
        cfg = OmegaConf.to_object(composed)
    except MissingMandatoryValue as error:
        name = error.full_key
        field = next(field for field in dataclasses.fields(schema) if field.name == name)
        raise ConfigError(f"{name}: no value given; add {name}=... ({field.metadata['why']})") from error
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from error
    check_values(cfg)
    return cfg


def _explain(error: Exception, schema: type, overrides: list[str]) -> str:
    """The fault of a command line in one line: the key, the value found and what is allowed."""
    for override in overrides:
        name, separator, value = override.partition("=")
        if not separator:
            return f"{override}: not of the form key=value, such as batch_size=8, without spaces around ="
        fault = _fault_of(name.lstrip("+~"), value, schema)
        if fault:
            return fault
    return " ".join(str(error).split())


def _fault_of(name: str, value: str, schema: type) -> str | None:
    names = [field.name for field in dataclasses.fields(schema)]
    if name in ("recipe", "experiment"):
        choices = list(RECIPES) if name == "recipe" else sorted(path.stem for path in (CONFIG_DIR / name).glob("*.yaml"))
        return None if value in choices else f"{name}={value}: choose one of {', '.join(choices)}"
    if name.split(".")[0] == "hydra":
        return None
    if name not in names:
        return _unknown(name, value, names)
    try:
        OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.from_dotlist([f"{name}={value}"]))
    except (OmegaConfBaseException, yaml.YAMLError):
        return f"{name}={value}: expected {type_name(schema, name)}"
    return None


def _unknown(name: str, value: Any, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"{name}={value}: unknown key; " + (f"did you mean {close[0]}?" if close else f"the keys are {', '.join(sorted(names))}")
