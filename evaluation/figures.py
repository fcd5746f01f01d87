"""Figures of an evaluation: arrays in, a matplotlib Figure out. Nothing here touches a display."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from datasets.plot import class_handles, painted
from datasets.stores.city import city_of, grid_cells
from datasets.targets import UNKNOWN
from utils import style
from utils.drawing import FIGURE_FONT, bare
from utils.tables import format_count, format_number, format_share, label_of

SHOWN_TILES, SHOWN_CITIES, SHOWN_CLASSES = 8, 6, 25
NAME_LENGTH = 26          # characters that fit beside a tile
EDGE = 0.3                # of a tile, around a city
PANEL, NARROW = 4.2, 1.6  # inches: longer side of a city's map, least width of any
FEW, MOST = 20, 0.95      # tiles from which widely spread totals get a second panel, their share
MANY = 3000               # tiles from which a scatter shows how many lie together
SHAPES = 500              # most points or squares that an SVG holds as shapes, not as pixels
WIDE = 50                 # greatest loss over least loss that makes the axis logarithmic


def confusion_figure(confusion: np.ndarray, classes: Sequence[str]) -> Figure:
    """Return which class was taken for which: each row in shares of its pixels, and their counts.

    `confusion` [C, C] counts pixels, rows truth, columns prediction. Of many classes the rarest
    are joined.
    """
    if len(classes) > SHOWN_CLASSES:
        confusion, classes = _with_others(confusion, classes)
    count, truth, predicted = len(classes), confusion.sum(1), confusion.sum(0)
    shares = confusion / np.maximum(truth, 1)[:, None]                                     # [C, C]
    side = 2.5 + 0.6 * count
    figure = Figure(figsize=(side + 1.4, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(np.ma.masked_equal(shares, 0), cmap=style.SHARES, vmin=0, vmax=1)
    _write_cells(axes, confusion, shares)
    below = [name if pixels else f"{name}\n(never)"
             for name, pixels in zip(classes, predicted, strict=True)]
    beside = [f"{name}\n{format_count(pixels) if pixels else '(absent)'}"
              for name, pixels in zip(classes, truth, strict=True)]
    axes.set_xticks(range(count), below, rotation=40, ha="right", rotation_mode="anchor",
                    fontsize=FIGURE_FONT)
    axes.set_yticks(range(count), beside, fontsize=FIGURE_FONT)
    axes.set(xlabel="predicted class", ylabel="true class, and its pixels")
    total = truth.sum()
    right = "no pixel of a known class"
    if total:
        right = f"{format_share(np.trace(confusion) / total)} of {total:,.0f} pixels right"
    axes.set_title(f"Classes taken for each other: {right}", fontsize=FIGURE_FONT + 1)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.7, ticks=(0, 0.5, 1))
    bar.set_label("share of the true class's pixels", fontsize=FIGURE_FONT)
    bar.ax.set_yticklabels(["0%", "50%", "100%"], fontsize=FIGURE_FONT)
    return figure


def _with_others(confusion: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return counts and names of the commonest classes in their order, and of the others as
    one."""
    kept = np.sort(np.argsort(-confusion.sum(1), kind="stable")[:SHOWN_CLASSES - 1])
    row = np.full(len(classes), len(kept))
    row[kept] = np.arange(len(kept))
    joined = np.zeros((len(kept) + 1,) * 2, confusion.dtype)
    np.add.at(joined, (row[:, None], row), confusion)
    return joined, [*(classes[index] for index in kept), f"{len(classes) - len(kept)} others"]


def _write_cells(axes: Axes, confusion: np.ndarray, shares: np.ndarray) -> None:
    """Write share and count into each cell that has any; hatch the rows of absent classes."""
    count = len(confusion)
    for row in range(count):
        if not confusion[row].any():
            axes.add_patch(Rectangle((-0.5, row - 0.5), count, 1, facecolor="#eeeeee",
                                     edgecolor="#bbbbbb", hatch="////", linewidth=0))
            continue
        for column in range(count):
            if confusion[row, column]:
                share, pixels = shares[row, column], confusion[row, column]
                axes.text(column, row, f"{format_share(share)}\n{format_count(pixels)}",
                          ha="center", va="center", fontsize=7.5, linespacing=1.3,
                          color="white" if share > 0.55 else "#222222")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", alpha=0.3)
    axes.tick_params(which="minor", length=0)


