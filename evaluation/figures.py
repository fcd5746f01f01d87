"""Figures of an evaluation and of the studies. Arrays in, a matplotlib Figure out; nothing here
touches a display."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from datasets.plot import class_handles
from datasets.stores.city import city_of, grid_cells
from datasets.targets import UNKNOWN
from utils.drawing import FIGURE_FONT, bare
from utils.style import (
    DIVERGING,
    GUESS_COLOUR,
    IMAGE_COLOUR,
    LINE,
    NO_TILE,
    NO_VALUE,
    OSM_COLOUR,
    SEQUENTIAL,
    SERIES_COLOURS,
    SHARES,
    class_colours,
    painted,
)
from utils.tables import format_number, label_of

SERIES_MARKERS = "os^DvP"
SHOWN_TILES, SHOWN_CITIES = 8, 6
NAME_LENGTH = 26          # characters that fit beside a tile
TITLE_WIDTH = 80          # characters across a study's plot
EDGE = 0.3                # of a tile, around a city
PANEL, NARROW = 4.2, 1.6  # inches: longer side of a city's map, least width of any
# tiles from which a scatter of widely spread totals gets a second panel, of this share of them
FEW, MOST = 20, 0.95
MANY = 3000               # tiles from which a scatter shows how many lie together
WIDE_LOSSES = 50          # times as great as the least: a logarithmic axis
WIDE_X = 16               # the same for what a study varies
LABELLED_BARS = 18


def confusion_figure(confusion: np.ndarray, classes: Sequence[str]) -> Figure:
    """Which class was taken for which: each row in shares of its pixels, with their numbers.

    Args:
        confusion: [C, C] numbers of pixels, rows truth, columns prediction.
        classes: names of the C classes.
    """
    count, truth, predicted = len(classes), confusion.sum(1), confusion.sum(0)
    shares = confusion / np.maximum(truth, 1)[:, None]                                     # [C, C]
    side = 2.2 + 0.72 * count
    figure = Figure(figsize=(side + 1.4, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap=SHARES, vmin=0, vmax=1)
    _write_cells(axes, confusion, shares)
    below = [name if predicted[place] else f"{name}\n(never)"
             for place, name in enumerate(classes)]
    beside = [f"{name}\n{_short(truth[place]) if truth[place] else '(absent)'}"
              for place, name in enumerate(classes)]
    axes.set_xticks(range(count), below, rotation=40, ha="right", rotation_mode="anchor",
                    fontsize=FIGURE_FONT)
    axes.set_yticks(range(count), beside, fontsize=FIGURE_FONT)
    axes.set(xlabel="predicted class", ylabel="true class, and its pixels")
    total = truth.sum()
    right = f"{_percent(np.trace(confusion) / total)} of {total:,.0f} pixels right" if total else "no pixel of a known class"
    axes.set_title(f"Classes taken for each other: {right}", fontsize=FIGURE_FONT + 1)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.7, ticks=(0, 0.5, 1))
    bar.set_label("share of the true class's pixels", fontsize=FIGURE_FONT)
    bar.ax.set_yticklabels(["0%", "50%", "100%"], fontsize=FIGURE_FONT)
    return figure


def _write_cells(axes: Axes, confusion: np.ndarray, shares: np.ndarray) -> None:
    """Share and number in each cell that has any, rows of absent classes hatched, white lines
    between."""
    count = len(confusion)
    for row in range(count):
        if not confusion[row].any():
            axes.add_patch(Rectangle((-0.5, row - 0.5), count, 1, facecolor="#eeeeee",
                                     edgecolor="#bbbbbb", hatch="////", linewidth=0))
            continue
        for column in range(count):
            if confusion[row, column]:
                text = f"{_percent(shares[row, column])}\n{_short(confusion[row, column])}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7.5,
                          linespacing=1.3,
                          color="white" if shares[row, column] > 0.55 else "#222222")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)


def tiles_figure(images: np.ndarray, truth: np.ndarray, predicted: np.ndarray,
                 names: Sequence[str], classes: Sequence[str]) -> Figure:
    """Image, true classes and predicted classes of up to eight tiles, with the share of right
    pixels below each prediction.

    Args:
        images: [n, H, W, 3] uint8.
        truth: [n, H, W] classes, 255 where unknown.
        predicted: [n, H, W] classes.
    """
    count = min(len(names), SHOWN_TILES)
    blocks = 1 if count <= 3 else 2
    rows = -(-count // blocks)
    colours = class_colours(classes)
    handles = class_handles(classes, set(np.unique([truth[:count], predicted[:count]])))
    width = 6.6 * blocks
    longest = 0.55 + 0.075 * max(len(handle.get_label()) for handle in handles)  # inches
    lines = -(-len(handles) // max(int(width / longest), 1))
    figure = Figure(figsize=(width, 2.3 * rows + 0.35 + 0.22 * lines), layout="constrained")
    widths = (1, 1, 1, 0.06, 1, 1, 1)[: 4 * blocks - 1]
    grid = figure.subplots(rows, len(widths), squeeze=False, width_ratios=widths)
    for axes in grid.flat:
        axes.axis("off")
    for tile in range(count):
        cells = grid[tile % rows, 4 * (tile // rows):][:3]
        for axes, picture in zip(cells, (images[tile], painted(truth[tile], colours),
                                         painted(predicted[tile], colours)), strict=True):
            axes.axis("on")
            axes.imshow(picture, interpolation="nearest")
            bare(axes)
        cells[0].set_ylabel(_shortened(names[tile]), fontsize=FIGURE_FONT)
        cells[2].set_xlabel(_share_right(truth[tile], predicted[tile]), fontsize=FIGURE_FONT)
        if tile % rows == 0:
            for axes, title in zip(cells, ("image", "truth", "prediction"), strict=True):
                axes.set_title(title, fontsize=FIGURE_FONT + 1)
    figure.legend(handles=handles, loc="outside lower center", ncols=-(-len(handles) // lines),
                  frameon=False, fontsize=FIGURE_FONT)
    return figure


def _shortened(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 14]}…{name[-13:]}"


def _share_right(truth: np.ndarray, predicted: np.ndarray) -> str:
    known = truth != UNKNOWN
    return f"{_percent((truth == predicted)[known].mean())} right" if known.any() else "no pixel of a known class"


def scatter_figure(true: np.ndarray, estimate: np.ndarray, unit: str,
                   figures: Mapping[str, float]) -> Figure:
    """Estimated against true totals of the tiles, with the line on which they are equal.

    Args:
        true, estimate: [n].
        unit: of both, as `people per tile`.
        figures: mae, rmse and r2.
    """
    shown = np.isfinite(true) & np.isfinite(estimate)
    true, estimate = true[shown], estimate[shown]
    greater = np.maximum(true, estimate)
    ends = [greater.max(initial=0)]
    if len(true) >= FEW and np.quantile(greater, MOST) < ends[0] / 3:
        ends.append(np.quantile(greater, MOST))
    figure = Figure(figsize=(6 * len(ends), 5.6), layout="constrained")
    for axes, end in zip(figure.subplots(1, len(ends), squeeze=False)[0], ends, strict=True):
        near = greater <= end
        _draw_pairs(axes, true[near], estimate[near])
        axes.set(xlabel=f"true ({unit})", ylabel=f"estimated ({unit})")
        which = f": the {MOST:.0%} with the least totals" if end < ends[0] else ""
        axes.set_title(f"{_tiles(near.sum())}{which}", fontsize=FIGURE_FONT + 1)
    words = ", ".join(f"{label_of(name)} {format_number(figures[name])}"
                      for name in ("mae", "rmse", "r2") if not math.isnan(figures[name]))
    left_out = f"\nnot drawn, for a value is not finite: {_tiles(np.count_nonzero(~shown))}" if not shown.all() else ""
    figure.suptitle(f"{words}\ndashed: estimated = true{left_out}", fontsize=FIGURE_FONT + 1)
    return figure


def _draw_pairs(axes: Axes, true: np.ndarray, estimate: np.ndarray) -> None:
    low, high = _limits(np.concatenate([true, estimate]))
    axes.plot((low, high), (low, high), color=LINE, linestyle="--", linewidth=1, zorder=3)
    if len(true) < MANY:
        size, alpha = np.clip(5000 / max(len(true), 1), 8, 45), 0.85 if len(true) < 100 else 0.45
        axes.scatter(true, estimate, s=size, alpha=alpha, color=IMAGE_COLOUR, linewidths=0,
                     zorder=4)
    else:
        drawn = axes.hexbin(true, estimate, gridsize=55, extent=(low, high) * 2, bins="log",
                            mincnt=1, cmap=f"{SEQUENTIAL}_r", linewidths=0)
        axes.figure.colorbar(drawn, ax=axes, shrink=0.8, label="tiles")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.grid(alpha=0.3)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """From a little below 0, or below the least value where it is negative, to a little above the
    greatest."""
    low, high = min(0.0, values.min(initial=0)), values.max(initial=0)
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin


def error_map_figure(
    names: Sequence[str], values: np.ndarray, label: str, diverging: bool,
    among: Sequence[str] | None = None,
) -> Figure | None:
    """Tiles at their places in their city, coloured by their values; None where no tile's name has
    a place.

    Args:
        names: of the tiles; those of the form {city}_{col}_{row} are drawn.
        values: [n], nan where there is none.
        label: of the values, with their unit.
        diverging: the values' sign matters: two colours, white at 0.
        among: the names of all tiles, by which places are told where `names` are few.
    """
    places: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        if city := city_of(name):
            places.setdefault(city, []).append(index)
    if not places:
        return None
    values = np.asarray(values, float)
    shown = sorted(places, key=lambda city: -len(places[city]))[:SHOWN_CITIES]
    norm, extend = _scale(values[[index for city in shown for index in places[city]]], diverging)
    located = {city: grid_cells([names[index] for index in places[city]],
                               among and [name for name in among if city_of(name) == city])
               for city in shown}                                         # [n, (column, row)] each
    figure, panels = _map_panels([np.ptp(place, axis=0) + 1 + 2 * EDGE
                                  for place in located.values()])
    colours = colormaps[DIVERGING if diverging else SEQUENTIAL].with_extremes(bad=NO_VALUE)
    for axes, (city, place) in zip(panels, located.items(), strict=True):
        drawn = _draw_places(axes, place, values[places[city]], norm, colours)
        axes.set_title(f"{city}\n{_tiles(len(place))}", fontsize=FIGURE_FONT + 1)
    figure.colorbar(drawn, ax=panels, shrink=0.8, label=label, extend=extend, panchor=False)
    handles = [Patch(facecolor=NO_TILE, label="no tile"),
               Patch(facecolor=NO_VALUE, label="tile without a value")]
    missing = any(np.isnan(values[places[city]]).any() for city in shown)
    figure.legend(handles=handles[: 1 + missing], loc="outside lower left", ncols=2, frameon=False,
                  fontsize=FIGURE_FONT)
    if len(places) > len(shown):
        figure.suptitle(f"the {len(shown)} cities of {len(places)} with the most tiles",
                        fontsize=FIGURE_FONT)
    return figure


def _map_panels(extents: Sequence[np.ndarray]) -> tuple[Figure, list[Axes]]:
    """Axes in the proportions of cities of these extents (columns, rows), at most three beside
    each other."""
    count = len(extents)
    columns = 2 if count == 4 else min(count, 3)
    rows = -(-count // columns)
    sides = np.zeros((rows * columns, 2))
    sides[:count] = np.maximum([PANEL * extent / extent.max() for extent in extents],
                               (NARROW, 0.5))
    widths, heights = sides.reshape(rows, columns,
                                    2).max(0)[:, 0], sides.reshape(rows, columns, 2).max(1)[:, 1]
    figure = Figure(figsize=(widths.sum() + 0.6 * columns + 1.3, heights.sum() + 0.9 * rows + 0.6),
                    layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, width_ratios=widths,
                           height_ratios=heights)
    for axes in grid.flat[count:]:
        axes.axis("off")
    return figure, list(grid.flat[:count])


def _draw_places(axes: Axes, place: np.ndarray, values: np.ndarray, norm: Normalize,
                 colours: Colormap) -> PolyCollection:
    """Squares at places [n, (column, row)]."""
    corners = place[:, None] + np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5),
                                         (-0.5, 0.5)])                       # [n, 4, 2]
    drawn = PolyCollection(corners, cmap=colours, norm=norm, edgecolors="none", antialiased=False)
    drawn.set_array(np.ma.masked_invalid(values))
    axes.add_collection(drawn)
    (left, top), (right, bottom) = place.min(0) - 0.5 - EDGE, place.max(0) + 0.5 + EDGE
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", facecolor=NO_TILE,
             xlabel="column", ylabel="row")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 5, 10), integer=True,
                                           min_n_ticks=1))
    return drawn


def _scale(values: np.ndarray, diverging: bool) -> tuple[Normalize, str]:
    """Colours for all but the outermost hundredth of the values, and at which ends of the bar some
    lie beyond it."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Normalize(-1 if diverging else 0, 1), "neither"
    if diverging:
        most = np.quantile(np.abs(known), 0.99, method="inverted_cdf") or 1.0
        low, high = -most, most
    else:
        low, high = np.quantile(known, (0.01, 0.99), method="inverted_cdf")
        if high == low:
            low, high = min(low, 0.0), max(high, 0.0) or 1.0
    below, above = bool((known < low).any()), bool((known > high).any())
    return Normalize(low, high), {(False, False): "neither", (True, False): "min",
                                  (False, True): "max", (True, True): "both"}[below, above]


