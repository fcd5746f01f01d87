"""The result of a finished run, and of all seeds of an evaluation together (results.json)."""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.intervals import FEW, bootstrap_of, intervals, sampled_figures
from evaluation.pictures import save_pictures
from evaluation.run import PREDICTIONS, RESULTS, Measured, Run
from evaluation.setup import Setup
from evaluation.state import STATE, check_identity, start_again
from evaluation.tallies import TALLIES, Tallies, places, read_tallies, write_tallies
from models.network_file import BEST
from training.devices import together
from utils.checkpoint import checksum_in
from utils.contents import Anything, Either, Fields, Null, Number, Table, Text, Whole, read_json
from utils.errors import CheckpointError
from utils.outputs import write_csv, write_json
from utils.tables import mean_std
from utils.versions import versions

_NETWORK = ("torchvision", "timm", "torch_geometric", "lightning-fabric", "torchmetrics")
_TALLIED = Fields({}, {"seed": Whole(least=0), "tallies_sha256": Text(pattern="[0-9a-f]{64}"),
                       "weights": Text(most=4096), "weights_checksum": Text(most=100)})


def finish(run: Run) -> dict[str, Any]:
    """Measure the best epoch's model, write the result, and return it; all processes call it."""
    measured = run.measure(run.setup.reported)
    tallies, calibration = _tallied(run, measured)
    result = {
        "seed": run.seed, "epoch": run.best["epoch"] if run.best else 0,
        "figures": measured.figures | calibration["figures"], "loss": measured.loss,
        "intervals": intervals(sampled_figures([tallies])),
        "val": _figures_of_best(run, measured.figures),
        **run.problem.extras(measured.metrics, measured.details),
        "calibration": calibration["record"],
        "weights": BEST if run.best else _measured_weights(run.setup),
        "identity": run.setup.identity(run.seed),
    }
    with together(run.fabric):
        if run.fabric.is_global_zero:
            _write_predictions(run, measured)
            if run.cfg.pictures:
                save_pictures(run, measured)
            result["weights_checksum"] = _checksum_of(run.folder, result["weights"])
            result["tallies_sha256"] = write_tallies(run.folder / TALLIES, tallies)
            write_json(run.folder / RESULTS, result)  # last: a folder that has it is finished
            (run.folder / STATE).unlink(missing_ok=True)
    return result


def read_result(setup: Setup, seed: int) -> dict[str, Any] | None:
    """Return the result of a seed, null as nan among the figures; None if it is not finished.

    Figures that the version which made the result did not know are missing. Raise CheckpointError
    if the folder holds another run's result, or an unreadable one.
    """
    path = setup.seed_folder(seed) / RESULTS
    if not path.is_file() or setup.cfg.resume == "never":
        return None
    remedy = start_again(path)
    identified = read_json(path, Fields({"identity": Table(Anything())}), remedy, CheckpointError)
    check_identity(path, identified["identity"], setup.identity(seed), setup.defaults)
    names = list(next(iter(setup.problem.baselines().values())))
    figure = Either([Number(), Null()])
    figures = Fields(dict.fromkeys(names, figure))
    result = read_json(path, Fields({
        "seed": Whole(least=seed, most=seed), "epoch": Whole(least=0),
        "figures": Fields(figures.required, dict.fromkeys(setup.problem.calibrated, figure)),
        "val": Either([figures, Null()]), **setup.problem.extras_rules}), remedy, CheckpointError)
    known = {name: result["figures"][name] for name in (*names, *setup.problem.calibrated)
             if name in result["figures"]}
    return result | {"figures": {name: math.nan if number is None else number
                                 for name, number in known.items()}}


def read_seed(folder: Path) -> Tallies | None:
    """Return the tallies in a seed's folder; None if an earlier version made it, or the file was
    removed.

    Raises:
        CheckpointError: the seed is not finished, or a file is damaged.
    """
    record = read_json(folder / RESULTS, _TALLIED, start_again(folder / RESULTS), CheckpointError)
    path = folder / TALLIES
    if "tallies_sha256" not in record or not path.is_file():
        return None
    tallies = read_tallies(path, record["tallies_sha256"],
                           f"`rm {shlex.quote(str(path))}`, and there are no intervals")
    model = record.get("weights_checksum")
    if model is None:  # an earlier version did not record it
        model = _checksum_of(folder, record.get("weights", ""))
    return replace(tallies, model=model, seed=record.get("seed"))


