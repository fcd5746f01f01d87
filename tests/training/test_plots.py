"""The curves of a pretraining run."""

import numpy as np

from tests.figures import laid_out
from training.plots import POINTS, loss_figure

UNITS = ("mean squared error", "L1 of geometry")


def rows(count: int) -> list[dict[str, float]]:
    return [{"epoch": 1 + step // 1000, "global_step": step, "image_loss": 1 / step,
             "osm_loss": 2.0, "lr": 1e-3, "samples_per_second": step % 2}
            for step in range(1, count + 1)]


def test_losses_learning_rate_and_speed_over_the_steps():
    axes = laid_out(loss_figure(rows(6), UNITS)).axes
    assert [panel.get_title().partition(":")[0] for panel in axes] == [
        "image from OSM", "OSM from image", "learning rate", "tiles a second"]
    assert tuple(panel.get_ylabel() for panel in axes[:2]) == UNITS
    assert axes[0].get_title().endswith("1.000 at first, 0.1667 at last")
    assert axes[0].lines[0].get_ydata().tolist() == [1 / step for step in range(1, 7)]


def test_long_runs_are_thinned_to_means():
    line = laid_out(loss_figure(rows(5000), UNITS)).axes[3].lines[0]
    assert line.get_xdata()[:2].tolist() == [10, 20]
    assert np.allclose(line.get_ydata(), np.full(POINTS, 0.5))