def tiles_figure(images: np.ndarray, truth: np.ndarray, predicted: np.ndarray,
                 names: Sequence[str], classes: Sequence[str], colours: Sequence[str]) -> Figure:
    """Return image, true and predicted classes of up to eight tiles, with the share that is right.

    Args:
        images: [n, H, W, 3] uint8.
        truth: [n, H, W] classes, 255 where unknown.
        predicted: [n, H, W] classes.
        colours: of the classes.
    """
    count = min(len(names), SHOWN_TILES)
    blocks = 1 if count <= 3 else 2
    rows = -(-count // blocks)
    handles = class_handles(classes, colours, set(np.unique([truth[:count], predicted[:count]])))
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
        drawn = (painted(labels[tile], colours) for labels in (truth, predicted))
        for axes, picture in zip(cells, (images[tile], *drawn), strict=True):
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
    if not known.any():
        return "no pixel of a known class"
    return f"{format_share((truth == predicted)[known].mean())} right"


def scatter_figure(true: np.ndarray, estimate: np.ndarray, unit: str,
                   figures: Mapping[str, float]) -> Figure:
    """Return estimated over true totals [n] of the tiles, with the line on which they are equal.

    Args:
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
    words += "\ndashed: estimated = true"
    if not shown.all():
        words += f"\nnot drawn, for a value is not finite: {_tiles(np.count_nonzero(~shown))}"
    figure.suptitle(words, fontsize=FIGURE_FONT + 1)
    return figure


def _draw_pairs(axes: Axes, true: np.ndarray, estimate: np.ndarray) -> None:
    low, high = _limits(np.concatenate([true, estimate]))
    axes.plot((low, high), (low, high), color="black", linestyle="--", linewidth=1, zorder=3)
    if len(true) < MANY:
        size, alpha = np.clip(5000 / max(len(true), 1), 8, 45), 0.85 if len(true) < 100 else 0.45
        axes.scatter(true, estimate, s=size, alpha=alpha, color=style.IMAGE_COLOUR, linewidths=0,
                     zorder=4, rasterized=len(true) > SHAPES)
    else:
        drawn = axes.hexbin(true, estimate, gridsize=55, extent=(low, high) * 2, bins="log",
                            mincnt=1, cmap=f"{style.SEQUENTIAL}_r", linewidths=0, rasterized=True)
        axes.figure.colorbar(drawn, ax=axes, shrink=0.8, label="tiles")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.grid(alpha=0.3)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Return ends a little below 0, or below a negative least value, and above the greatest."""
    low, high = min(0.0, values.min(initial=0)), values.max(initial=0)
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin


def error_map_figure(names: Sequence[str], values: np.ndarray, label: str, diverging: bool,
                     among: Sequence[str] | None = None) -> Figure | None:
    """Return tiles at their places in their city, coloured by value; None if no name has a place.

    Args:
        names: of the tiles; those of the form {city}_{col}_{row} are drawn.
        values: [n], nan where there is none.
        label: of the values, with their unit.
        diverging: the values' sign matters: two colours, white at 0.
        among: the names of all tiles, by which places are recognised if `names` are few.
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
    figure, panels = _map_panels([np.ptp(at, axis=0) + 1 + 2 * EDGE for at in located.values()])
    colours = colormaps[style.DIVERGING if diverging else style.SEQUENTIAL]
    colours = colours.with_extremes(bad=style.NO_VALUE)
    for axes, (city, at) in zip(panels, located.items(), strict=True):
        drawn = _draw_places(axes, at, values[places[city]], norm, colours)
        axes.set_title(f"{city}\n{_tiles(len(at))}", fontsize=FIGURE_FONT + 1)
    figure.colorbar(drawn, ax=panels, shrink=0.8, label=label, extend=extend, panchor=False)
    handles = [Patch(facecolor=style.NO_TILE, label="no tile of this list"),
               Patch(facecolor=style.NO_VALUE, label="tile without a value")]
    missing = any(np.isnan(values[places[city]]).any() for city in shown)
    figure.legend(handles=handles[: 1 + missing], loc="outside lower left", ncols=2, frameon=False,
                  fontsize=FIGURE_FONT)
    if len(places) > len(shown):
        figure.suptitle(f"the {len(shown)} cities of {len(places)} with the most tiles",
                        fontsize=FIGURE_FONT)
    return figure


def _map_panels(extents: Sequence[np.ndarray]) -> tuple[Figure, list[Axes]]:
    """Return axes in the proportions of cities with these extents (columns, rows)."""
    count = len(extents)
    columns = 2 if count == 4 else min(count, 3)
    rows = -(-count // columns)
    sides = np.zeros((rows * columns, 2))
    sides[:count] = np.maximum([PANEL * extent / extent.max() for extent in extents],
                               (NARROW, 0.5))
    cells = sides.reshape(rows, columns, 2)
    widths, heights = cells.max(0)[:, 0], cells.max(1)[:, 1]
    figure = Figure(figsize=(widths.sum() + 0.6 * columns + 1.3, heights.sum() + 0.9 * rows + 0.6),
                    layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, width_ratios=widths,
                           height_ratios=heights).flat
    for axes in grid[count:]:
        axes.axis("off")
    return figure, list(grid[:count])


def _draw_places(axes: Axes, places: np.ndarray, values: np.ndarray, norm: Normalize,
                 colours: Colormap) -> PolyCollection:
    """Draw squares at places [n, (column, row)]."""
    square = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    corners = places[:, None] + square                                       # [n, 4, 2]
    drawn = PolyCollection(corners, cmap=colours, norm=norm, edgecolors="none", antialiased=False,
                           rasterized=len(places) > SHAPES)
    drawn.set_array(np.ma.masked_invalid(values))
    axes.add_collection(drawn)
    (left, top), (right, bottom) = places.min(0) - 0.5 - EDGE, places.max(0) + 0.5 + EDGE
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", facecolor=style.NO_TILE,
             xlabel="column", ylabel="row")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 5, 10), integer=True,
                                           min_n_ticks=1))
    return drawn


def _scale(values: np.ndarray, diverging: bool) -> tuple[Normalize, str]:
    """Return colours for all but the outermost hundredth, and at which ends values lie beyond."""
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
    """Return losses and the score over the epochs, with the chosen epoch marked.

    Args:
        rows: of metrics.csv: epoch, train_loss, val_loss and the score.
        score: the column by which the epoch was chosen.
    """
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    marker = {"marker": "o" if len(rows) < 20 else None, "markersize": 3}
    for name, label, colour in (("train_loss", "training", style.IMAGE_COLOUR),
                                ("val_loss", "validation", style.OSM_COLOUR)):
        left.plot(epochs, [row[name] for row in rows], color=colour, label=label, **marker)
    scores = [row[score] for row in rows]
    right.plot(epochs, scores, color=style.OSM_COLOUR, **marker)
    chosen = scores[epochs.index(best_epoch)]
    right.plot([best_epoch], [chosen], marker="*", markersize=14, color=style.GUESS_COLOUR,
               markeredgecolor=style.LINE, linestyle="none")
    left.set(xlabel="epoch", ylabel="loss", title="loss")
    title = f"{label_of(score)} on val: {format_number(chosen)} in epoch {best_epoch}"
    right.set(xlabel="epoch", ylabel=label_of(score), title=title)
    for axes in (left, right):
        axes.axvline(best_epoch, color="#888888", linestyle=":", linewidth=1, label="chosen epoch")
        axes.title.set_fontsize(FIGURE_FONT + 1)
        axes.grid(alpha=0.3)
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    losses = np.array([[row["train_loss"], row["val_loss"]] for row in rows])
    least, greatest = np.nanmin(losses, initial=np.inf), np.nanmax(losses, initial=0)
    if 0 < WIDE * least < greatest:
        left.set_yscale("log")
    left.legend(fontsize=FIGURE_FONT, frameon=False)
    return figure


def reliability_figure(pixels: Sequence[float], confidence: Sequence[float],
                       accuracy: Sequence[float], error: float) -> Figure:
    """Return which share of pixels is right over how sure the model is of them (reliability
    diagram: Niculescu-Mizil and Caruana 2005), above the share of pixels in each bin.

    Args:
        pixels: of each of the bins of confidence, which are equally wide from 0 to 1.
        confidence, accuracy: means over the pixels of each bin; nan for a bin without pixels.
        error: the expected calibration error.
    """
    edges = np.linspace(0, 1, len(pixels) + 1)
    shares = np.asarray(pixels, float) / max(sum(pixels), 1)
    figure = Figure(figsize=(5.2, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), color="black", linestyle="--", linewidth=1,
               label="calibrated: as often right as sure")
    above.bar(edges[:-1], np.nan_to_num(accuracy), np.diff(edges), align="edge",
              color=style.OSM_COLOUR, edgecolor="white", label="share that is right")
    above.plot(confidence, accuracy, color=style.IMAGE_COLOUR, marker="o", markersize=4,
               linestyle="none", label="mean confidence of the bin")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of pixels that is right")
    above.legend(fontsize=FIGURE_FONT, frameon=False, loc="upper left")
    sure, right = (np.nansum(shares * np.asarray(each)) for each in (confidence, accuracy))
    above.set_title(f"ECE {format_number(error)}: {format_share(float(right))} of the pixels "
                    f"right, mean confidence {format_share(float(sure))}",
                    fontsize=FIGURE_FONT + 1)
    below.bar(edges[:-1], shares, np.diff(edges), align="edge", color="#9aa5ab",
              edgecolor="white")
    below.set(xlabel="confidence: probability of the predicted class", ylabel="share of pixels")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def _tiles(count: int) -> str:
    return f"{count:,} tile" if count == 1 else f"{count:,} tiles"
