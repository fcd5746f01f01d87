"""Runs of a study in processes, each of which makes the next one that is not done."""

import json
import runpy
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from datasets.workers import WorkerDied, by_workers
from evaluation.job import evaluate
from evaluation.keys import REGRESSION, SEGMENTATION, EvaluateConfig
from evaluation.patch_runs import evaluate_patches
from evaluation.problem import Regression, Segmentation
from evaluation.run import RESULTS
from studies.benchmark_plan import TASKS, Cell, Row
from studies.spent import RUN_RECORD, Spent
from training.compatibility import find_checkpoint
from training.keys import TRAIN
from utils.cli.compose import read
from utils.contents import Anything, Fields, Number, Table, read_json
from utils.cores import usable_cores
from utils.errors import RoseError, is_mendable, message_of
from utils.outputs import write_json
from utils.progress import progress_bar

_RECORD = Fields({"seconds": Number(), "request": Table(Table(Anything()))},
                 {"cells": Table(Number())})
_FILES = ("pretraining", "model", "tiles")  # of a request: what a run reads
CHECKSUM = "checksum"  # of the weights in such a file, which records may lack
_ROOT = Path(__file__).resolve().parents[1]
PROBLEMS = {"seg": (SEGMENTATION, Segmentation), "pop": (REGRESSION, Regression)}


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
        row: the model of all its evaluations.
        cells: (cell, evaluation) in order; the first trains.
    """

    kind: str
    name: str
    folder: Path
    request: dict[str, dict[str, Any]]
    cost: float
    defaults: dict[str, Any]
    overrides: tuple[str, ...] = ()
    row: Row | None = None
    cells: tuple[tuple[Cell, EvaluateConfig], ...] = ()

    def seconds(self) -> float | None:
        """Return how long it took, killed commands included; None if it is not done, or what it
        left was removed. Raise RoseError if its folder holds another run's outputs."""
        record = self._record()
        return record["seconds"] if record and self._whole() else None

    def times(self) -> dict[Path, float]:
        """Return folder -> seconds of each of its evaluations that are known: of several, earlier
        versions recorded the sum alone."""
        record = self._record() or {}
        known = record.get("cells", {})
        if "seconds" in record and len(self.cells) == 1:
            known = {self.cells[0][0].name: record["seconds"]}
        return {Path(cfg.save_path): known[cell.name] for cell, cfg in self.cells
                if cell.name in known}

    def _record(self) -> dict[str, Any] | None:
        path = self.folder / RUN_RECORD
        if not path.is_file():
            return None
        record = read_json(path, _RECORD, f"remove the folder {self.folder}, and the same command "
                                          "makes it again", RoseError)
        there, here = record["request"], json.loads(json.dumps(self.request))
        changed: set[str] = set()
        for what, values in here.items():
            before = {**self.defaults, **there.get(what, {})}
            if not _same_weights(values, before):
                changed |= {f"{name}{f' of the {what}' * (what in _FILES)}={value} (there "
                            f"{before.get(name)})" for name, value in values.items()
                            if name != CHECKSUM and value != before.get(name)}
        if changed:
            folders = dict.fromkeys([self.folder, *(Path(cfg.save_path) for _, cfg in self.cells)])
            raise RoseError(f"{path}: is of a run with other keys: "
                            f"{', '.join(sorted(changed)[:4])}; give the same ones, or another "
                            f"out=, or `rm -r {shlex.join(map(str, folders))}` makes it anew")
        return record

    def _whole(self) -> bool:
        """Return whether all that is read of it later is there."""
        if self.overrides:
            return weights_of(self.folder) is not None
        return all(path.is_file() for _, cfg in self.cells for path in (
            Path(cfg.save_path, RESULTS),
            *(Path(cfg.save_path, f"seed_{seed}", RESULTS) for seed in cfg.seeds)))

    def work(self, threads: int | None) -> None:
        """Do it, with all that it prints in log.txt of its folder."""
        if threads:
            torch.set_num_threads(threads)
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self._record() or {}  # of what was done, and removed in part
        spent = Spent(self.folder, before.get("seconds", 0.0), before.get("cells", {}))
        (self.folder / RUN_RECORD).unlink(missing_ok=True)
        log = self.folder / "log.txt"
        try:
            with log.open("a", buffering=1, encoding="utf-8") as file, redirect_stdout(file), (
                    redirect_stderr(file)):
                if self.overrides:
                    runpy.run_path(str(_ROOT / "train_rose.py"))["train"](
                        read(TRAIN, *self.overrides))
                for cell, cfg in self.cells:
                    start = time.monotonic()
                    _evaluate(self.row, cell, cfg)
                    spent.part(cell.name, time.monotonic() - start)
        except SystemExit as stop:  # it was asked to, and has saved what there was
            raise KeyboardInterrupt from stop
        except Exception as error:
            if not is_mendable(error):
                raise
            raise RoseError(f"{self.name}: {message_of(error)}") from error
        write_json(self.folder / RUN_RECORD, {"seconds": spent.seconds, "request": self.request,
                                              "cells": spent.parts})
        spent.end()


def _same_weights(here: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Return whether two files hold equal weights, whose bytes differ where they were made anew:
    the order of a header's entries is random."""
    return bool(here.get(CHECKSUM)) and here[CHECKSUM] == there.get(CHECKSUM)


def weights_of(pretraining: Path) -> Path | None:
    """Return the newest weights in the folder of a pretraining; None if it has none."""
    there = any(pretraining.glob("model_*"))
    return find_checkpoint(str(pretraining), "") if there else None


def _evaluate(row: Row, cell: Cell, cfg: EvaluateConfig) -> None:
    problem = PROBLEMS[TASKS[cell.task].problem][1](cfg)
    if row.statistics:
        evaluate_patches(cfg, problem, row.statistics, row.hidden)
    else:
        evaluate(cfg, problem)


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
    threads = max(usable_cores() // workers, 1)
    try:
        yield from by_workers(partial(Unit.work, threads=threads), units, workers, __name__)
    except WorkerDied as error:
        raise RoseError(f"workers={workers}: a process ended without a word, most likely for want "
                        "of memory; the same command resumes, with "
                        f"workers={max(1, workers // 2)}") from error


def default_workers(accelerator: str) -> int:
    """Return the cores that this process may use, or 1 with a GPU."""
    return 1 if on_gpu(accelerator) else usable_cores()


def on_gpu(accelerator: str) -> bool:
    return accelerator != "cpu" and torch.cuda.is_available()


def loading(accelerator: str) -> str:
    """Return `num_workers` of a run: none where each core computes."""
    return "null" if on_gpu(accelerator) else "0"


def account(times: dict[str, float], begun: float) -> str:
    """Return in words what `run_units` took by kind, and the command since `begun` (monotonic)."""
    return ("Time of all runs, those of earlier commands included: " + ", ".join(
        f"{kind} {in_words(spent)}" for kind, spent in times.items())
        + f". This command took {in_words(time.monotonic() - begun)}.")


def in_words(seconds: float) -> str:
    """Return a time as a reader wants it: 40 s, 12 min, 2 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
