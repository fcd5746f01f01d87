"""The rows of a finished benchmark: what each run of it measured, and on which tiles."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.intervals import sampled_figures
from evaluation.results import read_seed
from evaluation.tallies import Tallies
from studies.differences import mean_figures
from utils.contents import (
    Anything,
    Either,
    Fields,
    InnerPath,
    Items,
    Null,
    Number,
    Table,
    Text,
    read_json,
)
from utils.errors import CheckpointError

RESULTS = "results.json"
_FIGURES = Table(Either([Number(), Null()]))
_ROW = Fields({"task": Text(), "row": Text(), "fold": Anything(), "seed": Anything(),
               "figures": _FIGURES}, {"folder": Either([InnerPath(), Null()])})
_TASK = Fields({"title": Text(), "score": Text()})
_BENCHMARK = Fields({"city": Text(), "tasks": Table(_TASK), "rows": Items(_ROW, least=1)})


class Cell:
    """Rows of a benchmark that differ in fold and seed alone, with their figures and draws."""

    def __init__(self, folder: Path, rows: Sequence[Mapping[str, Any]]):
        self.folder, self.rows = folder, rows

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def tallies(self) -> list[Tallies]:
        """Those of all rows; none unless every row has them."""
        each = [read_seed(self.folder / row["folder"]) if row.get("folder") else None
                for row in self.rows]
        return each if all(each) else []

    @cached_property
    def figures(self) -> dict[str, float]:
        """Figure -> mean over the runs, all folds of the same weight."""
        if self.tallies:
            return mean_figures(self.tallies)
        names = dict.fromkeys(name for row in self.rows for name in row["figures"])
        folds: dict[Any, list[Mapping[str, float]]] = {}
        for row in self.rows:
            folds.setdefault(row["fold"], []).append(row["figures"])
        return {name: float(np.mean([np.mean([_number(each.get(name)) for each in rows])
                                     for rows in folds.values()])) for name in names}

    @cached_property
    def samples(self) -> dict[str, np.ndarray]:
        """Figure -> its value in every draw of blocks; empty without tallies."""
        return sampled_figures(self.tallies)

    @cached_property
    def tiles(self) -> set[frozenset[str]]:
        """The sets of tiles measured, one of each fold; of rows without tallies the folds."""
        return ({frozenset(run.names) for run in self.tallies}
                or {frozenset([str(row["fold"])]) for row in self.rows})


class Benchmark:
    """The results in the folder of a benchmark; raise CheckpointError if they cannot be read.

    Attributes:
        city: that it is of.
        tasks: name -> "title" in words and "score", the figure that is compared.
    """

    def __init__(self, folder: Path):
        record = read_json(folder / RESULTS, _BENCHMARK, "give the folder of a finished benchmark, "
                           "as runs=[runs/benchmark]", CheckpointError)
        self.folder, self.city, self.tasks = folder, record["city"], record["tasks"]
        self._rows, self._cells = record["rows"], {}

    def cell(self, task: str, columns: Mapping[str, Any]) -> Cell | None:
        """Return the runs whose columns have these values, a column that a row lacks being as
        asked; None if there are none."""
        key = (task, *sorted((name, str(value)) for name, value in columns.items()))
        if key not in self._cells:
            rows = [row for row in self._rows if row["task"] == task and all(
                _same(row.get(name, value), value) for name, value in columns.items())]
            self._cells[key] = Cell(self.folder, rows) if rows else None
        return self._cells[key]


def _same(found: Any, asked: Any) -> bool:
    """Return whether values of a column are equal, whether it was written as a number or text."""
    try:
        return found == asked or float(found) == float(asked)
    except (TypeError, ValueError):
        return str(found) == str(asked)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
