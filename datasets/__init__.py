"""Tiles: reading, augmenting and ordering them, with their targets or without.

The names below are loaded when they are asked for: a preparation needs neither torchvision nor a
data loader, and starts in half the time.
"""

from importlib import import_module

_HOME = {
    "AugmentedTiles": "augment", "EpochSampler": "sampler", "LabelledTiles": "labelled",
    "TileDataset": "tiles", "collate": "tiles",
    "collate_labelled": "labelled", "denormalise": "tiles", "normalise": "tiles",
    "read_list": "labelled",
}
__all__ = ["AugmentedTiles", "EpochSampler", "LabelledTiles", "TileDataset", "collate",
           "collate_labelled", "denormalise", "normalise",
           "read_list"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
