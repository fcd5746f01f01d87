"""Figures by hand and by torchmetrics' own metrics, however the tiles are batched or shared among
processes."""

import math
import warnings
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from evaluation.metrics import (  # first: opens torchvision's door
    RegressionMetrics,
    SegmentationMetrics,
    absent_classes,
    segmentation_figures,
)

# isort: split
from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from evaluation.baselines import regression_baselines

CLASSES = ("water", "green", "road", "roof")
# Rows truth: road is in the truth and never predicted, roof in neither.
CONFUSION = torch.tensor([[6, 2, 0, 0], [1, 3, 0, 0], [2, 2, 0, 0], [0, 0, 0, 0]])


@pytest.fixture
def pixels() -> tuple[Tensor, Tensor]:
    """Logits [20, 4, 8, 8] that tell something of the labels [20, 8, 8], of which a quarter is
    unknown and the third tile wholly."""
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(4, (20, 8, 8), generator=generator)
    logits = torch.randn(20, 4, 8, 8,
                         generator=generator) + torch.nn.functional.one_hot(target,
                                                                            4).movedim(3, 1)
    target[torch.rand(target.shape, generator=generator) < 0.25] = 255
    target[2] = 255
    return logits, target


@pytest.fixture
def totals() -> tuple[Tensor, Tensor]:
    """Estimates float32 [33, 1] and totals float64 [33], of thousands."""
    generator = torch.Generator().manual_seed(4)
    target = torch.rand(33, generator=generator, dtype=torch.float64) * 9000
    return (target[:, None] + torch.randn(33, 1, generator=generator) * 500).float(), target


def segmented(logits: Tensor, target: Tensor, batch: int = 20,
              protocol: str = "honest") -> SegmentationMetrics:
    metrics = SegmentationMetrics(CLASSES, protocol)
    for part in zip(logits.split(batch), target.split(batch), strict=True):
        metrics.update(*part)
    return metrics


def regressed(estimate: Tensor, target: Tensor, batch: int = 33) -> dict[str, float]:
    metrics = RegressionMetrics()
    for part in zip(estimate.split(batch), target.split(batch), strict=True):
        metrics.update(*part)
    return metrics.compute()


def test_figures_by_hand_with_absent_classes_left_out():
    figures = segmentation_figures(CONFUSION, CLASSES, "honest")
    iou = {"iou_water": 6 / 11, "iou_green": 3 / 8, "iou_road": 0.0}
    assert list(figures) == ["miou", "f1", "iou_water", "iou_green", "iou_road", "iou_roof"]
    assert math.isnan(figures.pop("iou_roof"))
    assert figures == pytest.approx({"miou": sum(iou.values()) / 3,
                                     "f1": (12 / 17 + 6 / 11 + 0) / 3, **iou}, abs=1e-15)
    assert absent_classes(CONFUSION, CLASSES) == ["roof"]


def test_figures_by_hand_as_the_release_has_them():
    """An absent class counts 0 in mIoU; F1 leaves out road, too, since its precision is 0 / 0."""
    iou = {"iou_water": 6 / 11, "iou_green": 3 / 8, "iou_road": 0.0, "iou_roof": 0.0}
    expected = {"miou": sum(iou.values()) / 4, "f1": (12 / 17 + 6 / 11) / 2, **iou}
    assert segmentation_figures(CONFUSION, CLASSES,
                                "release") == pytest.approx(expected, abs=1e-15)


def test_a_class_that_is_always_wrong_has_an_f1_of_0_that_the_release_leaves_out():
    confusion = torch.tensor([[5, 1], [3, 0]])
    assert segmentation_figures(confusion, "ab", "honest")["f1"] == pytest.approx(10 / 14 / 2)
    assert segmentation_figures(confusion, "ab", "release")["f1"] == pytest.approx(10 / 14)


def test_figures_are_torchmetrics_own_where_every_class_occurs(pixels):
    metrics = segmented(*pixels)
    found, known = metrics.compute(), {"num_classes": 4, "ignore_index": 255}
    each = MulticlassJaccardIndex(**known, average="none")(*pixels)
    assert [found[f"iou_{name}"] for name in CLASSES] == pytest.approx(each.tolist(), rel=1e-6)
    assert found["miou"] == pytest.approx(MulticlassJaccardIndex(**known)(*pixels).item(),
                                          rel=1e-6)
    assert found["f1"] == pytest.approx(MulticlassF1Score(**known)(*pixels).item(), rel=1e-6)
    assert segmented(*pixels, protocol="release").compute() == pytest.approx(found, abs=1e-15)


def test_rows_of_the_confusion_matrix_are_the_truth():
    logits = torch.zeros(1, 4, 1, 3)
    logits[0, 2] = 1
    assert segmented(logits,
                     torch.tensor([[[0, 1, 255]]]).byte()).confusion().tolist() == [[0, 0, 1, 0],
                                                                                    [0, 0, 1, 0],
                                                                                    [0] * 4,
                                                                                    [0] * 4]


