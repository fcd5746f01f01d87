"""Small run folders of each kind; the names in them may be such as would be markup if a page did
not escape them."""

import base64
import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from reports.record import ATTENTION, ATTENTION_FORMAT, RECONSTRUCTION, SceneRecord

HOSTILE = "</script><script>alert('x')</script>\"><img src=x onerror=alert(1)>"
SVG = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 15"></svg>'
GRID, SIDE = 4, 32
CLASSES = ("water", "green", "harbour")


def pretraining(folder: Path, tag: str = "house", tile: str = "town_0_0") -> Path:
    """A pretraining run of 6 recorded steps, with the attention of two tiles of two objects."""
    _pictures(folder, "loss", "reconstruction_image", "reconstruction_osm")
    (folder / "figures" / "loss.svg").write_text(SVG)
    (folder / "loss_record.txt").write_text("epoch [1/1]\n")
    (folder / "config.yaml").write_text("data_path: tiles\ntotal_epoch: 1\nlr: null\nschedule: "
                                        "[90, 110]\n")
    _csv(folder / "metrics.csv", [
        {"epoch": 1, "step": step, "global_step": step, "image_loss": 1 / step,
         "osm_loss": 2 / step, "lr": 1e-3,
         "samples_per_second": 50.0}
        for step in range(1, 7)])
    _json(folder / RECONSTRUCTION, {
        "tiles": 9, "pixel_error": 20.0, "pixel_error_mean_colour": 25.0, "objects": 12,
        "explained": {"area": 0.5, "tag text": -0.1},
        "tags_right": 0.5, "tags_commonest": 0.25, "commonest": 3, "tags": 7})
    _json(folder / ATTENTION,
          {"format": ATTENTION_FORMAT,
           "tiles": [_attention(tile, tag), _attention("town_0_1", tag)]})
    return folder


def segmentation(folder: Path, remark: str = "a class is absent",
                 seeds: Sequence[int] = (0, 1)) -> Path:
    """A segmentation of three classes, the last of which has no pixel."""
    figures = {"miou": 0.4, "f1": 0.5, "iou_water": 0.6, "iou_green": 0.2, "iou_harbour": None}
    _evaluation(folder, "Segmentation", "miou", figures, seeds,
                {"class prior": figures | {"miou": 0.1, "f1": 0.2}}, remark)
    for seed in seeds:
        _seed(folder / f"seed_{seed}", seed, "miou",
              {"confusion": [[30, 10, 0], [5, 55, 0], [0, 0, 0]]})
        _csv(folder / f"seed_{seed}" / "predictions.csv",
             [{"tile": "town_0_0", "pixel_accuracy": 0.85, "known_pixels": 100}])
        _pictures(folder / f"seed_{seed}", "tiles", "error_map", "curves", "confusion")
    return folder


def regression(folder: Path, tile: str = "town_0_0") -> Path:
    """A regression of two tiles."""
    figures = {"mae": 3.0, "rmse": 4.0, "r2": -0.5}
    _evaluation(folder, "Regression of people a tile", "rmse", figures, [0],
                {"training mean": figures}, "no better than the mean")
    _seed(folder / "seed_0", 0, "rmse", {"estimates": [1.0, 9.0]})
    _csv(folder / "seed_0" / "predictions.csv", [
        {"tile": tile, "true": 3.0, "estimate": 1.0},
        {"tile": "town_0_1", "true": 4.0, "estimate": 9.0}])
    _pictures(folder / "seed_0", "scatter", "error_map", "curves")
    return folder


def scene(folder: Path, title: str = "Land use of city.tif", name: str = "water") -> Path:
    """A scene of 400 m x 200 m with an image, a map of classes and one of totals."""
    (folder / "figures").mkdir(parents=True)
    Image.new("RGB", (64, 32), "#445566").save(folder / "figures" / "imagery.jpg")
    for layer in ("map", "totals"):
        Image.new("RGBA", (64, 32), "#4a98d3").save(folder / "figures" / f"{layer}.png")
    legend = [{"name": name, "colour": "#4a98d3", "share": 0.25, "hectares": 2.0}]
    scale = {"low": 0, "high": 310.5, "colours": ["#000000", "#ffffff"], "unit": "people a tile"}
    layers = [{"name": "imagery", "file": "figures/imagery.jpg"},
              {"name": name, "file": "figures/map.png", "opacity": 0.7, "legend": legend},
              {"name": "people", "file": "figures/totals.png", "scale": scale}]
    zones = {"title": "Zones", "columns": ["zone", "people", "covered"],
             "rows": [[name, 1234.5, "95%"], ["south", None, "1%"]]}
    _json(folder / "scene.json", asdict(SceneRecord(
        "land_use", title, [("people", "1,234", f"on {name}")], [f"A line about {name}."],
        (400.0, 200.0), layers, [zones],
        [{"name": "map.tif", "what": name}])))
    return folder


