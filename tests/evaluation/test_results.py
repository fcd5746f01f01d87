"""evaluate_seg_fusion.py and evaluate_pop_fusion.py: what they leave, and that it is right."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from datasets import TileDataset, collate
from evaluation.probe_features import compute_features
from evaluation.problem import Segmentation
from models import build_rose, build_segmenter
from models.network_file import NetworkFile, load_rose
from tests.evaluation.evaluating import ROOT, SCRIPTS, configure, known, rows, run, stored
from tests.release_names import release_of
from utils.config import keys_of


def test_what_a_segmentation_leaves(whole, checkpoint):
    lines = rows(whole / "seed_0" / "metrics.csv")
    assert list(lines[0])[:7] == ["epoch", "train_loss", "val_loss", "lr", "head_lr", "miou", "f1"]
    assert [name for name in lines[0] if name.startswith("iou_")][::8] == ["iou_water",
                                                                           "iou_transport"]
    assert [line["epoch"] for line in lines] == ["1", "2"]
    assert {path.name for path in (whole / "seed_0").iterdir()} == {"best.safetensors",
                                                                    "metrics.csv",
                                                                    "predictions.csv",
                                                                    "results.json",
                                                                    "tiles.safetensors",
                                                                    "figures"}
    assert {path.name for path in (whole / "seed_0" / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("confusion", "tiles", "error_map", "curves", "reliability")
        for kind in ("png", "svg")}
    assert "Classes taken for each other" in (whole / "report.html").read_text()
    found = stored(whole)
    assert (found["seeds"], found["reported"], found["tiles"]) == ([0], "test",
                                                                   {"train": 5, "val": 2,
                                                                    "test": 2})
    assert len(found["checkpoint"]["sha256"]) == 64
    assert found["config"]["lr"] == 1e-3
    assert len(found["baselines"]) == 2
    assert not list(whole.rglob(".*"))


def test_what_a_regression_leaves(tiles, checkpoint, tmp_path, capsys):
    found = run("pop", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}",
                "target=co2", "target_scale=standard",
                pictures=True)
    assert list(found["mean"]) == ["mae", "rmse", "r2"]  # val has too few tiles for more
    estimates = rows(tmp_path / "seed_0" / "predictions.csv")
    true, estimate = (np.array([float(line[name]) for line in estimates])
                      for name in ("true", "estimate"))
    dataset = TileDataset(tiles)
    assert true.tolist() == [dataset.total(index, "CO2") for index in (7, 8)]
    assert found["mean"]["mae"] == pytest.approx(np.abs(true - estimate).mean())
    assert {path.name for path in (tmp_path / "seed_0" / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("scatter", "error_map", "curves") for kind in ("png", "svg")}
    said = capsys.readouterr().out
    for part in ("Regression of tonnes of CO2 a tile on 2 test tiles, trained on 5", "this model",
                 "training mean", str(tmp_path)):
        assert part in said


@pytest.mark.parametrize(("problem", "modality", "decoder"), [
    *[("seg", modality, decoder) for modality in ("image", "fusion", "fine")
      for decoder in ("linear", "mask_transformer")],
    *[("pop", modality, None) for modality in ("image", "osm", "fusion")],
])
@pytest.mark.parametrize("mode", ["finetune", "linear", "scratch"])
def test_every_way_runs(tiles, checkpoint, tmp_path, problem, modality, decoder, mode):
    more = [f"decoder={decoder}"] if decoder else ["target_scale=log1p"]
    found = run(problem, f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}",
                f"modality={modality}", f"mode={mode}",
                "epochs=1", *more)
    assert all(math.isfinite(value) for name, value in found["mean"].items()
               if name in ("miou", "f1", "mae", "rmse", "r2"))
    best = NetworkFile(tmp_path / "seed_0" / "best.safetensors")
    before, after = load_rose(checkpoint), best.rose()
    moved = {name for name, value in after.named_parameters()
             if not torch.equal(value, before.get_parameter(name))}
    assert bool(moved) == (mode != "linear")
    assert best.head.modality == modality


PRESETS = {  # method: batch, epochs, finetune lr, lr_multi, linear lr, decoder
    "seg": (16, 30, 2e-5, 100, 0.02, "linear"), "seg_sgp": (16, 50, 2e-6, 100, 0.02, "linear"),
    "seg_ccg": (16, 50, 2e-6, 100, 0.02, "linear"),
    "seg_sz": (16, 30, 2e-6, 100, 0.02, "mask_transformer"),
    **{f"{city}pop": (4, 30, 1e-5, 1e5, 1, "pop") for city in ("", "sgp_", "ccg_", "sz_")},
    **{f"{city}co2": (4, 30, 1e-5, 1e3, 0.01, "co2") for city in ("", "sgp_", "ccg_", "sz_")},
}


@pytest.mark.parametrize("task", PRESETS)
def test_presets_are_the_papers(task):
    cfg = configure("seg" if task.startswith("seg") else "pop", "data_root=D", f"task={task}")
    kind = cfg.decoder if task.startswith("seg") else cfg.target
    assert (cfg.batch_size, cfg.epochs, cfg.lr, cfg.lr_multi, cfg.linear_lr, kind) == PRESETS[task]
    assert (cfg.weight_decay, cfg.task, cfg.protocol) == (0.01, task, "honest")


def test_both_scripts_have_the_same_shared_keys():
    """Their values, rules and meanings, but for the rates."""
    seg, pop = (keys_of(SCRIPTS[problem][0].schema) for problem in ("seg", "pop"))
    own = {"modality", "decoder", "classes", "class_weights", "target", "target_scale",
           "batch_size", "lr", "lr_multi", "linear_lr", "count_objects", "drop_objects",
           "patch_mlp"}
    assert {name: seg["drop_objects"].metadata[name] for name in ("least", "most")} == {
        name: pop["drop_objects"].metadata[name] for name in ("least", "most")}
    assert seg.keys() ^ pop.keys() <= own
    for name in seg.keys() & pop.keys() - own:
        assert (seg[name].default, seg[name].metadata) == (pop[name].default, pop[name].metadata)


def test_the_rates_of_co2_follow_from_the_target():
    assert configure("pop", "data_root=D", "target=co2").lr_multi == 1e3
    assert configure("pop", "data_root=D").lr_multi == 1e5


def test_the_chosen_epoch_is_the_best_on_val(whole):
    lines, found = rows(whole / "seed_0" / "metrics.csv"), stored(whole)
    best = max(lines, key=lambda line: float(line["miou"]))
    assert found["epochs"]["0"] == int(best["epoch"])
    assert found["val_per_seed"]["0"]["miou"] == float(best["miou"])


def test_an_earlier_epoch_than_the_last_is_reported_with_its_own_weights(tiles, checkpoint,
                                                                         tmp_path, monkeypatch):
    epochs = []
    for better, choose in ((1, max), (-1, min)):  # the best and the worst are not both the last
        monkeypatch.setattr(Segmentation, "better", better)
        folder = tmp_path / choose.__name__
        found = run("seg", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={folder}",
                    "protocol=release", "epochs=4")
        chosen = choose(rows(folder / "seed_0" / "metrics.csv"),
                        key=lambda line: float(line["miou"]))
        assert found["epochs"]["0"] == int(chosen["epoch"])
        assert found["mean"]["miou"] == pytest.approx(float(chosen["miou"]))
        epochs.append(int(chosen["epoch"]))
    assert min(epochs) < 4


def test_the_best_weights_give_the_reported_figures_again(whole, tiles, tmp_path):
    again = run("seg", f"data_root={tiles}", f"checkpoint={whole / 'seed_0' / 'best.safetensors'}",
                f"save_path={tmp_path}", "epochs=0")
    assert known(again["per_seed"]["0"]) == stored(whole)["per_seed"]["0"]


@pytest.mark.parametrize(("problem", "modality"),
                         [("seg", "fusion"), ("seg", "fine"), ("pop", "osm"), ("pop", "fusion")])
def test_predictions_do_not_depend_on_the_batch(tiles, checkpoint, tmp_path, problem, modality):
    run(problem, f"data_root={tiles}", f"checkpoint={checkpoint}",
        f"save_path={tmp_path / 'trained'}", f"modality={modality}", "epochs=1")
    weights = tmp_path / "trained" / "seed_0" / "best.safetensors"
    once, twice, one = (
        run(problem, f"data_root={tiles}", f"checkpoint={weights}", f"save_path={tmp_path / name}",
            f"modality={modality}", "epochs=0",
            f"batch_size={size}", "test_file=osm-train-all.txt")
        for name, size in (("once", 16), ("twice", 16), ("one", 1)))
    assert once["mean"] == pytest.approx(twice["mean"], rel=0, abs=0, nan_ok=True)
    assert once["mean"] == pytest.approx(one["mean"], rel=1e-5, nan_ok=True)
    detail = [[float(value) for line in rows(tmp_path / name / "seed_0" / "predictions.csv")
               for value in list(line.values())[1:]]
              for name in ("once", "one")]
    # an estimate near 0 is a difference of numbers as large as the largest
    rounding = 1e-7 * max(map(abs, detail[1]))
    assert detail[0] == pytest.approx(detail[1], rel=1e-5, abs=rounding)


@pytest.mark.parametrize(("modality", "decoder"),
                         [("image", "linear"), ("fusion", "linear"), ("fine", "linear"),
                          ("fine", "mask_transformer")])
def test_what_is_predicted_does_not_depend_on_the_batch(tiles, checkpoint, modality, decoder):
    model, dataset = build_segmenter(load_rose(checkpoint), modality,
                                     decoder).eval(), TileDataset(tiles)
    with torch.no_grad():
        together = model(*collate([dataset[index] for index in range(9)]))
        alone = torch.cat([model(*collate([dataset[index]])) for index in range(9)])
    # its last LayerNorm divides by the spread of an untrained decoder's scores: compare
    # probabilities
    if decoder == "mask_transformer":
        together, alone = together.softmax(1), alone.softmax(1)
    assert (together - alone).abs().max() < 1e-5


@pytest.mark.parametrize(("problem", "modality"),
                         [("seg", "fine"), ("seg", "image"), ("pop", "osm")])
def test_a_probe_on_cached_features_gives_the_same_figures(tiles, checkpoint, tmp_path,
                                                           monkeypatch, problem, modality):
    extracted = []

    def counting(model, tiles, loader, fabric, path):
        extracted.append(path.stem)
        return compute_features(model, tiles, loader, fabric, path)

    monkeypatch.setattr("evaluation.run.compute_features", counting)
    for cached in ("true", "false"):
        run(problem, f"data_root={tiles}", f"checkpoint={checkpoint}",
            f"save_path={tmp_path / cached}", f"modality={modality}",
            "mode=linear", f"cache_features={cached}", "seeds=[0,1]", "epochs=3",
            "remove_ratio=0.5")
    # once for both seeds, but where they lose other objects
    assert extracted == ["train-all", "val-all", "test-0", "test-1"]
    for seed in ("seed_0", "seed_1"):
        with_cache, without = (rows(tmp_path / cached / seed / "metrics.csv")
                               for cached in ("true", "false"))
        for line, there in zip(with_cache, without, strict=True):
            found, expected = ([float(value) for value in row.values()] for row in (line, there))
            assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert not (tmp_path / "true" / ".features").exists()


def test_features_that_depend_on_the_batch_are_not_cached(tiles, checkpoint, tmp_path,
                                                          monkeypatch):
    monkeypatch.setattr("evaluation.run.compute_features", lambda *_: pytest.fail("kept"))
    run("seg", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}",
        "mode=linear", "recipe=release", "epochs=1")


def test_protocols(tiles, checkpoint, tmp_path):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}"
    released = run("seg", *given, f"save_path={tmp_path / 'release'}", "protocol=release")
    assert released["reported"] == "val"
    best = max(rows(tmp_path / "release" / "seed_0" / "metrics.csv"),
               key=lambda line: float(line["miou"]))
    assert released["mean"]["miou"] == pytest.approx(float(best["miou"]))
    untested = run("seg", *given, f"save_path={tmp_path / 'untested'}", "test_file=null",
                   "epochs=1")
    assert untested["reported"] == "val"
    assert any("better than on new tiles" in remark for remark in untested["remarks"])
    choosing = run("seg", *given, f"save_path={tmp_path / 'choosing'}", "test_file=val.txt",
                   "epochs=1")
    assert any("of the test tiles, 2 also chose the epoch" in remark
               for remark in choosing["remarks"])
    leaking = run("seg", *given, f"save_path={tmp_path / 'leaking'}",
                  "test_file=osm-train-all.txt", "epochs=1")
    assert any("of the test tiles, 5 also trained the model" in remark
               for remark in leaking["remarks"])


def test_removed_objects_change_only_what_is_reported(tiles, checkpoint, tmp_path):
    given = (f"data_root={tiles}", f"checkpoint={checkpoint}", "modality=osm",
             "target_scale=standard")
    clean = run("pop", *given, f"save_path={tmp_path / 'clean'}")
    noisy = run("pop", *given, f"save_path={tmp_path / 'noisy'}", "remove_ratio=1")
    assert rows(tmp_path / "clean/seed_0/metrics.csv") == rows(
        tmp_path / "noisy/seed_0/metrics.csv")
    assert clean["mean"]["mae"] != noisy["mean"]["mae"]
    estimates = {line["estimate"] for line in rows(tmp_path / "noisy/seed_0/predictions.csv")}
    # without OSM all tiles are alike
    assert len({round(float(estimate), 3) for estimate in estimates}) == 1
    run("pop", *given, f"save_path={tmp_path / 'all'}", "remove_ratio=1",
        "remove_while_training=true")
    assert rows(tmp_path / "clean/seed_0/metrics.csv") != rows(tmp_path / "all/seed_0/metrics.csv")


@pytest.mark.parametrize(("problem", "modality"),
                         [("seg", "image"), ("seg", "fusion"), ("seg", "fine"), ("pop", "image"),
                          ("pop", "osm"),
                          ("pop", "fusion")])
@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_without_osm_and_without_labels_have_a_defined_result(bare, tmp_path, problem,
                                                                    modality, batch):
    found = run(problem, f"data_root={bare}", "mode=scratch", "image_encoder=test_vit",
                f"modality={modality}", f"save_path={tmp_path}",
                f"batch_size={batch}", "epochs=1")
    assert all(math.isfinite(found["mean"][name])
               for name in (("miou", "f1") if problem == "seg" else ("mae", "rmse", "r2")))
    assert all(math.isfinite(float(line["train_loss"]))
               for line in rows(tmp_path / "seed_0" / "metrics.csv"))


def test_one_training_tile(tiles, checkpoint, tmp_path):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", "train_file=one.txt", "batch_size=16"
    assert run("seg", *given, f"save_path={tmp_path / 'seg'}", "epochs=1")["tiles"]["train"] == 1
    assert run("pop", *given, f"save_path={tmp_path / 'pop'}", "epochs=1",
               "target_scale=standard")["tiles"]["train"] == 1


@pytest.mark.parametrize("recipe", [[], ["recipe=release"]])
def test_the_authors_checkpoints_are_taken(tiles, tmp_path, recipe):
    torch.save(release_of(build_rose("test_vit")), tmp_path / "model_120.tar")
    given = (f"data_root={tiles}", f"checkpoint={tmp_path / 'model_120.tar'}",
             f"save_path={tmp_path / 'run'}", "image_encoder=test_vit")
    found = run("seg", *given, "modality=fine", "epochs=1", *recipe)
    # the network is as it was trained, whatever the protocol
    assert found["network"]["recipe"] == "release"
    assert found["reported"] == ("val" if recipe else "test")


def test_scratch_takes_the_shape_of_the_last_run_and_not_its_weights(tiles, checkpoint, tmp_path):
    found = run("seg", f"data_root={tiles}", f"save_root_dir={checkpoint.parent.parent}",
                "mode=scratch", "epochs=1",
                f"save_path={tmp_path}")
    assert found["checkpoint"] is None
    assert found["network"]["image_encoder"] == "test_vit"


def test_the_last_pretraining_run_is_taken(tiles, checkpoint, tmp_path):
    found = run("seg", f"data_root={tiles}", f"save_root_dir={checkpoint.parent.parent}",
                "epochs=1", f"save_path={tmp_path}")
    assert found["checkpoint"]["path"] == str(checkpoint)


def test_two_processes_measure_what_one_does(whole, tiles, tmp_path):
    weights = whole / "seed_0" / "best.safetensors"
    command = [sys.executable, "evaluate_seg_fusion.py", f"data_root={tiles}",
               f"checkpoint={weights}", "accelerator=cpu", "num_workers=0",
               "devices=2", f"save_path={tmp_path}", "epochs=1", "test_file=osm-train-all.txt",
               "batch_size=2", "mode=linear",
               "linear_lr=1e-12"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                         env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    one = run("seg", f"data_root={tiles}", f"checkpoint={weights}",
              f"save_path={tmp_path / 'one'}", "epochs=1", "batch_size=2",
              "test_file=osm-train-all.txt", "mode=linear", "linear_lr=1e-12")
    assert stored(tmp_path)["mean"] == pytest.approx(known(one["mean"]))
    several, alone = ([line["tile"] for line in rows(folder / "seed_0/predictions.csv")]
                      for folder in (tmp_path, tmp_path / "one"))
    assert several == alone
