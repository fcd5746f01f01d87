"""Steps of training on random tiles, compared in time and memory: what the benchmarks of the network share."""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

Step = Callable[[], None]
Build = Callable[[], Step]  # can be pickled: it is also called in a process of its own
NODES = (60, 150)


def parse(description: str, batch: int) -> argparse.Namespace:
    """The command line: encoder, batch, repeats and threads."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--encoder", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def compare(steps: Mapping[str, Build], base: Callable[[str], str], args: argparse.Namespace, base_word: str) -> None:
    """Print seconds and peak memory of each step, and both in units of those of the step that `base` names for it.

    Times alternate within one process and the medians are compared, since a machine's speed drifts; each peak of memory is that of a
    process of its own, which does nothing else.

    Args:
        steps: name -> what builds it.
        base: name of a step -> name of the step to compare it with.
        args: of `parse`.
        base_word: what the bases are called in the head of the table.
    """
    torch.set_num_threads(args.threads)
    # first: a child's peak is never below its parent's size
    peaks = {name: peak_memory(build, args.threads) for name, build in steps.items()}
    times = measure_times(steps, args.repeats)
    print(f"{'step':24}{'seconds':>9}{'units':>8}{'units of each repeat':>28}{'peak MiB':>11}{f'of {base_word}':>10}")
    for name, runs in times.items():
        units = [run / reference for run, reference in zip(runs, times[base(name)], strict=True)]
        spread = f"{min(units):.2f} to {max(units):.2f}"
        print(f"{name:24}{statistics.median(runs):9.2f}{statistics.median(units):8.3f}{spread:>28}"
              f"{peaks[name]:11.0f}{peaks[name] / peaks[base(name)]:10.3f}")


def random_images(tiles: int) -> Tensor:
    """[tiles, 3, 224, 224], the same for every step."""
    return torch.randn(tiles, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def random_graphs(tiles: int, nodes: int) -> Batch:
    """Tiles of `nodes` nodes with about five neighbours each."""
    draw = torch.Generator().manual_seed(1)
    return Batch.from_data_list([
        Data(x=torch.rand(nodes, 525, generator=draw), edge_index=torch.randint(nodes, (2, 5 * nodes), generator=draw),
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
    """Peak resident MiB of a fresh process that runs a step three times."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(build, threads, send))
    process.start()
    send.close()  # the child's alone: its death ends the wait below
    peak = receive.recv()
    process.join()
    return peak


def _report_peak(build: Build, threads: int, send: "multiprocessing.connection.Connection") -> None:
    torch.set_num_threads(threads)
    step = build()
    for _ in range(3):
        step()
    send.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
