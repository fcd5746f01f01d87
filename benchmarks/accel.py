"""What torch-scatter brings to the OSM encoder, the part of Rose that is made of PyG's scatter
operations.

    pip install --no-build-isolation -r requirements-accel.txt      # minutes: it compiles
    python benchmarks/accel.py                                      # half a minute on 2 cores

PyG uses torch-scatter for some operations where it is installed. Forward and backward passes with
it and without take turns within one process, by PyG's own switch, and the calls that reach
torch-scatter are counted: where there are none, the ratio is the machine's noise.
"""

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch_geometric.typing as pyg

from benchmarks.measure import random_graphs
from models.osm_encoder import OsmEncoder
from utils.tables import markdown_table

GRID = (14, 14)
ENTRIES = ("scatter", "scatter_max", "segment_csr")  # what PyG calls of torch-scatter
MISSING = "torch-scatter is not installed, so there is nothing to compare (`pip install --no-build-isolation -r requirements-accel.txt`)."


class Settings(NamedTuple):
    """Tiles a batch, nodes a tile, and repeats."""

    batch: int
    nodes: tuple[int, ...]
    repeats: int


FULL, QUICK = Settings(64, (60, 500), 15), Settings(2, (10,), 1)


def main() -> None:
    print("\n".join(results(quick=False)))


def results(quick: bool) -> list[str]:
    """Lines of Markdown; `quick` is a trial with two tiles."""
    if importlib.util.find_spec("torch_scatter") is None:
        return [MISSING]
    settings = QUICK if quick else FULL
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [f"OSM encoder and readout, forward and backward, {settings.batch} tiles, {device}, "
            f"median of {settings.repeats} repeats:", "",
            markdown_table(["nodes a tile", "without, ms", "with, ms", "with / without",
                            "calls of torch-scatter"],
                           [row(settings, nodes, device) for nodes in settings.nodes])]


def row(settings: Settings, nodes: int, device: str) -> list[str | float]:
    """Of the table."""
    step = encoder_step(settings.batch, nodes, device)
    times: dict[bool, list[float]] = {False: [], True: []}
    for repeat in range(settings.repeats + 1):
        for used in times:
            with torch_scatter_used(used):
                seconds = seconds_of(step, device)
            if repeat:  # the first warms up
                times[used].append(seconds)
    with torch_scatter_used(True), counted_calls() as calls:
        step()
    without, with_it = statistics.median(times[False]), statistics.median(times[True])
    ratio = statistics.median([one / other
                               for one, other in zip(times[True], times[False], strict=True)])
    return [nodes, f"{without * 1e3:.2f}", f"{with_it * 1e3:.2f}", f"{ratio:.2f}", len(calls)]


def encoder_step(batch: int, nodes: int, device: str) -> Callable[[], None]:
    torch.manual_seed(0)
    encoder, graphs = OsmEncoder().to(device), random_graphs(batch, nodes).to(device)

    def step() -> None:
        encoded = encoder(graphs, GRID)
        (encoded.square().mean() + encoder.read_out(encoded, graphs).square().mean()).backward()
        encoder.zero_grad(set_to_none=True)
    return step


def seconds_of(step: Callable[[], None], device: str) -> float:
    started = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


@contextmanager
def torch_scatter_used(used: bool) -> Iterator[None]:
    """PyG with torch-scatter, or as if it were not installed."""
    with mock.patch.object(pyg, "WITH_TORCH_SCATTER", used):
        yield


@contextmanager
def counted_calls() -> Iterator[list[str]]:
    """The names of the operations of torch-scatter that PyG calls while the block runs."""
    calls: list[str] = []

    def noted(name: str) -> Callable:
        operation = getattr(pyg.torch_scatter, name)
        return lambda *args, **kwargs: (calls.append(name), operation(*args, **kwargs))[1]

    with ExitStack() as stack:
        for name in ENTRIES:
            stack.enter_context(mock.patch.object(pyg.torch_scatter, name, noted(name)))
        yield calls


if __name__ == "__main__":
    main()
