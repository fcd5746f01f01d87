"""Batches of tiles: read, augmented and masked by workers, normalised on the device.

Everything random about a tile, its masks included, is drawn from (seed, epoch, tile), so a step
has the same masks on any number of devices, with any number of workers, in any number of batches.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch, Data

from datasets import AugmentedTiles, EpochSampler, TileDataset, collate
from datasets.batching import stack
from datasets.dropping import Dropping
from datasets.sampler import keyed_generator
from models.masking import image_mask_of, node_mask_of
from training.stopping import outlast_signals
from training.workers import batches_of

MASKS = 1  # the stream of a tile's mask noise, beside that of its augmentation


class PretrainingBatch(NamedTuple):
    """A batch of B tiles with N nodes in total, and its masks."""

    images: Tensor      # [B, 3, H, W], uint8 from a worker, normalised float32 on the device
    graphs: Batch
    image_mask: Tensor  # [B, L] bool, True = masked
    node_mask: Tensor   # [N] bool, True = masked


class NoisyTiles(Dataset):
    """Augmented tiles with mask noise: `tiles[epoch, i] -> (image, graph, noise [L], noise [n])`.

    The noise is uniform and depends on (tiles.seed, epoch, i) alone; `patches` is L.
    """

    def __init__(self, tiles: AugmentedTiles, patches: int):
        self.tiles, self.patches = tiles, patches

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Data, Tensor, Tensor]:
        image, graph = self.tiles[key]
        generator = keyed_generator(self.tiles.seed, *key, MASKS)
        patches, nodes = (torch.rand(count, generator=generator)
                          for count in (self.patches, len(graph.x)))
        return image, graph, patches, nodes


def collate_masked(samples: Sequence[tuple[Tensor, Data, Tensor, Tensor]], img_mask_ratio: float,
                   osm_mask_ratio: float, node_mask_scope: str) -> PretrainingBatch:
    """Return a batch of samples of NoisyTiles, masked by models/masking.py."""
    images, graphs, patch_noise, node_noise = zip(*samples, strict=True)
    images, graphs = collate(list(zip(images, graphs, strict=True)))
    node_mask = node_mask_of(torch.cat(node_noise), graphs.batch, graphs.num_graphs,
                             osm_mask_ratio, node_mask_scope)
    return PretrainingBatch(images, graphs, image_mask_of(stack(patch_noise), img_mask_ratio),
                            node_mask)


class DeviceLoader:
    """Batches of a DataLoader on a device; uint8 images [B, 3, H, W] in front become normalised,
    as `Rose.normalise` does.

    A batch is copied to a GPU while the step before it is computed.
    """

    def __init__(self, loader: DataLoader, device: torch.device,
                 normalise: Callable[[Tensor], Tensor]):
        self.loader, self.device, self.normalise = loader, device, normalise

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        ahead = self.device.type == "cuda"
        for batch in self._copied_ahead() if ahead else map(self._copied, batches_of(self.loader)):
            first = batch[0]
            images = self.normalise(first) if first.dtype == torch.uint8 else first
            yield _same_kind(batch, [images, *batch[1:]])

    def _copied(self, batch: Sequence[Any]) -> Sequence[Any]:
        return _same_kind(batch, [item.to(self.device, non_blocking=self.device.type == "cuda")
                                  for item in batch])

    def _copied_ahead(self) -> Iterator[Sequence[Any]]:
        """Yield each batch after starting to copy the next one on a stream of its own."""
        copies, ahead = torch.cuda.Stream(self.device), None
        for batch in batches_of(self.loader):
            with torch.cuda.stream(copies):
                copied, done = self._copied(batch), copies.record_event()
            if ahead:
                yield self._arrived(*ahead)
            ahead = copied, done
        if ahead:
            yield self._arrived(*ahead)

    def _arrived(self, batch: Sequence[Any], copied: torch.cuda.Event) -> Sequence[Any]:
        """Return the batch, ready for later kernels of the current stream."""
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(copied)
        for item in batch:
            item.record_stream(stream)  # keeps its memory until they are done
        return batch


def _same_kind(batch: Sequence[Any], items: list[Any]) -> Sequence[Any]:
    """Return the items as a batch of the same type."""
    return batch._make(items) if isinstance(batch, PretrainingBatch) else tuple(items)


def device_loader(fabric: Fabric, data: Dataset, batch_size: int, collate_fn: Callable,
                  num_workers: int, normalise: Callable[[Tensor], Tensor],
                  sampler: EpochSampler | None = None) -> DeviceLoader:
    """Return batches of `data` on this process's device, in the order of the sampler, if any.

    Images become what a network reads by `normalise`, its own.

    Memory is pinned for a GPU. Workers live as long as the loader; each iteration begins at the
    position of the sampler.
    """
    loader = DataLoader(
        data, batch_size, sampler=sampler, num_workers=num_workers, collate_fn=collate_fn,
        persistent_workers=num_workers > 0, pin_memory=fabric.device.type == "cuda",
        worker_init_fn=outlast_signals,
        generator=torch.Generator(),  # else an iterator would advance the run's randomness
    )
    return DeviceLoader(fabric.setup_dataloaders(loader, use_distributed_sampler=False,
                                                 move_to_device=False), fabric.device, normalise)


def pretraining_loader(fabric: Fabric, tiles: TileDataset, sampler: EpochSampler, *,
                       batch_size: int, seed: int, augment: str, patch: int,
                       img_mask_ratio: float, osm_mask_ratio: float, node_mask_scope: str,
                       num_workers: int, normalise: Callable[[Tensor], Tensor],
                       dropping: Dropping = Dropping()) -> DeviceLoader:  # noqa: B008 - frozen
    """Return `PretrainingBatch`es of augmented and masked tiles on this process's device.

    Args:
        sampler: of this process, with the same batch_size.
        seed: of augmentation and masks.
        augment: one of datasets.augment.AUGMENTS.
        patch: side of a patch in pixels, which divides the tiles' image size.
        img_mask_ratio, osm_mask_ratio, node_mask_scope: see models/masking.py.
        normalise: of the network, `Rose.normalise`.
        dropping: of OSM objects, which neither pass sees then: what is not there is not masked.
    """
    data = NoisyTiles(AugmentedTiles(tiles, augment, seed, dropping),
                      patches=(tiles.image_size // patch) ** 2)
    collate_fn = partial(collate_masked, img_mask_ratio=img_mask_ratio,
                         osm_mask_ratio=osm_mask_ratio, node_mask_scope=node_mask_scope)
    return device_loader(fabric, data, batch_size, collate_fn, num_workers, normalise, sampler)
