"""Run the long robustness tests; exit 1 if anything is lost, unequal, hung or executed.

    python -m tests.robustness.soak                       # all: an hour on 2 cores
    python -m tests.robustness.soak kills --count 60 --seed 1
    python -m tests.robustness.soak files values hostile
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.robustness.soak import warm

if TYPE_CHECKING:
    from tests.robustness.soak.jobs import Workshop

PARTS = ("kills", "files", "values", "hostile")
_COUNTS = {"kills": 60, "files": 1000, "values": 1000}
_HARMLESS = {"kills", "files", "values", "hostile files", "values accepted", "differs"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; all by default")
    parser.add_argument("--count", type=int, help="cases of each part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep the workshop, and faulty kills, here")
    options = parser.parse_args()
    if unknown := set(options.parts) - {*PARTS}:
        parser.error(f"unknown parts {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    warm.load_libraries()
    from tests.robustness.soak.jobs import Workshop

    with tempfile.TemporaryDirectory(prefix="rose-soak-") as temporary:
        folder = options.folder or Path(temporary)
        workshop = Workshop(folder / "workshop")
        faults: Counter = Counter()
        for part in options.parts or PARTS:
            faults += _run(part, workshop, folder / part, options)
            print(f"after {part}: {dict(faults)}", flush=True)
    sys.exit(bool({*faults} - _HARMLESS))


def _run(part: str, workshop: "Workshop", folder: Path, options: argparse.Namespace) -> Counter:
    from tests.robustness.soak import hostile, inputs, kills

    count = options.count or _COUNTS.get(part, 0)
    if part == "hostile":
        return hostile.try_hostile(workshop, folder)
    function = {"kills": kills.kill_all, "files": inputs.try_files, "values": inputs.try_values}
    return function[part](workshop, folder, count, options.seed)


if __name__ == "__main__":
    main()
