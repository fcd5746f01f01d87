"""Losses that are not finite end a run, weights that are not are never saved, and outputs that are
not are never used."""

from collections.abc import Sequence

from lightning_fabric import Fabric
from torch import Tensor, nn

from training.devices import end_all, gather
from training.sharding import own_share
from utils.errors import CheckpointError, RoseError


def not_finite(loss: str, names: Sequence[str], epoch: int, step: int, last_good: object,
               remedy: str) -> str:
    """Return the message for a step whose `loss` is not finite.

    Args:
        names: of the tiles; empty if they are not known.
        last_good: the checkpoint before it; None if there is none.
    """
    saved = (f"the last good checkpoint is {last_good} (go back to an older one if it fails again)"
             if last_good else "no checkpoint was saved before it")
    tiles = f" on the tiles {', '.join(names)}" if names else ""
    look = "look at these tiles, " if names else ""
    return (f"epoch {epoch}, step {step}: the loss is not finite ({loss}){tiles}; {saved}; {look}"
            f"{remedy}")


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


def check_outputs(outputs: Tensor, names: Sequence[str]) -> None:
    """Raise CheckpointError if what a network gives for tiles, [B, ...] in the order of their
    `names`, is not finite."""
    finite = outputs.flatten(1).isfinite().all(1)
    if not finite.all():
        name = names[int((~finite).int().argmax())]
        raise CheckpointError(f"the network's outputs for the tile {name} are not finite, though "
                              "its weights are; pass precision=32-true, or choose another "
                              "checkpoint")
