"""Tiles a second through a DataLoader, and bytes on disk, of the compact layout in units of the release's.

    python benchmarks/loader.py                                        # a generated city of 512 tiles; about two minutes
    python benchmarks/loader.py --data D --batch-size 64               # your tiles instead, in either layout

Both datasets hold the same tiles, with equal tensors. Their loaders take turns within one process and the medians are compared, since a
machine's speed drifts; torch runs on one thread, as in the workers of a DataLoader. The files are read once before, so that the comparison
is one of decoding, not of disks. Images are lossless in both layouts, so it is the graphs that shrink.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch.utils.data import DataLoader

from datasets import TileDataset, collate
from datasets.convert import convert
from datasets.stores.release import write_release_tile
from datasets.stores.tile import Tile

VALUES = 300  # distinct tag values of the generated city


def main() -> None:
    args = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        roots = both_layouts(args, Path(folder))
        tiles = {layout: TileDataset(root) for layout, root in roots.items()}
        count = len(tiles["compact"])
        nodes, edges = count_graphs(tiles["compact"])
        print(f"{count} tiles, {nodes / count:.0f} nodes and {edges / count:.0f} edges a tile; batch {args.batch_size}, "
              f"median of {args.repeats} repeats")
        print_bytes(roots)
        print(f"{'workers':12}{'release, tiles/s':>18}{'compact, tiles/s':>18}{'ratio':>8}{'ratio of each repeat':>24}")
        for workers in args.workers:
            speeds = measure(tiles, workers, args)
            ratios = [compact / release for compact, release in zip(speeds["compact"], speeds["release"], strict=True)]
            print(f"{workers:<12}{statistics.median(speeds['release']):18.0f}{statistics.median(speeds['compact']):18.0f}"
                  f"{statistics.median(ratios):8.2f}{f'{min(ratios):.2f} to {max(ratios):.2f}':>24}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a dataset to measure with, in either layout; a city is generated without one")
    parser.add_argument("--tiles", type=int, default=512)
    parser.add_argument("--nodes", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def both_layouts(args: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """Layout -> folder of the dataset."""
    given = args.data or write_city(folder / "release", args.tiles, args.nodes)
    other = folder / "other"
    convert(given, other, progress=False)
    compact, release = (given, other) if (given / "cities").is_dir() else (other, given)
    return {"release": release, "compact": compact}


def write_city(root: Path, tiles: int, nodes: int) -> Path:
    """Tiles in the release's layout: about five neighbours a node, and images as smooth and as noisy as aerial photographs."""
    draw = np.random.default_rng(0)
    text = draw.normal(size=(VALUES, 512)).astype(np.float32)
    for number in range(tiles):
        value = draw.integers(0, VALUES, nodes)
        tile = Tile(
            f"city_{number // 32}_{number % 32}", aerial_image(draw), draw.random((nodes, 12), dtype=np.float32), value, value,
            draw.integers(0, nodes, (2, 5 * nodes)), draw.integers(2, 6, 5 * nodes).astype(np.float32),
        )
        write_release_tile(root, tile, text)
    return root


def aerial_image(draw: np.random.Generator) -> np.ndarray:
    """uint8 [3, 224, 224]: blocks of colour, light and shade common to the channels, and the sensor's noise."""
    colour = np.kron(draw.integers(60, 180, (3, 14, 14)), np.ones((16, 16)))
    shade = np.kron(draw.normal(0, 12, (56, 56)), np.ones((4, 4))) + draw.normal(0, 5, (224, 224))
    return (colour + shade + draw.normal(0, 1.5, (3, 224, 224))).clip(0, 255).astype(np.uint8)


def count_graphs(tiles: TileDataset) -> tuple[int, int]:
    graphs = [tiles.read(index)[1] for index in range(len(tiles))]
    return sum(graph.num_nodes for graph in graphs), sum(graph.num_edges for graph in graphs)


def print_bytes(roots: dict[str, Path]) -> None:
    print(f"{'bytes':12}{'release':>18}{'compact':>18}{'share':>8}")
    sizes = {layout: split_bytes(root) for layout, root in roots.items()}
    for part in ("images", "graphs", "all"):
        release, compact = sizes["release"][part], sizes["compact"][part]
        print(f"{part:12}{release:18,}{compact:18,}{compact / release:8.3f}")


def split_bytes(root: Path) -> dict[str, int]:
    sizes = {path: path.stat().st_size for path in root.rglob("*") if path.is_file()}
    images = sum(size for path, size in sizes.items() if path.parent.name == "img" or path.name == "images.bin")
    return {"images": images, "graphs": sum(sizes.values()) - images, "all": sum(sizes.values())}


def measure(tiles: dict[str, TileDataset], workers: int, args: argparse.Namespace) -> dict[str, list[float]]:
    """Tiles a second of every repeat, the layouts in turn; workers are started before."""
    loaders = {layout: DataLoader(dataset, batch_size=args.batch_size, collate_fn=collate, num_workers=workers,
                                  persistent_workers=workers > 0) for layout, dataset in tiles.items()}
    speeds: dict[str, list[float]] = {layout: [] for layout in loaders}
    for repeat in range(args.repeats + 1):
        for layout, loader in loaders.items():
            start = time.perf_counter()
            for _ in loader:
                pass
            if repeat:  # the first warms up
                speeds[layout].append(len(tiles[layout]) / (time.perf_counter() - start))
    return speeds


if __name__ == "__main__":
    main()
