"""What a study leaves: NAME.csv with a row a run and seed, NAME.md, results.json, its figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from studies.command import QUESTIONS, Question
from studies.figures import study_figure
from studies.grid import Outcome
from studies.keys import StudyConfig
from utils.drawing import save_figure
from utils.files import replacing
from utils.outputs import write_csv, write_json
from utils.tables import format_number, label_of, markdown_table, with_std

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

    @property
    def question(self) -> Question:
        return QUESTIONS[self.study.problem]

    @property
    def headline(self) -> str:
        """One line that says what the figures are of."""
        first = self.outcomes[0]
        seeds = len(self.study.seeds)
        spread = f"mean ± std of {seeds} seeds" if seeds > 1 else "1 seed"
        counts = {outcome.summaries[0]["tiles"][first.reported] for outcome in self.outcomes}
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
        picture = self.folder / "figures" / f"{self.name}.png"
        table = self.folder / f"{self.name}.md"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_csv(self.folder / f"{self.name}.csv", [
            {**outcome.cell.keys, "seed": seed, "epoch": outcome.epochs[seed], **figures}
            for outcome in self.outcomes for seed, figures in outcome.per_seed.items()])
        write_json(self.folder / "results.json", self._summary())
        with replacing(table) as temporary:
            temporary.write_text(f"# {self.headline}\n\n{self._text()}\n", encoding="utf-8")
        save_figure(figure, picture)
        print(f"\n{self.headline}\n\n{self._text()}\n\nOutputs in {self.folder}: {table.name}, "
              f"{self.name}.csv, results.json, figures/{picture.name}; and a folder for each cell")

    def _text(self) -> str:
        """Return the table in Markdown, and what a reader of it must know."""
        columns = [name for name in self.outcomes[0].spread if not name.startswith("iou_")]
        rows = []
        for outcome in self.outcomes:
            spread = [outcome.spread[name] for name in columns]  # std is nan for a single seed
            rows.append([*outcome.cell.labels.values(), *(with_std(*pair) for pair in spread)])
        keys = [key.replace("_", " ") for key in self.outcomes[0].cell.keys]
        notes = []
        for label in self._baselines:
            figures = [f"{label_of(name)} {self._range_of_baseline(label, name)}"
                       for name in columns]
            notes.append(f"without a model, {label}: {', '.join(figures)}")
        return "\n".join([markdown_table([*keys, *map(label_of, columns)], rows), "",
                          *(f"- {note}" for note in [*notes, *self.notes, *self._remarks()])])

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
                  for label, values in self._baselines.items()}
        known = {label: value for label, value in scores.items() if not math.isnan(value)}
        best = max(known, key=known.get, default=None)
        return {best: known[best]} if known else {}

    def _range_of_baseline(self, label: str, figure: str) -> str:
        """Return a figure of a baseline: of all cells, if they differ by design."""
        last = self._baselines[label][figure]
        values = [last] if self.same_baselines else [
            outcome.summaries[0]["baselines"][label][figure] for outcome in self.outcomes]
        return " to ".join(dict.fromkeys(map(format_number, (min(values), max(values)))))

    @property
    def _baselines(self) -> dict[str, dict[str, float]]:
        """Those of the last outcome, whose training list is the largest if they differ."""
        return self.outcomes[-1].summaries[0]["baselines"]

    def _summary(self) -> dict[str, Any]:
        first = self.outcomes[0].summaries[0]
        trained = [outcome.summaries[0] for outcome in self.outcomes if not outcome.cell.measures]
        return {
            "study": self.name, "problem": self.study.problem, "score": self.question.score,
            **{name: first[name] for name in ("protocol", "reported", "versions")},
            "notes": list(self.notes),
            "checkpoint": next((summary["checkpoint"] for summary in trained
                                if summary["checkpoint"]), None),  # none from scratch
            "config": asdict(self.study), "evaluation_overrides": list(self.overrides),
            "cells": [_of_cell(outcome) for outcome in self.outcomes],
        }


def _of_cell(outcome: Outcome) -> dict[str, Any]:
    first = outcome.summaries[0]
    return {
        **outcome.cell.keys, "mean": {name: mean for name, (mean, _) in outcome.spread.items()},
        "std": {name: std for name, (_, std) in outcome.spread.items()},
        "per_seed": outcome.per_seed, "epochs": outcome.epochs,
        "tiles": first["tiles"], "baselines": first["baselines"], "remarks": outcome.remarks,
        "folders": [run.save_path for run in outcome.cell.runs], "evaluation": first["config"],
    }
