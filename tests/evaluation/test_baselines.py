"""Constant predictions, by hand and against predictions that are really drawn."""

import math

import pytest
import torch

from evaluation.baselines import regression_baselines, segmentation_baselines
from evaluation.metrics import RegressionMetrics, segmentation_figures

CLASSES = ("water", "green", "road")


def test_the_commonest_class_everywhere():
    """Green is the commonest in training; road is absent from truth and prediction."""
    found = segmentation_baselines(torch.tensor([10, 30, 20]), torch.tensor([6, 4, 0]), CLASSES,
                                   "honest")["majority class (green)"]
    assert math.isnan(found.pop("iou_road"))
    assert found == pytest.approx({"miou": 0.2, "f1": 8 / 14 / 2, "iou_water": 0,
                                   "iou_green": 0.4})


def test_the_protocol_decides_what_absent_classes_count():
    found = segmentation_baselines(torch.tensor([10, 30, 20]), torch.tensor([6, 4, 0]), CLASSES,
                                   "release")["majority class (green)"]
    assert found == pytest.approx({"miou": 0.4 / 3, "f1": 8 / 14, "iou_water": 0, "iou_green": 0.4,
                                   "iou_road": 0})


def test_classes_drawn_by_their_shares():
    train, truth = torch.tensor([100, 300, 600]), torch.tensor([200_000, 500_000, 300_000])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(train.double(), int(truth.sum()), replacement=True,
                              generator=generator)
    confusion = (torch.arange(3).repeat_interleave(truth) * 3
                 + drawn).bincount(minlength=9).view(3, 3)
    found = segmentation_baselines(train, truth, CLASSES, "honest")["class prior"]
    assert found == pytest.approx(segmentation_figures(confusion, CLASSES, "honest"), abs=2e-3)


def test_a_class_of_the_truth_that_training_lacks_is_never_drawn():
    found = segmentation_baselines(torch.tensor([1, 1, 0]), torch.tensor([5, 5, 10]), CLASSES,
                                   "honest")["class prior"]
    assert found["iou_road"] == 0
    assert found["iou_water"] == pytest.approx(2.5 / 12.5)


def test_tiles_without_a_known_pixel_have_defined_baselines():
    found = segmentation_baselines(torch.tensor([1, 1, 0]), torch.zeros(3, dtype=torch.int64),
                                   CLASSES, "honest")
    assert all(math.isnan(value) for figures in found.values() for value in figures.values())


def test_mean_and_median_of_the_training_tiles():
    train, truth = torch.tensor([0., 1, 2, 9],
                                dtype=torch.float64), torch.tensor([1., 3, 8], dtype=torch.float64)
    expected = {}
    for label, constant in {"training mean": 3.0, "training median": 1.5}.items():
        metrics = RegressionMetrics()
        metrics.update(torch.full((3, 1), constant), truth)
        expected[label] = metrics.compute()
    assert regression_baselines(train, truth) == expected
    assert expected["training mean"] == pytest.approx({"mae": 7 / 3, "rmse": math.sqrt(29 / 3),
                                                       "r2": 1 - 29 / 26})


def test_the_mean_of_the_judged_tiles_themselves_has_an_r2_of_0():
    truth = torch.rand(50, dtype=torch.float64) * 1e5
    assert regression_baselines(truth, truth)["training mean"]["r2"] == pytest.approx(0, abs=1e-12)


def test_one_tile_is_enough():
    found = regression_baselines(torch.tensor([4.], dtype=torch.float64),
                                 torch.tensor([7.], dtype=torch.float64))
    assert math.isnan(found["training mean"].pop("r2"))
    assert found["training mean"] == {"mae": 3, "rmse": 3}
