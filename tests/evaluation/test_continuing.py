"""Evaluations that are stopped, killed, repeated and extended go on exactly."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from evaluation.run import Run, fit
from tests.evaluation.evaluating import SMALL, configure, made, run, stored
from training.stopping import StopRequest
from utils.errors import RoseError


def test_seeds_give_mean_and_deviation_and_finished_ones_are_kept(tiles, checkpoint, tmp_path,
                                                                  monkeypatch):
    one = run("pop", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}",
              "target_scale=standard")
    assert all(math.isnan(value) for value in one["std"].values())
    fitted = []
    monkeypatch.setattr("evaluation.job.fit", lambda run: (fitted.append(run.seed), fit(run)))
    three = run("pop", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}",
                "target_scale=standard", "seeds=[0,1,2]")
    assert fitted == [1, 2]
    values = [three["per_seed"][str(seed)]["mae"] for seed in range(3)]
    assert len(set(values)) == 3
    assert values[0] == one["mean"]["mae"]
    assert three["mean"]["mae"] == pytest.approx(np.mean(values))
    assert three["std"]["mae"] == pytest.approx(np.std(values, ddof=1))


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("step", "more"), [
    (1, []), (3, []), (4, []), (6, []), (5, ["decoder=mask_transformer"]), (5, ["val_every=3"]),
    (4, ["mode=linear", "modality=fine"]), (10, ["seeds=[1,0]"]),
])
def test_killed_at_any_step_and_continued(tiles, checkpoint, tmp_path, monkeypatch, step, more):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", *more
    run("seg", *given, f"save_path={tmp_path / 'whole'}")
    count = Run.count

    steps = []

    def dying(self, *args):
        count(self, *args)
        steps.append(self.global_step)
        if len(steps) == step:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Run, "count", dying)
        with pytest.raises(Killed):
            run("seg", *given, f"save_path={tmp_path / 'killed'}")
    run("seg", *given, f"save_path={tmp_path / 'killed'}")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("metrics.csv", "predictions.csv"):
        assert (one / "seed_0" / name).read_bytes() == (other / "seed_0" / name).read_bytes(), name
    weights, there = (load_file(folder / "seed_0" / "best.safetensors") for folder in (one, other))
    assert weights.keys() == there.keys()
    assert all(torch.equal(value, there[name]) for name, value in weights.items())
    assert stored(one)["per_seed"] == stored(other)["per_seed"]


@pytest.mark.parametrize("step", [1, 3, 5])
def test_asked_to_stop_it_saves_and_continues(whole, tiles, checkpoint, tmp_path, monkeypatch,
                                              capsys, step):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}"
    count = Run.count

    def asked(self, *args):
        count(self, *args)
        if self.global_step == step:
            self.stop.received = "SIGTERM"

    with monkeypatch.context() as patched:
        patched.setattr(Run, "count", asked)
        with pytest.raises(SystemExit) as ended:
            run("seg", *given)
    assert ended.value.code == 0
    epoch, output = 1 if step < 3 else 2, capsys.readouterr().out
    assert f"Stopped by SIGTERM in epoch {epoch} after step {step} of 6" in output
    run("seg", *given)
    assert "Continuing" in capsys.readouterr().out
    assert_same_run(whole, tmp_path)


def test_stopped_without_arguments_for_checkpoint_and_folder_it_continues(tiles, checkpoint,
                                                                          tmp_path, monkeypatch,
                                                                          capsys):
    """What an evaluation leaves in save_root_dir is not taken for a pretraining run."""
    shutil.copytree(checkpoint.parent, tmp_path / "pretrained")
    given = f"data_root={tiles}", f"save_root_dir={tmp_path}"
    count = Run.count

    def asked(self, *args):
        count(self, *args)
        self.stop.received = "SIGINT"

    with monkeypatch.context() as patched:
        patched.setattr(Run, "count", asked)
        with pytest.raises(SystemExit):
            run("seg", *given)
    run("seg", *given)
    assert "Continuing" in capsys.readouterr().out
    assert (tmp_path / "seg_fusion_finetune" / "results.json").is_file()


def test_asked_to_stop_while_a_seed_is_judged_the_next_does_not_begin(tiles, checkpoint, tmp_path,
                                                                      monkeypatch, capsys):
    given = (f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}",
             "seeds=[0,1]", "epochs=1")
    measure = Run.measure

    def asked(self, part):
        if part == "test":
            self.stop.received = "SIGTERM"
        return measure(self, part)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "measure", asked)
        with pytest.raises(SystemExit) as ended:
            run("seg", *given)
    assert ended.value.code == 0
    assert "Stopped by SIGTERM before seed 1" in capsys.readouterr().out
    assert run("seg", *given)["seeds"] == [0, 1]


def test_asked_to_stop_while_the_last_seed_is_judged_it_is_whole(tiles, checkpoint, tmp_path,
                                                                 monkeypatch):
    """A study whose run it is hears of it, and does not begin the next one."""
    measure = Run.measure

    def asked(self, part):
        if part == "test":
            self.stop.received = "SIGINT"
        return measure(self, part)

    monkeypatch.setattr(Run, "measure", asked)
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", "epochs=1"
    with pytest.raises(KeyboardInterrupt):
        made(configure("seg", *SMALL, *given), tmp_path / "study")
    assert (tmp_path / "study" / "results.json").is_file()
    assert run("seg", *given, f"save_path={tmp_path / 'alone'}")["seeds"] == [0]


def test_a_seed_without_its_pictures_is_not_finished(tiles, checkpoint, tmp_path, monkeypatch):
    given = f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}", "epochs=1"

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("evaluation.figures.curves_figure", killed)
        with pytest.raises(Killed):
            run("seg", *given, pictures=True)
    run("seg", *given, pictures=True)
    assert (tmp_path / "seed_0" / "figures" / "curves.png").is_file()


def test_other_targets_are_another_run(bare, tmp_path):
    root = tmp_path / "tiles"
    shutil.copytree(bare, root)
    given = (f"data_root={root}", "mode=scratch", "image_encoder=test_vit",
             f"save_path={tmp_path / 'run'}", "epochs=1")
    run("seg", *given)
    Image.fromarray(np.zeros((224, 224), np.uint8)).save(root / "label" / "lima_4_0.png")
    with pytest.raises(RoseError, match="belongs to another run: tiles_and_targets="):
        run("seg", *given)


def test_signals_are_given_back(whole, tiles, checkpoint, tmp_path, monkeypatch):
    forgotten = []
    monkeypatch.setattr(StopRequest, "forget", lambda self: forgotten.append(self))
    run("seg", f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={tmp_path}",
        "epochs=1")
    assert len(forgotten) == 1
