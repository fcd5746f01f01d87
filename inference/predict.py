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
    """A band of tiles and the network's outputs for them.

    Attributes:
        row, cols, valid, tiles: as in a `SceneBand` of n tiles.
        objects: [n] number of OSM objects; None for n = 0, as `outputs`.
        outputs: [n, ...] on the CPU.
    """

    row: int
    cols: list[int]
    valid: Tensor
    tiles: int
    objects: Tensor | None
    outputs: Tensor | None


Rows = Iterator[tuple[int, Iterator[PredictedBand]]]

@torch.inference_mode()
def predicted_bands(scene: SceneTiles, network: Network, fabric: Fabric, first: int,
                    batch_size: int, num_workers: int) -> Iterator[PredictedBand]:
    """Yield the outputs of `network` for the bands from `first` on.

    Args:
        network: normalised images [B, 3, t, t] and their graphs -> [B, ...], on the device of
            `fabric`.
    """
    bands = range(first, len(scene))
    for band, batches in band_loader(scene, bands, batch_size, num_workers, fabric):
        outputs, objects = [], []
        for images, graphs in batches:
            objects.append(graphs.ptr.diff())
            with fabric.autocast():
                outputs.append(network(normalise(images.to(fabric.device)),
                                       graphs.to(fabric.device)).float().cpu())
        yield PredictedBand(band.row, band.cols, band.valid, band.tiles, torch.cat(objects)
                            if objects else None, torch.cat(outputs) if outputs else None)


def band_loader(scene: SceneTiles, bands: Sequence[int], batch_size: int, num_workers: int,
                fabric: Fabric) -> DataLoader:
    """Return a loader of a scene's bands, cut by `num_workers` processes, or by this one if that
    is 0.

    It yields each band without its images and graphs, and these in batches, in the band's order:
    images [B, 3, t, t] uint8 and their graphs.
    """
    return DataLoader(Subset(scene, bands), batch_size=None,
                      num_workers=min(num_workers, len(bands)),
                      collate_fn=partial(_in_batches, size=batch_size),
                      pin_memory=fabric.device.type == "cuda", worker_init_fn=_start_worker)


def _in_batches(band: SceneBand, size: int) -> tuple[SceneBand, list[tuple[Tensor, Batch]]]:
    """Join a band's tiles to batches in the worker: one graph is shipped faster than many, and
    with fewer open files."""
    samples = list(zip(band.images, band.graphs, strict=True))
    batches = [collate(samples[start:start + size]) for start in range(0, len(samples), size)]
    return band._replace(images=band.images[:0], graphs=[]), batches


def _start_worker(worker: int) -> None:
    outlast_signals(worker)
    forget_job()


def counted(bands: Iterator[PredictedBand], bar: tqdm) -> Iterator[PredictedBand]:
    """Yield the bands, and count their tiles on a progress bar."""
    for band in bands:
        yield band
        bar.update(band.tiles)


def rows_of(bands: Iterator[PredictedBand]) -> Rows:
    """Yield each row of tiles with its bands, one band at a time: the outputs of a row may be
    larger than the row's map."""
    return groupby(bands, key=attrgetter("row"))
