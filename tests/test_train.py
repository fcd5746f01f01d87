"""train_rose.py from the shell: what it leaves, and that it continues exactly after any
interruption."""

import csv
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

import train_rose
from evaluation.keys import SEGMENTATION
from models.network_file import NetworkFile, load_rose
from tests.processes import environment
from training.keys import TRAIN
from utils.checkpoint import read_checkpoint
from utils.cli.compose import read
from utils.errors import RoseError

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["image_encoder=test_vit", "batch_size=2", "num_workers=0", "accelerator=cpu",
         "log_every=3", "save_every=1", "picture_every=99"]
LINE = re.compile(r"epoch \[\d+/\d+\]\t Step \[\d+/\d+\]\t Loss1: \d+\.\d+\t Loss2: \d+\.\d+")


def command(tiles: Path, folder: Path, *overrides: str) -> list[str]:
    return [sys.executable, "train_rose.py", f"data_path={tiles}",
            f"save_root_dir={folder.parent}", f"save_dir={folder.name}", *SMALL,
            *overrides]


def from_shell(tiles: Path, folder: Path, *overrides: str,
               expect: int = 0) -> subprocess.CompletedProcess:
    run = subprocess.run(command(tiles, folder, *overrides), cwd=ROOT, capture_output=True,
                         text=True, check=False, env=environment())
    assert run.returncode == expect, run.stderr
    return run


def train(tiles: Path, folder: Path, *overrides: str) -> None:
    """The same in this process, whose start would take most of the time, and without saving
    pictures."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("training.summary.save_figures", lambda *_: None)
        train_rose.train(read(TRAIN, *command(tiles, folder)[2:], *overrides))


def interrupted(tiles: Path, folder: Path, number: signal.Signals, lines: int,
                *overrides: str) -> subprocess.Popen:
    """Start a run and send it a signal once its record has that many lines."""
    process = subprocess.Popen(command(tiles, folder, *overrides), cwd=ROOT, env=environment(),
                               text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    record, deadline = folder / "loss_record.txt", time.time() + 120
    while not (record.exists() and record.read_text().count("\n") >= lines):
        assert process.poll() is None, process.communicate()[1]
        assert time.time() < deadline, "the run wrote no record"
        time.sleep(0.005)
    process.send_signal(number)
    process.wait(60)
    return process


def weights(folder: Path, name: str = "model_3") -> dict[str, torch.Tensor]:
    return load_file(folder / f"{name}.safetensors")


def assert_same_run(folder: Path, other: Path) -> None:
    mine, theirs = weights(folder), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert (folder / "loss_record.txt").read_text() == (other / "loss_record.txt").read_text()


@pytest.fixture(scope="module")
def whole(sample_tiles, tmp_path_factory) -> Path:
    """A run of 3 epochs of 4 steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run = from_shell(sample_tiles, folder, "total_epoch=3")
    (folder / "stdout.txt").write_text(run.stdout)
    return folder


