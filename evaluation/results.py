"""The result of a finished run, and of all seeds of an evaluation together (results.json)."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from evaluation.pictures import save_pictures
from evaluation.run import PREDICTIONS, RESULTS, Measured, Run
from evaluation.setup import Setup
from evaluation.state import STATE, check_identity, start_again
from models.network_file import BEST
from training.devices import together
from utils.contents import Anything, Either, Fields, Null, Number, Table, Whole, read_json
from utils.errors import CheckpointError
from utils.outputs import write_csv, write_json
from utils.tables import mean_std
from utils.versions import versions

_NETWORK = ("torchvision", "timm", "torch_geometric", "lightning-fabric", "torchmetrics")


def finish(run: Run) -> dict[str, Any]:
    """Measure the best epoch's model, write the result, and return it; all processes call it."""
    measured = run.measure(run.setup.reported)
    result = {
        "seed": run.seed, "epoch": run.best["epoch"] if run.best else 0,
        "figures": measured.figures, "loss": measured.loss,
        "val": _figures_of_best(run, measured.figures),
        **run.problem.extras(measured.metrics, measured.details),
        "weights": BEST if run.best else str(run.setup.network.path),
        "identity": run.setup.identity(run.seed),
    }
    with together(run.fabric):
        if run.fabric.is_global_zero:
            _write_predictions(run, measured)
            save_pictures(run, measured)
            write_json(run.folder / RESULTS, result)  # last: a folder that has it is finished
            (run.folder / STATE).unlink(missing_ok=True)
    return result


def read_result(setup: Setup, seed: int) -> dict[str, Any] | None:
    """Return the result of a seed, null as nan among the figures; None if it is not finished.

    Raise CheckpointError if the folder holds another run's result, or an unreadable one.
    """
    path = setup.seed_folder(seed) / RESULTS
    if not path.is_file() or setup.cfg.resume == "never":
        return None
    remedy = start_again(path)
    identified = read_json(path, Fields({"identity": Table(Anything())}), remedy, CheckpointError)
    check_identity(path, identified["identity"], setup.identity(seed), setup.defaults)
    names = list(next(iter(setup.problem.baselines().values())))
    figures = Fields(dict.fromkeys(names, Either([Number(), Null()])))
    result = read_json(path, Fields({
        "seed": Whole(least=seed, most=seed), "epoch": Whole(least=0), "figures": figures,
        "val": Either([figures, Null()]), **setup.problem.extras_rules}), remedy, CheckpointError)
    known = {name: result["figures"][name] for name in names}
    return result | {"figures": {name: math.nan if number is None else number
                                 for name, number in known.items()}}


def summarise(setup: Setup, results: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation over the seeds, the baselines, and what is needed to cite them."""
    spread = {name: mean_std([result["figures"][name] for result in results.values()])
              for name in next(iter(results.values()))["figures"]}
    remarks = [*setup.remarks(),
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
        "epochs": {str(seed): result["epoch"] for seed, result in results.items()},
        "per_seed": {str(seed): result["figures"] for seed, result in results.items()},
        "val_per_seed": {str(seed): result["val"] for seed, result in results.items()},
        "baselines": setup.problem.baselines(), "remarks": list(dict.fromkeys(remarks)),
        "checkpoint": {"path": str(setup.trained.path), "sha256": setup.trained.sha256}
        if setup.trained else None,
        "network": setup.build, "config": asdict(setup.cfg), "versions": versions(_NETWORK),
    }


def _figures_of_best(run: Run, names: Iterable[str]) -> dict[str, float] | None:
    """Return the chosen epoch's figures on val; None for a model that was not trained."""
    return next(({name: row[name] for name in names} for row in run.rows
                 if row["epoch"] == run.best["epoch"]), None)


def _write_predictions(run: Run, measured: Measured) -> None:
    rows = [{"tile": name, **dict(zip(run.problem.detail, detail, strict=True))}
            for name, detail in zip(run.reported_tiles.names, measured.details, strict=True)]
    write_csv(run.folder / PREDICTIONS, rows)