def study(folder: Path, remark: str = "a class is absent", name: str = "image") -> Path:
    """A study of two models over two seeds; the first one's evaluation has a page."""
    cells = []
    for number, modality in enumerate((name, "fusion")):
        figures = {"miou": 0.4 + 0.1 * number, "f1": 0.5, "iou_water": 0.6, "iou_green": None}
        cells.append({
            "modality": modality, "mean": figures, "std": dict.fromkeys(figures, 0.01),
            "per_seed": {"0": figures, "1": figures}, "epochs": {"0": 2, "1": 3},
            "tiles": {"train": 6, "val": 2, "test": 2},
            "baselines": {"class prior": figures | {"miou": 0.1}},
            "remarks": [remark], "folders": [f"elsewhere/{folder.name}/model_{number}"],
            "evaluation": {"epochs": 3}})
        (folder / f"model_{number}").mkdir(parents=True)
    (folder / "model_0" / "report.html").write_text("the page of its run")
    _pictures(folder, "modalities")
    _json(folder / "results.json", {
        "study": "modalities", "problem": "seg", "score": "miou", "protocol": "honest",
        "reported": "test", "versions": {"torch": "2"}, "notes": ["a note"], "checkpoint": None,
        "config": {"seeds": [0, 1]}, "evaluation_overrides": [], "cells": cells})
    return folder


def wide_study(folder: Path, name: str = "osm_raster") -> Path:
    """A study of three models over two ratios, with intervals and differences: at ratio 0.5 the
    first beats the fusion; a prediction without a model beats all in F1."""
    study(folder)
    record = json.loads((folder / "results.json").read_text())
    first, cells = record["cells"][0], []
    for modality, ratio, miou in ((name, 0.0, 0.4), (name, 0.5, 0.35), ("fusion", 0.0, 0.6),
                                  ("fusion", 0.5, 0.3), ("image", 0.0, None)):
        figures = first["mean"] | {"miou": miou, "f1": 0.45}
        cells.append(first | {
            "modality": modality, "remove_ratio": ratio, "mean": figures,
            "intervals": {"miou": [miou - 0.1, miou + 0.1] if miou else None, "f1": [0.4, 0.5]},
            "baselines": {"class prior": figures | {"miou": 0.1, "f1": 0.5}},
            "remarks": ["of one model alone"] if ratio and modality == "fusion" else []})
    differences = [
        {"cell": f"modality={name}", "minus": "modality=fusion", "figure": "miou",
         "difference": -0.2, "interval": [-0.3, -0.1], "real": True},
        {"cell": f"modality={name}", "minus": "modality=image", "figure": "miou",
         "difference": None, "interval": None, "real": False},
        {"cell": f"modality={name}", "minus": "modality=fusion", "figure": "f1",
         "difference": 0.01, "interval": [-0.05, 0.07], "real": False}]
    _json(folder / "results.json", record | {"cells": cells, "differences": differences,
                                             "evaluation_overrides": ["lr=1e-4"]})
    return folder


def attention_study(folder: Path, tag: str = "house") -> Path:
    """A study of the attention of five objects."""
    _pictures(folder, "attention_shares", "attention_town_0_0")
    (folder / "attention.csv").write_text("tile,node\n")
    figures = {"lift": 1.5, "lift_of_others": 1.1, "objects": 5}
    _json(folder / "results.json", {
        **figures, "lift_standard_error": None, "attention_share": 0.3, "box_share": 0.2,
        "sizes": [{"patches": tag, **figures}], "heads": [{"head": 0, **figures}],
        "tiles_with_objects": 2, "checkpoint": tag, "config": {"tile": None}})
    return folder


def claims(folder: Path, name: str = "lima") -> Path:
    """Verdicts on a claim that fails, one without an interval, and an aim in times chance."""
    folder.mkdir(parents=True)
    claim = {"city": name, "recipe": "rose", "title": f"Fusion beats {name}", "case": name,
             "aim": False, "task": "Land use", "figure": "miou", "a": "fusion", "a_value": 0.3,
             "b": name, "b_value": 0.4, "at_least": 0.0, "difference": -0.1,
             "interval": [-0.2, -0.05], "runs": 5, "seeds": [1], "verdict": "fails"}
    _json(folder / "results.json", {
        "claims": [claim, claim | {"difference": None, "interval": None, "verdict": "no interval"},
                   claim | {"aim": True, "figure": "times chance", "at_least": 2.0, "seeds": [1, 2],
                            "difference": 4.5, "interval": [4, 5], "verdict": "holds"}],
        "measured": [{"network": name, name: "1.26"}], "reasons": [f"rose, {name}: no reason"],
        "runs": [name], "attention": [name]})
    return folder


