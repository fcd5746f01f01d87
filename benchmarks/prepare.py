"""Preparation against a plain double loop over objects, and how it grows: ratios within one run.

    python benchmarks/prepare.py                 # relations, whole cities, CLIP-sized text: about five minutes on 2 cores
    python benchmarks/prepare.py --memory        # a city of 20,000 x 20,000 pixels and 300,000 objects on 2 workers: peak memory

The plain form is what a straightforward script does for each tile: cut its objects one by one,
compare every pair by its DE-9IM string, describe every object, encode every label, save a PNG and
three tensors. It gets the tile's objects from a spatial index, as we do.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import geopandas as gpd
import numpy as np
import rasterio
import shapely
import torch
from PIL import Image
from rasterio.windows import Window

from benchmarks.generated import NORTH, TILE, WEST, rectangles, write_city
from datasets.prepare.graph import tile_graphs
from datasets.prepare.pipeline import prepare_tiles
from datasets.prepare.text.hashed import HashText
from utils.recipes import resolve_recipe
from utils.tables import markdown_table

OBJECTS = 60           # a tile
CROWD = 400            # objects in the tile whose relations are measured
# disjoint, touch, contain, within, overlap
PATTERNS = ("FF*FF****", "FT*******", "F**T*****", "F***T****", "T*****FF*", "T*F**F***",
            "T*T***T**")


class Settings(NamedTuple):
    """Tiles along a side of a small and of a large city, tiles that the plain form is measured on,
    spread over the city, and repeats."""

    small: int
    large: int
    plain: int
    repeats: int


FULL, QUICK = Settings(20, 60, 60, 2), Settings(2, 4, 2, 1)


def main() -> None:
    args = parse()
    print("\n".join(in_folder(memory_lines if args.memory else comparison, FULL, args.folder)))


def results(quick: bool) -> list[str]:
    """Lines of Markdown; `quick` is a trial with tiny cities, without the text tower."""
    return in_folder(comparison, QUICK if quick else FULL)


def in_folder(measure: Callable[[Path, Settings], list[str]], settings: Settings,
              parent: str | None = None) -> list[str]:
    """What `measure` finds, in a folder that is removed again."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="rose-benchmark-", dir=parent) as folder:
            return measure(Path(folder), settings)
    finally:
        torch.set_num_threads(before)


def comparison(folder: Path, settings: Settings) -> list[str]:
    """A table of ratios, and how the time grows with the city."""
    rows, growth = city_rows(folder, settings)
    rows = [relations_row(settings), *rows,
            *([] if settings is QUICK else [text_row(folder, settings)])]
    return [
        f"Medians of {settings.repeats}, {OBJECTS} objects a tile, text=hash where not said "
        "otherwise:", "",
        markdown_table(["what", "times the plain form's speed", "ms", "plain form, ms"], rows), "",
        f"A tile of {settings.large} x {settings.large} takes {growth:.2f} times the time of one "
        f"of {settings.small} x {settings.small}.",
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", action="store_true",
                        help="peak memory of a large city instead")
    parser.add_argument("--folder", help="where the generated cities go; several GB with --memory")
    return parser.parse_args()


def row(what: str, ratio: float, ours: float, plain: float) -> list[str]:
    """A row of the table; `ours` and `plain` in seconds."""
    return [what, f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}", f"{ours * 1e3:.2f}",
            f"{plain * 1e3:.1f}"]


def relations_row(settings: Settings) -> list[str]:
    """Many objects in one tile, about five neighbours each; ours with all geometry columns, the
    loop without."""
    draw = np.random.default_rng(0)
    shapes = rectangles(TILE, TILE, draw.uniform(8, 18, (CROWD, 2)), draw)
    tile, bounds = np.zeros(len(shapes),
                            np.int64), np.array([[WEST, NORTH - TILE, WEST + TILE, NORTH]])
    recipe = resolve_recipe("rose")
    ours, loop = alternate([lambda: tile_graphs(shapes, tile, bounds, TILE,
                                                recipe), lambda: plain_relations(shapes)],
                           settings.repeats)
    neighbours = tile_graphs(shapes, tile, bounds, TILE, recipe)[1].shape[1] / len(shapes)
    return row(f"relations of {CROWD} objects, {neighbours:.1f} neighbours each", loop / ours,
               ours, loop)


