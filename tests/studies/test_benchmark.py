"""The benchmark on a tiny city: what it makes, reads again, and refuses."""

import csv
import json
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from datasets import TileDataset
from datasets.prepare.text.sentence_files import sentence_files
from models.network_file import NetworkFile
from studies import ablation_runs, benchmark_plan, benchmark_runs
from studies.ablation_runs import Ablation
from studies.benchmark_data import find_city, prepare_city, text_of
from studies.benchmark_plan import (
    ALL,
    LINEAR,
    PARTS,
    TASKS,
    Cell,
    epochs_of,
    measured_with,
    planned,
    without_cells,
)
from studies.benchmark_results import difference, named, read_cells
from studies.benchmark_runs import Bench
from studies.claim_list import claims
from studies.differences import _tallies_of
from studies.keys import AblationConfig, BenchmarkConfig
from studies.verdicts import read_benchmark, verdicts
from tests.studies.tiny_city import SIDE, TILE, run, write_city
from utils.checkpoint import checksum_in
from utils.errors import CheckpointError, RoseError
from utils.files import sha256_of

ASKED = ("rows=[fusion,statistics]", "parts=[baselines,main,totals,missing]",
         "tasks=[land_use,trees]")


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Path:
    return write_city(tmp_path_factory.mktemp("city") / "brno")


@pytest.fixture(scope="module")
def made(city, tmp_path_factory) -> Path:
    """The outputs of a small benchmark."""
    out = tmp_path_factory.mktemp("bench") / "out"
    run(city, out, *ASKED)
    return out


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_cell_has_a_row_a_fold_and_the_outputs_agree(made, city):
    rows = rows_of(made)
    results = json.loads((made / "results.json").read_text())
    keys = ("row", "training", "labels", "removed", "shifted")
    cells = {tuple(row[key] for key in keys) for row in rows if row["task"] == "land_use"}
    assert len(rows) == 3 * len(results["cells"])
    assert {row["fold"] for row in rows} == {"1", "2", "3"}
    assert {("fusion", "pretrained", "all", "1.0", "0.0"),
            ("statistics", "scratch", "all", "0.0", "0.0")} <= cells
    for cell in results["cells"]:
        own = [float(row[cell["score"]]) for row in rows
               if all(row[key] == str(cell[key]) for key in ("task", *keys))]
        assert np.mean(own) == pytest.approx(cell["mean"][cell["score"]])
    page = (made / "results_real.md").read_text()
    assert "transductive" in page
    assert (f"`python -m studies.benchmark data={city} labels=[all] folds=3 seeds=[0] block=3 "
            "tile_px=32 pretrain_epochs=1 effort=0.01 tasks=[land_use,trees] "
            "parts=[baselines,main,totals,missing] rows=[fusion,statistics]`") in page
    tiles = len((made / "tiles/fold-1-of-3/osm-train-all.txt").read_text().split())
    assert f"land use, {tiles} with all labels (1 epoch)" in page
    assert "20 steps of 1,024 patches, as many as 5,120 tiles have" in page
    assert "Land use: mIoU" in page
    assert (made / "report.html").is_file()


@pytest.mark.parametrize(("labels", "seen"), [(25, (600, 24)), (100, (1200, 12)), (625, (3125, 5))])
def test_tiles_that_a_network_sees_grow_with_the_root_of_its_list(labels, seen):
    cell = Cell("land_use", "fusion")
    epochs = epochs_of(labels, cell, 1.0)
    assert (labels * epochs, epochs) == seen
    assert epochs_of(labels, replace(cell, task="trees"), 2.0) == epochs
    assert epochs_of(labels, replace(cell, training=LINEAR), 1.0) == epochs
    assert epochs_of(labels, cell, 0.001) == 1


