"""The results of the benchmark: a row a run, a mean and an interval a cell, and the differences
between cells that the claims are about."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from evaluation.intervals import bootstrap_of, intervals, sampled_figures, seeds_of
from evaluation.results import read_seed, spread_of
from evaluation.run import RESULTS
from evaluation.tallies import Tallies
from reports.figures import drawn_in_words
from studies.benchmark_agreement import check_alike
from studies.benchmark_plan import FULLY, ROWS, SCRATCH, TASKS, Cell
from studies.differences import Difference, compared, mean_figures
from utils.contents import Either, Fields, Null, Number, Table, Whole, read_json
from utils.errors import CheckpointError

_NUMBER = re.compile(r"\d+(\.\d+)?")
_RUN = re.compile(r"fold-([1-9]\d*)_seed-(0|[1-9]\d*)")  # the name of a run's folder
_FIGURES = Table(Either([Number(), Null()]))
_SUMMARY = Fields({"per_seed": Table(_FIGURES), "baselines": Table(_FIGURES),
                   "tiles": Table(Whole(least=0))})


@dataclass(frozen=True)
class Result:
    """The runs of a cell.

    Attributes:
        runs: "fold", "seed", "folder" below the benchmark's and "seconds" of each, and its
            figures.
        tallies: of each run; fewer if one has none.
        baselines: label -> figures of a prediction without a model, the mean over the folds.
        train_tiles: of the first run.
    """

    cell: Cell
    runs: list[dict[str, Any]]
    tallies: list[Tallies]
    baselines: dict[str, dict[str, float]]
    train_tiles: int

    @property
    def score(self) -> str:
        """The figure that is compared."""
        return TASKS[self.cell.task].score

    @cached_property
    def figures(self) -> list[str]:
        return [name for name in self.runs[0]
                if name not in ("fold", "seed", "folder", "seconds")]

    @cached_property
    def spread(self) -> dict[str, tuple[float, float]]:
        """Figure -> mean and standard deviation over the runs."""
        return spread_of([{name: run.get(name, math.nan) for name in self.figures}
                          for run in self.runs])

    @cached_property
    def samples(self) -> dict[str, Any]:
        """Figure -> its value in every draw; empty if a run has no tallies."""
        return sampled_figures(self.tallies) if len(self.tallies) == len(self.runs) else {}

    @cached_property
    def means(self) -> dict[str, float]:
        """Figure -> mean over the runs, every fold weighing the same."""
        return mean_figures(self.tallies)

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        return intervals(self.samples)

    @property
    def tiles(self) -> int:
        """How many different tiles were measured, those of all folds."""
        return len({name for run in self.tallies for name in run.names})

    @property
    def seeds(self) -> int:
        return len({run["seed"] for run in self.runs})

    @cached_property
    def trainings(self) -> frozenset[tuple[str, int]]:
        """Fold and seed of each run."""
        return frozenset((run["fold"], run["seed"]) for run in self.runs)

    @cached_property
    def _parts(self) -> dict[frozenset[tuple[str, int]], "Result"]:
        return {self.trainings: self}

    def among(self, trainings: frozenset[tuple[str, int]]) -> "Result":
        """Return the runs of some folds and seeds alone; if a run has no tallies, all."""
        if trainings not in self._parts and len(self.tallies) == len(self.runs):
            kept = [(run, tallies) for run, tallies in zip(self.runs, self.tallies, strict=True)
                    if (run["fold"], run["seed"]) in trainings]
            self._parts[trainings] = replace(self, runs=[run for run, _ in kept],
                                             tallies=[tallies for _, tallies in kept])
        return self._parts.get(trainings, self)

    @property
    def record(self) -> dict[str, Any]:
        """What results.json says of it."""
        return {**self.cell.keys, "score": self.score, "tiles": self.tiles,
                "mean": {name: mean for name, (mean, _) in self.spread.items()},
                "std": {name: std for name, (_, std) in self.spread.items()},
                "intervals": self.intervals, "baselines": self.baselines, "runs": self.runs}


Results = dict[Cell, Result]


def read_result(cell: Cell, out: Path, folders: Sequence[Path],
                seconds: Mapping[Path, float]) -> Result:
    """Return the runs of a cell.

    Args:
        out: the benchmark's folder.
        folders: of the evaluations, called fold-K_seed-S.
        seconds: folder -> how long it took, where known.

    Raises:
        CheckpointError: an evaluation is not finished, or damaged.
    """
    runs, tallies, trained, baselines = [], [], [], {}
    for folder in folders:
        fold, seed = _RUN.fullmatch(folder.name).groups()
        remedy = f"remove the folder {folder}, and the same command makes it again"
        summary = read_json(folder / RESULTS, _SUMMARY, remedy, CheckpointError)
        figures = summary["per_seed"].get(seed)
        if figures is None:
            raise CheckpointError(f"{folder / RESULTS}: has no seed {seed}, expected it; {remedy}")
        runs.append({"fold": fold, "seed": int(seed),
                     "folder": folder.relative_to(out).as_posix(),
                     "seconds": seconds.get(folder, math.nan),
                     **{name: math.nan if value is None else value
                        for name, value in figures.items()}})
        trained.append(summary["tiles"].get("train", 0))
        tallies.append(read_seed(folder / f"seed_{seed}"))
        for label, values in summary["baselines"].items():
            baselines.setdefault(label.partition(" (")[0], []).append(values)
    means = {label: {name: mean for name, (mean, _) in spread_of(
        [{key: math.nan if value is None else value for key, value in each.items()}
         for each in values]).items()} for label, values in baselines.items()}
    return Result(cell, runs, [each for each in tallies if each is not None], means, trained[0])


def read_cells(out: Path) -> Results:
    """Return the finished cells below `out`/runs as they were left, in any folds and seeds.

    Raises:
        CheckpointError: there is no such folder, or its runs are not alike (`check_alike`).
    """
    folders, root = {}, out / "runs"
    if not root.is_dir():
        raise CheckpointError(f"{root}: there is no such folder, expected the runs of a benchmark; "
                              "name the out= of one, such as runs/benchmark")
    for task in sorted(path for path in root.iterdir() if path.name in TASKS):
        for folder in sorted(path for path in task.iterdir() if path.is_dir()):
            runs = [run for run in sorted(folder.iterdir())
                    if _RUN.fullmatch(run.name) and (run / RESULTS).is_file()]
            if runs and (cell := named(task.name, folder.name)):
                folders[cell] = runs
    check_alike(out, folders)
    return {cell: read_result(cell, out, runs, {}) for cell, runs in folders.items()}


def named(task: str, name: str) -> Cell | None:
    """Return the cell whose folder has that name; None if it is no cell's, as of a copy."""
    row = max((row for row in ROWS if name.startswith(f"{row}_")), key=len, default=None)
    if row is None:
        return None
    training, _, rest = name.removeprefix(f"{row}_").partition("_")
    labels, *rest = rest.split("_")
    values: dict[str, float] = {}
    text = "hash"
    for part in rest:
        word, _, number = part.rpartition("-")
        if not word:
            text = number
        elif _NUMBER.fullmatch(number):
            values[word] = float(number)
    without = values.get("trained-without", 0.0)
    cell = Cell(task, row, training, labels, values.get("removed", without),
                values.get("shifted", 0.0), without, text)
    return cell if cell.name == name else None


