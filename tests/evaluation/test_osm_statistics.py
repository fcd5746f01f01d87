"""Statistics of OSM objects, the linear model of them, and what evaluations of drawn objects do."""

import re

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from datasets import TileDataset
from datasets.labelled import LabelledTiles, collate_labelled
from datasets.osm_degradation import OsmDegradation
from evaluation.baselines import LINEAR
from evaluation.osm_statistics import (
    channels_of,
    fit_ridge,
    linear_estimates,
    osm_statistics,
    ridge,
)
from evaluation.problem import Regression
from evaluation.setup import Setup
from models.network_file import NetworkFile
from tests.evaluation.evaluating import LISTS, configure, run, stored, write_lists
from tests.pretrained import save_pretrained
from tests.random_tiles import META, random_tile, write_compact
from utils.errors import ConfigError

NAMES = ["bar", "house", "hut", "service"]
LAYERS = ["amenity", "building", "building", "road"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Tiles whose population is 3 times their number of houses, and 100 times the huts' area."""
    tiles = []
    for number in range(9):
        tile = random_tile(f"lima_{number}_0", number % 5 + 3, 2, side=32, targets=True)
        tile.label[:] = np.random.default_rng(number).integers(0, 4, len(tile.label))
        houses, huts = (tile.label == 1).sum(), tile.geometry[tile.label == 2, 0].sum()
        tile.totals["pop"] = float(3 * houses + 100 * huts)
        tiles.append(tile)
    folder = tmp_path_factory.mktemp("statistics")
    root = write_compact(folder / "tiles", tiles,
                         meta=META | {"label_names": NAMES, "label_layers": LAYERS})
    write_lists(root, LISTS)
    save_pretrained(folder / "model_1.tar")
    return root


def listed(root, indices=range(9), **degradation) -> LabelledTiles:
    return LabelledTiles(TileDataset(root, image_size=32), indices, "pop",
                         degradation=OsmDegradation(**degradation))


def test_statistics_by_hand(root):
    tiles = listed(root)
    assert set(channels_of(tiles)) == {"amenity/bar", "building/house", "building/hut",
                                       "road/service"}
    channels = ["building/house", "building/*"]
    rows = osm_statistics(tiles, channels)
    assert rows.shape == (9, 8)  # house, other buildings, all buildings, everything; twice
    for row, graph in zip(rows, tiles.graphs(), strict=True):
        code, area = graph.x[:, -1], graph.x[:, -13].double()
        of = [code == 1, code == 2, (code == 1) | (code == 2), code >= 0]
        torch.testing.assert_close(row[:4], torch.stack([kind.sum() for kind in of]).double())
        torch.testing.assert_close(row[4:], torch.stack([area[kind].sum() for kind in of]))


def test_a_linear_rule_is_learned_and_objects_that_are_missing_are_missed(root):
    train, rest = listed(root, range(6)), listed(root, range(6, 9))
    totals = train.totals(), rest.totals()
    torch.testing.assert_close(linear_estimates(train, train, train, totals[0], totals[0]),
                               totals[0], atol=0.5, rtol=0.02)
    bare = linear_estimates(train, rest, listed(root, range(6, 9), remove_ratio=1.0), *totals)
    assert bare.tolist() == pytest.approx([bare[0].item()] * 3)
    assert (bare >= 0).all()


def test_no_estimate_is_negative(root):
    train = listed(root, range(6))
    totals = train.totals()
    assert (linear_estimates(train, train, train, totals - 1000, totals - 1000) == 0).all()


def test_ridge_is_the_closed_form():
    draw = torch.Generator().manual_seed(0)
    rows = torch.rand(20, 4, generator=draw, dtype=torch.float64)
    rows[:, 3] = 5  # a column that says nothing
    targets = rows[:, 0] * 7 - rows[:, 1] * 2 + 1
    torch.testing.assert_close(ridge(rows, targets, 1e-12)(rows), targets)
    torch.testing.assert_close(ridge(rows, targets, 1e9)(rows), targets.mean().expand(20))


def test_val_judges_ridges_as_they_are_used():
    """Below `least`, where a steep one is as good as a flat one."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.rand(20, 1, generator=draw, dtype=torch.float64)
    far, low = torch.tensor([[-1.0]]).double(), torch.zeros(1).double()
    steep, flat = (fit_ridge(rows, 10 * rows[:, 0], far, low, least).weight.item()
                   for least in (0.0, -100.0))
    assert steep > 0.99 * 10 * rows.std(correction=0) > flat


def test_ridge_does_not_go_far_beyond_its_rows():
    """A tag that one training tile has a sliver of, and another tile is full of."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.rand(100, 2, generator=draw, dtype=torch.float64)
    targets = 10 * rows[:, 0]
    rows[:, 1], targets[7] = 0, 30.0
    rows[7, 1] = 1e-5
    model = ridge(rows, targets, 1e-5)
    assert model(torch.tensor([[0.5, 0.6]]).double()).item() < 2 * 30
    assert model(torch.tensor([[1.5, 0.0]]).double()).item() == pytest.approx(15, rel=0.05)
    assert model(torch.tensor([[9.0, 0.0]]).double()).item() == pytest.approx(20, rel=0.05)


def test_a_seed_s_model_does_not_depend_on_the_other_seeds(root, tmp_path):
    """Each is fitted to what its own training tiles have left of their objects."""
    models = {}
    for seeds in ([1], [0, 1]):
        cfg = configure("pop", f"data_root={root}", "image_size=32", "modality=osm",
                        "mode=scratch", "image_encoder=test_vit", "accelerator=cpu",
                        "count_objects=true", "remove_ratio=0.5", "remove_while_training=true",
                        f"seeds={seeds}", f"save_path={tmp_path}")
        setup = Setup(cfg, Fabric(accelerator="cpu", devices=1), Regression(cfg))
        models |= {(len(seeds), seed): setup.build_model(seed).counts for seed in seeds}
    assert torch.equal(models[1, 1].mean, models[2, 1].mean)
    assert not torch.equal(models[2, 0].mean, models[2, 1].mean)


@pytest.mark.parametrize("keys", [["osm_reads=geometry"], ["osm_reads=tags"],
                                  ["remove_ratio=1", "remove_while_training=true"],
                                  ["target_scale=none"]])
def test_objects_are_counted_as_they_are_read(root, tmp_path, keys):
    made = run("pop", f"data_root={root}", "image_size=32", "modality=osm", "mode=scratch",
               "image_encoder=test_vit", "epochs=1", "count_objects=true", "lr_multi=1",
               "target_scale=standard", *keys, f"save_path={tmp_path}")
    assert np.isfinite(made["mean"]["rmse"])


def test_totals_stand_beside_the_linear_model_and_a_worse_network_is_told(root, tmp_path, capsys):
    found = run("pop", f"data_root={root}", "image_size=32", "modality=osm", "mode=scratch",
                "image_encoder=test_vit", f"save_path={tmp_path}", "epochs=1",
                "target_scale=standard", "lr=1e-9")
    assert list(found["baselines"]) == ["training mean", "training median", LINEAR]
    assert found["baselines"][LINEAR]["rmse"] < found["mean"]["rmse"]
    assert f"seed 0 is no better than the {LINEAR}" in found["remarks"]
    assert re.search(r"linear model of\n.*OSM statistics", capsys.readouterr().out)


@pytest.mark.parametrize("scale", ["standard", "log1p"])
def test_a_network_that_counts_objects_begins_as_the_linear_model(root, tmp_path, scale):
    cfg = configure("pop", f"data_root={root}", "image_size=32", "modality=osm", "mode=scratch",
                    "image_encoder=test_vit", "accelerator=cpu", f"target_scale={scale}",
                    "count_objects=true", f"save_path={tmp_path}")
    problem = Regression(cfg)
    setup = Setup(cfg, Fabric(accelerator="cpu", devices=1), problem)
    model = setup.build_model(0).eval()
    train, val, reported = (setup.tiles(part, 0) for part in ("train", "val", "test"))
    assert set(setup.head.counts) == set(channels_of(train))
    assert not setup.head.channels  # none are drawn
    images, graphs, _ = collate_labelled([reported[number] for number in range(len(reported))])
    rows, val_rows, asked = (osm_statistics(tiles, setup.head.counts)
                             for tiles in (train, val, reported))
    scaled = setup.head.scale.scale
    linear = fit_ridge(rows, scaled(train.totals()), val_rows, scaled(val.totals()),
                       scaled(torch.zeros(())).item())
    expected = setup.head.scale.unscale(linear(asked))
    estimates = model(images.float(), graphs)[:, 0].double()
    assert expected.std() > 1
    torch.testing.assert_close(estimates, expected.clamp(min=0), rtol=1e-3, atol=1e-2)


def test_a_model_that_counts_is_measured_as_it_was_trained(root, tmp_path):
    made = run("pop", f"data_root={root}", "image_size=32", "modality=fusion", "mode=scratch",
               "image_encoder=test_vit", "epochs=1", "recipe=plus", "target_scale=standard",
               f"save_path={tmp_path}")
    best = tmp_path / "seed_0/best.safetensors"
    head = NetworkFile(best).head
    assert head.counts == head.channels != ()
    again = run("pop", f"data_root={root}", "image_size=32", f"checkpoint={best}", "epochs=0",
                "target_scale=standard", f"save_path={tmp_path}/again")
    assert again["mean"] == pytest.approx(made["mean"])
    assert again["config"]["count_objects"] is True


def test_neighbours_count_nothing(root, tmp_path):
    with pytest.raises(ConfigError, match=r"count_objects=true: mode=knn trains nothing and looks "
                                          "at each training tile once, .*; pass "
                                          "count_objects=false$"):
        run("pop", f"data_root={root}", "image_size=32", "modality=osm", "mode=knn",
            f"checkpoint={root.parent / 'model_1.safetensors'}", f"save_path={tmp_path}",
            "count_objects=true")


def test_a_probe_of_drawn_objects_trains_their_projection_and_no_block(root, tmp_path):
    checkpoint = root.parent / "model_1.safetensors"
    given = ("seg", f"data_root={root}", "image_size=32", f"checkpoint={checkpoint}")
    run(*given, "modality=osm_raster", "mode=linear", f"save_path={tmp_path}", "epochs=1")
    best = NetworkFile(tmp_path / "seed_0/best.safetensors")
    assert set(best.head.channels) == set(channels_of(listed(root, range(5))))
    before = NetworkFile(checkpoint).rose().state_dict()
    after = best.downstream().state_dict()
    assert all(torch.equal(value, after[f"rose.{name}"]) for name, value in before.items())
    assert after["extra.proj.bias"].any()
    assert not list(tmp_path.rglob("*.bin"))  # features that change are not kept
    again = run("seg", f"data_root={root}", "image_size=32", "modality=osm_raster", "epochs=0",
                f"checkpoint={best.path}", f"save_path={tmp_path}/again")
    assert again["mean"] == pytest.approx(stored(tmp_path)["mean"], nan_ok=True)


def test_neighbours_of_drawn_objects_are_refused(root, tmp_path):
    with pytest.raises(ConfigError, match="modality=osm_raster: its projection of drawn objects "
                                          "must be trained, and mode=knn trains nothing; pass "
                                          "mode=linear, or modality=image or osm or fusion or"):
        run("seg", f"data_root={root}", "image_size=32", "modality=osm_raster", "mode=knn",
            f"checkpoint={root.parent / 'model_1.safetensors'}", f"save_path={tmp_path}")
