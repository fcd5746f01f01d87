"""What the benchmark leaves: results.csv, results.json, a page of tables, figures, report.html."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evaluation import patch_models
from reports import REPORT, write_report
from studies.benchmark_data import City
from studies.benchmark_plan import (
    ALL,
    FULLY,
    JUDGED,
    KNN,
    LINEAR,
    PROBE_TRAININGS,
    ROWS,
    SCRATCH,
    TASKS,
    Cell,
    epochs_of,
)
from studies.benchmark_results import (
    Result,
    Results,
    blocks_in_words,
    difference,
    differences,
)
from studies.command import given_keys
from studies.figures import study_figure
from studies.keys import BenchmarkConfig
from studies.units import in_words
from utils.drawing import save_figures
from utils.files import replacing
from utils.outputs import write_csv, write_json
from utils.tables import NOTHING, label_of, markdown_table
from utils.versions import versions

TRAINING_WORDS = {FULLY: "pretrained, fine-tuned", SCRATCH: "from scratch", LINEAR: "linear probe",
                  KNN: "nearest neighbours"}
NO_MODEL = "no model: {}"
_FEWER = "¹"  # of fewer seeds than others
SPREAD = "standard deviation over folds and seeds"
Tables = list[dict[str, Any]]  # "title", "note", "header", "rows"


def write_outputs(cfg: BenchmarkConfig, rest: Sequence[str], city: City, results: Results,
                  notes: Sequence[str], times: Mapping[str, float], workers: int) -> None:
    """Write all outputs, each whole or absent, and print the tables.

    Args:
        rest: the overrides of the evaluations.
        city: the raw files.
        times: kind of work -> seconds of all its runs.
    """
    out = Path(cfg.out)
    write_csv(out / "results.csv", [{**result.cell.keys, **run} for result in results.values()
                                    for run in result.runs])
    compared = differences(results)
    head = _head(cfg, rest, city, results, notes)
    tables = [*_score_tables(results), *_degraded_tables(results), *_difference_tables(results),
              *_class_tables(results), _time_table(times, workers)]
    figures = _figures(results)
    write_json(out / "results.json", {
        "benchmark": city.name, "head": head, "tables": tables, "figures": [*figures],
        "cells": [result.record for result in results.values()], "differences": compared,
        "notes": [*notes], "times": dict(times), "config": asdict(cfg), "versions": versions()})
    save_figures(figures, out / "figures")
    page = Path(cfg.page) if cfg.page else out / "results_real.md"
    text = "\n\n".join([f"# {city.name}: the benchmark on a real city", *head, *(
        f"## {table['title']}\n\n{table['note']}\n\n"
        + markdown_table(table["header"], table["rows"]) for table in tables)])
    page.parent.mkdir(parents=True, exist_ok=True)
    with replacing(page) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
    write_report([out], out / REPORT)
    print(f"\n{text}\n\nOutputs in {out}: {REPORT}, a page for the browser, results.csv, "
          f"results.json, figures/; tables in {page}")


def _head(cfg: BenchmarkConfig, rest: Sequence[str], city: City, results: Results,
          notes: Sequence[str]) -> list[str]:
    """Return the paragraphs on top: the command, its tiles, and how much each model sees."""
    most = max(results.values(), key=lambda result: result.tiles)
    tasks = [f"{TASKS[name].title.lower()} ({_unit(name)})" for name in city.tasks
             if any(cell.task == name for cell in results)]
    first = (f" ({_FEWER}: of fewer seeds than others, as a rule the first alone)"
             if any(result.seeds < _most_seeds(results) for result in results.values()) else "")
    how = blocks_in_words([*results.values()])
    return [
        f"Made by `python -m studies.benchmark {' '.join([*given_keys(cfg), *rest])}`: "
        f"{most.tiles} tiles of {cfg.tile_px} pixels with labels, "
        f"{cfg.folds} spatial folds x {len(cfg.seeds)} seed{'s' * (len(cfg.seeds) > 1)}, "
        f"{cfg.image_encoder}, {cfg.pretrain_epochs} epoch{'s' * (cfg.pretrain_epochs > 1)} of "
        f"pretraining, effort {cfg.effort:g}. "
        f"Tasks: {'; '.join(tasks)}.",
        "Each fold is test once: its tiles are measured once, after val chose the epoch. A figure "
        f"is the mean over folds and seeds{first}"
        + (f", in brackets its 95 % interval: {how}." if how else ".")
        + " Labels: how many training tiles have labels.",
        "Pretraining is transductive, as in the paper: it saw the images and OSM objects of all "
        "tiles, those of test included, and no label.",
        *filter(None, [_amounts(cfg, results)]),
        *(f"Note: {note}." for note in notes)]


def _amounts(cfg: BenchmarkConfig, results: Results) -> str:
    """Return how much of the training tiles each kind of model sees, in words."""
    sentences, seen = [], {}
    for cell in sorted(results, key=lambda cell: _labels(cell.labels)):
        if cell.training != KNN and not ROWS[cell.row].statistics:
            tiles, of_task = results[cell].train_tiles, seen.setdefault(cell.task, {})
            epochs = epochs_of(tiles, cell, cfg.effort)
            of_task[cell.labels] = (f"{tiles * epochs:,} with {cell.labels} labels ({epochs} "
                                    f"epoch{'s' * (epochs > 1)})")
    if seen:
        each = "; ".join(f"{TASKS[task].title.lower()}, {', '.join(of_labels.values())}"
                         for task, of_labels in seen.items())
        sentences.append("Training tiles that a network sees, each once an epoch (in fold 1; all "
                         f"networks alike): {each}. It is measured on val up to {JUDGED} times, "
                         "to choose an epoch.")
    if any(ROWS[cell.row].statistics and TASKS[cell.task].problem == "seg" for cell in results):
        patches = patch_models.STEPS * patch_models.BATCH
        tiles = patches / (cfg.tile_px // patch_models.SIDE)**2
        sentences.append(
            "A model of patches' statistics trains otherwise, and mostly for longer: up to "
            f"{patch_models.STEPS:,} steps of {patch_models.BATCH:,} patches, as many as "
            f"{tiles:,.0f} tiles have, and val chooses among about {patch_models.JUDGED} steps.")
    return " ".join(sentences)


def _unit(task: str) -> str:
    return f"{TASKS[task].counted} a tile" if TASKS[task].counted else "a class for every pixel"


def _shown(results: Results, cell: Cell) -> str:
    """Return a cell's figure with its interval, marked if it has fewer seeds than others."""
    result = results.get(cell)
    if result is None or result.score not in result.spread:
        return NOTHING
    ends = result.intervals.get(result.score)
    mean = _short(result.spread[result.score][0])
    fewer = f" {_FEWER}" * (result.seeds < _most_seeds(results))
    return (f"{mean} [{', '.join(map(_short, ends))}]" if ends else mean) + fewer


