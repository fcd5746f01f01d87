"""Processes and devices: started once, and asked for what each of them knows."""

import os
from typing import Any

import torch
from lightning_fabric import Fabric

from utils.config import MachineConfig
from utils.errors import ConfigError


def launch(cfg: MachineConfig) -> Fabric:
    """Fabric with the devices, precision and strategy of `cfg`, its processes started.

    Raises:
        ConfigError: no such device, strategy or precision here.
    """
    devices: int | str = int(cfg.devices) if cfg.devices.isdigit() else cfg.devices
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun has started the processes; there are as many as it says
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
    try:
        fabric = Fabric(accelerator=cfg.accelerator, devices=devices, num_nodes=cfg.num_nodes, strategy=cfg.strategy,
                        precision=cfg.precision)
        fabric.launch()
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"accelerator={cfg.accelerator} devices={cfg.devices} strategy={cfg.strategy} precision={cfg.precision}: "
                          f"{' '.join(str(error).split())}") from error
    if cfg.precision == "16-mixed" and fabric.device.type == "cpu":
        raise ConfigError("precision=16-mixed: a CPU has no such arithmetic; use bf16-mixed or 32-true")
    return fabric


def gather(fabric: Fabric, value: Any) -> list[Any]:
    """`value` of every process, in their order."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values
