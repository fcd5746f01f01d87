"""Measure what torch-scatter brings to the OSM encoder, which is made of PyG's scatter operations.

    pip install --no-build-isolation -r requirements-accel.txt      # minutes: it compiles
    python benchmarks/accel.py                                      # half a minute on 2 cores

PyG uses torch-scatter for some operations if it is installed. Forward and backward passes with it
and without it alternate within one process, by PyG's own switch. The calls that reach
torch-scatter are counted: if there are none, the ratio is the machine's noise.
"""

import importlib.util
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch_geometric.typing as pyg

from benchmarks.measure import random_graphs, ratio_of, take_turns
from models.osm_encoder import OsmEncoder
from utils.tables import markdown_table

GRID = (14, 14)
ENTRIES = ("scatter", "scatter_max", "segment_csr")  # what PyG calls of torch-scatter


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial with two tiles."""
    if importlib.util.find_spec("torch_scatter") is None:
        return ["torch-scatter is not installed, so there is nothing to compare "
                "(`pip install --no-build-isolation -r requirements-accel.txt`)."]
    batch, counts, repeats = (2, (10,), 1) if quick else (64, (60, 500), 15)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [f"OSM encoder and readout, forward and backward, {batch} tiles, {device}, "
            f"median of {repeats} repeats:", "",
            markdown_table(["nodes a tile", "without, ms", "with, ms", "with / without",
                            "calls of torch-scatter"],
                           [row(batch, nodes, repeats, device) for nodes in counts])]


def row(batch: int, nodes: int, repeats: int, device: str) -> list[str | float]:
    """Return a row of the table."""
    step = encoder_step(batch, nodes, device)

    def run(used: bool) -> None:
        with torch_scatter_used(used):
            step()

    runs = {used: partial(run, used) for used in (False, True)}
    times = take_turns(runs, repeats, device=device)
    with counted_calls() as calls:
        run(True)
    return [nodes, *(f"{statistics.median(times[used]) * 1e3:.2f}" for used in (False, True)),
            ratio_of(times[True], times[False])[0], len(calls)]


def encoder_step(batch: int, nodes: int, device: str) -> Callable[[], None]:
    """Return a forward and backward pass of the OSM encoder."""
    torch.manual_seed(0)
    encoder, graphs = OsmEncoder().to(device), random_graphs(batch, nodes).to(device)

    def step() -> None:
        encoded = encoder(graphs, GRID)
        (encoded.square().mean() + encoder.read_out(encoded, graphs).square().mean()).backward()
        encoder.zero_grad(set_to_none=True)
    return step


@contextmanager
def torch_scatter_used(used: bool) -> Iterator[None]:
    """Let PyG use torch-scatter while the block runs, or hide it."""
    with mock.patch.object(pyg, "WITH_TORCH_SCATTER", used):
        yield


@contextmanager
def counted_calls() -> Iterator[list[str]]:
    """Note the operations of torch-scatter that PyG calls while the block runs."""
    calls: list[str] = []

    def noted(name: str) -> Callable:
        operation = getattr(pyg.torch_scatter, name)
        return lambda *args, **kwargs: (calls.append(name), operation(*args, **kwargs))[1]

    with ExitStack() as stack:
        for name in ENTRIES:
            stack.enter_context(mock.patch.object(pyg.torch_scatter, name, noted(name)))
        yield calls


if __name__ == "__main__":
    print("\n".join(results(quick=False)))