def _most_seeds(results: Results) -> int:
    return max(result.seeds for result in results.values())


def _short(value: float) -> str:
    return f"{value:.3f}" if value == value else NOTHING


def _of_task(results: Results, task: str) -> list[Cell]:
    return [cell for cell in results if cell.task == task]


def _score_tables(results: Results) -> Tables:
    """Return for each task the score of all models by number of labels."""
    tables = []
    for task in dict.fromkeys(cell.task for cell in results):
        cells = [cell for cell in _of_task(results, task)
                 if not (cell.measures or cell.trained_with_removal)]
        counts = sorted({cell.labels for cell in cells}, key=_labels)
        rows = []
        for kind in dict.fromkeys(replace(cell, labels=ALL) for cell in sorted(
                cells, key=lambda cell: [*TRAINING_WORDS].index(cell.training))):
            rows.append([ROWS[kind.row].meaning, kind.row, _training(kind), *(
                _shown(results, replace(kind, labels=count)) for count in counts)])
        rows += _without_model(results, cells, counts)
        score = label_of(TASKS[task].score)
        probed = (" Probes are of the pretrained networks alone, without what a recipe adds to "
                  "them downstream."
                  if any(cell.training in PROBE_TRAININGS for cell in cells) else "")
        tables.append({"title": f"{TASKS[task].title}: {score}",
                       "note": f"{score} by number of labels; {_unit(task)}.{probed}",
                       "header": ["model", "row", "training",
                                  *(f"{count} labels" for count in counts)], "rows": rows})
    return tables


