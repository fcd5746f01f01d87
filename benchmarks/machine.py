"""What a measurement was made with: processor, memory, GPU and versions, without names of hosts or
paths."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

LIBRARIES = ("torch", "torchvision", "torch_geometric", "torch-scatter", "timm",
             "lightning-fabric", "numpy", "shapely", "rasterio",
             "zstandard")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # what matters for matrix products


def about_machine() -> list[str]:
    """Lines of Markdown."""
    flags = cpu_info("flags").split()
    known = [name for name in INSTRUCTIONS if name in flags]
    gpus = [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())]
    return [
        f"- Processor: {cpu_info('model name') or platform.machine()}, {os.cpu_count()} "
        f"cores{', ' + ' '.join(known) if known else ''}",
        f"- Memory: {memory_gib():.0f} GiB",
        f"- GPU: {', '.join(gpus) or 'none'}",
        f"- {platform.system()}, Python {platform.python_version()}, {', '.join(installed())}",
    ]


def installed() -> list[str]:
    """The libraries that results depend on, each with its version, without those that are not
    there."""
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def cpu_info(field: str) -> str:
    """A field of the first processor in /proc/cpuinfo; empty where there is no such."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip()
                 == field), "")


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
