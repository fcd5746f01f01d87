"""The evaluation of a model without a network: of patches' statistics, or of totals by the linear
model of OSM statistics. It leaves what `evaluate` leaves of a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from evaluation.intervals import intervals, sampled_figures
from evaluation.keys import EvaluateConfig, default_folder
from evaluation.osm_statistics import linear_estimates
from evaluation.patch_models import PatchModel, fit_patches
from evaluation.problem import Problem, Regression
from evaluation.results import summarise
from evaluation.run import RESULTS
from evaluation.setup import Setup
from evaluation.tallies import TALLIES, Tallies, places, write_tallies
from training.devices import alone, launch
from utils.outputs import write_json


def evaluate_patches(cfg: EvaluateConfig, problem: Problem, statistics: Sequence[str],
                     hidden: bool) -> dict[str, Any]:
    """Train and judge a model of simple statistics for each seed; write all outputs, and return
    the content of results.json.

    Args:
        cfg: whose keys say tiles, lists, seeds and folder.
        statistics, hidden: as of `fit_patches`; a total always has the linear model of OSM
            statistics.

    Raises:
        RoseError: data or folder cannot be used as asked.
    """
    fabric, folder = launch(cfg), Path(default_folder(cfg))
    with alone(fabric, folder, "save_path"):
        setup = Setup(cfg, fabric, problem)
        results = {seed: _of_seed(setup, seed, statistics, hidden) for seed in cfg.seeds}
        summary = summarise(setup, results)
        write_json(folder / RESULTS, summary)
    return summary


def _of_seed(setup: Setup, seed: int, statistics: Sequence[str], hidden: bool) -> dict[str, Any]:
    lists = [setup.tiles(part, seed) for part in ("train", "val", setup.reported)]
    if isinstance(setup.problem, Regression):
        model, extras = _of_totals(setup.problem, lists)
    else:
        model = fit_patches(*lists, setup.problem.classes, statistics, hidden, seed)
        extras = {"confusion": model.confusion.long().tolist()}
    folder = setup.seed_folder(seed)
    folder.mkdir(parents=True, exist_ok=True)
    result = {"seed": seed, "epoch": 0, "step": model.step, "figures": model.figures,
              "val": model.val, "intervals": intervals(sampled_figures([model.tallies])), **extras,
              "identity": setup.identity(seed) | {"statistics": [*statistics], "hidden": hidden},
              "tallies_sha256": write_tallies(folder / TALLIES, model.tallies)}
    write_json(folder / RESULTS, result)
    return result


def _of_totals(problem: Regression, lists: Sequence[Any]) -> tuple[PatchModel, dict[str, Any]]:
    train, val, reported = lists
    estimates = linear_estimates(train, val, reported, problem.train, val.totals())
    nothing = torch.full_like(estimates, torch.nan).numpy()  # no intervals of tiles
    tallies = Tallies(tuple(reported.names), places(reported.names, reported.dataset.names),
                      {"true": problem.truth.numpy(), "estimate": estimates.numpy(),
                       "low": nothing, "high": nothing.copy()})
    figures = {name: value for name, value in tallies.overall.items() if value == value}
    return (PatchModel(tallies, figures, {}, 0, torch.empty(0)),
            {"estimates": [estimates.min().item(), estimates.max().item()]})
