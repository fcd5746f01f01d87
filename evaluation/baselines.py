"""Figures of predictions without a network: a model that is no better has learnt nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from evaluation.metrics import Protocol, RegressionMetrics, segmentation_figures

LINEAR = "linear model of OSM statistics"


def segmentation_baselines(train_counts: Tensor, truth_counts: Tensor, classes: Sequence[str],
                           protocol: Protocol) -> dict[str, dict[str, float]]:
    """Return the figures of two segmentations that do not look at the image.

    "majority class (NAME)" gives every pixel the commonest class of the training pixels. "class
    prior" draws each pixel's class by the shares of the training pixels; its figures are those of
    the expected confusion matrix.

    Args:
        train_counts: [C] known pixels of each class in the training tiles; some pixel is known.
        truth_counts: [C] the same in the tiles that are judged.
    """
    commonest = int(train_counts.argmax())
    always = torch.zeros(len(classes), dtype=torch.float64)
    always[commonest] = 1
    shares = {f"majority class ({classes[commonest]})": always,
              "class prior": train_counts.double() / train_counts.sum()}
    truth = truth_counts.double()
    return {label: segmentation_figures(torch.outer(truth, share), classes, protocol)
            for label, share in shares.items()}


def regression_baselines(train: Tensor, truth: Tensor,
                         linear: Tensor | None = None) -> dict[str, dict[str, float]]:
    """Return the figures of estimating the training tiles' mean, or median, for every tile, and of
    a linear model.

    Args:
        train: [n] float64, totals of the training tiles.
        truth: [m], totals of the tiles that are judged.
        linear: [m], estimates of `linear_estimates`; None: the tiles have no objects.
    """
    estimates = {"training mean": train.mean().expand(len(truth)),
                 "training median": train.quantile(0.5).expand(len(truth))}
    if linear is not None:
        estimates[LINEAR] = linear
    figures = {}
    for label, estimate in estimates.items():
        metrics = RegressionMetrics(alone=True)
        metrics.update(estimate[:, None], truth)
        figures[label] = metrics.compute()
    return figures
