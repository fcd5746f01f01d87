"""Processes and devices: how they start, exchange values and end together."""

import gc
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.strategies import ModelParallelStrategy
from lightning_fabric.utilities import rank_zero_only
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from training.keys import MachineKeys
from training.sharding import shard
from utils.errors import ConfigError, RoseError, one_line
from utils.locks import alone_in

SETTLING_S = 0.2
NARROW = 128  # width of an image encoder below which one thread is enough


class Autocast(MixedPrecision):
    """Autocast, for float16 with loss scaling. Inputs keep their type: losses compare with them,
    and float16 would round them."""

    def convert_input(self, data: Any) -> Any:
        return data


def launch(cfg: MachineKeys) -> Fabric:
    """Start processes as `cfg` says and return Fabric; raise ConfigError if that cannot be."""
    if cfg.accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("accelerator=cuda: there is no CUDA GPU that torch can use here; use "
                          "accelerator=auto, or cpu")
    devices: int | str = int(cfg.devices) if cfg.devices.isdigit() else cfg.devices
    hosts = cfg.num_nodes
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun has started the processes
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        hosts = int(os.environ["WORLD_SIZE"]) // devices
    strategy = ModelParallelStrategy(shard) if cfg.strategy == "fsdp" else cfg.strategy
    try:
        fabric = Fabric(accelerator=cfg.accelerator, devices=devices, num_nodes=hosts,
                        strategy=strategy, plugins=_precision(cfg))
        if cfg.strategy == "fsdp" and strategy.num_processes * hosts == 1:
            raise ConfigError("strategy=fsdp: shares a network among several devices, and here "
                              "is one; use strategy=auto, or more devices")
        fabric.launch()
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"accelerator={cfg.accelerator} devices={cfg.devices} "
                          f"num_nodes={cfg.num_nodes} strategy={cfg.strategy} "
                          f"precision={cfg.precision}: {' '.join(str(error).split())}") from error
    return fabric


def launch_single(accelerator: str, precision: str = "32-true") -> Fabric:
    """Return Fabric with one device, for a network that is not trained; errors as of `launch`."""
    return launch(MachineKeys(precision=precision, accelerator=accelerator, devices="1"))


def _precision(cfg: MachineKeys) -> MixedPrecision | None:
    if cfg.precision == "32-true":
        return None
    device = "cuda" if cfg.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    if cfg.precision == "16-mixed" and device == "cpu":
        raise ConfigError("precision=16-mixed: a CPU has no such arithmetic; use bf16-mixed or "
                          "32-true")
    if cfg.precision == "16-mixed" and cfg.strategy == "fsdp":
        raise ConfigError("precision=16-mixed: its loss scaling does not work with "
                          "strategy=fsdp; use bf16-mixed")
    return Autocast(cfg.precision, device)


def set_up_again(fabric: Fabric, network: nn.Module) -> nn.Module:
    """Set up a network whose parameters were frozen or thawed, and whose wrapper is let go.

    DDP lists the parameters whose gradients it shares when it is made.
    """
    gc.collect()  # the DDP before it, or it would go on listening for gradients
    return fabric.setup_module(network)


@contextmanager
def threads_that_pay(width: int) -> Iterator[None]:
    """Let torch use one thread in the block for a network with a narrow image encoder, all cores
    for others.

    The products of a narrow network are too short to share: a second thread gains a tenth on an
    idle machine, and loses two thirds beside a busy process (benchmarks/threads.py). A number of
    threads that OMP_NUM_THREADS asks for stays.
    """
    before = torch.get_num_threads()
    if width < NARROW and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compile_in_place(module: nn.Module, device: torch.device) -> None:
    """Let the modules compile themselves where it pays, before Fabric sets `module` up.

    Raise ConfigError if torch.compile does not work here.
    """
    from models.compiled import compile_network

    rank_zero_only(print)("Compiling the network; the first step takes a minute or more")
    try:  # now, rather than in the middle of the first step
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except RuntimeError as error:
        raise ConfigError(f"compile=true: torch.compile does not work here ({one_line(error)}); "
                          "install a C++ compiler such as g++, or use compile=false") from error
    compile_network(module)


def gather(fabric: Fabric, value: Any) -> list[Any]:
    """Return every process's `value`, in their order; these objects never reach a file."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """Run the block on every process without communication; continue only if all succeeded.

    Raises:
        RoseError, OSError: on the first process that met one; the others exit with code 2.
    """
    fault = None
    try:
        yield
    except (RoseError, OSError) as error:
        if fabric.world_size == 1:
            raise
        fault = error
    failed = gather(fabric, fault is not None)
    if any(failed):
        end_all(fabric, fault, rank=failed.index(True))


@contextmanager
def alone(fabric: Fabric, folder: Path, key: str) -> Iterator[None]:
    """Hold the folder of a run of all processes during the block, as `alone_in` does; the block is
    the last in which they exchange values."""
    with ExitStack() as held:
        held.callback(_settle)
        with together(fabric):
            if fabric.is_global_zero:
                held.enter_context(alone_in(folder, key))
        yield


def _settle() -> None:
    """Wait a moment for gloo's threads, which let go of the tensors of the last exchange and need
    Python's lock for it: a process that ended meanwhile would abort. To destroy the group instead
    can wait forever, holding that lock."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        time.sleep(SETTLING_S)


def in_step(fabric: Fabric, batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches of a process, of which all have equally many; if one cannot be read, end
    all processes as `together` does."""
    batches = iter(batches)
    while True:
        with together(fabric):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def end_all(fabric: Fabric, error: Exception | None, rank: int = 0) -> NoReturn:
    """End all processes after all have learned that one cannot continue: `rank` raises its
    `error`, the others exit with code 2."""
    if fabric.global_rank == rank:
        raise error
    sys.exit(2)
