"""Measure how fast loaders feed tiles, and where a tile's time goes.

    python benchmarks/loader.py                                 # generates 512 tiles; some minutes
    python benchmarks/loader.py --data D --batch-size 256 --workers 16      # your own tiles

Three comparisons: the compact layout with the release's, both with the same tiles and equal
tensors; decoding alone with all that pretraining asks of a loader (augment=aligned, masks, batches
on the device); bytes that workers ship with the floats of normalised images. The measurements
alternate within one process, since a machine's speed drifts. torch runs on one thread, as in the
workers of a DataLoader. The files are read once before, so that decoding is compared, not disks.
Images are lossless in both layouts: only the graphs shrink.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.command import parse
from benchmarks.measure import ratio_of, take_turns, torch_threads
from datasets import AugmentedTiles, EpochSampler, TileDataset, collate, normalise
from datasets.augment import apply_to_graph, apply_to_image, draw
from datasets.sampler import keyed_generator
from datasets.stores.conversion import convert
from datasets.stores.release import write_release_tile
from datasets.stores.tile import Tile
from training.loader import MASKS, NoisyTiles, collate_masked, device_loader, pretraining_loader
from utils.tables import markdown_table

VALUES = 300  # distinct tag values of the generated city
PATCH, SEED = 16, 0
RATIOS = {"img_mask_ratio": 0.75, "osm_mask_ratio": 0.15, "node_mask_scope": "tile"}


class Settings(NamedTuple):
    """What is measured, and how often.

    Attributes:
        data: a dataset in either layout; without it, a city of `tiles` tiles with `nodes` nodes
            each is generated.
        workers: numbers of loader processes; 0 reads in the process that asks.
        repeats: of every measurement, after one to warm up.
    """

    data: Path | None = None
    tiles: int = 512
    nodes: int = 60
    batch_size: int = 64
    workers: tuple[int, ...] = tuple(sorted({0, 1, os.cpu_count() or 1}))
    repeats: int = 5


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial with a tiny city."""
    return lines(Settings(tiles=12, nodes=10, batch_size=4, workers=(0, 1), repeats=1) if quick
                 else Settings())


def lines(settings: Settings) -> list[str]:
    with torch_threads(1), tempfile.TemporaryDirectory() as folder:
        return _lines(settings, both_layouts(settings, Path(folder)))


def _lines(settings: Settings, roots: dict[str, Path]) -> list[str]:
    tiles = {layout: TileDataset(root) for layout, root in roots.items()}
    count = len(tiles["compact"])
    nodes, edges = count_graphs(tiles["compact"])
    return [
        f"{count} tiles, {nodes / count:.0f} nodes and {edges / count:.0f} edges a tile; batches "
        f"of {settings.batch_size}, medians of {settings.repeats} repeats.", "",
        "The layouts: bytes, and tiles a second read.", "", bytes_table(roots), "",
        layouts_table(tiles, settings), "",
        "What pretraining asks of a loader (augment=aligned), on the compact layout.", "",
        loaders_table(tiles["compact"], settings), "",
        "Where a tile's time goes, each part alone on one core.", "",
        time_table(tiles["compact"], settings),
    ]


# ---- what is read

def both_layouts(settings: Settings, folder: Path) -> dict[str, Path]:
    """Return layout -> folder of the dataset."""
    source = settings.data or write_city(folder / "release", settings.tiles, settings.nodes)
    other = folder / "other"
    convert(source, other, progress=False)
    compact, release = (source, other) if (source / "cities").is_dir() else (other, source)
    return {"release": release, "compact": compact}


def write_city(root: Path, tiles: int, nodes: int) -> Path:
    """Write tiles in the release's layout: about five neighbours a node, noisy images."""
    draw = np.random.default_rng(0)
    text = draw.normal(size=(VALUES, 512)).astype(np.float32)
    for number in range(tiles):
        value = draw.integers(0, VALUES, nodes)
        tile = Tile(f"city_{number // 32}_{number % 32}", aerial_image(draw),
                    draw.random((nodes, 12), dtype=np.float32), value, value,
                    draw.integers(0, nodes, (2, 5 * nodes)),
                    draw.integers(2, 6, 5 * nodes).astype(np.float32))
        write_release_tile(root, tile, text)
    return root