def test_cells_are_read_back_and_compared(made):
    cells = read_cells(made)
    listed = json.loads((made / "results.json").read_text())["differences"]
    a = {"task": "land_use", "row": "statistics", "training": "scratch"}
    b = {"task": "land_use", "row": "fusion"}
    again = difference(cells, a, b)
    same = next(each for each in listed if each["cell"] == Cell(**a).keys
                and each["minus"] == Cell(**b).keys)
    assert again.difference == pytest.approx(same["difference"])
    assert list(again.interval) == pytest.approx(same["interval"])
    folders = [str(made / run["folder"]) for run in cells[Cell(**a)].runs]
    assert len(_tallies_of("a", folders)) == 3  # as studies.differences does
    claimed, *_ = [each for each in verdicts(read_benchmark(made), claims())
                   if each.b == "statistics"]  # as studies.claims does
    assert (claimed.a, claimed.difference) == ("fusion", pytest.approx(-again.difference))


def test_a_run_that_was_killed_is_made_and_the_finished_are_only_read(made, city, monkeypatch):
    before, worked, work = rows_of(made), [], benchmark_runs.Unit.work
    unfinished = made / "runs/land_use/fusion_pretrained_all/fold-2_seed-0"
    (unfinished / "run.json").unlink()
    (unfinished / "results.json").unlink()

    def noted(unit, threads):
        worked.append(unit.folder)
        work(unit, threads)
    monkeypatch.setattr(benchmark_runs.Unit, "work", noted)
    run(city, made, *ASKED)
    assert worked == [unfinished]
    for old, new in zip(before, rows_of(made), strict=True):
        assert {**old, "seconds": ""} == {**new, "seconds": ""}


def test_figures_of_a_model_that_was_made_anew_are_refused(made, city, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    measured = out / "runs/land_use/fusion_pretrained_all_removed-1/fold-2_seed-0"
    trained = out / "runs/land_use/fusion_pretrained_all/fold-2_seed-0"
    best = trained / "seed_0/best.safetensors"
    model = json.loads((measured / "run.json").read_text())["request"]["model"]
    assert model == {"sha256": sha256_of(best), "checksum": checksum_in(best)}
    best.write_bytes((trained.parent / "fold-1_seed-0/seed_0/best.safetensors").read_bytes())
    with pytest.raises(SystemExit):
        run(city, out, *ASKED)
    error = capsys.readouterr().err
    assert f"{measured / 'run.json'}: is of a run with other keys: sha256 of the model=" in error
    assert f"`rm -r {measured}` makes it anew" in error


def test_probes_and_shifts_are_made_by_several_processes(made, city, tmp_path):
    shutil.copytree(made, tmp_path / "out")
    run(city, tmp_path / "out", "rows=[fusion]", "parts=[main,probes,missing]", "tasks=[land_use]",
        "workers=2", removed=(), shifted=(5.0, 10.0))
    rows = rows_of(tmp_path / "out")
    kinds = {(row["training"], row["shifted"]) for row in rows}
    assert kinds == {("pretrained", "0.0"), ("linear", "0.0"), ("knn", "0.0"),
                     ("pretrained", "5.0"), ("pretrained", "10.0")}
    assert len(rows) == 3 * len(kinds)
    assert all(0 <= float(row["miou"]) <= 1 and float(row["seconds"]) > 0 for row in rows)
    page = (tmp_path / "out/results_real.md").read_text()
    assert "objects shifted" in page
    assert "2 processes at once" in page


def test_preparing_counts_in_later_commands(made):
    seconds = json.loads((made / "tiles/city.json").read_text())["seconds"]
    assert seconds > 0
    assert json.loads((made / "results.json").read_text())["times"]["preparing"] == seconds
    assert not (made / "tiles/spent.json").exists()


def test_other_keys_are_refused_in_a_folder(made, city, capsys):
    with pytest.raises(SystemExit):
        run(city, made, *ASKED, "effort=9")
    assert "is of a run with other keys" in capsys.readouterr().err


def test_other_keys_of_tiles_are_refused_in_a_folder(made, city, capsys):
    with pytest.raises(SystemExit):
        run(city, made, *ASKED, "block=2")
    assert f"block=2: {made / 'tiles'} was made with block=3;" in capsys.readouterr().err


def test_fewer_tasks_use_the_tiles_that_are_there(made, city, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "out")
    monkeypatch.setattr(benchmark_runs.Unit, "work", lambda unit: pytest.fail(unit.name))
    run(city, tmp_path / "out", *ASKED[:2], "tasks=[trees]")
    assert {row["task"] for row in rows_of(tmp_path / "out")} == {"trees"}


def test_more_tasks_and_changed_files_are_refused_in_a_folder(made, city, capsys, tmp_path):
    with pytest.raises(SystemExit):
        run(city, made, "tasks=[land_use,building_volume]")
    assert "building_volume.tif: is not as it was, or not asked for" in capsys.readouterr().err
    other = shutil.copytree(city, tmp_path / city.name)
    with (other / "ortho.tif").open("ab") as file:
        file.write(b" ")
    with pytest.raises(SystemExit):
        run(other, made, *ASKED)
    assert f"{other / 'ortho.tif'}: is not as it was" in capsys.readouterr().err


def test_a_copy_of_the_raw_files_serves_as_well(made, city, tmp_path, monkeypatch):
    other = shutil.copytree(city, tmp_path / city.name, copy_function=shutil.copyfile)  # later
    shutil.copytree(made, tmp_path / "out")
    monkeypatch.setattr(benchmark_runs.Unit, "work", lambda unit: pytest.fail(unit.name))
    run(other, tmp_path / "out", *ASKED)
    assert rows_of(tmp_path / "out") == rows_of(made)


def test_another_sentence_model_is_refused(made, city, tmp_path):
    root, here = tmp_path / "tiles", find_city(str(city), ["land_use"])
    shutil.copytree(made / "tiles", root)
    cfg = BenchmarkConfig(data=str(city), tile_px=TILE, folds=3, block=3, labels=[ALL])
    for name in ("one", "copy", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "tokenizer.json").write_text("{}")
        save_file({"weight": torch.full((2,), float(name == "other"))},
                  tmp_path / name / "model.safetensors")
    path = root / "cities" / here.name / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text": {
        "name": "sentence", "model": "one", "digest": sentence_files(str(tmp_path / "one")).digest,
        "width": 512}}))
    for name in ("one", "copy"):
        prepare_city(here, cfg, root, text_of(str(tmp_path / name)))
    with pytest.raises(RoseError, match=r"sentence_model=.*other: .* was made with other files of"):
        prepare_city(here, cfg, root, text_of(str(tmp_path / "other")))