def difference(results: Results, a: Mapping[str, Any] | Cell, b: Mapping[str, Any] | Cell,
               figure: str = "") -> Difference | None:
    """Return the figure of cell `a` less that of `b`, with its interval, of the folds and seeds
    that both have: another pretraining can move a figure as far as what is compared. None where one
    is not there, has no tallies, measured other tiles, or has no fold and seed of the other.

    Args:
        a, b: cells, or keys of cells; those left out have their defaults.
        figure: "": the task's score.
    """
    cells = [each if isinstance(each, Cell) else Cell(**each) for each in (a, b)]
    if not all(cell in results and results[cell].samples for cell in cells):
        return None
    own = in_common(*(results[cell] for cell in cells))
    sets = [{frozenset(run.names) for run in each.tallies} for each in own]
    if sets[0] != sets[1] or own[0].trainings != own[1].trainings:
        return None
    names = [" ".join(cell.name.split("_")) for cell in cells]
    if names[0] == names[1]:
        return None
    figure = figure or own[0].score
    means = {name: each.means for name, each in zip(names, own, strict=True)}
    samples = {name: each.samples for name, each in zip(names, own, strict=True)}
    return compared(*names, figure, means, samples)


def in_common(*results: Result) -> list[Result]:
    """Return results with the runs alone whose fold and seed all have; whole if there are none."""
    trainings = frozenset.intersection(*(each.trainings for each in results))
    if not trainings:
        return [*results]
    return [each.among(trainings) for each in results]


def pairs(results: Results) -> Iterator[tuple[Cell, Cell]]:
    """Yield the pairs of cells that the claims are about."""
    groups: dict[Cell, list[Cell]] = {}
    for cell in results:
        groups.setdefault(replace(cell, row="", text="", training=(
            FULLY if ROWS[cell.row].statistics else cell.training)), []).append(cell)
    for cells in groups.values():  # all rows of equal training
        yield from combinations(cells, 2)
    for cell in results:
        if cell.training == FULLY:  # what pretraining is worth
            yield cell, replace(cell, training=SCRATCH)
        if cell.removed or cell.shifted:  # against what reads no objects
            yield cell, replace(cell, row="image", removed=0.0, shifted=0.0,
                                trained_with_removal=0.0)
        if cell.trained_with_removal:  # what training with removal is worth
            yield cell, replace(cell, trained_with_removal=0.0)


def differences(results: Results) -> list[dict[str, Any]]:
    """Return what results.json says of the differences of the scores."""
    records = []
    for a, b in dict.fromkeys(pairs(results)):
        if b in results and (each := difference(results, a, b)):
            records.append({**each.record, "task": a.task, "cell": asdict(a), "minus": asdict(b)})
    return records


def blocks_in_words(results: Sequence[Result]) -> str:
    """Return how intervals come about, the blocks being those of most tiles, the seeds those of all
    results; "" if there are none."""
    drawn = [result for result in results if result.samples]
    if not drawn:
        return ""
    most = max(drawn, key=lambda result: result.tiles)
    seeds = {count for result in drawn for count in seeds_of(result.tallies)}
    return drawn_in_words({**bootstrap_of(most.tallies), "seeds": sorted(seeds)})
