"""What experiment=own_city chooses, and that what is given wins."""

from dataclasses import replace

import pytest

import train_rose
from evaluation.keys import REGRESSION, SEGMENTATION
from tests.evaluation.evaluating import write_lists
from training import own_city
from training.keys import TRAIN
from training.own_city import Machine, chosen, settled, settled_tuning
from utils.checkpoint import read_checkpoint
from utils.cli.compose import read
from utils.errors import ModelError, TileError

TWO_CORES, MANY = Machine(2, bf16=True), Machine(64)
SMALL_GPU, GPU = Machine(8, 8, True), Machine(16, 80, True)


def config(*overrides, tiles="D"):
    return read(TRAIN, "experiment=own_city", f"data_path={tiles}", *overrides)


@pytest.mark.parametrize(("tiles", "machine", "encoder", "batch", "lr", "epochs", "precision"), [
    (1, TWO_CORES, "test_vit", 1, 2e-3, 300, "32-true"),
    (9, TWO_CORES, "test_vit", 1, 2e-3, 300, "32-true"),
    (36, TWO_CORES, "test_vit", 4, 2e-3, 300, "32-true"),
    (159, TWO_CORES, "test_vit", 4, 2e-3, 154, "32-true"),
    (1534, TWO_CORES, "test_vit", 4, 2e-3, 16, "32-true"),
    (100_000, TWO_CORES, "test_vit", 4, 2e-3, 8, "32-true"),
    (1534, MANY, "vit_tiny_patch16_224", 4, 6.7e-4, 16, "32-true"),
    (159, SMALL_GPU, "vit_small_patch16_224", 19, 3.3e-4, 800, "bf16-mixed"),
    (1534, SMALL_GPU, "vit_small_patch16_224", 32, 3.3e-4, 170, "bf16-mixed"),
    (1534, GPU, "vit_base_patch16_224", 32, 1.7e-4, 170, "bf16-mixed"),
    (1534, Machine(8, 4), "vit_tiny_patch16_224", 32, 6.7e-4, 170, "32-true"),
    (100_000, GPU, "vit_base_patch16_224", 32, 1.7e-4, 20, "bf16-mixed"),
    (1534, Machine(16, 80, True, devices=4), "vit_base_patch16_224", 8, 1.7e-4, 170,
     "bf16-mixed"),
])
def test_the_values_of_tiles_and_machine(tiles, machine, encoder, batch, lr, epochs, precision):
    values = chosen(tiles, machine, config())
    assert {name: values[name] for name in ("image_encoder", "batch_size", "lr", "total_epoch",
                                            "precision")} == {
        "image_encoder": encoder, "batch_size": batch, "lr": lr, "total_epoch": epochs,
        "precision": precision}


@pytest.mark.parametrize(("given", "follows"), [
    ("image_encoder=vit_small_patch16_224", {"lr": 3.3e-4, "precision": "bf16-mixed"}),
    ("batch_size=8", {"total_epoch": 31}),
    ("accumulate=2", {"batch_size": 2, "total_epoch": 16}),
    ("max_steps=1000", {"total_epoch": 3}),   # the half cosine ends with the run
    ("max_steps=5", {"total_epoch": 1}),
    ("lr=1e-4", {"lr": 1e-4, "total_epoch": 16}),
    ("blr=1e-3", {"lr": None}),
    ("total_epoch=7", {"save_every": 1}),
    ("num_workers=3", {"num_workers": 3}),
])
def test_what_is_given_wins_and_the_rest_follows(given, follows):
    cfg = config(given)
    values = chosen(1534, TWO_CORES, cfg)
    name = given.partition("=")[0]
    assert values.get(name, getattr(cfg, name)) == getattr(cfg, name)
    assert {key: values[key] for key in follows} == follows


def test_a_run_without_free_keys_reads_nothing():
    cfg = read(TRAIN, "data_path=nowhere")
    assert settled(cfg) == (cfg, [])


