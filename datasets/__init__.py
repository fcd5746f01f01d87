"""Tiles: reading, augmenting and ordering them."""

import utils.torchvision_import  # noqa: F401
from datasets.augment import AugmentedTiles
from datasets.sampler import EpochSampler
from datasets.tiles import TileDataset, collate, denormalise, normalise

__all__ = ["AugmentedTiles", "EpochSampler", "TileDataset", "collate", "denormalise", "normalise"]
