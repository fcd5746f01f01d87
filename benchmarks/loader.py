"""Feeding: tiles a second through loaders, and where a tile's time goes.

    python benchmarks/loader.py                                        # a generated city of 512 tiles; some minutes
    python benchmarks/loader.py --data D --batch-size 256 --workers 16 # your tiles instead, in either layout

The compact layout is compared with the release's, both with the same tiles and equal tensors;
decoding alone with all that pretraining asks of a loader (augment=aligned, masks, batches on the
device); bytes that workers ship with the floats of normalised images. What is compared takes turns
within one process, since a machine's speed drifts; torch runs on one thread, as in the workers of
a DataLoader. The files are read once before, so that the comparison is one of decoding, not of
disks. Images are lossless in both layouts, so it is the graphs that shrink.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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

from datasets import AugmentedTiles, EpochSampler, TileDataset, collate, normalise
from datasets.augment import apply_to_graph, apply_to_image, draw
from datasets.convert import convert
from datasets.sampler import keyed_generator
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
        data: a dataset to measure with, in either layout; None generates a city of `tiles` tiles
            with `nodes` nodes each.
        workers: numbers of loader processes; 0 reads in the process that asks.
        repeats: of every measurement, one more to warm up.
    """

    data: Path | None = None
    tiles: int = 512
    nodes: int = 60
    batch_size: int = 64
    workers: tuple[int, ...] = tuple(sorted({0, 1, os.cpu_count() or 1}))
    repeats: int = 5


def main() -> None:
    print("\n".join(lines(parse())))


def results(quick: bool) -> list[str]:
    """Lines of Markdown; `quick` is a trial with a tiny city."""
    return lines(Settings(tiles=12, nodes=10, batch_size=4, workers=(0, 1), repeats=1) if quick
                 else Settings())


def parse() -> Settings:
    defaults = Settings()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a dataset to measure with, in either layout; "
                                                  "a city is generated without one")
    parser.add_argument("--workers", type=int, nargs="+", default=defaults.workers)
    for name in ("tiles", "nodes", "batch_size", "repeats"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int,
                            default=getattr(defaults, name))
    args = parser.parse_args()
    return Settings(**vars(args) | {"workers": tuple(args.workers)})


def lines(settings: Settings) -> list[str]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _lines(settings, both_layouts(settings, Path(folder)))
    finally:
        torch.set_num_threads(before)


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
        parts_table(tiles["compact"], settings),
    ]


# ---- what is read

def both_layouts(settings: Settings, folder: Path) -> dict[str, Path]:
    """Layout -> folder of the dataset."""
    given = settings.data or write_city(folder / "release", settings.tiles, settings.nodes)
    other = folder / "other"
    convert(given, other, progress=False)
    compact, release = (given, other) if (given / "cities").is_dir() else (other, given)
    return {"release": release, "compact": compact}


def write_city(root: Path, tiles: int, nodes: int) -> Path:
    """Tiles in the release's layout: about five neighbours a node, and images as smooth and as
    noisy as aerial photographs."""
    draw = np.random.default_rng(0)
    text = draw.normal(size=(VALUES, 512)).astype(np.float32)
    for number in range(tiles):
        value = draw.integers(0, VALUES, nodes)
        tile = Tile(
            f"city_{number // 32}_{number % 32}", aerial_image(draw),
            draw.random((nodes, 12), dtype=np.float32), value, value,
            draw.integers(0, nodes, (2, 5 * nodes)),
            draw.integers(2, 6, 5 * nodes).astype(np.float32),
        )
        write_release_tile(root, tile, text)
    return root


def aerial_image(draw: np.random.Generator) -> np.ndarray:
    """uint8 [3, 224, 224]: blocks of colour, light and shade common to the channels, and the
    sensor's noise."""
    colour = np.kron(draw.integers(60, 180, (3, 14, 14)), np.ones((16, 16)))
    shade = np.kron(draw.normal(0, 12, (56, 56)), np.ones((4, 4))) + draw.normal(0, 5, (224, 224))
    return (colour + shade + draw.normal(0, 1.5, (3, 224, 224))).clip(0, 255).astype(np.uint8)


