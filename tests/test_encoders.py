"""Today's image encoders go through every program: trained, continued, evaluated, mapped."""

import shutil

import numpy as np
import pytest

from evaluation.job import evaluate
from models import NetworkFile, registry
from tests.evaluation.evaluating import LISTS, SCRIPTS, SMALL, configure, write_lists
from tests.inference.features import extracting
from tests.inference.maps.scenes import noise, pixels_of, predict, write_raster
from tests.small_vits import LINES
from tests.test_train import train
from utils.checkpoint import read_checkpoint
from utils.errors import CheckpointError, ConfigError


@pytest.fixture(autouse=True)
def small_vits(monkeypatch):
    for name, line in LINES.items():
        monkeypatch.setitem(registry.IMAGE_ENCODERS, name, line)


@pytest.mark.parametrize("encoder", ["dinov3", "registers"])
def test_every_program_takes_them(sample_tiles, tmp_path, monkeypatch, encoder):
    monkeypatch.setattr("evaluation.results.save_pictures", lambda *_: None)
    tiles, run = shutil.copytree(sample_tiles, tmp_path / "tiles"), tmp_path / "run"
    write_lists(tiles, LISTS)
    keys = f"image_encoder={encoder}", "total_epoch=1", "lr=1e-3"
    train(tiles, run, *keys, "max_steps=1", "pretrained=true")
    with pytest.raises(CheckpointError, match=r"image_positions=rose \(there own\)"):
        train(tiles, run, *keys, "max_steps=2", "image_positions=rose")
    train(tiles, run, *keys, "max_steps=2")  # continued: the positions stay the ViT's own
    state = read_checkpoint(run / "last.tar")
    assert (state["global_step"], state["build"]["image_positions"]) == (2, "own")

    cfg = configure("seg", f"data_root={tiles}", f"checkpoint={run}", f"save_path={tmp_path}/seg",
                    *SMALL, "epochs=1", "modality=image")
    assert evaluate(cfg, SCRIPTS["seg"][1](cfg))["network"]["image_positions"] == "own"
    raster = write_raster(tmp_path / "city.tif", noise(230, 240))
    best = tmp_path / "seg/seed_0/best.safetensors"
    assert np.isfinite(pixels_of(predict(raster, best, tmp_path / "map") / "map.tif")).any()
    extracting.run(run, tmp_path / "features", f"data_root={tiles}", "patches=false",
                   "representations=[rs]")
    assert NetworkFile(best).rose().image_encoder.reg_token.shape == (1, 4, 64)


def test_a_network_from_scratch_takes_the_positions_asked_for(sample_tiles, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.results.save_pictures", lambda *_: None)
    tiles = shutil.copytree(sample_tiles, tmp_path / "tiles")
    write_lists(tiles, LISTS)
    made = {}
    for name, keys in (("null", []), ("own", ["image_positions=own"]), ("trained",
                                                                     ["pretrained=true"])):
        cfg = configure("pop", f"data_root={tiles}", "mode=scratch", "image_encoder=dinov3",
                        f"save_path={tmp_path}/{name}", *SMALL, "epochs=1", "modality=image", *keys)
        made[name] = evaluate(cfg, SCRIPTS["pop"][1](cfg))["network"].get("image_positions")
    assert made == {"null": None, "own": "own", "trained": "own"}


def test_tiles_that_patches_do_not_divide(sample_tiles, tmp_path, monkeypatch):
    monkeypatch.setitem(registry.IMAGE_ENCODERS, "odd", "tests.small_vits:patch15")
    with pytest.raises(ConfigError, match="image_size=224: no multiple of 15, the patch side of "
                                          r"image_encoder=odd; .*tile_px=225\), or choose an im"):
        train(sample_tiles, tmp_path / "run", "image_encoder=odd")
