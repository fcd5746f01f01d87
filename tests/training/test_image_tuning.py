"""freeze= and layer_decay=: what of the image encoder moves, when, and at which rates."""

import csv

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import build_rose, registry
from tests import small_vits
from tests.evaluation.evaluating import configure, made, rows, stopped_after_an_epoch, stored
from tests.pretrained import save_pretrained
from tests.robustness import tiny_runs
from training.image_tuning import check_freeze, frozen_epochs, layer_scale
from training.schedule import (
    build_downstream_optimizer,
    build_optimizer,
    load_optimizer,
    set_learning_rate,
)
from utils.checkpoint import read_checkpoint
from utils.errors import CheckpointError, ConfigError

ENCODER = "image_encoder."


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return tiny_runs.write_tiles(tmp_path_factory.mktemp("tuning") / "tiles")


@pytest.mark.parametrize("freeze", ["", "some", "image_epochs", "image_epochs:0",
                                    "image_epochs:-1", "image_epochs:abc", "image_epochs:1.5",
                                    "image_epochs:1e3", "image_epochs: 3"])
def test_other_values_of_freeze(freeze):
    with pytest.raises(ConfigError, match=f"freeze={freeze}: expected none, image, or "
                                          "image_epochs:N for the first N epochs.*image_epochs:5"):
        frozen_epochs(freeze)


@pytest.mark.parametrize("epochs", [5, 4])
def test_an_encoder_that_would_never_thaw(epochs):
    with pytest.raises(ConfigError, match=f"freeze=image_epochs:5: total_epoch={epochs} leaves no "
                                          "epoch .*freeze=image to keep it"):
        check_freeze("image_epochs:5", epochs, "total_epoch")
    check_freeze("image_epochs:5", 6, "total_epoch")
    check_freeze("image", epochs, "total_epoch")
    check_freeze("image_epochs:5", 0, "epochs")  # nothing is trained


def test_each_layer_has_its_rate():
    rose = build_rose("test_vit", image_positions="own")
    depth, names = len(rose.image_encoder.blocks), {id(p): n for n, p in rose.named_parameters()}
    optimizer = build_optimizer(rose, 1.0, 0.05, layer_decay=0.5)
    set_learning_rate(optimizer, 2.0)
    rates = {names[id(parameter)]: group["lr"] for group in optimizer.param_groups
             for parameter in group["params"]}
    assert rates.keys() == set(names.values())
    lowest = 2 * 0.5 ** (depth + 1)
    for name, rate in {"cls_token": lowest, "pos_embed": lowest, "patch_embed.proj.weight": lowest,
                       "blocks.0.norm1.bias": 2 * lowest,
                       f"blocks.{depth - 1}.mlp.fc1.weight": 1.0, "norm.weight": 2.0}.items():
        assert rates[ENCODER + name] == rate, name
    assert {rate for name, rate in rates.items() if not name.startswith(ENCODER)} == {2.0}
    head = torch.nn.Linear(2, 2)
    groups = build_downstream_optimizer(rose, head, 1.0, 7.0, 0.0, layer_decay=0.5).param_groups
    assert [group["lr"] for group in groups] == [
        *(0.5**power for power in range(depth + 2)), 7.0]


@pytest.mark.parametrize("kind", ["plain", "distilled", "registers", "dinov3", "mixed_rope"])
@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_what_does_not_decay(kind, layer_decay, monkeypatch):
    monkeypatch.setitem(registry.IMAGE_ENCODERS, kind, small_vits.LINES[kind])
    fixed = getattr(small_vits, kind)(pretrained=False).no_weight_decay()
    if kind == "distilled":  # `ImageEncoder` has that token among its registers
        fixed = fixed | {"reg_token"}
    for positions, spared in (("own", fixed), ("rose", set())):
        rose = build_rose(kind, image_positions=positions)
        optimizer = build_optimizer(rose, 1.0, 0.05, layer_decay)
        decay = {id(parameter): group["weight_decay"] for group in optimizer.param_groups
                 for parameter in group["params"]}
        for name, parameter in rose.named_parameters():
            plain = (parameter.ndim <= 1 or name.endswith(".bias")
                     or name.removeprefix(ENCODER) in spared)
            assert decay[id(parameter)] == (0 if plain else 0.05), (positions, name)


