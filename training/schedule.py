"""Optimisers and their learning rates, by epoch (Rose section 4.1.2) or downstream by step."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from training.sharding import share_of

_OF_A_PARAMETER = {"step", "exp_avg", "exp_avg_sq"}  # the state of Adam and AdamW


def build_optimizer(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW, betas (0.9, 0.95), of trainable parameters; 1-D ones and biases do not decay.

    `module` is on its device, and sharded if it is to be.
    """
    decayed, plain = [], []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (plain if parameter.ndim <= 1 or name.endswith(".bias") else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay},
              {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a `state` of whole tensors, for sharded parameters or not, fused or not.

    Raise ValueError if it lacks a tensor, or one has another shape than its parameter: torch does
    not look.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in state["state"].items():
        if missing := _OF_A_PARAMETER - values.keys():
            raise ValueError(f"{min(missing)} of parameter {number} is missing")
        for name, value in values.items():
            expected = () if name == "step" else parameters[number].shape
            if value.shape != expected:
                raise ValueError(f"{name} of parameter {number} has the shape "
                                 f"{list(value.shape)}, expected {list(expected)}")
    shares = {number: {name: share_of(value, parameters[number]) for name, value in values.items()}
              for number, values in state["state"].items()}
    groups = [{**group, "fused": True} for group in state["param_groups"]]
    optimizer.load_state_dict({"state": shares, "param_groups": groups})


def base_learning_rate(blr: float, batch: int) -> float:
    """Return blr * batch / 256 for `batch` tiles a step over all devices."""
    return blr * batch / 256


def learning_rate(base: float, epoch: int, total_epoch: int, schedule: Sequence[int],
                  decay: str = "persistent", cos: bool = False) -> float:
    """Return the learning rate of an epoch, counted from 1 as in the log.

    Args:
        base: that of the first epoch.
        schedule: milestones; each multiplies by 0.1.
        decay: "persistent" from the milestone on, "epoch_only" (release) in its epoch alone.
        cos: a half cosine from `base` to 0 over `total_epoch` instead of the milestones.
    """
    if cos:
        return base * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / total_epoch))
    passed = [milestone for milestone in schedule
              if (epoch == milestone if decay == "epoch_only" else epoch >= milestone)]
    return base * 0.1 ** len(passed)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def build_downstream_optimizer(encoder: nn.Module, head: nn.Module, lr: float, head_lr: float,
                               weight_decay: float, extra: nn.Module | None = None,
                               extra_lr: float = 0.0) -> torch.optim.Adam:
    """Return Adam on trainable parameters, with a rate for the encoder, one for the head, and one
    for an `extra` module if there is one."""
    parts = [(encoder, lr), (head, head_lr), *([(extra, extra_lr)] if extra is not None else [])]
    groups = [([p for p in module.parameters() if p.requires_grad], rate)
              for module, rate in parts]
    return torch.optim.Adam([{"params": parameters, "lr": rate, "base_lr": rate}
                             for parameters, rate in groups if parameters],
                            weight_decay=weight_decay, fused=True)


def set_polynomial_rate(optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> None:
    """Set rates to base rates times (1 - step / total_steps) ** 0.9; `step` starts at 0."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * (1 - step / total_steps) ** 0.9