def _labels(text: str) -> float:
    """Return labels as a number by which they are in order."""
    return math.inf if text == ALL else int(text)


def _training(cell: Cell) -> str:
    if ROWS[cell.row].statistics:
        return "no network"
    words = TRAINING_WORDS[cell.training]
    words += f", {cell.trained_with_removal:.0%} of OSM removed" * bool(cell.trained_with_removal)
    return words + f", text={cell.text}" * (cell.text != "hash")


def _without_model(results: Results, cells: Sequence[Cell],
                   counts: Sequence[str]) -> list[list[str]]:
    """Return rows of predictions that read nothing, of any cell with such labels."""
    of_count = {count: next((results[cell].baselines for cell in cells if cell.labels == count), {})
                for count in counts}
    labels = dict.fromkeys(label for baselines in of_count.values() for label in baselines
                           if "linear model" not in label)  # a row of its own
    score = TASKS[cells[0].task].score
    return [[NO_MODEL.format(label), "", "", *(
        _short(of_count[count].get(label, {}).get(score, float("nan"))) for count in counts)]
        for label in labels]


def _degraded_tables(results: Results) -> Tables:
    """Return for each task the score with objects removed, and shifted."""
    tables = []
    kinds: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("removed", "the share of the objects of test tiles that is removed",
         lambda value: f"{value:.0%}"),
        ("shifted", "by how much all objects of test tiles are shifted, in a direction that the "
                    "seed draws", lambda value: f"{value:g} m"))
    for task in dict.fromkeys(cell.task for cell in results):
        cells = _of_task(results, task)
        for column, words, written in kinds:
            measured = [cell for cell in cells if cell.measures and getattr(cell, column)
                        and not (column == "removed" and cell.shifted)]
            if not measured:
                continue
            values = sorted({0.0, *(getattr(cell, column) for cell in measured)})
            rows = [[_model(kind), *(_shown(results, replace(kind, **{column: value}))
                                     for value in values)]
                    for kind in dict.fromkeys(replace(cell, removed=0.0, shifted=0.0)
                                              for cell in measured)]
            labels = measured[0].labels
            alone = Cell(task, "image", labels=labels)
            if alone in results:
                rows.append([f"{_model(alone)}: reads no objects",
                             *[_shown(results, alone)] * len(values)])
            tables.append({
                "title": f"{TASKS[task].title}: objects {column}",
                "note": f"{label_of(TASKS[task].score)} of models of {labels} labels, trained on "
                        f"objects as they are unless a row says otherwise. Columns: {words}.",
                "header": ["model", *map(written, values)], "rows": rows})
    return tables


def _model(cell: Cell) -> str:
    return f"{cell.row}, {_training(cell)}"


def _difference_tables(results: Results) -> Tables:
    """Return the differences that the claims are about, a table each task."""
    tables = []
    for task in dict.fromkeys(cell.task for cell in results):
        rows = []
        cells = [cell for cell in _of_task(results, task) if not cell.measures]
        for cell in cells:
            rivals = [other for other in cells if _are_rivals(cell, other)]
            for other in rivals:
                if each := difference(results, cell, other):
                    rows.append([cell.labels, _model(cell), _model(other),
                                 each.in_words, "yes" if each.real else "no"])
        if rows:
            score = label_of(TASKS[task].score)
            tables.append({
                "title": f"{TASKS[task].title}: differences",
                "note": f"{score} of a model less that of another, over the same draws of blocks; "
                        "real if the 95 % interval excludes 0. results.json has all pairs.",
                "header": ["labels", "model", "less", "difference [95 % interval]", "real"],
                "rows": sorted(rows, key=lambda row: (row[0] != ALL, _labels(row[0]), row[1]))})
    return tables


def _are_rivals(cell: Cell, other: Cell) -> bool:
    """Return whether a claim is about a cell less another."""
    if cell.labels != other.labels or cell == other:
        return False
    alike = replace(cell, row="") == replace(other, row="")
    if cell.row in ("plus", "fusion", "fine", "plus_fine") and cell.training == FULLY:
        baseline = ROWS[other.row].statistics and cell == replace(
            cell, trained_with_removal=0.0, text="hash")
        rows = {"plus": {*ROWS}, "fusion": {"image", "osm", "image_osm_raster"},
                "fine": {"fusion"}, "plus_fine": {"plus", "plus_image"}}[cell.row]
        if (alike or baseline) and other.row in rows:
            return True
    if cell.training == FULLY and other == replace(cell, training=SCRATCH):
        return True
    return cell.text != "hash" and other == replace(cell, text="hash")


