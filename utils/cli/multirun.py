"""Grids: --multirun makes one run of every combination of the values on a command line such as
`modality=image,fusion seed=range(0,3)`.

The grammar of the values is Hydra's. The runs are made one after the other by this process, each
in a folder of its own.
"""

import gc
import hashlib
import math
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException

from utils.cli.command import message_of, quote
from utils.cli.help import Group
from utils.errors import ConfigError, RoseError
from utils.outputs import columns_of, write_csv

FILE = "grid.csv"
NAME_BYTES = 200  # a file system takes 255
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)


@dataclass(frozen=True)
class Combination:
    """One run of a grid.

    Attributes:
        swept: its value of each key that has several, as text.
        overrides: of the whole command line, in Hydra's grammar.
    """

    swept: dict[str, str]
    overrides: list[str]

    @property
    def name(self) -> str:
        """`modality=image,lr=1e-05`, as the name of a folder."""
        name = ",".join(f"{key}={value}" for key, value in self.swept.items()).replace("/", "_")
        if len(name.encode()) <= NAME_BYTES:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        return f"{name.encode()[:NAME_BYTES - 13].decode(errors='ignore')}-{digest}"


def combinations(arguments: Sequence[str], groups: dict[str, Group]) -> list[Combination]:
    """All combinations of the values that `arguments` give to their keys, the last key changing
    fastest.

    Raises:
        ConfigError: no key has several values, those of a key cannot be listed, or two runs would
            be the same.
    """
    fixed: dict[str, str] = {}
    swept: dict[str, list[str]] = {}
    for argument in arguments:
        key = argument.partition("=")[0].lstrip("+")
        values = _values(argument, groups.get(key))
        (fixed if values is None else swept)[key] = quote(argument) if values is None else values
        (swept if values is None else fixed).pop(key, None)  # the last one holds, as for any key
    if not swept:
        raise ConfigError("--multirun: no key has several values; give them as key=a,b or "
                          "key=range(0,3), or leave --multirun out")
    found = [Combination({key: _plain(value) for key, value in zip(swept, values, strict=True)},
                         [*fixed.values(),
                          *(f"{key}={value}" for key, value in zip(swept, values, strict=True))])
             for values in product(*swept.values())]
    names = [combination.name for combination in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"--multirun: two runs would have the folder {twice}; give every value "
                          "once")
    return found


def place_runs(folders: Sequence[Path], names: Sequence[str], key: str) -> list[Path]:
    """The folder of each run of a grid: its name, in what the folders that the runs would have
    without the grid have in common.

    Raises:
        ConfigError: they have nothing in common.
    """
    try:
        base = os.path.commonpath(folders)
    except ValueError:  # some are absolute
        base = ""
    if not base:
        raise ConfigError(f"--multirun: the runs would go to {folders[0]}, {folders[-1]}, ...; "
                          f"give one folder for all with {key}=")
    return [Path(base) / name for name in names]


def check_alone(cfg: Any) -> None:
    """Raises ConfigError where the runs of a grid would be shared by several processes: each would
    start the whole grid."""
    if any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "LOCAL_RANK")):
        raise ConfigError("--multirun: makes its runs in one process, and this one was launched "
                          "as one of several; start it without torchrun, or make each run by "
                          "itself")
    if _processes(cfg) > 1:
        raise ConfigError(f"devices={cfg.devices} num_nodes={cfg.num_nodes}: --multirun makes its "
                          "runs in one process, on one device; add devices=1 num_nodes=1, or "
                          "make each run by itself")


def run_grid(runs: Sequence[tuple[Combination, Callable[[], Any]]], folder: Path) -> None:
    """Make the runs one after the other, each as if the process had just begun; write
    folder/grid.csv after each and print it at the end.

    Args:
        runs: a run returns its figures as {"mean": {name: number}, "std": the same}, or None.

    Raises:
        RoseError: a run failed; the message begins with its name, and the rows of those before it
            are written.
    """
    rows = []
    surroundings = _Surroundings()
    print(f"{len(runs)} runs in {folder}")
    for number, (combination, run) in enumerate(runs, 1):
        print(f"Run {number} of {len(runs)}: {combination.name}", flush=True)
        try:
            outcome = run()
        except (RoseError, OSError) as error:
            raise RoseError(f"{combination.name}: {message_of(error)}") from error
        finally:
            surroundings.restore()
        rows.append(combination.swept | _figures(outcome or {}))
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / FILE, rows)
    print(f"{_table(rows, len(runs[0][0].swept))}\nThe figures of all runs: {folder / FILE}")


