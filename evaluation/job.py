"""An evaluation from its keys to its results: all seeds, then a summary in words."""

import math
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning_fabric.utilities import rank_zero_only

from datasets.osm_degradation import OsmDegradation
from evaluation.keys import EvaluateConfig, default_folder
from evaluation.probe_features import remove_features
from evaluation.problem import Problem
from evaluation.results import finish, read_result, summarise
from evaluation.run import METRICS, PREDICTIONS, RESULTS, Run, fit
from evaluation.setup import Setup
from evaluation.tallies import TALLIES
from models.network_file import BEST
from reports import REPORT, write_report
from reports.figures import drawn_in_words, with_interval
from training.devices import alone, launch, threads_that_pay
from training.own_city import width_of
from training.stopping import StopRequest
from utils.outputs import write_json
from utils.tables import label_of, text_table

_OUTPUTS = (RESULTS, METRICS, PREDICTIONS, TALLIES, BEST, "figures/")  # of a seed


def evaluate(cfg: EvaluateConfig, problem: Problem) -> dict[str, Any]:
    """Train and judge a model per seed, write all outputs, and return the content of results.json.

    Raises:
        RoseError: data, checkpoint or folder cannot be used as asked, or a loss is not finite.
        KeyboardInterrupt: asked to stop when nothing was left but to finish. All outputs are
            there, and the caller is not to begin the next run.
    """
    summary, stopped = _evaluate(cfg, problem)
    if stopped:
        raise KeyboardInterrupt
    return summary


def _evaluate(cfg: EvaluateConfig, problem: Problem) -> tuple[dict[str, Any], bool]:
    """Return what `evaluate` does, and whether it was asked to stop and yet is complete."""
    fabric, folder = launch(cfg), Path(default_folder(cfg))
    with alone(fabric, folder, "save_path"), ExitStack() as running:
        setup, stop = Setup(cfg, fabric, problem), StopRequest()
        running.enter_context(threads_that_pay(width_of(setup.build["image_encoder"])))
        for line in setup.shortcomings():  # now, before hours of training
            fabric.print(f"note: {line}")
        try:
            results = {seed: read_result(setup, seed) or _run_seed(setup, seed, stop)
                       for seed in cfg.seeds}
        finally:
            stop.forget()
            if fabric.is_global_zero:
                remove_features(folder)
        summary = summarise(setup, results)
        if fabric.is_global_zero:
            write_json(folder / RESULTS, summary)
            if cfg.pictures:
                write_report([folder], folder / REPORT)
    return summary, stop.received is not None


def evaluate_and_tell(cfg: EvaluateConfig, problem: Problem) -> dict[str, Any]:
    """Do what `evaluate` does, and print its summary in words. A request to stop that came when
    nothing was left but to finish changes nothing."""
    summary, _ = _evaluate(cfg, problem)
    rank_zero_only(print)(in_words(summary))
    return summary


def figures_of(summary: dict[str, Any]) -> dict[str, float]:
    """Return the mean of each figure and, with several seeds, its standard deviation."""
    figures = {}
    for name, mean in summary["mean"].items():
        figures[name] = mean
        if not math.isnan(summary["std"][name]):
            figures[f"{name}_std"] = summary["std"][name]
    return figures


def score_of(summary: dict[str, Any]) -> float:
    """Return the figure that chose the epochs, as the mean over the seeds."""
    return summary["mean"][summary["chosen_by"]]


def _run_seed(setup: Setup, seed: int, stop: StopRequest) -> dict[str, Any]:
    """Train and judge a seed's model; exit if asked to stop while the seed before was judged."""
    if stop.agreed(setup.fabric):
        setup.fabric.print(f"Stopped by {stop.received} before seed {seed}. The same command "
                           "continues there.")
        sys.exit(0)
    setup.fabric.print(f"seed {seed}: building {setup.build['image_encoder']}")
    with Run(setup, seed, stop) as run:
        fit(run)
        return finish(run)


