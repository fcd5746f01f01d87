"""strategy=fsdp: equal shares of weights, gradients and optimiser state on the devices (FSDP2).

A checkpoint holds them whole, so any number of devices and either strategy can continue it.
"""

from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from models.block import DecoderBlock
from models.image_encoder import ImageEncoder


def shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard a whole Rose or image encoder, equal on all processes, among them; `mesh` gives the
    kind of device.

    A block of the ViT is whole on a device only while it computes, the rest during a step; the
    rest of a module without trained parameters while that computes.
    """
    everyone = init_device_mesh(mesh.device_type, (torch.distributed.get_world_size(),))
    encoders = [part for part in module.modules() if isinstance(part, ImageEncoder)]
    decoders = [part for part in module.modules() if isinstance(part, DecoderBlock)]
    for block in (*(block for encoder in encoders for block in encoder.blocks), *decoders):
        fully_shard(block, mesh=everyone)
    trained = any(parameter.requires_grad for parameter in module.parameters())
    return fully_shard(module, mesh=everyone, reshard_after_forward=None if trained else True)


def is_sharded(module: nn.Module) -> bool:
    """Whether the parameters of `module` are sharded."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def whole(state: Any, keep: bool) -> Any:
    """Return a state dict whose shares are joined on the CPU. All processes must call it; those
    without `keep` get None in place of shared tensors."""
    if isinstance(state, dict):
        return {name: whole(value, keep) for name, value in state.items()}
    if isinstance(state, DTensor):
        full = state.full_tensor()
        return full.cpu() if keep else None
    return state


def own_share(parameter: Tensor) -> Tensor:
    """Return this process's share of a parameter, or all of it if it is not sharded."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def share_of(value: Tensor, parameter: Tensor) -> Tensor:
    """Return this process's part of a whole tensor; all of it if `parameter` is not sharded so."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh,
                             parameter.placements, src_data_rank=None)
