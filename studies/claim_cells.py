"""The cells of a finished benchmark that claims compare: what their runs measured, on which
tiles."""

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.intervals import sampled_figures
from evaluation.results import read_seed
from evaluation.tallies import Tallies
from studies.differences import compared, mean_figures
from utils.contents import (
    Either,
    Fields,
    InnerPath,
    Items,
    Null,
    Number,
    Table,
    Text,
    Whole,
    read_json,
)
from utils.errors import CheckpointError

_RUN = Fields({"fold": Text(), "seed": Whole(least=0), "folder": InnerPath()})
_CELL = Fields({"task": Text(), "row": Text(), "score": Text(),
                "mean": Table(Either([Number(), Null()])), "runs": Items(_RUN, least=1)})
_BENCHMARK = Fields({"benchmark": Text(), "cells": Items(_CELL, least=1)})


class Cell:
    """A cell of a benchmark, with the tallies of its runs."""

    def __init__(self, folder: Path, record: Mapping[str, Any]):
        self.folder, self.record = folder, record

    @property
    def runs(self) -> int:
        """How many: folds times seeds."""
        return len(self.record["runs"])

    @property
    def score(self) -> str:
        """The figure that is compared."""
        return self.record["score"]

    @cached_property
    def tallies(self) -> list[Tallies]:
        """Those of all runs; none unless every run has them."""
        each = [read_seed(self.folder / run["folder"] / f"seed_{run['seed']}")
                for run in self.record["runs"]]
        return each if all(each) else []

    @cached_property
    def figures(self) -> Mapping[str, float]:
        """Figure -> mean over the runs, all folds of the same weight."""
        if self.tallies:
            return mean_figures(self.tallies)
        return {name: math.nan if value is None else value
                for name, value in self.record["mean"].items()}

    @property
    def value(self) -> float:
        """The score; nan if it is not defined."""
        return self.figures.get(self.score, math.nan)

    @cached_property
    def samples(self) -> dict[str, np.ndarray]:
        """Figure -> its value in every draw of blocks; empty without tallies."""
        return sampled_figures(self.tallies)

    @cached_property
    def tiles(self) -> set[frozenset[str]]:
        """The sets of tiles measured, one of each fold."""
        return {frozenset(run.names) for run in self.tallies}

    def interval_of_difference(self, other: "Cell") -> tuple[float, float] | None:
        """Return that of the score less another's, paired by tile; None without tallies of the
        same tiles."""
        if self.tiles != other.tiles:
            return None
        cells = {"a": self, "b": other}
        paired = compared("a", "b", self.score,
                          {name: cell.figures for name, cell in cells.items()},
                          {name: cell.samples for name, cell in cells.items()})
        return paired.interval if paired else None


class Benchmark:
    """The results in the folder of a benchmark; raise CheckpointError if they cannot be read.

    Attributes:
        city: that it is of.
    """

    def __init__(self, folder: Path):
        record = read_json(folder / "results.json", _BENCHMARK, "give the folder of a finished "
                           "benchmark, as in runs=[runs/benchmark]", CheckpointError)
        self.city = record["benchmark"]
        self._cells = [Cell(folder, cell) for cell in record["cells"]]

    def cell(self, columns: Mapping[str, Any]) -> Cell | None:
        """Return the cell whose columns have these values; None if there is none."""
        return next((cell for cell in self._cells
                     if columns.items() <= cell.record.items()), None)
