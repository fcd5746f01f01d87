"""What a study leaves: its page, NAME.csv with a row a run and seed, NAME.md, results.json, its
figure."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from evaluation.results import read_seed
from reports import REPORT, write_report
from reports.figures import better_of, over_in_words, with_interval
from studies.command import QUESTIONS, Question
from studies.differences import ALL_PAIRS, HEADER, Difference, differences_of
from studies.figures import study_figure
from studies.grid import Outcome
from studies.keys import StudyConfig
from utils.drawing import save_figures
from utils.files import replacing
from utils.outputs import write_csv, write_json
from utils.tables import NOTHING, format_number, label_of, markdown_table

_POINT = tuple[float | str, float, float]  # of a line: x, mean, standard deviation


@dataclass(frozen=True)
class Report:
    """The outcomes of a study, and how to show them."""

    name: str
    title: str
    how: str                   # what all its models have in common
    folder: Path               # of its outputs
    study: StudyConfig
    overrides: Sequence[str]   # of the evaluation, from the command line
    outcomes: Sequence[Outcome]
    xlabel: str                # what the plot's x are
    notes: Sequence[str] = ()  # what else a reader of the figures must know
    same_baselines: bool = True  # False: cells report other tiles, and each has its own
    varying: Collection[str] = ()  # baselines that read the objects, and are among the series

    @property
    def question(self) -> Question:
        return QUESTIONS[self.study.problem]

    @property
    def headline(self) -> str:
        """One line that says what the figures are of."""
        first, folds = self.outcomes[0], self.study.folds
        seeds = len(self.study.seeds)
        runs = f"{seeds} seeds" if seeds > 1 else "1 seed"
        runs += f" x {folds} folds" if folds else ""
        spread = f"mean ± std of {runs}" if seeds > 1 or folds else runs
        counts = {_reported_tiles(outcome) for outcome in self.outcomes}
        tiles = " to ".join(map(str, sorted({min(counts), max(counts)})))
        return (f"{self.title}, {self.question.title} ({self.how}): {tiles} {first.reported} "
                f"tiles, {spread}")

    def points(self, x: str, **keys: str) -> list[_POINT]:
        """Return the score of the outcomes that have these `keys`, over their key `x`."""
        return [(outcome.cell.keys[x], *outcome.spread[self.question.score])
                for outcome in self.outcomes if keys.items() <= outcome.cell.keys.items()]

    def write(self, series: Mapping[str, Sequence[_POINT]], categorical: bool = False,
              reference: Mapping[str, float] | None = None) -> None:
        """Write all outputs, each whole or absent, and print the table.

        Args:
            series: label -> points of a line, or of bars where x is `categorical`.
            reference: label -> a score to draw beside that of the best prediction without a model.
        """
        score, reported = self.question.score, self.outcomes[0].reported
        figure = study_figure(series, self.xlabel, f"{label_of(score)} on the {reported} tiles",
                              self.headline, categorical,
                              {**(reference or {}), **self._baseline()})
        table = self.folder / f"{self.name}.md"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_csv(self.folder / f"{self.name}.csv", [
            {**outcome.cell.keys, **run, "epoch": summary["epochs"][run["seed"]],
             **summary["per_seed"][run["seed"]]}
            for outcome in self.outcomes for run, summary in outcome.runs])
        write_json(self.folder / "results.json", self._summary())
        with replacing(table) as temporary:
            temporary.write_text(f"# {self.headline}\n\n{self._text()}\n", encoding="utf-8")
        save_figures({self.name: figure}, self.folder / "figures")
        write_report([self.folder], self.folder / REPORT)
        print(f"\n{self.headline}\n\n{self._text()}\n\nOutputs in {self.folder}: {REPORT}, a page "
              f"for the browser, {table.name}, {self.name}.csv, results.json, "
              f"figures/{self.name}.png; and a folder for each cell")

    def _text(self) -> str:
        """Return the table in Markdown, and what a reader of it must know."""
        columns = [name for name in dict.fromkeys(name for outcome in self.outcomes
                                                  for name in outcome.spread)
                   if not name.startswith("iou_")]
        rows = []
        for outcome in self.outcomes:
            ends = self._intervals.get(outcome.cell.name, {})
            rows.append([*outcome.cell.labels.values(), *(
                with_interval(*outcome.spread.get(name, (math.nan, None)), ends.get(name))
                for name in columns)])
        keys = [key.replace("_", " ") for key in self.outcomes[0].cell.keys]
        for label, each in self._baselines_of_cells().items():
            rows.append([f"no model: {label}", *[NOTHING] * (len(keys) - 1), *(
                _range([values[name] for values in each]) if name in each[0] else NOTHING
                for name in columns)])
        return "\n".join([markdown_table([*keys, *map(label_of, columns)], rows), "",
                          *(f"- {note}" for note in [*self.notes, *self._remarks()]),
                          *self._differences_text()])

    def _differences_text(self) -> list[str]:
        """Return the lines of the table that says which differences are real."""
        if not self._differences:
            return []
        others = "" if len(self.outcomes) <= ALL_PAIRS else ", of the best and each other model"
        return ["", f"Which differences are real{others}: those whose 95% interval, "
                f"{over_in_words(self._seeds)}, both models on the same draws of blocks of tiles, "
                "excludes 0.", "",
                markdown_table(HEADER, [each.row for each in self._differences])]

    @cached_property
    def _compared(self) -> tuple[list[Difference], dict[str, dict[str, Any]]]:
        """The differences of the score, and each cell's intervals; of cells whose tiles are
        recorded."""
        runs = {outcome.cell.name: [read_seed(folder) for folder in outcome.folders]
                for outcome in self.outcomes}
        return differences_of(
            {cell: tallies for cell, tallies in runs.items() if all(tallies)},
            {outcome.cell.name: outcome.spread[self.question.score][0]
             for outcome in self.outcomes},
            self.question.score, better_of(self.question.score) or max)

    @property
    def _seeds(self) -> list[int]:
        """The numbers of seeds on the same tiles, those of every cell and fold."""
        return [len(self.study.seeds)]

    @property
    def _differences(self) -> list[Difference]:
        return self._compared[0]

    @property
    def _intervals(self) -> dict[str, dict[str, Any]]:
        return self._compared[1]

    def _remarks(self) -> list[str]:
        """Return the outcomes' remarks, each with its cells unless all cells have it."""
        cells: dict[str, list[str]] = {}
        for outcome in self.outcomes:
            for remark in outcome.remarks:
                cells.setdefault(remark, []).append(outcome.cell.name)
        return [remark if len(names) == len(self.outcomes) else f"{remark} ({'; '.join(names)})"
                for remark, names in cells.items()]

    def _baseline(self) -> dict[str, float]:
        """Return the best prediction without a model, by name."""
        if not self.same_baselines:
            return {}
        scores = {f"no model: {label}": values[self.question.score]
                  for label, values in self._baselines.items() if label not in self.varying}
        known = {label: value for label, value in scores.items() if not math.isnan(value)}
        best = max(known, key=known.get, default=None)
        return {best: known[best]} if known else {}

    def _baselines_of_cells(self) -> dict[str, list[dict[str, float]]]:
        """Return label -> a baseline's figures: those of every cell, if cells report other tiles,
        or it reads objects that cells degrade; what a label says of a cell, in brackets, is left
        out where tiles are others."""
        if self.same_baselines:
            return {label: [outcome.baselines[label] for outcome in self.outcomes
                            if label in outcome.baselines]
                    if label in self.varying else [values]
                    for label, values in self._baselines.items()}
        each: dict[str, list[dict[str, float]]] = {}
        for outcome in self.outcomes:
            for label, values in outcome.baselines.items():
                each.setdefault(label.partition(" (")[0], []).append(values)
        return each

    @property
    def _baselines(self) -> dict[str, dict[str, float]]:
        """Those of the last outcome, whose training list is the largest if they differ."""
        return self.outcomes[-1].baselines

    def _summary(self) -> dict[str, Any]:
        first = self.outcomes[0].summaries[0]
        trained = [outcome.summaries[0] for outcome in self.outcomes if not outcome.cell.measures]
        return {
            "study": self.name, "problem": self.study.problem, "score": self.question.score,
            **{name: first[name] for name in ("protocol", "reported", "versions")},
            "notes": list(self.notes), "how": self.how,
            "checkpoint": next((summary["checkpoint"] for summary in trained
                                if summary["checkpoint"]), None),  # none from scratch
            "config": asdict(self.study), "evaluation_overrides": list(self.overrides),
            "cells": [{**_of_cell(outcome),
                       "intervals": self._intervals.get(outcome.cell.name, {})}
                      for outcome in self.outcomes],
            "differences": [each.record for each in self._differences],
            "seeds_drawn": self._seeds,
        }


def _range(values: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(map(format_number, (min(values), max(values)))))


def _of_cell(outcome: Outcome) -> dict[str, Any]:
    first = outcome.summaries[0]
    return {
        **outcome.cell.keys, "mean": {name: mean for name, (mean, _) in outcome.spread.items()},
        "std": {name: std for name, (_, std) in outcome.spread.items()},
        "per_seed": outcome.per_seed, "epochs": outcome.epochs,
        "tiles": first["tiles"], "reported_tiles": _reported_tiles(outcome),
        "baselines": outcome.baselines, "remarks": outcome.remarks,
        "folders": [run.save_path for run in outcome.cell.runs], "evaluation": first["config"],
    }


def _reported_tiles(outcome: Outcome) -> int:
    """Return how many tiles a cell's figures are of, those of all folds together."""
    of_folds = {summary["config"].get("fold"): summary for summary in outcome.summaries}
    return sum(summary["tiles"][outcome.reported] for summary in of_folds.values())
