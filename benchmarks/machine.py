"""Describe what a measurement was made with, without names of hosts or paths."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

LIBRARIES = ("torch", "torchvision", "torch_geometric", "torch-scatter", "timm",
             "lightning-fabric", "numpy", "shapely", "rasterio", "zstandard")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # what matters for matrix products


def about_machine() -> list[str]:
    """Return lines of Markdown."""
    flags = cpu_info("flags").split()
    instructions = " ".join(name for name in INSTRUCTIONS if name in flags)
    gpus = [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"- Processor: {cpu_info('model name') or platform.machine()}, {os.cpu_count()} cores"
        f"{', ' * bool(instructions)}{instructions}",
        f"- Memory: {memory:.0f} GiB",
        f"- GPU: {', '.join(gpus) or 'none'}",
        f"- {platform.system()}, Python {platform.python_version()}, {', '.join(installed())}",
    ]


def installed() -> list[str]:
    """Return the installed libraries that results depend on, each with its version."""
    names = []
    for name in LIBRARIES:
        try:
            names.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return names


def cpu_info(field: str) -> str:
    """Return a field of the first processor in /proc/cpuinfo, or "" if there is none."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.is_file() else []:
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""