@pytest.mark.parametrize("batch", [1, 7, 16])
def test_segmentation_does_not_depend_on_the_batches(pixels, batch):
    parts = segmented(*pixels, batch)
    assert torch.equal(parts.confusion(), segmented(*pixels).confusion())
    assert parts.compute() == segmented(*pixels).compute()
    assert parts.confusion().sum() == (pixels[1] != 255).sum()


@pytest.mark.parametrize("protocol", ["honest", "release"])
def test_tiles_without_any_known_pixel_are_defined(pixels, protocol):
    metrics = segmented(pixels[0][2:3], pixels[1][2:3], protocol=protocol)
    figures = metrics.compute()
    assert metrics.confusion().sum() == 0
    assert absent_classes(metrics.confusion(), CLASSES) == list(CLASSES)
    assert math.isnan(figures["f1"])
    assert all(value == 0 if protocol == "release" else math.isnan(value)
               for name, value in figures.items() if name != "f1")


def test_what_was_added_before_a_reset_is_forgotten(pixels, totals):
    metrics, sums = segmented(*pixels), RegressionMetrics()
    metrics.reset()
    metrics.update(pixels[0][:5], pixels[1][:5])
    assert metrics.compute() == segmented(pixels[0][:5], pixels[1][:5]).compute()
    sums.update(*totals)
    sums.compute()
    sums.reset()
    sums.update(totals[0][:5], totals[1][:5])
    assert sums.compute() == regressed(totals[0][:5], totals[1][:5])


def test_regression_by_hand_and_by_torchmetrics(totals):
    found = regressed(torch.tensor([[1.], [2.], [6.]]), torch.tensor([1., 4., 4.]))
    assert found == pytest.approx({"mae": 4 / 3, "rmse": math.sqrt(8 / 3), "r2": 1 - 8 / 6},
                                  rel=1e-12)
    estimate, target = totals[0][:, 0].double(), totals[1]
    own = {"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False), "r2": R2Score()}
    assert regressed(*totals) == pytest.approx({name: metric(estimate, target).item()
                                                for name, metric in own.items()}, rel=1e-6)


@pytest.mark.parametrize("batch", [1, 7, 16])
def test_regression_does_not_depend_on_the_batches(totals, batch):
    assert regressed(*totals, batch) == pytest.approx(regressed(*totals), rel=1e-12)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_regression_does_not_depend_on_the_unit(totals, unit):
    """torchmetrics' own R2 calls errors whose squares add up to less than 1e-4 none at all."""
    expected, found = regressed(*totals), regressed(totals[0].double() * unit, totals[1] * unit)
    assert found == pytest.approx({"mae": expected["mae"] * unit, "rmse": expected["rmse"] * unit,
                                   "r2": expected["r2"]}, rel=1e-9)


def test_sums_of_many_large_totals_keep_their_digits():
    """In float32 the mean of these errors, 1 each, would be off in its third digit."""
    target = torch.full((3000,), 1e6, dtype=torch.float64) + torch.arange(3000)
    assert regressed((target + 1)[:, None], target,
                     50) == pytest.approx({"mae": 1, "rmse": 1, "r2": 1 - 12 / (3000 ** 2 - 1)},
                                          rel=1e-9)


@pytest.mark.parametrize("target", [[0.1], [0.1, 0.1, 0.1], [0.3] * 7])
def test_r2_of_one_tile_or_equal_totals_is_not_a_number_and_nobody_is_warned(target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = regressed(torch.ones(len(target), 1), torch.tensor(target, dtype=torch.float64), 2)
    assert math.isnan(found["r2"])
    assert found["mae"] == pytest.approx(1 - target[0])
    assert found["rmse"] == pytest.approx(1 - target[0])


def test_two_processes_find_what_one_does(pixels, totals, tmp_path):
    """Their shares are unequal, and of one tile each; baselines stay those of each process."""
    mp.start_processes(_share, (pixels, totals, tmp_path), nprocs=2, start_method="fork")
    expected = segmented(*pixels)
    for rank in range(2):
        confusion, figures, errors, of_two, baselines = torch.load(tmp_path / f"{rank}.pt",
                                                                   weights_only=True)
        assert torch.equal(confusion, expected.confusion())
        assert figures == expected.compute()
        assert errors == pytest.approx(regressed(*totals), rel=1e-12)
        assert of_two == pytest.approx(regressed(totals[0][:2], totals[1][:2]), rel=1e-12)
        assert baselines == regression_baselines(totals[1], totals[1][:3 + rank])


def _share(rank: int, pixels: tuple[Tensor, Tensor], totals: tuple[Tensor, Tensor],
           folder: Path) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder / 'meet'}", rank=rank,
                                         world_size=2)
    share = slice(0, 7) if rank == 0 else slice(7, None)
    metrics, one = segmented(pixels[0][share], pixels[1][share], 4), slice(rank, rank + 1)
    errors, of_two = (regressed(totals[0][part], totals[1][part]) for part in (share, one))
    baselines = regression_baselines(totals[1], totals[1][:3 + rank])
    torch.save((metrics.confusion(), metrics.compute(), errors, of_two, baselines),
               folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
