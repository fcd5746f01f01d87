"""How sure a model may be: against torchmetrics, by hand, and on made-up residuals."""

import math

import pytest
import torch

from evaluation.calibration import (
    BINS,
    calibration_error,
    conformal_half_width,
    conformal_interval,
    reliability,
    tile_bins,
)

# isort: split
from torchmetrics.functional.classification import multiclass_calibration_error

from evaluation.figures import reliability_figure
from models.decoders import TargetScale
from tests.evaluation.evaluating import configure, made, stored


@pytest.fixture
def pixels() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    target = torch.randint(4, (10, 8, 8), generator=generator)
    logits = torch.randn(10, 4, 8, 8, generator=generator) * 2
    target[torch.rand(target.shape, generator=generator) < 0.25] = 255
    target[3] = 255
    return logits, target


def test_the_error_is_torchmetrics_own_over_the_known_pixels(pixels):
    bins = tile_bins(*pixels)
    assert bins.shape == (10, 3, BINS)
    own = multiclass_calibration_error(*pixels, num_classes=4, n_bins=BINS, ignore_index=255)
    assert calibration_error(bins.sum(0)).item() == pytest.approx(own.item(), rel=1e-5)
    assert bins[:, 0].sum() == (pixels[1] != 255).sum()
    assert torch.equal(torch.cat([tile_bins(*(each[part] for each in pixels))
                                  for part in (slice(0, 3), slice(3, 10))]), bins)
    assert calibration_error(bins[3]).isnan()


def test_a_model_that_is_as_often_right_as_sure_has_no_error():
    logits = torch.tensor([0.75, 0.25]).log().view(1, 2, 1, 1).expand(1, 2, 2, 2)
    bins = tile_bins(logits, torch.tensor([[[0, 0], [0, 1]]]))[0]
    record = reliability(bins)
    assert record["ece"] == pytest.approx(0, abs=1e-7)
    assert record["pixels"] == [0] * 11 + [4] + [0] * 3
    assert record["accuracy"][11] == 0.75
    assert math.isnan(record["confidence"][0])
    wrong = reliability(tile_bins(logits, torch.tensor([[[1, 1], [1, 1]]]))[0])
    assert wrong["ece"] == pytest.approx(0.75)


def test_the_reliability_plot_shows_every_bin(pixels):
    record = reliability(tile_bins(*pixels).sum(0))
    figure = reliability_figure(record["pixels"], record["confidence"], record["accuracy"],
                                record["ece"])
    above, below = figure.axes
    right = [bar.get_height() for bar in above.patches]
    assert right == pytest.approx([0 if math.isnan(each) else each for each in record["accuracy"]])
    assert sum(bar.get_height() for bar in below.patches) == pytest.approx(1)
    assert above.get_title().startswith(f"ECE {record['ece']:.4f}")


def test_the_half_width_is_a_quantile_of_the_residuals_by_hand():
    true = torch.zeros(19)
    estimate = torch.arange(1.0, 20)  # residuals of 1 to 19
    assert conformal_half_width(estimate, true, TargetScale()) == 18  # the ceil(20 * 0.9)-th
    assert conformal_half_width(estimate[:9], true[:9], TargetScale()) == 9
    assert math.isnan(conformal_half_width(estimate[:8], true[:8], TargetScale()))


@pytest.mark.parametrize("scale", ["none", "standard", "log1p"])
def test_intervals_hold_nine_of_ten_new_totals(scale):
    generator = torch.Generator().manual_seed(6)
    true = torch.rand(4000, generator=generator, dtype=torch.float64) * 1000
    estimate = (true * torch.exp(torch.randn(4000, generator=generator) / 3)).clamp(min=0)
    units = TargetScale.fit(scale, true[:2000])
    half_width = conformal_half_width(estimate[:2000], true[:2000], units)
    low, high = conformal_interval(estimate[2000:], half_width, units).unbind(1)
    covered = ((low <= true[2000:]) & (true[2000:] <= high)).double().mean().item()
    assert covered == pytest.approx(0.9, abs=0.02)
    assert low.min() >= 0
    if scale == "log1p":  # in units of training they are equally wide: here, in proportion
        wide, narrow = estimate[2000:].argmax(), estimate[2000:].argmin()
        assert (high - low)[wide] > 20 * (high - low)[narrow]


def test_an_evaluation_says_how_far_its_totals_may_be_off(tiny, tmp_path):
    """Intervals take their width from val alone: there are none where val is what is reported, or
    has too few tiles."""
    given = [*tiny, "num_workers=0", "accelerator=cpu", "modality=osm", "target_scale=standard",
             "epochs=1"]
    few = stored(made(configure("pop", *given), tmp_path / "few"))
    assert list(few["mean"]) == ["mae", "rmse", "r2"]
    assert few["calibration"]["0"] == {"level": 0.9, "half_width": None, "units": "standard"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("evaluation.calibration.COVERAGE", 0.5)  # for which one tile suffices
        enough = stored(made(configure("pop", *given), tmp_path / "enough"))
        released = stored(made(configure("pop", *given, "protocol=release"), tmp_path / "release"))
    assert enough["mean"]["interval_coverage"] in (0, 1)
    assert enough["mean"]["interval_width"] > 0
    assert list(released["mean"]) == ["mae", "rmse", "r2"]
