"""Measure pretraining steps on one CUDA GPU: tiles a second, share of the card's matrix peak,
memory, and the costliest kernels.

    python benchmarks/gpu.py                # ViT-B/16, batch 256, 60 nodes a tile; some minutes
    python benchmarks/gpu.py --encoder vit_large_patch16_dinov3.sat493m --positions own --batch 64
    python benchmarks/gpu.py --device cpu --encoder test_vit --batch 2 --steps 1   # without a GPU

A step is a forward and a backward pass, reading the losses and a step of AdamW (fused), on tiles
that are on the device already; the loader's tiles a second follow. The peak is that of a large
bf16 matrix product in the same run. FLOPs are those of the method (benchmarks/cost.py): what is
computed twice does not count as work. The direct form (benchmarks/direct.py) alternates with ours,
at the largest batch that fits, in fp32 (PyTorch's default: no TF32) and, to separate precision
from method, in bf16; it knows the paper's positions alone.
"""

import gc
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import cost, loader
from benchmarks.command import parse
from benchmarks.direct import DirectRose
from benchmarks.machine import about_machine
from benchmarks.measure import random_graphs, random_images, ratios, synchronise, take_turns
from models import Rose, build_rose
from models.compiled import compile_network
from models.masking import draw_image_mask, draw_node_mask
from training.schedule import build_optimizer
from utils.tables import markdown_table

KERNELS = 10
WARM_UP = 3  # steps: compilation, and the allocator's first requests


class Settings(NamedTuple):
    """What is measured: `steps` steps in each of `rounds` rounds, in which the rows take turns."""

    encoder: str = "vit_base_patch16_224"
    positions: str = "rose"
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


ROWS = (
    Row("Rose, bf16, compiled", half=True, compiled=True),
    Row("Rose, bf16", half=True),
    Row("Rose, fp32", half=False),
    Row("direct form, bf16", half=True, direct=True),
    Row("direct form, fp32", half=False, direct=True),
)


class Measured(NamedTuple):
    """Tiles a second of each round, the batch that fitted, peak memory in MiB (0: unknown)."""

    speeds: list[float]
    batch: int
    memory: float


