"""The order of tiles in an epoch: the same on any number of devices, and resumable midway."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from utils.errors import TileError


def keyed_generator(seed: int, *key: int) -> torch.Generator:
    """Return a generator whose stream depends on (seed, key) alone, integers >= 0; neighbouring
    keys, and keys of different lengths, have unrelated streams."""
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


class EpochSampler(Sampler[tuple[int, int]]):
    """Keys `(epoch, index)` of one epoch, for a DataLoader with this `batch_size` over an
    `AugmentedTiles` or a `LabelledTiles`.

    The permutation of an epoch is drawn from (seed, epoch) and cut into whole global batches: the
    batch_size * accumulate * world_size tiles of an optimiser step. Of each, this rank takes every
    world_size-th tile, as `accumulate` batches in a row. A step thus has the same tiles on any
    number of devices, in any number of batches, as long as the global batch is equal. The rest is
    dropped; with `keep_last` it is a last, smaller step, filled up from the epoch's beginning until
    every rank has equally many tiles.

    Args:
        dataset: the tiles; its length and, for the error, its root are used.
        batch_size: tiles per batch of one process.
        seed: seed of the run.
        rank, world_size: this process among all.
        keep_last: use all tiles.
        accumulate: batches of each process per step.

    Attributes:
        steps_per_epoch: optimiser steps, of `accumulate` batches each.

    Raises:
        TileError: the dataset has fewer tiles than one global batch; with `keep_last`, no tile.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int, rank: int = 0,
                 world_size: int = 1, keep_last: bool = False, accumulate: int = 1) -> None:
        self.num_tiles = len(dataset)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.global_batch = batch_size * accumulate * world_size
        if keep_last:
            self.tiles_per_epoch = math.ceil(self.num_tiles / world_size) * world_size
        else:
            self.tiles_per_epoch = self.num_tiles // self.global_batch * self.global_batch
        self.steps_per_epoch = math.ceil(self.tiles_per_epoch / self.global_batch)
        if self.steps_per_epoch == 0:
            raise TileError(_too_few_tiles(dataset, batch_size, world_size, accumulate))
        self.set_position(epoch=0)

    def set_position(self, epoch: int, start_step: int = 0) -> None:
        """Iterate over `epoch` next, without its first `start_step` steps.

        Raises:
            ValueError: the epoch has fewer steps.
        """
        if not 0 <= start_step <= self.steps_per_epoch:
            raise ValueError(f"start_step={start_step}: an epoch has {self.steps_per_epoch} steps")
        self.epoch = epoch
        self.start_step = start_step

    def __len__(self) -> int:
        rest = self.tiles_per_epoch - self.start_step * self.global_batch
        return max(0, rest) // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = torch.randperm(self.num_tiles, generator=keyed_generator(self.seed, self.epoch))
        order = order.repeat(math.ceil(self.tiles_per_epoch / self.num_tiles))  # tiles < ranks
        order = order[self.start_step * self.global_batch:self.tiles_per_epoch]
        for index in order[self.rank::self.world_size].tolist():
            yield self.epoch, index


def _too_few_tiles(dataset: Dataset, batch_size: int, world_size: int, accumulate: int) -> str:
    tiles = len(dataset)
    largest = tiles // (world_size * accumulate)
    batches = f" in {accumulate} batches a step" if accumulate > 1 else ""
    devices = f" on each of {world_size} devices" if world_size > 1 else ""
    if largest:
        remedy = f"use batch_size<={largest}"
    elif accumulate == 1:
        remedy = f"use at most {tiles} devices"
    else:
        remedy = f"use batch_size * accumulate * devices <= {tiles}"
    return (f"batch_size={batch_size}{batches}{devices} needs "
            f"{batch_size * accumulate * world_size} tiles a step, but the dataset at "
            f"{dataset.root} has {tiles} tiles; {remedy}, or add tiles")
