"""Models of patches' statistics: how they learn, and what they are measured by."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from datasets import TileDataset
from datasets.batching import join_graphs
from datasets.labelled import LabelledTiles
from datasets.targets import UNKNOWN
from evaluation.metrics import segmentation_figures
from evaluation.patch_labels import patch_classes, patch_counts
from evaluation.patch_models import SIDE, fit_patches, train_patches
from evaluation.problem import Segmentation
from evaluation.setup import Setup
from models import build_rose
from models.network_file import NetworkFile, save_rose
from models.patch_mlp import PatchMlp
from tests.evaluation.evaluating import configure, run
from tests.random_tiles import random_tile, write_compact
from utils.errors import ConfigError, TileError

CLASSES = ("grey", "white", "black")


def test_a_patch_has_its_commonest_class_if_enough_is_known():
    label = torch.full((SIDE, 2 * SIDE), UNKNOWN)
    label[:9, :SIDE], label[9:, :SIDE] = 2, 1
    label[:3, SIDE:] = 0
    counts = patch_counts(label, 3, SIDE)
    assert counts.tolist() == [[0, 7 * SIDE, 9 * SIDE], [3 * SIDE, 0, 0]]
    assert patch_classes(counts, SIDE).tolist() == [2, UNKNOWN]


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


def trained(tiles, **keys) -> PatchMlp:
    lists = [LabelledTiles(tiles, own, "land_use", 3) for own in ((0, 1, 2), (3,))]
    model = PatchMlp((), 3, SIDE)
    train_patches(model, *lists, CLASSES, **{"seed": 0, **keys})
    return model


def test_equal_seeds_are_equal_models_and_leave_nothing_to_train(tiles):
    first, again, other = (trained(tiles, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert not any(parameter.requires_grad for parameter in trained(tiles).parameters())


@pytest.mark.parametrize("dear", [0, 1, 2])
def test_classes_count_by_their_weights(tiles, monkeypatch, dear):
    monkeypatch.setattr("evaluation.patch_models.JUDGED", 1)
    monkeypatch.setattr("evaluation.patch_models.STEPS", 100)
    weights = torch.full((3,), 0.01)
    weights[dear] = 1
    model = PatchMlp(("*",), 3, SIDE, colours=False)  # objects say nothing of a class here
    lists = [LabelledTiles(tiles, own, "land_use", 3) for own in ((0, 1, 2), (3,))]
    train_patches(model, *lists, CLASSES, 0, weights=weights)
    statistics = model.statistics(tiles.read(0)[0][None], join_graphs([tiles.graph(0)]))
    assert (model.eval().scores(statistics).argmax(-1) == dear).all()


def test_of_long_lists_some_tiles_are_read(tiles, monkeypatch):
    monkeypatch.setattr("evaluation.patch_models.MOST_TILES", 2)
    reads = []
    monkeypatch.setattr(LabelledTiles, "__getitem__", spied(LabelledTiles.__getitem__, reads))
    trained(tiles)
    assert reads == ["lima_0_0", "lima_1_0", "lima_3_0"]


def spied(method, reads: list[str]):
    """Return a method that notes the name of each tile that it reads."""
    def spy(self, key):
        reads.append(self.names[key])
        return method(self, key)
    return spy


def test_patches_that_lose_their_objects_are_learned_too(tmp_path, monkeypatch):
    """Objects say the class of half of the training tiles' patches; without any, colours do."""
    monkeypatch.setattr("evaluation.patch_models.RATE", 0.02)
    seen = []
    monkeypatch.setattr(PatchMlp, "scores", spied_rows(PatchMlp.scores, seen))
    made = [random_tile(f"lima_{number}_0", nodes=3, edges=0, side=64, targets=True)
            for number in range(2)]
    tiles = TileDataset(write_compact(tmp_path / "tiles", made), image_size=64)
    lists = [LabelledTiles(tiles, own, "land_use", 9) for own in ((0,), (1,))]
    model = PatchMlp(("*",), 9, SIDE)
    model.know_tags(tiles.tags)
    train_patches(model, *lists, CLASSES * 3, 0, without_osm=1.0)
    assert seen
    assert not any(rows[:, model.objects].any() for rows in seen)
    seen.clear()
    train_patches(model, *lists, CLASSES * 3, 0)
    assert any(rows[:, model.objects].any() for rows in seen)


