"""A scene's tiles through a network: cut by workers, in batches, in their order."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torch_geometric.data import Batch
from tqdm import tqdm

from datasets import collate, normalise
from datasets.prepare.job import forget_job
from datasets.prepare.scene_tiles import SceneBand, SceneTiles
from utils.stopping import outlast_signals

Network = Callable[[Tensor, Batch], Tensor]


class PredictedBand(NamedTuple):
    """A band of tiles and what a network says of them.

    Attributes:
        row, cols, valid, tiles: as of a `SceneBand` of n tiles.
        objects: [n] number of OSM objects; None for n = 0, as `outputs`.
        outputs: [n, ...] on the CPU.
    """

    row: int
    cols: list[int]
    valid: Tensor
    tiles: int
    objects: Tensor | None
    outputs: Tensor | None


class BatchedBand(NamedTuple):
    """A band whose images and graphs, in its order, are in batches.

    Attributes:
        band: without them.
        batches: images [B, 3, t, t] uint8 and their graphs.
    """

    band: SceneBand
    batches: list[tuple[Tensor, Batch]]


@torch.inference_mode()
def predicted_bands(scene: SceneTiles, network: Network, fabric: Fabric, first: int,
                    batch_size: int, num_workers: int,
                    ) -> Iterator[PredictedBand]:
    """What `network` says of the tiles of the bands from `first` on.

    Args:
        network: normalised images [B, 3, t, t] and their graphs -> [B, ...], on the device of
            `fabric`.
    """
    for band, batches in band_loader(scene, range(first, len(scene)), batch_size, num_workers,
                                     fabric):
        outputs, objects = [], []
        for images, graphs in batches:
            objects.append(graphs.ptr.diff())
            with fabric.autocast():
                outputs.append(network(normalise(images.to(fabric.device)),
                                       graphs.to(fabric.device)).float().cpu())
        said = (torch.cat(parts) if parts else None for parts in (objects, outputs))
        yield PredictedBand(band.row, band.cols, band.valid, band.tiles, *said)


def band_loader(scene: SceneTiles, bands: Sequence[int], batch_size: int, num_workers: int,
                fabric: Fabric) -> DataLoader:
    """Chosen bands of a scene, each a BatchedBand, cut by `num_workers` processes, or by this one
    where that is 0."""
    return DataLoader(Subset(scene, bands), batch_size=None,
                      num_workers=min(num_workers, len(bands)),
                      collate_fn=partial(_in_batches, size=batch_size),
                      pin_memory=fabric.device.type == "cuda",
                      worker_init_fn=_start_worker)


def _in_batches(band: SceneBand, size: int) -> BatchedBand:
    """A band's tiles in batches, joined where they are cut: one graph is shipped faster than many,
    and with fewer open files."""
    samples = list(zip(band.images, band.graphs, strict=True))
    batches = [collate(samples[start:start + size]) for start in range(0, len(samples), size)]
    return BatchedBand(band._replace(images=band.images[:0], graphs=[]), batches)


def _start_worker(worker: int) -> None:
    outlast_signals(worker)
    forget_job()


def counted(bands: Iterator[PredictedBand], bar: tqdm) -> Iterator[PredictedBand]:
    """The bands, their tiles counted by a progress bar."""
    for band in bands:
        yield band
        bar.update(band.tiles)


def rows_of(bands: Iterator[PredictedBand]) -> Iterator[tuple[int, Iterator[PredictedBand]]]:
    """The bands of each row of tiles, row by row and band by band: what a network says of a row
    may be larger than the row's map."""
    return groupby(bands, key=attrgetter("row"))
