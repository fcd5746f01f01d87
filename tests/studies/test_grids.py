"""The studies that train models: what they run, what they leave, what they read again, and what
they refuse."""

import csv
import importlib
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import TileDataset
from evaluation import job
from evaluation.keys import REGRESSION
from evaluation.problem import Regression
from models.registry import segmentation_modalities
from studies.command import base_config
from studies.keys import ModalitiesConfig
from tests.pretrained import save_pretrained
from tests.random_tiles import random_tile, write_compact
from utils.cli.compose import read
from utils.errors import RoseError

CITIES = ("lima", "oslo", "rome")
LISTS = {"osm-train-all": range(4), "osm-train4": (3, 2, 1, 0), "osm-train2": (0, 1),
         "val": (4, 5), "test": (6, 7, 8)}


@pytest.fixture(scope="module")
def tiles(sample_tiles, tmp_path_factory) -> Path:
    """The sample city with lists of a few tiles."""
    root = tmp_path_factory.mktemp("studies") / "tiles"
    shutil.copytree(sample_tiles, root)
    for old in root.glob("*.txt"):
        old.unlink()
    names = TileDataset(root).names
    for name, places in LISTS.items():
        (root / f"{name}.txt").write_text("".join(f"{names[place]}.png\n" for place in places))
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return save_pretrained(tmp_path_factory.mktemp("runs") / "rose" / "model_1.tar")


@pytest.fixture
def study(tiles, checkpoint, tmp_path, monkeypatch):
    """A study's command: runs it, and gives the seed folders of the models that it trained and
    measured."""
    monkeypatch.setattr("evaluation.results.save_pictures", lambda run, measured: None)
    fit, done = job.fit, []
    monkeypatch.setattr(job, "fit", lambda run: (done.append(run), fit(run)))

    def run(name: str, *overrides: str) -> dict[str, list[str]]:
        done.clear()
        data = [] if any(text.startswith("data_root=")
                         for text in overrides) else [f"data_root={tiles}"]
        monkeypatch.setattr(sys, "argv", [name, *data, f"checkpoint={checkpoint}",
                                          f"out={tmp_path}/out", "epochs=1", "batch_size=2",
                                          "num_workers=0", "accelerator=cpu", *overrides])
        importlib.import_module(f"studies.{name}").main()
        trained, measured = ([str(run.folder.relative_to(tmp_path / "out")) for run in done
                              if (run.cfg.epochs > 0) == trains]
                             for trains in (True, False))
        return {"trained": trained, "measured": measured}
    return run


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_outputs(folder: Path, name: str, cells: int) -> dict:
    """The outputs agree with one another; what results.json holds."""
    results = json.loads((folder / "results.json").read_text())
    assert len(results["cells"]) == cells
    rows = rows_of(folder / f"{name}.csv")
    assert len(rows) == sum(len(cell["per_seed"]) for cell in results["cells"])
    table = (folder / f"{name}.md").read_text().split("\n\n")[1].splitlines()
    baselines = [line for line in table if line.startswith("| no model: ")]
    assert len(baselines) == len(results["cells"][0]["baselines"])
    assert len(table) == 2 + cells + len(baselines)
    assert np.asarray(Image.open(folder / "figures" / f"{name}.png").convert("L")).std() > 10
    page = (folder / "report.html").read_text()
    assert f"{cells} models of" in page
    assert page.count("All keys of its evaluation") == cells
    for cell in results["cells"]:
        values = [figures[results["score"]] for figures in cell["per_seed"].values()]
        assert cell["mean"][results["score"]] == pytest.approx(np.mean(values))
        if len(values) > 1:
            assert cell["std"][results["score"]] == pytest.approx(np.std(values, ddof=1))
    return results