def curves_figure(rows: Sequence[Mapping[str, float]], score: str, best_epoch: int) -> Figure:
    """Losses and the score over the epochs, with the chosen epoch marked.

    Args:
        rows: of metrics.csv: epoch, train_loss, val_loss and the score.
        score: the column by which the epoch was chosen.
        best_epoch: the chosen epoch, as the column `epoch` has it.
    """
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    marker = {"marker": "o" if len(rows) < 20 else None, "markersize": 3}
    for name, label, colour in (("train_loss", "training", IMAGE_COLOUR),
                                ("val_loss", "validation", OSM_COLOUR)):
        left.plot(epochs, [row[name] for row in rows], color=colour, label=label, **marker)
    scores = [row[score] for row in rows]
    right.plot(epochs, scores, color=OSM_COLOUR, **marker)
    chosen = scores[epochs.index(best_epoch)]
    right.plot([best_epoch], [chosen], marker="*", markersize=14, color=GUESS_COLOUR,
               markeredgecolor=LINE, linestyle="none")
    left.set(xlabel="epoch", ylabel="loss", title="loss")
    right.set(xlabel="epoch", ylabel=label_of(score), title=f"{label_of(score)} on val: "
                                                            f"{format_number(chosen)} in epoch "
                                                            f"{best_epoch}")
    for axes in (left, right):
        axes.axvline(best_epoch, color="#888888", linestyle=":", linewidth=1, label="chosen epoch")
        axes.title.set_fontsize(FIGURE_FONT + 1)
        axes.grid(alpha=0.3)
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    losses = np.array([[row["train_loss"], row["val_loss"]] for row in rows])
    if np.nanmin(losses, initial=np.inf) > 0 and np.nanmax(losses,
                                                           initial=0) > WIDE_LOSSES * np.nanmin(
                                                               losses, initial=np.inf):
        left.set_yscale("log")
    left.legend(fontsize=FIGURE_FONT)
    return figure


