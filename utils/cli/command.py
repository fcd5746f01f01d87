"""Make a function a command: a real `hydra.main` program with errors of one line in front.

What Hydra 1.3 does, it does here: `--cfg`, `--info`, `--config-dir`, `--multirun`, launchers,
sweepers, shell completion. Before it starts, the overrides are checked against the keys, which
needs none of the slow libraries; a fault ends the program with one line and exit code 2.
"""

import functools
import math
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from utils.cli.checks import check_all, forwarded, named, with_implied
from utils.cli.compose import explained, read, typed
from utils.cli.overrides import quote, split_override, values_of
from utils.cli.own_files import check_own_files
from utils.cli.process import (
    INTERRUPTED,
    READER_GONE,
    Ended,
    drop_output,
    end_workers,
    flush_output,
    is_output_fault,
    prepared,
    say_last,
)
from utils.cli.program import Program, Scored
from utils.errors import ConfigError, RoseError, is_mendable, message_of
from utils.files import replacing

_HYDRA_FILES = ("config.yaml", "hydra.yaml", "overrides.yaml")


def command(program: Program) -> Callable[[Callable[..., Any]], Callable[[], None]]:
    """Make `task(cfg)` the command that `program` describes: `python script.py key=value ...`.

    The task receives an instance of the program's schema, and returns an `Scored` or None. A
    `RoseError`, wherever it comes from, and any fault of the command line end the program with one
    line on stderr and exit code 2.
    """
    def decorate(task: Callable[..., Any]) -> Callable[[], None]:
        return functools.wraps(task)(lambda: guarded(lambda: _run(program, task, sys.argv[1:])))
    return decorate


def guarded(action: Callable[[], None]) -> None:
    """Run `action`; end the program with one line if it fails for a reason the user can mend."""
    try:
        with prepared():
            _check_working_folder()
            action()
            flush_output()
    except KeyboardInterrupt:
        say_last(INTERRUPTED)
        sys.exit(130)
    except Ended as end:
        say_last(f"ended by {end}; nothing half-written is left, and the same command continues "
                 "or starts again")
        sys.exit(128 + end.number)
    except Exception as error:
        if is_output_fault(error):  # whoever read the output has enough of it
            drop_output()
            sys.exit(READER_GONE)
        if not is_mendable(error):
            raise
        say_last(f"error: {message_of(error)}")
        sys.exit(2)
    finally:
        end_workers()


def _check_working_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise RoseError("the working directory was removed, and paths have no meaning in it; "
                        "change into another one") from error


def _run(program: Program, task: Callable[..., Any], arguments: list[str]) -> None:
    """Check the command line, then leave it to Hydra."""
    parser = get_args_parser()
    args = _parsed(parser, arguments)
    if args.experimental_rerun:
        raise ConfigError("--experimental-rerun: reads a pickle, and loading one can run any code; "
                          "use --config-dir RUN/.hydra --config-name config instead")
    if args.help:
        from utils.cli.help import help_text

        print(help_text(program))
        return
    rest: list[str] = []
    if "hydra.mode=MULTIRUN" in args.overrides:
        args.overrides.remove("hydra.mode=MULTIRUN")
        args.multirun = True
    if not (args.shell_completion or args.hydra_help):
        args.overrides, rest = _checked(program, args)
    own = args.config_dir or args.config_name or args.config_path
    if not (own or args.multirun) and any("${" in override for override in args.overrides):
        read(program, *args.overrides)  # before a folder is made for what refers to nothing
    if args.multirun:
        from utils.cli.grid import check_first, prepare_grid

        if not own:
            check_first(program, args.overrides)
        args.overrides = prepare_grid(program, args.overrides)
    job = _Job(program, task, tuple(rest))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here as they are
    program.register()
    before, sys.argv[1:] = sys.argv[1:], _flags(parser, args) + args.overrides
    try:
        hydra.main(config_path=str(program.config_dir), config_name=program.name,
                   version_base="1.3")(_named_like(task, job))()
    except (HydraException, OmegaConfBaseException, ValueError, TypeError, LookupError,
            AttributeError, RecursionError, YAMLError) as error:
        if job.started:
            raise
        raise ConfigError(explained(program, error)) from error
    finally:
        sys.argv[1:] = before
        if args.multirun:
            from utils.cli.grid import report_grid

            report_grid()  # raises if runs failed, but not over a fault of the program
    if job.error is not None:
        raise job.error


