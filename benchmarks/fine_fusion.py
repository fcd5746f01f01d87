"""Time and memory of one fine-tuning step of segmentation by fine fusion, in units of one by global fusion on the same tiles.

    python benchmarks/fine_fusion.py                     # ViT-B/16, batch 4, 60 and 150 nodes a tile; a few minutes on 2 cores
    python benchmarks/fine_fusion.py --encoder vit_small_patch16_224 --repeats 3

A step is a forward and a backward pass, with the linear decoder. Times alternate within one process and the medians are compared, since a
machine's speed drifts; each peak of memory is that of a process of its own, which does nothing else. In the released code fine fusion takes
2.1 times the time and 1.7 times the memory of global fusion.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F

from benchmarks.measure import NODES, Step, compare, parse, random_graphs, random_images
from models import build_rose, build_segmenter

CLASSES = 9


def main() -> None:
    args = parse(__doc__.splitlines()[0], batch=4)
    print(f"{args.encoder}, batch {args.batch}, fp32, {args.threads} threads, linear decoder, median of {args.repeats} repeats")
    steps = {step_name(modality, nodes): partial(segmenter_step, args.encoder, args.batch, modality, nodes)
             for nodes in NODES for modality in ("fusion", "fine")}
    compare(steps, lambda name: name.replace("fine", "fusion"), args, "fusion")


def step_name(modality: str, nodes: int) -> str:
    return f"{modality}, {nodes} nodes a tile"


def segmenter_step(encoder: str, batch: int, modality: str, nodes: int) -> Step:
    segmenter = build_segmenter(build_rose(encoder), modality, "linear", CLASSES)
    images, graphs = random_images(batch), random_graphs(batch, nodes)
    land_use = torch.randint(CLASSES, (batch, *images.shape[2:]), generator=torch.Generator().manual_seed(2))

    def step() -> None:
        segmenter.zero_grad(set_to_none=True)
        F.cross_entropy(segmenter(images, graphs), land_use).backward()
    return step


if __name__ == "__main__":
    main()
