"""Grids: what Hydra's --multirun does not do itself.

Each run has a folder of its own, named by the values it does not share with the others. Its
figures become a row of grid.csv beside them, whichever process made it; a run that fails leaves a
row that says why.
"""

import gc
import math
import os
import signal
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from utils.cli.compose import read
from utils.cli.overrides import parsed, split_override, values_of
from utils.cli.process import is_output_fault
from utils.cli.program import CONFIG_DIR, Program, Scored, run_name, swept_values
from utils.contents import (
    Either,
    Fields,
    Flag,
    Null,
    Number,
    Table,
    Text,
    Whole,
    read_json,
)
from utils.errors import ConfigError, RoseError, is_mendable, message_of, one_line
from utils.outputs import columns_of, write_csv, write_json

FILE, ROW = "grid.csv", ".hydra/grid_row.json"
_GRID = "ROSE_GRID"  # environment variable: the rows of one --multirun have the same value
ROW_RULE = Fields({"grid": Either([Text(), Null()]), "number": Whole(least=0),
                   "swept": Table(Text())},
                  {"figures": Table(Either([Number(), Null()])), "error": Text(), "fault": Flag()})
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


def prepare_grid(program: Program, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a grid with what tells its runs' folders apart.

    Raises:
        ConfigError: the runs would share a folder, or start one another.
    """
    if any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "LOCAL_RANK")):
        raise ConfigError("--multirun: this process was launched as one of several, and each would "
                          "start the whole grid; start it without torchrun, or make each run by "
                          "itself")
    fixed = {}
    for override in overrides:
        name, value = split_override(override, program.schema)
        fixed[name] = values_of(override) is None  # the last one counts
        if not fixed[name] and name in (program.folder or ()):
            raise ConfigError(f"{name}={value}: is where the folders of all runs go; give one "
                              "value")
        if program.folder and name == program.folder[1] and "${" in value:
            raise ConfigError(f"{name}={value}: the runs of a grid would go to several folders; "
                              f"give one folder for all with {name}=")
    os.environ[_GRID] = uuid.uuid4().hex
    paths = [str(CONFIG_DIR.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # for the processes of a launcher
    names = ",".join(name for name, is_fixed in fixed.items()
                     if is_fixed and parsed(f"key=[{name}]"))
    own = [f"hydra.job.config.override_dirname.exclude_keys=[{names}]"]
    if "hydra/sweeper=optuna" in overrides:  # a given direction comes later and wins
        own.append(f"hydra.sweeper.direction={program.direction}")
    return [*own, *overrides]


def check_first(program: Program, overrides: Sequence[str]) -> None:
    """Raise ConfigError if a grid's first run lacks a value, before any run starts."""
    first = []
    for override in overrides:
        values = values_of(override)
        if values != [] and not override.startswith("hydra"):
            name = override.partition("=")[0]
            first.append(override if values is None else f"{name}={values[0]}")
    read(program, *first)


def run_of_grid(call: Callable[[], Any], config: DictConfig) -> Any:
    """Make one run of a grid as if the process had just begun, and write its row.

    Returns:
        What `call` returns; None if the run failed: its row says why.
    """
    swept, folder = swept_values(config), Path(config.runtime.output_dir)
    number = int(config.job.num)
    row = {"grid": os.environ.get(_GRID), "number": number, "swept": swept}
    print(f"Run {number + 1}: {run_name(swept)}", flush=True)
    surroundings = _Surroundings()
    try:
        outcome = call()
    except Exception as error:
        if is_output_fault(error):  # and nobody reads the other runs' either
            raise
        if is_mendable(error):
            print(f"Run {number + 1} failed: {message_of(error)}", file=sys.stderr, flush=True)
            _write_row(folder, {**row, "error": message_of(error)})
            return None
        # a fault of the program's own: with its traceback
        fault = f"{type(error).__name__}: {one_line(error)}"
        _write_row(folder, {**row, "error": fault, "fault": True})
        raise
    finally:
        surroundings.restore()
    _write_row(folder, {**row, "figures": outcome.figures if isinstance(outcome, Scored) else {}})
    return outcome


class GridFolder(Callback):
    """Hydra's callback that remembers where the grid of this process lies."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the folder of the grid."""
        GridFolder.folder = Path(config.hydra.sweep.dir)
        print(f"A grid of runs in {GridFolder.folder}", flush=True)


def report_grid() -> None:
    """Print the table of the grid that this process started; nothing if no run of it ended.

    Raises:
        RoseError: a run failed.
    """
    from utils.tables import label_of, markdown_table  # needed once, at the end

    rows = _rows_of(GridFolder.folder) if GridFolder.folder else []
    if not rows:
        return
    table = [_cells(row) for row in rows]
    columns, keys = columns_of(table), len(rows[0]["swept"])
    header = [*columns[:keys], *map(label_of, columns[keys:])]
    print(markdown_table(header, [[row.get(name, math.nan) for name in columns] for row in table]))
    print(f"The figures of all runs: {GridFolder.folder / FILE}", flush=True)
    failed = [row for row in rows if "error" in row]
    if failed and not any("fault" in row for row in failed):
        raise RoseError(f"{len(failed)} of {len(rows)} runs failed; the first of them "
                        f"{run_name(failed[0]['swept'])}: {failed[0]['error']}")


def check_alone(cfg: Any) -> None:
    """Raise ConfigError if a run would have several processes: each would start the grid."""
    if hasattr(cfg, "devices") and _processes(cfg) > 1:
        raise ConfigError(f"devices={cfg.devices} num_nodes={cfg.num_nodes}: --multirun makes each "
                          "run in one process, on one device; add devices=1 num_nodes=1, or make "
                          "each run by itself")


def _processes(cfg: Any) -> int:
    """Return how many processes a run of `cfg` has."""
    import torch

    devices = cfg.devices
    if devices in ("auto", "-1"):
        count = 1 if cfg.accelerator == "cpu" else max(torch.cuda.device_count(), 1)
    elif "," in devices:
        count = len([number for number in devices.split(",") if number.strip()])
    else:
        count = int(devices) if devices.isdigit() else 1  # the run says what is wrong with it
    return count * cfg.num_nodes


def _write_row(folder: Path, row: dict[str, Any]) -> None:
    """Write the row of the run in `folder`, and grid.csv anew of all rows of its grid."""
    (folder / ROW).parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / ".grid.lock"):
        write_json(folder / ROW, row)
        write_csv(folder.parent / FILE, [_cells(other) for other in _rows_of(folder.parent)])


def _rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of this grid's runs that ended, in the order of the runs."""
    rows = []
    for file in folder.glob(f"*/{ROW}"):
        with suppress(RoseError):  # a damaged one is an earlier grid's: ours were just written
            rows.append(read_json(file, ROW_RULE, "remove it"))
    return sorted((row for row in rows if row["grid"] == os.environ.get(_GRID)),
                  key=lambda row: row["number"])


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a row: the keys that tell the run from others, and its figures."""
    figures = {name: math.nan if value is None else value
               for name, value in row.get("figures", {}).items()}
    return {**row["swept"], **figures, **({"error": row["error"]} if "error" in row else {})}


class _Surroundings:
    """What one run may leave behind in its process and the next would meet: signal handlers,
    environment, randomness, process groups, memory."""

    def __init__(self) -> None:
        from utils.rng import rng_state  # with torch, which every run needs

        self.handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}
        self.environment, self.randomness = dict(os.environ), rng_state()

    def restore(self) -> None:
        """Put all of it back as it was."""
        import torch

        from utils.rng import set_rng_state

        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(self.environment)
        set_rng_state(self.randomness)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        gc.collect()  # networks and data loading processes in cycles of references
