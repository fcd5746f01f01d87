"""A run stopped after an epoch ends as one that nothing disturbed, whatever is trained and how;
and a probe is the same with and without cached features."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.evaluation.evaluating import (
    SMALL,
    configure,
    made,
    rows,
    stopped_after_an_epoch,
    stored,
)

WAYS = [*(("seg", modality, f"decoder={decoder}") for modality in ("image", "fusion", "fine")
          for decoder in ("linear", "mask_transformer")),
        ("seg", "fusion", "decoder=pyramid"),
        *(("pop", modality, "target_scale=standard") for modality in ("image", "osm", "fusion"))]
ADDED = "draw_objects=true patch_input=statistics patch_mlp=true class_weights=root"
COUNTED = "target_scale=standard count_objects=true"


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
    *(("seg", "fusion", ADDED, mode) for mode in ("finetune", "linear")),
    *(("pop", "fusion", COUNTED, mode) for mode in ("finetune", "linear")),
    # trained as with finetune, from other weights
    (*WAYS[2], "scratch")])
def test_stopped_after_an_epoch(tiny, tmp_path, problem, modality, head, mode):
    cfg = configure(problem, *SMALL, *tiny, f"modality={modality}", *head.split(), f"mode={mode}")
    whole = made(cfg, tmp_path / "whole")
    stopped_after_an_epoch(cfg, tmp_path / "stopped")
    assert_same_run(whole, made(cfg, tmp_path / "stopped"))
    if mode == "linear" and head not in (ADDED, COUNTED):  # whose features are not kept
        computed = made(cfg, tmp_path / "computed", cache_features=False)
        assert losses(whole) == pytest.approx(losses(computed), rel=1e-4)
