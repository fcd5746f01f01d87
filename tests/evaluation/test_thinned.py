"""Objects dropped and tiles augmented while an evaluation trains; a network of recipe=plus from
scratch."""

import pytest
import torch
from lightning_fabric import Fabric

from datasets.targets import UNKNOWN
from evaluation.checks import check_keys
from evaluation.problem import root_weights
from evaluation.run import Run
from evaluation.setup import Setup
from models import registry
from models.network_file import NetworkFile
from tests.evaluation.evaluating import SCRIPTS, configure, made, rows, stored
from training.stopping import StopRequest
from utils.errors import ConfigError, RoseError


def run_of(problem: str, *keys: str) -> Run:
    cfg = configure(problem, "accelerator=cpu", "num_workers=0", *keys)
    stop = StopRequest()
    stop.forget()
    return Run(Setup(cfg, Fabric(accelerator="cpu", devices=1), SCRIPTS[problem][1](cfg)), 0, stop)


def test_the_training_tiles_alone_lose_objects(tiny, tmp_path):
    run = run_of("seg", *tiny, "drop_graphs=1", f"save_path={tmp_path / 'a'}")
    counts = {part: sum(len(graphs.x) for _, graphs, _ in run._loader(part))
              for part in ("train", "val", "test")}
    assert counts == {"train": 0, "val": 4, "test": 4}


@pytest.mark.parametrize(("problem", "crops"), [("seg", True), ("pop", False)])
def test_the_training_tiles_alone_are_augmented(tiny, tmp_path, problem, crops):
    whole, changed = (run_of(problem, *tiny, f"augment={augment}", f"save_path={tmp_path / 'a'}")
                      for augment in ("none", "aligned"))
    for part in ("train", "val"):
        same = []
        for epoch in range(1, 6):
            for run in (whole, changed):
                run.sampler.set_position(epoch)
            for one, other in zip(whole._loader(part), changed._loader(part), strict=True):
                same.append([torch.equal(one[0], other[0]),
                             torch.equal(one[1].x[:, 512], other[1].x[:, 512])])
        if part == "val":
            assert all(map(all, same))
        else:
            assert not all(images for images, _ in same)
            assert all(areas for _, areas in same) != crops


@pytest.mark.parametrize(("problem", "dropped"), [("seg", 0.15), ("pop", 0.0)])
def test_a_network_of_the_third_recipe_from_scratch(tiny, tmp_path, problem, dropped):
    tiles = [key for key in tiny if not key.startswith("checkpoint")]
    cfg = configure(problem, *tiles, "accelerator=cpu", "num_workers=0", "mode=scratch",
                    "recipe=plus", "image_encoder=test_vit", "neighbours=3", "epochs=1")
    assert (cfg.drop_objects, cfg.drop_graphs) == (dropped, 0.1)
    assert (cfg.neighbours, cfg.augment) == (3, "none")
    network = NetworkFile(made(cfg, tmp_path / "a") / "seed_0" / "best.safetensors")
    assert network.build.items() >= {
        "neighbours": 3, "placement": "coverage", "feed_forward": "residual"}.items()
    assert network.downstream().rose.osm_encoder.neighbours == 3
    assert network.head.channels
    assert network.head.statistics
    again = configure(problem, *tiles, "accelerator=cpu", "num_workers=0", "epochs=0",
                      f"checkpoint={network.path}")  # without recipe=plus: the file says it
    measured = stored(made(again, tmp_path / "b"))
    assert measured["mean"] == pytest.approx(stored(tmp_path / "a")["mean"], nan_ok=True)
    assert measured["config"]["draw_objects"] is True
    assert measured["config"]["patch_input"] == "statistics"


def test_what_is_added_is_trained_at_its_own_rate(tiny, tmp_path):
    cfg = configure("seg", *tiny, "accelerator=cpu", "num_workers=0", "draw_objects=true",
                    "patch_input=statistics", "lr=1e-3")
    best = made(cfg, tmp_path / "a") / "seed_0" / "best.safetensors"
    state = NetworkFile(best).downstream().state_dict()
    assert all(state[f"{part}.proj.bias"].any() for part in ("extra", "statistics"))  # 0 at first
    last = rows(best.parent / "metrics.csv")[-1]
    assert float(last["extra_lr"]) == pytest.approx(10 * float(last["lr"]))


@pytest.mark.parametrize(("lr_multi", "times"), [(100, 10), (3, 3)])
def test_what_is_added_is_trained_at_most_at_the_heads_rate(tiny, tmp_path, lr_multi, times):
    run = run_of("seg", *tiny, "draw_objects=true", "lr=1e-3", f"lr_multi={lr_multi}",
                 f"save_path={tmp_path / 'a'}")
    encoders, added, head = (run.optimizer.param_groups[place]["lr"] for place in (0, -2, -1))
    assert (added / encoders, head / encoders) == pytest.approx((times, lr_multi))


