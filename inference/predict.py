"""A scene's tiles through a network: cut by workers, in batches, in their order."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torch_geometric.data import Batch
from tqdm import tqdm

from datasets import collate
from datasets.prepare.job import forget_job
from datasets.prepare.scene_tiles import SceneBand, SceneTiles
from training.finite import check_outputs
from training.stopping import outlast_signals
from training.workers import batches_of


class PredictedBand(NamedTuple):
    """A band of n tiles and the network's outputs for them; other fields as in a `SceneBand`."""

    row: int
    cols: list[int]
    valid: Tensor
    tiles: int
    objects: Tensor | None  # [n] number of OSM objects; None for n = 0
    outputs: Tensor | None  # [n, ...] on the CPU; None for n = 0


# each row of tiles with its bands, one at a time: outputs of a row may be larger than its map
Rows = Iterator[tuple[int, Iterator[PredictedBand]]]


@torch.inference_mode()
def predicted_bands(scene: SceneTiles, network: Callable[[Tensor, Batch], Tensor],
                    normalise: Callable[[Tensor], Tensor], fabric: Fabric, first: int,
                    batch_size: int, num_workers: int) -> Iterator[PredictedBand]:
    """Yield the outputs of `network` for the bands from `first` on.

    `network` takes images [B, 3, t, t], which its own `normalise` made, and their graphs on the
    device of `fabric`.
    """
    bands = range(first, len(scene))
    for band, batches in loaded_bands(scene, bands, batch_size, num_workers, fabric):
        outputs, objects = [], []
        for images, graphs in batches:
            objects.append(graphs.ptr.diff())
            with fabric.autocast():
                output = network(normalise(images.to(fabric.device)), graphs.to(fabric.device))
            check_outputs(output, graphs.name)
            outputs.append(output.float().cpu())
        yield PredictedBand(band.row, band.cols, band.valid, band.tiles, torch.cat(objects)
                            if objects else None, torch.cat(outputs) if outputs else None)


def loaded_bands(scene: SceneTiles, bands: Sequence[int], batch_size: int, num_workers: int,
                 fabric: Fabric) -> Iterator[tuple[SceneBand, list[tuple[Tensor, Batch]]]]:
    """Yield a scene's bands, cut by `num_workers` processes, or by this one if 0.

    Each band comes without its images and graphs, and these in batches, in the band's order:
    images [B, 3, t, t] uint8 and their graphs. Raise RoseError if a process is lost.
    """
    return batches_of(DataLoader(
        Subset(scene, bands), batch_size=None, num_workers=min(num_workers, len(bands)),
        collate_fn=partial(_in_batches, size=batch_size),
        pin_memory=fabric.device.type == "cuda", worker_init_fn=_start_worker))


def _in_batches(band: SceneBand, size: int) -> tuple[SceneBand, list[tuple[Tensor, Batch]]]:
    """Join a band's tiles to batches: one graph is shipped faster than many, with fewer files."""
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
