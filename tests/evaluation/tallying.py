"""Tallies of made-up tiles, and folders of evaluations that hold them."""

from pathlib import Path

import numpy as np
import torch

from evaluation.calibration import tile_bins
from evaluation.metrics import tile_counts
from evaluation.tallies import TALLIES, Tallies, places, write_tallies
from utils.outputs import write_json

CLASSES = ("water", "green", "road")


def names_of(columns: int, rows: int, city: str = "lima") -> list[str]:
    return [f"{city}_{col}_{row}" for row in range(rows) for col in range(columns)]


def segmented(names: list[str], skill: float = 1.0, seed: int = 0, side: int = 4) -> Tallies:
    """Tiles whose logits know `skill` of the labels; the labels do not depend on the seed."""
    target = torch.randint(3, (len(names), side, side), generator=torch.Generator().manual_seed(9))
    noise = torch.randn(len(names), 3, side, side, generator=torch.Generator().manual_seed(seed))
    logits = noise + skill * torch.nn.functional.one_hot(target, 3).movedim(3, 1)
    return Tallies(tuple(names), places(names, names), {
        "counts": tile_counts(logits.argmax(1), target, 3).int().numpy(),
        "calibration": tile_bins(logits, target).numpy()}, CLASSES)


def estimated(names: list[str], error: np.ndarray | float = 1.0, width: float = 4.0) -> Tallies:
    """Tiles with totals of 0, 1, 2 ... whose estimates are off by `error`."""
    true = np.arange(len(names), dtype=np.float64)
    estimate = true + error
    return Tallies(tuple(names), places(names, names), {
        "true": true, "estimate": estimate, "low": estimate - width / 2,
        "high": estimate + width / 2})


def evaluation_folder(folder: Path, *runs: Tallies) -> Path:
    """What a comparison reads of a finished evaluation whose seeds have these tallies."""
    for seed, run in enumerate(runs):
        own = folder / f"seed_{seed}"
        own.mkdir(parents=True)
        write_json(own / "results.json", {"tallies_sha256": write_tallies(own / TALLIES, run)})
    write_json(folder / "results.json", {"problem": runs[0].problem, "seeds": [*range(len(runs))]})
    return folder
