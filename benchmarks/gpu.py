"""Pretraining steps on one CUDA GPU: tiles a second, share of the card's matrix peak, memory, and
where the time goes.

    python benchmarks/gpu.py                             # ViT-B/16, batch 256, 60 nodes a tile, bf16 and compiled; some minutes
    python benchmarks/gpu.py --device cpu --encoder test_vit --batch 2 --steps 1      # a trial without a GPU

A step is a forward and a backward pass, a look at the losses and a step of AdamW (fused), on tiles
that are on the device already; the loader's tiles a second stand beside it. The peak is that of a
large bf16 matrix product in the same run. FLOPs are those of the method (benchmarks/cost.py), so
that what is computed twice does not count as work. The direct form (benchmarks/direct.py) is
measured in turns with ours, at the largest batch that fits, in fp32 (PyTorch's default: no TF32)
and, to tell precision from method, in bf16.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import cost, loader
from benchmarks.direct import DirectRose
from benchmarks.machine import about_machine
from benchmarks.measure import random_graphs, random_images
from models import build_rose
from models.compiled import compile_network
from models.masking import draw_image_mask, draw_node_mask
from training.schedule import build_optimizer
from utils.tables import markdown_table

KERNELS = 10
WARM_UP = 3  # steps: compilation, and the allocator's first look


class Settings(NamedTuple):
    """What is measured: `steps` steps in each of `rounds` rounds, in which the rows take turns."""

    encoder: str = "vit_base_patch16_224"
    batch: int = 256
    nodes: int = 60
    device: str = "cuda"
    steps: int = 10
    rounds: int = 2


class Row(NamedTuple):
    """A way to compute the step."""

    name: str
    half: bool
    compiled: bool = False
    direct: bool = False


ROWS = (Row("Rose, bf16, compiled", half=True, compiled=True), Row("Rose, bf16", half=True),
        Row("Rose, fp32", half=False),
        Row("direct form, bf16", half=True, direct=True),
        Row("direct form, fp32", half=False, direct=True))


class Measured(NamedTuple):
    """Tiles a second of each round, the batch that fitted, and peak memory in MiB (0 where it is
    not known)."""

    speeds: list[float]
    batch: int
    memory: float


def main() -> None:
    args = parse()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: no CUDA GPU is at hand; run it where one is, or pass "
                 "--device cpu with a small --encoder and --batch")
    print("\n".join([*about_machine(), "", *lines(args), "", "The loader:", "",
                     *loader.results(args.device == "cpu")]))


def results(quick: bool) -> list[str]:
    """Lines of Markdown; `quick` is a trial on the CPU with a tiny network."""
    return lines(Settings("test_vit", batch=2, nodes=10, device="cpu", steps=1, rounds=1) if quick
                 else Settings())


def parse() -> Settings:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in Settings()._asdict().items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return Settings(**vars(parser.parse_args()))


def lines(settings: Settings) -> list[str]:
    peak = matrix_peak(settings.device)
    measured = measure(settings)
    direct = measured[ROWS[-1]].speeds
    rows = []
    for row, found in measured.items():
        flops = cost.training_flops(cost.encoder_of(build_rose(settings.encoder)),
                                    load_of(settings, found.batch))
        speed = statistics.median(found.speeds)
        gain = statistics.median([one / other
                                  for one, other in zip(found.speeds, direct, strict=True)])
        memory = f"{found.memory:.0f}" if found.memory else "-"
        rows.append([row.name, found.batch, f"{speed:.0f}", f"{speed * flops / peak:.1%}",
                     f"{gain:.1f}", memory])
    return [
        f"{settings.encoder}, {settings.nodes} nodes a tile, {settings.device}, medians of "
        f"{settings.rounds} x {settings.steps} steps; matrix peak measured: {peak / 1e12:.1f} "
        "TFLOP/s in bf16:", "",
        markdown_table(["step", "batch", "tiles/s", "share of the bf16 peak",
                        "times the direct form in fp32", "peak MiB"], rows), "",
        f"The {KERNELS} costliest kernels of {ROWS[0].name}:", "", *costliest_kernels(settings),
    ]


def load_of(settings: Settings, batch: int) -> cost.Load:
    return cost.Load(settings.nodes, 5 * settings.nodes, batch)


def matrix_peak(device: str) -> float:
    """FLOP/s of a large bf16 matrix product, the best of ten."""
    size = 8192 if device == "cuda" else 512
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = [seconds_of(lambda: a @ b, device) for _ in range(13)][3:]
    return 2 * size**3 / min(seconds)


def measure(settings: Settings) -> dict[Row, Measured]:
    """Every way in turns, each alone on the device while it runs."""
    found: dict[Row, Measured] = {}
    for _ in range(settings.rounds):
        for row in ROWS:
            batch = found[row].batch if row in found else settings.batch
            speed, batch, memory = fitting(lambda batch, row=row: speed_of(row, settings, batch),
                                           batch)
            before = found[row].speeds if row in found else []
            found[row] = Measured([*before, speed], batch, memory)
    return found


def fitting(run: Callable[[int], tuple[float, float]], batch: int) -> tuple[float, int, float]:
    """What `run` gives for the largest batch that fits on the device, halved until it does."""
    while True:
        try:
            speed, memory = run(batch)
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
        else:
            return speed, batch, memory
        torch.cuda.empty_cache()
        batch //= 2


def speed_of(row: Row, settings: Settings, batch: int) -> tuple[float, float]:
    """Tiles a second, and peak memory in MiB."""
    step = warm_step(row, settings, batch)
    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(lambda: [step() for _ in range(settings.steps)], settings.device)
    memory = torch.cuda.max_memory_allocated() / 2**20 if settings.device == "cuda" else 0.0
    return settings.steps * batch / seconds, memory


def seconds_of(run: Callable[[], object], device: str) -> float:
    """Seconds until the device has done what `run` asks of it."""
    synchronise(device)
    started = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def warm_step(row: Row, settings: Settings, batch: int) -> Callable[[], None]:
    """A training step that ran a few times, on a device that holds nothing of the steps before."""
    gc.collect()
    torch.compiler.reset()
    if settings.device == "cuda":
        torch.cuda.empty_cache()
    step = training_step(row, settings, batch)
    for _ in range(WARM_UP):
        step()
    return step


def training_step(row: Row, settings: Settings, batch: int) -> Callable[[], None]:
    """Forward, backward and AdamW, with masks drawn anew."""
    device = torch.device(settings.device)
    torch.manual_seed(0)
    rose = build_rose(settings.encoder)
    model = (DirectRose(rose, settings.encoder) if row.direct else rose).to(device)
    if row.compiled:
        compile_network(rose)
    optimizer = build_optimizer(model, 1e-5, 0.05)
    images, graphs = random_images(batch).to(device), random_graphs(batch,
                                                                    settings.nodes).to(device)
    rows, columns = rose.image_encoder.grid(images)

    def step() -> None:
        image_mask = draw_image_mask(batch, rows * columns, 0.75, device)
        node_mask = draw_node_mask(graphs.batch, batch, 0.15, "tile")
        with torch.autocast(device.type, torch.bfloat16, enabled=row.half):
            out = model(images, graphs, image_mask, node_mask)
        loss = out if row.direct else out.loss
        loss.backward()
        # a run looks at its losses, and so waits for them, before the optimiser's step
        loss.item()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return step


def costliest_kernels(settings: Settings) -> list[str]:
    """A table of the kernels that one way's steps spend most time in."""
    on_gpu = settings.device == "cuda"
    step = warm_step(ROWS[0], settings, settings.batch)
    with profile(activities=[ProfilerActivity.CPU,
                             *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        for _ in range(settings.steps):
            step()
        synchronise(settings.device)
    spent = [(event.self_device_time_total if on_gpu else event.self_cpu_time_total, event.count,
              event.key)
             for event in profiler.key_averages()]
    whole = sum(time for time, *_ in spent)
    rows = [[name[:90], f"{count / settings.steps:g}", f"{time / settings.steps / 1e3:.2f}",
             f"{time / whole:.1%}"]
            for time, count, name in sorted(spent, reverse=True)[:KERNELS]]
    return [markdown_table(["kernel", "calls a step", "ms a step", "share"], rows)]


if __name__ == "__main__":
    main()
