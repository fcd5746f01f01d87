"""An evaluation from its keys to its results: all seeds, then what they give in words."""

from pathlib import Path
from typing import Any

from lightning_fabric.utilities import rank_zero_only

from utils.config import EvaluateConfig
from utils.devices import launch
from utils.evaluation.features import remove_features
from utils.evaluation.pictures import save_pictures
from utils.evaluation.problem import Problem
from utils.evaluation.results import finish, read_result, summarise, write_json
from utils.evaluation.run import RESULTS, Run, fit
from utils.evaluation.setup import Setup
from utils.evaluation.tables import label_of, text_table


def evaluate(cfg: EvaluateConfig, problem: Problem) -> dict[str, Any]:
    """Train and judge a model per seed, write all outputs, and return what results.json holds.

    Raises:
        RoseError: the data, the checkpoint or the folder cannot be used as asked, or a loss is not finite.
    """
    setup = Setup(cfg, launch(cfg), problem)
    results = {}
    for seed in cfg.seeds:
        results[seed] = read_result(setup, seed)
        if results[seed] is None:
            with Run(setup, seed) as run:
                fit(run)
                results[seed], measured = finish(run)
                if setup.fabric.is_global_zero:
                    save_pictures(run, measured)
    summary = summarise(setup, results)
    if setup.fabric.is_global_zero:
        remove_features(setup.folder)
        write_json(setup.folder / RESULTS, summary)
    return summary


def evaluate_and_tell(cfg: EvaluateConfig, problem: Problem) -> dict[str, Any]:
    """`evaluate`, and say what came of it."""
    summary = evaluate(cfg, problem)
    rank_zero_only(print)(in_words(summary))
    return summary


def in_words(summary: dict[str, Any]) -> str:
    """The summary as a reader wants it: what was evaluated on what, the figures beside those of the baselines, and where all lies."""
    config, tiles, seeds, checkpoint = (summary[name] for name in ("config", "tiles", "seeds", "checkpoint"))
    score = label_of(summary["chosen_by"])
    chosen = ", ".join(map(str, summary["epochs"].values()))
    several = len(seeds) > 1
    outputs = ("results.json", "metrics.csv", "predictions.csv", "best.safetensors", "figures/")
    folder = Path(summary["folder"])
    return "\n".join([
        "",
        f"{summary['title']} on {tiles[summary['reported']]} {summary['reported']} tiles, learnt from {tiles['train']}:",
        f"  modality {config['modality']}, mode {config['mode']}, "
        + (f"weights of {checkpoint['path']}" if checkpoint else f"random weights ({summary['network']['image_encoder']})"),
        f"  epoch {chosen} of {config['epochs']}, chosen on val by {score}" if config["epochs"] else "  measured as it is",
        f"  mean ± standard deviation of seeds {', '.join(map(str, seeds))}" if several else f"  seed {seeds[0]}",
        "",
        text_table({"this model": summary["mean"], **summary["baselines"]}, {"this model": summary["std"]} if several else None,
                   list(summary["mean"])),
        "",
        *(f"note: {remark}" for remark in summary["remarks"]),
        f"Outputs in {folder}: results.json of all seeds, and of each",
        *(f"  {folder / f'seed_{seed}'}: {', '.join(name for name in outputs if (folder / f'seed_{seed}' / name).exists())}"
          for seed in seeds),
    ])
