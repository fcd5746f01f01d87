"""The runs of the benchmark: pretraining, then a training of each cell, fold and seed with all that
measures its model; in processes, each of which makes the next one that is not done."""

import json
import os
import runpy
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from datasets.workers import WorkerDied, by_workers
from evaluation.job import evaluate
from evaluation.keys import REGRESSION, SEGMENTATION, EvaluateConfig
from evaluation.patch_runs import evaluate_patches
from evaluation.problem import Regression, Segmentation
from studies.benchmark_data import list_of
from studies.benchmark_plan import (
    FULLY,
    JUDGED,
    MEASURED,
    MODES,
    ROWS,
    SCRATCH,
    TASKS,
    Cell,
    measured_with,
    tiles_seen,
)
from studies.degraded import measuring
from studies.keys import BenchmarkConfig
from training.compatibility import find_checkpoint
from training.keys import TRAIN
from utils.cli.compose import read
from utils.contents import Anything, Fields, Number, Table, read_json
from utils.errors import RoseError, is_mendable, message_of
from utils.files import sha256_of
from utils.outputs import write_json
from utils.progress import progress_bar

RECORD = "run.json"  # of what is done in a folder: written last
_RECORD = Fields({"seconds": Number(), "request": Table(Table(Anything()))})
# keys that no result depends on: where a run works, and in how many processes
_PLACES = ("save_path", "save_root_dir", "save_dir", "checkpoint", "accelerator", "data_root",
           "data_path", "num_workers")
_ROOT = Path(__file__).resolve().parents[1]
_PROBLEMS = {"seg": (SEGMENTATION, Segmentation), "pop": (REGRESSION, Regression)}
# seconds of a core, of test_vit, as measured: for the forecast alone
STEP_S, MEASURE_S, PRETRAIN_S, REST_S = 0.013, 0.006, 0.018, 2.0
BASELINE_S = 10.0


@dataclass(frozen=True)
class Unit:
    """What a process does at once, and what it leaves.

    Attributes:
        kind: for the account of time.
        folder: of its outputs.
        request: what it does -> the keys that its outputs depend on.
        defaults: of keys, which runs had that are older than a key.
        cost: seconds of a core, about.
        overrides: of a pretraining; none: it evaluates `cells`.
        cells: (cell, evaluation) in order; the first trains.
    """

    kind: str
    name: str
    folder: Path
    request: dict[str, dict[str, Any]]
    cost: float
    defaults: dict[str, Any]
    overrides: tuple[str, ...] = ()
    cells: tuple[tuple[Cell, EvaluateConfig], ...] = ()

    def seconds(self) -> float | None:
        """Return how long it took; None if it is not done. Raise RoseError if its folder holds
        another run's outputs."""
        path = self.folder / RECORD
        if not path.is_file():
            return None
        record = read_json(path, _RECORD, f"remove the folder {self.folder}, and the same command "
                                          "makes it again", RoseError)
        there, here = record["request"], json.loads(json.dumps(self.request))
        changed = sorted({
            f"{name}={values[name]} (there {before})" for what, values in here.items()
            for name in values if (before := {**self.defaults, **there.get(what, {})}.get(name))
            != values[name]})
        if changed:
            raise RoseError(f"{path}: is of a run with other keys: {', '.join(changed[:4])}; give "
                            f"the same ones, or another out=, or `rm -r "
                            f"{shlex.quote(str(self.folder))}` makes it anew")
        return record["seconds"]

    def work(self, threads: int | None) -> None:
        """Do it, with all that it prints in log.txt of its folder."""
        if threads:
            torch.set_num_threads(threads)
        self.folder.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        log = self.folder / "log.txt"
        try:
            with log.open("a", encoding="utf-8") as file, redirect_stdout(file), (
                    redirect_stderr(file)):
                if self.overrides:
                    runpy.run_path(str(_ROOT / "train_rose.py"))["train"](
                        read(TRAIN, *self.overrides))
                for cell, cfg in self.cells:
                    _evaluate(cell, cfg)
        except SystemExit as stop:  # it was asked to, and has saved what there was
            raise KeyboardInterrupt from stop
        except Exception as error:
            if not is_mendable(error):
                raise
            raise RoseError(f"{self.name}: {message_of(error)}") from error
        write_json(self.folder / RECORD,
                   {"seconds": time.monotonic() - start, "request": self.request})


def _evaluate(cell: Cell, cfg: EvaluateConfig) -> None:
    row, problem = ROWS[cell.row], _PROBLEMS[TASKS[cell.task].problem][1](cfg)
    if row.statistics:
        evaluate_patches(cfg, problem, row.statistics, row.hidden)
    else:
        evaluate(cfg, problem)


