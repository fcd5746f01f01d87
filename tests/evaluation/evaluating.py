"""Evaluations in this process, small and without pictures, and what they leave."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datasets import TileDataset
from evaluation.job import evaluate, evaluate_and_tell
from evaluation.keys import REGRESSION, SEGMENTATION
from evaluation.problem import Regression, Segmentation
from evaluation.run import Run
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


def made(cfg: Any, folder: Path, **changes: Any) -> Path:
    """The folder of an evaluation without pictures; reading its keys again would take most of the
    time."""
    cfg = replace(cfg, save_path=str(folder), **changes)
    with pytest.MonkeyPatch.context() as patched:
        for drawing in ("evaluation.results.save_pictures", "evaluation.job.write_report"):
            patched.setattr(drawing, lambda *_: None)
        evaluate(cfg, SCRIPTS["seg" if hasattr(cfg, "decoder") else "pop"][1](cfg))
    return folder


def stopped_after_an_epoch(cfg: Any, folder: Path) -> None:
    """Leave what a run leaves that is asked to stop in its first epoch's last step."""
    end_epoch = Run.end_epoch

    def asked(self):
        self.stop.received = "SIGTERM"
        end_epoch(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Run, "end_epoch", asked)
        with pytest.raises(SystemExit):
            made(cfg, folder)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def known(figures: dict[str, float]) -> dict[str, float | None]:
    """Figures as JSON has them."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def stored(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())
