"""Evaluations in this process, small and without pictures, and what they leave."""

import csv
import json
import math
from pathlib import Path

import pytest

from datasets import TileDataset
from evaluation.job import evaluate_and_tell
from evaluation.keys import REGRESSION, SEGMENTATION
from evaluation.problem import Regression, Segmentation
from utils.cli.compose import read

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = ["num_workers=0", "accelerator=cpu", "batch_size=2", "epochs=2", "lr=1e-3", "lr_multi=10"]
SCRIPTS = {"seg": (SEGMENTATION, Segmentation), "pop": (REGRESSION, Regression)}
LISTS = {"osm-train-all.txt": range(5), "one.txt": [0], "val.txt": [5, 6], "test.txt": [7, 8]}


def write_lists(root: Path, lists: dict[str, list[int]]) -> None:
    names = TileDataset(root).names
    for file, indices in lists.items():
        (root / file).write_text("".join(f"{names[index]}.png\n" for index in indices))


def configure(problem: str, *overrides: str):
    return read(SCRIPTS[problem][0], *overrides)


def run(problem: str, *overrides: str, pictures: bool = False) -> dict:
    """Evaluate in this process; most of the time would be the drawing."""
    cfg = configure(problem, *SMALL, *overrides)
    with pytest.MonkeyPatch.context() as patched:
        if not pictures:
            patched.setattr("evaluation.results.save_pictures", lambda *_: None)
        return evaluate_and_tell(cfg, SCRIPTS[problem][1](cfg))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def known(figures: dict[str, float]) -> dict[str, float | None]:
    """Figures as JSON has them."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def stored(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())