def main() -> None:
    settings = parse(__doc__, Settings, Settings._field_defaults)
    if settings.device == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: no CUDA GPU is available; run it on a machine with one, or "
                 "pass --device cpu with a small --encoder and --batch")
    print("\n".join([*about_machine(), ""]), flush=True)
    print("\n".join(lines(settings)), flush=True)  # before the loader, which takes minutes
    print("\n".join(["", "The loader:", "", *loader.results(settings.device == "cpu")]))


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial on the CPU with a tiny network."""
    return lines(Settings("test_vit", batch=2, nodes=10, device="cpu", steps=1, rounds=1) if quick
                 else Settings())


def lines(settings: Settings) -> list[str]:
    peak = matrix_peak(settings.device)
    measured = measure(settings)
    direct = measured[ROWS[-1]].speeds if ROWS[-1] in measured else []
    encoder = cost.encoder_of(built(settings))
    rows = []
    for row, (speeds, batch, memory) in measured.items():
        load = cost.Load(settings.nodes, 5 * settings.nodes, batch)
        speed = statistics.median(speeds)
        rows.append([row.name, batch, f"{speed:.0f}",
                     f"{speed * cost.training_flops(encoder, load) / peak:.1%}",
                     f"{statistics.median(ratios(speeds, direct)):.1f}" if direct else "-",
                     f"{memory:.0f}" if memory else "-"])
    return [
        f"{settings.encoder} (image_positions={settings.positions}), {settings.nodes} nodes a "
        f"tile, {settings.device}, medians of {settings.rounds} x {settings.steps} steps; matrix "
        f"peak measured: {peak / 1e12:.1f} TFLOP/s in bf16:", "",
        markdown_table(["step", "batch", "tiles/s", "share of the bf16 peak",
                        "times the direct form in fp32", "peak MiB"], rows), "",
        f"The {KERNELS} costliest kernels of {ROWS[0].name}:", "", *costliest_kernels(settings),
    ]


def matrix_peak(device: str) -> float:
    """Return the FLOP/s of a large bf16 matrix product, the best of ten."""
    size = 8192 if device == "cuda" else 512
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = take_turns({"product": lambda: a @ b}, repeats=10, warm_up=3, device=device)
    return 2 * size**3 / min(seconds["product"])


def built(settings: Settings) -> Rose:
    """Return the network that is measured."""
    return build_rose(settings.encoder, image_positions=settings.positions)


def measure(settings: Settings) -> dict[Row, Measured]:
    """Measure every row in turns, each alone on the device while it runs."""
    measured = {row: Measured([], settings.batch, 0.0) for row in ROWS
                if settings.positions == "rose" or not row.direct}
    for _ in range(settings.rounds):
        for row, (speeds, batch, _) in measured.items():
            speed, batch, memory = largest_fitting(row, settings, batch)
            measured[row] = Measured([*speeds, speed], batch, memory)
    return measured


def largest_fitting(row: Row, settings: Settings, batch: int) -> tuple[float, int, float]:
    """Return tiles a second, batch and peak memory of the largest batch, halved until it fits."""
    while True:
        try:
            speed, memory = speed_of(row, settings, batch)
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
        else:
            return speed, batch, memory
        torch.cuda.empty_cache()
        batch //= 2


def speed_of(row: Row, settings: Settings, batch: int) -> tuple[float, float]:
    """Return tiles a second, and peak memory in MiB."""
    step = warm_step(row, settings, batch)
    on_gpu = settings.device == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    times = take_turns({"steps": lambda: [step() for _ in range(settings.steps)]}, repeats=1,
                       warm_up=0, device=settings.device)
    memory = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else 0.0
    return settings.steps * batch / times["steps"][0], memory


def warm_step(row: Row, settings: Settings, batch: int) -> Callable[[], None]:
    """Return a training step that ran a few times, on a device free of earlier steps."""
    gc.collect()
    torch.compiler.reset()
    if settings.device == "cuda":
        torch.cuda.empty_cache()
    step = training_step(row, settings, batch)
    for _ in range(WARM_UP):
        step()
    return step


def training_step(row: Row, settings: Settings, batch: int) -> Callable[[], None]:
    """Return a step of forward, backward and AdamW, with masks drawn anew."""
    device = torch.device(settings.device)
    torch.manual_seed(0)
    rose = built(settings)
    model = (DirectRose(rose, settings.encoder) if row.direct else rose).to(device)
    if row.compiled:
        compile_network(rose)
    optimizer = build_optimizer(model, 1e-5, 0.05)
    images = random_images(batch).to(device)                              # [B, 3, 224, 224]
    graphs = random_graphs(batch, settings.nodes).to(device)
    rows, columns = rose.image_encoder.grid(images)

    def step() -> None:
        image_mask = draw_image_mask(batch, rows * columns, 0.75, device)
        node_mask = draw_node_mask(graphs.batch, batch, 0.15, "tile")
        with torch.autocast(device.type, torch.bfloat16, enabled=row.half):
            out = model(images, graphs, image_mask, node_mask)
        loss = out if row.direct else out.loss
        loss.backward()
        loss.item()  # a run reads its losses, and so waits for them, before the optimiser's step
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return step


def costliest_kernels(settings: Settings) -> list[str]:
    """Return a table of the kernels that the first row's steps spend most time in."""
    on_gpu = settings.device == "cuda"
    step = warm_step(ROWS[0], settings, settings.batch)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(settings.steps):
            step()
        synchronise(settings.device)
    spent = [(event.self_device_time_total if on_gpu else event.self_cpu_time_total, event.count,
              event.key) for event in profiler.key_averages()]
    whole = sum(time for time, *_ in spent)
    rows = [[name[:90], f"{count / settings.steps:g}", f"{time / settings.steps / 1e3:.2f}",
             f"{time / whole:.1%}"] for time, count, name in sorted(spent, reverse=True)[:KERNELS]]
    return [markdown_table(["kernel", "calls a step", "ms a step", "share"], rows)]


if __name__ == "__main__":
    main()