def aerial_image(draw: np.random.Generator) -> np.ndarray:
    """Return uint8 [3, 224, 224]: blocks of colour, light and shade, and the sensor's noise."""
    colour = np.kron(draw.integers(60, 180, (3, 14, 14)), np.ones((16, 16)))
    shade = np.kron(draw.normal(0, 12, (56, 56)), np.ones((4, 4))) + draw.normal(0, 5, (224, 224))
    return (colour + shade + draw.normal(0, 1.5, (3, 224, 224))).clip(0, 255).astype(np.uint8)


def count_graphs(tiles: TileDataset) -> tuple[int, int]:
    graphs = [tiles.read(index)[1] for index in range(len(tiles))]
    return sum(graph.num_nodes for graph in graphs), sum(graph.num_edges for graph in graphs)


# ---- the layouts

def bytes_table(roots: dict[str, Path]) -> str:
    sizes = {layout: split_bytes(root) for layout, root in roots.items()}
    rows = [[kind, f"{sizes['release'][kind]:,}", f"{sizes['compact'][kind]:,}",
             f"{sizes['compact'][kind] / sizes['release'][kind]:.3f}"]
            for kind in ("images", "graphs", "all")]
    return markdown_table(["bytes", "release", "compact", "share"], rows)


def split_bytes(root: Path) -> dict[str, int]:
    """Return the bytes of a dataset's images, of its graphs, and of all files."""
    sizes = {path: path.stat().st_size for path in root.rglob("*") if path.is_file()}
    images = sum(size for path, size in sizes.items()
                 if path.parent.name == "img" or path.name == "images.bin")
    return {"images": images, "graphs": sum(sizes.values()) - images, "all": sum(sizes.values())}


def layouts_table(tiles: dict[str, TileDataset], settings: Settings) -> str:
    rows = []
    for workers in settings.workers:
        speeds = tiles_a_second({
            layout: (len(dataset), DataLoader(
                Mapped(len(dataset), dataset.read), settings.batch_size, collate_fn=collate,
                num_workers=workers, persistent_workers=workers > 0))
            for layout, dataset in tiles.items()
        }, settings.repeats)
        rows.append([workers, *(f"{statistics.median(speeds[layout]):.0f}" for layout in tiles),
                     *ratio_of(speeds["compact"], speeds["release"])])
    return markdown_table(["workers", *(f"{layout}, tiles/s" for layout in tiles), "ratio",
                           "of each repeat"], rows)


# ---- what pretraining asks for

class Mapped(Dataset):
    """`count` samples; `read` makes one from its key."""

    def __init__(self, count: int, read: Callable[[Any], Any]):
        self.count, self.read = count, read

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Any) -> Any:
        return self.read(key)


def loaders_table(tiles: TileDataset, settings: Settings) -> str:
    rows = []
    for workers in settings.workers:
        loaders = pretraining_loaders(tiles, min(settings.batch_size, len(tiles)), workers)
        speeds = tiles_a_second(loaders, settings.repeats)
        for name, runs in speeds.items():
            speed = statistics.median(runs)
            rows.append([name, workers, f"{speed:.0f}", f"{speed / max(workers, 1):.0f}",
                         *ratio_of(runs, speeds["pretraining, float32"])])
    return markdown_table(["loader", "workers", "tiles/s", "a worker", "ratio to float32",
                           "of each repeat"], rows)


def pretraining_loaders(tiles: TileDataset, batch_size: int,
                        workers: int) -> dict[str, tuple[int, Iterable]]:
    """Return name -> (tiles, loader), with batches on a GPU if there is one."""
    fabric = Fabric(accelerator="auto", devices=1)
    sampler = EpochSampler(tiles, batch_size, SEED)
    as_bytes = Mapped(len(tiles), tiles.read)
    as_floats = Mapped(len(tiles), partial(normalised_sample, noisy_tiles(tiles)))
    collate_floats = partial(collate_masked, **RATIOS)
    return {
        "decoding only, uint8": (
            len(tiles), device_loader(fabric, as_bytes, batch_size, collate, workers,
                                      normalise)),
        "pretraining, uint8": (len(sampler), pretraining_loader(
            fabric, tiles, sampler, batch_size=batch_size, seed=SEED, augment="aligned",
            patch=PATCH, num_workers=workers, normalise=normalise, **RATIOS)),
        "pretraining, float32": (len(sampler), device_loader(
            fabric, as_floats, batch_size, collate_floats, workers, normalise, sampler)),
    }