def test_what_a_run_leaves(whole):
    lines = (whole / "loss_record.txt").read_text().splitlines()
    assert len(lines) == 6  # steps 3 and 4 of each epoch: every third, and what remains
    assert all(LINE.fullmatch(line) for line in lines)
    with (whole / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["global_step"] for row in rows] == ["3", "4", "7", "8", "11", "12"]
    assert f"Loss1: {float(rows[0]['image_loss']):.6f}" in lines[0]
    settings = OmegaConf.load(whole / "config.yaml")
    assert (settings.total_epoch, settings.image_encoder,
            settings.augment) == (3, "test_vit", "aligned")
    assert {path.name for path in (whole / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("loss", "reconstruction_image", "reconstruction_osm")
        for kind in ("png", "svg")}
    page = (whole / "report.html").read_text()
    assert page.count("data:image/svg+xml,") == 3
    assert page.count("<polygon") == sum(len(tile["objects"])
                                         for tile in json.loads(
                                             (whole / "attention.json").read_text())["tiles"]) > 0
    assert "hidden tags named right" in page
    assert "This run has learned too little" in page
    assert list(whole.glob("events.out.tfevents*"))
    assert [path.name for path in whole.glob(".*")] == [".hydra"]


def test_what_a_run_says(whole, sample_tiles):
    said = (whole / "stdout.txt").read_text()
    for part in ("Pretraining is done: 12 steps on 9 tiles", "hidden parts of the picture (75%)",
                 "out of", str(whole),
                 "note: 12 steps at a learning rate of 1.2e-06 or less move a weight by 1.4e-05",
                 "note: This run has learned too little: hidden pixels are no nearer",
                 "experiment=own_city in another save_dir=", "or a larger lr= (here 1.2e-06)",
                 "model_3.safetensors", f"evaluate_seg_fusion.py data_root={sample_tiles} "
                                        f"checkpoint={whole}"):
        assert part in said


@pytest.mark.parametrize(("chosen", "lr"), [
    ([], 2e-5), (["recipe=plus"], 2e-5),
    (["experiment=sample", "sample_tiles=3", "recipe=plus"], 3e-4),
    (["experiment=own_city", "recipe=release"], None)])
def test_the_evaluation_it_names_has_its_recipe_and_its_experiment(chosen, lr, sample_tiles,
                                                                   tmp_path, capsys):
    train(sample_tiles, tmp_path / "my run", *chosen, "max_steps=1")
    said = next(line for line in capsys.readouterr().out.splitlines()
                if "python evaluate_seg_fusion.py" in line)
    named = shlex.split(said)[2:]
    assert named == [*chosen, f"data_root={sample_tiles}", f"checkpoint={tmp_path / 'my run'}"]
    assert read(SEGMENTATION, *named).lr == lr


def test_a_checkpoint_says_what_tiles_its_network_knows(whole):
    for name in ("model_2.tar", "model_2.safetensors"):
        said = NetworkFile(whole / name).tiles
        assert (said["tile_px"], said["text"]["name"]) == (224, "hash")
        assert said["metres_per_pixel"] == pytest.approx([1, 1], rel=1e-3)


def test_a_checkpoint_holds_the_run(whole):
    state = read_checkpoint(whole / "model_2.tar")
    assert (state["epoch"], state["step"], state["global_step"]) == (3, 0, 8)
    assert state["config"]["batch_size"] == 2
    assert "residential" in state["label_names"]["sample"]
    rose = load_rose(whole / "model_2.tar")
    assert torch.equal(rose.token_proj.weight, weights(whole, "model_2")["token_proj.weight"])


def test_learning_lowers_both_losses(sample_tiles, tmp_path):
    train(sample_tiles, tmp_path / "run", "total_epoch=15", "lr=2e-3", "augment=none",
          "log_every=12", "save_every=15")
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("image_loss", "osm_loss"):
        assert sum(float(row[name]) for row in rows[-4:]) / 4 < 0.85 * float(rows[0][name])


def test_workers_change_nothing(whole, sample_tiles, tmp_path):
    train(sample_tiles, tmp_path / "run", "total_epoch=3", "num_workers=2")
    assert_same_run(tmp_path / "run", whole)


def test_another_seed_changes_all(whole, sample_tiles, tmp_path):
    train(sample_tiles, tmp_path / "run", "total_epoch=3", "seed=1")
    assert not torch.equal(weights(tmp_path / "run")["token_proj.weight"],
                           weights(whole)["token_proj.weight"])


@pytest.mark.parametrize("lines", [1, 2, 5])  # in the first epoch, after its end, and in the last
def test_killed_at_any_moment_and_continued(whole, sample_tiles, tmp_path, lines):
    process = interrupted(sample_tiles, tmp_path / "run", signal.SIGKILL, lines, "total_epoch=3")
    assert process.returncode == -signal.SIGKILL
    train(sample_tiles, tmp_path / "run", "total_epoch=3")
    assert_same_run(tmp_path / "run", whole)
    assert [path.name for path in (tmp_path / "run").glob(".*")] == [".hydra"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_and_continues(whole, sample_tiles, tmp_path, capsys, number):
    folder = tmp_path / "run"
    process = interrupted(sample_tiles, folder, number, 1, "total_epoch=3", "save_every=3")
    assert process.returncode == 0
    assert f"Stopped by {number.name}" in process.stdout.read()
    stopped = read_checkpoint(folder / "last.tar")
    assert 0 < stopped["global_step"] < 12
    train(sample_tiles, folder, "total_epoch=3", "save_every=3")
    assert f"Continuing {folder / 'last.tar'}" in capsys.readouterr().out
    assert_same_run(folder, whole)
    assert not (folder / "last.tar").exists()  # older than model_3.tar


def test_a_finished_run_reports_again_and_may_be_prolonged(whole, sample_tiles, tmp_path, capsys):
    folder = tmp_path / "run"
    train(sample_tiles, folder, "total_epoch=2")
    before = (folder / "loss_record.txt").read_text()
    capsys.readouterr()
    train(sample_tiles, folder, "total_epoch=2")
    assert "Pretraining is done: 8 steps" in capsys.readouterr().out
    assert (folder / "loss_record.txt").read_text() == before
    train(sample_tiles, folder, "total_epoch=3")
    mine, theirs = weights(folder), weights(whole)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_a_run_continues_in_another_folder(whole, sample_tiles, tmp_path):
    train(sample_tiles, tmp_path / "run", "total_epoch=3", f"resume={whole / 'model_2.tar'}")
    assert torch.equal(weights(tmp_path / "run")["token_proj.weight"],
                       weights(whole)["token_proj.weight"])
    assert len((tmp_path / "run" / "loss_record.txt").read_text().splitlines()) == 2


def test_max_steps(sample_tiles, tmp_path):
    train(sample_tiles, tmp_path / "run", "max_steps=6")
    assert read_checkpoint(tmp_path / "run" / "last.tar")["global_step"] == 6


def test_both_recipes_and_precisions_run(sample_tiles, tmp_path):
    train(sample_tiles, tmp_path / "release", "recipe=release", "max_steps=2")
    train(sample_tiles, tmp_path / "bf16", "precision=bf16-mixed", "max_steps=2",
          "relation_edges=true", "checkpoint_activations=true")
    assert load_rose(tmp_path / "release" / "last.tar").osm_encoder.norm_scope == "batch"
    assert load_rose(tmp_path / "bf16" / "last.safetensors").osm_encoder.relation_edges


def test_two_processes_share_a_run(sample_tiles, tmp_path):
    from_shell(sample_tiles, tmp_path / "run", "devices=2", "batch_size=1", "max_steps=3")
    assert read_checkpoint(tmp_path / "run" / "last.tar")["devices"] == 2
    assert len((tmp_path / "run" / "loss_record.txt").read_text().splitlines()) == 1


def test_a_loss_that_is_not_finite_stops_the_run(sample_tiles, tmp_path):
    with pytest.raises(RoseError) as error:
        train(sample_tiles, tmp_path / "run", "lr=1e30", "total_epoch=3")
    message = str(error.value)
    assert re.fullmatch(
        r"epoch \d, step \d: the loss is not finite \(image \S+, OSM \S+\) "
        r"on the tiles sample_\d_\d, sample_\d_\d; "
                     r"(no checkpoint was saved|the last good checkpoint is).*lower blr.*",
        message), message


BAD = {
    "missing data": (["data_path=nowhere"], "nowhere: does not exist.*prepare_dataset.py makes "
                                            "such a dataset"),
    "batch larger than the data": (["batch_size=10"], "batch_size=10 needs 10 tiles a step.*has "
                                                      "9 tiles; use batch_size<=9"),
    "another node width": (["graph_in_dim=300"], "the node tables have 525 columns, expected "
                                                 "301.*pass graph_in_dim=524"),
    "another image size": (["image_size=256"], "224 x 224 pixels, expected 256 x 256"),
    "an unknown city": (["cities=[lima]"], "cities=lima; the cities found are: sample"),
    "an unknown encoder": (["image_encoder=vit_huge"], "image_encoder=vit_huge: timm knows no "
                                                       "such model"),
    "no such checkpoint": (["resume=gone.tar"], "gone.tar: no such file"),
    "no such device": (["accelerator=cuda"], "accelerator=cuda: there is no CUDA GPU that torch "
                                             "can use here; use accelerator=auto"),
    "devices that are no number": (["devices=both"], "devices=both"),
    "half precision on a CPU": (["precision=16-mixed"], "precision=16-mixed: a CPU has no such "
                                                        "arithmetic"),
    "no batch in a step": (["accumulate=0"], "accumulate=0: must be 1 or more"),
    "an unknown strategy": (["strategy=xyz"], "strategy=xyz: choose one of auto, ddp, fsdp"),
    "nobody to share with": (["strategy=fsdp", "devices=1"], "strategy=fsdp: shares a network "
                                                             "among several devices, and here is "
                                                             "one"),
    "a step larger than the data": (["accumulate=5"], "batch_size=2 in 5 batches a step needs 10 "
                                                      "tiles.*has 9 tiles; use batch_size<=1"),
    "a folder whose run is further": (["resume=RUN/model_1.tar"], "model_3.tar: is further than "
                                                                  "resume=.*model_1.tar; to go "
                                                                  "back"),
    "a folder of another run": (["resume=WHOLE/model_1.tar"], "holds a run of its own, and "
                                                              "resume=.* is another's"),
    "a checkpoint of another fall of the rate": (["cos=true"], r"cos=true \(there false\)"),
    "a checkpoint of another rate": (["lr=0.1"], r"belongs to another run: lr=0.1 \(there null\)"),
    "a folder that holds a run": (["resume=never"], "holds a run already, and resume=never; "
                                                    "choose another save_dir="),
    "a checkpoint of another width": (["image_encoder=vit_tiny_patch16_224"],
                                      r"belongs to another run: "
                                      r"image_encoder=vit_tiny_patch16_224 \(there test_vit\)"),
    "a checkpoint of another batch": (
        ["batch_size=3"],
        r"its steps are of 2 tiles, but batch_size=3 accumulate=1 on 1 device.* makes 3; "
        r"use batch_size=2 accumulate=1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(whole, sample_tiles, tmp_path, case):
    overrides, message = BAD[case]
    folder = tmp_path / "run"
    if "a folder" in case or "a checkpoint" in case:
        shutil.copytree(whole, folder)
    overrides = [override.replace("RUN", str(folder)).replace("WHOLE", str(whole))
                 for override in overrides]
    with pytest.raises(RoseError, match=message) as error:
        train_rose.train(read(TRAIN, *command(sample_tiles, folder)[2:], "total_epoch=4",
                                      *overrides))
    assert "\n" not in str(error.value)


def test_a_fault_during_training_ends_the_bar_before_the_one_line(sample_tiles, tmp_path):
    run = from_shell(sample_tiles, tmp_path / "run", "graph_in_dim=300", "num_workers=1", expect=2)
    assert re.fullmatch(
        r"error: \S+cities/sample: the node tables have 525 columns, expected 301; .*",
        run.stderr.splitlines()[-1])
    assert "Traceback" not in run.stderr
