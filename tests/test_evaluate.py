"""evaluate_seg_fusion.py and evaluate_pop_fusion.py: what they leave, that it is right, and that it is exact after any interruption."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from datasets import TileDataset, collate
from models import build_rose, build_segmenter
from tests.random_tiles import random_tile, write_release
from tests.release_names import release_of
from utils.checkpoint import load_rose, save_checkpoint
from utils.cli import read_config
from utils.config import RegressionConfig, SegmentationConfig
from utils.errors import RoseError
from utils.evaluation.defaults import implied
from utils.evaluation.features import extract_features
from utils.evaluation.job import evaluate_and_tell
from utils.evaluation.problem import Regression, Segmentation
from utils.evaluation.run import Run, fit
from utils.finetuned import load_finetuned
from utils.stopping import StopRequest

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["num_workers=0", "accelerator=cpu", "batch_size=2", "epochs=2", "lr=1e-3", "lr_multi=10"]
SCRIPTS = {"seg": ("evaluate_seg_fusion", SegmentationConfig, Segmentation), "pop": ("evaluate_pop_fusion", RegressionConfig, Regression)}
LISTS = {"osm-train-all.txt": range(5), "one.txt": [0], "val.txt": [5, 6], "test.txt": [7, 8]}


def write_lists(root: Path, lists: dict[str, list[int]]) -> None:
    names = TileDataset(root).names
    for file, indices in lists.items():
        (root / file).write_text("".join(f"{names[index]}.png\n" for index in indices))


@pytest.fixture(scope="module")
def tiles(sample_tiles, tmp_path_factory) -> Path:
    """The sample city of 3 x 3 tiles, with lists."""
    root = tmp_path_factory.mktemp("labelled") / "tiles"
    shutil.copytree(sample_tiles, root)
    write_lists(root, LISTS)
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A network as a pretraining run leaves it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("runs") / "pretrained" / "model_1.tar"
    save_checkpoint(path, {"model": build_rose("test_vit").state_dict(), "build": {"image_encoder": "test_vit"}, "global_step": 1})
    return path.with_suffix(".safetensors")


def configure(problem: str, *overrides: str):
    config, schema, _ = SCRIPTS[problem]
    return read_config(config, schema, list(overrides), implied)


def run(problem: str, *overrides: str, pictures: bool = False) -> dict:
    """Evaluate in this process; most of the time would be the drawing."""
    cfg = configure(problem, *SMALL, *overrides)
    with pytest.MonkeyPatch.context() as patched:
        if not pictures:
            patched.setattr("utils.evaluation.results.save_pictures", lambda *_: None)
        return evaluate_and_tell(cfg, SCRIPTS[problem][2](cfg))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def known(figures: dict[str, float]) -> dict[str, float | None]:
    """Figures as JSON has them."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def stored(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def whole(tiles, checkpoint, tmp_path_factory) -> Path:
    """A segmentation of 2 epochs of 3 steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("evaluations") / "whole"
    run("seg", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={folder}", pictures=True)
    return folder


def test_what_a_segmentation_leaves(whole, checkpoint):
    lines = rows(whole / "seed_0" / "metrics.csv")
    assert list(lines[0])[:7] == ["epoch", "train_loss", "val_loss", "lr", "head_lr", "miou", "f1"]
    assert [name for name in lines[0] if name.startswith("iou_")][::8] == ["iou_water", "iou_transport"]
    assert [line["epoch"] for line in lines] == ["1", "2"]
    assert {path.name for path in (whole / "seed_0").iterdir()} == {"best.safetensors", "metrics.csv", "predictions.csv", "results.json",
                                                                   "figures"}
    assert {path.name for path in (whole / "seed_0" / "figures").iterdir()} == {"confusion.png", "tiles.png", "error_map.png", "curves.png"}
    found = stored(whole)
    assert (found["seeds"], found["reported"], found["tiles"]) == ([0], "test", {"train": 5, "val": 2, "test": 2})
    assert len(found["checkpoint"]["sha256"]) == 64
    assert found["config"]["lr"] == 1e-3
    assert len(found["baselines"]) == 2
    assert not list(whole.rglob(".*"))


def test_what_a_regression_leaves(tiles, checkpoint, tmp_path, capsys):
    found = run("pop", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}", "target=co2", "target_scale=standard",
                pictures=True)
    assert list(found["mean"]) == ["mae", "rmse", "r2"]
    estimates = rows(tmp_path / "seed_0" / "predictions.csv")
    true, estimate = (np.array([float(line[name]) for line in estimates]) for name in ("true", "estimate"))
    dataset = TileDataset(tiles)
    assert true.tolist() == [dataset.total(index, "CO2") for index in (7, 8)]
    assert found["mean"]["mae"] == pytest.approx(np.abs(true - estimate).mean())
    assert {path.name for path in (tmp_path / "seed_0" / "figures").iterdir()} == {"scatter.png", "error_map.png", "curves.png"}
    said = capsys.readouterr().out
    for part in ("Regression of tonnes of CO2 a tile on 2 test tiles, trained on 5", "this model", "training mean", str(tmp_path)):
        assert part in said


@pytest.mark.parametrize(("problem", "modality", "decoder"), [
    *[("seg", modality, decoder) for modality in ("image", "fusion", "fine") for decoder in ("linear", "mask_transformer")],
    *[("pop", modality, None) for modality in ("image", "osm", "fusion")],
])
@pytest.mark.parametrize("mode", ["finetune", "linear", "scratch"])
def test_every_way_runs(tiles, checkpoint, tmp_path, problem, modality, decoder, mode):
    more = [f"decoder={decoder}"] if decoder else ["target_scale=log1p"]
    found = run(problem, f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}", f"modality={modality}", f"mode={mode}",
                "epochs=1", *more)
    assert all(math.isfinite(value) for name, value in found["mean"].items() if name in ("miou", "f1", "mae", "rmse", "r2"))
    _, purpose = load_finetuned(tmp_path / "seed_0" / "best.safetensors")
    before, after = load_rose(checkpoint), load_rose(tmp_path / "seed_0" / "best.safetensors")
    moved = {name for name, value in after.named_parameters() if not torch.equal(value, before.get_parameter(name))}
    assert bool(moved) == (mode != "linear")
    assert purpose["modality"] == modality


PRESETS = {  # method: batch, epochs, finetune lr, lr_multi, linear lr, decoder
    "seg": (16, 30, 2e-5, 100, 0.02, "linear"), "seg_sgp": (16, 50, 2e-6, 100, 0.02, "linear"),
    "seg_ccg": (16, 50, 2e-6, 100, 0.02, "linear"), "seg_sz": (16, 30, 2e-6, 100, 0.02, "mask_transformer"),
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
    """Their values and meanings, but for the rates; the two files are read one beside the other."""
    lines = [set((ROOT / "configs" / f"{SCRIPTS[problem][0]}.yaml").read_text().splitlines()) for problem in ("seg", "pop")]
    own = {"modality", "decoder", "classes", "target", "target_scale", "batch_size", "lr", "lr_multi", "linear_lr", "defaults"}
    differing = {line.partition(":")[0] for line in lines[0] ^ lines[1] if ":" in line and line[0].isalpha()}
    assert differing <= own


def test_the_rates_of_co2_follow_from_the_target():
    assert configure("pop", "data_root=D", "target=co2").lr_multi == 1e3
    assert configure("pop", "data_root=D").lr_multi == 1e5


def test_the_chosen_epoch_is_the_best_on_val(whole):
    lines, found = rows(whole / "seed_0" / "metrics.csv"), stored(whole)
    best = max(lines, key=lambda line: float(line["miou"]))
    assert found["epochs"]["0"] == int(best["epoch"])
    assert found["val_per_seed"]["0"]["miou"] == float(best["miou"])


def test_an_earlier_epoch_than_the_last_is_reported_with_its_own_weights(tiles, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(Segmentation, "better", -1)  # the worst epoch, which is not the last while the network learns
    found = run("seg", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}", "protocol=release", "epochs=4")
    lines = rows(tmp_path / "seed_0" / "metrics.csv")
    worst = min(lines, key=lambda line: float(line["miou"]))
    assert found["epochs"]["0"] == int(worst["epoch"]) < 4
    assert found["mean"]["miou"] == pytest.approx(float(worst["miou"]))


def test_the_best_weights_give_the_reported_figures_again(whole, tiles, tmp_path):
    again = run("seg", f"data_root={tiles}", f"checkpoint={whole / 'seed_0' / 'best.safetensors'}", f"save_path={tmp_path}", "epochs=0")
    assert known(again["per_seed"]["0"]) == stored(whole)["per_seed"]["0"]


@pytest.mark.parametrize(("problem", "modality"), [("seg", "fusion"), ("seg", "fine"), ("pop", "osm"), ("pop", "fusion")])
def test_predictions_do_not_depend_on_the_batch(tiles, checkpoint, tmp_path, problem, modality):
    run(problem, f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path / 'trained'}", f"modality={modality}", "epochs=1")
    weights = tmp_path / "trained" / "seed_0" / "best.safetensors"
    once, twice, one = (
        run(problem, f"data_root={tiles}", f"checkpoint={weights}", f"save_path={tmp_path / name}", f"modality={modality}", "epochs=0",
            f"batch_size={size}", "test_file=osm-train-all.txt")
        for name, size in (("once", 16), ("twice", 16), ("one", 1)))
    assert once["mean"] == pytest.approx(twice["mean"], rel=0, abs=0, nan_ok=True)
    assert once["mean"] == pytest.approx(one["mean"], rel=1e-5, nan_ok=True)
    detail = [[float(value) for line in rows(tmp_path / name / "seed_0" / "predictions.csv") for value in list(line.values())[1:]]
              for name in ("once", "one")]
    assert detail[0] == pytest.approx(detail[1], rel=1e-5)


@pytest.mark.parametrize(("modality", "decoder"), [("image", "linear"), ("fusion", "linear"), ("fine", "linear"),
                                                   ("fine", "mask_transformer")])
def test_what_is_predicted_does_not_depend_on_the_batch(tiles, checkpoint, modality, decoder):
    model, dataset = build_segmenter(load_rose(checkpoint), modality, decoder).eval(), TileDataset(tiles)
    with torch.no_grad():
        together = model(*collate([dataset[index] for index in range(9)]))
        alone = torch.cat([model(*collate([dataset[index]])) for index in range(9)])
    if decoder == "mask_transformer":  # its last LayerNorm divides by the spread of an untrained decoder's scores: compare probabilities
        together, alone = together.softmax(1), alone.softmax(1)
    assert (together - alone).abs().max() < 1e-5


@pytest.mark.parametrize(("problem", "modality"), [("seg", "fine"), ("seg", "image"), ("pop", "osm")])
def test_a_probe_on_cached_features_gives_the_same_figures(tiles, checkpoint, tmp_path, monkeypatch, problem, modality):
    extracted = []

    def counting(model, tiles, loader, fabric, path):
        extracted.append(path.stem)
        return extract_features(model, tiles, loader, fabric, path)

    monkeypatch.setattr("utils.evaluation.run.extract_features", counting)
    for cached in ("true", "false"):
        run(problem, f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path / cached}", f"modality={modality}",
            "mode=linear", f"cache_features={cached}", "seeds=[0,1]", "epochs=3", "remove_ratio=0.5")
    assert extracted == ["train-all", "val-all", "test-0", "test-1"]  # once for both seeds, but where they lose other objects
    for seed in ("seed_0", "seed_1"):
        with_cache, without = (rows(tmp_path / cached / seed / "metrics.csv") for cached in ("true", "false"))
        for line, there in zip(with_cache, without, strict=True):
            assert [float(value) for value in line.values()] == pytest.approx([float(value) for value in there.values()], rel=1e-5,
                                                                               nan_ok=True)
    assert not (tmp_path / "true" / ".features").exists()


def test_features_that_depend_on_the_batch_are_not_cached(tiles, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.evaluation.run.extract_features", lambda *_: pytest.fail("kept"))
    run("seg", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}", "mode=linear", "recipe=release", "epochs=1")


def test_seeds_give_mean_and_deviation_and_finished_ones_are_kept(tiles, checkpoint, tmp_path, monkeypatch):
    one = run("pop", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}", "target_scale=standard")
    assert all(math.isnan(value) for value in one["std"].values())
    fitted = []
    monkeypatch.setattr("utils.evaluation.job.fit", lambda run: (fitted.append(run.seed), fit(run)))
    three = run("pop", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}", "target_scale=standard", "seeds=[0,1,2]")
    assert fitted == [1, 2]
    values = [three["per_seed"][str(seed)]["mae"] for seed in range(3)]
    assert len(set(values)) == 3
    assert values[0] == one["mean"]["mae"]
    assert three["mean"]["mae"] == pytest.approx(np.mean(values))
    assert three["std"]["mae"] == pytest.approx(np.std(values, ddof=1))


def test_protocols(tiles, checkpoint, tmp_path):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}"
    released = run("seg", *given, f"save_path={tmp_path / 'release'}", "protocol=release")
    assert released["reported"] == "val"
    best = max(rows(tmp_path / "release" / "seed_0" / "metrics.csv"), key=lambda line: float(line["miou"]))
    assert released["mean"]["miou"] == pytest.approx(float(best["miou"]))
    untested = run("seg", *given, f"save_path={tmp_path / 'untested'}", "test_file=null", "epochs=1")
    assert untested["reported"] == "val"
    assert any("better than on new tiles" in remark for remark in untested["remarks"])
    choosing = run("seg", *given, f"save_path={tmp_path / 'choosing'}", "test_file=val.txt", "epochs=1")
    assert any("of the test tiles, 2 also chose the epoch" in remark for remark in choosing["remarks"])
    leaking = run("seg", *given, f"save_path={tmp_path / 'leaking'}", "test_file=osm-train-all.txt", "epochs=1")
    assert any("of the test tiles, 5 also trained the model" in remark for remark in leaking["remarks"])


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("step", "more"), [
    (1, []), (3, []), (4, []), (6, []), (5, ["decoder=mask_transformer"]), (4, ["mode=linear", "modality=fine"]), (10, ["seeds=[1,0]"]),
])
def test_killed_at_any_step_and_continued(tiles, checkpoint, tmp_path, monkeypatch, step, more):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", *more
    run("seg", *given, f"save_path={tmp_path / 'whole'}")
    count = Run.count

    steps = []

    def dying(self, *args):
        count(self, *args)
        steps.append(self.global_step)
        if len(steps) == step:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Run, "count", dying)
        with pytest.raises(Killed):
            run("seg", *given, f"save_path={tmp_path / 'killed'}")
    run("seg", *given, f"save_path={tmp_path / 'killed'}")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("metrics.csv", "predictions.csv"):
        assert (one / "seed_0" / name).read_bytes() == (other / "seed_0" / name).read_bytes(), name
    weights, there = (load_file(folder / "seed_0" / "best.safetensors") for folder in (one, other))
    assert weights.keys() == there.keys()
    assert all(torch.equal(value, there[name]) for name, value in weights.items())
    assert stored(one)["per_seed"] == stored(other)["per_seed"]


@pytest.mark.parametrize("step", [1, 3, 5])
def test_asked_to_stop_it_saves_and_continues(whole, tiles, checkpoint, tmp_path, monkeypatch, capsys, step):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}"
    count = Run.count

    def asked(self, *args):
        count(self, *args)
        if self.global_step == step:
            self.stop.received = "SIGTERM"

    with monkeypatch.context() as patched:
        patched.setattr(Run, "count", asked)
        with pytest.raises(SystemExit) as ended:
            run("seg", *given)
    assert ended.value.code == 0
    assert f"Stopped by SIGTERM in epoch {1 if step < 3 else 2} after step {step} of 6" in capsys.readouterr().out
    run("seg", *given)
    assert "Continuing" in capsys.readouterr().out
    assert_same_run(whole, tmp_path)


def test_stopped_without_arguments_for_checkpoint_and_folder_it_continues(tiles, checkpoint, tmp_path, monkeypatch, capsys):
    """What an evaluation leaves in save_root_dir is not taken for a pretraining run."""
    shutil.copytree(checkpoint.parent, tmp_path / "pretrained")
    given = f"data_root={tiles}", f"save_root_dir={tmp_path}"
    count = Run.count

    def asked(self, *args):
        count(self, *args)
        self.stop.received = "SIGINT"

    with monkeypatch.context() as patched:
        patched.setattr(Run, "count", asked)
        with pytest.raises(SystemExit):
            run("seg", *given)
    run("seg", *given)
    assert "Continuing" in capsys.readouterr().out
    assert (tmp_path / "seg_fusion_finetune" / "results.json").is_file()


def test_asked_to_stop_while_a_seed_is_judged_the_next_does_not_begin(tiles, checkpoint, tmp_path, monkeypatch, capsys):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}", "seeds=[0,1]", "epochs=1"
    measure = Run.measure

    def asked(self, part):
        if part == "test":
            self.stop.received = "SIGTERM"
        return measure(self, part)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "measure", asked)
        with pytest.raises(SystemExit) as ended:
            run("seg", *given)
    assert ended.value.code == 0
    assert "Stopped by SIGTERM before seed 1" in capsys.readouterr().out
    assert run("seg", *given)["seeds"] == [0, 1]


def test_a_seed_without_its_pictures_is_not_finished(tiles, checkpoint, tmp_path, monkeypatch):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}", "epochs=1"

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("utils.evaluation.pictures.curves_figure", killed)
        with pytest.raises(Killed):
            run("seg", *given, pictures=True)
    run("seg", *given, pictures=True)
    assert (tmp_path / "seed_0" / "figures" / "curves.png").is_file()


def test_other_targets_are_another_run(bare, tmp_path):
    root = tmp_path / "tiles"
    shutil.copytree(bare, root)
    given = f"data_root={root}", "mode=scratch", "image_encoder=test_vit", f"save_path={tmp_path / 'run'}", "epochs=1"
    run("seg", *given)
    Image.fromarray(np.zeros((224, 224), np.uint8)).save(root / "label" / "lima_4_0.png")
    with pytest.raises(RoseError, match="belongs to another run: tiles_and_targets="):
        run("seg", *given)


def test_removed_objects_change_only_what_is_reported(tiles, checkpoint, tmp_path):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", "modality=osm", "target_scale=standard"
    clean = run("pop", *given, f"save_path={tmp_path / 'clean'}")
    noisy = run("pop", *given, f"save_path={tmp_path / 'noisy'}", "remove_ratio=1")
    assert rows(tmp_path / "clean/seed_0/metrics.csv") == rows(tmp_path / "noisy/seed_0/metrics.csv")
    assert clean["mean"]["mae"] != noisy["mean"]["mae"]
    estimates = {line["estimate"] for line in rows(tmp_path / "noisy/seed_0/predictions.csv")}
    assert len({round(float(estimate), 3) for estimate in estimates}) == 1  # without OSM all tiles are alike
    run("pop", *given, f"save_path={tmp_path / 'all'}", "remove_ratio=1", "remove_while_training=true")
    assert rows(tmp_path / "clean/seed_0/metrics.csv") != rows(tmp_path / "all/seed_0/metrics.csv")


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """Files of six tiles: one without OSM objects, one whose land use nobody knows."""
    root = tmp_path_factory.mktemp("bare") / "tiles"
    made = [random_tile(f"lima_{n}_0", nodes=0 if n == 1 else 4, edges=0, targets=True) for n in range(6)]
    made[2].land_use[:] = 255
    write_release(root, made)
    write_lists(root, {"osm-train-all.txt": [0, 1, 2], "val.txt": [3, 1], "test.txt": [4, 1, 2]})
    return root


@pytest.mark.parametrize(("problem", "modality"), [("seg", "image"), ("seg", "fusion"), ("seg", "fine"), ("pop", "image"), ("pop", "osm"),
                                                   ("pop", "fusion")])
@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_without_osm_and_without_labels_have_a_defined_result(bare, tmp_path, problem, modality, batch):
    found = run(problem, f"data_root={bare}", "mode=scratch", "image_encoder=test_vit", f"modality={modality}", f"save_path={tmp_path}",
                f"batch_size={batch}", "epochs=1")
    assert all(math.isfinite(found["mean"][name]) for name in (("miou", "f1") if problem == "seg" else ("mae", "rmse", "r2")))
    assert all(math.isfinite(float(line["train_loss"])) for line in rows(tmp_path / "seed_0" / "metrics.csv"))


def test_one_training_tile(tiles, checkpoint, tmp_path):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", "train_file=one.txt", "batch_size=16"
    assert run("seg", *given, f"save_path={tmp_path / 'seg'}", "epochs=1")["tiles"]["train"] == 1
    assert run("pop", *given, f"save_path={tmp_path / 'pop'}", "epochs=1", "target_scale=standard")["tiles"]["train"] == 1


@pytest.mark.parametrize("recipe", [[], ["recipe=release"]])
def test_the_authors_checkpoints_are_taken(tiles, tmp_path, recipe):
    torch.save(release_of(build_rose("test_vit")), tmp_path / "model_120.tar")
    given = f"data_root={tiles}", f"checkpoint={tmp_path / 'model_120.tar'}", f"save_path={tmp_path / 'run'}", "image_encoder=test_vit"
    found = run("seg", *given, "modality=fine", "epochs=1", *recipe)
    assert found["network"]["recipe"] == "release"  # the network is as it was trained, whatever the protocol
    assert found["reported"] == ("val" if recipe else "test")


def test_scratch_takes_the_shape_of_the_last_run_and_not_its_weights(tiles, checkpoint, tmp_path):
    found = run("seg", f"data_root={tiles}", f"save_root_dir={checkpoint.parent.parent}", "mode=scratch", "epochs=1",
                f"save_path={tmp_path}")
    assert found["checkpoint"] is None
    assert found["network"]["image_encoder"] == "test_vit"


def test_the_last_pretraining_run_is_taken(tiles, checkpoint, tmp_path):
    found = run("seg", f"data_root={tiles}", f"save_root_dir={checkpoint.parent.parent}", "epochs=1", f"save_path={tmp_path}")
    assert found["checkpoint"]["path"] == str(checkpoint)


def test_two_processes_measure_what_one_does(whole, tiles, tmp_path):
    weights = whole / "seed_0" / "best.safetensors"
    command = [sys.executable, "evaluate_seg_fusion.py", f"data_root={tiles}", f"checkpoint={weights}", "accelerator=cpu", "num_workers=0",
               "devices=2", f"save_path={tmp_path}", "epochs=1", "test_file=osm-train-all.txt", "batch_size=2", "mode=linear",
               "linear_lr=1e-12"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    one = run("seg", f"data_root={tiles}", f"checkpoint={weights}", f"save_path={tmp_path / 'one'}", "epochs=1", "batch_size=2",
              "test_file=osm-train-all.txt", "mode=linear", "linear_lr=1e-12")
    assert stored(tmp_path)["mean"] == pytest.approx(known(one["mean"]))
    assert [line["tile"] for line in rows(tmp_path / "seed_0/predictions.csv")] == [line["tile"] for line in
                                                                                   rows(tmp_path / "one/seed_0/predictions.csv")]


BAD = {
    "no checkpoint": ("seg", ["save_root_dir=EMPTY", "checkpoint=null"], "EMPTY: holds no pretraining run.*make pretrain"),
    "a folder without checkpoint": ("seg", ["checkpoint=EMPTY"], "EMPTY: holds no checkpoint"),
    "a file that is no checkpoint": ("seg", ["checkpoint=TILES/val.txt"], "val.txt: cannot be read"),
    "a missing file": ("seg", ["checkpoint=gone.tar"], "gone.tar: no such file"),
    "another encoder": ("seg", ["image_encoder=vit_tiny_patch16_224"], "was made with image_encoder=test_vit, not vit_tiny_patch16_224"),
    "another number of classes": ("seg", ["checkpoint=BEST", "classes=[a,b]"],
                                  r"fine-tuned for something else: classes=9 classes .*asked 2"),
    "another modality": ("seg", ["checkpoint=BEST", "modality=fine"], r"modality=fusion \(asked fine\)"),
    "another problem": ("pop", ["checkpoint=BEST"], r"problem=segmentation \(asked regression\)"),
    "nothing to measure": ("seg", ["epochs=0"], "epochs=0: measures a fine-tuned model.*holds none"),
    "nothing to measure from scratch": ("seg", ["epochs=0", "mode=scratch"], "epochs=0: .*mode=scratch takes none"),
    "labels outside the classes": ("seg", ["classes=[a,b,c]"], "sample_.*expected"),
    "no val list": ("seg", ["val_file=gone.txt"], "gone.txt: .*datasets.splits"),
    "no test list of that name": ("seg", ["test_file=tests.txt"], "tests.txt"),
    "no such data": ("seg", ["data_root=nowhere"], "nowhere: does not exist"),
    "timm's weights for a checkpoint": ("seg", ["pretrained=true"], "pretrained=true: timm's weights are for mode=scratch"),
    "the same seed twice": ("seg", ["seeds=[1,1]"], r"seeds=\[1, 1\]: expected"),
    "no seed": ("seg", ["seeds=[]"], r"seeds=\[\]: expected"),
    "a seed too large": ("seg", ["seeds=[4294967296]"], "seeds=.*from 0 to 4294967295"),
    "the rates of another target": ("pop", ["task=sgp_pop", "target=co2"], "task=sgp_pop: its rates are made for another target than co2"),
    "a probe whose loss is not finite": ("pop", ["mode=linear", "linear_lr=1e30", "epochs=9"],
                                         r"the loss is not finite \(\w+\); .*lower lr"),
    "nodes of another width": ("seg", ["checkpoint=NARROW"], "narrow.safetensors: reads nodes of 101 columns.*have 525"),
    "one class": ("seg", ["classes=[a]"], "expected 2 to 254 different names"),
    "a decoder that does not exist": ("seg", ["decoder=cnn"], "decoder=cnn: choose one of linear, mask_transformer"),
    "a modality of the other script": ("pop", ["modality=fine"], "modality=fine: choose one of image, osm, fusion"),
    "a task of the other script": ("seg", ["task=sz_pop"], "task=sz_pop: choose one of seg, seg_ccg, seg_sgp, seg_sz"),
    "too many removed": ("seg", ["remove_ratio=1.5"], "remove_ratio=1.5: must be 0 or more and 1 or less"),
    "a folder of another run": ("seg", ["save_path=WHOLE", "lr=0.5"], r"results.json: belongs to another run: lr=0.5 \(there 0.001\)"),
    "a folder that is full": ("seg", ["save_path=WHOLE", "resume=never"], "holds a run already, and resume=never"),
    "a loss that is not finite": ("seg", ["lr=1e30", "epochs=3"], "the loss is not finite .* on the tiles sample_.*lower lr"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(tiles, checkpoint, whole, tmp_path, case):
    problem, overrides, message = BAD[case]
    (tmp_path / "EMPTY").mkdir()
    shutil.copytree(whole, tmp_path / "WHOLE")
    places = {"EMPTY": tmp_path / "EMPTY", "TILES": tiles, "WHOLE": tmp_path / "WHOLE", "BEST": whole / "seed_0" / "best.safetensors",
              "NARROW": tmp_path / "narrow.safetensors"}
    if "NARROW" in "".join(overrides):
        narrow = {"image_encoder": "test_vit", "graph_in_dim": 100}
        save_checkpoint(tmp_path / "narrow.tar", {"model": build_rose(**narrow).state_dict(), "build": narrow})
    for word, path in places.items():
        overrides = [override.replace(word, str(path)) for override in overrides]
    with pytest.raises(RoseError, match=message) as error:
        run(problem, f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path / 'run'}", *overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("change", "message"), [
    (lambda root: (root / "pop" / "lima_4_0.txt").write_text("many\n"), "lima_4_0.txt: the first line is 'many', expected a number"),
    (lambda root: (root / "pop" / "lima_0_0.txt").unlink(), "pop/lima_0_0.txt"),
    (lambda root: (root / "val.txt").write_text("\n"), "val.txt"),
    (lambda root: (root / "val.txt").write_text("oslo_1_1.png\n"), "val.txt.*oslo_1_1"),
])
def test_bad_targets_are_one_line(bare, tmp_path, change, message):
    root = tmp_path / "tiles"
    shutil.copytree(bare, root)
    change(root)
    with pytest.raises(RoseError, match=message):
        run("pop", f"data_root={root}", "mode=scratch", "image_encoder=test_vit", f"save_path={tmp_path / 'run'}")


@pytest.mark.parametrize(("pixels", "message"), [
    (np.full((224, 224), 12, np.uint8), "lima_0_0.png.*12"), (np.zeros((100, 224), np.uint8), "lima_0_0.png.*224 x 100"),
])
def test_bad_labels_are_one_line(bare, tmp_path, pixels, message):
    root = tmp_path / "tiles"
    shutil.copytree(bare, root)
    Image.fromarray(pixels).save(root / "label" / "lima_0_0.png")
    with pytest.raises(RoseError, match=message):
        run("seg", f"data_root={root}", "mode=scratch", "image_encoder=test_vit", f"save_path={tmp_path / 'run'}")


def test_signals_are_given_back(whole, tiles, checkpoint, tmp_path, monkeypatch):
    forgotten = []
    monkeypatch.setattr(StopRequest, "forget", lambda self: forgotten.append(self))
    run("seg", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}", "epochs=1")
    assert len(forgotten) == 1