def test_without_decay_the_groups_are_as_ever():
    optimizer = build_optimizer(build_rose("test_vit"), 0.1, 0.05)
    assert [(group["lr"], group["weight_decay"], "lr_scale" in group)
            for group in optimizer.param_groups] == [(0.1, 0.05, False), (0.1, 0.0, False)]


def test_a_state_cannot_change_the_share_of_a_layer():
    optimizer = build_optimizer(build_rose("test_vit"), 1.0, 0.05, layer_decay=0.5)
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group.pop("lr_scale", None)
    load_optimizer(optimizer, state)
    set_learning_rate(optimizer, 1.0)
    assert optimizer.param_groups[-1]["lr"] < 0.1


@pytest.mark.parametrize("name", ["osm_encoder.conv.lin.weight", "image_block.norm1.weight",
                                  "image_encoder.norm.bias"])
def test_what_is_no_layer_of_the_encoder_has_the_whole_rate(name):
    assert layer_scale(name, 12, 0.1) == 1


def moved(folder, first, then):
    """Whether the weights of the image encoder, and any others, differ between two epochs."""
    before, after = (load_file(folder / f"model_{epoch}.safetensors") for epoch in (first, then))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    return any(name.startswith(ENCODER) for name in changed), any(
        not name.startswith(ENCODER) for name in changed)


TUNED = ["num_workers=0", "lr=1e-2", "freeze=image_epochs:2", "layer_decay=0.5"]


