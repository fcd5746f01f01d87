"""How much faster a linear probe is when the frozen network runs once instead of in every epoch,
and that its figures are the same.

    python benchmarks/linear_probe.py                                    # ViT-S, 36 tiles of the sample city, 30 epochs; minutes on 2 cores
    python benchmarks/linear_probe.py --encoder test_vit --epochs 5

Both probes run one after the other in this process, from their keys to their results, pictures
left out.
"""

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from datasets.sample_city.tiles import ensure_sample_tiles
from evaluation import job
from evaluation import results as evaluation_results
from evaluation.keys import SegmentationConfig
from evaluation.problem import Segmentation
from models import build_rose
from utils.checkpoint import save_checkpoint
from utils.cli.command import read_config


class Settings(NamedTuple):
    """The probe; `tiles` is along a side of the sample city."""

    encoder: str = "vit_small_patch16_224"
    modality: str = "fusion"
    tiles: int = 6
    epochs: int = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in Settings()._asdict().items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    print("\n".join(lines(Settings(**vars(parser.parse_args())))))


def results(quick: bool) -> list[str]:
    """Lines of Markdown; `quick` is a trial with a tiny network."""
    return lines(Settings("test_vit", tiles=4, epochs=2) if quick else Settings())


def lines(settings: Settings) -> list[str]:
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(evaluation_results,
                                                                    "save_pictures"):
        root = Path(folder)
        ensure_sample_tiles(root / "tiles", tiles=settings.tiles)
        build = {"image_encoder": settings.encoder}
        save_checkpoint(root / "model_1.tar",
                        {"model": build_rose(**build).state_dict(), "build": build})
        (with_cache, figures), (without, others) = (probe(root, settings, cached)
                                                    for cached in ("true", "false"))
    furthest = max(abs(figures[name] - others[name]) for name in figures
                   if not math.isnan(figures[name]))
    return [f"{settings.encoder}, modality {settings.modality}, {settings.epochs} epochs: "
            f"{without:.1f} s with the network in every epoch, {with_cache:.1f} s with its "
            f"features computed once: {without / with_cache:.1f} times faster; the figures differ "
            f"by {furthest:.1e} at most."]


def probe(root: Path, settings: Settings, cached: str) -> tuple[float, dict[str, float]]:
    """Seconds and figures of a probe of the network in `root`."""
    cfg = read_config("evaluate_seg_fusion", SegmentationConfig, [
        f"data_root={root / 'tiles'}", f"checkpoint={root / 'model_1.tar'}",
        f"save_path={root / cached}", "mode=linear", "num_workers=0",
        f"modality={settings.modality}", f"epochs={settings.epochs}", f"cache_features={cached}",
        "accelerator=cpu",
    ])
    start = time.perf_counter()
    with torch.random.fork_rng():
        summary = job.evaluate(cfg, Segmentation(cfg))
    return time.perf_counter() - start, summary["mean"]


if __name__ == "__main__":
    main()
