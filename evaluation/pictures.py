"""The figures that a finished run leaves."""

import numpy as np
from matplotlib.figure import Figure

from datasets.tiles import denormalise
from evaluation.figures import (
    confusion_figure,
    curves_figure,
    error_map_figure,
    scatter_figure,
    tiles_figure,
)
from evaluation.run import Measured, Run
from utils.drawing import save_figures

SHOWN = 8


def save_pictures(run: Run, measured: Measured) -> None:
    """Write figures/ into the run's folder; called by the first process only."""
    draw = {"segmentation": _of_segmentation, "regression": _of_regression}[run.problem.name]
    figures = draw(run, measured)
    if run.rows:
        figures["curves"] = curves_figure(run.rows, run.problem.score, run.best["epoch"])
    save_figures(figures, run.folder / "figures")


def _of_segmentation(run: Run, measured: Measured) -> dict[str, Figure | None]:
    names, right = run.reported_tiles.names, np.array(measured.details)[:, 0]
    shown = best_to_worst(right, SHOWN)
    images, logits, truth = run.predict(shown)
    return {
        "confusion": confusion_figure(measured.metrics.confusion().cpu().numpy(),
                                      run.problem.classes),
        "tiles": tiles_figure(denormalise(images).numpy(), truth.numpy(), logits.argmax(1).numpy(),
                              [names[index] for index in shown], run.problem.classes),
        "error_map": error_map_figure(names, 1 - right, "share of known pixels that is wrong",
                                      diverging=False, among=run.setup.dataset.names),
    }


def _of_regression(run: Run, measured: Measured) -> dict[str, Figure | None]:
    true, estimate = np.array(measured.details).T
    return {
        "scatter": scatter_figure(true, estimate, run.problem.unit, measured.figures),
        "error_map": error_map_figure(run.reported_tiles.names, estimate - true,
                                      f"estimate - truth, {run.problem.unit}", diverging=True,
                                      among=run.setup.dataset.names),
    }


def best_to_worst(values: np.ndarray, count: int) -> list[int]:
    """Return indices of `count` values, evenly from the largest to the smallest; nan comes last."""
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable").tolist()
    return [order[round(rank)] for rank in np.linspace(0, len(order) - 1, min(count, len(order)))]
