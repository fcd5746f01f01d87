"""The objectives of pretraining: what a step gives, and how far an estimate is from its target."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class RoseOutput(NamedTuple):
    """One step of pretraining.

    Attributes:
        image_loss: mean squared error over the masked patches of the normalised image; scalar.
        osm_loss: the same over the masked nodes' features; 0, with a graph, if none is masked.
        predict_image: returns `image_pred`, whose visible patches are decoded on demand.
    """

    image_loss: Tensor
    osm_loss: Tensor
    osm_pred: Tensor    # [masked nodes, F] features of the masked nodes in ascending order
    image_mask: Tensor  # [B, L] bool, True = masked
    node_mask: Tensor   # [N] bool, True = masked
    predict_image: Callable[[], Tensor]

    @property
    def image_pred(self) -> Tensor:
        """[B, L, p * p * 3] pixels: row, column, channel last; in a graph with gradients on."""
        return self.predict_image()

    def cpu(self) -> "RoseOutput":
        """Return it on the CPU, with every patch decoded."""
        image = self.image_pred.cpu()
        return RoseOutput(*(value.cpu() for value in self[:-1]), predict_image=lambda: image)

    @property
    def loss(self) -> Tensor:
        """The sum of both losses, which is minimised."""
        return self.image_loss + self.osm_loss


def squared_error(estimate: Tensor, target: Tensor) -> Tensor:
    """Return it in float32 at least, whatever the autocast."""
    return (estimate.to(torch.promote_types(estimate.dtype, torch.float32)) - target).square()
