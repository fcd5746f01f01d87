"""The command line: one line, exit code 2, and what it says."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from datasets.keys import CONVERT, PREPARE, SPLITS, PrepareConfig, TextConfig
from training.keys import TRAIN, TrainConfig
from utils.cli.command import command
from utils.cli.compose import read
from utils.cli.program import PROGRAMS, Program
from utils.config import keys_of
from utils.errors import ConfigError, message_of
from utils.recipes import RECIPES, resolve_recipe

ROOT = Path(__file__).resolve().parents[3]


def train(*overrides: str) -> TrainConfig:
    return read(TRAIN, *overrides)


def prepare(*overrides: str) -> PrepareConfig:
    return read(PREPARE, "raster=r", "osm=o", "out=d", "city=c", *overrides)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command as `python script.py arguments` would: what its main received, its output, its
    errors and its exit code."""
    def _run(program, arguments, main=None):
        received, code = [], 0
        monkeypatch.setattr(sys, "argv", ["script.py", *arguments])
        try:
            command(program)(main or (lambda cfg: received.append(cfg)))()
        except SystemExit as stop:
            code = stop.code
        return (received or [None])[0], *capsys.readouterr(), code
    return _run


def test_the_release_command_works_verbatim():
    cfg = train("data_path=path_to_your_pretraining_dataset", "batch_size=64", "total_epoch=120",
                "schedule=[90,110]",
                "save_root_dir=path_to_your_save_root", "save_dir=rose-path_to_your_save_dir")
    assert (cfg.batch_size, cfg.total_epoch, cfg.schedule, cfg.blr,
            cfg.weight_decay) == (64, 120, [90, 110], 1.5e-4, 0.05)
    assert cfg.save_dir == "rose-path_to_your_save_dir"


def test_defaults_are_the_method_and_a_recipe_brings_its_accidents():
    assert train("data_path=D").augment == "aligned"
    release = train("data_path=D", "recipe=release")
    for key in ("osm_norm_scope", "node_mask_scope", "augment", "lr_decay", "relation_edges"):
        assert getattr(release, key) == getattr(RECIPES["release"], key)
    assert train("data_path=D", "recipe=release", "augment=none").augment == "none"
    assert prepare("recipe=release").coordinates == "integer"


def test_a_list_of_numbers_needs_no_brackets():
    assert prepare("bbox=-15.74,50.03,15.79,50.05").bbox == [-15.74, 50.03, 15.79, 50.05]
    assert prepare("bands=4,3,2").bands == prepare("bands=[4,3,2]").bands == [4, 3, 2]
    with pytest.raises(ConfigError, match=r"^bbox=\[1.0, 2.0, 3.0\]: a list of 3, expected 4"):
        prepare("bbox=1,2,3")
    with pytest.raises(ConfigError, match=r"^bands=1,x,3: expected a list such as"):
        prepare("bands=1,x,3")


def test_an_experiment_gives_values_that_the_command_line_may_change():
    assert train("experiment=sample").sample_tiles == 12
    changed = train("experiment=sample", "sample_tiles=3", "save_root_dir=R")
    assert changed.data_path == "R/sample_city_3/tiles"


def test_a_key_that_is_removed_has_its_default():
    assert train("data_path=D", "batch_size=3", "~batch_size").batch_size == 64
    assert train("data_path=D", "lr=3", "~lr").lr is None


def test_of_several_values_of_a_key_the_last_one_holds():
    assert train("data_path=D", "seed=1", "seed=2", "seed=1").seed == 1


def test_a_message_of_several_lines_becomes_one():
    assert message_of(ConfigError("batch_size=a\nb: expected")) == "batch_size=a b: expected"


def test_recipes_differ_in_every_accident_but_the_one_the_release_dropped():
    rose, release = vars(resolve_recipe("rose")), vars(resolve_recipe("release"))
    plus = vars(resolve_recipe("plus"))
    ingredients = {key for key in rose if rose[key] != plus[key]}
    tried = {"contrast", "neighbours", "osm_layers"}  # plus leaves them off
    assert ({key for key in rose if rose[key] == release[key]} ==
            {"relation_edges"} | ingredients | tried)


