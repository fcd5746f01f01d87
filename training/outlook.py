"""What can be said of a run before it ends: whether its steps can move the network, and how long
they take."""

import math

import torch
from torch import nn

from training.keys import TrainConfig
from training.schedule import learning_rate

WATCHED_S = 15   # of the first steps, before their time is believed
WORTH_SAYING_S = 60


def reach(cfg: TrainConfig, base_lr: float, steps_per_epoch: int, total_steps: int) -> float:
    """Return the sum of the learning rates of all steps: about as far as AdamW can move a weight,
    since no step moves it by much more than its rate."""
    whole, rest = divmod(total_steps, steps_per_epoch)
    rates = [learning_rate(base_lr, epoch, cfg.total_epoch, cfg.schedule, cfg.lr_decay, cfg.cos)
             for epoch in range(1, whole + 2)]
    return steps_per_epoch * math.fsum(rates[:whole]) + rest * rates[whole]


@torch.no_grad()
def weight_size(module: nn.Module) -> float:
    """Return the root mean square of the weights of a network's matrices."""
    matrices = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    squares = sum(matrix.square().sum(dtype=torch.float64) for matrix in matrices)
    return (squares / sum(matrix.numel() for matrix in matrices)).sqrt().item()


def too_short(reached: float, size: float, steps: int, base_lr: float) -> str | None:
    """Return what to say at the start of a run whose steps cannot change weights by as much as
    their size; None if they can.

    On a city of 36 tiles a network of width 64 was no better than a guess at 0.1 to 1.6 times the
    weights' size, named tags better from 3 times on, and painted pixels better at 18 times.
    """
    if reached >= size:
        return None
    return (f"note: {steps:,} steps at a learning rate of {base_lr:.2g} or less move a weight by "
            f"{reached:.2g} in all, and weights have a size of {size:.2g}: the network can learn "
            "next to nothing. Try experiment=own_city, which chooses rate and epochs, or a larger "
            f"lr= or total_epoch= (the product {math.ceil(3 * size / reached)} times as large)")


def duration(seconds: float) -> str:
    """Return a time as it is spoken: `a minute`, `9 minutes`, `3.5 hours`."""
    if seconds < 90:
        return "a minute"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