def test_label_efficiency_takes_every_list_once_and_goes_on_with_new_seeds(study, tmp_path,
                                                                           capsys):
    first = study("label_efficiency", "seeds=[0]")
    assert first == {"trained": ["finetune_osm-train2/seed_0", "scratch_osm-train2/seed_0",
                                 "finetune_osm-train-all/seed_0",
                                 # osm-train4 has the tiles of osm-train-all
                                 "scratch_osm-train-all/seed_0"], "measured": []}
    table = rows_of(tmp_path / "out" / "label_efficiency.csv")
    more = study("label_efficiency", "seeds=[0,1]", "train_files=[osm-train2.txt]")
    assert more == {"trained": ["finetune_osm-train2/seed_1", "scratch_osm-train2/seed_1"],
                    "measured": []}
    results = check_outputs(tmp_path / "out", "label_efficiency", 2)
    assert [(cell["train_tiles"], cell["mode"]) for cell in results["cells"]] == [(2, "finetune"),
                                                                                  (2, "scratch")]
    rows = rows_of(tmp_path / "out" / "label_efficiency.csv")
    assert [row for row in rows if row["seed"] == "0"] == table[:2]
    text = capsys.readouterr().out
    assert ("Label efficiency, land use (modality fusion): 3 test tiles, mean ± std of 2 seeds"
            in text)
    assert re.search(r"\| osm-train2.txt +\| +2 \| scratch +\| +0\.\d+ ± 0\.\d+", text)


def test_missing_osm_measures_each_seeds_model_without_training_it_again(study, tiles, tmp_path):
    common = ["problem=pop", "target_scale=standard", "modalities=[image,osm]", "seeds=[0,1]",
              "lr=1e-3", "lr_multi=1"]
    first = study("missing_osm", *common, "ratios=[1,0.5]")
    assert first["trained"] == ["image/seed_0", "image/seed_1", "osm/seed_0", "osm/seed_1"]
    assert first["measured"] == [f"osm_removed_{ratio}/model_of_seed_{seed}/seed_{seed}"
                                 for ratio in ("0.5", "1") for seed in (0, 1)]
    out = tmp_path / "out"
    results = check_outputs(out, "missing_osm", 4)
    assert [(cell["modality"], cell["remove_ratio"])
            for cell in results["cells"]] == [("image", 0), ("osm", 0), ("osm", 0.5), ("osm", 1)]
    for seed in (0, 1):  # without objects a tile has nothing of its own, and still an estimate
        removed, whole = ([float(row["estimate"])
                           for row in rows_of(out / folder / f"seed_{seed}" / "predictions.csv")]
                          for folder in (f"osm_removed_1/model_of_seed_{seed}", "osm"))
        assert removed == pytest.approx([removed[0]] * 3)
        assert np.ptp(whole) > 1e-3 * abs(removed[0])
    cfg = read(
        REGRESSION, f"data_root={tiles}", f"checkpoint={out}/osm/seed_1/best.safetensors",
        "modality=osm",
        "epochs=0", "target_scale=standard",
        f"save_path={tmp_path}/alone", "accelerator=cpu", "num_workers=0")
    alone = job.evaluate(cfg, Regression(cfg))
    # ratio 0 is what the training reported
    assert alone["mean"] == pytest.approx(results["cells"][1]["per_seed"]["1"])
    more = study("missing_osm", *common, "ratios=[0.25,0.5]")
    assert more == {"trained": [],
                    "measured": [f"osm_removed_0.25/model_of_seed_{seed}/seed_{seed}"
                                 for seed in (0, 1)]}


def test_missing_osm_while_training_trains_for_every_ratio(study, tmp_path):
    common = ["modalities=[fusion,image]", "seeds=[0]", "mode=scratch"]
    done = study("missing_osm", *common, "ratios=[0,1]", "while_training=true")
    assert done == {"trained": ["fusion/seed_0", "while_training/fusion_removed_1/seed_0",
                                "image/seed_0"], "measured": []}
    results = check_outputs(tmp_path / "out" / "while_training", "missing_osm", 3)
    assert [cell["evaluation"]["remove_while_training"]
            for cell in results["cells"]] == [False, True, False]
    assert results["checkpoint"] is None
    assert "land use (from scratch)" in (
        tmp_path / "out" / "while_training" / "missing_osm.md").read_text()
    done = study("missing_osm", *common, "ratios=[1]")
    # ratio 0 is there already
    assert done == {"trained": [], "measured": ["fusion_removed_1/model_of_seed_0/seed_0"]}