@dataclass(frozen=True)
class Bench:
    """What all units have in common.

    Attributes:
        lists: labels -> number of tiles of the first fold.
        rest: overrides of the evaluations.
        roots: text -> folder of the tiles.
    """

    cfg: BenchmarkConfig
    rest: tuple[str, ...]
    roots: dict[str, Path]
    lists: dict[str, int]
    tiles: int

    @property
    def out(self) -> Path:
        return Path(self.cfg.out)

    def pretraining(self, recipe: str, text: str, seed: int) -> Path:
        """Return the folder of a pretraining."""
        return self.out / "pretraining" / f"{recipe}_{text}_seed-{seed}"

    def pretrainings(self, cells: Mapping[Cell, int | None]) -> list[Unit]:
        """Return those that cells start from; `cells` are as of `planned`."""
        epochs, units = self.cfg.pretrain_epochs, []
        for seed in self.cfg.seeds:
            for recipe, text in dict.fromkeys(
                    (ROWS[cell.row].recipe, cell.text) for cell in cells
                    if cell.training != SCRATCH and seed in self.seeds(cells[cell])):
                folder = self.pretraining(recipe, text, seed)
                keys = {"data_path": self.roots[text], "experiment": "own_city", "recipe": recipe,
                        "image_encoder": self.cfg.image_encoder, "total_epoch": epochs,
                        "image_size": self.cfg.tile_px,
                        "save_every": epochs, "picture_every": epochs, "seed": seed,
                        "num_workers": loading(self.cfg.accelerator), "devices": 1,
                        "accelerator": self.cfg.accelerator,
                        "save_root_dir": folder.parent, "save_dir": folder.name}
                overrides = tuple(f"{name}={value}" for name, value in keys.items())
                cfg = read(TRAIN, *overrides)
                units.append(Unit("pretraining", f"pretraining {recipe}, text={text}, seed {seed}",
                                  folder, {"pretraining": _important(cfg)},
                                  PRETRAIN_S * epochs * self.tiles, _defaults(cfg), overrides))
        return units

    def seeds(self, first: int | None) -> list[int]:
        """Return the first seeds; None: all."""
        return self.cfg.seeds[:first]

    def trainings(self, cells: Mapping[Cell, int | None]) -> list[Unit]:
        """Return the trainings of cells, all of the first seed before those of the next."""
        units = []
        for cell, fold, seed in self._runs(cells):
            seen = tiles_seen(self.lists[cell.labels], cell, self.cfg.effort)
            kind, cost = "training", STEP_S * seen + self._measuring_s(JUDGED + 1)
            if ROWS[cell.row].statistics:
                kind, cost = "baselines", BASELINE_S
            elif cell.training not in (FULLY, SCRATCH):
                kind, cost = "probes", self._measuring_s(JUDGED + 1)
            units.append(self._unit(kind, [(cell, self.config(cell, fold, seed))], cost))
        return units

    def measurings(self, cells: Mapping[Cell, int | None]) -> list[Unit]:
        """Return the measuring of cells' models, which must be there, on degraded objects."""
        units = []
        for cell, fold, seed in self._runs(cells):
            measured = [(other, self._measuring(cell, other, fold, seed))
                        for other in measured_with(cell, [*self.lists])
                        if seed in self.seeds(MEASURED[cell.row])]
            if measured:
                units.append(self._unit("missing", measured, len(measured) * self._measuring_s(1)))
        return units

    def _runs(self, cells: Mapping[Cell, int | None]) -> Iterator[tuple[Cell, int, int]]:
        """Yield each cell with each of its folds and seeds."""
        for seed in self.cfg.seeds:
            for cell, first in cells.items():
                if seed in self.seeds(first):
                    yield from ((cell, fold, seed) for fold in range(1, self.cfg.folds + 1))

    def _measuring_s(self, times: int) -> float:
        return REST_S + MEASURE_S * times * self.tiles / self.cfg.folds

    def _unit(self, kind: str, cells: list[tuple[Cell, EvaluateConfig]], cost: float) -> Unit:
        cell, cfg = cells[0]
        name = f"{cell.task}, {cell.name.replace('_', ' ')}, fold {cfg.fold}, seed {cfg.seeds[0]}"
        request = {other.name: _important(config) for other, config in cells}
        if cell.training != SCRATCH and not cell.measures:
            request["pretraining"] = {"sha256": _sha256(cfg.checkpoint)}
        return Unit(kind, name, Path(cfg.save_path), request, cost, _defaults(cfg),
                    cells=tuple(cells))

    def folder(self, cell: Cell, fold: int, seed: int) -> Path:
        """Return the folder of a cell's evaluation."""
        return self.out / "runs" / cell.task / cell.name / f"fold-{fold}_seed-{seed}"

    def config(self, cell: Cell, fold: int, seed: int) -> EvaluateConfig:
        """Return the evaluation that trains a cell's model."""
        row, task = ROWS[cell.row], TASKS[cell.task]
        base = base_config(task.problem, task.target, row.recipe, self.rest, self.cfg.accelerator)
        tiles = self.lists[cell.labels]
        epochs = max(round(tiles_seen(tiles, cell, self.cfg.effort) / tiles), 1)
        scratch = cell.training == SCRATCH
        probed = {} if cell.training in (FULLY, SCRATCH) else {"drop_objects": 0.0,
                                                               "drop_graphs": 0.0}
        checkpoint = None if scratch else str(
            _newest(self.pretraining(row.recipe, cell.text, seed)))
        return replace(
            base, data_root=str(self.roots[cell.text]), image_size=self.cfg.tile_px,
            fold=f"{fold}/{self.cfg.folds}",
            train_file=list_of(cell.labels), seeds=[seed], modality=row.modality,
            mode=MODES[cell.training], checkpoint=checkpoint, epochs=epochs,
            image_encoder=self.cfg.image_encoder if scratch else None,
            val_every=-(-epochs // JUDGED), remove_ratio=cell.trained_with_removal,
            remove_while_training=bool(cell.trained_with_removal),
            save_path=str(self.folder(cell, fold, seed)), **probed)

    def _measuring(self, trained: Cell, cell: Cell, fold: int, seed: int) -> EvaluateConfig:
        run, = measuring(self.config(trained, fold, seed), "", remove_ratio=cell.removed,
                         osm_shift=cell.shifted, remove_while_training=False, val_every=1)
        return replace(run, save_path=str(self.folder(cell, fold, seed)))


@lru_cache
def base_config(problem: str, target: str, recipe: str, rest: tuple[str, ...],
                accelerator: str) -> EvaluateConfig:
    """Return the keys that all evaluations of a task and a recipe share; raise ConfigError if one
    of `rest` is refused."""
    program = _PROBLEMS[problem][0]
    chosen = [f"recipe={recipe}"] * (recipe != "rose") + [f"target={target}"] * bool(target)
    return read(program, "data_root=tiles", "experiment=own_city",
                f"num_workers={loading(accelerator)}", *rest, *chosen,
                "pictures=false", "devices=1", f"accelerator={accelerator}")


def _newest(folder: Path) -> Path:
    """Return the weights of a pretraining; before it has any, their folder."""
    return find_checkpoint(str(folder), "") if any(folder.glob("model_*")) else folder


@lru_cache
def _sha256(checkpoint: str) -> str:
    return sha256_of(Path(checkpoint)) if Path(checkpoint).is_file() else ""


def _important(cfg: Any) -> dict[str, Any]:
    """Return the keys that a run is recognised by."""
    return {name: value for name, value in asdict(cfg).items() if name not in _PLACES}


def _defaults(cfg: Any) -> dict[str, Any]:
    return {item.name: item.default for item in fields(cfg) if item.default is not MISSING}


def run_units(units: Sequence[Unit], workers: int, what: str) -> dict[str, float]:
    """Run all units that are not done, in order; return kind -> seconds of all, those done before
    included.

    Raises:
        RoseError: a unit failed, or a process died; what is done stays.
    """
    done = {unit.folder: unit.seconds() for unit in units}
    left = [unit for unit in units if done[unit.folder] is None]
    costs, start = sum(unit.cost for unit in left), time.monotonic()
    spent = 0.0
    if left:
        print(f"{what}: {len(left)} of {len(units)} runs are left, in {workers} process"
              f"{'es' * (workers > 1)}; a first guess: {in_words(costs / workers)}",
              flush=True)
    with progress_bar(len(units), len(units) - len(left), "run", bool(left)) as bar:
        for unit in _worked(left, workers):
            spent += unit.cost
            gone = time.monotonic() - start
            bar.set_postfix_str(f"about {in_words(gone / spent * (costs - spent))} left",
                                refresh=False)
            bar.update()
    kinds: dict[str, float] = {}
    for unit in units:
        kinds[unit.kind] = kinds.get(unit.kind, 0) + unit.seconds()
    return kinds


def _worked(units: Sequence[Unit], workers: int) -> Iterator[Unit]:
    if workers == 1:
        for unit in units:
            unit.work(None)
            yield unit
        return
    threads = max(len(os.sched_getaffinity(0)) // workers, 1)
    try:
        yield from by_workers(partial(Unit.work, threads=threads), units, workers, __name__)
    except WorkerDied as error:
        raise RoseError(f"workers={workers}: a process ended without a word, most likely for want "
                        "of memory; the same command resumes, with "
                        f"workers={max(1, workers // 2)}") from error


def default_workers(accelerator: str) -> int:
    """Return the cores that this process may use, or 1 with a GPU."""
    if on_gpu(accelerator):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def on_gpu(accelerator: str) -> bool:
    return accelerator != "cpu" and torch.cuda.is_available()


def loading(accelerator: str) -> str:
    """Return `num_workers` of a run: none where each core computes."""
    return "null" if on_gpu(accelerator) else "0"


def in_words(seconds: float) -> str:
    """Return a time as a reader wants it: 40 s, 12 min, 2 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
