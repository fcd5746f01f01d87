"""Time and memory of one pretraining step, in units of a plain ViT's forward and backward on the same images.

    python benchmarks/step_time.py                       # ViT-B/16, batch 8, 60 and 150 nodes a tile; about five minutes on 2 cores
    python benchmarks/step_time.py --encoder vit_small_patch16_224 --repeats 3

Times alternate within one process and the medians are compared, since a machine's speed drifts; each peak of memory is that of a process
of its own, which does nothing else. The floor is 1.25 units: Rose runs the ViT once on a quarter of the patches and once on all of them.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from models import build_rose

NODES = (60, 150)


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    print(f"{args.encoder}, batch {args.batch}, fp32, {args.threads} threads, masks 0.75 / 0.15, median of {args.repeats} repeats")
    peaks = {name: peak_memory(name, args) for name in steps(args)}  # first: a child's peak is never below its parent's size
    times = measure_times(args)
    print(f"{'step':24}{'seconds':>9}{'units':>8}{'units of each repeat':>28}{'peak MiB':>11}{'of plain':>10}")
    for name, runs in times.items():
        units = [run / plain for run, plain in zip(runs, times["plain ViT"], strict=True)]
        spread = f"{min(units):.2f} to {max(units):.2f}"
        print(f"{name:24}{statistics.median(runs):9.2f}{statistics.median(units):8.3f}{spread:>28}"
              f"{peaks[name]:11.0f}{peaks[name] / peaks['plain ViT']:10.3f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def steps(args: argparse.Namespace) -> dict[str, Callable[[], Callable[[], None]]]:
    """What is measured: a name and a function that builds the step."""
    return {"plain ViT": lambda: plain_step(args), **{f"Rose, {n} nodes a tile": lambda n=n: rose_step(args, n) for n in NODES}}


def images_of(args: argparse.Namespace) -> Tensor:
    """[batch, 3, 224, 224], the same for every step."""
    return torch.randn(args.batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def plain_step(args: argparse.Namespace) -> Callable[[], None]:
    import timm

    vit, images = timm.create_model(args.encoder, num_classes=0, global_pool=""), images_of(args)

    def step() -> None:
        vit.zero_grad(set_to_none=True)
        vit(images).square().mean().backward()
    return step


def rose_step(args: argparse.Namespace, nodes: int) -> Callable[[], None]:
    rose, images, graphs = build_rose(args.encoder), images_of(args), random_graphs(args.batch, nodes)

    def step() -> None:
        rose.zero_grad(set_to_none=True)
        rose(images, graphs).loss.backward()
    return step


def random_graphs(tiles: int, nodes: int) -> Batch:
    """Tiles of `nodes` nodes with about five neighbours each."""
    draw = torch.Generator().manual_seed(1)
    return Batch.from_data_list([
        Data(x=torch.rand(nodes, 525, generator=draw), edge_index=torch.randint(nodes, (2, 5 * nodes), generator=draw),
             edge_attr=torch.randint(2, 6, (5 * nodes, 1), generator=draw).float())
        for _ in range(tiles)
    ])


def measure_times(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every repeat of every step, alternating."""
    built = {name: build() for name, build in steps(args).items()}
    times: dict[str, list[float]] = {name: [] for name in built}
    for repeat in range(args.repeats + 1):
        for name, step in built.items():
            start = time.perf_counter()
            step()
            if repeat:  # the first warms up
                times[name].append(time.perf_counter() - start)
    return times


def peak_memory(name: str, args: argparse.Namespace) -> float:
    """Peak resident MiB of a fresh process that runs step `name` three times."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(name, args, send))
    process.start()
    peak = receive.recv()
    process.join()
    return peak


def _report_peak(name: str, args: argparse.Namespace, send: "multiprocessing.connection.Connection") -> None:
    torch.set_num_threads(args.threads)
    step = steps(args)[name]()
    for _ in range(3):
        step()
    send.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
