"""Run every benchmark, one after the other, and write what they measure to benchmarks/results.md.

    python benchmarks/all.py                         # `make bench`; half an hour on 2 idle cores
    python benchmarks/all.py --quick --out trial.md  # tiny networks: shows that everything runs

Each benchmark runs in a process of its own, which keeps nothing of the one before. results.md is
written after all have ended well.
"""

import importlib
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command import parse
from utils.files import replacing

SECTIONS = {  # module -> heading
    "step_time": "Steps of training",
    "encoders": "Image encoders of other kinds",
    "sample_run": "The sample run",
    "threads": "Threads beside a busy process",
    "cost": "What a tile costs, from first principles",
    "loader": "Feeding: tiles a second of the loader",
    "prepare": "Preparation of tiles",
    "scene": "Maps and features of whole scenes",
    "accel": "torch-scatter",
}


class Settings(NamedTuple):
    """Which benchmarks run, and where the page goes.

    Attributes:
        quick: tiny networks and cities, whose figures mean nothing.
        out: the page.
    """

    quick: bool = False
    out: Path = Path(__file__).resolve().parent / "results.md"


def main() -> None:
    settings = parse(__doc__, Settings, Settings._field_defaults)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"),
                             max_tasks_per_child=1) as processes:
        machine = processes.submit(call, "machine", "about_machine").result()
        pending = {name: processes.submit(call, name, "results", settings.quick)
                   for name in SECTIONS}
        sections = {}
        for name, section in pending.items():
            sections[name] = section.result()
            print("\n".join([f"## {SECTIONS[name]}", "", *sections[name], ""]), flush=True)
    with replacing(settings.out) as path:
        path.write_text(document(machine, sections, settings.quick), encoding="utf-8")


def call(module: str, name: str, *arguments: bool) -> list[str]:
    """Import a benchmark in this process alone and return what its function gives."""
    return getattr(importlib.import_module(f"benchmarks.{module}"), name)(*arguments)


def document(machine: list[str], sections: dict[str, list[str]], quick: bool) -> str:
    """Return the whole page."""
    lines = ["# Results of the benchmarks", "",
             "Written by `make bench`. Measurements that are compared alternate in one process,",
             "or each has a process of its own; seconds are those of this machine.", ""]
    if quick:
        lines += ["A trial with tiny networks and cities: the figures mean nothing.", ""]
    lines += [*machine, ""]
    for name, section in sections.items():
        lines += [f"## {SECTIONS[name]}", "", f"`python benchmarks/{name}.py`", "", *section, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