def test_missing_parts_are_all_that_some_reported_tile_has(study, monkeypatch):
    asked = []
    with monkeypatch.context() as patched:
        patched.setattr("studies.missing_parts.conduct", lambda *args: asked.append(args[0]))
        study("missing_parts", "problem=pop", "modalities=[osm]")
    missing = {part: float(asked[0].also(part)["missing"].rstrip("%")) for part in asked[0].values}
    assert {"layer:building", "layer:road", "smallest", "random"} <= missing.keys()
    assert all(missing.values())
    for kind in ("layer", "quarter"):
        own = [share for part, share in missing.items() if part.startswith(kind)]
        assert sum(own) == pytest.approx(100, abs=0.5)
    assert missing["smallest"] == missing["random"] == pytest.approx(50, abs=5)


def test_missing_parts_over_folds_counts_the_objects_of_all(study, monkeypatch):
    from studies import grid
    folds, counted, set_up = [], [], grid.set_up
    monkeypatch.setattr(grid, "set_up", lambda cfg: (folds.append(cfg.fold),
                                                     set_up(replace(cfg, fold=None)))[1])
    monkeypatch.setattr("studies.missing_parts.missing_shares",
                        lambda _, indices, cfg: counted.append(list(indices)) or {"random": 1})
    monkeypatch.setattr("studies.missing_parts.conduct", lambda *_: None)
    study("missing_parts", "problem=pop", "modalities=[osm]", "folds=3")
    assert folds == ["1/3", "2/3", "3/3"]
    reported = counted[0][:len(counted[0]) // 3]
    assert reported
    assert counted == [reported * 3]


def test_missing_parts_measures_models_of_whole_tiles(study, tmp_path):
    done = study("missing_parts", "problem=pop", "modalities=[osm]", "seeds=[0]", "share=0.25",
                 "parts=[smallest,layer:house]")
    assert done == {"trained": ["osm/seed_0"],
                    "measured": ["osm_without_smallest_0.25/model_of_seed_0/seed_0",
                                 "osm_without_layer_house/model_of_seed_0/seed_0"]}
    results = check_outputs(tmp_path / "out", "missing_parts", 3)
    assert [cell["removed"] for cell in results["cells"]] == ["nothing", "smallest", "layer:house"]
    assert results["cells"][2]["evaluation"]["remove_ratio"] == 1


def test_missing_osm_removes_what_it_is_asked_to(study, tmp_path):
    done = study("missing_osm", "what=layer:building", "ratios=[1]", "modalities=[fusion]",
                 "seeds=[0]")
    assert done["measured"] == ["fusion_removed_1_layer_building/model_of_seed_0/seed_0"]
    results = check_outputs(tmp_path / "out", "missing_osm", 2)
    assert results["cells"][1]["evaluation"]["remove_what"] == "layer:building"


def test_shifted_osm_measures_models_or_trains_for_every_shift(study, tmp_path):
    common = ["problem=pop", "target_scale=standard", "modalities=[osm]", "seeds=[0]",
              "shifts=[0,20]"]
    assert study("shifted_osm", *common) == {
        "trained": ["osm/seed_0"], "measured": ["osm_shifted_20/model_of_seed_0/seed_0"]}
    results = check_outputs(tmp_path / "out", "shifted_osm", 2)
    whole, shifted = (cell["per_seed"]["0"]["rmse"] for cell in results["cells"])
    assert whole != shifted
    assert study("shifted_osm", *common, "while_training=true")["trained"] == [
        "while_training/osm_shifted_20/seed_0"]
    results = check_outputs(tmp_path / "out" / "while_training", "shifted_osm", 2)
    assert results["cells"][1]["evaluation"]["shift_while_training"]


def test_osm_parts_trains_on_what_it_reads(study, tmp_path):
    done = study("osm_parts", "problem=pop", "target_scale=standard", "modalities=[osm,image]",
                 "seeds=[0]", "reads=[all,geometry,tags]")
    assert done["trained"] == ["osm/seed_0", "osm_geometry_alone/seed_0", "osm_tags_alone/seed_0",
                               "image/seed_0"]
    results = check_outputs(tmp_path / "out", "osm_parts", 4)
    assert len({cell["mean"]["rmse"] for cell in results["cells"]}) == 4


@pytest.fixture(scope="module")
def cities(tmp_path_factory) -> Path:
    """A dataset of three cities, in each two tiles for training and one for val and test."""
    root = tmp_path_factory.mktemp("cities") / "tiles"
    lists = {"osm-train-all": (0, 1), "val": (2,), "test": (3,)}
    for city in CITIES:
        write_compact(root, [random_tile(f"{city}_{n}_0", 9, 12, 32, targets=True)
                             for n in range(4)], city)
    for name, columns in lists.items():
        (root / f"{name}.txt").write_text("".join(f"{city}_{n}_0.png\n" for city in CITIES
                                                  for n in columns))
    return root


def test_transfer_trains_on_a_city_and_measures_its_model_in_others(study, cities, tmp_path):
    common = [f"data_root={cities}", "image_size=32", "seeds=[0]", "modality=fusion"]
    done = study("transfer", *common, "train_cities=[oslo]", "test_cities=[lima,oslo]")
    assert done == {"trained": ["from_oslo/seed_0", "from_all_but_lima/seed_0",
                                "from_all_but_oslo/seed_0"],
                    "measured": ["from_oslo_on_lima/model_of_seed_0/seed_0"]}
    results = check_outputs(tmp_path / "out", "transfer", 4)
    assert [(cell["train_city"], cell["test_city"], cell["tiles"]["train"], cell["tiles"]["test"])
            for cell in results["cells"]] == [
        ("oslo", "lima", 2, 1), ("oslo", "oslo", 2, 1),
        ("all others", "lima", 4, 1), ("all others", "oslo", 4, 1)]
    two = study("transfer", *common, "cities=[lima,oslo]", f"out={tmp_path}/out/two")
    assert two["trained"] == ["two/from_lima/seed_0", "two/from_oslo/seed_0"]  # one is all others


def test_transfer_is_refused_before_the_first_run(study, cities, tmp_path, capsys):
    for overrides, said in (
            (["cities=[oslo]"], r"has tiles of 1 city \(oslo\), expected two or more"),
            (["train_cities=[bern]"], "no tile of train_cities=bern; the cities found are: lima"),
            (["protocol=release"], r"test_cities=\[lima\]: protocol=release reports the val"),
            (["test_file=lima.txt"], r"lima.txt: none of its 1 tiles is of test_cities=oslo")):
        (cities / "lima.txt").write_text("lima_3_0.png\n")
        assert re.search(said, refusal(study, capsys, "transfer", f"data_root={cities}",
                                       "image_size=32", *overrides))
    assert not (tmp_path / "out").exists()


def test_a_broken_comparison_goes_on_where_it_broke(study, tmp_path, monkeypatch, capsys):
    whole = job.fit

    def breaks(run):
        if run.cfg.modality == "fusion":
            raise RoseError("the loss is not finite; lower lr")
        whole(run)
    monkeypatch.setattr(job, "fit", breaks)
    assert refusal(study, capsys, "modalities",
                   "seeds=[0]") == "error: modality=fusion: the loss is not finite; lower lr"
    monkeypatch.setattr(job, "fit", whole)
    assert study("modalities", "seeds=[0]")["trained"] == [
        f"{name}/seed_0" for name in ("fusion", "fine", "osm_raster", "image_osm_raster")]
    results = check_outputs(tmp_path / "out", "modalities", 6)
    assert tuple(cell["modality"] for cell in results["cells"]) == segmentation_modalities()
    assert results["checkpoint"]["path"].endswith("model_1.safetensors")
    said = refusal(study, capsys, "modalities", "seeds=[0]", "lr=0.1")
    assert re.search(
        r"^error: modality=image: .*image/seed_0/results.json: belongs to another run: lr=0.1",
        said)


def test_a_problem_brings_its_target_and_rates():
    pop, co2 = (base_config(ModalitiesConfig(problem, [0, 1], "out", None), ["data_root=D"], {})
                for problem in ("pop", "co2"))
    assert (pop.target, pop.lr_multi, co2.target, co2.lr_multi) == ("pop", 1e5, "co2", 1e3)
    assert co2.seeds == [0, 1]
    assert co2.devices == "1"
    sample = base_config(ModalitiesConfig("seg", [0], "out", None), [], {})
    assert sample.sample_tiles == 12


def refusal(study, capsys, name: str, *overrides: str) -> str:
    """The last line that a command prints before it ends with code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        study(name, *overrides)
    assert end.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(("name", "overrides", "said"), [
    ("modalities", ["problem=land"], "problem=land: choose one of seg, pop, co2"),
    ("modalities", ["modalities=[image,text]"],
     r"modalities=\[image,text\]: problem=seg has no text; choose among image, osm, fusion, fine"),
    ("modalities", ["modalities=[]"], r"modalities=\[\]: a list of 0, expected 1 to 10 items"),
    ("modalities", ["modality=image"], "modality=image: the study sets modality itself, from "
                                       "modalities=; give that key instead"),
    ("modalities", ["problem=pop", "target=co2"], "target=co2: the study sets target itself, "
                                                  "from problem="),
    ("modalities", ["save_path=x"], "save_path=x: the study sets save_path itself, from out="),
    ("modalities", ["seeds=[1,1]"], r"seeds=\[1,1\]: expected one or more different values"),
    ("modalities", ["epoch=3"], "epoch=3: unknown key; did you mean epochs"),
    ("modalities", ["devices=2"], "devices=2 num_nodes=1: a study makes its runs one after the "
                                  "other in one process, on one device"),
    ("modalities", ["checkpoint=nowhere.tar"], "modality=image: nowhere.tar: "),
    ("missing_osm", ["ratios=[0,1.5]"],
     r"ratios=\[0.0, 1.5\]: must be 0 or more and 1 or less"),
    ("missing_osm", ["modalities=[image]"],
     r"modalities=\[image\]: reads no OSM objects that could be missing; add one"),
    ("missing_osm", ["remove_ratio=0.5"], "remove_ratio=0.5: the study sets remove_ratio itself, "
                                          "from ratios="),
    ("missing_osm", ["what=oldest"], "remove_what=oldest: choose one of random, smallest"),
    ("missing_osm", ["what=layer:roads"], ".*tiles: remove_what=layer:roads: no layer and no tag "
                                          "has that name; choose a layer "),
    ("missing_parts", ["parts=[quarter:north]"], "remove_what=quarter:north: no quarter north"),
    ("missing_parts", ["share=0"], "share=0.0: must be above 0 and 1 or less"),
    ("shifted_osm", ["shifts=[5,-5]"], r"shifts=\[5.0, -5.0\]: must be 0 or more"),
    ("shifted_osm", ["shifts=[0,500]"], "osm_shift=500: a shift beyond the tile; tiles of sample"),
    ("osm_parts", ["reads=[tag]"], r"reads=\[tag\]: OSM objects have no tag; choose among all, "),
    ("osm_parts", ["modalities=[image]"], "modalities=.image.: reads no OSM objects that could be "
                                          "read in part"),
    ("transfer", [], r".*tiles: has tiles of 1 city \(sample\), expected two or more to transfer"),
    ("missing_osm", ["train_file=none.txt"], "modality=image, remove_ratio=0: .*none.txt: "
                                             "missing, expected a list of tiles"),
    ("label_efficiency", ["modes=[linear,probe]"],
     r"modes=\[linear,probe\]: there is no probe; choose among finetune, linear, knn, scratch"),
    ("label_efficiency", ["train_files=[osm-train2.txt,none.txt]"],
     r"none.txt: missing, expected a list of tiles.*train_files="),
    ("label_efficiency", ["train_files=[osm-train2.txt,osm-train2.txt]"],
        "train_files=.*: expected one or more different values"),
    ("label_efficiency", ["mode=scratch"], "mode=scratch: the study sets mode itself, from "
                                           "modes="),
])
def test_bad_input_is_one_line_and_nothing_is_run(study, tmp_path, capsys, name, overrides, said):
    assert re.search(f"^error: (.*/)?{said}", refusal(study, capsys, name, *overrides))
    assert not (tmp_path / "out").exists()


def test_a_dataset_without_training_lists_is_refused(study, tiles, tmp_path, capsys):
    shutil.copytree(tiles, tmp_path / "bare", ignore=shutil.ignore_patterns("osm-train*"))
    said = refusal(study, capsys, "label_efficiency", f"data_root={tmp_path}/bare")
    assert re.search(
        r"bare: has no osm-train\*.txt, expected lists of training tiles.*"
        r"python -m datasets.splits data_path=", said)
