"""The section of a study that compares evaluations, cell by cell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reports.blocks import Block, Section, drawn, facts, folded, settings, table
from reports.comparison import TALL, Compared, Estimate, comparison, differing, matrices, signs
from reports.differences import DIFFERENCE, differences_block, interval_of
from reports.evaluation import RESULTS
from reports.figures import better_of
from reports.links import run_link
from reports.markup import Markup, element
from reports.read import json_object, number, reading
from utils.contents import Anything, Either, Fields, Items, Null, Number, Table, Text, Whole
from utils.tables import format_number, label_of, with_std

_FIGURES = Table(Either([Number(), Null()]))
_BOUND = Either([Number(), Null()])
_CELL = Fields({"mean": _FIGURES, "std": _FIGURES, "tiles": Table(Whole(least=0)),
                "baselines": Table(_FIGURES), "remarks": Items(Text()), "folders": Items(Text()),
                "per_seed": Table(_FIGURES), "epochs": Table(Whole(least=0)),
                "evaluation": Table(Anything())},
               {"intervals": Table(Either([Items([_BOUND, _BOUND]), Null()])),
                "reported_tiles": Whole(least=0)})  # of all folds together
_STUDY = Fields({"study": Text(), "problem": Text(), "score": Text(), "reported": Text(),
                 "notes": Items(Text()), "cells": Items(_CELL, least=1),
                 "config": Table(Anything()), "versions": Table(Anything())},
                {"differences": Items(DIFFERENCE), "seeds_drawn": Items(Whole(least=1)),
                 "evaluation_overrides": Items(Text()), "checkpoint": Anything(),
                 "protocol": Text(), "how": Text()})
_OF_A_CELL = {*_CELL.required, *_CELL.optional, "calibration"}  # its other names are its keys
_PROBLEMS = {"seg": "land use", "pop": "population", "co2": "CO2 emission"}
_NOTES = 6                             # shown before the rest is folded
_FUSED = ("fusion", "fine")            # the modalities in which Rose reads image and OSM
_OF_THE_MODEL = ("modality", "mode")   # keys that choose a model, not what it is given


def is_study(folder: Path) -> bool:
    """Return whether a folder holds a study that compares evaluations."""
    return holds(folder, b'"study"', b'"cells"')


def holds(folder: Path, *names: bytes) -> bool:
    """Return whether a folder has results in which all `names` occur."""
    path = folder / RESULTS
    return path.is_file() and all(name in path.read_bytes() for name in names)


def unfinished(folder: Path) -> int:
    """Return of how many models a folder without results of its own has runs, as of a study that
    has not ended."""
    if (folder / RESULTS).is_file() or any(folder.glob("seed_*")):
        return 0
    return len({path.relative_to(folder).parts[0] for pattern in ("*/seed_*", "*/*/seed_*")
                for path in folder.glob(pattern) if path.is_dir()})


def study_section(folder: Path, page: Path, report: str) -> Section:
    """Return the section of the study in `folder`; raise ReportError if a file cannot be read.

    Args:
        page: the folder of the page.
        report: the name of the runs' own pages.
    """
    with reading(folder / RESULTS, "the results of a study"):
        record = _STUDY.check(json_object(folder / RESULTS), "")
        return _section(record, folder, page, report)


def _section(record: dict[str, Any], folder: Path, page: Path, report: str) -> Section:
    cells, score = record["cells"], record["score"]
    models = _models(cells, folder, page, report)
    rivals = _rivals(cells, models)
    models = [_marked(row, beaten) for row, beaten in zip(models, rivals, strict=True)]
    without = [_without_model(cell, beaten) for cell, beaten in zip(cells, rivals, strict=True)]
    # those of the last cell, whose training list is the largest if they differ
    last = list(_without_model(cells[-1], [row for rows in rivals for row in rows]).values())
    names = [name for name in cells[0]["mean"] if not name.startswith("iou_")]
    classes = [name for name in cells[0]["mean"] if name.startswith("iou_")]
    spread = _spread(record)
    order = [score, *(name for name in names if name != score)]
    listed = comparison(models, last, names, "model")
    if (matrix := matrices(models, without, order)) and len(models) > TALL:
        listed = folded("All models as a list", listed)
    signed = signs(any(row.ahead for row in [*models, *last]),
                   any(cell.get("intervals") for cell in cells),
                   f"the standard deviation of {spread}" if spread else "")
    blocks = [Block("All models", [matrix, listed, signed, *_notes(record, models)])]
    if record.get("differences"):
        blocks.append(differences_block(record["differences"], score,
                                        record.get("seeds_drawn", ())))
    figure = drawn(folder, record["study"] if record["study"].isidentifier() else "study",
                   "The score of all models", f"{label_of(score)} of all models.")
    blocks += [Block("Drawn", [figure])] if figure else []
    if classes:
        blocks.append(Block("Classes", [comparison(models, last, classes, "model", max)]))
    blocks += [Block("The runs", [
        element("p", "Behind each model: its runs, a seed each.", class_="note"),
        *(_runs(f"{place}: {_named(model)}", cell, folder, page, report)
          for place, (cell, model) in enumerate(zip(cells, models, strict=True), 1))]),
        Block("What was asked", _asked(record))]
    study = record["study"].replace("_", " ").capitalize().replace("osm", "OSM")
    return Section("Study", f"{study}: {folder.resolve().name}", folder, [_line(record, spread)],
                   _headline(models, last, score), blocks)


def _models(cells: Sequence[Mapping[str, Any]], folder: Path, page: Path,
            report: str) -> list[Compared]:
    """Return a row a cell, with the keys in which the cells differ."""
    keys = [{name: _short(value) for name, value in cell.items() if name not in _OF_A_CELL}
            for cell in cells]
    shown = differing(keys)
    return [Compared({name: given.get(name, "") for name in shown}, _estimates(cell),
                     run_link(next(iter(run_folders(folder, cell)), folder / "-"), str(row), page,
                              report))
            for row, (cell, given) in enumerate(zip(cells, keys, strict=True), 1)]


def _rivals(cells: Sequence[Mapping[str, Any]],
            models: Sequence[Compared]) -> list[list[Compared]]:
    """Return for each cell the rows of Rose itself under the same keys, or all if there is none.

    Rose are the cells that fuse both modalities, and are pretrained where any is.
    """
    def key(cell: Mapping[str, Any], name: str) -> Any:
        return cell.get(name, cell["evaluation"].get(name))

    fused = [place for place, cell in enumerate(cells) if key(cell, "modality") in _FUSED]
    rose = [place for place in fused if key(cells[place], "mode") != "scratch"] or fused
    given = [{name: value for name, value in model.keys.items() if name not in _OF_THE_MODEL}
             for model in models]
    return [[models[place] for place in rose if given[place] == mine]
            or [models[place] for place in rose] for mine in given]


def _marked(row: Compared, rivals: Sequence[Compared]) -> Compared:
    """Return a row with the figures in which it is better than each of its `rivals`."""
    ahead = set()
    for name, (value, *_) in row.figures.items():
        choose = better_of(name) or (max if name.startswith("iou_") else None)
        others = [mean for rival in rivals
                  if not math.isnan(mean := rival.figures.get(name, Estimate()).mean)]
        if choose and others and not math.isnan(value) and value not in others:
            ahead |= {name} if choose(value, *others) == value else set()
    return replace(row, ahead=frozenset(ahead))


def _without_model(cell: Mapping[str, Any], rivals: Sequence[Compared]) -> dict[str, Compared]:
    """Return a cell's predictions without a model, by label."""
    return {label: _marked(Compared({}, {name: Estimate(number(value))
                                         for name, value in values.items()},
                                    f"without a model: {label}"), rivals)
            for label, values in cell["baselines"].items()}


