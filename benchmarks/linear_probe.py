"""Measure how much faster a linear probe is when the frozen network runs once, not every epoch.

    python benchmarks/linear_probe.py                      # ViT-S, 36 tiles, 30 epochs; minutes
    python benchmarks/linear_probe.py --encoder test_vit --epochs 5

Both probes run one after the other in this process, from their keys to their results, without
pictures. Their figures are compared, too.
"""

import math
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.command import parse
from datasets.sample_city.tiles import ensure_sample_tiles
from evaluation import job
from evaluation import results as evaluation_results
from evaluation.keys import SEGMENTATION
from evaluation.problem import Segmentation
from models import build_rose
from utils.checkpoint import save_checkpoint
from utils.cli.compose import read


class Settings(NamedTuple):
    """The probe; `tiles` is along a side of the sample city."""

    encoder: str = "vit_small_patch16_224"
    modality: str = "fusion"
    tiles: int = 6
    epochs: int = 30


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial with a tiny network."""
    return lines(Settings("test_vit", tiles=4, epochs=2) if quick else Settings())


def lines(settings: Settings) -> list[str]:
    with (tempfile.TemporaryDirectory() as folder,
          mock.patch.object(evaluation_results, "save_pictures")):
        root = Path(folder)
        ensure_sample_tiles(root / "tiles", tiles=settings.tiles)
        build = {"image_encoder": settings.encoder}
        save_checkpoint(root / "model_1.tar",
                        {"model": build_rose(**build).state_dict(), "build": build})
        seconds, figures = probe(root, settings, "true")
        plain_seconds, plain_figures = probe(root, settings, "false")
    difference = max(abs(value - plain_figures[name]) for name, value in figures.items()
                     if not math.isnan(value))
    return [f"{settings.encoder}, modality {settings.modality}, {settings.epochs} epochs: "
            f"{plain_seconds:.1f} s with the network in every epoch, {seconds:.1f} s with its "
            f"features computed once: {plain_seconds / seconds:.1f} times faster; the figures "
            f"differ by {difference:.1e} at most."]


def probe(root: Path, settings: Settings, cached: str) -> tuple[float, dict[str, float]]:
    """Return seconds and figures of a probe of the network in `root`."""
    cfg = read(SEGMENTATION, f"data_root={root / 'tiles'}", f"checkpoint={root / 'model_1.tar'}",
               f"save_path={root / cached}", "mode=linear", f"modality={settings.modality}",
               f"epochs={settings.epochs}", f"cache_features={cached}", "num_workers=0",
               "accelerator=cpu")
    started = time.perf_counter()
    with torch.random.fork_rng():
        summary = job.evaluate(cfg, Segmentation(cfg))
    return time.perf_counter() - started, summary["mean"]


if __name__ == "__main__":
    print("\n".join(lines(parse(__doc__, Settings, Settings._field_defaults))))
