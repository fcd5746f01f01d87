"""Every benchmark, one after the other, and what they found: benchmarks/results.md.

    python benchmarks/all.py                             # `make bench`; half an hour on 2 cores that do nothing else
    python benchmarks/all.py --quick --out trial.md      # tiny networks and cities: shows that all runs, its figures mean nothing

Each benchmark runs in a process of its own, which keeps nothing of the one before; results.md is
written when all have ended well.
"""

import argparse
import importlib
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SECTIONS = {  # module -> heading
    "step_time": "Steps of training",
    "sample_run": "The sample run",
    "cost": "What a tile costs, from first principles",
    "loader": "Feeding: tiles a second of the loader",
    "prepare": "Preparation of tiles",
    "scene": "Maps and features of whole scenes",
    "accel": "torch-scatter",
}
OUT = Path(__file__).resolve().parent / "results.md"


def main() -> None:
    from utils.files import replacing

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny networks and cities")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"),
                             max_tasks_per_child=1) as processes:
        machine = processes.submit(machine_lines).result()
        parts = {name: processes.submit(section, name, args.quick) for name in SECTIONS}
        for name, part in parts.items():
            print("\n".join([f"## {SECTIONS[name]}", "", *part.result(), ""]), flush=True)
    with replacing(args.out) as path:
        path.write_text(document(machine, {name: part.result() for name, part in parts.items()},
                                 args.quick), encoding="utf-8")


def machine_lines() -> list[str]:
    from benchmarks.machine import about_machine

    return about_machine()


def section(name: str, quick: bool) -> list[str]:
    """What a benchmark has found, in lines of Markdown. It is imported here: other benchmarks
    would add to its memory."""
    return importlib.import_module(f"benchmarks.{name}").results(quick)


def document(machine: list[str], sections: dict[str, list[str]], quick: bool) -> str:
    """The whole page."""
    lines = ["# Results of the benchmarks", "",
             "Written by `make bench`. What is compared takes turns in one process, or has a "
             "process of its own each; seconds are those of this machine.", ""]
    if quick:
        lines += ["A trial with tiny networks and cities: the figures mean nothing.", ""]
    lines += [*machine, ""]
    for name, found in sections.items():
        lines += [f"## {SECTIONS[name]}", "", f"`python benchmarks/{name}.py`", "", *found, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
