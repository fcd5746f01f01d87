"""A run gives the same losses and weights however its steps are dealt to processes and batches,
and goes on with another dealing."""

import csv
import io
import re
import shutil
import socket
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train_rose
from datasets import TileDataset
from models import linear
from tests.evaluation import evaluating
from tests.processes import environment
from tests.random_tiles import random_tile, write_compact, write_release
from training.keys import TRAIN
from utils.checkpoint import read_checkpoint
from utils.cli.compose import read

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["image_size=64", "image_encoder=test_vit", "num_workers=0", "accelerator=cpu",
         "log_every=1", "save_every=99", "picture_every=99",
         "lr=2e-4", "total_epoch=2",
         # a momentum encoder and a mean over nodes: what processes must share more of than pixels
         "image_target=latent", "osm_loss=groups"]
# of the tiles: steps with many and with few
NODES = [40, 0, 3, 1, 0, 25, 7, 0, 0, 12, 2, 90, 5, 0, 30, 1, 18, 0, 6, 60, 0, 9, 4, 2]
STEPS, WHOLE = 5, ["batch_size=8"]
DEALT = {
    "2 devices x 4": ["devices=2", "batch_size=4"],
    "accumulate 2 x 4": ["batch_size=4", "accumulate=2"],
    "2 devices x accumulate 4 x 1": ["devices=2", "batch_size=1", "accumulate=4"],
    "fsdp 2 x accumulate 2 x 2": ["devices=2", "batch_size=2", "accumulate=2", "strategy=fsdp"],
}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> Path:
    return write_compact(tmp_path_factory.mktemp("tiles") / "lima", [
        random_tile(f"lima_{number}_0", nodes, 2 * nodes, side=64)
        for number, nodes in enumerate(NODES)
    ], meta={"label_names": [f"tag {code}" for code in range(300)], "crs": "EPSG:32648"})


def command(tiles: Path, folder: Path, *overrides: str) -> list[str]:
    return ["tests/own_kernels.py", f"data_path={tiles}", f"save_root_dir={folder.parent}",
            f"save_dir={folder.name}", *SMALL, *overrides]


def train(tiles: Path, folder: Path, *overrides: str) -> str:
    """What a run says; one of a single process is made in this one, whose start would take most of
    the time."""
    if "devices=2" in overrides:
        return from_shell(tiles, folder, *overrides)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(said):
        patched.setattr(linear, "FEWEST_PRODUCTS", 1)
        train_rose.train(read(TRAIN, *command(tiles, folder, *overrides)[1:]))
    return said.getvalue()


def from_shell(tiles: Path, folder: Path, *overrides: str, expect: int = 0) -> str:
    """What a run says, on both streams."""
    run = subprocess.run([sys.executable, *command(tiles, folder, *overrides)], cwd=ROOT,
                         capture_output=True, text=True, check=False,
                         env=environment())
    assert run.returncode == expect, run.stderr
    return run.stdout + run.stderr


def losses(folder: Path) -> torch.Tensor:
    """[steps, 2] image and OSM loss of each step."""
    with (folder / "metrics.csv").open() as file:
        return torch.tensor([[float(row["image_loss"]), float(row["osm_loss"])]
                             for row in csv.DictReader(file)])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Those that have a gradient: no softmax depends on a bias of its keys, and Adam moves it by
    what rounding leaves."""
    found = {name: value for name, value in load_file(folder / "last.safetensors").items()
             if not name.endswith("k_proj.bias")}
    for name, value in found.items():
        if name.endswith("qkv.bias"):
            value.unflatten(0, (3, -1))[1] = 0
    return found


def assert_same_run(folder: Path, other: Path) -> None:
    assert len(losses(folder)) == STEPS
    torch.testing.assert_close(losses(folder), losses(other), rtol=0, atol=1e-5)
    mine, theirs = weights(folder), weights(other)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-4,
                                   msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def whole(tiles, tmp_path_factory) -> Path:
    """A run of 5 steps of 8 tiles, by one process in one batch each."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(tiles, folder, *WHOLE, f"max_steps={STEPS}")
    return folder


@pytest.mark.parametrize("dealt", DEALT)
def test_a_step_does_not_depend_on_how_its_tiles_are_dealt(whole, tiles, tmp_path, dealt):
    said = train(tiles, tmp_path / "run", *DEALT[dealt], f"max_steps={STEPS}", "picture_every=1")
    assert said.count("Pretraining is done: 5 steps on 24 tiles") == 1
    assert_same_run(tmp_path / "run", whole)
    left, expected = ({path.name for path in folder.iterdir() if "tfevents" not in path.name}
                      for folder in (tmp_path / "run", whole))
    assert left - {".hydra"} == expected  # of Hydra, which only a command line has
    # only the first process writes
    assert len(list((tmp_path / "run").glob("events.out.tfevents*"))) == 1
    there, here = (read_checkpoint(folder / "last.tar")["optimizer"]["state"]
                   for folder in (whole, tmp_path / "run"))
    assert there.keys() == here.keys()
    assert all(value.shape == here[number][name].shape for number, values in there.items()
               for name, value in values.items())


