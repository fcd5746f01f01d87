"""IoU and F1 of a segmentation, MAE, RMSE and R2 of an estimated total (Rose section 5.1).

torchmetrics adds up counts and sums over all processes before it computes a figure, so a figure
does not depend on batches or processes.
"""

import math
from collections.abc import Sequence
from typing import Literal

import utils.torchvision_import  # noqa: F401  (first: torchmetrics imports torchvision)

# isort: split
import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, R2Score
from torchmetrics.classification import MulticlassConfusionMatrix

from datasets.targets import UNKNOWN

Protocol = Literal["honest", "release"]
EQUAL = 1e-12  # of the sum of squares: rounding of targets that are equal


class SegmentationMetrics:
    """Figures of `segmentation_figures` from one confusion matrix, kept on `device`."""

    def __init__(self, classes: Sequence[str], protocol: Protocol,
                 device: torch.device | str = "cpu") -> None:
        self.classes = classes
        self.protocol = protocol
        self._matrix = MulticlassConfusionMatrix(len(classes), ignore_index=UNKNOWN,
                                                 validate_args=False).to(device)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add a batch: logits [B, C, H, W], and classes or UNKNOWN as integers [B, H, W]."""
        self._matrix.update(logits, target)

    def confusion(self) -> Tensor:
        """Return int64 [C, C], pixels of all processes; rows truth, columns prediction."""
        return self._matrix.compute()

    def compute(self) -> dict[str, float]:
        """Return the figures of everything added, in all processes."""
        return segmentation_figures(self.confusion(), self.classes, self.protocol)

    def reset(self) -> None:
        self._matrix.reset()


def segmentation_figures(confusion: Tensor, classes: Sequence[str],
                         protocol: Protocol) -> dict[str, float]:
    """Return the figures of a confusion matrix [C, C] of any type, rows truth, columns prediction,
    as `figures_of_counts` has them."""
    confusion = confusion.double()
    counts = torch.stack([confusion.diagonal(), confusion.sum(1), confusion.sum(0)])  # [3, C]
    return {name: value.item()
            for name, value in figures_of_counts(counts, classes, protocol).items()}


def figures_of_counts(counts: Tensor, classes: Sequence[str],
                      protocol: Protocol) -> dict[str, Tensor]:
    """Return the figures of counted pixels: "miou", "f1" (macro), and each class's "iou_NAME".

    IoU = TP / (TP + FP + FN). With `honest`, F1 = 2 TP / (2 TP + FP + FN); a class absent from
    truth and prediction is nan and left out of both means. With `release`, such a class has IoU 0;
    F1 = 2 P R / (P + R) of precision P and recall R, which is nan, and left out of the mean, for
    every class without a right pixel. A mean of nothing is nan.

    Args:
        counts: float64 [..., 3, C], for each class the pixels that are right, that are of it, and
            that were predicted to be.

    Returns:
        figure -> [...].
    """
    right, truth, predicted = counts.unbind(-2)                           # [..., C]
    iou = right / (truth + predicted - right)                             # [..., C], 0 / 0 is nan
    if protocol == "release":
        iou = iou.nan_to_num(0.)
        precision, recall = right / predicted, right / truth              # [..., C]
        f1 = 2 * precision * recall / (precision + recall)                # [..., C]
    else:
        f1 = 2 * right / (truth + predicted)                              # [..., C]
    each = {f"iou_{name}": value for name, value in zip(classes, iou.unbind(-1), strict=True)}
    return {"miou": iou.nanmean(-1), "f1": f1.nanmean(-1), **each}


def tile_counts(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """Count each tile's known pixels for `figures_of_counts`: int64 [B, 3, C] on the CPU.

    `predicted` and `target` are [B, H, W] classes, or UNKNOWN in the target.
    """
    tile = torch.arange(len(target), device=target.device)[:, None, None].expand_as(target)
    known = target != UNKNOWN

    def count(values: Tensor, mask: Tensor) -> Tensor:
        index = (tile * classes + values)[mask]
        return index.bincount(minlength=len(target) * classes).view(-1, classes)    # [B, C]
    target = target.long()
    return torch.stack([count(target, known & (predicted == target)), count(target, known),
                        count(predicted, known)], 1).cpu()


def absent_classes(confusion: Tensor, classes: Sequence[str]) -> list[str]:
    """Return the names of the classes absent from truth and prediction; `confusion` [C, C]."""
    counts = confusion.sum(0) + confusion.sum(1)
    return [name for name, count in zip(classes, counts.tolist(), strict=True) if not count]


class RegressionMetrics:
    """MAE, RMSE and R2 in the units of the targets, from sums in float64 on `device`.

    `alone` does not add other processes' values: every process has all of them.
    """

    def __init__(self, device: torch.device | str = "cpu", alone: bool = False) -> None:
        metrics = {"mae": MeanAbsoluteError, "rmse": _RootMeanSquaredError, "r2": _Determination}
        self._metrics = {name: make(sync_on_compute=not alone).set_dtype(torch.float64).to(device)
                         for name, make in metrics.items()}

    def update(self, estimate: Tensor, target: Tensor) -> None:
        """Add a batch; `estimate` [B, 1], `target` [B]."""
        estimate, target = estimate.double().squeeze(1), target.double()
        for metric in self._metrics.values():
            metric.update(estimate, target)

    def compute(self) -> dict[str, float]:
        """Return "mae", "rmse", "r2" of all added; r2 is nan for one tile or equal targets."""
        return {name: metric.compute().item() for name, metric in self._metrics.items()}

    def reset(self) -> None:
        for metric in self._metrics.values():
            metric.reset()


class _RootMeanSquaredError(MeanSquaredError):
    def __init__(self, **kwargs: bool) -> None:
        super().__init__(squared=False, **kwargs)


class _Determination(R2Score):
    """R2 = 1 - sum of squared errors / sum of squared deviations of the targets from their mean.

    torchmetrics gives 0 or 1 if a sum is below 1e-4, as in large units, or R2 is not defined.
    """

    def __init__(self, **kwargs: bool) -> None:
        super().__init__(**kwargs)
        self.add_state("lowest", torch.tensor(math.inf), dist_reduce_fx="min")
        self.add_state("highest", torch.tensor(-math.inf), dist_reduce_fx="max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds, target)
        self.lowest = torch.minimum(self.lowest, target.min())
        self.highest = torch.maximum(self.highest, target.max())

    def compute(self) -> Tensor:
        # torchmetrics' names; of the targets, not of errors
        deviations = self.sum_squared_error - self.sum_error ** 2 / self.total
        return torch.where(self.lowest < self.highest, 1 - self.residual / deviations, torch.nan)


def regression_moments(estimate: Tensor, target: Tensor) -> Tensor:
    """Return what each tile adds to the sums of `regression_figures`, float64 [n, 5]; both [n]."""
    estimate, target = estimate.double(), target.double()
    error, deviation = estimate - target, target - target.mean()
    return torch.stack([torch.ones_like(error), error.abs(), error ** 2, deviation,
                        deviation ** 2], 1)


def regression_figures(sums: Tensor) -> dict[str, Tensor]:
    """Return "mae", "rmse", "r2" of sums of moments [..., 5], each [...]; the formulas of
    RegressionMetrics. r2 is nan for equal targets."""
    tiles, absolute, squared, deviation, deviation2 = sums.unbind(-1)
    spread = deviation2 - deviation ** 2 / tiles  # of the targets around their own mean
    r2 = torch.where(spread > EQUAL * deviation2, 1 - squared / spread, torch.nan)
    return {"mae": absolute / tiles, "rmse": (squared / tiles).sqrt(), "r2": r2}
