"""Measure what a second thread brings a training step, and what it costs beside a busy process.

    python benchmarks/threads.py                  # three encoders; four minutes on 2 idle cores
    python benchmarks/threads.py --encoders test_vit --batches 4 --seconds 5

Each figure is that of a process of its own, since OpenMP reads how its threads wait when it is
loaded. "spin": waiting threads compute for milliseconds before they sleep, as OpenMP's default is.
"sleep": they sleep at once (OMP_WAIT_POLICY=PASSIVE), as Rose sets it (utils/__init__.py). The busy
process is an endless loop, for each core but one that there is.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command import parse
from utils.tables import markdown_table

NODES = 30
WAITS = {"spin": {"GOMP_SPINCOUNT": "300000"}, "sleep": {"OMP_WAIT_POLICY": "PASSIVE"}}
BUSY = (sys.executable, "-c", "while True: pass")


class Settings(NamedTuple):
    """What is measured.

    Attributes:
        encoders: names of timm ViTs.
        batches: tiles in a step, a number for each encoder.
        seconds: how long each figure is measured, after two steps to warm up.
        threads: of torch, beside one.
    """

    encoders: tuple[str, ...] = ("test_vit", "vit_tiny_patch16_224", "vit_base_patch16_224")
    batches: tuple[int, ...] = (4, 8, 8)
    seconds: float = 8
    threads: int = 2


QUICK = Settings(("test_vit",), (2,), seconds=0.2)


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial with a tiny network."""
    return lines(QUICK if quick else Settings())


def lines(settings: Settings) -> list[str]:
    """Return a table of tiles a second."""
    head = ["encoder", "batch", "threads", "waiting", "alone", "beside a busy process", "share"]
    return [f"Steps of pretraining (forward, backward, AdamW), {NODES} nodes a tile, tiles a "
            "second:", "", markdown_table(head, [
                row(encoder, batch, threads, waiting, settings.seconds)
                for encoder, batch in zip(settings.encoders, settings.batches, strict=True)
                for threads, waiting in ((1, "sleep"), (settings.threads, "spin"),
                                         (settings.threads, "sleep"))])]


def row(encoder: str, batch: int, threads: int, waiting: str,
        seconds: float) -> list[str | float]:
    """Return a row of the table."""
    alone = speed_apart(encoder, batch, threads, waiting, seconds)
    with busy_processes():
        beside = speed_apart(encoder, batch, threads, waiting, seconds)
    return [encoder, batch, threads, waiting if threads > 1 else "", f"{alone:.3g}",
            f"{beside:.3g}", f"{beside / alone:.2f}"]


def speed_apart(encoder: str, batch: int, threads: int, waiting: str, seconds: float) -> float:
    """Return tiles a second of a process that starts with threads that wait so."""
    others = {name: value for name, value in os.environ.items()
              if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    with (mock.patch.dict(os.environ, {**others, **WAITS[waiting]}, clear=True),
          ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process):
        return process.submit(speed, encoder, batch, threads, seconds).result()


def speed(encoder: str, batch: int, threads: int, seconds: float) -> float:
    """Return tiles a second of steps of pretraining on random tiles."""
    import torch

    from benchmarks.measure import random_graphs, random_images
    from models import build_rose
    from training.schedule import build_optimizer

    torch.set_num_threads(threads)
    rose = build_rose(encoder)
    optimizer = build_optimizer(rose, 1e-3, 0.05)
    images, graphs, steps, started = random_images(batch), random_graphs(batch, NODES), -2, 0.0
    while steps < 1 or time.perf_counter() - started < seconds:
        if steps == 0:
            started = time.perf_counter()
        rose(images, graphs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    return steps * batch / (time.perf_counter() - started)


@contextmanager
def busy_processes() -> Iterator[None]:
    """Keep all cores but one busy while the block runs."""
    with ExitStack() as running:
        for _ in range(max((os.cpu_count() or 1) - 1, 1)):
            process = running.enter_context(subprocess.Popen(BUSY))
            running.callback(process.kill)
        yield


if __name__ == "__main__":
    print("\n".join(lines(parse(__doc__, Settings, Settings._field_defaults))))