def _parsed(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Return Hydra's flags and the overrides; raise ConfigError for a flag it does not know."""
    def refuse(message: str) -> None:
        flags = [argument for argument in arguments if argument.startswith("-")
                 and argument.partition("=")[0] not in parser._option_string_actions]
        if flags:
            raise ConfigError(f"{flags[0]}: unknown option; keys are given as key=value; --help "
                              "lists them")
        raise ConfigError(f"{message}; --hydra-help explains Hydra's options")

    parser.error = refuse
    return parser.parse_intermixed_args(arguments)


def _flags(parser: ArgumentParser, args: Namespace) -> list[str]:
    """Return the command line of Hydra's flags."""
    flags: list[str] = []
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.option_strings and value not in (None, False, action.default):
            flags += [action.option_strings[0]] + ([] if value is True else [str(value)])
    return flags


def _checked(program: Program, args: Namespace) -> tuple[list[str], list[str]]:
    """Return the overrides as Hydra takes them, and those to be handed on."""
    own = next((Path(path) for path in (args.config_dir, args.config_path) if path), None)
    if own:
        chosen = [override.lstrip("+").replace("=", "/", 1) for override in args.overrides]
        check_own_files(program.schema, own, [*chosen, str(args.config_name).removesuffix(".yaml")])
    arguments = named(args.overrides, program)
    quoted = [quote(argument, args.multirun) for argument in arguments]
    overrides, rest = forwarded(quoted, program)
    several = [override for override in rest if values_of(override) is not None]
    if several:
        raise ConfigError(f"{several[0]}: several values of a key that is handed on; make a run "
                          "for each")
    try:
        if not (args.config_name or args.config_path):  # there, values may stand in the files
            overrides = with_implied(program, overrides)
        return check_all(program, overrides, args.multirun, own), rest
    except ConfigError as error:
        swept = [argument for argument in arguments
                 if values_of(argument) is not None and not args.multirun
                 and str(error).startswith("=".join(split_override(argument, program.schema)))]
        if not swept:
            raise
        raise ConfigError(f"{error}; --multirun makes a run of each of several values") from None


def _named_like(task: Callable[..., Any], job: "_Job") -> Callable[[DictConfig], Any]:
    """Return `job` as a function of the task's module: Hydra asks where it comes from."""
    @functools.wraps(task)
    def run(composed: DictConfig) -> Any:
        return job(composed)
    return run


class _Job:
    """One run of a task, in the process that Hydra's launcher gives it.

    Attributes:
        started: whether it was called in this process.
        error: what ended a single run.
    """

    def __init__(self, program: Program, task: Callable[..., Any], rest: tuple[str, ...]):
        self.program, self.task, self.rest, self.started = program, task, rest, False
        self.error: Exception | None = None

    def __call__(self, composed: DictConfig) -> float | None:
        self.started = True
        config = HydraConfig.get()
        if config.mode == RunMode.MULTIRUN:
            from utils.cli.grid import run_of_grid

            outcome = run_of_grid(lambda: self._outcome(config, composed), config)
            return outcome.score if isinstance(outcome, Scored) else math.nan
        try:
            outcome = self._outcome(config, composed)
        except Exception as error:
            if not is_mendable(error):
                raise
            self.error = error  # Hydra would add lines of its own
            return None
        return outcome.score if isinstance(outcome, Scored) else None

    def _outcome(self, config: DictConfig, composed: DictConfig) -> Any:
        """Run the task with its outputs in the folder that Hydra gives the run."""
        cfg = typed(self.program, composed)
        if config.mode == RunMode.MULTIRUN:
            from utils.cli.grid import check_alone

            check_alone(cfg)
        if not self.program.folder:
            return self._call(cfg)
        folder = Path(config.runtime.output_dir)
        if folder != Path(self.program.run_folder(cfg)).absolute():
            cfg = self.program.placed(cfg, str(folder))
        with _kept(folder, composed):
            return self._call(cfg)

    def _call(self, cfg: Any) -> Any:
        if _is_first():
            print("Loading libraries", flush=True)
        return self.task(cfg, list(self.rest)) if self.program.forward else self.task(cfg)


def _is_first() -> bool:
    """Return whether this is the first of a run's processes."""
    return os.environ.get("LOCAL_RANK", "0") == os.environ.get("RANK", "0") == "0"


class _kept:
    """Hydra's `.hydra/` in the folder of a run: written as the run begins, and put back as it was
    if the run is refused, so that it always tells of the run whose outputs lie there."""

    def __init__(self, folder: Path, composed: DictConfig):
        self.folder, self.hydra, self.composed = folder, folder / ".hydra", composed
        self.writes = _is_first()

    def __enter__(self) -> None:
        if not self.writes:
            return
        files = [self.hydra / name for name in _HYDRA_FILES]
        self.before = {file: file.read_bytes() if file.is_file() else None for file in files}
        config = HydraConfig.get()
        self.hydra.mkdir(parents=True, exist_ok=True)
        for file, content in zip(files, (self.composed, OmegaConf.create({"hydra": config}),
                                         config.overrides.task), strict=True):
            with replacing(file) as temporary:
                temporary.write_text(OmegaConf.to_yaml(content), encoding="utf-8")

    def __exit__(self, kind: type | None, *_: object) -> None:
        if not self.writes or kind is None or not issubclass(kind, RoseError | OSError) or (
                issubclass(kind, BrokenPipeError)):
            return
        for file, content in self.before.items():
            if content is None:
                file.unlink(missing_ok=True)
            else:
                file.write_bytes(content)
        for folder in (self.hydra, self.folder):  # Hydra made it before anything was checked
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
