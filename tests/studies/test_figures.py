"""The figure of a study: lines with their deviations, bars beside each other, references."""

import math

import numpy as np
import pytest

from studies.figures import study_figure
from tests.figures import laid_out, texts, words

NAN = math.nan


def test_study_lines_with_their_deviations():
    points = [(1.0, 0.6, 0.1), (0.01, 0.2, NAN), (0.5, 0.5, 0.05)]
    figure = laid_out(study_figure({"pretrained": points, "scratch": points[:1]}, "share", "mIoU",
                                "title", reference={"baseline": 0.1}))
    axes, = figure.axes
    assert axes.get_xscale() == "log"
    assert words(axes.get_xticklabels()) == ["0.01", "0.5", "1"]
    line, _, (bars,) = axes.containers[0]
    assert line.get_xdata().tolist() == [0.01, 0.5, 1.0]
    assert np.allclose(bars.get_segments()[-1], [[1.0, 0.5], [1.0, 0.7]])
    assert words(figure.legends[0].get_texts()) == ["pretrained", "scratch", "baseline"]


def test_study_from_nothing_to_everything_is_linear():
    assert laid_out(study_figure({"a": [(0.0, 1.0, 0.1), (1.0, 2.0, 0.1)]}, "share", "mIoU",
                              "title")).axes[0].get_xscale() == "linear"


def test_study_bars_stand_beside_each_other():
    series = {"one": [("image", 0.4, 0.1), ("fusion", NAN, NAN)], "two": [("fusion", -0.3, 0.0)]}
    figure = laid_out(study_figure(series, "modality", "R²", "title", categorical=True,
                                reference={"mean": 0.0}))
    axes, = figure.axes
    assert words(axes.get_xticklabels()) == ["image", "fusion"]
    assert [text for text in texts(axes) if text] == ["0.4000", "no value", "-0.3000"]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    assert np.allclose(centres, [-0.2, 0.8, 1.2])


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("categorical", [True, False])
def test_study_of_one_and_of_six_series(count, categorical):
    xs = ["image", "osm", "fusion", "fine"] if categorical else [0.0, 0.25, 0.5, 1.0]
    series = {f"a series with a name {i}": [(x, place + i, 0.1) for place, x in enumerate(xs)]
              for i in range(count)}
    laid_out(study_figure(series, "x", "mIoU", "title", categorical,
                       reference={"one": 0.5, "two": 0.7}))
