"""Measure time and memory in turns, and compare steps of training on random tiles."""

import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from utils.tables import markdown_table

Name = TypeVar("Name", bound=Hashable)
Step = Callable[[], None]
Build = Callable[[], Step]  # can be pickled: it is also called in a process of its own


class Settings(NamedTuple):
    """What is measured, and how often.

    Attributes:
        encoder: name of a timm ViT.
        batch: tiles in a step.
        repeats: of every step, after one to warm up.
        threads: of torch.
        nodes: OSM nodes in a tile; the benchmark runs with each number.
        memory: measure memory, too, in a process for each figure, which takes seconds to start.
    """

    encoder: str
    batch: int
    repeats: int
    threads: int
    nodes: tuple[int, ...]
    memory: bool = True


class Case(NamedTuple):
    """A step to measure; its peak memory is compared with that of the first of its `units`."""

    name: str               # its row in the table
    build: Build            # makes the step
    units: tuple[str, ...]  # the cases whose times are the units of its columns
    memory: bool = True     # measure peak memory too, in a process of its own


def compare(cases: Sequence[Case], units: Sequence[str], settings: Settings) -> str:
    """Return a Markdown table of seconds and peak memory of each case, also in its units.

    Times alternate within one process. Units are medians of the ratios of two times of one repeat,
    since a machine's speed drifts. Each peak of memory is that of a process that does nothing
    else. `units` are the heads of their columns, as many as each case names.
    """
    with torch_threads(settings.threads):
        times = take_turns({case.name: case.build() for case in cases}, settings.repeats)
    peaks = {case.name: peak_memory(case.build, settings.threads) for case in cases
             if case.memory and settings.memory}
    head = ["step", "seconds", *units, "of each repeat", "peak MiB", "share"]
    return markdown_table(head, [_row(case, times, peaks) for case in cases])


def _row(case: Case, times: Mapping[str, list[float]],
         peaks: Mapping[str, float]) -> list[str | float]:
    medians, ranges = zip(*(ratio_of(times[case.name], times[unit]) for unit in case.units),
                          strict=True)
    peak, whole = peaks.get(case.name), peaks.get(case.units[0])
    memory = ["", ""] if peak is None or whole is None else [f"{peak:.0f}", f"{peak / whole:.2f}"]
    return [case.name, f"{statistics.median(times[case.name]):.3g}", *medians, ranges[0], *memory]


# ---- random tiles

def random_images(tiles: int) -> Tensor:
    """Return [tiles, 3, 224, 224], the same for every step."""
    return torch.randn(tiles, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def random_graphs(tiles: int, nodes: int) -> Batch:
    """Return tiles of `nodes` nodes with about five neighbours each."""
    draw = torch.Generator().manual_seed(1)
    return Batch.from_data_list([
        Data(x=torch.rand(nodes, 525, generator=draw),
             edge_index=torch.randint(nodes, (2, 5 * nodes), generator=draw),
             edge_attr=torch.randint(2, 6, (5 * nodes, 1), generator=draw).float())
        for _ in range(tiles)
    ])


# ---- time

def take_turns(runs: Mapping[Name, Callable[[], object]], repeats: int, warm_up: int = 1,
               device: str = "cpu") -> dict[Name, list[float]]:
    """Return the seconds of every repeat of every run; the runs alternate.

    The first `warm_up` repeats do not count; a time ends when `device` has done its work.
    """
    times: dict[Name, list[float]] = {name: [] for name in runs}
    for repeat in range(warm_up + repeats):
        for name, run in runs.items():
            synchronise(device)
            started = time.perf_counter()
            run()
            synchronise(device)
            if repeat >= warm_up:
                times[name].append(time.perf_counter() - started)
    return times


def synchronise(device: str) -> None:
    """Wait until the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def ratios(runs: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return the ratio of each repeat."""
    return [run / other for run, other in zip(runs, base, strict=True)]


def ratio_of(runs: Sequence[float], base: Sequence[float]) -> tuple[str, str]:
    """Return the median of the repeats' ratios, and their range."""
    values = ratios(runs, base)
    return f"{statistics.median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}"


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---- memory, on Linux

def peak_memory(build: Build, threads: int) -> float:
    """Return the peak resident MiB of a fresh process that runs a step twice."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(build, threads, send))
    process.start()
    send.close()  # the child's alone: its death ends the wait below
    peak = receive.recv()
    process.join()
    return peak


def _report_peak(build: Build, threads: int, send: Connection) -> None:
    torch.set_num_threads(threads)
    step = build()
    for _ in range(2):
        step()
    # unlike getrusage's figure, the peak of this process, not at least that of its parent
    send.send(_kib(Path("/proc/self/status"), "VmHWM:") / 1024)


class Peak:
    """Sample the proportional set sizes of this process and all below it while the block runs.

    `gib` is the largest sum, in GiB; a page that several processes share counts once.
    """

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
            sizes = (_kib(Path(f"/proc/{process}/smaps_rollup"), "Pss:")
                     for process in _family(os.getpid()))
            self.gib = max(self.gib, sum(sizes) / 2**20)


def _family(process: int) -> list[int]:
    """Return a process and all below it."""
    family = [process]
    for one in family:
        try:
            family += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue  # it ended
    return family


def _kib(path: Path, field: str) -> int:
    """Return a field of a process's file, or 0 if the process ended."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)
