"""What a frozen network says of each tile, computed once and read from disk in every epoch of a
linear probe."""

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

from datasets import normalise
from datasets.batching import stack
from datasets.labelled import Key, LabelledTiles, collate_labelled, index_of
from models.downstream import Downstream

FOLDER = ".features"


class FrozenFeatures(Dataset):
    """Representations of tiles with their targets: `features[i]` or `features[epoch, i]` gives
    `(representation, target)`.

    The representations lie in a memory-mapped file that all processes of a machine share, so that
    memory stays flat.

    Args:
        tiles: what they are of.
        path: of the file.
        shape: of one tile's representation, [L, D] or [width].
    """

    def __init__(self, tiles: LabelledTiles, path: Path, shape: Sequence[int]):
        self.tiles = tiles
        self.values = np.memmap(path, np.float32, "r", shape=(len(tiles), *shape))

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        place = index_of(key)
        return torch.from_numpy(self.values[place].copy()), self.tiles.target_of(place)


def collate_features(samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Samples to a batch: representations [B, ...] and targets [B, ...]."""
    features, targets = zip(*samples, strict=True)
    return stack(features), stack(targets)


def is_exact(model: Downstream, modality: str) -> bool:
    """Whether a tile's representation is the same in every batch: not where the OSM encoder's norm
    takes in the whole batch (release)."""
    return modality == "image" or model.rose.osm_encoder.norm_scope == "tile"


@torch.no_grad()
def extract_features(model: Downstream, tiles: LabelledTiles, loader: Iterable, fabric: Fabric,
                     path: Path) -> FrozenFeatures:
    """The representations of all `tiles`, each process computing those that its `loader` gives.

    Args:
        model: frozen, on its device.
        loader: (images, graphs, target) batches of this process's tiles: the one of its rank, and
            every world_size-th after it.
        path: of the file to write, in a folder that all processes see.
    """
    model.eval()
    images, graphs, _ = collate_labelled([tiles[0]])
    shape = model.represent(normalise(images.to(fabric.device)),
                            graphs.to(fabric.device)).shape[1:]
    path.parent.mkdir(parents=True, exist_ok=True)
    with fabric.rank_zero_first():
        if fabric.is_global_zero:
            _reserve(path, 4 * len(tiles) * math.prod(shape))
        values = np.memmap(path, np.float32, "r+", shape=(len(tiles), *shape))
    place = fabric.global_rank
    for images, graphs, _ in loader:
        with fabric.autocast():
            features = model.represent(images, graphs).float().cpu().numpy()
        values[place:place + len(features) * fabric.world_size:fabric.world_size] = features
        place += len(features) * fabric.world_size
    values.flush()
    fabric.barrier()
    return FrozenFeatures(tiles, path, shape)


def _reserve(path: Path, size: int) -> None:
    """An empty file of `size` bytes; a full disk is an error now, and not a crash when the memory
    map is written."""
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def remove_features(folder: Path) -> None:
    """Delete the files of an evaluation's features."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
