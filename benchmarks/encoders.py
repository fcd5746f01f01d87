"""Measure a pretraining step of Rose with image encoders of several kinds, in units of a plain
forward and backward pass of each as timm computes it, on the same images.

    python benchmarks/encoders.py          # eight small encoders; ten minutes on 2 cores
    python benchmarks/encoders.py --encoders vit_large_patch16_dinov3 --batch 1

Each is measured with the paper's positions and with its own (image_positions=rose and own). Times
alternate within one process for each encoder; each peak of memory is that of a process of its own.
In multiplications, the two image passes of a step are about 1.25 units (docs/scaling.md).
"""

import statistics
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command import parse
from benchmarks.measure import (
    Step,
    peak_memory,
    random_graphs,
    random_images,
    ratio_of,
    take_turns,
    torch_threads,
)
from benchmarks.step_time import training_step
from models import build_rose
from models.image_encoder import POSITIONS
from utils.tables import markdown_table


class Settings(NamedTuple):
    """What is measured, and how often.

    Attributes:
        encoders: names of timm's ViTs.
        batch: tiles of 224 pixels in a step.
        nodes: OSM nodes in a tile.
        repeats: of every step, after one to warm up.
        threads: of torch.
        memory: measure memory, too, in a process for each figure, which takes seconds to start.
    """

    encoders: tuple[str, ...] = (
        "vit_small_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_base_patch16_siglip_224",
        "vit_small_patch16_dinov3", "vit_small_patch16_rope_mixed_ape_224",
        "vit_pe_core_small_patch16_384", "eva02_small_patch14_224", "vit_small_patch8_224")
    batch: int = 4
    nodes: int = 60
    repeats: int = 3
    threads: int = 2
    memory: bool = True


QUICK = Settings(("test_vit", "test_vit2"), batch=2, nodes=10, repeats=1, threads=1, memory=False)


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial with tiny networks."""
    return lines(QUICK if quick else Settings())


def lines(settings: Settings) -> list[str]:
    head = ["encoder", "plain pass, s", *(f"step, {kind}" for kind in POSITIONS),
            *(["plain, peak MiB", *(f"step, {kind}, MiB" for kind in POSITIONS)]
              if settings.memory else [])]
    return [f"Batch {settings.batch}, {settings.nodes} nodes a tile, fp32, {settings.threads} "
            f"thread{'s' * (settings.threads > 1)}, median of {settings.repeats}:", "",
            markdown_table(head, [row(name, settings) for name in settings.encoders])]


def row(encoder: str, settings: Settings) -> list[str]:
    """Return an encoder's row: seconds of a plain pass, and steps in units of it."""
    builds = {"plain": partial(plain_step, encoder, settings.batch),
              **{kind: partial(pretraining_step, encoder, kind, settings.batch, settings.nodes)
                 for kind in POSITIONS}}
    with torch_threads(settings.threads):
        times = take_turns({name: build() for name, build in builds.items()}, settings.repeats)
    peaks = ([f"{peak_memory(build, settings.threads):.0f}" for build in builds.values()]
             if settings.memory else [])
    return [encoder, f"{statistics.median(times['plain']):.3g}",
            *(ratio_of(times[kind], times["plain"])[0] for kind in POSITIONS), *peaks]


def plain_step(encoder: str, batch: int) -> Step:
    """Return a step of the ViT as timm computes it."""
    import timm

    vit, images = timm.create_model(encoder, num_classes=0, img_size=224), random_images(batch)
    return training_step(vit, lambda: vit.forward_features(images).square().mean(), "fp32")


def pretraining_step(encoder: str, positions: str, batch: int, nodes: int) -> Step:
    """Return a step of pretraining with `positions`, rose or own."""
    rose, images = build_rose(encoder, image_positions=positions), random_images(batch)
    graphs = random_graphs(batch, nodes)
    return training_step(rose, lambda: rose(images, graphs).loss, "fp32")


if __name__ == "__main__":
    print("\n".join(lines(parse(__doc__, Settings, Settings._field_defaults))))
