"""Tiles: how they are made (prepare/), stored (stores/), generated (sample_city/), read, augmented,
ordered, split and drawn, with their targets or without. Networks and training may not live here;
this room imports nothing but utils.

The names below are loaded on first use: a preparation needs neither torchvision nor a data loader,
and starts in half the time.
"""

from utils.on_demand import on_demand

_HOME = {
    "AugmentedTiles": "augment", "EpochSampler": "sampler", "LabelledTiles": "labelled",
    "TileDataset": "tiles", "collate": "tiles", "collate_labelled": "labelled",
    "denormalise": "tiles", "normalise": "tiles", "read_list": "labelled",
}
__all__ = sorted(_HOME)

__getattr__ = on_demand(__name__, _HOME)