def count_graphs(tiles: TileDataset) -> tuple[int, int]:
    graphs = [tiles.read(index)[1] for index in range(len(tiles))]
    return sum(graph.num_nodes for graph in graphs), sum(graph.num_edges for graph in graphs)


# ---- the layouts

def bytes_table(roots: dict[str, Path]) -> str:
    sizes = {layout: split_bytes(root) for layout, root in roots.items()}
    rows = [[part, f"{sizes['release'][part]:,}", f"{sizes['compact'][part]:,}",
        f"{sizes['compact'][part] / sizes['release'][part]:.3f}"]
            for part in ("images", "graphs", "all")]
    return markdown_table(["bytes", "release", "compact", "share"], rows)


def split_bytes(root: Path) -> dict[str, int]:
    sizes = {path: path.stat().st_size for path in root.rglob("*") if path.is_file()}
    images = sum(size for path, size in sizes.items() if path.parent.name == "img"
                 or path.name == "images.bin")
    return {"images": images, "graphs": sum(sizes.values()) - images, "all": sum(sizes.values())}


def layouts_table(tiles: dict[str, TileDataset], settings: Settings) -> str:
    rows = []
    for workers in settings.workers:
        speeds = measure({
            layout: (len(dataset),
                     DataLoader(Mapped(len(dataset), dataset.read), settings.batch_size,
                                collate_fn=collate,
                                num_workers=workers, persistent_workers=workers > 0))
            for layout, dataset in tiles.items()
        }, settings.repeats)
        rows.append([workers, *(f"{statistics.median(speeds[layout]):.0f}" for layout in tiles),
                     *ratio_of(speeds["compact"], speeds["release"])])
    return markdown_table(["workers", *(f"{layout}, tiles/s" for layout in tiles), "ratio",
                           "of each repeat"], rows)


# ---- what pretraining asks for

class Mapped(Dataset):
    """`count` samples, each what `read` gives for its key."""

    def __init__(self, count: int, read: Callable[[Any], Any]):
        self.count, self.read = count, read

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Any) -> Any:
        return self.read(key)


def loaders_table(tiles: TileDataset, settings: Settings) -> str:
    rows = []
    for workers in settings.workers:
        speeds = measure(pretraining_loaders(tiles, min(settings.batch_size, len(tiles)), workers),
                         settings.repeats)
        for name, runs in speeds.items():
            speed = statistics.median(runs)
            rows.append([name, workers, f"{speed:.0f}", f"{speed / max(workers, 1):.0f}",
                         *ratio_of(runs, speeds["pretraining, float32"])])
    return markdown_table(["loader", "workers", "tiles/s", "a worker", "ratio to float32",
                           "of each repeat"], rows)


