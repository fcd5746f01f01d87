"""A frozen network's representations of tiles, computed once for all epochs of a linear probe."""

import math
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import Dataset

from datasets.batching import stack
from datasets.labelled import Key, LabelledTiles, collate_labelled, index_of
from models.downstream import Downstream
from training.devices import together
from training.modes import in_evaluation_mode

FOLDER = ".features"


class FrozenFeatures(Dataset):
    """Tiles' features: `features[i]` or `features[epoch, i]` is `(representation, target)`.

    They are in a memory-mapped file that all processes of a machine share; `shape` is one tile's
    representation, [L, D] or [D].
    """

    def __init__(self, tiles: LabelledTiles, path: Path, shape: Sequence[int]):
        self.tiles = tiles
        self.values = np.memmap(path, np.float32, "r", shape=(len(tiles), *shape))

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        index = index_of(key)
        return torch.from_numpy(self.values[index].copy()), self.tiles.target_of(index)


def collate_features(samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return a batch of samples: representations [B, ...] and targets [B, ...]."""
    features, targets = zip(*samples, strict=True)
    return stack(features), stack(targets)


@torch.no_grad()
def compute_features(model: Downstream, tiles: LabelledTiles, loader: Iterable, fabric: Fabric,
                     path: Path) -> FrozenFeatures:
    """Return the representations of all `tiles`; each process computes those of its `loader`.

    Args:
        model: frozen, on its device.
        loader: (images, graphs, target) batches of every world_size-th tile, from this rank on.
        path: of the file to write, in a folder that all processes see.
    """
    images, graphs, _ = collate_labelled([tiles[0]])
    images, graphs = model.rose.normalise(images.to(fabric.device)), graphs.to(fabric.device)
    with in_evaluation_mode(model):
        shape = model.represent(images, graphs).shape[1:]
    path.parent.mkdir(parents=True, exist_ok=True)
    with fabric.rank_zero_first():
        if fabric.is_global_zero:
            _reserve(path, 4 * len(tiles) * math.prod(shape))
        values = np.memmap(path, np.float32, "r+", shape=(len(tiles), *shape))
    first = fabric.global_rank
    with in_evaluation_mode(model), together(fabric):
        for images, graphs, _ in loader:
            with fabric.autocast():
                features = model.represent(images, graphs).float().cpu().numpy()
            end = first + len(features) * fabric.world_size
            values[first:end:fabric.world_size] = features
            first = end
    values.flush()
    fabric.barrier()
    return FrozenFeatures(tiles, path, shape)


def _reserve(path: Path, size: int) -> None:
    """Write an empty file of `size` bytes: a full disk is an error now, not a crash later."""
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def remove_features(folder: Path) -> None:
    """Delete the files of an evaluation's features."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
