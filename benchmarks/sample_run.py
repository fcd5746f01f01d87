"""Run `make pretrain` in float32 and in bfloat16: seconds a step, and the losses at the end.

    python benchmarks/sample_run.py                      # some minutes
"""

import csv
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.tables import markdown_table

ROOT = Path(__file__).resolve().parent.parent
PRECISIONS = ("32-true", "bf16-mixed")


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial of two epochs on nine tiles."""
    short = ["sample_tiles=3", "total_epoch=2"] if quick else []
    with tempfile.TemporaryDirectory() as folder:
        rows = [sample_run(Path(folder), precision, short) for precision in PRECISIONS]
    first, *others = rows
    for row in others:
        row.append(f"{sum(map(float, row[3:5])) / sum(map(float, first[3:5])):.3f}")
    return ["`train_rose.py experiment=sample`, losses of its last epoch:", "",
            markdown_table(["precision", "steps", "ms a step", "image loss", "OSM loss",
                            "sum of float32's"], [[*first, "1"], *others])]


def sample_run(folder: Path, precision: str, overrides: list[str]) -> list[str]:
    """Return a run's precision, steps, median milliseconds a step, image and OSM loss."""
    subprocess.run([sys.executable, "train_rose.py", "experiment=sample",
                    f"save_root_dir={folder}", f"save_dir={precision}", f"precision={precision}",
                    *overrides], cwd=ROOT, check=True, capture_output=True)
    with (folder / precision / "metrics.csv").open() as file:
        epochs = list(csv.DictReader(file))
    speed = statistics.median(float(epoch["samples_per_second"]) for epoch in epochs)
    batch = 4  # configs/experiment/pretrain/sample.yaml
    return [precision, epochs[-1]["global_step"], f"{1000 * batch / speed:.1f}",
            *(f"{float(epochs[-1][name]):.4f}" for name in ("image_loss", "osm_loss"))]


if __name__ == "__main__":
    print("\n".join(results(quick=False)))