def pretraining_loaders(tiles: TileDataset, batch_size: int,
                        workers: int) -> dict[str, tuple[int, Iterable]]:
    """Name -> (tiles, loader), with batches on a GPU where there is one."""
    fabric = Fabric(accelerator="auto", devices=1)
    sampler = EpochSampler(tiles, batch_size, SEED)
    noisy = NoisyTiles(AugmentedTiles(tiles, "aligned", SEED), (tiles.image_size // PATCH) ** 2)
    as_floats = Mapped(len(tiles), partial(normalised_sample, noisy))
    return {
        "decoding only, uint8": (len(tiles), device_loader(fabric, Mapped(len(tiles), tiles.read),
                                                           batch_size, collate, workers)),
        "pretraining, uint8": (len(sampler), pretraining_loader(
            fabric, tiles, sampler, batch_size=batch_size, seed=SEED, augment="aligned",
            patch=PATCH, num_workers=workers, **RATIOS)),
        "pretraining, float32": (len(sampler),
                                 device_loader(fabric, as_floats, batch_size,
                                               partial(collate_masked, **RATIOS), workers,
                                               sampler)),
    }


def normalised_sample(noisy: NoisyTiles, key: tuple[int, int]) -> tuple[Tensor, ...]:
    """As NoisyTiles gives it, its image normalised where it is read."""
    image, *others = noisy[key]
    return normalise(image), *others


# ---- where a tile's time goes

def parts_table(tiles: TileDataset, settings: Settings) -> str:
    batch_size, count = min(settings.batch_size, len(tiles)), min(len(tiles),
                                                                  4 * settings.batch_size)
    keys = [(0, index) for index in range(count)]
    noisy = NoisyTiles(AugmentedTiles(tiles, "aligned", SEED), (tiles.image_size // PATCH) ** 2)
    read = [tiles.read(index) for _, index in keys]
    drawn = [draw(keyed_generator(SEED, *key), tiles.image_size) for key in keys]
    batches = [[noisy[key] for key in keys[first:first + batch_size]]
               for first in range(0, count, batch_size)]
    collated = [collate_masked(batch, **RATIOS) for batch in batches]
    for batch in collated:
        for large in (batch.images, batch.graphs.x):
            large.share_memory_()  # where a worker makes them
    samples = list(zip(read, drawn, strict=True))
    seconds = time_parts({
        "decode the image": (lambda key: tiles.store.image(key[1], tiles.image_size), keys),
        "decode the graph": (lambda key: tiles.store.graph(key[1], tiles.node_width), keys),
        "draw the augmentation": (lambda key: draw(keyed_generator(SEED, *key), tiles.image_size),
                                  keys),
        "augment the image": (lambda sample: apply_to_image(sample[0][0], sample[1]), samples),
        "augment the graph": (lambda sample: apply_to_graph(sample[0][1], sample[1]), samples),
        "draw the masks": (lambda key: torch.rand(noisy.patches,
                                                  generator=keyed_generator(SEED, *key, MASKS)),
                           keys),
        "collate, with masks": (lambda batch: collate_masked(batch, **RATIOS), batches),
        "ship to another process": (
            lambda batch: ForkingPickler.loads(ForkingPickler.dumps(batch)), collated),
        "normalise, on the CPU": (lambda batch: normalise(batch.images), collated),
    }, settings.repeats)
    whole = sum(seconds.values())
    rows = [[name, f"{1e6 * total / count:.0f}", f"{total / whole:.1%}"]
            for name, total in seconds.items()]
    return markdown_table(["part", "µs a tile", "share"],
                          [*rows, ["all", f"{1e6 * whole / count:.0f}", "100%"]])


def time_parts(parts: Mapping[str, tuple[Callable[[Any], object], Sequence[Any]]],
               repeats: int) -> dict[str, float]:
    """Seconds that each function takes for all its arguments: medians of repeats, in which the
    functions take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for repeat in range(repeats + 1):
        for name, (function, arguments) in parts.items():
            start = time.perf_counter()
            for argument in arguments:
                function(argument)
            if repeat:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(runs) for name, runs in seconds.items()}


# ---- measuring

def measure(loaders: Mapping[str, tuple[int, Iterable]], repeats: int) -> dict[str, list[float]]:
    """Tiles a second of every repeat, the loaders, each given with its number of tiles, in turn;
    workers are started before."""
    speeds: dict[str, list[float]] = {name: [] for name in loaders}
    for repeat in range(repeats + 1):
        for name, (count, loader) in loaders.items():
            start = time.perf_counter()
            for _ in loader:
                pass
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:  # the first warms up
                speeds[name].append(count / (time.perf_counter() - start))
    return speeds


def ratio_of(runs: Sequence[float], base: Sequence[float]) -> tuple[str, str]:
    """The median of the ratios of each repeat, and their range."""
    ratios = [run / other for run, other in zip(runs, base, strict=True)]
    return f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"


if __name__ == "__main__":
    main()
