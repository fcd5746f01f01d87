"""What a run says of itself before it ends."""

import pytest
import torch
from torch import nn

from models import build_rose
from training.devices import threads_that_pay
from training.keys import TRAIN
from training.outlook import duration, reach, too_short, weight_size
from utils.cli.compose import read


def reached(steps_per_epoch, lr, *overrides):
    cfg = read(TRAIN, "data_path=D", *overrides)
    return reach(cfg, lr, steps_per_epoch, cfg.max_steps or cfg.total_epoch * steps_per_epoch)


def test_the_reach_is_the_sum_of_all_rates():
    assert reached(10, 1e-3, "total_epoch=5") == pytest.approx(0.05)
    assert reached(10, 1.0, "total_epoch=4", "schedule=[3]") == pytest.approx(20 + 2)
    assert reached(10, 1.0, "total_epoch=4", "schedule=[3]", "max_steps=25") == pytest.approx(20.5)
    assert reached(10, 1.0, "total_epoch=9", "cos=true") == pytest.approx(50)


def test_the_size_of_weights_leaves_out_biases():
    layer = nn.Linear(3, 4)
    nn.init.constant_(layer.weight, -0.5)
    nn.init.constant_(layer.bias, 9)
    assert weight_size(layer) == 0.5


def test_the_size_of_networks_of_the_table_below():
    assert weight_size(build_rose("test_vit")) == pytest.approx(0.060, abs=5e-4)


@pytest.mark.parametrize(("size", "steps_per_epoch", "lr", "overrides", "moves"), [
    (0.060, 9, 5e-5, ("total_epoch=40", "cos=true"), False),  # measured: nothing was learned
    (0.060, 9, 3e-4, ("total_epoch=40", "cos=true"), False),
    (0.060, 9, 1e-3, ("total_epoch=40", "cos=true"), True),   # tags were
    (0.023, 6, 1.5e-4 * 8 / 256, (), False),                  # the paper's ViT-B on 48 tiles
    (0.023, 190, 1.5e-4 * 64 / 256, (), True)])               # and on its own
def test_a_run_that_cannot_move_its_network_is_known(size, steps_per_epoch, lr, overrides, moves):
    note = too_short(reached(steps_per_epoch, lr, *overrides), size, 720, lr)
    assert (note is None) == moves
    if note:
        assert note.startswith(f"note: 720 steps at a learning rate of {lr:.2g} or less")
        assert "experiment=own_city" in note
        assert "\n" not in note


def test_durations_are_spoken():
    assert [duration(seconds) for seconds in (40, 100, 1200, 5500, 200_000)] == [
        "a minute", "2 minutes", "20 minutes", "1.5 hours", "2.3 days"]


def test_a_narrow_network_takes_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for width, count in ((64, 1), (192, 2)):
            with threads_that_pay(width):
                assert torch.get_num_threads() == count
            assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with threads_that_pay(64):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
