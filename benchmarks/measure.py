"""Steps of training on random tiles, compared in time and memory: what the benchmarks of the
network share."""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from utils.tables import markdown_table

Step = Callable[[], None]
Build = Callable[[], Step]  # can be pickled: it is also called in a process of its own


class Settings(NamedTuple):
    """What is measured, and how often.

    Attributes:
        encoder: name of a timm ViT.
        batch: tiles a step.
        repeats: of every step, one more to warm up.
        threads: of torch.
        nodes: OSM nodes a tile; the benchmark runs with each.
        memory: measure memory, too: a process for each figure, which takes seconds to start.
    """

    encoder: str
    batch: int
    repeats: int
    threads: int
    nodes: tuple[int, ...]
    memory: bool = True


class Case(NamedTuple):
    """A step to measure.

    Attributes:
        name: its row in the table.
        build: what makes the step.
        units: names of the cases whose time is the unit of each column of units; peak memory is
            compared with the first's.
        memory: measure peak memory too, in a process of its own.
    """

    name: str
    build: Build
    units: tuple[str, ...]
    memory: bool = True


def parse(description: str, defaults: Settings) -> Settings:
    """`defaults` as the command line changes them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--encoder", default=defaults.encoder)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--repeats", type=int, default=defaults.repeats)
    parser.add_argument("--threads", type=int, default=defaults.threads)
    parser.add_argument("--nodes", type=int, nargs="+", default=defaults.nodes,
                        help="OSM nodes a tile")
    args = parser.parse_args()
    return Settings(args.encoder, args.batch, args.repeats, args.threads, tuple(args.nodes),
                    defaults.memory)


def compare(cases: Sequence[Case], units: Sequence[str], settings: Settings) -> str:
    """A Markdown table: seconds and peak memory of each case, and both in units of those of the
    cases that it names.

    Times alternate within one process, and units are medians over repeats of the ratio of two
    times of one repeat, since a machine's speed drifts; each peak of memory is that of a process
    of its own, which does nothing else.

    Args:
        cases: to measure, in this order.
        units: heads of the columns of units, as many as each case names.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        times = measure_times({case.name: case.build for case in cases}, settings.repeats)
    finally:
        torch.set_num_threads(before)
    peaks = {case.name: peak_memory(case.build, settings.threads) for case in cases if case.memory
             and settings.memory}
    head = ["step", "seconds", *units, "of each repeat", "peak MiB", "share"]
    return markdown_table(head, [_row(case, times, peaks) for case in cases])


def _row(case: Case, times: Mapping[str, list[float]],
         peaks: Mapping[str, float]) -> list[str | float]:
    ratios = [[run / unit for run, unit in zip(times[case.name], times[name], strict=True)]
              for name in case.units]
    medians = [f"{statistics.median(runs):.2f}" for runs in ratios]
    peak, whole = peaks.get(case.name), peaks.get(case.units[0])
    memory = ["", ""] if peak is None or whole is None else [f"{peak:.0f}", f"{peak / whole:.2f}"]
    return [case.name, f"{statistics.median(times[case.name]):.3g}", *medians,
            f"{min(ratios[0]):.2f} to {max(ratios[0]):.2f}", *memory]


def random_images(tiles: int) -> Tensor:
    """[tiles, 3, 224, 224], the same for every step."""
    return torch.randn(tiles, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def random_graphs(tiles: int, nodes: int) -> Batch:
    """Tiles of `nodes` nodes with about five neighbours each."""
    draw = torch.Generator().manual_seed(1)
    return Batch.from_data_list([
        Data(x=torch.rand(nodes, 525, generator=draw),
             edge_index=torch.randint(nodes, (2, 5 * nodes), generator=draw),
             edge_attr=torch.randint(2, 6, (5 * nodes, 1), generator=draw).float())
        for _ in range(tiles)
    ])


def measure_times(steps: Mapping[str, Build], repeats: int) -> dict[str, list[float]]:
    """Seconds of every repeat of every step, alternating."""
    built = {name: build() for name, build in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in built}
    for repeat in range(repeats + 1):
        for name, step in built.items():
            start = time.perf_counter()
            step()
            if repeat:  # the first warms up
                times[name].append(time.perf_counter() - start)
    return times


def peak_memory(build: Build, threads: int) -> float:
    """Peak resident MiB of a fresh process that runs a step twice; on Linux."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(build, threads, send))
    process.start()
    send.close()  # the child's alone: its death ends the wait below
    peak = receive.recv()
    process.join()
    return peak


def _report_peak(build: Build, threads: int,
                 send: "multiprocessing.connection.Connection") -> None:
    torch.set_num_threads(threads)
    step = build()
    for _ in range(2):
        step()
    send.send(resident_peak())


def resident_peak() -> float:
    """Largest resident MiB of this process so far; unlike getrusage's figure, not that of the
    parent at least."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines()
                if line.startswith("VmHWM:")) / 1024
