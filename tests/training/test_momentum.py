"""Runs with other objectives than the method's, and the momentum encoder that one of them needs."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

import train_rose
from models import build_rose, load_rose
from models.objectives import latent_target
from tests.random_tiles import random_tile, write_compact
from training.keys import TRAIN, TrainConfig
from training.momentum import Momentum
from training.plots import loss_figure
from training.pretraining import PretrainingRun
from utils.checkpoint import read_checkpoint
from utils.cli.compose import read
from utils.errors import CheckpointError

OBJECTIVES = ["image_target=latent", "osm_loss=groups", "contrast=0.5"]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> Path:
    return write_compact(tmp_path_factory.mktemp("tiles") / "lima", [
        random_tile(f"lima_{number}_0", 2 * number, number, side=64) for number in range(6)],
        meta={"label_names": [f"tag {code}" for code in range(300)], "crs": "EPSG:32648"})


def config(tiles: Path, folder: Path, *overrides: str) -> TrainConfig:
    return read(TRAIN, *[
        f"data_path={tiles}", f"save_root_dir={folder.parent}", f"save_dir={folder.name}",
        "image_size=64", "image_encoder=test_vit", "batch_size=2", "num_workers=0",
        "accelerator=cpu", "log_every=1", "save_every=99", "picture_every=1", "lr=1e-3",
        "total_epoch=2", *OBJECTIVES, *overrides])


def train(tiles: Path, folder: Path, *overrides: str) -> None:
    train_rose.train(config(tiles, folder, *overrides))


@pytest.fixture(scope="module")
def whole(tiles, tmp_path_factory) -> Path:
    """A run of 2 epochs of 3 steps, with all three objectives."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(tiles, folder)
    return folder


def test_a_run_is_continued_exactly(whole, tiles, tmp_path, monkeypatch):
    monkeypatch.setattr("training.summary.save_figures", lambda *_: None)
    folder = tmp_path / "run"
    train(tiles, folder, "max_steps=2")
    train(tiles, folder)
    mine, theirs = (load_file(run / "model_2.safetensors") for run in (folder, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    momenta = [read_checkpoint(run / "model_2.tar")["momentum"] for run in (folder, whole)]
    assert all(torch.equal(value, momenta[1][name]) for name, value in momenta[0].items())
    records = [(run / "loss_record.txt").read_text() for run in (folder, whole)]
    assert records[0] == records[1]


def test_the_momentum_encoder_is_the_runs_alone(whole):
    state = read_checkpoint(whole / "model_2.tar")
    momentum = state["momentum"]
    names = {name.removeprefix("image_encoder.") for name in state["model"]
             if name.startswith("image_encoder.")}
    assert momentum.keys() == names
    assert load_file(whole / "model_2.safetensors").keys() == state["model"].keys()
    # it follows the encoder, and is not it
    moved = momentum["patch_embed.proj.weight"] - state["model"][
        "image_encoder.patch_embed.proj.weight"]
    assert 1e-5 < moved.abs().max() < 1e-2
    assert load_rose(whole / "model_2.tar").image_target == "latent"


def test_three_losses_are_recorded_and_no_picture_is_made_of_tokens(whole):
    with (whole / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    line = (whole / "loss_record.txt").read_text().splitlines()[0]
    assert line.endswith(f"\t Loss3: {float(rows[0]['contrast_loss']):.6f}")
    assert {path.stem for path in (whole / "figures").iterdir()} == {"loss", "reconstruction_osm"}
    measured = json.loads((whole / "reconstruction.json").read_text())
    assert (measured["image_target"], measured["pixel_error"]) == ("latent", None)
    page = (whole / "report.html").read_text()
    assert "no picture of hidden patches" in page
    assert "loss, objects and their patches" in page
    assert ">nan" not in page
    assert "grey values off" not in page


def test_the_figure_of_three_losses_names_their_units():
    rows = [{"epoch": 1.0, "global_step": k, "image_loss": 1.0, "osm_loss": 1.0,
             "contrast_loss": 1.0, "lr": 1.0, "samples_per_second": 1.0} for k in (1.0, 2.0)]
    axes = loss_figure(rows, ["a", "b", "c"]).axes
    assert [each.get_ylabel() for each in axes[:3]] == ["a", "b", "c"]
    assert len(axes) == 5


def test_the_copy_follows_faster_at_first():
    rose = build_rose("test_vit")
    momentum = Momentum(rose.image_encoder)
    before = momentum.weights()["norm.weight"].clone()
    with torch.no_grad():
        rose.image_encoder.norm.weight.add_(1)
    assert torch.equal(momentum.weights()["norm.weight"], before)
    momentum.follow(rose.image_encoder, 1)
    torch.testing.assert_close(momentum.weights()["norm.weight"], before + 9 / 11)
    momentum.follow(rose.image_encoder, 10**6)
    torch.testing.assert_close(momentum.weights()["norm.weight"], before + 9 / 11 + 0.004 * 2 / 11)
    images = torch.randn(2, 3, 64, 64)
    targets = momentum(images)
    assert not targets.requires_grad
    torch.testing.assert_close(targets, latent_target(momentum.encoder.encode(
        momentum.encoder.embed(images))[0][:, 1:]))
    assert not any(weight.requires_grad for weight in momentum.parameters())


def test_the_image_loss_is_towards_the_momentum_encoders_tokens(tiles, tmp_path):
    with PretrainingRun(config(tiles, tmp_path / "run", "contrast=0"),
                        Fabric(accelerator="cpu", devices=1)) as run:
        step, losses = next(run.steps()), []
        for _ in range(2):
            losses += [run.rose(*batch).image_loss.item() for batch in step]
            torch.nn.init.normal_(run.momentum.encoder.norm.weight)
    assert losses[1] != pytest.approx(losses[0], rel=1e-3)


def other_shape(state: dict) -> None:
    state["momentum"]["norm.weight"] = torch.ones(3)


@pytest.mark.parametrize(("harm", "message"), [
    (lambda state: state.pop("momentum"), "does not fit this run .*momentum.*start anew"),
    (lambda state: state["momentum"].pop("norm.weight"), "does not fit this run .*norm.weight"),
    (other_shape, r"norm.weight has the shape \[3\], expected \[64\]"),
    (lambda state: state["momentum"].update({"norm.weight": torch.full((64,), torch.nan)}),
     "the weight norm.weight is not finite"),
    (lambda state: state["record"].update(sums=[0.0, 0.0]), "a record of 2 losses, not 3"),
    (lambda state: state["config"].update(contrast=0.0), r"contrast=0.5 \(there 0.0\)"),
])
def test_checkpoints_that_do_not_fit(whole, tiles, tmp_path, harm, message):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("loss_record.txt", "metrics.csv"):
        shutil.copy(whole / name, folder)
    state = read_checkpoint(whole / "model_2.tar")
    harm(state)
    torch.save(state, folder / "model_2.tar")
    with pytest.raises(CheckpointError, match=message):
        train(tiles, folder, "total_epoch=3")
