"""Names of a package that are imported when they are first asked for.

A command line answers before torch and its like are loaded, so the packages it touches first
import nothing themselves.
"""

from collections.abc import Callable, Mapping
from importlib import import_module


def on_demand(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` (PEP 562) of a package.

    Args:
        homes: name -> the module of the package that it is in.
    """
    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)
    return get
