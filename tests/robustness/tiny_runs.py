"""Runs of a second on six tiles, without figures and pages, in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import train_rose
from tests.evaluation.evaluating import SMALL, configure, made, stored, write_lists
from tests.pretrained import save_pretrained
from tests.random_tiles import random_tile, write_release
from training.keys import TRAIN
from utils.cli.compose import read

TINY = ["image_size=32", "batch_size=2", "num_workers=1", "accelerator=cpu"]


def write_tiles(root: Path) -> Path:
    """Write the tiles, in the release's layout, with lists."""
    write_release(root, [
        random_tile(f"lima_{n}_0", nodes=4, edges=3, side=32, targets=True) for n in range(6)])
    write_lists(root, {"osm-train-all.txt": range(4), "val.txt": [4], "test.txt": [5]})
    return root


def save_network(path: Path) -> None:
    """Write a network that was pretrained on nothing."""
    torch.manual_seed(0)
    save_pretrained(path.with_suffix(".tar"))


def train(tiles: Path, folder: Path, more: Sequence[str] = ()) -> bytes:
    """Pretrain without a report; return the record."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("training.summary.report", lambda _: None)
        train_rose.train(read(TRAIN, *TINY, f"data_path={tiles}", "image_encoder=test_vit",
                              f"save_root_dir={folder.parent}", f"save_dir={folder.name}",
                              "total_epoch=2", "save_every=1", "log_every=1", *more))
    return (folder / "loss_record.txt").read_bytes()


def evaluate(problem: str, tiles: Path, folder: Path, more: Sequence[str] = ()) -> Any:
    """Fine-tune a network that was pretrained on nothing; return the figures."""
    network = tiles.parent / "model_1.safetensors"
    if not network.exists():
        save_network(network)
    cfg = configure(problem, *SMALL, *TINY, f"data_root={tiles}", f"checkpoint={network}",
                    *more)
    return stored(made(cfg, folder))["per_seed"]
