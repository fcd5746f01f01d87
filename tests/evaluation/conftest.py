"""Labelled tiles, a pretrained network and an evaluation that nothing disturbed."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.evaluation.evaluating import LISTS, run, write_lists
from tests.pretrained import save_pretrained
from tests.random_tiles import random_tile, write_compact, write_release


@pytest.fixture(scope="module")
def tiles(sample_tiles, tmp_path_factory) -> Path:
    """The sample city of 3 x 3 tiles, with lists."""
    root = tmp_path_factory.mktemp("labelled") / "tiles"
    shutil.copytree(sample_tiles, root)
    write_lists(root, LISTS)
    return root


@pytest.fixture(scope="module")
def whole(tiles, checkpoint, tmp_path_factory) -> Path:
    """A segmentation of 2 epochs of 3 steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("evaluations") / "whole"
    run("seg", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={folder}",
        pictures=True)
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """Files of six tiles: one without OSM objects, one whose land use nobody knows."""
    root = tmp_path_factory.mktemp("bare") / "tiles"
    made = [random_tile(f"lima_{n}_0", nodes=0 if n == 1 else 4, edges=0, targets=True)
            for n in range(6)]
    made[2].land_use[:] = 255
    write_release(root, made)
    write_lists(root, {"osm-train-all.txt": [0, 1, 2], "val.txt": [3, 1], "test.txt": [4, 1, 2]})
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> list[str]:
    """Keys of tiny tiles and of a network that was pretrained on nothing."""
    folder = tmp_path_factory.mktemp("tiny")
    root = write_compact(folder / "tiles", [
        random_tile(f"lima_{n}_0", nodes=4, edges=3, side=32, targets=True) for n in range(5)])
    write_lists(root, {"osm-train-all.txt": range(3), "val.txt": [3], "test.txt": [4]})
    torch.manual_seed(0)
    return [f"data_root={root}", f"checkpoint={save_pretrained(folder / 'model_1.tar')}",
            f"image_size={32}", "batch_size=2", "epochs=2"]