def alternate(steps: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each step, measured in turns."""
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        for step, runs in zip(steps, times, strict=True):
            started = time.perf_counter()
            step()
            runs.append(time.perf_counter() - started)
    return [statistics.median(runs) for runs in times]


def plain_relations(shapes: Sequence[shapely.Geometry]) -> list[tuple[int, int, str]]:
    """Every pair compared, and its DE-9IM string matched against patterns."""
    edges = []
    for i, one in enumerate(shapes):
        for j in range(i + 1, len(shapes)):
            matrix = one.relate(shapes[j])
            pattern = next((pattern for pattern in PATTERNS if matches(matrix, pattern)), None)
            if pattern != PATTERNS[0]:
                edges.append((i, j, pattern))
    return edges


def matches(matrix: str, pattern: str) -> bool:
    return all(want == "*" or (have != "F" if want == "T" else have == want)
               for have, want in zip(matrix, pattern, strict=True))


def city_rows(folder: Path, settings: Settings) -> tuple[list[list[str]], float]:
    """Whole preparation of the large city, a tile, with one and two processes; and its time a tile
    in units of the small city's."""
    small, large = (write_city(folder / f"city{side}", side * TILE, side * TILE,
                               side * side * OBJECTS)
                    for side in (settings.small, settings.large))
    out, few, many = folder / "out", settings.small ** 2, settings.large ** 2
    runs = [lambda: statistics.median(whole(*small, out, workers=1)
                                      for _ in range(3)), lambda: whole(*large, out, workers=1),
            lambda: whole(*large, out,
                          workers=2), lambda: plain_seconds_a_tile(*large, folder / "plain",
                                                                   HashText(), settings.plain)]
    turns = [[run() for run in runs] for _ in range(settings.repeats)]
    plain = statistics.median(turn[3] for turn in turns)
    rows = [row(f"whole preparation, {settings.large} x {settings.large} tiles, {workers} "
                f"process{'es' if workers > 1 else ''}, a tile",
                statistics.median(turn[3] / (turn[workers] / many) for turn in turns),
                statistics.median(turn[workers] for turn in turns) / many, plain)
            for workers in (1, 2)]
    return rows, statistics.median((turn[1] / many) / (turn[0] / few) for turn in turns)


def whole(raster: Path, osm: Path, out: Path, **keys) -> float:
    """Seconds of one preparation into a folder that is removed again."""
    started = time.perf_counter()
    prepare_tiles(raster, osm, out, "city", progress=False, **keys)
    elapsed = time.perf_counter() - started
    shutil.rmtree(out)
    return elapsed


def plain_seconds_a_tile(raster: Path, osm: Path, out: Path, encoder, tiles: int) -> float:
    """Mean seconds of a tile made in the plain form."""
    for part in ("img", "node", "edge", "edge_w"):
        (out / part).mkdir(parents=True, exist_ok=True)
    frame = gpd.read_file(osm)
    labels = frame["building"].fillna(frame["landuse"]).tolist()
    tree = shapely.STRtree(frame.geometry.values)
    with rasterio.open(raster) as dataset:
        side = dataset.width // TILE
        chosen = np.linspace(0, side * side - 1, tiles).astype(int)
        started = time.perf_counter()
        for number in chosen.tolist():
            plain_tile(dataset, number % side, number // side, frame.geometry.values, labels, tree,
                       encoder, out)
        return (time.perf_counter() - started) / tiles


def plain_tile(dataset, col: int, row: int, shapes, labels: list[str], tree: shapely.STRtree,
               encoder, out: Path) -> None:
    window = Window(col * TILE, row * TILE, TILE, TILE)
    box = shapely.box(*dataset.window_bounds(window))
    minx, _, _, maxy = box.bounds
    clips, nodes = [], []
    for member in sorted(tree.query(box).tolist()):
        clip = shapes[member].intersection(box)
        if clip.area == 0:
            continue
        clips.append(clip)
        corners = [((x - minx) / TILE, (maxy - y) / TILE)
                   for x, y in clip.minimum_rotated_rectangle.exterior.coords[:4]]
        geometry = [clip.area / box.area, clip.length / box.length, *np.ravel(corners),
                    (clip.centroid.x - minx) / TILE, (maxy - clip.centroid.y) / TILE]
        nodes.append(np.concatenate([encoder.encode([labels[member]])[0], geometry, [0]]))
    edges = plain_relations(clips)
    name = f"city_{col}_{row}"
    Image.fromarray(np.moveaxis(dataset.read(window=window), 0,
                                -1)).save(out / "img" / f"{name}.png")
    both = [(i, j) for i, j, _ in edges] + [(j, i) for i, j, _ in edges]
    torch.save(torch.tensor(np.array(nodes), dtype=torch.float32), out / "node" / f"{name}.tensor")
    torch.save(torch.tensor(both, dtype=torch.int64).T, out / "edge" / f"{name}.tensor")
    torch.save(torch.tensor([PATTERNS.index(pattern) for *_, pattern in edges] * 2,
                            dtype=torch.float32), out / "edge_w" / f"{name}.tensor")


def text_row(folder: Path, settings: Settings) -> list[str]:
    """The small city with a text tower of CLIP's size, its weights random: each value encoded
    once, or again for every object."""
    from datasets.prepare.text.clip import ClipText

    side = settings.small
    raster, osm = folder / f"city{side}" / "city.tif", folder / f"city{side}" / "osm.gpkg"
    tower = random_tower(folder)
    cache = folder / "cache"
    ours = whole(raster, osm, folder / "out", workers=1,
                 text={"name": "clip", **tower, "cache": str(cache)}) / side**2
    plain = plain_seconds_a_tile(raster, osm, folder / "plain", ClipText(**tower), tiles=2)
    return row(f"with a text tower of CLIP's size and an empty cache, {side} x {side} tiles, a "
               "tile", plain / ours, ours, plain)


def random_tower(folder: Path) -> dict[str, str]:
    """ViT-B-16's CLIP with random weights, in a file."""
    import utils.torchvision_import  # noqa: F401  (open_clip imports torchvision)

    # isort: split
    import open_clip

    model, path = "ViT-B-16-quickgelu", folder / "tower.pt"
    torch.save(open_clip.create_model(model, pretrained=None).state_dict(), path)
    return {"model": model, "weights": str(path)}


def memory_lines(folder: Path, settings: Settings) -> list[str]:
    """Peak of the memory that all processes hold together, shared pages counted once."""
    side, objects = 20_000, 300_000
    raster, osm = write_city(folder / "city", side, side, objects)
    with Peak() as peak:
        seconds = whole(raster, osm, folder / "out", workers=2)
    return [f"{side} x {side} pixels, {objects} objects, 2 workers: {seconds:.0f} s, peak "
            f"{peak.gib:.2f} GiB of all processes together"]


class Peak:
    """Largest sum of the proportional set sizes of this process and all below it, sampled while
    the block runs."""

    def __enter__(self) -> "Peak":
        self.gib, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            self.gib = max(self.gib,
                           sum(proportional_size(process)
                               for process in family(os.getpid())) / 2**20)


def family(process: int) -> list[int]:
    """A process and all below it, on Linux."""
    found = [process]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue  # it ended
    return found


def proportional_size(process: int) -> int:
    """KiB of a process, pages that several share divided among them."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
