"""The section of an evaluation: its figures beside the baselines, then each seed's curves,
confusion and pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.chart import Series, bar_chart, line_chart, scatter_chart
from reports.confusion import confusion_table
from reports.markup import Markup, element
from reports.parts import Block, Section, facts, pictured, settings, table, tabs
from reports.read import csv_rows, json_object, number, reading
from utils.style import class_colours
from utils.tables import format_number, label_of, with_std

RESULTS = "results.json"
MANY_POINTS = 2000   # from which a scatter is shown as the picture that was drawn of it
_WIDE = 50           # times as great as the least: a logarithmic axis of losses
# whether more of a figure is better
_HIGHER = {"miou": True, "f1": True, "r2": True, "mae": False, "rmse": False}
_PICTURES = {
    "tiles": ("Image, true classes and predicted classes of tiles from the best to the worst",
              "Tiles from the best to the worst of those reported, so that the whole range is "
              "seen."),
    "scatter": ("Estimated over true totals of the tiles", "Estimated over true totals."),
    "error_map": ("The tiles at their places in the city, coloured by their error",
                  "Where the errors lie: each square is a tile at its place."),
}


@dataclass(frozen=True)
class Results:
    """results.json of an evaluation; a figure is nan where it is not defined.

    Attributes:
        mean, std: figure -> over the seeds.
        baselines: label -> figure -> value.
        whole: the file as it is.
    """

    mean: Mapping[str, float]
    std: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    seeds: Sequence[str]
    whole: Mapping[str, Any]

    @property
    def classes(self) -> list[str]:
        """Of a segmentation, in the order of their numbers."""
        return [name.removeprefix("iou_") for name in self.mean if name.startswith("iou_")]

    @property
    def several(self) -> bool:
        return len(self.seeds) > 1


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds the results of an evaluation, of all its seeds."""
    path = folder / RESULTS
    return path.is_file() and b'"per_seed"' in path.read_bytes()


def evaluation_section(folder: Path) -> Section:
    """The section of the evaluation in `folder`.

    Raises:
        ReportError: one of its files is missing or cannot be read.
    """
    with reading(folder / RESULTS, "the results of an evaluation"):
        found = json_object(folder / RESULTS)
        baselines = {str(name): _figures(values) for name, values in found["baselines"].items()}
        results = Results(_figures(found["mean"]), _figures(found["std"]), baselines,
                          [str(seed) for seed in found["seeds"]], found)
        title, lines, told = str(found["title"]), _lines(found), _told(found)
        config, versions, remarks = dict(found["config"]), dict(found["versions"]), [str(remark)
                                                                                     for remark in found["remarks"]]
    blocks = [Block("Figures beside the baselines", [_figures_table(results), *_remarks(remarks)])]
    if results.classes:
        blocks.append(Block("Classes", [_class_bars(results)]))
    blocks.append(Block("Each seed" if results.several else "Training and predictions",
                        [_seeds(folder, results)]))
    blocks.append(Block("What was evaluated", [facts(told), settings(config, "All keys"),
                                               settings(versions, "Versions of the libraries")]))
    return Section("Evaluation", f"{title}: {folder.resolve().name}", folder, lines,
                   _headline(results), blocks)


def _figures(values: Mapping[str, float | None]) -> dict[str, float]:
    return {str(name): number(value) for name, value in values.items()}


def _lines(found: Mapping[str, Any]) -> list[str]:
    tiles, config = found["tiles"], found["config"]
    measured = f"Measured on {tiles[found['reported']]:,} {found['reported']} tiles"
    if not config["epochs"]:
        return [f"{measured}; the model is taken as it is, without training."]
    chosen = "the same chose the epoch" if found[
        "reported"] == "val" else f"{tiles['val']:,} more chose the epoch"
    return [f"{measured}, after training on {tiles['train']:,} others; {chosen}."]


def _headline(results: Results) -> list[tuple[str, str, str]]:
    stated = []
    for name in [name for name in results.mean if name in _HIGHER]:
        known = [values[name] for values in results.baselines.values()
                 if not math.isnan(values.get(name, math.nan))]
        best = (max if _HIGHER[name] else min)(known, default=math.nan)
        remark = f"{'higher' if _HIGHER[name] else 'lower'} is better; best baseline {format_number(best)}"
        stated.append((label_of(name), with_std(results.mean[name], results.std.get(name)),
                       remark))
    return stated


def _figures_table(results: Results) -> Markup:
    rows = [[label_of(name), element("strong", with_std(value, results.std.get(name))),
             *(format_number(values.get(name, math.nan)) for values in results.baselines.values())]
            for name, value in results.mean.items()]
    seeds = f"mean ± standard deviation of seeds {', '.join(results.seeds)}" if results.several else f"seed {', '.join(results.seeds)}"
    caption = f"This model ({seeds}), and what needs no image: the baselines"
    return element("div", table(["", "this model", *results.baselines], rows, caption),
                   class_="figures")


