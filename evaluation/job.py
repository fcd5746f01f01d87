"""An evaluation from its keys to its results: all seeds, then what they give in words."""

import math
import sys
from pathlib import Path
from typing import Any

from lightning_fabric.utilities import rank_zero_only

from evaluation.keys import EvaluateConfig
from evaluation.probe_features import remove_features
from evaluation.problem import Problem
from evaluation.results import finish, read_result, summarise
from evaluation.run import RESULTS, Run, fit
from evaluation.setup import Setup
from reports import REPORT, write_report
from training.devices import launch
from utils.outputs import write_json
from utils.stopping import StopRequest
from utils.tables import label_of, text_table


def evaluate(cfg: EvaluateConfig, problem: Problem) -> dict[str, Any]:
    """Train and judge a model per seed, write all outputs, and return what results.json holds.

    Raises:
        RoseError: the data, the checkpoint or the folder cannot be used as asked, or a loss is not
            finite.
    """
    setup, stop = Setup(cfg, launch(cfg), problem), StopRequest()
    try:
        results = {seed: read_result(setup, seed) or _run_seed(setup, seed, stop)
                   for seed in cfg.seeds}
    finally:
        stop.forget()
        if setup.fabric.is_global_zero:
            remove_features(setup.folder)
    summary = summarise(setup, results)
    if setup.fabric.is_global_zero:
        write_json(setup.folder / RESULTS, summary)
        write_report([setup.folder], setup.folder / REPORT)
    return summary


def _run_seed(setup: Setup, seed: int, stop: StopRequest) -> dict[str, Any]:
    """Train and judge the model of a seed; the program ends instead where it was asked to stop
    while the seed before was judged."""
    if stop.agreed(setup.fabric):
        setup.fabric.print(f"Stopped by {stop.received} before seed {seed}. The same command "
                           "continues there.")
        sys.exit(0)
    with Run(setup, seed, stop) as run:
        fit(run)
        return finish(run)


def evaluate_and_tell(cfg: EvaluateConfig, problem: Problem) -> dict[str, Any]:
    """`evaluate`, and say what came of it."""
    summary = evaluate(cfg, problem)
    rank_zero_only(print)(in_words(summary))
    return summary


def figures_of(summary: dict[str, Any]) -> dict[str, float]:
    """Return the mean of each figure, followed by its standard deviation where there are several seeds."""
    spread = summary["std"]
    return {key: number for name, mean in summary["mean"].items()
            for key, number in ((name, mean), (f"{name}_std", spread[name]))
            if not (key.endswith("_std") and math.isnan(number))}


def in_words(summary: dict[str, Any]) -> str:
    """The summary as a reader wants it: what was evaluated on what, the figures beside those of
    the baselines, and where all lies."""
    config, tiles, seeds, checkpoint = (summary[name]
                                        for name in ("config", "tiles", "seeds", "checkpoint"))
    score = label_of(summary["chosen_by"])
    chosen = ", ".join(map(str, summary["epochs"].values()))
    several = len(seeds) > 1
    outputs = ("results.json", "metrics.csv", "predictions.csv", "best.safetensors", "figures/")
    folder = Path(summary["folder"])
    trained = f", trained on {tiles['train']}" if config["epochs"] else ""
    rates = f"linear_lr {config['linear_lr']:g}" if config[
        "mode"] == "linear" else f"lr {config['lr']:g}, lr_multi {config['lr_multi']:g}"
    kind = next(f"{name} {config[name]}" for name in ("decoder", "target_scale") if name in config)
    removed = f"{config['remove_ratio']:.0%} of their OSM objects removed" if config[
        "remove_ratio"] else ""
    return "\n".join([
        "",
        f"{summary['title']} on {tiles[summary['reported']]} {summary['reported']} "
        f"tiles{trained}:",
        f"  modality {config['modality']}, mode {config['mode']}, "
        + (f"weights of {checkpoint['path']}" if checkpoint else "random weights "
                                                                 f"({summary['network']['image_encoder']})"),
        f"  task {config['task']}: {kind}, {rates}, batch_size {config['batch_size']}, "
        f"{config['epochs']} epochs" if trained
        else "  measured as it is, without training",
        *([f"  {removed}" + (", and of the training and validation tiles'"
                             if config["remove_while_training"] else "")] if removed else []),
        *([f"  val chose by {score} epoch {chosen}"] if trained else []),
        f"  mean ± standard deviation of seeds {', '.join(map(str, seeds))}" if several
        else f"  seed {seeds[0]}",
        "",
        text_table({"this model": summary["mean"], **summary["baselines"]},
                   {"this model": summary["std"]} if several else None,
                   list(summary["mean"])),
        "",
        *(f"note: {remark}" for remark in summary["remarks"]),
        f"Outputs in {folder}: {REPORT}, a page for the browser, results.json of all seeds, and "
        "of each",
        *(f"  {folder / f'seed_{seed}'}: "
          f"{', '.join(name for name in outputs if (folder / f'seed_{seed}' / name).exists())}"
          for seed in seeds),
    ])
