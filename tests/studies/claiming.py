"""Benchmarks and studies of attention as their runs leave them, for the claims to judge."""

import json
from pathlib import Path

import numpy as np

from evaluation.tallies import TALLIES, Tallies, write_tallies
from models.rose import MODEL_KEYS
from studies.benchmark_plan import SCRATCH, Cell
from studies.claim_list import LAND_USE, VOLUME
from tests.evaluation.tallying import estimated, names_of, segmented
from utils.outputs import write_csv, write_json
from utils.recipes import RECIPES

FOLDS = [names_of(8, 8), [f"lima_{col + 20}_{row}" for col in range(8) for row in range(8)]]
PLUS = {key: getattr(RECIPES["plus"], key) for key in MODEL_KEYS}


def benchmark(folder: Path, cells: dict[Cell, float], city: str = "lima") -> Path:
    """Write a benchmark of cells with their skill; two folds, two seeds."""
    for cell, skill in cells.items():
        for fold, names in enumerate(FOLDS, 1):
            for seed in (0, 1):
                run = folder / "runs" / cell.task / cell.name / f"fold-{fold}_seed-{seed}"
                write_run(run, seed, tallies_of(cell.task, names, skill, seed),
                          bare=cell.row == "statistics")
    write_json(folder / "results.json", {"benchmark": city})
    return folder


def write_run(folder: Path, seed: int, tallies: Tallies, bare: bool) -> None:
    """Write a run, a `bare` one as an earlier version left it."""
    own = folder / f"seed_{seed}"
    own.mkdir(parents=True)
    write_json(own / "results.json", {} if bare else {
        "tallies_sha256": write_tallies(own / TALLIES, tallies)})
    write_json(folder / "results.json", {
        "per_seed": {str(seed): tallies.overall}, "baselines": {}, "tiles": {}, "reported": "test",
        "config": {}, "network": {}, "checkpoint": None})


def tallies_of(task: str, names: list[str], skill: float, seed: int) -> Tallies:
    if task == LAND_USE:
        return segmented(names, skill, seed)
    noise = np.random.default_rng(seed).normal(size=len(names))
    return estimated(names, noise * 20 / (1 + skill))


def attention(folder: Path, lift: float, network: dict | None = None, city: str = "lima",
              message: str = "message", varies: float = 0.0) -> Path:
    """Write what an attention study of 64 tiles leaves; what a network of 2025 does not state is
    the method's."""
    folder.mkdir(parents=True)
    rows = [{"tile": name.replace("lima", city), "node": node, "box_share": 0.02,
             "attention_share": 0.02 * lift * (0.9 + 0.2 * (number % 2))}
            for number, name in enumerate(FOLDS[0]) for node in (0, 1)]
    rows.append({"tile": FOLDS[0][0], "node": 2, "box_share": 0, "attention_share": 0})
    write_csv(folder / "attention.csv", rows)
    write_csv(folder / "change.csv", [
        {"fusion": fusion, "tile": row["tile"], "node": row["node"], "box_share": row["box_share"],
         "change_share": row["box_share"]} for fusion in ("global", "fine") for row in rows])
    write_json(folder / "results.json", {
        "network": network or {"image_encoder": "test_vit"}, "cities": [city], "lift": lift,
        "fusions": {"global": {"lift": 1.0}, "fine": {"lift": 1.0}},
        "adds": {message: {"varies": varies, "norm_ratio": 0.125},
                 "fine": {"varies": 0.5, "norm_ratio": 0.25, "weights": [0.6, 2.0]}}})
    return folder


def changed(path: Path, **changes) -> None:
    """Write other values into a record."""
    write_json(path, json.loads(path.read_text()) | changes)


def mixed(folder: Path) -> Path:
    """Write a benchmark in which fusion beats the image, pretraining does not pay, fine is as good
    as global, and statistics have no tallies."""
    return benchmark(folder, {
        Cell(LAND_USE, "image"): 1, Cell(LAND_USE, "osm"): 0.5, Cell(LAND_USE, "fusion"): 2,
        Cell(LAND_USE, "fine"): 2.1, Cell(LAND_USE, "plus"): 4,
        Cell(LAND_USE, "fusion", labels="50"): 1,
        Cell(LAND_USE, "fusion", SCRATCH, "50"): 2,
        Cell(LAND_USE, "fusion", removed=1.0): 0.1,
        Cell(LAND_USE, "statistics", SCRATCH): 0,
        Cell(VOLUME, "image"): 1, Cell(VOLUME, "osm"): 3, Cell(VOLUME, "fusion"): 2})
