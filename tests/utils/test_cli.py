"""The command line: one line, exit code 2, and what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from utils.cli import _quote, read_config
from utils.config import PrepareConfig, TrainConfig
from utils.errors import ConfigError
from utils.recipes import RECIPES, resolve_recipe

ROOT = Path(__file__).resolve().parent.parent.parent


def train(*overrides: str) -> TrainConfig:
    return read_config("train_rose", TrainConfig, list(overrides))


def test_the_release_command_works_verbatim():
    cfg = train("data_path=path_to_your_pretraining_dataset", "batch_size=64", "total_epoch=120", "schedule=[90,110]",
                "save_root_dir=path_to_your_save_root", "save_dir=rose-path_to_your_save_dir")
    assert (cfg.batch_size, cfg.total_epoch, cfg.schedule, cfg.blr, cfg.weight_decay) == (64, 120, [90, 110], 1.5e-4, 0.05)
    assert cfg.save_dir == "rose-path_to_your_save_dir"


def test_defaults_are_the_method_and_a_recipe_brings_its_accidents():
    assert train("data_path=D").augment == "aligned"
    release = train("data_path=D", "recipe=release")
    for key in ("osm_norm_scope", "node_mask_scope", "augment", "lr_decay", "relation_edges"):
        assert getattr(release, key) == getattr(RECIPES["release"], key)
    assert train("data_path=D", "recipe=release", "augment=none").augment == "none"
    prepared = read_config("prepare_dataset", PrepareConfig, ["raster=r", "osm=o", "out=d", "city=c", "recipe=release"])
    assert prepared.coordinates == "integer"


def test_an_experiment_gives_values_that_the_command_line_may_change():
    assert train("experiment=sample").sample_tiles == 12
    changed = train("experiment=sample", "sample_tiles=3", "save_root_dir=R")
    assert changed.data_path == "R/sample_city_3/tiles"


def test_recipes_differ_in_every_accident_but_the_one_the_release_dropped():
    rose, release = vars(resolve_recipe("rose")), vars(resolve_recipe("release"))
    assert {key for key in rose if rose[key] == release[key]} == {"relation_edges"}


@pytest.mark.parametrize(("overrides", "message"), [
    ([], "data_path: no value given; add data_path=... (the folder of a tile dataset"),
    (["data_path=D", "bath_size=3"], "bath_size=3: unknown key; did you mean batch_size?"),
    (["data_path=D", "+foo=1"], "foo=1: unknown key; the keys are accelerator,"),
    (["data_path=D", "batch_size=many"], "batch_size=many: expected a whole number"),
    (["data_path=D", "batch_size=0"], "batch_size=0: must be 1 or more"),
    (["data_path=D", "max_steps=x"], "max_steps=x: expected a whole number or null"),
    (["data_path=D", "blr=fast"], "blr=fast: expected a number"),
    (["data_path=D", "blr=-1"], "blr=-1.0: must be above 0"),
    (["data_path=D", "cos=maybe"], "cos=maybe: expected true or false"),
    (["data_path=D", "schedule=3"], "schedule=3: expected a list such as [90,110]"),
    (["data_path=D", "img_mask_ratio=1"], "img_mask_ratio=1.0: must be above 0 and below 1"),
    (["data_path=D", "osm_mask_ratio=0"], "osm_mask_ratio=0.0: must be above 0 and below 1"),
    (["data_path=D", "recipe=paper"], "recipe=paper: choose one of rose, release"),
    (["data_path=D", "augment=some"], "augment=some: choose one of aligned, image_only, none"),
    (["data_path=D", "precision=fp8"], "precision=fp8: choose one of 32-true, bf16-mixed, 16-mixed"),
    (["experiment=none"], "experiment=none: choose one of sample"),
    (["data_path=a,b"], "Ambiguous value for argument 'data_path=a,b'"),
    (["data_path=D", "~batch_size"], "~batch_size: keys cannot be removed"),
    (["data_path="], "data_path=: "),
    (["data_path=D", "seed=5000000000"], "seed=5000000000: must be 0 or more and below 4294967296"),
    (["data_path=D", "strategy=deepspeed"], "strategy=deepspeed: choose one of auto, ddp"),
    (["data_path"], "data_path: not of the form key=value"),
])
def test_bad_command_lines(overrides, message):
    with pytest.raises(ConfigError) as error:
        train(*overrides)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["/tmp/a (1)/b", "x=y", "it's", "chips/*.tif", "C:\\maps", "sp ace", "ä"])
def test_any_path_passes(path):
    assert train(_quote(f"data_path={path}")).data_path == path


def test_a_script_says_one_line_and_exits_with_2():
    for arguments in (["data_path=nowhere"], ["batch_size=many"], ["--multirun", "batch_size=1,2"]):
        run = subprocess.run([sys.executable, "train_rose.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert run.returncode == 2, run.stderr
        assert run.stdout == ""
        assert run.stderr.startswith("error: ")
        assert run.stderr.count("\n") == 1
