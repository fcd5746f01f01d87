"""How sure a model may be: calibration of classes, coverage of intervals of totals.

Segmentation: the expected calibration error (ECE; Naeini et al. 2015, Guo et al. 2017) from sums
over bins of confidence, which take no more memory for more pixels. Regression: split-conformal
intervals (Lei et al. 2018): their half width, in units of training, is a quantile of the absolute
residuals on the validation tiles; their coverage is that of the reported tiles.
"""

import math
from typing import Any

import torch
from torch import Tensor

from datasets.targets import UNKNOWN
from models.decoders import TargetScale

BINS = 15
COVERAGE = 0.9  # of the intervals of totals


def tile_bins(logits: Tensor, target: Tensor) -> Tensor:
    """Sum each tile's known pixels by confidence: float64 [B, 3, BINS] on the CPU.

    The confidence of a pixel is the probability of its likeliest class. The sums of a bin are its
    pixels, their confidences, and its pixels that are right.

    Args:
        logits: [B, C, H, W].
        target: [B, H, W] classes, or UNKNOWN.
    """
    confidence, predicted = logits.float().softmax(1).max(1)                        # [B, H, W]
    known = target != UNKNOWN
    edges = torch.linspace(0, 1, BINS + 1, device=logits.device)[1:-1]
    index = torch.bucketize(confidence, edges, right=True)
    index += BINS * torch.arange(len(target), device=target.device)[:, None, None]
    # on the CPU, where sums of floats do not depend on the order of threads
    index, confidence, right = (values[known].cpu() for values in
                                (index, confidence.double(), predicted == target))
    return torch.stack([index.bincount(weights, minlength=BINS * len(target)).view(-1, BINS)
                        for weights in (torch.ones_like(confidence), confidence, right.double())],
                       1)


def calibration_error(bins: Tensor) -> Tensor:
    """Return the ECE of summed bins [..., 3, BINS] as [...]; nan without pixels.

    ECE = sum_b n_b / n |accuracy_b - confidence_b|.
    """
    pixels, confidence, right = bins.unbind(-2)                                     # [..., BINS]
    return (right - confidence).abs().sum(-1) / pixels.sum(-1)


def reliability(bins: Tensor) -> dict[str, Any]:
    """Return what results.json says of summed bins [3, BINS]: the ECE, and each bin's pixels, mean
    confidence and accuracy (nan for a bin without pixels)."""
    pixels, confidence, right = bins
    return {"ece": calibration_error(bins).item(), "pixels": pixels.long().tolist(),
            "confidence": (confidence / pixels).tolist(), "accuracy": (right / pixels).tolist()}


def conformal_half_width(estimate: Tensor, target: Tensor, scale: TargetScale) -> float:
    """Return the half width, in units of training, of intervals that hold COVERAGE of new totals.

    It is the ceil((n + 1) COVERAGE)-th least absolute residual of n validation tiles; nan if there
    are fewer tiles than that. Both arguments are [n], in original units.
    """
    residuals = (scale.scale(estimate.double()) - scale.scale(target.double())).abs().sort().values
    rank = math.ceil((len(residuals) + 1) * COVERAGE - 1e-9)
    return residuals[rank - 1].item() if rank <= len(residuals) else math.nan


def conformal_interval(estimate: Tensor, half_width: float, scale: TargetScale) -> Tensor:
    """Return the ends [n, 2] of the intervals around estimates [n], in original units; totals are
    never negative."""
    middle = scale.scale(estimate.double())
    ends = torch.stack([middle - half_width, middle + half_width], 1)
    return scale.unscale(ends).clamp(min=0)