def test_labels_that_no_fold_has_are_said(made, city, capsys):
    with pytest.raises(SystemExit):
        run(city, made, *ASKED, "rows=[fusion]", "parts=[main]", "labels=[100,2]")
    assert "100 labels are left out: a fold has fewer tiles" in capsys.readouterr().err


@pytest.mark.parametrize(("overrides", "message"), [
    (["rows=[imag]"], r"rows=\[imag\]: there is no imag; choose among image, osm"),
    (["parts=[all]"], r"parts=\[all\]: there is no all; choose among baselines, main"),
    (["tasks=[pop]"], r"tasks=\[pop\]: there is no pop; choose among land_use"),
    (["labels=[many]"], r"labels=\[many\]: many is no number of tiles, expected"),
    (["seeds=[1,1]"], r"seeds=\[1,1\]: expected one or more different values"),
    (["rows=[fine]", "parts=[totals]"], r"no cell of the table has these rows"),
    (["learning=3"], r"learning"),
    (["image_encoder=test_vitt"], r"image_encoder=test_vitt: timm knows no such model"),
    (["sentence_model=nowhere"], r"sentence_model=nowhere: no such folder, expected that of a sen"),
    (["epochs=9"], r"epochs=9: the study sets epochs itself, from effort=; give that key"),
    (["recipe=plus"], r"recipe=plus: the study sets recipe itself, from rows="),
    (["parts=[missing]"], r"parts=\[missing\]: measures models that other parts train; add the "
                          r"part that trains them, such as parts=\[main,missing\]"),
    (["labels=[5,05,all]"], r"labels=\[5,05,all\]: 05 is no number of tiles, expected"),
    (["page=."], r"page=.: is a folder, expected the file to write; name one, such as page=resul"),
    (["tile_px=40"], r"tile_px=40: no multiple of 16, the patch side of image_encoder=test_vit; p"),
    (["tile_px=56", "image_encoder=vit_small_patch14_dinov2", "parts=[baselines]"],
     r"tile_px=56: no multiple of 16, the patch side of the row patch_mlp; pass tile_px=64, or"),
    (["pretrained=true", "parts=[main]"], r"pretrained=true: is for mode=scratch, linear and knn; "
     r".*; the study has such a training in image_pretrained_all of land_use"),
    (["image_weights=x.safetensors"], r"image_weights=x.safetensors: is for mode=scratch"),
    (["freeze=99"], r"freeze=99: expected none, image, or image_epochs:N"),
    (["freeze=image_epochs:9", "parts=[main]"], r"freeze=image_epochs:9: epochs=1 leaves no epoch"),
    (["layer_decay=0.5", "parts=[probes]"], r"layer_decay=0.5: mode=linear trains no encoder"),
    *(([f"{key}={value}"], rf"{key}={value}: the study sets {key} itself and has no key for it")
      for key, value in (("protocol", "release"), ("cities", "x"), ("train_cities", "x"),
                         ("test_cities", "x"), ("resume", "never"), ("sample_tiles", "9"))),
    (["osm_reads=tags", "parts=[baselines]"], r"osm_reads=tags: the row patch_mlp reads all of"),
    (["test_file=null"], r"test_file=null: the study sets test_file itself, from folds="),
    (["val_file=x.txt"], r"val_file=x.txt: the study sets val_file itself, from folds="),
    (["pictures=true"], r"pictures=true: the study sets pictures itself and has no key for it"),
])
def test_impossible_keys(city, tmp_path, capsys, overrides, message):
    with pytest.raises(SystemExit):
        run(city, tmp_path / "out", *overrides)
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert re.search(message, error)