def _estimates(cell: Mapping[str, Any]) -> dict[str, Estimate]:
    return {name: Estimate(number(mean), number(cell["std"].get(name)),
                           interval_of(cell.get("intervals", {}).get(name)))
            for name, mean in cell["mean"].items()}


def _notes(record: Mapping[str, Any], models: Sequence[Compared]) -> list[Markup]:
    """Return what a reader must know, the less important of many folded."""
    remarks = [*record["notes"], *_remarks(record["cells"], models)]
    more = remarks[_NOTES:]
    return [*(element("p", element("b", "Note: "), remark, class_="remark")
              for remark in remarks[:_NOTES]),
            *[folded(f"{len(more)} more notes", element(
                "ul", [element("li", remark) for remark in more], class_="plain"))] * bool(more)]


def _remarks(cells: Sequence[Mapping[str, Any]], models: Sequence[Compared]) -> list[str]:
    """Return the cells' remarks, each with its models unless all have it."""
    having: dict[str, list[str]] = {}
    for cell, model in zip(cells, models, strict=True):
        for remark in dict.fromkeys(cell["remarks"]):
            having.setdefault(remark, []).append(_named(model))
    return [remark if len(names) == len(cells) else f"{remark} ({'; '.join(names)})"
            for remark, names in having.items()]


