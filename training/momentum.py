"""The momentum encoder: what image_target=latent learns to reconstruct."""

import copy

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import ModelParallelStrategy
from torch import Tensor, nn

from models.compiled import compile_network
from models.image_encoder import ImageEncoder
from models.objectives import latent_target
from training.sharding import own_share, shard, share_of

RATE = 0.996  # what the copy keeps of itself in a step, as I-JEPA at first


class Momentum(nn.Module):
    """A copy of an image encoder that follows it, and gives the targets of the whole image.

    After step t every weight becomes m * weight + (1 - m) * the encoder's, m = min(0.996,
    (1 + t) / (10 + t)): while t is small, it forgets the random weights that both began with. Only
    the run keeps the copy; a network without the run does not need it.

    Args:
        encoder: of the Rose, not sharded or compiled yet.
    """

    def __init__(self, encoder: ImageEncoder):
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.encoder.checkpoint_activations = False
        self.eval()

    def set_up(self, fabric: Fabric, compiled: bool) -> None:
        """Move it to the device, sharded if the strategy shards; DDP has nothing to do here."""
        self.to(fabric.device)
        if compiled:
            compile_network(self)
        if isinstance(fabric.strategy, ModelParallelStrategy):
            shard(self, fabric.strategy.device_mesh)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return [B, L, D], the `latent_target` of each patch of normalised images."""
        return latent_target(self.encoder.encode(self.encoder.embed(images))[0][:, 1:])

    @torch.no_grad()
    def follow(self, encoder: nn.Module, step: int) -> None:
        """Move every weight towards that of `encoder`, after the run's `step`, counted from 1."""
        rate = min(RATE, (1 + step) / (10 + step))
        torch._foreach_lerp_([own_share(weight) for weight in self.encoder.parameters()],
                             [own_share(weight) for weight in encoder.parameters()], 1 - rate)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by their names, for a checkpoint."""
        return {name: weight.detach() for name, weight in self.encoder.named_parameters()}

    @torch.no_grad()
    def restore(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of a checkpoint; raise KeyError or ValueError if they are another
        encoder's."""
        own = dict(self.encoder.named_parameters())
        if own.keys() != weights.keys():
            raise KeyError(min(own.keys() ^ weights.keys()))
        for name, weight in own.items():
            if weight.shape != weights[name].shape:
                raise ValueError(f"{name} has the shape {list(weights[name].shape)}, expected "
                                 f"{list(weight.shape)}")
            weight.copy_(share_of(weights[name], weight))
