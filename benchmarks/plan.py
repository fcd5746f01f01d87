"""Compute what bounds a pretraining on many tiles and GPUs, and how long it takes, from rates that
were measured on one.

    python benchmarks/plan.py --tiles 1000000 --gpus 8 --step 500 --worker 400 --stored 98000

The rates: `--step`, tiles a second that one GPU trains (benchmarks/gpu.py); `--worker`, tiles a
second that one loader worker feeds and `--stored`, bytes of a tile on disk (both
benchmarks/loader.py). None has a default: what was not measured is yours to assume, by name.
"""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command import parse
from benchmarks.cost import Encoder, Load, all_reduce_bytes, sent_bytes
from utils.tables import markdown_table

PARAMETERS = 103_167_640  # of a Rose with ViT-B/16 (benchmarks/cost.py)
BACKWARD = 2 / 3          # share of a step during which gradients can travel


class Plan(NamedTuple):
    """A pretraining; the figures of a GPU are its share of its host.

    Attributes:
        tiles, epochs, gpus, batch: of the run; tiles a batch and GPU.
        step: tiles a second that one GPU trains, its data given.
        worker: tiles a second that one loader worker feeds.
        workers: loader workers of each GPU.
        stored: bytes of a tile on disk.
        disk: MB a second that storage gives each GPU.
        network: Gbit a second that each GPU sends while it receives as many.
    """

    tiles: float
    gpus: int
    step: float
    worker: float
    stored: float
    workers: int = 8
    disk: float = 200
    network: float = 25
    batch: int = 256
    epochs: int = 120


def limits(plan: Plan) -> dict[str, float]:
    """Return the tiles a second and GPU that each resource allows, were the others free."""
    rates = {"step": plan.step, "decode": plan.workers * plan.worker,
             "disk": plan.disk * 1e6 / plan.stored}
    if plan.gpus > 1:
        seconds = all_reduce_bytes(PARAMETERS, plan.gpus) * 8 / (plan.network * 1e9)
        rates["network"] = BACKWARD * plan.batch / seconds
    return rates


def bound(plan: Plan) -> tuple[str, float]:
    """Return the resource that allows least, and its tiles a second and GPU."""
    return min(limits(plan).items(), key=lambda limit: limit[1])


def days(plan: Plan) -> float:
    """Return the days of the whole pretraining."""
    return plan.tiles * plan.epochs / (plan.gpus * bound(plan)[1]) / 86_400


def lines(plan: Plan) -> list[str]:
    """Return lines of Markdown: what each resource allows, and what follows."""
    gradients = all_reduce_bytes(PARAMETERS, plan.gpus)
    given = {"step": "as given", "decode": f"{plan.workers} workers x {plan.worker:g}",
             "disk": f"{plan.disk:g} MB/s, {plan.stored:,.0f} bytes a tile",
             "network": f"{plan.network:g} Gbit/s, {gradients / 1e6:.0f} MB a step of "
                        f"{plan.batch} tiles"}
    rows = [[name, given[name], f"{rate:,.0f}"] for name, rate in limits(plan).items()]
    name, rate = bound(plan)
    sent = sum(sent_bytes(Encoder(), Load()).values())
    return [
        markdown_table(["a GPU", "by", "tiles/s"], rows), "",
        f"{plan.tiles:,.0f} tiles ({plan.tiles * plan.stored / 1e12:.3g} TB), {plan.epochs} "
        f"epochs, {plan.gpus} GPU{'s' if plan.gpus > 1 else ''}: bounded by {name}, "
        f"{plan.gpus * rate:,.0f} tiles/s, {days(plan):.3g} days.",
        f"Each GPU's step asks for {plan.step / plan.worker:.1f} workers, "
        f"{plan.step * plan.stored / 1e6:.0f} MB/s from disk and {plan.step * sent / 1e6:.0f} "
        "MB/s to the device.",
    ]


def read(arguments: list[str]) -> Plan:
    """Return the plan of a command line."""
    return parse(__doc__, Plan, Plan._field_defaults, arguments)


if __name__ == "__main__":
    print("\n".join(lines(read(sys.argv[1:]))))
