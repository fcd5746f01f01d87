"""Optimisers and their learning rates, by epoch (Rose section 4.1.2) or downstream by step."""

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import nn

from models.image_encoder import ImageEncoder
from training.image_tuning import layer_scale
from training.sharding import share_of

_OF_A_PARAMETER = {"step", "exp_avg", "exp_avg_sq"}  # the state of Adam and AdamW


def build_optimizer(module: nn.Module, lr: float, weight_decay: float,
                    layer_decay: float = 1.0) -> torch.optim.AdamW:
    """Return AdamW, betas (0.9, 0.95), of trainable parameters. 1-D ones and biases do not decay;
    nor do tokens and positions of an image encoder that keeps its own, as with timm.

    `module` is on its device, and sharded if it is to be. With a `layer_decay` below 1 it is a
    Rose, whose image encoder learns at the rates of `layer_scale`.
    """
    spared = {id(encoder.get_parameter(name)) for encoder in module.modules()
              if isinstance(encoder, ImageEncoder) and encoder.positions == "own"
              for name in encoder.no_weight_decay()}
    groups = []
    for scale, parameters in _by_rate(module, layer_decay):
        decayed, plain = [], []
        for name, parameter in parameters:
            kept = parameter.ndim <= 1 or name.endswith(".bias") or id(parameter) in spared
            (plain if kept else decayed).append(parameter)
        groups += [{"params": decayed, "weight_decay": weight_decay, **_scaled(lr, scale)},
                   {"params": plain, "weight_decay": 0.0, **_scaled(lr, scale)}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)


def _by_rate(module: nn.Module,
             layer_decay: float) -> list[tuple[float, list[tuple[str, nn.Parameter]]]]:
    """Return (share of the rate, trainable parameters by name), that of 1 first, highest next."""
    depth = len(module.image_encoder.blocks) if layer_decay < 1 else 0
    groups: dict[float, list[tuple[str, nn.Parameter]]] = {1.0: []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            scale = layer_scale(name, depth, layer_decay) if layer_decay < 1 else 1.0
            groups.setdefault(scale, []).append((name, parameter))
    return sorted(groups.items(), reverse=True)


def _scaled(lr: float, scale: float) -> dict[str, float]:
    """Return what a parameter group says of its rate; nothing where it has the whole one."""
    return {} if scale == 1 else {"lr": lr * scale, "lr_scale": scale}


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
    scales = [{name: group[name] for name in ("lr_scale",) if name in group}
              for group in optimizer.param_groups]
    groups = [{**group, "fused": True, **scale}
              for group, scale in zip_longest(state["param_groups"], scales, fillvalue={})]
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
    """Give every parameter group its share of the rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def build_downstream_optimizer(encoder: nn.Module, head: nn.Module, lr: float, head_lr: float,
                               weight_decay: float, layer_decay: float = 1.0,
                               extra: nn.Module | None = None,
                               extra_lr: float = 0.0) -> torch.optim.Adam:
    """Return Adam on trainable parameters, with a rate for the encoder, one for an `extra` module
    if there is one, and one for the head, whose group is the last. With a `layer_decay` below 1
    the encoder is a Rose, as in `build_optimizer`.
    """
    groups = [([parameter for _, parameter in parameters], lr * scale)
              for scale, parameters in _by_rate(encoder, layer_decay)]
    for module, rate in ((extra, extra_lr), (head, head_lr)):
        if module is not None:
            groups.append(([p for p in module.parameters() if p.requires_grad], rate))
    return torch.optim.Adam([{"params": parameters, "lr": rate, "base_lr": rate}
                             for parameters, rate in groups if parameters],
                            weight_decay=weight_decay, fused=True)


def set_polynomial_rate(optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> None:
    """Set rates to base rates times (1 - step / total_steps) ** 0.9; `step` starts at 0."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * (1 - step / total_steps) ** 0.9