def study_figure(
    series: Mapping[str, Sequence[tuple[float | str, float, float]]], xlabel: str, ylabel: str,
    title: str,
    categorical: bool = False, reference: Mapping[str, float] | None = None,
) -> Figure:
    """A study's numbers over what was varied, one line a series, or bars where x has no order;
    error bars are standard deviations.

    Args:
        series: label -> (x, mean, std) for each x; a nan std has no bar, a nan mean no point.
        categorical: x are names.
        reference: label -> a value that is the same for all x, as a baseline's.
    """
    xs = list(dict.fromkeys(x for points in series.values() for x, _, _ in points))
    figure = Figure(figsize=(max(7.0, 1.6 + 0.34 * len(xs) * (len(series) + 1)) if categorical
                             else 7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    (_draw_bars if categorical else _draw_lines)(axes, series, xs)
    for place, (label, value) in enumerate((reference or {}).items()):
        axes.axhline(value, color="#222222", linestyle=("--", ":", "-.")[place % 3], linewidth=1.2,
                     label=label, zorder=4)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(fill(title, TITLE_WIDTH), fontsize=FIGURE_FONT + 2)
    axes.spines[["top", "right"]].set_visible(False)
    handles = axes.get_legend_handles_labels()[0]
    handles = [*handles[-len(series):], *handles[: -len(series)]]  # the series first
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4),
                  frameon=False, fontsize=FIGURE_FONT)
    return figure


