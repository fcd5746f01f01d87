"""Make maps and features of whole scenes: time, and the memory of all processes, which must not
grow with the scene's height.

    python benchmarks/scene.py                   # 15 minutes on 2 cores
    python benchmarks/scene.py --folder /large   # if the temporary folder has less than 10 GB

The scenes have up to 20,000 x 20,000 pixels and 300,000 objects. The networks are the smallest
encoder with random weights: their maps mean nothing, but take as long to write.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.command import parse
from benchmarks.generated import NORTH, TILE, WEST, write_city
from benchmarks.measure import Peak
from datasets.prepare.grid import TileGrid
from datasets.targets import CLASSES
from inference import extract_features, map_scene
from inference.maps.land_use import OVERLAP
from models import build_rose
from models.decoders import TargetScale
from models.heads import RegressionHead, SegmentationHead
from models.network_file import save_finetuned
from utils.checkpoint import save_checkpoint
from utils.tables import markdown_table

ENCODER = "test_vit"
OBJECTS = 300_000 / 20_000**2  # a pixel
WORKERS = 2
HEADS = {
    "classes": SegmentationHead("fusion", "linear", tuple(CLASSES)),
    "totals": RegressionHead("fusion", "pop", TargetScale("standard", 100.0, 30.0)),
}


class Case(NamedTuple):
    """A map or features of a scene."""

    what: str             # its name in the table
    model: str            # the checkpoint's name
    height: int           # of the scene, in quarters of its width
    keys: dict[str, Any]  # of predict_scene.py or extract_features.py


_PROBABILITIES = {"overlap": 0.0, "probabilities": True}
CASES = (
    Case("classes, overlap 0.5", "classes", 1, {}),
    Case("classes, overlap 0, probabilities", "classes", 1, _PROBABILITIES),
    Case("classes, overlap 0, probabilities", "classes", 4, _PROBABILITIES),
    Case("totals", "totals", 4, {}),
    Case("features", "features", 1, {}),
    Case("features", "features", 4, {}),
)


class Settings(NamedTuple):
    """`folder` holds the generated scenes while the benchmark runs."""

    folder: Path | None = None


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial with tiny scenes, all in this process."""
    return in_folder(500, measured) if quick else in_folder(20_000, alone)


def in_folder(side: int, measure: Callable[[Path, int, Case], list[str]],
              parent: Path | None = None) -> list[str]:
    """Return a table of what `measure` gives for all cases, on scenes `side` pixels wide."""
    with tempfile.TemporaryDirectory(prefix="rose-benchmark-", dir=parent) as name:
        folder = Path(name)
        write_models(folder)
        for height in {case.height for case in CASES}:
            write_city(folder / f"city{height}", side, side * height // 4,
                       round(OBJECTS * side**2 * height / 4))
        rows = [measure(folder, side, case) for case in CASES]
    return [f"{ENCODER}, {TILE} pixels a tile, {OBJECTS * 1e6:.0f} objects a million pixels, "
            f"{WORKERS} processes cut tiles:", "",
            markdown_table(["what", "pixels", "tiles", "seconds", "tiles a second",
                            "GiB, all processes together"], rows)]


def alone(folder: Path, side: int, case: Case) -> list[str]:
    """Call `measured` in a process of its own, which keeps nothing of the case before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measured, folder, side, case).result()


def write_models(folder: Path) -> None:
    """Write checkpoints with random weights, under the names that the cases use."""
    torch.manual_seed(0)
    build = {"image_encoder": ENCODER}
    for name, head in HEADS.items():
        save_finetuned(folder / f"{name}.safetensors", head.build(build_rose(**build)), head)
    save_checkpoint(folder / "features.tar",
                    {"model": build_rose(**build).state_dict(), "build": build})


def measured(folder: Path, side: int, case: Case) -> list[str]:
    """Return a row of the table."""
    height = side * case.height // 4
    city, out = folder / f"city{case.height}", folder / "out" / f"{case.what}_{case.height}"
    keys = {"raster": city / "city.tif", "osm": city / "osm.gpkg",
            "checkpoint": folder / f"{case.model}.safetensors", "out": out,
            "num_workers": WORKERS, **case.keys}
    started = time.perf_counter()
    with Peak() as peak:
        (extract_features if case.model == "features" else map_scene)(**keys)
    seconds = time.perf_counter() - started
    tiles = tiles_of(side, height, case)
    return [case.what, f"{side} x {height}", f"{tiles}", f"{seconds:.0f}",
            f"{tiles / seconds:.0f}", f"{peak.gib:.2f}"]


def tiles_of(side: int, height: int, case: Case) -> int:
    """Return how many tiles a case cuts its scene into."""
    overlap = case.keys.get("overlap", OVERLAP) if case.model == "classes" else 0.0
    stride = round(TILE * (1 - overlap))
    edges = "shift" if case.model == "classes" else "exceed"
    return TileGrid((1, 0, WEST, 0, -1, NORTH), side, height, TILE, stride, edges).tiles


if __name__ == "__main__":
    settings = parse(__doc__, Settings, Settings._field_defaults)
    print("\n".join(in_folder(20_000, alone, settings.folder)))