def test_the_encoder_is_frozen_at_first_and_the_run_goes_on_to_the_bit(tiles, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    record = tiny_runs.train(tiles, whole, [*TUNED, "total_epoch=4"])
    assert [moved(whole, epoch, epoch + 1) for epoch in (1, 2, 3)] == [
        (False, True), (True, True), (True, True)]
    with (whole / "metrics.csv").open() as file:
        rates = [[float(row[name]) for name in ("lr", "lr_image_first", "lr_image_last")]
                 for row in csv.DictReader(file)]
    depth = len(build_rose("test_vit").image_encoder.blocks)
    assert rates == [[1e-2, 0, 0]] * 6 + [[1e-2, 1e-2 / 2 ** (depth + 1), 5e-3]] * 6
    for steps in (4, 6, 8, 12):  # stopped frozen, about to thaw, and thawed
        again = tiny_runs.train(tiles, parts, [*TUNED, "total_epoch=4", f"max_steps={steps}"])
    assert again == record
    mine, theirs = (read_checkpoint(folder / "model_4.tar") for folder in (whole, parts))
    assert all(torch.equal(value, theirs["model"][name]) for name, value in mine["model"].items())
    assert mine["optimizer"]["state"].keys() == theirs["optimizer"]["state"].keys()
    with pytest.raises(CheckpointError, match=r"belongs to another run: freeze=none \(there image"):
        tiny_runs.train(tiles, parts, [*TUNED, "total_epoch=5", "freeze=none"])


def test_trained_weights_stay_as_they_are_and_are_needed_once(tiles, tmp_path):
    file, folder = tmp_path / "weights.safetensors", tmp_path / "run"
    trained = build_rose("test_vit", image_positions="own").image_encoder.state_dict()
    save_file(trained, file)
    keys = ["num_workers=0", f"image_weights={file}", "freeze=image", "lr=1e-2"]
    tiny_runs.train(tiles, folder, [*keys, "max_steps=3"])
    file.unlink()
    tiny_runs.train(tiles, folder, keys)
    kept = load_file(folder / "model_2.safetensors")
    assert all(torch.equal(value, kept[ENCODER + name]) for name, value in trained.items())
    state = read_checkpoint(folder / "model_2.tar")
    assert state["image_weights"]["path"] == str(file)
    assert len(state["image_weights"]["sha256"]) == 64
    assert state["build"]["image_positions"] == "own"
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: no such file"):
        tiny_runs.train(tiles, tmp_path / "other", keys)


def evaluated(tiles, *overrides):
    return configure("seg", *tiny_runs.TINY, "num_workers=0", "epochs=2", "lr=1e-2", "lr_multi=1",
                     f"data_root={tiles}", *overrides)


def test_an_evaluation_freezes_thaws_and_goes_on(tiles, tmp_path):
    network = save_pretrained(tmp_path / "model_1.tar")
    before = {f"rose.{name}": value for name, value in load_file(network).items()}
    asked = evaluated(tiles, f"checkpoint={network}", "freeze=image_epochs:1", "layer_decay=0.5")
    whole = made(asked, tmp_path / "whole")
    stopped_after_an_epoch(asked, tmp_path / "parts")
    parts = made(asked, tmp_path / "parts")
    metrics = rows(whole / "seed_0" / "metrics.csv")
    assert metrics == rows(parts / "seed_0" / "metrics.csv")
    assert [float(row["lr_image_last"]) > 0 for row in metrics] == [False, True]
    assert {"lr", "head_lr", "lr_image_first"} <= metrics[0].keys()
    frozen = evaluated(tiles, f"checkpoint={network}", "freeze=image")
    after = load_file(made(frozen, tmp_path / "frozen") / "seed_0" / "best.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any(name.startswith("rose.image_encoder.") for name in changed)


def test_an_evaluation_from_scratch_takes_trained_weights_and_records_them(tiles, tmp_path):
    file = tmp_path / "weights.safetensors"
    trained = build_rose("test_vit", image_positions="own").image_encoder.state_dict()
    save_file(trained, file)
    asked = evaluated(tiles, "mode=scratch", "image_encoder=test_vit", f"image_weights={file}",
                      "freeze=image")
    result = stored(made(asked, tmp_path / "run"))
    best = load_file(tmp_path / "run" / "seed_0" / "best.safetensors")
    assert all(torch.equal(value, best[f"rose.image_encoder.{name}"])
               for name, value in trained.items())
    assert result["image_weights"]["path"] == str(file)
    trained["norm.weight"] += 1
    save_file(trained, file)
    with pytest.raises(CheckpointError, match="belongs to another run: image_weights_sha256="):
        made(asked, tmp_path / "run")


@pytest.mark.parametrize(("overrides", "message"), [
    (["freeze=image_epochs:2"], "freeze=image_epochs:2: epochs=2 leaves no epoch in which"),
    (["freeze=maybe"], "freeze=maybe: expected none, image, or image_epochs:N"),
    (["freeze=image", "mode=linear"], "freeze=image: mode=linear trains no encoder; leave it out"),
    (["layer_decay=0.5", "mode=linear"], "layer_decay=0.5: mode=linear trains no encoder"),
    (["layer_decay=0"], r"layer_decay=0\.0: must be above 0 and 1 or less"),
    (["layer_decay=-1"], r"layer_decay=-1\.0: must be above 0 and 1 or less"),
    (["layer_decay=1.1"], "layer_decay=1.1: must be above 0 and 1 or less"),
    (["image_weights=w.pth"], "image_weights=w.pth: is for mode=scratch, linear and knn; "
                              "mode=finetune takes the weights of a checkpoint"),
    (["image_weights=w.pth", "mode=linear"], "image_weights=w.pth: mode=linear probes it, or "
                                             "checkpoint="),
    (["image_weights=gone.pth", "mode=scratch"], "image_weights=gone.pth: no such file; give a"),
])
def test_bad_input_of_an_evaluation_is_one_line(tiles, tmp_path, overrides, message):
    network = save_pretrained(tmp_path / "model_1.tar")
    with pytest.raises((ConfigError, CheckpointError), match=message) as caught:
        made(evaluated(tiles, f"checkpoint={network}", *overrides), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
