"""Figures show what is right, cut off nothing and warn of nothing, at the extremes as well."""

import math

import numpy as np
import pytest
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import to_rgb

from datasets.targets import CLASSES, UNKNOWN
from evaluation.figures import (
    confusion_figure,
    curves_figure,
    error_map_figure,
    scatter_figure,
    tiles_figure,
)
from tests.figures import laid_out, texts, words
from utils.style import CLASS_COLOURS, class_colours

NAN = math.nan
FIGURES = {"mae": 1.0, "rmse": 2.0, "r2": 0.5}


def test_confusion_shows_shares_of_rows_and_names_what_is_absent():
    pixels = np.array([[996, 4, 0], [500, 1500, 0], [0, 0, 0]])
    axes = laid_out(confusion_figure(pixels, ("a", "b", "c"))).axes[0]
    assert texts(axes) == [">99%\n996", "<1%\n4", "25%\n500", "75%\n1.5k"]
    assert words(axes.get_yticklabels()) == ["a\n1k", "b\n2k", "c\n(absent)"]
    assert words(axes.get_xticklabels()) == ["a", "b", "c\n(never)"]
    assert axes.get_title() == "Classes taken for each other: 83% of 3,000 pixels right"


@pytest.mark.parametrize("count", [2, 15])
def test_confusion_of_any_number_of_classes(count):
    pixels = np.random.default_rng(0).integers(0, 10**9, (count, count))
    laid_out(confusion_figure(pixels, [f"a class {i}" for i in range(count)]))


def test_confusion_without_a_known_pixel():
    figure = laid_out(confusion_figure(np.zeros((9, 9), int), CLASSES))
    assert "no pixel of a known class" in figure.axes[0].get_title()


def tiles(count: int, classes: int, side: int = 32):
    truth = np.arange(side * side).reshape(side, side) * classes // (side * side)
    names = [f"x_{i}_0" for i in range(count)]
    images = np.zeros((count, side, side, 3), np.uint8)
    return images, np.stack([truth] * count), np.stack([truth.T] * count), names


def test_of_many_classes_the_rarest_are_joined_and_no_pixel_is_lost():
    counts = np.random.default_rng(0).integers(1, 9, (254, 254))
    counts[100] += 1000
    figure = laid_out(confusion_figure(counts, [f"class {i}" for i in range(254)]))
    rows = words(figure.axes[0].get_yticklabels())
    assert len(rows) == 25
    assert rows[-1].startswith("230 others")
    assert any(row.startswith("class 100\n") for row in rows)
    assert f"of {counts.sum():,} pixels" in figure.axes[0].get_title()
    assert max(figure.get_size_inches()) < 20


@pytest.mark.parametrize(("count", "shown", "classes"),
                         [(1, 1, 2), (3, 3, 15), (5, 5, 9), (11, 8, 15)])
def test_up_to_eight_tiles(count, shown, classes):
    named = [f"class {i}" for i in range(classes)]
    figure = laid_out(tiles_figure(*tiles(count, classes), named, class_colours(named)))
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert sorted(labels) == [f"x_{i}_0" for i in range(shown)]
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 3 * shown
    assert np.ptp([axes.get_position().width for axes in pictures]) < 1e-6


def test_tiles_in_the_colours_of_their_classes_with_the_share_of_right_pixels():
    images, truth, predicted, tile_names = tiles(1, 2)
    truth[0, 0], predicted[0, :16], predicted[0, 16:] = UNKNOWN, 0, 1
    predicted[0, 31] = 0
    figure = laid_out(tiles_figure(images, truth, predicted, tile_names, ("green", "water"),
                                   [CLASS_COLOURS["green"], CLASS_COLOURS["water"]]))
    assert figure.axes[2].get_xlabel() == "97% right"  # 30 of 31 known rows
    true, guess = (axes.images[0].get_array() for axes in figure.axes[1:3])
    assert np.allclose(true[1, 0] / 255, to_rgb(CLASS_COLOURS["green"]), atol=0.01)
    assert np.allclose(guess[20, 0] / 255, to_rgb(CLASS_COLOURS["water"]), atol=0.01)
    assert len(np.unique(true[0])) == 2  # stripes
    assert words(figure.legends[0].get_texts()) == ["green", "water", "unknown"]


def test_a_tile_of_which_nothing_is_known_and_long_names():
    images, truth, predicted, _ = tiles(1, 9)
    classes = ["a class with a name that takes the whole width of the page, as a sentence would: "
               "a, b or c", *CLASSES[1:]]
    figure = laid_out(tiles_figure(images, np.full_like(truth, UNKNOWN), predicted,
                                   ["a_town_with_a_very_long_name_120_3400"], classes,
                                   class_colours(classes)))
    assert figure.axes[2].get_xlabel() == "no pixel of a known class"
    assert figure.axes[0].get_ylabel().endswith("_120_3400")