def _remarks(remarks: Sequence[str]) -> list[Markup]:
    return [element("p", element("b", "Note: "), remark, class_="remark") for remark in remarks]


def _class_bars(results: Results) -> Markup:
    names = results.classes
    best = {name: max((values.get(f"iou_{name}", math.nan)
                       for values in results.baselines.values()), default=math.nan)
            for name in names}
    rows = [(name, results.mean[f"iou_{name}"], colour, best[name])
            for name, colour in zip(names, class_colours(names), strict=True)]
    return element("div", element("p", "Intersection over union of each class: 1 is perfect.",
                                  class_="note"),
                   bar_chart(rows, "the best baseline"), class_="narrow")


def _told(found: Mapping[str, Any]) -> dict[str, Any]:
    config, checkpoint = found["config"], found["checkpoint"]
    weights = f"none: random weights ({found['network']['image_encoder']})"
    if checkpoint:
        digest = element("code", str(checkpoint["sha256"]), class_="hash")
        weights = [element("code", str(checkpoint["path"])), element("br"), "SHA-256 ", digest]
    said = {"modality": config["modality"], "mode": config["mode"],
            **{name.replace("_", " "): config[name] for name in ("decoder", "target_scale")
               if name in config},
            "tiles": ", ".join(f"{count:,} {part}" for part, count in found["tiles"].items()),
            "data": element("code", str(config["data_root"])), "task": config["task"],
            "protocol": found["protocol"]}
    if config["epochs"]:
        chosen = ", ".join(map(str, found["epochs"].values()))
        said["epoch chosen"] = f"{chosen} of {config['epochs']}, by {label_of(found['chosen_by'])} on val"
    return {**said, "checkpoint": weights}


def _seeds(folder: Path, results: Results) -> Markup:
    return tabs({f"seed {seed}": _seed(folder / f"seed_{seed}", results)
                 for seed in results.seeds}, "seed")


def _seed(folder: Path, results: Results) -> list[Markup]:
    with reading(folder / RESULTS, "the result of a seed"):
        result = json_object(folder / RESULTS)
        epoch, classes = int(result["epoch"]), results.classes
        confusion = [[int(cell) for cell in row]
                     for row in result["confusion"]] if classes else None
        if confusion is not None and {len(classes)} != {len(confusion), *map(len, confusion)}:
            raise ValueError(f"a confusion of {len(confusion)} rows for {len(classes)} classes")
    content = _curves(folder, epoch, str(results.whole["chosen_by"]))
    if confusion is not None:
        return [*content, confusion_table(confusion, classes),
                *_pictures(folder, "tiles", "error_map")]
    points = _points(folder / "predictions.csv")
    if not 0 < len(points) <= MANY_POINTS:
        return [*content, *_pictures(folder, "scatter", "error_map")]
    scatter = scatter_chart("Estimated and true totals",
                            str(results.whole["title"]).removeprefix("Regression of "), points)
    return [*content, element("div", scatter, _pictures(folder, "error_map"), class_="charts")]


def _pictures(folder: Path, *names: str) -> list[Markup]:
    """Those of the figures that were drawn."""
    paths = {folder / "figures" / f"{name}.png": _PICTURES[name] for name in names}
    return [pictured(path, *said, small=path.stem != "tiles") for path, said in paths.items()
            if path.is_file()]


def _curves(folder: Path, epoch: int, score: str) -> list[Markup]:
    path = folder / "metrics.csv"
    if not path.is_file():  # measured without training
        return []
    with reading(path, f"a table with the columns epoch, train_loss, val_loss and {score}"):
        columns = ("epoch", "train_loss", "val_loss", score)
        rows = csv_rows(path, columns)
        epochs, train, val, scores = ([number(row[name]) for row in rows] for name in columns)
    known = [loss for loss in train + val if math.isfinite(loss)]
    if not known:
        return []
    mark = (epoch, f"chosen: epoch {epoch}")
    wide = min(known) > 0 and max(known) > _WIDE * min(known)
    charts = [line_chart("Loss", "epoch", epochs,
                         [Series("training", "image", train), Series("validation", "osm", val)],
                         mark, wide)]
    if not all(map(math.isnan, scores)):
        charts.append(line_chart(f"{label_of(score)} on val", "epoch", epochs,
                                 [Series(label_of(score), "osm", scores)], mark))
    return [element("div", charts, class_="charts")]


def _points(path: Path) -> list[tuple[str, float, float]]:
    """Name, true and estimated total of each tile."""
    with reading(path, "a table with the columns tile, true and estimate"):
        points = [(row["tile"], number(row["true"]), number(row["estimate"]))
                  for row in csv_rows(path, ("tile", "true", "estimate"))]
    return [point for point in points if math.isfinite(point[1]) and math.isfinite(point[2])]
