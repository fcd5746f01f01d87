"""Time and memory of one fine-tuning step of segmentation by fine fusion, in units of one by
global fusion on the same tiles.

    python benchmarks/fine_fusion.py                     # ViT-B/16, batch 4, 60 and 150 nodes a tile; a few minutes on 2 cores
    python benchmarks/fine_fusion.py --encoder vit_small_patch16_224 --repeats 3

The steps are those of `step_time.py`, compared with each other. In the released code fine fusion
takes 2.1 times the time and 1.7 times the memory of global fusion.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import Case, Settings, compare, parse
from benchmarks.step_time import QUICK, TASKS, about, downstream_step

FULL = Settings("vit_base_patch16_224", batch=4, repeats=5, threads=2, nodes=(60, 150))


def main() -> None:
    print("\n".join(lines(parse(__doc__.splitlines()[0], FULL))))


def results(quick: bool) -> list[str]:
    """Lines of Markdown; `quick` is a trial with a tiny network."""
    return lines(QUICK if quick else FULL)


def lines(settings: Settings) -> list[str]:
    name = "{words}, {nodes} nodes".format
    cases = [Case(name(words=TASKS[task], nodes=nodes),
                  partial(downstream_step, settings.encoder, settings.batch, task, nodes),
                  (name(words=TASKS["fusion"], nodes=nodes),))
             for nodes in settings.nodes for task in ("fusion", "fine")]
    return [f"{about(settings)}, fp32, linear decoder:", "",
            compare(cases, ["of global fusion"], settings)]


if __name__ == "__main__":
    main()
