"""The pictures of a finished run, drawn by figures.py."""

import numpy as np
import torch
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
from utils.drawing import save_figure

SHOWN = 8


def save_pictures(run: Run, measured: Measured) -> None:
    """Write figures/ of the run's folder; by the first process only."""
    draw = {"segmentation": _of_segmentation, "regression": _of_regression}[run.problem.name]
    figures = draw(run, measured)
    if run.rows:
        figures["curves"] = curves_figure(run.rows, run.problem.score, run.best["epoch"])
    for name, figure in figures.items():
        if figure is not None:
            save_figure(figure, run.folder / "figures" / f"{name}.png")


def _of_segmentation(run: Run, measured: Measured) -> dict[str, Figure | None]:
    names, right = run.reported_tiles.names, np.array(measured.details)[:, 0]
    places = best_to_worst(right, SHOWN)
    images, logits, truth = run.predict(places)
    return {
        "confusion": confusion_figure(measured.metrics.confusion().cpu().numpy(),
                                      run.problem.classes),
        "tiles": tiles_figure(denormalise(images).numpy(), truth.numpy(), logits.argmax(1).numpy(),
                              [names[p] for p in places],
                              run.problem.classes),
        "error_map": error_map_figure(names, 1 - right, "share of known pixels that is wrong",
                                      diverging=False,
                                      among=run.setup.dataset.names),
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
    """Places of `count` of the values, evenly from the largest to the smallest, so that pictures
    show the whole range; nan comes last."""
    order = torch.from_numpy(np.nan_to_num(values, nan=-np.inf)).argsort(descending=True,
                                                                         stable=True).tolist()
    count = min(count, len(order))
    return [order[round(place)] for place in np.linspace(0, len(order) - 1, count)]
