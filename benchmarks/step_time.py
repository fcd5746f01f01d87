"""Measure time and memory of training steps, in units of a plain ViT's forward and backward pass
on the same images.

    python benchmarks/step_time.py        # ViT-B/16, batch 8; a quarter of an hour on 2 cores
    python benchmarks/step_time.py --encoder vit_small_patch16_224 --repeats 3

Pretraining comes first, then land use by fine and by global fusion and population by global fusion
(batch halved), each a forward and a backward pass, with 10 to 500 nodes a tile. Times alternate
within one process; each peak of memory is that of a process of its own.

There are two units: the plain ViT in fp32 as timm computes it, and the same pass through Rose's
kernels (`models/linear.py`), which on some CPUs are faster than PyTorch's. The first says what a
user gains, the second what the method costs beside its ViT. Counted in multiplications, the two
image passes alone are 1.25 units, and the whole pretraining step 1.35 (docs/scaling.md).
"""

import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.command import parse
from benchmarks.measure import Case, Settings, Step, compare, random_graphs, random_images
from models import build_regressor, build_rose, build_segmenter

CLASSES = 9
MIDDLE = 60  # nodes of a usual tile: precisions and compilation are compared there
FULL = Settings("vit_base_patch16_224", batch=8, repeats=3, threads=2, nodes=(10, 60, 150, 500))
QUICK = Settings("test_vit", batch=2, repeats=1, threads=1, nodes=(10, 60), memory=False)
PLAIN, OURS = "plain ViT, fp32", "plain ViT, fp32, Rose's kernels"
UNITS = ("of plain ViT", "of Rose's kernels")
TASKS = {"fusion": "land use, global fusion", "fine": "land use, fine fusion",
         "population": "population, global fusion"}


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial with a tiny network."""
    return lines(QUICK if quick else FULL)


def lines(settings: Settings) -> list[str]:
    """Return two tables: pretraining, and downstream with half the batch."""
    half = settings._replace(batch=max(settings.batch // 2, 1),
                             repeats=max(settings.repeats - 1, 1))
    return [
        f"Pretraining, {about(settings)}, masks 0.75 / 0.15:", "",
        compare([*plain(settings), *pretraining(settings)], UNITS, settings), "",
        f"Downstream, {about(half)}, linear decoders:", "",
        compare([*plain(half), *downstream(half)], UNITS, half),
    ]


def about(settings: Settings) -> str:
    return (f"{settings.encoder}, batch {settings.batch}, {settings.threads} "
            f"thread{'s' if settings.threads > 1 else ''}, median of {settings.repeats} "
            f"repeat{'s' if settings.repeats > 1 else ''}")


def plain(settings: Settings) -> list[Case]:
    """Return the units, and the first one in half precision."""
    size = settings.encoder, settings.batch
    return [Case(PLAIN, partial(plain_step, *size, "fp32"), (PLAIN, OURS)),
            Case(OURS, partial(our_plain_step, *size), (PLAIN, OURS)),
            Case("plain ViT, bf16", partial(plain_step, *size, "bf16"), (PLAIN, OURS),
                 memory=False)]


def pretraining(settings: Settings) -> list[Case]:
    """Return all numbers of nodes in both precisions, and the middle one compiled and again."""
    build = partial(pretraining_step, settings.encoder, settings.batch)
    cases = [Case(f"Rose, {nodes} nodes, {precision}", partial(build, nodes, precision),
                  (PLAIN, OURS),
                  memory=nodes == MIDDLE or (nodes == max(settings.nodes) and precision == "fp32"))
             for precision in ("fp32", "bf16") for nodes in settings.nodes]
    cases += [Case(f"Rose, {MIDDLE} nodes, {precision}, compiled",
                   partial(build, MIDDLE, precision, "compiled"), (PLAIN, OURS), memory=False)
              for precision in ("fp32", "bf16")]
    return [*cases, *(Case(f"Rose, {MIDDLE} nodes, fp32, {words}",
                           partial(build, MIDDLE, "fp32", way), (PLAIN, OURS))
                      for way, words in (("again", "activations again"), ("plus", "recipe=plus")))]


def downstream(settings: Settings) -> list[Case]:
    """Return every task with every number of nodes in fp32, and with the middle one in bf16."""
    build = partial(downstream_step, settings.encoder, settings.batch)
    return [Case(f"{words}, {nodes} nodes, {precision}", partial(build, task, nodes, precision),
                 (PLAIN, OURS), memory=precision == "fp32" and nodes == max(settings.nodes))
            for task, words in TASKS.items()
            for precision, counts in (("fp32", settings.nodes), ("bf16", (MIDDLE,)))
            for nodes in counts]


def plain_step(encoder: str, batch: int, precision: str) -> Step:
    """Return a step of the ViT as timm computes it."""
    vit, images = timm_vit(encoder), random_images(batch)
    return training_step(vit, lambda: vit(images).square().mean(), precision)


def our_plain_step(encoder: str, batch: int) -> Step:
    """Return the same step by Rose's image encoder."""
    rose, images = rose_of(encoder), random_images(batch)
    return training_step(rose, lambda: rose.encode_image(images).square().mean(), "fp32")


def pretraining_step(encoder: str, batch: int, nodes: int, precision: str, way: str = "") -> Step:
    """Return a step of pretraining; `way`: "compiled", "again" (recompute activations), "plus"
    (recipe=plus), or ""."""
    rose, images, graphs = rose_of(encoder, way), random_images(batch), random_graphs(batch, nodes)
    return training_step(rose, lambda: rose(images, graphs).loss, precision)


def downstream_step(encoder: str, batch: int, task: str, nodes: int,
                    precision: str = "fp32") -> Step:
    """Return a step of one of `TASKS`."""
    model = downstream_of(encoder, task)
    images, graphs = random_images(batch), random_graphs(batch, nodes)
    draw = torch.Generator().manual_seed(2)
    if task == "population":
        totals = torch.rand(batch, 1, generator=draw)
        return training_step(model, lambda: F.mse_loss(model.outputs(images, graphs), totals),
                             precision)
    land_use = torch.randint(CLASSES, (batch, *images.shape[2:]), generator=draw)
    return training_step(model, lambda: F.cross_entropy(model(images, graphs), land_use),
                         precision)


def training_step(model: nn.Module, loss_of: Callable[[], Tensor], precision: str) -> Step:
    """Return a forward and a backward pass whose gradients are made anew."""
    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of()
        loss.backward()
        model.zero_grad(set_to_none=True)
    return step


@cache
def timm_vit(encoder: str) -> nn.Module:
    import timm

    return timm.create_model(encoder, num_classes=0, global_pool="")


@cache
def rose_of(encoder: str, way: str = "") -> nn.Module:
    """Build one network for all steps of a kind: a process could not hold one for each."""
    rose = build_rose(encoder, recipe="plus" if way == "plus" else "rose")
    rose.checkpoint_activations = way == "again"
    if way == "compiled":
        from models.compiled import compile_network

        compile_network(rose)
    return rose


@cache
def downstream_of(encoder: str, task: str) -> nn.Module:
    rose = build_rose(encoder)
    if task == "population":
        return build_regressor(rose, "fusion")
    return build_segmenter(rose, task, "linear", CLASSES)


if __name__ == "__main__":
    print("\n".join(lines(parse(__doc__, Settings, FULL._asdict()))))