def _draw_lines(axes: Axes, series: Mapping[str, Sequence[tuple[float, float, float]]],
                xs: Sequence[float]) -> None:
    wide = min(xs) > 0 and max(xs) / min(xs) >= WIDE_X
    for place, (label, points) in enumerate(series.items()):
        x, mean, std = np.array(sorted(points), float).T
        axes.errorbar(x, mean, std, label=label, color=SERIES_COLOURS[place % 6],
                      marker=SERIES_MARKERS[place % 6], markersize=5, capsize=3,
                      linewidth=1.6, elinewidth=1, zorder=3)
    if wide:
        axes.set_xscale("log")
    if len(xs) <= 12:
        axes.set_xticks(sorted(xs), [f"{x:g}" for x in sorted(xs)])
        axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)


def _draw_bars(axes: Axes, series: Mapping[str, Sequence[tuple[str, float, float]]],
               xs: Sequence[str]) -> None:
    width = 0.8 / len(series)
    for place, (label, points) in enumerate(series.items()):
        at = np.array([xs.index(x) for x, _, _ in points]) + (place
                                                              - (len(series) - 1) / 2) * width
        mean, std = np.array([point[1:] for point in points], float).T
        bars: BarContainer = axes.bar(at, mean, width * 0.92, yerr=std, label=label,
                                      color=SERIES_COLOURS[place % 6], capsize=3,
                                      error_kw={"elinewidth": 1}, zorder=2)
        if len(series) * len(xs) <= LABELLED_BARS:
            axes.bar_label(bars,
                           ["" if math.isnan(value) else format_number(value) for value in mean],
                           fontsize=7, padding=2)
        for x in at[np.isnan(mean)]:
            axes.annotate("no value", (x, 0), (0, 3), textcoords="offset points", ha="center",
                          fontsize=7)
    axes.set_xticks(range(len(xs)), xs)
    axes.axhline(0, color="#222222", linewidth=0.8)
    axes.grid(axis="y", alpha=0.3)


def _tiles(count: int) -> str:
    return f"{count:,} tile" if count == 1 else f"{count:,} tiles"


def _percent(share: float) -> str:
    """Whole percents, without calling anything 0% or 100% that is not."""
    text = f"{share:.0%}"
    return {"0%": "<1%", "100%": ">99%"}.get(text, text) if 0 < share < 1 else text


def _short(number: float) -> str:
    """A count in at most five characters: 950, 12.3k, 4.56M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
