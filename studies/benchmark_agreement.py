"""Whether the runs in the folder of a benchmark may be compared: several commands can have made
them, and cells of different keys differ by these, too, not by their models alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.run import RESULTS
from studies.benchmark_plan import PROBE_TRAININGS, ROWS, SCRATCH, STEPS, TASKS, Cell
from studies.benchmark_runs import SET_HERE, base_config
from studies.command import written
from studies.spent import RUN_RECORD
from utils.config import keys_of, result_keys
from utils.contents import Anything, Either, Fields, Null, Table, Text, Whole, read_json
from utils.errors import CheckpointError

_REPORTED = "test"
_CONFIG = Fields({}, {"fold": Either([Text(), Null()]), "epochs": Whole(least=0)})
_MADE = Fields({"reported": Text(), "config": _CONFIG, "network": Table(Anything()),
                "tiles": Table(Whole(least=0)),
                "checkpoint": Either([Fields({"sha256": Text()}), Null()])})
_PRETRAINED = Fields({"request": Fields({"pretraining": Fields({"total_epoch": Whole(least=1)})})})
# the keys that a model without a network depends on, too
_OF_TILES = ("image_size", "cities", "train_cities", "test_cities", "osm_reads", "protocol",
             "classes")
# the keys in which cells differ; image_size is of the tiles, which all share
_OF_CELLS = {*SET_HERE, "task"} - {"image_size"}

Shared = Iterator[tuple[str, tuple[Any, ...], Any]]


def check_alike(out: Path, folders: Mapping[Cell, Sequence[Path]]) -> None:
    """Raise CheckpointError unless runs were measured on test tiles and have the same keys, but
    for those in which their cells differ.

    Args:
        out: the benchmark's folder.
        folders: of the finished evaluations of each cell, called fold-K_seed-S.
    """
    first: dict[tuple[Any, ...], tuple[Path, Any]] = {}
    least, most = (0.0, Path(), 0), (math.inf, Path(), 0)  # effort, of what path and epochs
    for cell, own in folders.items():
        for folder in own:
            path = folder / RESULTS
            made = read_json(path, _MADE, f"remove the folder {folder}, and the same benchmark "
                                          "makes it again", CheckpointError)
            if made["reported"] != _REPORTED:
                raise CheckpointError(
                    f"{path}: has figures of {made['reported']} tiles, expected those of "
                    f"{_REPORTED} tiles, as a benchmark measures; remove the folder {folder}")
            for key, group, value in [*_keys(cell, made), *_origins(cell, folder, made)]:
                _agree(first, key, group, value, path)
            for key, group, value, pretrained in _pretraining(out, cell, folder):
                _agree(first, key, group, value, pretrained)
            if ends := _efforts(cell, folder, made):
                epochs = made["config"]["epochs"]
                least = max(least, (ends[0], path, epochs), key=lambda end: end[0])
                most = min(most, (ends[1], path, epochs), key=lambda end: end[0])
    if least[0] > most[0]:
        raise CheckpointError(
            f"{least[1]}: was trained for {least[2]} epochs, which needs effort={least[0]:.3g} or "
            f"more, and {most[1]} for {most[2]}, of effort={most[0]:.3g} or less; {_expected()}")


def _agree(first: dict[tuple[Any, ...], tuple[Path, Any]], key: str, group: tuple[Any, ...],
           value: Any, path: Path) -> None:
    """Raise CheckpointError if another run of a group has another value of a key."""
    other, there = first.setdefault((key, *group), (path, value))
    if there != value:
        raise CheckpointError(f"{other}: was made with {key}={written(there)}, and {path} with "
                              f"{key}={written(value)}; {_expected()}")


def _expected() -> str:
    return ("expected the same keys in all runs that are compared; remove the folder of the one "
            "that is not meant, and the same benchmark makes it again")


def _keys(cell: Cell, made: Mapping[str, Any]) -> Shared:
    """Yield the keys of an evaluation -> among which runs they must be equal, and their value.

    These are runs of the same task whose recipes have the same default; probes set keys of their
    own. A key that is younger than the run has its default.
    """
    task, row = TASKS[cell.task], ROWS[cell.row]
    base = base_config(task.problem, task.target, row.recipe, row.evaluation, "cpu")
    stated = keys_of(type(base))
    for key in result_keys(type(base)):
        if key not in _OF_CELLS:
            kind = "" if key in _OF_TILES else _kind(cell)
            yield (key, (cell.task, kind, written(getattr(base, key))),
                   made["config"].get(key, stated[key].default))


def _kind(cell: Cell) -> str:
    """Return whose keys a cell's models have."""
    if ROWS[cell.row].statistics:
        return "statistics"
    return "probe" if cell.training in PROBE_TRAININGS else "network"


def _origins(cell: Cell, folder: Path, made: Mapping[str, Any]) -> Shared:
    """Yield the number of folds, the encoder, and the pretraining that a model comes from, as
    `_keys`."""
    yield "folds", (), (made["config"].get("fold") or "").partition("/")[2]
    if not ROWS[cell.row].statistics:
        yield "image_encoder", (), made["network"].get("image_encoder")
    if made["checkpoint"] and not cell.measures:
        yield ("the pretraining's SHA-256", (_pretrained(cell, folder),),
               made["checkpoint"]["sha256"][:8])


def _pretraining(out: Path, cell: Cell,
                 folder: Path) -> Iterator[tuple[str, tuple[Any, ...], Any, Path]]:
    """Yield the epochs of the pretraining that a model comes from, as `_keys`, and their record;
    nothing if there is no pretraining, or it is gone."""
    path = out / "pretraining" / _pretrained(cell, folder) / RUN_RECORD
    if cell.training != SCRATCH and path.is_file():
        record = read_json(path, _PRETRAINED, f"remove the folder {path.parent}, and the same "
                                              "benchmark makes it again", CheckpointError)
        yield "total_epoch", (), record["request"]["pretraining"]["total_epoch"], path


def _pretrained(cell: Cell, folder: Path) -> str:
    """Return the name of the pretraining that a run starts from."""
    row = ROWS[cell.row]
    seed = folder.name.rpartition("-")[2]
    return f"{row.pretrained or row.recipe}_{cell.text}_seed-{seed}"


def _efforts(cell: Cell, folder: Path, made: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the least and the greatest effort= by which `epochs_of` gives a training's epochs;
    None if it has none, or is not of the first fold, whose list decides."""
    epochs, tiles = made["config"].get("epochs", 0), made["tiles"].get("train", 0)
    if (not (epochs and tiles and folder.name.startswith("fold-1_")) or cell.measures
            or ROWS[cell.row].statistics):
        return None
    unit = TASKS[cell.task].effort * STEPS * math.sqrt(tiles)  # tiles seen with effort=1
    return (0.0 if epochs == 1 else ((epochs - 0.5) * tiles - 0.5) / unit,
            ((epochs + 0.5) * tiles + 0.5) / unit)