class _Surroundings:
    """What one run may leave behind that the next would meet: signal handlers, environment,
    randomness, process groups, memory."""

    def __init__(self) -> None:
        from utils.rng import rng_state  # with all networks; a faulty command line ends before

        self.handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}
        self.environment = dict(os.environ)
        self.randomness = rng_state()

    def restore(self) -> None:
        from utils.rng import set_rng_state

        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(self.environment)
        set_rng_state(self.randomness)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        gc.collect()  # networks and data loading processes in cycles of references


def _values(argument: str, group: Group | None) -> list[str] | None:
    """The values that `argument` gives its key, in Hydra's grammar; None where it is a single
    one."""
    key, _, value = argument.partition("=")
    try:
        parsed = OverridesParser.create().parse_override(argument)
        values = _listed(parsed, group)
    except (HydraException,
            ValueError):  # a path that the grammar stumbles over, or what the caller will find fault with
        return None
    if values is not None and not values:
        raise ConfigError(f"{key}={value}: stands for no value"
                          + (f"; the choices are {', '.join(group.options)}" if group else ""))
    return values


def _listed(parsed: Override, group: Group | None) -> list[str] | None:
    """The values that an override stands for; None where it is a single one."""
    if parsed.value_type == ValueType.INTERVAL_SWEEP or (parsed.value_type
                                                         == ValueType.GLOB_CHOICE_SWEEP
                                                         and group is None):
        raise ConfigError(f"{parsed.input_line}: its values cannot be listed; give them as "
                          f"{parsed.key_or_group}=a,b or {parsed.key_or_group}=range(0,3)")
    if parsed.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return parsed.value().filter(group.options)
    if parsed.is_sweep_override():
        values = list(parsed.sweep_string_iterator())
        return [chosen for value in values
                for chosen in _matching(value, group)] if group else values
    value = parsed.value()
    return _matching(value, group) if group and isinstance(value,
                                                           str) and _is_pattern(value) else None


def _is_pattern(value: str) -> bool:
    return "*" in value or "?" in value


def _matching(value: str, group: Group) -> list[str]:
    """The choices of `group` that `value` stands for: itself, or those that it matches."""
    return [option for option in group.options
            if fnmatch(option, value)] if _is_pattern(value) else [value]


def _plain(value: str) -> str:
    """A value of Hydra's grammar as a reader writes it."""
    parsed = OverridesParser.create().parse_override(f"key={value}").value()
    return parsed if isinstance(parsed,
                                str) else value.lower() if isinstance(parsed, bool) else value


def _processes(cfg: Any) -> int:
    """How many processes a run of `cfg` has."""
    if not hasattr(cfg, "devices"):
        return 1
    devices = cfg.devices
    if devices in ("auto", "-1"):
        count = 1 if cfg.accelerator == "cpu" else max(torch.cuda.device_count(), 1)
    elif "," in devices:
        count = len([number for number in devices.split(",") if number.strip()])
    else:
        count = int(devices) if devices.isdigit() else 1  # the run says what is wrong with it
    return count * cfg.num_nodes


def _figures(outcome: dict[str, Any]) -> dict[str, float]:
    """The means of a run's figures, each followed by its standard deviation where there are
    several seeds."""
    std = {name: value for name, value in outcome.get("std", {}).items() if not math.isnan(value)}
    return {key: number for name, value in outcome.get("mean", {}).items()
            for key, number in ((name, value),
                                *([(f"{name}_std", std[name])] if name in std else []))}


def _table(rows: list[dict[str, Any]], keys: int) -> str:
    """The rows of a grid in Markdown; the first `keys` columns are keys, the others figures."""
    from utils.tables import label_of, markdown_table

    columns = columns_of(rows)
    header = [*columns[:keys], *map(label_of, columns[keys:])]
    return markdown_table(header, [[row.get(name, math.nan) for name in columns] for row in rows])
