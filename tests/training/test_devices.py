"""Precision and compilation as a run asks for them; what needs several processes is in
tests/test_distributed.py."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from models import build_rose
from tests.models.conftest import SMALL, random_graphs, random_images
from training.devices import SETTLING_S, Autocast, alone
from training.schedule import build_optimizer

ROOT = Path(__file__).resolve().parent.parent.parent
SCALE = 2.0**10


@pytest.fixture
def half():
    """A Rose that trains in float16 with loss scaling, which runs refuse on a CPU because it is
    slow there."""
    torch.manual_seed(0)
    fabric = Fabric(accelerator="cpu", devices=1,
                    plugins=Autocast("16-mixed", "cpu",
                                     torch.amp.GradScaler("cpu", init_scale=SCALE)))
    rose = build_rose(SMALL)
    return fabric, fabric.setup_module(rose), fabric.setup_optimizers(build_optimizer(rose, 1e-3,
                                                                                      0.05))


def test_float16_learns_with_scaled_gradients(half):
    fabric, rose, optimizer = half
    batch, losses = (random_images(2), random_graphs([5, 9])), []
    for _ in range(12):
        torch.manual_seed(1)
        parts = [rose(*batch).loss / 2 for _ in range(2)]  # two batches a step
        for part in parts:
            fabric.backward(part)
        largest = max(parameter.grad.abs().max().item() for parameter in rose.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(sum(part.item() for part in parts))
    assert largest > 1  # a hundredth of that but for the scale
    assert losses[-1] < 0.9 * losses[0]


def test_a_step_with_infinite_gradients_is_left_out_and_the_scale_halved(half):
    fabric, rose, optimizer = half
    before = [parameter.detach().clone() for parameter in rose.parameters()]
    fabric.backward(rose(random_images(2), random_graphs([5, 9])).loss)
    next(rose.parameters()).grad.fill_(float("inf"))
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, rose.parameters(), strict=True))
    assert fabric.strategy.precision.state_dict()["scale"] == SCALE / 2


@pytest.mark.parametrize("several", [True, False])
def test_processes_of_a_run_wait_for_their_threads_before_they_end(tmp_path, monkeypatch, several):
    """Also if the run is stopped."""
    waited = []
    monkeypatch.setattr("training.devices.time.sleep", waited.append)
    if several:
        torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'met'}", rank=0,
                                             world_size=1)
    try:
        with suppress(KeyboardInterrupt), alone(Fabric(accelerator="cpu", devices=1), tmp_path,
                                                "save_dir"):
            raise KeyboardInterrupt
    finally:
        if several:
            torch.distributed.destroy_process_group()
    assert waited == [SETTLING_S] * several


def test_compile_without_a_compiler_says_so(sample_tiles, tmp_path):
    surroundings = {**os.environ, "CXX": "/nonexistent",
                    "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    run = subprocess.run([sys.executable, "train_rose.py", f"data_path={sample_tiles}",
                          f"save_root_dir={tmp_path}", "compile=true",
                          "image_encoder=test_vit", "batch_size=2", "max_steps=1",
                          "accelerator=cpu"], cwd=ROOT, capture_output=True,
                         text=True, check=False, env=surroundings)
    assert run.returncode == 2
    assert "compile=true: torch.compile does not work here" in run.stderr
    assert "install a C++ compiler such as g++, or use compile=false" in run.stderr
    assert "Traceback" not in run.stderr
