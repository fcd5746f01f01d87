"""Time and memory of one pretraining step, in units of a plain ViT's forward and backward on the same images.

    python benchmarks/step_time.py                       # ViT-B/16, batch 8, 60 and 150 nodes a tile; about five minutes on 2 cores
    python benchmarks/step_time.py --encoder vit_small_patch16_224 --repeats 3

Times alternate within one process and the medians are compared, since a machine's speed drifts; each peak of memory is that of a process
of its own, which does nothing else. The floor is 1.25 units: Rose runs the ViT once on a quarter of the patches and once on all of them.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import NODES, Step, compare, parse, random_graphs, random_images
from models import build_rose

PLAIN = "plain ViT"


def main() -> None:
    args = parse(__doc__.splitlines()[0], batch=8)
    print(f"{args.encoder}, batch {args.batch}, fp32, {args.threads} threads, masks 0.75 / 0.15, median of {args.repeats} repeats")
    steps = {PLAIN: partial(plain_step, args.encoder, args.batch)}
    steps |= {f"Rose, {nodes} nodes a tile": partial(rose_step, args.encoder, args.batch, nodes) for nodes in NODES}
    compare(steps, lambda name: PLAIN, args, "plain")


def plain_step(encoder: str, batch: int) -> Step:
    import timm

    vit, images = timm.create_model(encoder, num_classes=0, global_pool=""), random_images(batch)

    def step() -> None:
        vit.zero_grad(set_to_none=True)
        vit(images).square().mean().backward()
    return step


def rose_step(encoder: str, batch: int, nodes: int) -> Step:
    rose, images, graphs = build_rose(encoder), random_images(batch), random_graphs(batch, nodes)

    def step() -> None:
        rose.zero_grad(set_to_none=True)
        rose(images, graphs).loss.backward()
    return step


if __name__ == "__main__":
    main()