def test_weights_move_further_than_runs_may_differ(whole, tiles, tmp_path):
    train(tiles, tmp_path / "run", *WHOLE, f"max_steps={STEPS - 1}")
    before, after = weights(tmp_path / "run"), weights(whole)
    assert all((value - after[name]).abs().max() > 1.5e-4 for name, value in before.items())


@pytest.mark.parametrize(("first", "then"), [
    (WHOLE, DEALT["2 devices x 4"]),
    (DEALT["2 devices x 4"], ["devices=2", "batch_size=4", "strategy=fsdp"]),
    (DEALT["fsdp 2 x accumulate 2 x 2"], DEALT["accumulate 2 x 4"]),
])
def test_a_run_goes_on_with_another_dealing(whole, tiles, tmp_path, first, then):
    train(tiles, tmp_path / "run", *first, "max_steps=2")
    said = train(tiles, tmp_path / "run", *then, f"max_steps={STEPS}")
    assert len(re.findall("Continuing .*last.tar: epoch 1, 2 of 5 steps done", said)) == 1
    assert_same_run(tmp_path / "run", whole)


def on_two_hosts(*commands: list[str]) -> list[tuple[int, str]]:
    """Exit code and what is said of each command of `torchrun`, as from hosts of one process
    each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
                "--master-addr=127.0.0.1",
                f"--master-port={port}"]
    runs = [subprocess.Popen([*torchrun, f"--node-rank={host}", *asked], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, env=environment())
            for host, asked in enumerate(commands)]
    said = [run.communicate(timeout=240)[0] for run in runs]
    return [(run.returncode, text) for run, text in zip(runs, said, strict=True)]


def test_two_hosts(whole, tiles, tmp_path):
    asked = command(tiles, tmp_path / "run", "batch_size=4", f"max_steps={STEPS}", "devices=7",
                    "num_nodes=3")  # torchrun knows better
    (first, said), (other, silent) = on_two_hosts(asked, asked)
    assert first == other == 0, said + silent
    assert "Pretraining is done: 5 steps on 24 tiles" in said
    assert "Pretraining" not in silent
    assert_same_run(tmp_path / "run", whole)


def test_hosts_that_see_different_tiles(tiles, tmp_path):
    others = write_compact(tmp_path / "others",
                           [random_tile(f"rome_{number}_0", 3, 2, side=64)
                            for number in range(24)])
    (first, said), (other, silent) = on_two_hosts(*(command(root, tmp_path / "run", "batch_size=4")
                                                    for root in (tiles, others)))
    assert 0 not in (first, other)
    assert re.search(
        r"^error: data_path=\S+: is not the same on process 0 and process 1; "
        r"put it on a file system that all hosts share$",
                     said, re.MULTILINE), said
    assert "error: " not in silent
    assert not (tmp_path / "run").exists()


def test_a_tile_that_one_process_cannot_read_ends_all(tmp_path):
    broken = write_release(tmp_path / "tiles",
                           [random_tile(f"lima_{number}_0", 3, 2, side=64) for number in range(8)])
    (broken / "img" / "lima_5_0.png").write_bytes(b"no picture")
    said = from_shell(broken, tmp_path / "run", "devices=2", "batch_size=4", expect=2)
    lines = [line for line in said.splitlines() if "error" in line.lower()]
    assert len(lines) == 1
    assert re.match(r"error: \S+/img/lima_5_0.png: ", lines[0])
    assert "Traceback" not in said


@pytest.mark.parametrize(("problem", "script", "added"), [
    # whose MLP, or linear model, all processes must share
    ("seg", "evaluate_seg_fusion.py", ["patch_mlp=true"]),
    ("pop", "evaluate_pop_fusion.py", ["target_scale=standard", "count_objects=true"])])
def test_a_step_of_an_evaluation_does_not_depend_on_how_its_tiles_are_dealt(
        sample_tiles, tmp_path, problem, script, added):
    root = shutil.copytree(sample_tiles, tmp_path / "tiles")
    names = TileDataset(root).names
    for file, indices in {"osm-train-all.txt": range(6), "val.txt": [6], "test.txt": [7]}.items():
        (root / file).write_text("".join(f"{names[index]}.png\n" for index in indices))
    asked = [f"data_root={root}", "mode=scratch", "image_encoder=test_vit", "lr_multi=1",
             "freeze=image_epochs:1", "layer_decay=0.8", *added]
    evaluating.run(problem, *asked, "batch_size=4", f"save_path={tmp_path / 'one'}")
    subprocess.run([sys.executable, script, *evaluating.SMALL, *asked, "batch_size=2", "devices=2",
                    f"save_path={tmp_path / 'two'}"], cwd=ROOT, capture_output=True, check=True,
                   env=environment())
    one, two = ([float(row[loss]) for loss in ("train_loss", "val_loss")
                 for row in evaluating.rows(tmp_path / folder / "seed_0" / "metrics.csv")]
                for folder in ("one", "two"))
    assert len(one) == 4
    assert one == pytest.approx(two, rel=1e-5)