def test_pixels_of_rare_classes_count_more_in_the_loss(tiny, tmp_path):
    problem = run_of("seg", *tiny, "class_weights=root", f"save_path={tmp_path / 'a'}").problem
    counts = problem.shares.double()
    weights = problem.weights.double()
    there = counts > 0
    roots = weights[there] * counts[there].sqrt()
    torch.testing.assert_close(roots, roots[:1].expand_as(roots), rtol=1e-5, atol=0)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    outputs, target = torch.randn(2, len(counts), 8, 8), torch.randint(len(counts), (2, 8, 8))
    target[0] = UNKNOWN
    expected = torch.nn.functional.cross_entropy(outputs, target, problem.weights,
                                                 ignore_index=UNKNOWN)
    torch.testing.assert_close(problem.loss(outputs, target, None), expected)
    assert problem.loss(outputs, target.fill_(UNKNOWN), None) == 0


def test_a_class_without_pixels_counts_nothing():
    assert root_weights(torch.tensor([0, 1, 100])).tolist() == pytest.approx(
        [0, 101 / 11, 101 / 110])


@pytest.mark.parametrize(("keys", "message"), [
    (["mode=linear", "drop_objects=0.2"],
     "drop_objects=0.2: mode=linear looks at each training tile once, .*; pass drop_objects=0, or "
     "cache_features=false"),
    (["mode=knn", "recipe=plus", "augment=aligned"],
     "draw_objects=true: mode=knn trains nothing .*; pass draw_objects=false patch_mlp=false "
     "patch_input=pixels drop_objects=0 drop_graphs=0 augment=none$"),
    (["mode=knn", "recipe=plus", "modality=image", "drop_objects=0", "drop_graphs=0"],
     "patch_mlp=true: mode=knn .*; pass patch_mlp=false patch_input=pixels$"),
    (["class_weights=inverse"], "class_weights=inverse: choose one of none, root"),
    (["drop_objects=-0.1"], "drop_objects=-0.1: must be 0 or more and 1 or less"),
    (["augment=image_only"], "augment=image_only: choose one of none, aligned"),
    (["osm_layers=2"], "was made with osm_layers=1, not osm_layers=2; leave osm_layers= out, or "),
])
def test_what_cannot_be_is_one_line(tiny, tmp_path, keys, message):
    with pytest.raises(RoseError, match=message) as error:
        run_of("seg", *tiny, *keys, f"save_path={tmp_path / 'a'}").setup.build_model(0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("problem", "keys", "message"), [
    ("seg", ["modality=osm", "draw_objects=true", "patch_input=statistics"],
     "draw_objects=true: modality=osm draws no OSM objects, expected one of fusion, fine, "
     "osm_raster, image_osm_raster; choose one of them, or leave draw_objects out"),
    ("seg", ["modality=osm", "patch_input=statistics"],
     "patch_input=statistics: modality=osm has no patches of an image, expected one of image, "),
    ("seg", ["modality=image", "draw_objects=true"], "draw_objects=true: modality=image draws no"),
    ("seg", ["modality=image", "draw_objects=true", "recipe=release"], "draw_objects=true: "),
    ("pop", ["modality=image", "count_objects=true"],
     "count_objects=true: modality=image counts no OSM objects, expected one of osm, fusion, "
     "osm_raster, image_osm_raster;"),
])
def test_what_a_modality_cannot_have_is_refused_if_asked_for_by_hand(tiny, problem, keys, message):
    cfg = configure(problem, *tiny, *keys)
    with pytest.raises(ConfigError, match=f"^{message}"):
        check_keys(cfg)


@pytest.mark.parametrize(("problem", "modality"), [
    *(("seg", name) for name in registry.segmentation_modalities()),
    *(("pop", name) for name in registry.regression_modalities())])
def test_what_a_recipe_sets_is_left_out_where_it_cannot_be(tiny, problem, modality):
    check_keys(configure(problem, *tiny, f"modality={modality}", "recipe=plus"))
    check_keys(configure(problem, *tiny, f"modality={modality}", "recipe=plus",
                         "draw_objects=false", "patch_input=pixels"))


@pytest.mark.parametrize("keys", [["mode=linear", "cache_features=false", "drop_objects=0.2"],
                                  ["mode=linear", "modality=osm_raster", "augment=aligned"]])
def test_a_probe_that_looks_at_tiles_in_every_epoch_takes_them_thinned(tiny, tmp_path, keys):
    assert not run_of("seg", *tiny, *keys, f"save_path={tmp_path / 'a'}").cached
