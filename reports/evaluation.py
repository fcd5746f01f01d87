"""The section of an evaluation: figures beside baselines, each seed's curves and pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.blocks import Block, Section, bars, drawn, facts, folded, settings, table, tabs
from reports.figures import better_of, drawn_in_words, with_interval
from reports.markup import Markup, element
from reports.read import colour, csv_rows, json_object, number, reading
from utils.contents import Fields, Items, Number, Table, Whole
from utils.style import class_colours
from utils.tables import format_number, format_share, label_of, with_std

RESULTS = "results.json"
_INTERVALS = Table(Items([Number(), Number()]))
_BOOTSTRAP = Fields({"blocks": Whole(), "side": Items(Whole()), "draws": Whole(),
                     "level": Number()}, {"seeds": Items(Whole(least=1))})
FURTHEST = 10   # tiles of a regression that are listed


@dataclass(frozen=True)
class Results:
    """results.json of an evaluation; a figure is nan if it is not defined."""

    mean: Mapping[str, float]                     # figure -> over the seeds
    std: Mapping[str, float]                      # figure -> over the seeds
    baselines: Mapping[str, Mapping[str, float]]  # label -> figure -> value
    intervals: Mapping[str, Sequence[float]]      # figure -> its ends, of figures that have one
    seeds: Sequence[str]
    record: Mapping[str, Any]                     # the whole file
    classes: Sequence[str]                        # of a segmentation, in the order of their numbers
    colours: Sequence[str]                        # of the classes

    @property
    def several(self) -> bool:
        return len(self.seeds) > 1

    def of_baselines(self, name: str) -> list[float]:
        """Return a figure of all baselines for which it is defined."""
        values = [baseline.get(name, math.nan) for baseline in self.baselines.values()]
        return [value for value in values if not math.isnan(value)]


def is_evaluation(folder: Path) -> bool:
    """Return whether a folder holds the results of an evaluation, of all its seeds."""
    path = folder / RESULTS
    return path.is_file() and b'"per_seed"' in path.read_bytes()


def evaluation_section(folder: Path) -> Section:
    """Return the section of the evaluation in `folder`; raise ReportError if a file is missing or
    cannot be read."""
    with reading(folder / RESULTS, "the results of an evaluation"):
        record = json_object(folder / RESULTS)
        if "bootstrap" in record:
            _BOOTSTRAP.check(record["bootstrap"], "bootstrap")
        baselines = {str(name): _figures(values) for name, values in record["baselines"].items()}
        mean = _figures(record["mean"])
        classes = [name.removeprefix("iou_") for name in mean if name.startswith("iou_")]
        colours = [colour(text) for text in
                   record.get("class_colours") or class_colours(classes)]
        if len(colours) != len(classes):
            raise ValueError(f"class_colours has {len(colours)} for {len(classes)} classes")
        results = Results(mean, _figures(record["std"]), baselines,
                          _INTERVALS.check(record.get("intervals", {}), "intervals"),
                          [str(seed) for seed in record["seeds"]], record, classes, colours)
        title, lines, evaluated = str(record["title"]), _lines(record), _evaluated(record)
        config, versions = dict(record["config"]), dict(record["versions"])
        remarks = [element("p", element("b", "Note: "), str(remark), class_="remark")
                   for remark in record["remarks"]]
    blocks = [Block("Figures beside the baselines", [_figures_table(results), *remarks])]
    if results.classes:
        blocks.append(Block("Classes", [_class_bars(results)]))
    blocks += [Block("Each seed" if results.several else "Training and predictions",
                     [tabs({f"seed {seed}": _seed(folder / f"seed_{seed}", results)
                            for seed in results.seeds}, "seed")]),
               Block("What was evaluated", [facts(evaluated), settings(config, "All keys"),
                                            settings(versions, "Versions of the libraries")])]
    return Section("Evaluation", f"{title}: {folder.resolve().name}", folder, lines,
                   _headline(results), blocks)


def _figures(values: Mapping[str, float | None]) -> dict[str, float]:
    return {str(name): number(value) for name, value in values.items()}


def _lines(record: Mapping[str, Any]) -> list[str]:
    tiles, reported = record["tiles"], record["reported"]
    measured = f"Measured on {tiles[reported]:,} {reported} tiles"
    if record["config"]["mode"] == "knn":
        return [f"{measured}, by the {record['config']['knn_k']} nearest "
                f"{'patches' if record['problem'] == 'segmentation' else 'tiles'} of "
                f"{tiles['train']:,} training tiles; nothing is trained."]
    if not record["config"]["epochs"]:
        return [f"{measured}; the model is taken as it is, without training."]
    chosen = ("the same chose the epoch" if reported == "val"
              else f"{tiles['val']:,} more chose the epoch")
    return [f"{measured}, after training on {tiles['train']:,} others; {chosen}."]


def _headline(results: Results) -> list[tuple[str, str, str]]:
    headline = []
    for name in results.mean:
        if (choose := better_of(name)) is None:
            continue
        better = "higher" if choose is max else "lower"
        best = choose(results.of_baselines(name), default=math.nan)
        than = "" if math.isnan(best) else f"; best baseline {format_number(best)}"
        headline.append((label_of(name), with_std(results.mean[name], results.std.get(name)),
                         f"{better} is better{than}"))
    return headline


def _figures_table(results: Results) -> Markup:
    rows = [[label_of(name), element("strong", with_interval(value, results.std.get(name),
                                                             results.intervals.get(name))),
             *(format_number(values.get(name, math.nan)) for values in results.baselines.values())]
            for name, value in results.mean.items()]
    seeds = ", ".join(results.seeds)
    seeds = f"mean ± standard deviation of seeds {seeds}" if results.several else f"seed {seeds}"
    caption = f"This model ({seeds}{_bootstrap(results)}), and what needs no image: the baselines"
    return element("div", table(["", "this model", *results.baselines], rows, caption),
                   class_="figures")


def _bootstrap(results: Results) -> str:
    """Return in words how the intervals come about; nothing if there are none."""
    how = results.record.get("bootstrap")
    return (f"; in brackets {number(how['level']):.0%} intervals: {drawn_in_words(how)}"
            if results.intervals and how else "")


def _class_bars(results: Results) -> Markup:
    names = results.classes
    rows = [(name, results.mean[f"iou_{name}"], fill,
             max(results.of_baselines(f"iou_{name}"), default=math.nan))
            for name, fill in zip(names, results.colours, strict=True)]
    return element("div", element("p", "Intersection over union of each class: 1 is perfect.",
                                  class_="note"), bars(rows, "the best baseline"), class_="narrow")


def _evaluated(record: Mapping[str, Any]) -> dict[str, Any]:
    config, checkpoint = record["config"], record["checkpoint"]
    weights = f"none: random weights ({record['network']['image_encoder']})"
    if checkpoint:
        digest = element("code", str(checkpoint["sha256"]), class_="hash")
        weights = [element("code", str(checkpoint["path"])), element("br"), "SHA-256 ", digest]
    elif image_weights := record.get("image_weights"):
        digest = element("code", str(image_weights["sha256"]), class_="hash")
        weights = ["none: random weights, and in the image encoder (",
                   str(record["network"]["image_encoder"]), ") those of ",
                   element("code", str(image_weights["path"])), element("br"), "SHA-256 ", digest]
    tuning = {name.replace("_", " "): config[name]
              for name, default in (("freeze", "none"), ("layer_decay", 1))
              if config.get(name, default) != default}
    epoch = {}
    if config["epochs"]:
        chosen = ", ".join(map(str, record["epochs"].values()))
        epoch["epoch chosen"] = (f"{chosen} of {config['epochs']}, by "
                                 f"{label_of(record['chosen_by'])} on val")
    how = ("knn_k",) if config["mode"] == "knn" else ("decoder", "target_scale")
    return {"modality": config["modality"], "mode": config["mode"],
            **{name.replace("_", " "): config[name] for name in how if name in config},
            "tiles": ", ".join(f"{count:,} {split}" for split, count in record["tiles"].items()),
            "data": element("code", str(config["data_root"])), "task": config["task"],
            **tuning, "protocol": record["protocol"], **epoch, "checkpoint": weights}


def _seed(folder: Path, results: Results) -> list[Markup | None]:
    classes = results.classes
    with reading(folder / RESULTS, "the result of a seed"):
        result = json_object(folder / RESULTS)
        epoch = int(result["epoch"])
        pixels = [[int(cell) for cell in row] for row in result["confusion"]] if classes else []
        if len(pixels) != len(classes) or any(len(row) != len(classes) for row in pixels):
            raise ValueError(f"a confusion of {len(pixels)} rows for {len(classes)} classes")
    curves = drawn(folder, "curves", "Losses and the score over the epochs",
                   "Left: the losses of training and of validation. Right: the score on val, by "
                   f"which epoch {epoch} was chosen.")
    curves = curves if results.record["config"]["epochs"] else None
    errors = drawn(folder, "error_map", "The tiles at their places in the city, coloured by error",
                   "Where the errors lie: each square is a tile at its place.", small=True)
    if classes:
        confusion = drawn(folder, "confusion", "Which class was taken for which",
                          _confusion_in_words(pixels, classes))
        sure = drawn(folder, "reliability", "Share of right pixels over the model's confidence",
                     "How sure the model is of its pixels, and how often it is right: on the "
                     "dashed line it is as often right as it is sure.", small=True)
        tiles = drawn(folder, "tiles", "Image, true classes and predicted classes of tiles",
                      "Tiles from the best to the worst of those reported, so that the whole "
                      "range is seen.")
        return [curves, confusion, tiles, element("div", errors, sure, class_="beside")]
    scatter = drawn(folder, "scatter", "Estimated over true totals of the tiles",
                    "Estimated over true totals.", small=True)
    return [curves, element("div", scatter, errors, class_="beside"),
            _furthest(folder / "predictions.csv")]


def _confusion_in_words(pixels: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    total, right = sum(map(sum, pixels)), sum(row[index] for index, row in enumerate(pixels))
    absent = [name for name, row in zip(classes, pixels, strict=True) if not any(row)]
    return (f"Classes taken for each other: {format_share(right / max(total, 1))} of {total:,} "
            "pixels right. Rows: the true class. Columns: what was predicted."
            + (f" Classes that are absent: {', '.join(absent)}." if absent else ""))


def _furthest(path: Path) -> Markup:
    """Return the tiles whose estimates are furthest from the truth, behind a title."""
    with reading(path, "a table with the columns tile, true and estimate"):
        rows = [(row["tile"], number(row["true"]), number(row["estimate"]))
                for row in csv_rows(path, ("tile", "true", "estimate"))]
    known = [row for row in rows if math.isfinite(row[1] - row[2])]
    known.sort(key=lambda row: -abs(row[1] - row[2]))
    return folded("The tiles furthest off", table(("tile", "true", "estimated"), known[:FURTHEST]))