@pytest.mark.parametrize(("overrides", "message"), [
    ([], "data_path: no value given; add data_path=... (the folder of a tile dataset"),
    (["data_path=D", "bath_size=3"], "bath_size=3: unknown key; did you mean batch_size?"),
    (["data_root=D"], "data_root=D: unknown key; did you mean data_path?"),
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
    (["data_path=D", "recipe=paper"], "recipe=paper: choose one of rose, release, plus"),
    (["data_path=D", "augment=some"], "augment=some: choose one of aligned, image_only, none"),
    (["data_path=D", "precision=fp8"], "precision=fp8: choose one of 32-true, bf16-mixed, "
                                       "16-mixed"),
    (["experiment=none"], "experiment=none: choose one of own_city, sample"),
    (["data_path=D", "~bath_size"], "bath_size=: unknown key; did you mean batch_size?"),
    (["data_path="], "data_path=: "),
    (["data_path=D", "seed=5000000000"], "seed=5000000000: must be 0 or more and below "
                                         "4294967296"),
    (["data_path=D", "strategy=deepspeed"], "strategy=deepspeed: choose one of auto, ddp"),
    (["data_path"], "data_path: not of the form key=value"),
])
def test_bad_command_lines(overrides, message):
    with pytest.raises(ConfigError) as error:
        train(*overrides)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("overrides", "message"), [
    (["text.wieghts=x"], "text.wieghts=x: unknown key; did you mean text.weights?"),
    (["wieghts=x"], "wieghts=x: unknown key; did you mean text.weights?"),
    (["train_sizes=[10]"], "train_sizes=[10]: unknown key; did you mean split.train_sizes?"),
    (["+text.foo=1"], "text.foo=1: unknown key; "),
    (["zzz=1"], "zzz=1: unknown key; the keys are bands, bbox, cell, city, "),
    (["text.name.x=1"], "text.name.x=1: unknown key; did you mean text.name?"),
    (["text=foo"], "text=foo: choose one of clip, hash"),
    (["text=null"], "text=null: choose one of clip, hash"),
    (["text={name:clip}"], "text={name:clip}: choose one of clip, hash"),
    (["split=random"], "split=random: choose one of blocks"),
    (["experiment=sample"], "experiment=sample: unknown key; "),
    (["hydra.verbos=true"], "hydra.verbos: no key of Hydra's; --cfg hydra shows them"),
    (["text=clip", "text.weights=???"], "text.weights: no value given; add text.weights=..."),
    (["text.weights="], "text.weights=: no value given"),
    (["split.val=x"], "split.val=x: expected a number"),
    (["split.val=null"], "split.val=null: expected a number"),
    (["split.val=1"], "split.val=1.0: must be 0 or more and below 1"),
    (["split.block=0"], "split.block=0: must be 1 or more"),
    (["split.train_sizes=3"], "split.train_sizes=3: expected a list such as [50,100,200,500,1000]"),
    (["split.train_sizes=[a]"], "split.train_sizes=[a]: expected a list such as [50,100,200,"),
    (["stretch=2"], "stretch=2: expected a list such as [2,98]"),
    (["layout=small"], "layout=small: choose one of compact, release"),
    (["~split.val"], "~split.val: a key of a group cannot be removed; set a value"),
])
def test_bad_groups(overrides, message):
    with pytest.raises(ConfigError) as error:
        prepare(*overrides)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_group_brings_its_values_and_the_command_line_changes_them():
    assert prepare().text == TextConfig(name="hash", model=None, weights=None, cache=None)
    assert prepare("text.weights=w.pt",
                   "text=clip").text == TextConfig("clip", "ViT-B-16-quickgelu", "w.pt", None)
    # the last one holds, as for any key
    assert prepare("text=clip", "text=hash").text.name == "hash"
    split = prepare("split.val=0.2", "split.train_sizes=[10,20]").split
    assert (split.val, split.test, split.train_sizes) == (0.2, 0.15, [10, 20])
    assert read(SPLITS, "data_path=D", "split.seed=3").split.seed == 3


@pytest.mark.parametrize(("given", "value"), [
    ("{5:0,6:1}", {5: 0, 6: 1}), ("{farm: 2, open water: 3}", {"farm": 2, "open water": 3}),
    ("a/classes.yaml", "a/classes.yaml"),
    ("null", None)])
def test_a_mapping_is_given_inline_or_as_a_path(run, given, value):
    cfg, *_ = run(PREPARE, ["raster=r", "osm=o", "out=d", "city=c", f"label_map={given}"])
    assert cfg.label_map == value


@pytest.mark.parametrize(("given", "cities"), [
    ("[lima, b=c]", ["lima", "b=c"]), ("[ lima,b=c , ]", ["lima", "b=c"]),
    ("[a b=c, d]", ["a b=c", "d"]), ("[lima,rome,]", ["lima", "rome"]), ("[b=c]", ["b=c"])])
