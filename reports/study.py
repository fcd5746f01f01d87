"""The sections of studies: of those that compare evaluations, cell by cell, and of attention."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.blocks import Block, Section, drawn, facts, settings, table
from reports.evaluation import RESULTS
from reports.figures import better_of
from reports.links import run_link
from reports.markup import element
from reports.read import json_object, number, reading
from utils.contents import Anything, Either, Fields, Items, Null, Number, Table, Text, Whole
from utils.tables import format_number, label_of, with_std

_FIGURES = Table(Either([Number(), Null()]))
_CELL = Fields({"mean": _FIGURES, "std": _FIGURES, "tiles": Table(Whole(least=0)),
                "baselines": Table(_FIGURES), "remarks": Items(Text()), "folders": Items(Text()),
                "per_seed": Table(_FIGURES), "epochs": Table(Whole(least=0)),
                "evaluation": Table(Anything())})
_STUDY = Fields({"study": Text(), "problem": Text(), "score": Text(), "reported": Text(),
                 "notes": Items(Text()), "cells": Items(_CELL, least=1),
                 "config": Table(Anything()), "versions": Table(Anything())})
_SIZE = Fields({"patches": Text(), "objects": Whole(least=0), "lift": Either([Number(), Null()]),
                "lift_of_others": Either([Number(), Null()])})
_HEAD = Fields({"head": Whole(least=0), "lift": Either([Number(), Null()])})
_ATTENTION = Fields({"objects": Whole(least=0), "tiles_with_objects": Whole(least=0),
                     "checkpoint": Text(), "config": Table(Anything())},
                    {"sizes": Items(_SIZE), "heads": Items(_HEAD),
                     **dict.fromkeys(("lift", "lift_of_others", "lift_standard_error",
                                      "attention_share", "box_share"),
                                     Either([Number(), Null()]))})
_OF_A_CELL = {*_CELL.required}  # the other names in it are its keys
_PROBLEMS = {"seg": "land use", "pop": "population", "co2": "CO2 emission"}


def is_study(folder: Path) -> bool:
    """Return whether a folder holds a study that compares evaluations."""
    return _holds(folder, b'"study"', b'"cells"')


def is_attention_study(folder: Path) -> bool:
    """Return whether a folder holds a study of attention."""
    return (folder / "attention.csv").is_file() and _holds(folder, b'"tiles_with_objects"')


def _holds(folder: Path, *names: bytes) -> bool:
    path = folder / RESULTS
    return path.is_file() and all(name in path.read_bytes() for name in names)


def study_section(folder: Path, page: Path, report: str) -> Section:
    """Return the section of the study in `folder`; raise ReportError if a file cannot be read.

    Args:
        page: the folder of the page.
        report: the name of the runs' own pages.
    """
    with reading(folder / RESULTS, "the results of a study"):
        record = _STUDY.check(json_object(folder / RESULTS), "")
        title = f"{record['study'].replace('_', ' ').capitalize()}: {folder.resolve().name}"
        cells, reported, score = record["cells"], record["reported"], record["score"]
        names = [name for name in cells[0]["mean"] if not name.startswith("iou_")]
        keys = [name for name in cells[0] if name not in _OF_A_CELL]
        rows = [[run_link(_beside(folder, cell), _named(cell, keys), page, report),
                 *(_spread(cell, name) for name in names)] for cell in cells]
        classes = [name for name in cells[0]["mean"] if name.startswith("iou_")]
        of_classes = [[_named(cell, keys), *(_spread(cell, name) for name in classes)]
                      for cell in cells]
        count = cells[0]["tiles"].get(reported, 0)
        seeds = len(cells[0]["per_seed"])
        lines = [f"{len(cells)} models of {_PROBLEMS.get(record['problem'], record['problem'])}, "
                 f"measured on {count:,} {reported} tiles; "
                 + (f"mean ± standard deviation of {seeds} seeds." if seeds > 1 else "one seed.")]
        headline = _headline(cells, keys, score)
        remarks = dict.fromkeys([*record["notes"],
                                 *(remark for cell in cells for remark in cell["remarks"])])
    baselines = [[f"without a model: {name}", *(format_number(number(values.get(figure)))
                                               for figure in names)]
                 for name, values in cells[-1]["baselines"].items()]
    blocks = [Block("All models", [
        element("div", table(["model", *map(label_of, names)], rows + baselines),
                class_="figures"),
        *(element("p", element("b", "Note: "), remark, class_="remark") for remark in remarks)])]
    figure = drawn(folder, record["study"] if record["study"].isidentifier() else "study",
                   "The score of all models", f"{label_of(score)} of all models.")
    blocks += [Block("Drawn", [figure])] if figure else []
    if classes:
        blocks.append(Block("Classes", [table(["model", *(label_of(name) for name in classes)],
                                              of_classes)]))
    blocks.append(Block("What was asked", [settings(record["config"], "All keys"),
                                           settings(record["versions"],
                                                    "Versions of the libraries")]))
    return Section("Study", title, folder, lines, headline, blocks)


def attention_study_section(folder: Path, page: Path, report: str) -> Section:
    """Return the section of the study of attention in `folder`; as `study_section`."""
    def shown(value: float | None) -> str:
        return format_number(number(value))

    with reading(folder / RESULTS, "the results of a study of attention"):
        record = _ATTENTION.check(json_object(folder / RESULTS), "")
        lift, others = record.get("lift"), record.get("lift_of_others")
        names = sorted(path.stem for path in (folder / "figures").glob("attention_*.png"))
        figures = [drawn(folder, name, f"Figure {name}", f"{name.replace('_', ' ')}.")
                   for name in names]
        blocks = [Block("Drawn", figures)] if figures else []
        blocks += [Block("By size", [table(
            ["box, in patches", "objects", "lift", "of other objects"],
            [[size["patches"], size["objects"], shown(size["lift"]), shown(size["lift_of_others"])]
             for size in record["sizes"]])])] if record.get("sizes") else []
        blocks += [Block("By head", [table(
            ["head", "lift"], [[str(head["head"]), shown(head["lift"])]
                               for head in record["heads"]])])] if record.get("heads") else []
        blocks.append(Block("What was asked", [
            facts({"checkpoint": element("code", record["checkpoint"])}),
            settings(record["config"], "All keys")]))
        headline = [("lift of an object's own box", shown(lift), "1 is chance"),
                    ("lift given by other objects", shown(others), "of the same tile")]
        lines = [f"Where {record['objects']:,} OSM objects of {record['tiles_with_objects']:,} "
                 "tiles look in the image."]
    return Section("Study", f"Attention: {folder.resolve().name}", folder, lines, headline, blocks)


def _beside(folder: Path, cell: Mapping[str, Any]) -> Path:
    """Return the folder of a cell's first run, wherever the study was moved to."""
    parts = Path(cell["folders"][0]).parts if cell["folders"] else (".",)
    return next((place for count in (1, 2) if (place := folder.joinpath(*parts[-count:])).is_dir()),
                folder / parts[-1])


def _named(cell: Mapping[str, Any], keys: list[str]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {_short(cell.get(key))}" for key in keys)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _spread(cell: Mapping[str, Any], name: str) -> str:
    return with_std(number(cell["mean"].get(name)), number(cell["std"].get(name)))


def _headline(cells: list[dict[str, Any]], keys: list[str],
              score: str) -> list[tuple[str, str, str]]:
    """Return the best model's score, and that of the best prediction without a model."""
    choose = better_of(score) or max
    known = [cell for cell in cells if not math.isnan(number(cell["mean"].get(score)))]
    if not known:
        return []
    best = choose(known, key=lambda cell: cell["mean"][score])
    others = [value for values in cells[-1]["baselines"].values()
              if not math.isnan(value := number(values.get(score)))]
    without = f"; without a model {format_number(choose(others))}" if others else ""
    return [(label_of(score), _spread(best, score), f"the best: {_named(best, keys)}{without}")]
