"""Tiles on their way to the network: read, augmented and masked by workers, shipped as uint8,
normalised on the device.

Everything random about a tile, its masks included, is drawn from (seed, epoch, tile) where the
tile is read, so that a step has the same masks on any number of devices, with any number of
workers, and in any number of batches.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch, Data

from datasets import AugmentedTiles, EpochSampler, TileDataset, collate, normalise
from datasets.batching import stack
from datasets.sampler import keyed_generator
from models.masking import image_mask_of, node_mask_of
from utils.stopping import outlast_signals

MASKS = 1  # the stream of a tile's mask noise, beside that of its augmentation


class PretrainingBatch(NamedTuple):
    """A batch of B tiles with N nodes in all, and what is hidden of it.

    Attributes:
        images: [B, 3, H, W], uint8 as a worker ships them, normalised float32 on the device.
        graphs: of the tiles.
        image_mask: [B, L] bool, True = masked.
        node_mask: [N] bool, True = masked.
    """

    images: Tensor
    graphs: Batch
    image_mask: Tensor
    node_mask: Tensor


class NoisyTiles(Dataset):
    """Augmented tiles with the noise of their masks: `tiles[epoch, index] -> (image, graph,
    patch_noise [L], node_noise [n])`.

    The noise is uniform and depends on (seed, epoch, index) alone.

    Args:
        tiles: augmented; their seed is used.
        patches: L of an image.
    """

    def __init__(self, tiles: AugmentedTiles, patches: int):
        self.tiles = tiles
        self.patches = patches

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Data, Tensor, Tensor]:
        image, graph = self.tiles[key]
        generator = keyed_generator(self.tiles.seed, *key, MASKS)
        return image, graph, torch.rand(self.patches,
                                        generator=generator), torch.rand(len(graph.x),
                                                                         generator=generator)


def collate_masked(samples: Sequence[tuple[Tensor, Data, Tensor, Tensor]], img_mask_ratio: float,
                   osm_mask_ratio: float,
                   node_mask_scope: str) -> PretrainingBatch:
    """Tiles of NoisyTiles to a batch, masked as `models/masking.py` says."""
    images, graphs, patch_noise, node_noise = zip(*samples, strict=True)
    images, graphs = collate(list(zip(images, graphs, strict=True)))
    node_mask = node_mask_of(torch.cat(node_noise), graphs.batch, graphs.num_graphs,
                             osm_mask_ratio, node_mask_scope)
    return PretrainingBatch(images, graphs, image_mask_of(stack(patch_noise), img_mask_ratio),
                            node_mask)


class DeviceLoader:
    """Batches of a DataLoader on a device, their uint8 images normalised there, as `TileDataset`
    normalises them.

    A batch is copied to a GPU while the step before it is computed.

    Args:
        loader: of tuples that begin with images, uint8 [B, 3, H, W], or with anything that is not
            uint8.
        device: to copy to.
    """

    def __init__(self, loader: DataLoader, device: torch.device):
        self.loader = loader
        self.device = device

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        batches = self._copied_ahead() if self.device.type == "cuda" else map(self._copied,
                                                                              self.loader)
        for batch in batches:
            first = batch[0]
            yield _like(batch,
                        [normalise(first) if first.dtype == torch.uint8 else first, *batch[1:]])

    def _copied(self, batch: Sequence[Any]) -> Sequence[Any]:
        return _like(batch,
                     [part.to(self.device, non_blocking=self.device.type == "cuda")
                      for part in batch])

    def _copied_ahead(self) -> Iterator[Sequence[Any]]:
        """Each batch, once the copy of the next one has been asked for on a stream of its own."""
        copies, ahead = torch.cuda.Stream(self.device), None
        for batch in self.loader:
            with torch.cuda.stream(copies):
                copied, done = self._copied(batch), copies.record_event()
            if ahead:
                yield self._arrived(*ahead)
            ahead = copied, done
        if ahead:
            yield self._arrived(*ahead)

    def _arrived(self, batch: Sequence[Any], copied: torch.cuda.Event) -> Sequence[Any]:
        """The batch, for kernels that the current stream gets from now on."""
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(copied)
        for part in batch:
            part.record_stream(stream)  # its memory is not given away before they are done
        return batch


def _like(batch: Sequence[Any], parts: list[Any]) -> Sequence[Any]:
    """The parts as a batch of the same kind."""
    return batch._make(parts) if isinstance(batch, PretrainingBatch) else tuple(parts)


def device_loader(fabric: Fabric, data: Dataset, batch_size: int, collate_fn: Callable,
                  num_workers: int,
                  sampler: EpochSampler | None = None) -> DeviceLoader:
    """Batches of `data` on this process's device, in the order of the sampler, or of the data
    without one.

    Memory is pinned for a GPU, and workers live as long as the loader, which may be iterated over
    any number of times, each time from the position of the sampler.
    """
    loader = DataLoader(
        data, batch_size, sampler=sampler, num_workers=num_workers, collate_fn=collate_fn,
        persistent_workers=num_workers > 0,
        pin_memory=fabric.device.type == "cuda", worker_init_fn=outlast_signals,
        generator=torch.Generator(),  # its own: an iterator must not advance the run's randomness
    )
    return DeviceLoader(fabric.setup_dataloaders(loader, use_distributed_sampler=False,
                                                 move_to_device=False), fabric.device)


def pretraining_loader(fabric: Fabric, tiles: TileDataset, sampler: EpochSampler, *,
                       batch_size: int, seed: int, augment: str, patch: int,
                       img_mask_ratio: float, osm_mask_ratio: float, node_mask_scope: str,
                       num_workers: int) -> DeviceLoader:
    """Batches of augmented and masked tiles for pretraining, each a PretrainingBatch on this
    process's device.

    Args:
        sampler: of this process; its position is where the next iteration begins.
        batch_size: tiles of a batch; the sampler must have been made with it.
        seed: of augmentation and masks.
        augment: one of datasets.augment.AUGMENTS.
        patch: side of a patch in pixels, which divides the tiles' image size.
        img_mask_ratio, osm_mask_ratio, node_mask_scope: see models/masking.py.
    """
    data = NoisyTiles(AugmentedTiles(tiles, augment, seed),
                      patches=(tiles.image_size // patch) ** 2)
    masked = partial(collate_masked, img_mask_ratio=img_mask_ratio, osm_mask_ratio=osm_mask_ratio,
                     node_mask_scope=node_mask_scope)
    return device_loader(fabric, data, batch_size, masked, num_workers, sampler)
