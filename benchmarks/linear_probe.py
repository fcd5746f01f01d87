"""How much faster a linear probe is when the frozen network runs once instead of in every epoch, and that its figures are the same.

    python benchmarks/linear_probe.py                                    # ViT-S, 36 tiles of the sample city, 30 epochs; minutes on 2 cores
    python benchmarks/linear_probe.py --encoder test_vit --epochs 5

Both probes run one after the other in this process, from their keys to their results, pictures left out.
"""

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from datasets.sample_tiles import ensure_sample_tiles
from models import build_rose
from utils.checkpoint import save_checkpoint
from utils.cli import read_config
from utils.config import SegmentationConfig
from utils.evaluation import job
from utils.evaluation.problem import Segmentation


def main() -> None:
    args = parse()
    job.save_pictures = lambda *_: None
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ensure_sample_tiles(root / "tiles", tiles=args.tiles)
        save_checkpoint(root / "model_1.tar", {"model": build_rose(args.encoder).state_dict(), "build": {"image_encoder": args.encoder}})
        results = {cached: probe(root, args, cached) for cached in ("true", "false")}
    (with_cache, figures), (without, others) = results["true"], results["false"]
    furthest = max(abs(figures[name] - others[name]) for name in figures if not math.isnan(figures[name]))
    print(f"{args.encoder}, modality {args.modality}, {args.epochs} epochs: {without:.0f} s in every epoch, {with_cache:.0f} s once: "
          f"{without / with_cache:.1f} times faster; figures differ by {furthest:.1e} at most")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="vit_small_patch16_224")
    parser.add_argument("--modality", default="fusion")
    parser.add_argument("--tiles", type=int, default=6, help="along a side of the city")
    parser.add_argument("--epochs", type=int, default=30)
    return parser.parse_args()


def probe(root: Path, args: argparse.Namespace, cached: str) -> tuple[float, dict[str, float]]:
    """Seconds and figures of a probe of the network in `root`."""
    cfg = read_config("evaluate_seg_fusion", SegmentationConfig, [
        f"data_root={root / 'tiles'}", f"checkpoint={root / 'model_1.tar'}", f"save_path={root / cached}", "mode=linear", "num_workers=0",
        f"modality={args.modality}", f"epochs={args.epochs}", f"cache_features={cached}", "accelerator=cpu",
    ])
    start = time.perf_counter()
    with torch.random.fork_rng():
        summary = job.evaluate(cfg, Segmentation(cfg))
    return time.perf_counter() - start, summary["mean"]


if __name__ == "__main__":
    main()