def in_words(summary: dict[str, Any]) -> str:
    """Return as text what was evaluated, the figures beside the baselines', and the files."""
    config, seeds, folder = summary["config"], summary["seeds"], Path(summary["folder"])
    reported, several = summary["reported"], len(seeds) > 1
    trained = f", trained on {summary['tiles']['train']}" if config["epochs"] else ""
    if config["mode"] == "knn":
        trained = f", by the nearest of {summary['tiles']['train']} training tiles"
    spread = (f"  mean ± standard deviation of seeds {', '.join(map(str, seeds))}" if several
              else f"  seed {seeds[0]}") + _bootstrap(summary)
    model = {name: with_interval(mean, summary["std"][name], summary["intervals"].get(name))
             for name, mean in summary["mean"].items()}
    table = text_table({"this model": model, **summary["baselines"]}, None, list(model))
    lines = ["", f"{summary['title']} on {summary['tiles'][reported]} {reported} tiles{trained}:",
             *_conditions(summary), spread, "", table, "",
             *(f"note: {remark}" for remark in summary["remarks"]),
             f"Outputs in {folder}: {f'{REPORT}, a page for the browser, ' * config['pictures']}"
             "results.json of all seeds, and of each"]
    for seed in seeds:
        own = folder / f"seed_{seed}"
        lines.append(f"  {own}: {', '.join(name for name in _OUTPUTS if (own / name).exists())}")
    return "\n".join(lines)


def _degradations(config: dict[str, Any]) -> list[str]:
    """Return what is done to the OSM objects, a phrase each."""
    what = OsmDegradation(config["remove_ratio"], config["remove_what"], config["osm_shift"],
                          config["osm_reads"])
    training = {"removed": config["remove_while_training"],
                "shifted": config["shift_while_training"], "read": True}
    return [phrase + (", and of the training and validation tiles'" if training[effect] else "")
            for effect, phrase in what.in_words().items()]


def _bootstrap(summary: dict[str, Any]) -> str:
    """Return in words how the intervals come about; nothing if there are none."""
    how = summary["bootstrap"]
    return f" [{how['level']:.0%} interval: {drawn_in_words(how)}]" if summary["intervals"] else ""


def _conditions(summary: dict[str, Any]) -> list[str]:
    """Return the lines that say which model was trained how."""
    config, checkpoint = summary["config"], summary["checkpoint"]
    encoder = summary["network"]["image_encoder"]
    weights = f"random weights ({encoder})"
    if checkpoint:
        weights = f"weights of {checkpoint['path']}"
    elif trained := config["image_weights"] or ("timm" if config["pretrained"] else None):
        weights = f"weights of {trained} in {encoder}, random ones elsewhere"
    lines = [f"  modality {config['modality']}, mode {config['mode']}, {weights}"]
    if config["epochs"]:
        kind = next(f"{name} {config[name]}" for name in ("decoder", "target_scale")
                    if name in config)
        rates = (f"linear_lr {config['linear_lr']:g}" if config["mode"] == "linear"
                 else f"lr {config['lr']:g}, lr_multi {config['lr_multi']:g}")
        if config["freeze"] != "none":
            rates += f", freeze {config['freeze']}"
        if config["layer_decay"] < 1:
            rates += f", layer_decay {config['layer_decay']:g}"
        lines.append(f"  task {config['task']}: {kind}, {rates}, batch_size "
                     f"{config['batch_size']}, {config['epochs']} epochs")
    elif config["mode"] == "knn":
        lines.append(f"  {config['knn_k']} neighbours by cosine, without training")
    else:
        lines.append("  measured as it is, without training")
    lines += [f"  {phrase}" for phrase in _degradations(config)]
    if config["epochs"]:
        lines.append(f"  val chose by {label_of(summary['chosen_by'])} epoch "
                     f"{', '.join(map(str, summary['epochs'].values()))}")
    return lines