def test_items_of_a_list_may_need_quotes(run, given, cities):
    cfg, _, errors, _ = run(TRAIN, ["data_path=D", f"cities={given}"])
    assert cfg.cities == cities, errors


PATHS = ["maps/a (1)/b", "a,b.osm", "it's", "chips/*.tif", "C:\\maps", "(1)\\b", "sp ace",
         "sp ace\\", "ä", "a (1)=b", "x=y"]


@pytest.mark.parametrize("path", PATHS)
def test_any_path_passes(run, path):
    cfg, _, errors, _ = run(PREPARE, [f"raster={path}", "osm=o", "out=d", "city=c",
                                      f"text.weights={path}"])
    assert (cfg.text.weights, cfg.raster) == (path, path), errors


@pytest.mark.parametrize("path", [path for path in PATHS if path != "x=y"]
                         + ["./x=y", "null", "12", "{a}", "[b]"])
def test_any_path_passes_without_its_key(run, path):
    cfg, _, errors, _ = run(CONVERT, [path, "overwrite=true", "there"])
    assert (cfg.src, cfg.dst, cfg.overwrite) == (path, "there", True), errors


def test_a_path_that_looks_like_a_key_passes_where_it_exists(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run=3").mkdir()
    cfg, *_ = run(CONVERT, ["run=3", "there"])
    assert (cfg.src, cfg.dst) == ("run=3", "there")


def test_a_named_key_leaves_the_others_in_order(run):
    cfg, *_ = run(CONVERT, ["src=a", "b"])
    assert (cfg.src, cfg.dst) == ("a", "b")


@pytest.mark.parametrize(("arguments", "message"), [
    (["a"], "dst: no value given; add dst=... (the folder of the dataset to make)"),
    (["a", "b", "c"], "c: not of the form key=value"),
    (["a", "b", "sorce=c"], "sorce=c: unknown key; did you mean src?"),
    (["a", "b", "--fast"], "--fast: unknown option"),
    (["a", "b", "--experimental-rerun", "x.pickle"], "--experimental-rerun: reads a pickle"),
])
def test_bad_arguments_without_keys(run, arguments, message):
    cfg, output, errors, code = run(CONVERT, arguments)
    assert (cfg, output, code) == (None, "", 2)
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(("number", "remedy"), [
    (errno.ENOSPC, "free space, or give another path"),
    (errno.EACCES, "change its permissions, or give another path"),
    (errno.EROFS, "give a path that can be written"),
    (errno.EISDIR, "give the path of a file"), (errno.ENAMETOOLONG, "give a shorter path"),
    (errno.EMFILE, "raise the limit of open files (ulimit -n), or lower num_workers="),
    (errno.EIO, "look at the disk, or give another path"),
    (errno.EPIPE, "a process that it worked with has ended; start the command again")])
def test_a_fault_of_the_system_has_the_remedy_that_fits(run, number, remedy):
    def main(cfg):
        raise OSError(number, "what the system says", "/data/city")
    _, _, errors, code = run(CONVERT, ["a", "b"], main)
    assert (errors, code) == (f"error: /data/city: what the system says; {remedy}\n", 2)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_help_says_what_every_key_means(run, program: Program):
    _, output, errors, code = run(program, ["--help"])
    assert (errors, code) == ("", 0)
    missing = [name for name in keys_of(program.schema) if f"  {name}=" not in output]
    assert missing == []


def test_help_shows_meanings_and_choices(run):
    _, output, *_ = run(PREPARE, ["--help"])
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "tile_px=224 side in pixels" in lines
    text = " ".join(lines)
    assert "split.guard=1 tiles left out between training tiles and the others, on every" in text
    assert "text.weights=openai a tag that open_clip downloads, or the path of a" in text
    assert any(line.startswith("text=hash [clip | hash | sentence] ") for line in lines)
    assert any(line.startswith("coordinates=subpixel [subpixel | integer] node positions at "
                               "sub-pixel") for line in lines)


def test_the_values_of_a_command_are_shown(run):
    _, output, *_ = run(SPLITS, ["--cfg", "job", "split.val=0.3"])
    assert output.startswith("data_path: ???\nsplit:\n  val: 0.3\n")


def test_a_script_says_one_line_and_exits_with_2(run):
    for arguments in (["batch_size=many"], ["--multirun", "batch_size=1,2"]):
        cfg, output, errors, code = run(TRAIN, arguments)
        assert (cfg, output, code) == (None, "", 2)
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
    process = subprocess.run([sys.executable, "train_rose.py", "data_path=nowhere"], cwd=ROOT,
                             capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "Loading libraries\n")
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
