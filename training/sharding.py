"""strategy=fsdp: weights, gradients and optimiser state in equal shares, one on each device
(FSDP2, `torch.distributed.fsdp.fully_shard`).

A checkpoint holds them whole, as it does without sharding, so that any number of devices and
either strategy can go on from it.
"""

from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(rose: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Share a whole Rose, equal on all processes, among them. A block of the ViT is together on a
    device only while it is at work, the rest during a step.

    Args:
        mesh: of Fabric's; its kind of device is used.
    """
    everyone = init_device_mesh(mesh.device_type, (torch.distributed.get_world_size(),))
    for block in (*rose.image_encoder.blocks, rose.image_decoder):
        fully_shard(block, mesh=everyone)
    return fully_shard(rose, mesh=everyone)


def is_sharded(module: nn.Module) -> bool:
    """Whether the parameters of `module` are shares."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def whole(state: Any, keep: bool) -> Any:
    """A state dict with the shares in it put together on the CPU. All processes must call it;
    those without `keep` get None for them."""
    if isinstance(state, dict):
        return {name: whole(value, keep) for name, value in state.items()}
    if isinstance(state, DTensor):
        full = state.full_tensor()
        return full.cpu() if keep else None
    return state


def own_share(parameter: Tensor) -> Tensor:
    """What this process holds of a parameter: all of it where it is not shared."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def share_of(value: Tensor, parameter: Tensor) -> Tensor:
    """Of a whole tensor of a parameter's shape, what belongs to this process's share of it; all of
    it where it is not shared."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh,
                             parameter.placements, src_data_rank=None)
