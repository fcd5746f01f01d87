"""What an evaluation reports: IoU and F1 of a segmentation, MAE, RMSE and R2 of an estimated total
(Rose section 5.1).

Counts and sums are kept by torchmetrics, which adds them up over all processes before a figure is
made of them, so that a figure does not depend on how the tiles were batched or shared.
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


class SegmentationMetrics:
    """Figures of `segmentation_figures` from one confusion matrix.

    Args:
        classes: names, in the order of their numbers.
        protocol: which definitions to follow.
        device: of the logits to come.
    """

    def __init__(self, classes: Sequence[str], protocol: Protocol,
                 device: torch.device | str = "cpu") -> None:
        self.classes = classes
        self.protocol = protocol
        self._matrix = MulticlassConfusionMatrix(len(classes), ignore_index=UNKNOWN,
                                                 validate_args=False).to(device)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            logits: [B, C, H, W].
            target: [B, H, W] whole numbers, a class or UNKNOWN; any number of pixels may be
                unknown.
        """
        self._matrix.update(logits, target)

    def confusion(self) -> Tensor:
        """Pixels by true class (rows) and predicted class (columns), of all processes: int64 [C,
        C]."""
        return self._matrix.compute()

    def compute(self) -> dict[str, float]:
        """The figures of all that was added, in all processes."""
        return segmentation_figures(self.confusion(), self.classes, self.protocol)

    def reset(self) -> None:
        self._matrix.reset()


def segmentation_figures(confusion: Tensor, classes: Sequence[str],
                         protocol: Protocol) -> dict[str, float]:
    """Figures of a confusion matrix: "miou", "f1" (macro), then "iou_NAME" of each class.

    IoU = TP / (TP + FP + FN). Under `honest`, F1 = 2 TP / (2 TP + FP + FN), and a class that
    neither the truth nor the prediction has is nan and left out of both means. Under `release`
    such a class has IoU 0, and F1 = 2 P R / (P + R) of precision P and recall R is nan, and left
    out of the mean, for every class without a right pixel. A mean of nothing is nan.

    Args:
        confusion: [C, C] of any type, rows truth, columns prediction.
        classes: C names.
        protocol: which definitions to follow.
    """
    confusion = confusion.double()
    right = confusion.diagonal()                                          # [C]
    truth, predicted = confusion.sum(1), confusion.sum(0)                 # [C]
    iou = right / (truth + predicted - right)                             # [C], 0 / 0 is nan
    if protocol == "release":
        iou = iou.nan_to_num(0.)
        precision, recall = right / predicted, right / truth              # [C]
        f1 = 2 * precision * recall / (precision + recall)                # [C]
    else:
        f1 = 2 * right / (truth + predicted)                              # [C]
    each = {f"iou_{name}": value for name, value in zip(classes, iou.tolist(), strict=True)}
    return {"miou": iou.nanmean().item(), "f1": f1.nanmean().item(), **each}


def absent_classes(confusion: Tensor, classes: Sequence[str]) -> list[str]:
    """Names of the classes that neither the truth nor the prediction has; `confusion` [C, C]."""
    absent = confusion.sum(0) + confusion.sum(1) == 0
    return [name for name, gone in zip(classes, absent.tolist(), strict=True) if gone]


class RegressionMetrics:
    """MAE, RMSE and R2 in the units of the targets, from sums in float64.

    Args:
        device: of the estimates to come.
        alone: leave other processes out, as for figures that every process has whole.
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
        """"mae", "rmse" and "r2" of all that was added, in all processes; r2 is nan for fewer than
        two tiles, or equal targets."""
        return {name: metric.compute().item() for name, metric in self._metrics.items()}

    def reset(self) -> None:
        for metric in self._metrics.values():
            metric.reset()


class _RootMeanSquaredError(MeanSquaredError):
    def __init__(self, **kwargs: bool) -> None:
        super().__init__(squared=False, **kwargs)


class _Determination(R2Score):
    """R2 = 1 - sum of squared errors / sum of squared deviations of the targets from their mean.

    torchmetrics' own gives 0 or 1 where one of the sums is below 1e-4, as it is for targets in
    large units, and where it is not defined.
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
