"""Compare the preparation with a plain double loop over objects, and measure how its time grows.

    python benchmarks/prepare.py            # relations, cities, text; five minutes on 2 cores
    python benchmarks/prepare.py --memory   # peak memory of 20,000 x 20,000 pixels, 2 workers

The plain form is what a straightforward script does for each tile: cut its objects one by one,
compare every pair by its DE-9IM string, describe every object, encode every label, save a PNG and
three tensors. It gets the tile's objects from a spatial index, as we do.
"""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
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

from benchmarks.command import parse
from benchmarks.generated import NORTH, TILE, WEST, rectangles, write_city
from benchmarks.measure import Peak, ratios, take_turns, torch_threads
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
    """What is measured, and how often.

    Attributes:
        small, large: tiles along a side of a small and of a large city.
        plain: tiles, spread over the city, that the plain form makes.
        repeats: of every measurement.
        text: measure a text tower of CLIP's size, too.
        memory: measure the peak memory of a much larger city instead.
        folder: holds the generated cities while the benchmark runs; several GB with `memory`.
    """

    small: int = 20
    large: int = 60
    plain: int = 60
    repeats: int = 2
    text: bool = True
    memory: bool = False
    folder: Path | None = None


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial with tiny cities, without the text tower."""
    return lines(Settings(2, 4, 2, 1, text=False) if quick else Settings())


def lines(settings: Settings) -> list[str]:
    with torch_threads(1), tempfile.TemporaryDirectory(prefix="rose-benchmark-",
                                                       dir=settings.folder) as folder:
        if settings.memory:
            return memory_lines(Path(folder))
        return comparison(Path(folder), settings)


def comparison(folder: Path, settings: Settings) -> list[str]:
    """Return a table of ratios, and how the time grows with the city."""
    rows, growth = city_rows(folder, settings)
    rows.insert(0, relations_row(settings))
    if settings.text:
        rows.append(text_row(folder, settings))
    return [
        f"Medians of {settings.repeats}, {OBJECTS} objects a tile, text=hash unless stated "
        "otherwise:", "",
        markdown_table(["what", "times the plain form's speed", "ms", "plain form, ms"], rows), "",
        f"A tile of {settings.large} x {settings.large} takes {growth:.2f} times the time of one "
        f"of {settings.small} x {settings.small}.",
    ]


def row(what: str, ratio: float, ours: float, plain: float) -> list[str]:
    """Return a row of the table; `ours` and `plain` are seconds."""
    return [what, f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}", f"{ours * 1e3:.2f}",
            f"{plain * 1e3:.1f}"]


def relations_row(settings: Settings) -> list[str]:
    """Relate many objects in one tile; ours with all geometry columns, the loop without."""
    draw = np.random.default_rng(0)
    shapes = rectangles(TILE, TILE, draw.uniform(8, 18, (CROWD, 2)), draw)
    tile = np.zeros(len(shapes), np.int64)
    bounds = np.array([[WEST, NORTH - TILE, WEST + TILE, NORTH]])
    ours = partial(tile_graphs, shapes, tile, bounds, TILE, resolve_recipe("rose"))
    times = take_turns({"ours": ours, "loop": partial(plain_relations, shapes)},
                       settings.repeats, warm_up=0)
    seconds, loop = (statistics.median(runs) for runs in times.values())
    neighbours = ours()[1].shape[1] / len(shapes)
    return row(f"relations of {CROWD} objects, {neighbours:.1f} neighbours each", loop / seconds,
               seconds, loop)


def plain_relations(shapes: Sequence[shapely.Geometry]) -> list[tuple[int, int, str]]:
    """Compare every pair, and match its DE-9IM string against patterns."""
    edges = []
    for i, one in enumerate(shapes):
        for j in range(i + 1, len(shapes)):
            matrix = one.relate(shapes[j])
            pattern = next((pattern for pattern in PATTERNS if matches(matrix, pattern)), None)
            if pattern != PATTERNS[0]:
                edges.append((i, j, pattern))
    return edges


def matches(matrix: str, pattern: str) -> bool:
    return all(expected == "*" or (value != "F" if expected == "T" else value == expected)
               for value, expected in zip(matrix, pattern, strict=True))


def city_rows(folder: Path, settings: Settings) -> tuple[list[list[str]], float]:
    """Return rows of the large city's time a tile, and its ratio to the small city's time."""
    small, large = (write_city(folder / f"city{side}", side * TILE, side * TILE,
                               side * side * OBJECTS) for side in (settings.small, settings.large))
    out, few, many = folder / "out", settings.small ** 2, settings.large ** 2
    small_tile, plain_tile = [], []        # seconds a tile of each repeat
    large_tile: dict[int, list[float]] = {1: [], 2: []}  # by processes
    for _ in range(settings.repeats):
        small_tile.append(statistics.median(whole(*small, out, workers=1) for _ in range(3)) / few)
        for workers, seconds in large_tile.items():
            seconds.append(whole(*large, out, workers=workers) / many)
        plain_tile.append(plain_seconds_a_tile(*large, folder / "plain", HashText(),
                                               settings.plain))
    rows = [row(f"whole preparation, {settings.large} x {settings.large} tiles, {workers} "
                f"process{'es' if workers > 1 else ''}, a tile",
                statistics.median(ratios(plain_tile, seconds)),
                statistics.median(seconds), statistics.median(plain_tile))
            for workers, seconds in large_tile.items()]
    return rows, statistics.median(ratios(large_tile[1], small_tile))


def whole(raster: Path, osm: Path, out: Path, **keys) -> float:
    """Return the seconds of one preparation into a folder that is removed again."""
    started = time.perf_counter()
    prepare_tiles(raster, osm, out, "city", progress=False, **keys)
    elapsed = time.perf_counter() - started
    shutil.rmtree(out)
    return elapsed


def plain_seconds_a_tile(raster: Path, osm: Path, out: Path, encoder, tiles: int) -> float:
    """Return the mean seconds of a tile made in the plain form."""
    for name in ("img", "node", "edge", "edge_w"):
        (out / name).mkdir(parents=True, exist_ok=True)
    frame = gpd.read_file(osm)
    labels = frame["building"].fillna(frame["landuse"]).tolist()
    tree = shapely.STRtree(frame.geometry.values)
    with rasterio.open(raster) as dataset:
        side = dataset.width // TILE
        chosen = np.linspace(0, side * side - 1, tiles).astype(int)
        started = time.perf_counter()
        for number in chosen.tolist():
            write_plain_tile(dataset, number % side, number // side, frame.geometry.values, labels,
                             tree, encoder, out)
        return (time.perf_counter() - started) / tiles


def write_plain_tile(dataset, col: int, row: int, shapes, labels: list[str],
                     tree: shapely.STRtree, encoder, out: Path) -> None:
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
    image = np.moveaxis(dataset.read(window=window), 0, -1)  # [224, 224, 3]
    Image.fromarray(image).save(out / "img" / f"{name}.png")
    both = [(i, j) for i, j, _ in edges] + [(j, i) for i, j, _ in edges]
    torch.save(torch.tensor(np.array(nodes), dtype=torch.float32), out / "node" / f"{name}.tensor")
    torch.save(torch.tensor(both, dtype=torch.int64).T, out / "edge" / f"{name}.tensor")
    torch.save(torch.tensor([PATTERNS.index(pattern) for *_, pattern in edges] * 2,
                            dtype=torch.float32), out / "edge_w" / f"{name}.tensor")


def text_row(folder: Path, settings: Settings) -> list[str]:
    """Encode each value once, or for every object, with a random text tower of CLIP's size."""
    from datasets.prepare.text.clip import ClipText

    side = settings.small
    raster, osm = folder / f"city{side}" / "city.tif", folder / f"city{side}" / "osm.gpkg"
    tower = random_tower(folder)
    text = {"name": "clip", **tower, "cache": str(folder / "cache")}
    ours = whole(raster, osm, folder / "out", workers=1, text=text) / side**2
    plain = plain_seconds_a_tile(raster, osm, folder / "plain", ClipText(**tower), tiles=2)
    return row(f"with a text tower of CLIP's size and an empty cache, {side} x {side} tiles, a "
               "tile", plain / ours, ours, plain)


def random_tower(folder: Path) -> dict[str, str]:
    """Write ViT-B-16's CLIP with random weights to a file, and return its keys."""
    import utils.torchvision_import  # noqa: F401  (open_clip imports torchvision)

    # isort: split
    import open_clip

    model, path = "ViT-B-16-quickgelu", folder / "tower.pt"
    torch.save(open_clip.create_model(model, pretrained=None).state_dict(), path)
    return {"model": model, "weights": str(path)}


def memory_lines(folder: Path) -> list[str]:
    """Return the peak of the memory that all processes hold together."""
    side, objects = 20_000, 300_000
    raster, osm = write_city(folder / "city", side, side, objects)
    with Peak() as peak:
        seconds = whole(raster, osm, folder / "out", workers=2)
    return [f"{side} x {side} pixels, {objects} objects, 2 workers: {seconds:.0f} s, peak "
            f"{peak.gib:.2f} GiB of all processes together"]


if __name__ == "__main__":
    print("\n".join(lines(parse(__doc__, Settings, Settings._field_defaults))))