def summarise(setup: Setup, results: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation over the seeds, the baselines, and what is needed to cite them."""
    spread = spread_of([result["figures"] for result in results.values()])
    tallies = {seed: read_seed(setup.seed_folder(seed)) for seed in results}
    complete = all(tallies.values())
    runs = [*tallies.values()] if complete else []
    remarks = [*setup.remarks(), *_remarks_on_intervals(setup, tallies),
               *(remark for result in results.values()
                 for remark in setup.problem.remarks(result))]
    return {
        "problem": setup.problem.name, "title": setup.problem.title, "folder": str(setup.folder),
        "chosen_by": setup.problem.score,
        **setup.problem.record,
        "protocol": setup.cfg.protocol, "reported": setup.reported,
        "tiles": {part: len(indices) for part, indices in setup.lists.items()},
        "seeds": list(results),
        "mean": {name: mean for name, (mean, _) in spread.items()},
        "std": {name: std for name, (_, std) in spread.items()},
        "intervals": intervals(sampled_figures(runs)), "bootstrap": bootstrap_of(runs),
        "epochs": {str(seed): result["epoch"] for seed, result in results.items()},
        "per_seed": {str(seed): result["figures"] for seed, result in results.items()},
        "val_per_seed": {str(seed): result["val"] for seed, result in results.items()},
        "calibration": {str(seed): result.get("calibration") for seed, result in results.items()},
        "baselines": setup.problem.baselines(), "remarks": list(dict.fromkeys(remarks)),
        "checkpoint": {"path": str(setup.trained.path), "sha256": setup.trained.sha256}
        if setup.trained else None, "image_weights": setup.image_weights,
        "network": setup.build, "config": asdict(setup.cfg), "versions": versions(_NETWORK),
    }


def spread_of(figures: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Return mean and deviation of each figure over the runs that have it."""
    names = dict.fromkeys(name for each in figures for name in each)
    return {name: mean_std([each.get(name, math.nan) for each in figures]) for name in names}


def _tallied(run: Run, measured: Measured) -> tuple[Tallies, dict[str, Any]]:
    """Return what the reported tiles add to the figures, and how sure the model may be: its
    `figures`, and the `record` of results.json."""
    values, record = run.problem.calibrate(measured.tallies, run)
    names = run.reported_tiles.names
    classes = getattr(run.problem, "classes", ())
    tallies = Tallies(tuple(names), places(names, run.setup.dataset.names),
                      {name: value.numpy() for name, value in values.items()}, classes,
                      run.cfg.protocol)
    figures = tallies.overall
    return tallies, {"figures": {name: figures[name] for name in run.problem.calibrated
                                 if not np.isnan(figures[name])}, "record": record}


def _remarks_on_intervals(setup: Setup, tallies: Mapping[int, Tallies | None]) -> list[str]:
    if missing := [str(seed) for seed, of_seed in tallies.items() if of_seed is None]:
        return [f"no intervals: seed {', '.join(missing)} has no {TALLIES}, which a new save_path= "
                "would have"]
    blocks = bootstrap_of([*tallies.values()])["blocks"]
    if blocks >= FEW:
        return []
    what = f"the {setup.reported} tiles make {blocks} block{'s' * (blocks != 1)} of neighbours"
    if blocks < 2:
        return [f"no intervals: {what}, expected {FEW} or more"]
    return [f"{what}, expected {FEW} or more: the intervals are rough, and mostly too narrow"]


def _figures_of_best(run: Run, names: Iterable[str]) -> dict[str, float] | None:
    """Return the chosen epoch's figures on val; None for a model that was not trained."""
    return next(({name: row[name] for name in names} for row in run.rows
                 if row["epoch"] == run.best["epoch"]), None)


def _write_predictions(run: Run, measured: Measured) -> None:
    rows = [{"tile": name, **dict(zip(run.problem.detail, detail, strict=True))}
            for name, detail in zip(run.reported_tiles.names, measured.details, strict=True)]
    write_csv(run.folder / PREDICTIONS, rows)


def _checksum_of(folder: Path, weights: str) -> str:
    """Return the checksum in the file of a seed's `weights`; "" if it is gone, or not Rose's."""
    path = folder / BEST if weights == BEST else Path(weights)
    return checksum_in(path) if path.suffix == ".safetensors" and path.is_file() else ""


def _measured_weights(setup: Setup) -> str:
    """Return where the weights of a model that was not trained come from."""
    if setup.network:
        return str(setup.network.path)
    return (setup.image_weights or {"path": f"timm's {setup.build['image_encoder']}"})["path"]