def noisy_tiles(tiles: TileDataset) -> NoisyTiles:
    """Return the tiles as pretraining reads them, augmented and with the noise of their masks."""
    return NoisyTiles(AugmentedTiles(tiles, "aligned", SEED), (tiles.image_size // PATCH) ** 2)


def normalised_sample(noisy: NoisyTiles, key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Return a sample of NoisyTiles whose image the worker normalises."""
    image, *others = noisy[key]
    return normalise(image), *others


# ---- where a tile's time goes

def time_table(tiles: TileDataset, settings: Settings) -> str:
    batch_size = min(settings.batch_size, len(tiles))
    count = min(4 * settings.batch_size, len(tiles))
    keys = [(0, index) for index in range(count)]
    noisy = noisy_tiles(tiles)
    samples = [(*tiles.read(index), draw(keyed_generator(SEED, 0, index), tiles.image_size))
               for _, index in keys]  # image, graph, augmentation
    batches = [[noisy[key] for key in keys[first:first + batch_size]]
               for first in range(0, count, batch_size)]
    collated = [collate_masked(batch, **RATIOS) for batch in batches]
    for batch in collated:
        for large in (batch.images, batch.graphs.x):
            large.share_memory_()  # where a worker makes them
    steps = {
        "decode the image": (lambda key: tiles.store.image(key[1], tiles.image_size), keys),
        "decode the graph": (lambda key: tiles.store.graph(key[1], tiles.node_width), keys),
        "draw the augmentation": (
            lambda key: draw(keyed_generator(SEED, *key), tiles.image_size), keys),
        "augment the image": (lambda sample: apply_to_image(sample[0], sample[2]), samples),
        "augment the graph": (lambda sample: apply_to_graph(sample[1], sample[2]), samples),
        "draw the masks": (
            lambda key: torch.rand(noisy.patches, generator=keyed_generator(SEED, *key, MASKS)),
            keys),
        "collate, with masks": (lambda batch: collate_masked(batch, **RATIOS), batches),
        "ship to another process": (
            lambda batch: ForkingPickler.loads(ForkingPickler.dumps(batch)), collated),
        "normalise, on the CPU": (lambda batch: normalise(batch.images), collated),
    }
    times = take_turns({name: partial(call_for_each, function, arguments)
                        for name, (function, arguments) in steps.items()}, settings.repeats)
    seconds = {name: statistics.median(runs) for name, runs in times.items()}
    whole = sum(seconds.values())
    rows = [[name, f"{1e6 * total / count:.0f}", f"{total / whole:.1%}"]
            for name, total in seconds.items()]
    return markdown_table(["part", "µs a tile", "share"],
                          [*rows, ["all", f"{1e6 * whole / count:.0f}", "100%"]])


def call_for_each(function: Callable[[Any], object], arguments: Iterable) -> None:
    for argument in arguments:
        function(argument)


def exhaust(loader: Iterable) -> None:
    for _ in loader:
        pass


def tiles_a_second(loaders: Mapping[str, tuple[int, Iterable]],
                   repeats: int) -> dict[str, list[float]]:
    """Return each loader's tiles a second in every repeat; the warm-up starts the workers."""
    times = take_turns({name: partial(exhaust, loader) for name, (_, loader) in loaders.items()},
                       repeats, device="cuda" if torch.cuda.is_available() else "cpu")
    return {name: [loaders[name][0] / seconds for seconds in runs] for name, runs in times.items()}


if __name__ == "__main__":
    print("\n".join(lines(parse(__doc__, Settings, Settings._field_defaults))))
