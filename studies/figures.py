"""The figure of a study. It returns a matplotlib Figure and touches no display."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.drawing import FIGURE_FONT
from utils.style import SERIES_COLOURS
from utils.tables import format_number

MARKERS = "os^DvP"
TITLE_WIDTH = 80     # characters across the plot
WIDE = 16            # greatest x over least x that makes the axis logarithmic
LABELLED_BARS = 18   # at most
LEGEND_PER_INCH, LEGEND_MARKER = 16, 8  # characters of a legend, and of its markers' width
CHARACTERS_PER_INCH = 10  # of names beside one another
CROWDED = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}


def study_figure(series: Mapping[str, Sequence[tuple[float | str, float, float]]], xlabel: str,
                 ylabel: str, title: str, categorical: bool = False,
                 reference: Mapping[str, float] | None = None) -> Figure:
    """Return a study's scores over what was varied, with standard deviations as error bars.

    Each series is a line, or bars if x are names (`categorical`).

    Args:
        series: label -> (x, mean, std) for each x; a nan std has no bar, a nan mean no point.
        reference: label -> a score that is the same for all x, as a baseline's.
    """
    xs = list(dict.fromkeys(x for points in series.values() for x, _, _ in points))
    width = max(7.0, 1.6 + 0.34 * len(xs) * (len(series) + 1)) if categorical else 7.5
    figure = Figure(figsize=(width, 4.8), layout="constrained")
    axes = figure.subplots()
    (_draw_bars if categorical else _draw_lines)(axes, series, xs)
    for index, (label, value) in enumerate((reference or {}).items()):
        axes.axhline(value, color="#222222", linestyle=("--", ":", "-.")[index % 3], linewidth=1.2,
                     label=label, zorder=4)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(fill(title, TITLE_WIDTH), fontsize=FIGURE_FONT + 2)
    axes.spines[["top", "right"]].set_visible(False)
    handles = axes.get_legend_handles_labels()[0]
    handles = [*handles[-len(series):], *handles[: -len(series)]]  # the series first
    longest = max(len(handle.get_label()) for handle in handles)
    columns = int(LEGEND_PER_INCH * figure.get_figwidth() / (longest + LEGEND_MARKER))
    figure.legend(handles=handles, loc="outside lower center",
                  ncols=max(min(len(handles), columns, 4), 1),
                  frameon=False, fontsize=FIGURE_FONT)
    return figure


def _draw_lines(axes: Axes, series: Mapping[str, Sequence[tuple[float, float, float]]],
                xs: Sequence[float]) -> None:
    for index, (label, points) in enumerate(series.items()):
        x, mean, std = np.array(sorted(points), float).T
        axes.errorbar(x, mean, std, label=label, color=SERIES_COLOURS[index % 6],
                      marker=MARKERS[index % 6], markersize=5, capsize=3,
                      linewidth=1.6, elinewidth=1, zorder=3)
    if min(xs) > 0 and max(xs) / min(xs) >= WIDE:
        axes.set_xscale("log")
    if len(xs) <= 12:
        axes.set_xticks(sorted(xs), [f"{x:g}" for x in sorted(xs)])
        axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)


def _draw_bars(axes: Axes, series: Mapping[str, Sequence[tuple[str, float, float]]],
               xs: Sequence[str]) -> None:
    width = 0.8 / len(series)
    for index, (label, points) in enumerate(series.items()):
        shift = (index - (len(series) - 1) / 2) * width
        at = np.array([xs.index(x) for x, _, _ in points]) + shift
        mean, std = np.array([point[1:] for point in points], float).T
        bars = axes.bar(at, mean, width * 0.92, yerr=std, label=label,
                        color=SERIES_COLOURS[index % 6], capsize=3, error_kw={"elinewidth": 1},
                        zorder=2)
        if len(series) * len(xs) <= LABELLED_BARS:
            labels = ["" if math.isnan(value) else format_number(value) for value in mean]
            for text in axes.bar_label(bars, labels, fontsize=7, padding=2):
                text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
                text.set_zorder(5)  # above the lines of references
        for x in at[np.isnan(mean)]:
            axes.annotate("no value", (x, 0), (0, 3), textcoords="offset points", ha="center",
                          fontsize=7)
    names = [x.replace(":", "\n").replace("_", " ") for x in xs]
    longest = max(len(line) for name in names for line in name.split("\n"))
    crowded = longest * len(xs) > CHARACTERS_PER_INCH * axes.figure.get_figwidth()
    axes.set_xticks(range(len(xs)), names, **CROWDED if crowded else {})
    axes.axhline(0, color="#222222", linewidth=0.8)
    axes.grid(axis="y", alpha=0.3)