def benchmark(folder: Path, name: str = "lima") -> Path:
    """A benchmark of a table and a curve."""
    _pictures(folder, f"{name.replace('/', '')}_labels")
    _json(folder / "results.json", {
        "benchmark": name, "head": [f"Made by `python -m {name}`: {name}"],
        "tables": [{"title": name, "note": f"Of {name}.", "header": ["model", name],
                    "rows": [[name, "0.300 [0.250, 0.350]"]]}],
        "figures": [f"{name.replace('/', '')}_labels"], "config": {"data": name, "seeds": [0]}})
    return folder


def square_grid(folder: Path) -> Path:
    """A grid of two keys of two values each."""
    for number, (rate, size, miou) in enumerate((("1", "8", 0.1), ("1", "16", 0.2),
                                                 ("2", "8", 0.4), ("2", "16", 0.3))):
        hydra = folder / f"run_{number}" / ".hydra"
        hydra.mkdir(parents=True)
        _json(hydra / "grid_row.json", {
            "grid": "new", "number": number, "swept": {"lr": rate, "batch_size": size},
            "figures": {"miou": miou, "miou_std": 0.01}})
    (folder / "grid.csv").write_text("lr,batch_size,miou\n")
    return folder


def grid(folder: Path, value: str = "1e-3") -> Path:
    """A grid of three runs: one with a page, one without, one that failed; and a row of an older
    grid."""
    for number, row in enumerate((
            {"swept": {"lr": value}, "figures": {"miou": 0.5, "miou_std": None}},
            {"swept": {"lr": "2"}, "figures": {"miou": 0.7, "miou_std": None}},
            {"swept": {"lr": "3"}, "error": f"lr=3: {value}"},
            {"swept": {"lr": "old"}, "figures": {}})):
        hydra = folder / f"run_{number}" / ".hydra"
        hydra.mkdir(parents=True)
        _json(hydra / "grid_row.json", {"grid": "old" if number == 3 else "new",
                                        "number": number, **row})
        os.utime(hydra / "grid_row.json", (10 - number, 10 - number))
    (folder / "run_1" / "report.html").write_text("the page of its run")
    (folder / "grid.csv").write_text("lr,miou\n")
    return folder


def _evaluation(folder: Path, title: str, score: str, figures: dict, seeds: Sequence[int],
                baselines: dict, remark: str) -> None:
    folder.mkdir(parents=True)
    config = {"epochs": 3, "modality": "fusion", "mode": "finetune", "decoder": "linear",
              "data_root": "tiles", "task": "sample"}
    _json(folder / "results.json", {
        "title": title, "chosen_by": score, "protocol": "honest", "reported": "test",
        "tiles": {"train": 6, "val": 2, "test": 2},
        "seeds": list(seeds), "mean": figures,
        "std": {name: 0.01 if len(seeds) > 1 else None for name in figures}, "epochs": {"0": 2},
        "per_seed": {str(seed): figures for seed in seeds}, "baselines": baselines,
        "remarks": [remark],
        "checkpoint": {"path": "model.safetensors", "sha256": "ab" * 32},
        "network": {"image_encoder": "test_vit"}, "config": config,
        "versions": {"torch": "2"}})


def _seed(folder: Path, seed: int, score: str, extras: dict) -> None:
    folder.mkdir()
    _json(folder / "results.json", {"seed": seed, "epoch": 2, "figures": {}, **extras})
    _csv(folder / "metrics.csv",
         [{"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 1.0, score: 0.1 * epoch}
          for epoch in (1, 2, 3)])


def _attention(tile: str, tag: str) -> dict:
    boxes = ([0.1, 0.1, 0.4, 0.1, 0.4, 0.4, 0.1, 0.4], [0.6, 0.5, 0.9, 0.5, 0.9, 0.9, 0.6, 0.9])
    image = BytesIO()
    Image.new("RGB", (SIDE, SIDE), "#556677").save(image, "JPEG")
    return {"name": tile, "grid": [GRID, GRID],
            "image": base64.b64encode(image.getvalue()).decode(), "left_out": 0,
            "mean": {"peak": 2.0, "levels": _levels(0)},
            "objects": [{"node": node, "tag": tag, "box_share": 0.09, "attention_share": 0.18,
                         "peak": 4.0, "levels": _levels(node),
                         "corners": corners} for node, corners in enumerate(boxes)]}


def _levels(patch: int) -> str:
    """All attention on one patch."""
    levels = np.zeros(GRID * GRID, np.uint8)
    levels[patch] = 255
    return base64.b64encode(levels.tobytes()).decode()


def _pictures(folder: Path, *names: str) -> None:
    (folder / "figures").mkdir(parents=True)
    for name in names:
        Image.new("RGB", (40, 20), "#aa5533").save(folder / "figures" / f"{name}.png")


def _csv(path: Path, rows: Sequence[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value))