@pytest.mark.parametrize(("bench", "cfg", "own"), [
    (Bench, BenchmarkConfig, benchmark_runs.SET_HERE),
    (Ablation, AblationConfig, ablation_runs.SET_HERE),
])
def test_every_key_that_runs_set_is_refused_from_outside(monkeypatch, bench, cfg, own):
    given = set()

    def noted(base, **keys):
        given.update(keys)
        return replace(base, **keys)
    for module in (benchmark_runs, ablation_runs):
        monkeypatch.setattr(module, "replace", noted)
    runs = bench(cfg(data="brno", accelerator="cpu"), (), {"hash": Path("tiles")}, {ALL: 9}, 9)
    runs.config(Cell("land_use", "fusion"), 1, 0)
    assert {"modality", "checkpoint", "remove_ratio"} <= given <= own.keys()


def test_a_cell_is_trained_with_the_seeds_that_its_part_has(made):
    cfg = BenchmarkConfig(data="brno", accelerator="cpu", folds=3, seeds=[0, 1])
    bench = Bench(cfg, (), {"hash": made / "tiles"}, {ALL: 9}, 9)
    cells = {Cell("land_use", "fusion"): 1, Cell("land_use", "plus"): None}
    assert Counter(unit.row.recipe for unit in bench.trainings(cells)) == {"rose": 3, "plus": 6}
    assert {unit.folder.name for unit in bench.pretrainings(cells)} == {
        "rose_hash_seed-0", "plus_hash_seed-0", "plus_hash_seed-1"}


def test_a_city_without_a_file(city, tmp_path, capsys):
    for name in ("ortho.tif", "height.tif"):
        (tmp_path / name).write_bytes((city / name).read_bytes())
    with pytest.raises(SystemExit):
        run(tmp_path, tmp_path / "out")
    assert f"data={tmp_path}: has no osm.*, expected the city's objects" in capsys.readouterr().err


