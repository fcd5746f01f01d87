"""One step of the optimiser in pretraining."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models import RoseOutput
from training.loader import PretrainingBatch
from training.momentum import Momentum


class Step:
    """One step of the optimiser: its batches on this process, and its losses.

    Image and OSM loss are means over all masked patches, and all masked nodes, of the whole step;
    they do not depend on how its tiles are dealt to processes and batches. The contrast is the mean
    over the batches, within each of which it is taken.

    Args:
        rose: set up by Fabric.
        momentum: gives the targets of image_target=latent, if any.
        batches: of this process, `accumulate` of them.
        masked: number of masked nodes of the step on all processes, a float.

    Attributes:
        losses: [image, OSM] or [image, OSM, contrast], summed over the batches done.
    """

    def __init__(self, fabric: Fabric, rose: nn.Module, momentum: Momentum | None,
                 batches: list[PretrainingBatch], masked: Tensor):
        self.fabric, self.rose, self.momentum = fabric, rose, momentum
        self.batches, self.masked = batches, masked.clamp(min=1)
        self.losses: Tensor | int = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield the arguments of the network for each batch; processes share gradients in the
        backward pass of the last."""
        for number, batch in enumerate(self.batches, start=1):
            latent = () if self.momentum is None else (self._latent(batch.images),)
            unfinished = number < len(self.batches)
            with self.fabric.no_backward_sync(self.rose, enabled=unfinished):
                yield *batch, *latent

    def loss(self, out: RoseOutput) -> Tensor:
        """Return a batch's share of the step's loss, times the number of processes, over which
        gradients are averaged."""
        nodes = out.node_mask.sum() * self.fabric.world_size / self.masked
        image, osm, *contrast = out.losses
        shares = torch.stack([image / len(self.batches), osm * nodes,
                              *(loss / len(self.batches) for loss in contrast)])
        self.losses = self.losses + shares.detach()
        return shares.sum()

    @property
    def names(self) -> list[str]:
        """The names of this process's tiles."""
        return [name for batch in self.batches for name in batch.graphs.name]

    def _latent(self, images: Tensor) -> Tensor:
        with self.fabric.autocast():
            return self.momentum(images)
