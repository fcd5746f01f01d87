"""What the processor at hand is good at."""

import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@cache
def is_amd() -> bool:
    """Whether the processor is AMD's, on which Intel's MKL leaves the widest vector instructions unused."""
    words = _CPUINFO.read_text() if _CPUINFO.is_file() else platform.processor()
    return "AuthenticAMD" in words
