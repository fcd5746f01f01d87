"""A run stopped after an epoch ends as one that nothing disturbed, whatever is trained and how;
and a probe is the same with and without cached features."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from evaluation.job import evaluate
from evaluation.run import Run
from tests.evaluation.evaluating import SCRIPTS, SMALL, configure, rows, stored, write_lists
from tests.pretrained import save_pretrained
from tests.random_tiles import random_tile, write_compact

SIDE = 32
WAYS = [*(("seg", modality, f"decoder={decoder}") for modality in ("image", "fusion", "fine")
          for decoder in ("linear", "mask_transformer")),
        *(("pop", modality, "target_scale=standard") for modality in ("image", "osm", "fusion"))]


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    """Keys of tiny tiles and of a network that was pretrained on nothing."""
    folder = tmp_path_factory.mktemp("tiny")
    root = write_compact(folder / "tiles", [
        random_tile(f"lima_{n}_0", nodes=4, edges=3, side=SIDE, targets=True) for n in range(5)])
    write_lists(root, {"osm-train-all.txt": range(3), "val.txt": [3], "test.txt": [4]})
    torch.manual_seed(0)
    return [f"data_root={root}", f"checkpoint={save_pretrained(folder / 'model_1.tar')}",
            f"image_size={SIDE}", "batch_size=2", "epochs=2"]


def made(cfg: Any, folder: Path, **changes: Any) -> Path:
    """The folder of an evaluation; reading its keys would take most of the time."""
    cfg = replace(cfg, save_path=str(folder), **changes)
    evaluate(cfg, SCRIPTS["seg" if hasattr(cfg, "decoder") else "pop"][1](cfg))
    return folder


def stopped_after_an_epoch(cfg: Any, folder: Path) -> None:
    """Leave what a run leaves that is asked to stop in its first epoch's last step."""
    end_epoch = Run.end_epoch

    def asked(self):
        self.stop.received = "SIGTERM"
        end_epoch(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Run, "end_epoch", asked)
        with pytest.raises(SystemExit):
            made(cfg, folder)


def assert_same_run(one: Path, other: Path) -> None:
    assert stored(one)["per_seed"] == stored(other)["per_seed"]
    for name in ("metrics.csv", "predictions.csv"):
        assert (one / "seed_0" / name).read_text() == (other / "seed_0" / name).read_text()
    mine, theirs = (load_file(folder / "seed_0" / "best.safetensors") for folder in (one, other))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def losses(folder: Path) -> list[float]:
    return [float(row[name]) for row in rows(folder / "seed_0" / "metrics.csv")
            for name in ("train_loss", "val_loss")]


@pytest.mark.parametrize(("problem", "modality", "head", "mode"), [
    *((*way, mode) for way in WAYS for mode in ("finetune", "linear")),
    # trained as with finetune, from other weights
    *((*way, "scratch") for way in WAYS if way[1] == "fusion")])
def test_stopped_after_an_epoch(given, tmp_path, monkeypatch, problem, modality, head, mode):
    for draw in ("evaluation.results.save_pictures", "evaluation.job.write_report"):
        monkeypatch.setattr(draw, lambda *_: None)
    cfg = configure(problem, *SMALL, *given, f"modality={modality}", head, f"mode={mode}")
    whole = made(cfg, tmp_path / "whole")
    stopped_after_an_epoch(cfg, tmp_path / "stopped")
    assert_same_run(whole, made(cfg, tmp_path / "stopped"))
    if mode == "linear":
        computed = made(cfg, tmp_path / "computed", cache_features=False)
        assert losses(whole) == pytest.approx(losses(computed), rel=1e-4)