def test_a_folder_of_another_command_is_refused(city, tmp_path, capsys, monkeypatch):
    (tmp_path / "model_3.tar").touch()
    with pytest.raises(SystemExit):
        run(city, tmp_path)
    assert (f"out={tmp_path}: holds model_3.tar of another command, expected a folder of its own; "
            "choose another out=") in capsys.readouterr().err
    assert not (tmp_path / "tiles").exists()
    (tmp_path / "tiles_sentence").mkdir()
    (tmp_path / "tiles_sentence/spent.json").write_text(  # of a study stopped while it made tiles
        '{"seconds": 1, "since": 0, "parts": {}}')
    monkeypatch.setattr("studies.benchmark_data.prepare_tiles", lambda *_, **_k: sys.exit("begun"))
    with pytest.raises(SystemExit, match="begun"):
        run(city, tmp_path)


def test_a_folder_without_runs_is_no_benchmark(tmp_path):
    with pytest.raises(CheckpointError, match=r"runs: there is no such folder, expected the runs"):
        read_cells(tmp_path)


def test_the_dataset_says_what_a_total_is(made):
    tiles = TileDataset(made / "tiles")
    assert len(tiles) == SIDE**2
    assert tiles.counted("pop") is None
    assert tiles.counted("CO2") == TASKS["trees"].counted
    trained = made / "runs/trees/fusion_pretrained_all/fold-1_seed-0/seed_0/best.safetensors"
    assert NetworkFile(trained).head.counted == TASKS["trees"].counted


def test_names_of_folders_are_names_of_cells():
    cells = planned([*PARTS], ["land_use", "building_volume", "trees"], None,
                    ["25", "100", ALL], sentence=True)
    every = [*cells, *(other for cell in cells for other in measured_with(cell, ["25", ALL]))]
    assert [named(cell.task, cell.name) for cell in every] == every
    assert len({(cell.task, cell.name) for cell in every}) == len(every)


def test_every_cell_of_the_table_is_an_evaluation(tmp_path):
    labels = ["25", "50", "100", "200", ALL]
    cells = planned([*PARTS], [*TASKS], None, labels, sentence=True)
    bench = Bench(BenchmarkConfig(data="brno", out=str(tmp_path), accelerator="cpu"), (),
                  {"hash": Path("tiles"), "sentence": Path("tiles_sentence")},
                  benchmark_runs.most_labels(labels), 0)
    bench.check(cells)


def test_the_larger_number_of_seeds_holds(monkeypatch):
    groups = [benchmark_plan.Group(["trees"], ["image"], [ALL], seeds=seeds) for seeds in (2, 1)]
    for own, seeds in ((groups, 2), ([*groups, groups[0]._replace(seeds=None), groups[1]], None)):
        monkeypatch.setitem(PARTS, "main", tuple(own))
        assert [*planned(["main"], ["trees"], None, [ALL], False).values()] == [seeds]


def test_what_was_asked_for_and_has_no_cell_is_said():
    cells = planned(["probes"], ["land_use", "trees"], ["image", "osm"], ["5", ALL], False)
    notes = without_cells({"rows": ["image", "osm"], "tasks": ["land_use", "trees"],
                           "labels": ["5", ALL]}, cells)
    assert [note.partition(" is left out: the table has no such cell")[0] for note in notes] == [
        "rows=osm", "tasks=trees", "labels=5"]
    assert without_cells({"rows": None}, cells) == []


@pytest.mark.parametrize("name", ["fusion_old", "fusion_pretrained_all_removed-half", "fusion_",
                                  "fusion_pretrained_all_shifted-5_copy-2", "notes"])
def test_other_folders_are_no_cells(name):
    assert named("land_use", name) is None


def test_models_of_most_labels_are_measured():
    fusion = Cell("land_use", "fusion")
    assert [*measured_with(replace(fusion, labels="25"), ["25", ALL])] == []
    assert len([*measured_with(replace(fusion, labels="25"), ["25"])]) == 8
    assert [*measured_with(replace(fusion, row="image"), [ALL])] == []
    with_removal = replace(fusion, removed=0.5, trained_with_removal=0.5)
    assert [cell.removed for cell in measured_with(with_removal, [ALL])] == [0, 0.25, 0.75, 1]
