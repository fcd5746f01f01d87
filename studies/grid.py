"""The runs of a study: cells, each an evaluation over the seeds. All cells are checked before
the first is run, and finished ones are only read."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets.dealt_lists import fold_folder
from evaluation.job import evaluate
from evaluation.keys import EvaluateConfig, RegressionConfig, SegmentationConfig
from evaluation.problem import Regression, Segmentation
from evaluation.results import read_result, spread_of
from evaluation.setup import Setup
from studies.keys import StudyConfig
from training.devices import launch
from utils.cli.process import is_output_fault
from utils.errors import RoseError, is_mendable, message_of
from utils.tables import mean_std

_PROBLEMS = {SegmentationConfig: Segmentation, RegressionConfig: Regression}


@dataclass(frozen=True)
class Cell:
    """One point of a study."""

    keys: dict[str, str | float]      # column of the table -> value, which identify it
    runs: tuple[EvaluateConfig, ...]  # its evaluations, each for some of the seeds
    measures: bool = False            # trains nothing, but measures models of earlier cells

    @property
    def name(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.labels.items())

    @property
    def labels(self) -> dict[str, str | int]:
        """The keys, as a table shows them."""
        return {key: f"{value:g}" if isinstance(value, float) else value
                for key, value in self.keys.items()}


@dataclass(frozen=True)
class Outcome:
    """The result of a cell; `summaries` are those of `evaluate` for its runs."""

    cell: Cell
    summaries: tuple[dict[str, Any], ...]

    @property
    def runs(self) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """What tells the runs apart, seed and fold, and the summary that each is of."""
        return [({**({"fold": fold} if (fold := summary["config"].get("fold")) else {}),
                  "seed": seed}, summary)
                for summary in self.summaries for seed in summary["per_seed"]]

    @property
    def folders(self) -> list[Path]:
        """The folder of each run."""
        return [Path(summary["folder"], f"seed_{keys['seed']}") for keys, summary in self.runs]

    @property
    def per_seed(self) -> dict[str, dict[str, float]]:
        """Seed, and fold if there are any -> figure -> value."""
        return self._by_seed("per_seed")

    @property
    def reported(self) -> str:
        """The list that the figures are of."""
        return self.summaries[0]["reported"]

    @property
    def epochs(self) -> dict[str, int]:
        """Seed -> the epoch that val chose; 0 for a model that was measured as it is."""
        return self._by_seed("epochs")

    @property
    def spread(self) -> dict[str, tuple[float, float]]:
        """Figure -> mean and standard deviation over the seeds, and over the folds."""
        return spread_of([*self.per_seed.values()])

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Label -> figure of a prediction without a model, the mean over the folds; the label
        without the class in brackets where this is another in every fold."""
        kinds: dict[str, dict[str, list[dict[str, float]]]] = {}
        for summary in self.summaries:
            for label, figures in summary["baselines"].items():
                labels = kinds.setdefault(label.partition(" (")[0], {})
                labels.setdefault(label, []).append(figures)
        means = {}
        for kind, labels in kinds.items():
            of_folds = [figures for each in labels.values() for figures in each]
            means[next(iter(labels)) if len(labels) == 1 else kind] = {
                name: mean_std([figures[name] for figures in of_folds])[0] for name in of_folds[0]}
        return means

    @property
    def remarks(self) -> list[str]:
        """What a reader of the figures must know."""
        return list(dict.fromkeys(remark for summary in self.summaries
                                  for remark in summary["remarks"]))

    def _by_seed(self, name: str) -> dict[str, Any]:
        return {", fold ".join([keys["seed"], *([keys["fold"]] if "fold" in keys else [])]):
                summary[name][keys["seed"]] for keys, summary in self.runs}


def over_folds(study: StudyConfig, base: EvaluateConfig,
               cells_of: Callable[[Any, EvaluateConfig], list[Cell]]) -> list[Cell]:
    """Return the cells that `cells_of` makes of a study and its evaluation; if the study asks for
    folds, each with the runs of all folds, in a folder of each fold."""
    if study.folds is None:
        return cells_of(study, base)
    of_folds = [cells_of(replace(study, out=str(Path(study.out, fold_folder(fold, study.folds)))),
                         replace(base, fold=f"{fold}/{study.folds}"))
                for fold in range(1, study.folds + 1)]
    return [replace(cells[0], runs=tuple(run for cell in cells for run in cell.runs))
            for cells in zip(*of_folds, strict=True)]


def checked(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells with the checkpoint that is newest now, so that a pretraining beside the
    study does not change it; raise RoseError if a cell cannot be run, or its folder is taken."""
    print(f"Checking {len(cells)} cells", flush=True)
    fixed = []
    for cell in cells:
        try:
            fixed.append(cell if cell.measures
                         else replace(cell, runs=tuple(_checked(cfg) for cfg in cell.runs)))
        except RoseError as error:
            raise RoseError(f"{cell.name}: {error}") from error
    return fixed


def run_cells(cells: Sequence[Cell]) -> list[Outcome]:
    """Return the outcomes of the cells, run in order; a RoseError begins with the cell's name."""
    outcomes = []
    for number, cell in enumerate(cells, 1):
        print(f"\nCell {number} of {len(cells)}: {cell.name}", flush=True)
        try:
            summaries = tuple(evaluate(cfg, _problem(cfg)) for cfg in cell.runs)
            outcomes.append(Outcome(cell, summaries))
        except Exception as error:
            if is_output_fault(error) or not is_mendable(error):
                raise
            raise RoseError(f"{cell.name}: {message_of(error)}") from error
        gc.collect()  # networks are in reference cycles
    return outcomes


def set_up(cfg: EvaluateConfig) -> Setup:
    """Return what the seeds of an evaluation share; raise RoseError if it cannot be run."""
    return Setup(cfg, launch(cfg), _problem(cfg))


def _checked(cfg: EvaluateConfig) -> EvaluateConfig:
    setup = set_up(cfg)
    for seed in cfg.seeds:
        read_result(setup, seed)
    return replace(cfg, checkpoint=str(setup.network.path) if setup.network else None)


def _problem(cfg: EvaluateConfig) -> Segmentation | Regression:
    return _PROBLEMS[type(cfg)](cfg)