def test_tiles_and_encoders_that_do_not_exist_are_named(tmp_path, sample_tiles):
    with pytest.raises(TileError, match="does not exist"):
        settled(config(tiles=tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="vit_huge_patch99"):
        settled(config("image_encoder=vit_huge_patch99", tiles=sample_tiles))
    cfg, _ = settled(config("sample_tiles=6", tiles=tmp_path / "to_be_made"))
    assert cfg.batch_size == 4


def test_a_run_says_what_it_chose_and_continues_with_it(sample_tiles, tmp_path, capsys,
                                                        monkeypatch):
    monkeypatch.setattr("training.summary.report", lambda _: None)

    def train(*overrides):
        train_rose.train(config(f"save_root_dir={tmp_path}", "save_dir=run", "max_steps=3",
                                "accelerator=cpu", "picture_every=99", *overrides,
                                tiles=sample_tiles))
        return capsys.readouterr().out
    said = train()
    assert "Chosen for 9 tiles, " in said
    assert "batch_size=1 total_epoch=1" in said
    assert "3 steps of 1 tile, lr 0.002 falling to 0" in said
    stored = read_checkpoint(tmp_path / "run" / "last.tar")["config"]
    assert (stored["image_encoder"], stored["lr"], stored["batch_size"]) == ("test_vit", 2e-3, 1)

    monkeypatch.setattr(own_city, "machine_of", lambda cfg: GPU)
    said = train("max_steps=4")
    assert f"As in {tmp_path / 'run' / 'last.tar'}:" in said
    assert "Continuing" in said
    assert read_checkpoint(tmp_path / "run" / "last.tar")["global_step"] == 4


def test_it_continues_a_run_whose_rate_followed_from_its_batch(sample_tiles, tmp_path, monkeypatch):
    stored = {**vars(read(TRAIN, "data_path=D")), "image_encoder": "test_vit"}
    monkeypatch.setattr(own_city, "read_tar", lambda path, lazy: {"config": stored})
    cfg, lines = settled(config(f"resume={tmp_path}/last.tar", tiles=sample_tiles))
    assert (cfg.lr, cfg.blr, cfg.batch_size) == (None, 1.5e-4, 64)
    assert "lr=None blr=0.00015" in lines[1]


def test_few_tiles_are_pointed_out(sample_tiles):
    _, lines = settled(config(tiles=sample_tiles))
    assert lines[-1].startswith("note: data_path=")
    assert "9 tiles, expected 30 or more" in lines[-1]


@pytest.mark.parametrize(("program", "encoder", "rate"), [
    (SEGMENTATION, "test_vit", 3e-4), (SEGMENTATION, "vit_base_patch16_224", 2.5e-5),
    (REGRESSION, "test_vit", 1e-4), (REGRESSION, "vit_base_patch16_224", 8.3e-6)])
def test_fine_tuning_follows_the_encoder_and_the_training_tiles(program, encoder, rate):
    cfg = read(program, "experiment=own_city", "data_root=D")
    assert getattr(cfg, "target_scale", "standard") == "standard"
    tuned, lines = settled_tuning(cfg, 200, encoder)
    assert (tuned.lr, tuned.epochs, tuned.batch_size) == (rate, 40, 8)
    assert lines[0] == f"Chosen for 200 training tiles and {encoder}:"
    assert settled_tuning(cfg, 5, encoder)[0].epochs == 60
    assert settled_tuning(cfg, 50_000, encoder)[0].epochs == 8
    given = replace(cfg, lr=1e-5, epochs=3, num_workers=1)
    assert settled_tuning(given, 200, encoder) == (given, [])


def test_an_evaluation_chooses_and_says_so(sample_tiles, tmp_path, monkeypatch, capsys):
    from evaluation.job import evaluate
    from evaluation.problem import Regression

    for drawing in ("evaluation.results.save_pictures", "evaluation.job.write_report"):
        monkeypatch.setattr(drawing, lambda *_: None)
    monkeypatch.setattr(own_city, "TUNING", own_city.TUNING._replace(least=1, most=1))
    root = tmp_path / "tiles"
    root.symlink_to(sample_tiles)
    lists = tmp_path / "lists"
    lists.mkdir()
    write_lists(root, {"osm-train-all.txt": range(5), "val.txt": [5, 6], "test.txt": [7, 8]})
    cfg = read(REGRESSION, "experiment=own_city", f"data_root={root}", "mode=scratch",
               "accelerator=cpu", f"save_root_dir={tmp_path}")
    summary = evaluate(cfg, Regression(cfg))
    assert (summary["config"]["lr"], summary["config"]["epochs"]) == (1e-4, 1)
    assert "Chosen for 5 training tiles and test_vit:" in capsys.readouterr().out