def spied_rows(method, seen: list[torch.Tensor]):
    """Return a method that keeps the rows which a model is trained on."""
    def spy(self, rows):
        if self.training:
            seen.append(rows.clone())
        return method(self, rows)
    return spy


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


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A dataset of six tiles, with lists."""
    made = [random_tile(f"lima_{number}_0", nodes=4, edges=2, side=32, targets=True)
            for number in range(6)]
    root = write_compact(tmp_path_factory.mktemp("beside") / "tiles", made)
    for file, numbers in {"osm-train-all": (0, 1, 2), "val": (3,), "test": (4, 5)}.items():
        (root / f"{file}.txt").write_text("".join(f"lima_{number}_0.png\n" for number in numbers))
    return root


def test_a_model_with_an_mlp_is_measured_as_it_was_trained(root, tmp_path, capsys):
    given = ("seg", f"data_root={root}", "image_size=32")
    made = run(*given, "mode=scratch", "image_encoder=test_vit", "epochs=1", "recipe=plus",
               f"save_path={tmp_path}")
    best = tmp_path / "seed_0/best.safetensors"
    head = NetworkFile(best).head
    assert head.mlp == head.channels != ()
    again = run(*given, f"checkpoint={best}", "epochs=0", f"save_path={tmp_path}/again")
    assert again["mean"] == pytest.approx(made["mean"])
    assert again["config"]["patch_mlp"] is True
    assert (f"note: {best} was fine-tuned with draw_objects=true patch_mlp=true "
            "patch_input=statistics; other values of such keys are ignored"
            ) in capsys.readouterr().out


@pytest.mark.parametrize("modality", ["fusion", "osm"])
def test_keys_that_a_fine_tuned_file_agrees_with_need_no_note(root, tmp_path, capsys, modality):
    given = ("seg", f"data_root={root}", "image_size=32", "recipe=plus", f"modality={modality}")
    run(*given, "mode=scratch", "image_encoder=test_vit", "epochs=1", f"save_path={tmp_path}")
    run(*given, f"checkpoint={tmp_path}/seed_0/best.safetensors", "epochs=0",
        f"save_path={tmp_path}/same")
    assert "was fine-tuned with" not in capsys.readouterr().out


@pytest.mark.parametrize("keys", [
    ["modality=image"], ["modality=osm"], ["modality=fine"], ["osm_reads=geometry"],
    ["remove_ratio=1", "remove_while_training=true"], ["drop_graphs=1"]])
def test_an_mlp_is_fitted_to_what_the_network_reads(root, tmp_path, keys):
    made = run("seg", f"data_root={root}", "image_size=32", "mode=scratch", "epochs=1",
               "image_encoder=test_vit", "patch_mlp=true", *keys, f"save_path={tmp_path}")
    assert 0 <= made["mean"]["miou"] <= 1


def test_each_seed_has_an_mlp_of_its_own(root, tmp_path):
    cfg = configure("seg", f"data_root={root}", "image_size=32", "mode=scratch", "seeds=[0,1]",
                    "image_encoder=test_vit", "accelerator=cpu", "patch_mlp=true",
                    f"save_path={tmp_path}")
    setup = Setup(cfg, Fabric(accelerator="cpu", devices=1), Segmentation(cfg))
    first, other, again = (setup.build_model(seed).mlp.layers[1].weight for seed in (0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_neighbours_have_no_mlp(root, tmp_path):
    with pytest.raises(ConfigError, match=r"patch_mlp=true: mode=knn trains nothing and looks at "
                                          "each training tile once, .*; pass patch_mlp=false$"):
        run("seg", f"data_root={root}", "image_size=32", "mode=knn", "patch_mlp=true",
            f"checkpoint={saved(tmp_path)}", f"save_path={tmp_path / 'knn'}")


def saved(folder: Path) -> Path:
    """Return the file of a network."""
    save_rose(folder / "model_1.safetensors", build_rose("test_vit"))
    return folder / "model_1.safetensors"