def test_scatter_has_equal_axes_and_the_line_of_equality():
    true, estimate = np.array([1.0, 50, 80]), np.array([0.0, 90, 70])
    figure = laid_out(scatter_figure(true, estimate, "people a tile", FIGURES))
    axes, = figure.axes
    assert axes.get_xlim() == axes.get_ylim()
    assert np.array_equal(*axes.lines[0].get_data())
    points, = (drawn for drawn in axes.collections if isinstance(drawn, PathCollection))
    assert np.array_equal(points.get_offsets(), np.stack([true, estimate], 1))
    assert figure.get_suptitle().startswith("MAE 1.000, RMSE 2.000, R² 0.5000")


def test_scatter_of_many_and_widely_spread_totals():
    rng = np.random.default_rng(0)
    true = rng.lognormal(3, 1.4, 30000)
    estimate = true * rng.lognormal(0, 0.3, 30000)
    figure = laid_out(scatter_figure(true, estimate, "people a tile", FIGURES))
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [
        "30,000 tiles", "28,500 tiles: the 95% with the least totals"]
    assert all(isinstance(axes.collections[0], PolyCollection) for axes in panels)
    assert sum(panels[0].collections[0].get_array()) == 30000


@pytest.mark.parametrize(("true", "estimate"), [
    ([10.0], [20.0]), ([0.0] * 20, [0.0] * 20), ([1.0, 2, 3], [2.0] * 3), ([5.0], [-3.0]),
    ([], []),
])
def test_scatter_of_little(true, estimate):
    laid_out(scatter_figure(np.array(true), np.array(estimate), "people a tile",
                         {**FIGURES, "r2": NAN}))


def test_scatter_says_what_it_cannot_draw():
    figure = laid_out(scatter_figure(np.array([1.0, 2, 3]), np.array([1.0, NAN, math.inf]),
                                  "people a tile", FIGURES))
    assert figure.axes[0].get_title() == "1 tile"
    assert "not drawn, for a value is not finite: 2 tiles" in figure.get_suptitle()


def test_error_map_puts_tiles_at_their_places():
    names = ["b_town_7_3", "a_0_0", "a_2_1", "without a place"]
    figure = laid_out(error_map_figure(names, np.array([5.0, -10.0, NAN, 99.0]), "people a tile",
                                    diverging=True))
    first, second = figure.axes[:2]
    assert (first.get_title(), second.get_title()) == ("a\n2 tiles", "b_town\n1 tile")
    squares = first.collections[0]
    assert [path.vertices[:4].mean(0).tolist() for path in squares.get_paths()] == [[0, 0], [2, 1]]
    assert squares.get_array().tolist() == [-10, None]
    assert squares.get_clim() == (-10, 10)
    assert first.get_ylim()[0] > first.get_ylim()[1]  # rows go down
    assert words(figure.legends[0].get_texts()) == ["no tile of this list", "tile without a value"]


def test_no_error_map_without_places():
    assert error_map_figure(["one", "two"], np.array([1.0, 2.0]), "people a tile", True) is None
    assert error_map_figure([], np.array([]), "people a tile", True) is None


@pytest.mark.parametrize(("cities", "diverging"), [(1, True), (2, False), (4, True), (8, False)])
def test_error_maps_of_cities_of_all_forms(cities, diverging):
    names = [f"city{i}_{column}_{row}" for i in range(cities) for column in range(20 - 5 * (i % 4))
             for row in range(1 + 9 * (i % 3))]
    figure = laid_out(error_map_figure(names, np.random.default_rng(0).normal(size=len(names)),
                                    "people a tile", diverging))
    assert len([axes for axes in figure.axes if axes.get_title()]) == min(cities, 6)
    assert figure.get_suptitle() == ("the 6 cities of 8 with the most tiles" if cities == 8
                                     else "")


@pytest.mark.parametrize("value", [0.3, 0.0, NAN])
@pytest.mark.parametrize("diverging", [True, False])
def test_error_map_of_one_tile(value, diverging):
    laid_out(error_map_figure(["a_3_4"], np.array([value]), "share", diverging))


def rows(count: int, scale: float = 1.0) -> list[dict[str, float]]:
    return [{"epoch": i + 1, "train_loss": scale ** -i, "val_loss": 2 * scale ** -i,
             "miou": 0.1 + i / 100} for i in range(count)]


def test_curves_mark_the_chosen_epoch():
    figure = laid_out(curves_figure(rows(12), "miou", 5))
    left, right = figure.axes
    assert right.get_title() == "mIoU on val: 0.1400 in epoch 5"
    assert [line.get_xdata()[0] for line in (left.lines[-1], right.lines[-1])] == [5, 5]
    assert left.get_yscale() == "linear"


def test_curves_of_losses_that_fall_far_and_of_a_single_epoch():
    assert laid_out(curves_figure(rows(12, 3.0), "miou", 1)).axes[0].get_yscale() == "log"
    laid_out(curves_figure(rows(1), "miou", 1))


def test_epochs_have_no_ticks_between_them():
    for axes in laid_out(curves_figure(rows(2), "miou", 1)).axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_curves_break_where_a_loss_is_missing():
    losses = rows(5)
    losses[2]["val_loss"] = NAN
    values = laid_out(curves_figure(losses, "miou", 1)).axes[0].lines[1].get_ydata()
    assert np.isnan(values).tolist() == [False, False, True, False, False]
