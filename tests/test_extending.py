"""A new decoder, modality or image encoder is one file and one line of models/registry.py: the
rest of the product then takes it."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from evaluation.job import evaluate
from models import NetworkFile, registry
from tests.evaluation.evaluating import LISTS, ROOT, SCRIPTS, SMALL, configure, write_lists
from tests.inference.maps.scenes import noise, pixels_of, predict, write_objects, write_raster
from tests.pretrained import save_pretrained


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The lines that a newcomer adds."""
    lines = ((registry.DECODERS, "two_layers", "tests.toys:TwoLayers"),
             (registry.MODALITIES, "beside",
              registry.Modality("tests.toys:BESIDE", ("tokens", "vector"), ("image", "osm"))),
             (registry.IMAGE_ENCODERS, "shallow", "tests.toys:shallow_vit"))
    for table, name, line in lines:
        monkeypatch.setitem(table, name, line)


def test_the_registry_needs_no_library_of_networks():
    code = ("import sys, models.registry; "
            "print({'torch', 'timm', 'torch_geometric'} & {*sys.modules})")
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                         check=True)
    assert ran.stdout == "set()\n"


def test_the_choices_follow_from_the_registry():
    assert "two_layers" in registry.decoder_names()
    assert "beside" in registry.segmentation_modalities()
    assert "beside" in registry.regression_modalities()


@pytest.mark.parametrize(("problem", "choices", "result"), [
    ("seg", {"modality": "beside", "decoder": "two_layers"}, "map.tif"),
    ("pop", {"modality": "beside", "target_scale": "standard"}, "totals.tif"),
])
def test_an_evaluation_and_a_map_take_them(sample_tiles, tmp_path, monkeypatch, problem, choices,
                                           result):
    monkeypatch.setattr("evaluation.results.save_pictures", lambda *_: None)
    tiles = shutil.copytree(sample_tiles, tmp_path / "tiles")
    write_lists(tiles, LISTS)
    checkpoint = save_pretrained(tmp_path / "model_1.tar", image_encoder="shallow")
    keys = (f"{name}={value}" for name, value in choices.items())
    cfg = configure(problem, f"data_root={tiles}", f"checkpoint={checkpoint}",
                    f"save_path={tmp_path}/run", *SMALL, "epochs=1", *keys)
    summary = evaluate(cfg, SCRIPTS[problem][1](cfg))
    best = tmp_path / "run/seed_0/best.safetensors"
    assert NetworkFile(best).head.choices.items() >= choices.items()
    assert json.loads((tmp_path / "run/results.json").read_text())["network"] == summary["network"]
    again = replace(cfg, checkpoint=str(best), epochs=0, save_path=f"{tmp_path}/again")
    assert evaluate(again, SCRIPTS[problem][1](again))["mean"] == pytest.approx(summary["mean"],
                                                                                nan_ok=True)
    raster = write_raster(tmp_path / "city.tif", noise(300, 320))
    osm = write_objects(tmp_path / "osm.gpkg", raster)
    maps = [pixels_of(predict(raster, best, tmp_path / name, **keys) / result)
            for name, keys in (("with", {"osm": osm}), ("without", {}))]
    assert np.isfinite(maps[0]).any()
    if problem == "pop":
        assert not np.array_equal(*maps, equal_nan=True), "the modality does not read OSM"
