"""The mode of a network while it is measured."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Run the block without dropout, then put the network back into the mode it was in: what is
    measured in the middle of a training may not change how the training goes on."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
