"""Weights that are not finite are never saved."""

from lightning_fabric import Fabric
from torch import nn

from training.devices import end_all, gather
from training.sharding import own_share
from utils.errors import RoseError


def check_weights(fabric: Fabric, network: nn.Module, epoch: int, step: int, file: str,
                  remedy: str) -> None:
    """Raise RoseError on the first process if a weight of `network` is not finite on any; the
    others exit with code 2.

    Args:
        file: the name of what is about to be saved.
    """
    finite = all(own_share(weight).isfinite().all() for weight in network.parameters())
    if not all(gather(fabric, finite)):
        end_all(fabric, RoseError(f"epoch {epoch}, step {step}: a weight is not finite, so {file} "
                                  f"was not saved; {remedy}"))
