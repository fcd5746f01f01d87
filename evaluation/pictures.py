"""The figures that a finished run leaves."""

import numpy as np
from matplotlib.figure import Figure

from evaluation import figures
from evaluation.calibration import reliability
from evaluation.run import Measured, Run
from utils.drawing import save_figures

SHOWN = 8


def save_pictures(run: Run, measured: Measured) -> None:
    """Write figures/ into the run's folder; called by the first process only."""
    draw = {"segmentation": _of_segmentation, "regression": _of_regression}[run.problem.name]
    drawn = draw(run, measured)
    if run.rows:
        drawn["curves"] = figures.curves_figure(run.rows, run.problem.score, run.best["epoch"])
    save_figures(drawn, run.folder / "figures")


def _of_segmentation(run: Run, measured: Measured) -> dict[str, Figure | None]:
    names, right = run.reported_tiles.names, np.array(measured.details)[:, 0]
    shown = best_to_worst(right, SHOWN)
    images, logits, truth = run.predict(shown)
    bins = reliability(measured.tallies["calibration"].sum(0))
    confusion, classes = measured.metrics.confusion().cpu().numpy(), run.problem.classes
    return {
        "confusion": figures.confusion_figure(confusion, classes),
        "reliability": figures.reliability_figure(bins["pixels"], bins["confidence"],
                                                  bins["accuracy"], bins["ece"]),
        "tiles": figures.tiles_figure(
            images.movedim(1, -1).numpy(), truth.numpy(), logits.argmax(1).numpy(),
            [names[index] for index in shown], classes, run.setup.head.colours),
        "error_map": figures.error_map_figure(
            names, 1 - right, "share of known pixels that is wrong", diverging=False,
            among=run.setup.dataset.names),
    }


def _of_regression(run: Run, measured: Measured) -> dict[str, Figure | None]:
    true, estimate = np.array(measured.details).T
    return {
        "scatter": figures.scatter_figure(true, estimate, run.problem.unit, measured.figures),
        "error_map": figures.error_map_figure(
            run.reported_tiles.names, estimate - true, f"estimate - truth, {run.problem.unit}",
            diverging=True, among=run.setup.dataset.names),
    }


def best_to_worst(values: np.ndarray, count: int) -> list[int]:
    """Return indices of `count` values, evenly from the largest to the smallest; nan is last."""
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable").tolist()
    return [order[round(rank)] for rank in np.linspace(0, len(order) - 1, min(count, len(order)))]