def _line(record: Mapping[str, Any], spread: str) -> str:
    cells, reported = record["cells"], record["reported"]
    protocol = f", protocol={record['protocol']}" if "protocol" in record else ""
    counts = [cell.get("reported_tiles", cell["tiles"].get(reported, 0)) for cell in cells]
    trained = [cell["tiles"].get("train", 0) for cell in cells]
    how = f" ({record['how']})" if "how" in record else ""
    return (f"{len(cells)} models of {_PROBLEMS.get(record['problem'], record['problem'])}{how}, "
            f"trained on {_range(trained)} tiles, measured on {_range(counts)} {reported} "
            f"tiles{protocol}; "
            f"{f'mean ± standard deviation of {spread}' if spread else 'one seed'}.")


def _range(counts: Sequence[int]) -> str:
    return " to ".join(dict.fromkeys(f"{count:,}" for count in (min(counts), max(counts))))


def _spread(record: Mapping[str, Any]) -> str:
    """Return what figures are the mean of, in words; nothing of a single run."""
    runs = max(len(cell["per_seed"]) for cell in record["cells"])
    if not (folds := record["config"].get("folds")):
        return f"{runs} seeds" if runs > 1 else ""
    seeds = runs // int(folds)
    return f"{seeds} seed{'s' * (seeds > 1)} x {folds} folds"


def _runs(title: str, cell: Mapping[str, Any], folder: Path, page: Path,
          report: str) -> Markup:
    """Return a model's runs, folded: each seed's epoch and figures, folders and pages, tiles."""
    names = [name for name in cell["mean"] if not name.startswith("iou_")]
    seeds = table(["seed", "epoch chosen", *map(label_of, names)],
                  [[seed, cell["epochs"].get(seed), *(number(figures.get(name)) for name in names)]
                   for seed, figures in cell["per_seed"].items()])
    pages = [element("li", element("code", str(own)), " ",
                     run_link(own, "its page", page, report) if (own / report).is_file() else None)
             for own in run_folders(folder, cell)]
    tiles = ", ".join(f"{count:,} {split}" for split, count in cell["tiles"].items())
    fold = cell["evaluation"].get("fold")
    of_fold = f" of fold {fold}" if fold else ""
    return folded(title, seeds, facts({f"tiles{of_fold}": tiles}),
                  element("ul", pages, class_="plain") if pages else None,
                  settings(cell["evaluation"], f"All keys of its evaluation{of_fold}"))


def run_folders(folder: Path, cell: Mapping[str, Any]) -> list[Path]:
    """Return the folders of a cell's runs that are there, wherever the study was moved to."""
    found = []
    for recorded in cell["folders"]:
        parts = [part for part in Path(recorded).parts if part not in ("/", "..")]
        beside = [base.joinpath(*parts[-count:]) for base in (folder, folder.parent)
                  for count in (3, 2, 1) if count <= len(parts)]
        found += [next(filter(Path.is_dir, beside))] if any(map(Path.is_dir, beside)) else []
    return found


def _asked(record: Mapping[str, Any]) -> list[Markup]:
    evaluations = [cell["evaluation"] for cell in record["cells"]]
    common = {name: value for name, value in evaluations[0].items()
              if all(name in each and each[name] == value for each in evaluations)}
    overrides = " ".join(record.get("evaluation_overrides", [])) or "none"
    checkpoint = record.get("checkpoint")
    weights = (str(checkpoint.get("path")) if isinstance(checkpoint, Mapping)
               else "none: from scratch")
    return [facts({"checkpoint": element("code", weights),
                   "keys of the evaluation that were given": element("code", overrides)}),
            settings(record["config"], "All keys of the study"),
            settings(common, "Keys that all evaluations share"),
            settings(record["versions"], "Versions of the libraries")]


def _headline(models: Sequence[Compared], others: Sequence[Compared],
              score: str) -> list[tuple[str, str, str]]:
    """Return the best model's score, and that of the best prediction without a model."""
    choose = better_of(score) or max
    known = [row for row in models if not math.isnan(_mean(row, score))]
    if not known:
        return []
    best = choose(known, key=lambda row: _mean(row, score))
    values = [value for row in others if not math.isnan(value := _mean(row, score))]
    without = f"; without a model {format_number(choose(values))}" if values else ""
    estimate = best.figures[score]
    return [(label_of(score), with_std(estimate.mean, estimate.std),
             f"the best: {_named(best)}{without}")]


def _mean(row: Compared, score: str) -> float:
    return row.figures.get(score, Estimate()).mean


def _named(model: Compared) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in model.keys.items())


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