def _class_tables(results: Results) -> Tables:
    """Return the IoU of each class of the models of most labels."""
    tables = []
    for task in dict.fromkeys(cell.task for cell in results):
        cells = [cell for cell in _of_task(results, task) if not (
            cell.measures or cell.trained_with_removal) and cell.training in (FULLY, SCRATCH)
            and cell.text == "hash"]
        most = ALL if any(cell.labels == ALL for cell in cells) else max(
            (cell.labels for cell in cells), key=int, default=ALL)
        cells = [cell for cell in cells if cell.labels == most]
        names = [name for name in (results[cells[0]].spread if cells else ())
                 if name != TASKS[task].score]
        if names:
            tables.append({
                "title": f"{TASKS[task].title}: other figures",
                "note": f"Of the models of {most} labels.",
                "header": ["model", *map(label_of, names)],
                "rows": [[_model(cell), *(
                    _short(results[cell].spread.get(name, (float("nan"),))[0]) for name in names)]
                    for cell in cells]})
    return tables


def _time_table(times: Mapping[str, float], workers: int) -> dict[str, Any]:
    return {"title": "Time", "note": "Of all runs together, those of earlier commands included; "
            f"{workers} process{'es' * (workers > 1)} at once.",
            "header": ["kind", "time"],
            "rows": [[kind, in_words(seconds)] for kind, seconds in times.items()]}


def _figures(results: Results) -> dict[str, Any]:
    """Return the curves over labels, removed shares and shifts, a figure each."""
    figures = {}
    for task in dict.fromkeys(cell.task for cell in results):
        cells, score = _of_task(results, task), label_of(TASKS[task].score)
        plain = [cell for cell in cells if cell.text == "hash" and not cell.trained_with_removal
                 and (cell.training == FULLY or ROWS[cell.row].statistics)]
        by_labels: dict[str, list] = {}
        for cell in plain:
            if not cell.measures:
                by_labels.setdefault(cell.row, []).append(
                    (_count(results, cell), *_point(results[cell])))
        by_labels = {row: points for row, points in by_labels.items() if len(points) > 1}
        if by_labels:
            figures[f"{task}_labels"] = study_figure(
                _six(by_labels), "training tiles with labels", f"{score} on test tiles",
                f"{TASKS[task].title}: {score} by number of labels; bars: {SPREAD}")
        for column, xlabel in (("removed", "share of the objects of test tiles removed"),
                               ("shifted", "metres by which objects of test tiles are shifted")):
            lines: dict[str, list] = {}
            for cell in plain:
                if cell.measures and getattr(cell, column):
                    start = cell.trained
                    points = lines.setdefault(cell.row, [(0.0, *_point(results[start]))]
                                              if start in results else [])
                    points.append((getattr(cell, column), *_point(results[cell])))
            if lines:
                alone = results.get(Cell(task, "image", labels=next(
                    cell.labels for cell in plain if cell.measures)))
                figures[f"{task}_{column}"] = study_figure(
                    _six(lines), xlabel, f"{score} on test tiles",
                    f"{TASKS[task].title}: objects {column}; bars: {SPREAD}", reference={
                        "image alone": alone.spread[alone.score][0]} if alone else None)
    return figures


def _six(lines: Mapping[str, list]) -> dict[str, list]:
    """Return at most six lines, which colours tell apart, those of fusions first."""
    first = ("plus", "fusion", "image", "image_osm_raster", "patch_mlp", "fine", "osm",
             "statistics")
    order = sorted(lines, key=lambda row: first.index(row) if row in first else len(first))
    return {row: lines[row] for row in order[:6]}


def _count(results: Results, cell: Cell) -> float:
    """Return the training tiles of a cell, those of `all` as of the first run."""
    return float(cell.labels) if cell.labels != ALL else float(results[cell].train_tiles)


def _point(result: Result) -> tuple[float, float]:
    return result.spread[result.score]
