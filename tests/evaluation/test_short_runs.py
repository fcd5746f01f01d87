"""What makes many short runs cheap: val measured now and then, and no pictures."""

import csv
import json
import re

import pytest

from models.rose import MODEL_KEYS
from tests.evaluation.evaluating import configure, made, run, stored
from tests.pretrained import save_pretrained
from utils.errors import CheckpointError
from utils.recipes import RECIPES


@pytest.mark.parametrize(("every", "measured"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_val_is_measured_every_so_many_epochs_and_after_the_last(tiny, tmp_path, every, measured):
    run("pop", *tiny, "modality=image", "epochs=5", f"val_every={every}",
        f"save_path={tmp_path / 'run'}")
    with (tmp_path / "run/seed_0/metrics.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == measured
    assert stored(tmp_path / "run/seed_0")["epoch"] in measured


def test_without_pictures_there_is_no_figure_and_no_page(tiny, tmp_path):
    run("pop", *tiny, "modality=image", f"save_path={tmp_path / 'run'}", "pictures=false",
        pictures=True)
    assert not (tmp_path / "run/seed_0/figures").exists()
    assert not (tmp_path / "run/report.html").exists()


def test_a_result_made_before_val_every_is_that_of_every_epoch(tiny, tmp_path):
    cfg = configure("pop", *tiny, "modality=image", "num_workers=0", "accelerator=cpu")
    folder = made(cfg, tmp_path / "run")
    record = stored(folder / "seed_0")
    del record["identity"]["val_every"]
    before = (folder / "seed_0/metrics.csv").stat().st_mtime_ns
    (folder / "seed_0/results.json").write_text(json.dumps(record))
    made(cfg, tmp_path / "run")
    assert (folder / "seed_0/metrics.csv").stat().st_mtime_ns == before


def test_of_another_network_only_what_differs_is_named(tiny, tmp_path):
    chosen = {name: value for name, value in vars(RECIPES["plus"]).items() if name in MODEL_KEYS}
    plus = save_pretrained(tmp_path / "plus.tar", recipe="plus", **chosen)
    cfg = configure("pop", *tiny, "modality=image", "num_workers=0", "accelerator=cpu", "epochs=1")
    made(cfg, tmp_path / "run", checkpoint=str(plus))
    with pytest.raises(CheckpointError, match="belongs to another run") as refused:
        made(cfg, tmp_path / "run", drop_objects=0.5)
    named = re.findall(r"(\S+)=(\S+ \(there \S+)\)", str(refused.value))
    assert {name: values for name, values in named if not name.endswith("sha256")} == {
        "drop_objects": "0.5 (there 0.0", "build.recipe": "rose (there plus",
        "build.placement": "tile (there coverage", "build.image_skip": "false (there true",
        "build.feed_forward": "linear (there residual",
        "build.image_target": "pixels (there patch_norm",
        "build.osm_loss": "features (there groups"}
