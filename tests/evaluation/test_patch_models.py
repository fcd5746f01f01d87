"""Models of patches' statistics: what they read, and that they learn it."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from datasets import TileDataset
from datasets.labelled import LabelledTiles
from datasets.targets import UNKNOWN
from evaluation.metrics import segmentation_figures
from evaluation.patch_models import fit_patches
from evaluation.patch_statistics import (
    SIDE,
    colour_statistics,
    object_statistics,
    patch_classes,
    patch_counts,
)
from tests.random_tiles import random_tile, write_compact
from utils.errors import TileError

CLASSES = ("grey", "white", "black")


def test_colours_of_a_patch_and_around():
    image = torch.zeros(3, 3 * SIDE, 2 * SIDE, dtype=torch.uint8)
    image[0, :SIDE, SIDE:] = 255                              # red in the second patch alone
    values = colour_statistics(image).view(3, 2, 24)
    assert values[0, 1, 0] == 1
    assert values[..., 0].sum() == 1
    assert values[0, 1, 3] == 0                               # deviation
    assert values[..., 12].flatten().tolist() == pytest.approx([1 / 6] * 6)  # 5 x 5: all of them


def test_objects_on_a_patch_by_tag():
    x = torch.zeros(2, 525)
    x[:, 514:522] = torch.tensor([0, 0, 0.5, 0, 0.5, 1, 0, 1.])  # the left half
    x[:, -1] = torch.tensor([1, 7])                              # the second has no such tag
    values = object_statistics(Data(x=x, edge_index=torch.empty(2, 0, dtype=torch.long)), 2, 2, 2)
    assert values[:, :2].tolist() == pytest.approx(np.array([[0, 1], [0, 0]] * 2), abs=0.1)
    assert values[0, -2:].tolist() == pytest.approx([0, 0.5], abs=0.05)      # of the tile


def test_a_patch_has_its_commonest_class_if_enough_is_known():
    label = torch.full((SIDE, 2 * SIDE), UNKNOWN)
    label[:9, :SIDE], label[9:, :SIDE] = 2, 1
    label[:3, SIDE:] = 0
    counts = patch_counts(label, 3)
    assert counts.tolist() == [[0, 7 * SIDE, 9 * SIDE], [3 * SIDE, 0, 0]]
    assert patch_classes(counts).tolist() == [2, UNKNOWN]


@pytest.fixture
def tiles(tmp_path) -> TileDataset:
    """Tiles whose patches are of a class by their brightness."""
    draw, made = np.random.default_rng(0), []
    for number in range(6):
        tile = random_tile(f"lima_{number}_0", nodes=2, edges=0, side=64, targets=True)
        classes = draw.integers(0, 3, (4, 4)).repeat(SIDE, 0).repeat(SIDE, 1).astype(np.uint8)
        tile.image[:] = np.array([128, 250, 5], np.uint8)[classes]
        tile.land_use[:] = classes
        made.append(tile)
    return TileDataset(write_compact(tmp_path / "tiles", made), image_size=64)


@pytest.mark.parametrize("hidden", [True, False])
def test_what_can_be_read_is_learnt_and_counted(tiles, monkeypatch, hidden):
    monkeypatch.setattr("evaluation.patch_models.RATE", 0.05)
    lists = [LabelledTiles(tiles, own, "land_use", 3) for own in ((0, 1, 2), (3,), (4, 5))]
    model = fit_patches(*lists, CLASSES, ("image",), hidden, seed=0)
    assert model.figures["miou"] > 0.9
    assert model.tallies.values["counts"][:, 1].sum() == 2 * 64 * 64
    assert model.tallies.values["calibration"][:, 0].sum() == 2 * 64 * 64
    other = fit_patches(*lists, CLASSES, ("osm",), hidden, seed=0)
    assert other.figures["miou"] < 0.7
    confused = segmentation_figures(other.confusion, CLASSES, "honest")
    assert confused["miou"] == pytest.approx(other.figures["miou"])


@pytest.mark.parametrize(("lists", "part"), [(((0,), (3,), (4,)), "training"),
                                             (((3,), (0,), (4,)), "val")])
def test_lists_without_a_class_are_refused(tmp_path, lists, part):
    made = [random_tile(f"lima_{number}_0", nodes=2, edges=0, side=64, targets=True)
            for number in range(5)]
    made[0].land_use[:] = UNKNOWN
    tiles = TileDataset(write_compact(tmp_path / "tiles", made), image_size=64)
    lists = [LabelledTiles(tiles, own, "land_use", 9) for own in lists]
    with pytest.raises(TileError, match=f"no patch of the {part} tiles has a class"):
        fit_patches(*lists, CLASSES * 3, ("image",), False, seed=0)
