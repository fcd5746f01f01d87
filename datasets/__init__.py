"""Tiles: reading, augmenting and ordering them.

The names below are loaded when they are asked for: a preparation needs neither torchvision nor a data loader, and starts in half the time.
"""

from importlib import import_module

_HOME = {
    "AugmentedTiles": "augment", "EpochSampler": "sampler", "TileDataset": "tiles", "collate": "tiles", "denormalise": "tiles",
    "normalise": "tiles",
}
__all__ = ["AugmentedTiles", "EpochSampler", "TileDataset", "collate", "denormalise", "normalise"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
