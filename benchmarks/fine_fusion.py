"""Compare a fine-tuning step of segmentation by fine fusion with one by global fusion.

    python benchmarks/fine_fusion.py          # ViT-B/16, batch 4; a few minutes on 2 cores
    python benchmarks/fine_fusion.py --encoder vit_small_patch16_224 --repeats 3

The steps are those of `step_time.py`, on the same tiles. In the released code fine fusion takes
2.1 times the time and 1.7 times the memory of global fusion.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command import parse
from benchmarks.measure import Case, Settings, compare
from benchmarks.step_time import QUICK, TASKS, about, downstream_step

FULL = Settings("vit_base_patch16_224", batch=4, repeats=5, threads=2, nodes=(60, 150))


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial with a tiny network."""
    return lines(QUICK if quick else FULL)


def lines(settings: Settings) -> list[str]:
    cases = [Case(f"{TASKS[task]}, {nodes} nodes",
                  partial(downstream_step, settings.encoder, settings.batch, task, nodes),
                  (f"{TASKS['fusion']}, {nodes} nodes",))
             for nodes in settings.nodes for task in ("fusion", "fine")]
    return [f"{about(settings)}, fp32, linear decoder:", "",
            compare(cases, ["of global fusion"], settings)]


if __name__ == "__main__":
    print("\n".join(lines(parse(__doc__, Settings, FULL._asdict()))))
