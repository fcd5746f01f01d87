"""Figures of the attention study. Each function returns a matplotlib Figure, shown nowhere."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.container import BarContainer
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Polygon
from matplotlib.patheffects import withStroke

from studies.attention_mass import ObjectAttention
from utils.drawing import FIGURE_FONT as FONT
from utils.style import HEAT, IMAGE_COLOUR, OBJECT_COLOUR, OSM_COLOUR, QUIET

FAINT = 1 / 2    # of uniform attention: the lowest colour
MOST_TIMES = 64  # the highest colour, at most


def tile_attention_figure(name: str, image: np.ndarray, corners: np.ndarray, patches: np.ndarray,
                          everyone: np.ndarray, grid: tuple[int, int],
                          captions: Sequence[str]) -> Figure:
    """Return a tile with the outlines of n objects, and a row an object with its attention, of the
    mean of the heads and of each head alone.

    Args:
        image: [H, W, 3] uint8.
        corners: [n, 4, 2] of the rotated boxes, in tile units.
        patches: [n, heads, L] attention on patches, each head's summing to 1.
        everyone: [L] mean attention of all objects of the tile.
        grid: (rows, columns) of patches.
        captions: of the objects.
    """
    count, heads, length = patches.shape
    times = (patches * length).reshape(count, heads, *grid)                  # 1: uniform attention
    highest = 2 ** np.ceil(np.log2(np.quantile(times.mean(1), 0.995)))       # above nearly all
    scale = LogNorm(FAINT, float(np.clip(highest, 2, MOST_TIMES)))
    outlines = corners * (image.shape[1], image.shape[0])
    rows = max(count, 3)                              # of the page; fewer objects leave some empty
    wide, rest = 3.1, 2.3 + 1.1 * heads / 2                                              # inches
    figure = Figure(figsize=(wide + rest, 2.5 * rows), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(wide, rest))
    left = left.subfigures(2, 1, height_ratios=(3, rows - 3))[0] if rows > 3 else left
    top, bottom = left.subplots(2, 1)
    _show_tile(top, image, outlines, name)
    _show_heat(bottom, (everyone * length).reshape(grid), scale,
               "mean attention of all objects of the tile", image)
    bar = left.colorbar(ScalarMappable(scale, HEAT), ax=bottom, orientation="horizontal",
                        extend="both", aspect=30)
    ticks = [2.0**step for step in range(-1, int(np.log2(scale.vmax)) + 1)]
    bar.set_ticks(ticks, labels=["1/2", *(f"{tick:g}" for tick in ticks[1:])])
    bar.minorticks_off()
    bar.set_label("attention on a patch; 1: evenly spread", fontsize=FONT)
    for row, strip in enumerate(right.subfigures(rows, 1)[:count]):
        strip.suptitle(f"{row + 1}  {captions[row]}", fontsize=FONT + 1, x=0.01, ha="left")
        _show_object(strip, times[row], outlines[row], scale, image)
    return figure


def _show_object(strip: SubFigure, times: np.ndarray, outline: np.ndarray, scale: LogNorm,
                 image: np.ndarray) -> None:
    """Draw the heads' mean over the tile, and each of `times` [heads, rows, columns]."""
    columns = -(-len(times) // 2)
    cells = strip.add_gridspec(2, 1 + columns, width_ratios=(2.2, *[1] * columns))
    _show_heat(strip.add_subplot(cells[:, 0]), times.mean(0), scale, "mean of the heads", image,
               outline)
    for head, heat in enumerate(times):
        axes = strip.add_subplot(cells[head // columns, 1 + head % columns])
        _show_heat(axes, heat, scale, f"head {head + 1}", image, outline, opacity=1)


def _show_heat(axes: Axes, times: np.ndarray, scale: LogNorm, title: str, image: np.ndarray,
               outline: np.ndarray | None = None, opacity: float = 0.65) -> None:
    height, width = image.shape[:2]
    axes.imshow(image.mean(-1), cmap="gray", extent=(0, width, height, 0))
    axes.imshow(times, cmap=HEAT, norm=scale, extent=(0, width, height, 0), alpha=opacity)
    if outline is not None:
        axes.add_patch(Polygon(outline, fill=False, edgecolor=OBJECT_COLOUR, linewidth=1.4))
    axes.set_title(title, fontsize=FONT - 1, pad=2)
    _bare(axes, width, height)


def _show_tile(axes: Axes, image: np.ndarray, outlines: np.ndarray, name: str,
               first: int = 1) -> None:
    height, width = image.shape[:2]
    axes.imshow(image, extent=(0, width, height, 0))
    for number, box in enumerate(outlines, start=first):
        axes.add_patch(Polygon(box, fill=False, edgecolor=OBJECT_COLOUR, linewidth=1.6,
                               path_effects=_edge(3)))
        middle = box.clip((0, 0), (width, height)).mean(0)
        axes.text(*middle, str(number), color=OBJECT_COLOUR, fontsize=FONT + 3, ha="center",
                  va="center", path_effects=_edge(2.5))
    axes.set_title(name, fontsize=FONT + 1)
    _bare(axes, width, height)


def change_figure(name: str, image: np.ndarray, corners: np.ndarray,
                  changes: Mapping[str, np.ndarray], grid: tuple[int, int],
                  captions: Sequence[str]) -> Figure:
    """Return a row an object: its outline in the tile, and how far it moves each patch of the
    fused image, a column a fusion.

    Args:
        image: [H, W, 3] uint8.
        corners: [n, 4, 2] of the rotated boxes, in tile units.
        changes: fusion -> [n, L] of `object_influence`.
        grid: (rows, columns) of patches.
        captions: of the objects.
    """
    outlines = corners * (image.shape[1], image.shape[0])
    times = {mode: change / change.mean(1, keepdims=True).clip(1e-12)        # 1: spread evenly
             for mode, change in changes.items()}
    scale = LogNorm(FAINT, 16)
    figure = Figure(figsize=(2.6 * (1 + len(times)) + 0.6, 2.75 * len(captions)),
                    layout="constrained")
    figure.suptitle(name, fontsize=FONT + 1)
    for row, strip in enumerate(np.atleast_1d(figure.subfigures(len(captions), 1))):
        strip.suptitle(f"{row + 1}  {captions[row]}", fontsize=FONT, x=0.01, ha="left")
        axes = np.atleast_1d(strip.subplots(1, 1 + len(times)))
        _show_tile(axes[0], image, outlines[row:row + 1], "", first=row + 1)
        for place, (mode, change) in zip(axes[1:], times.items(), strict=True):
            _show_heat(place, change[row].reshape(grid), scale, f"{mode} fusion", image,
                       outlines[row])
        bar = strip.colorbar(ScalarMappable(scale, HEAT), ax=axes, extend="both", aspect=15)
        bar.set_ticks([0.5, 1, 2, 4, 8, 16], labels=["1/2", "1", "2", "4", "8", "16"])
        bar.minorticks_off()
        bar.set_label("change; 1: even", fontsize=FONT - 2)
    return figure


def shares_figure(objects: ObjectAttention, summary: dict) -> Figure:
    """Return attention share over box share of all objects, and the lift by size and by head.

    At least one of the objects has a box that covers some of its tile.
    """
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    cloud, sizes, heads = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
    boxed = objects.where(objects.box_share > 0)
    _show_cloud(cloud, boxed, summary)
    _show_sizes(sizes, summary["sizes"])
    _show_heads(heads, summary)
    return figure


def _show_cloud(axes: Axes, objects: ObjectAttention, summary: dict) -> None:
    least = 10 ** np.floor(np.log10(np.quantile(objects.box_share, 0.005)))
    axes.scatter(objects.box_share, objects.share, s=5,
                 alpha=float(np.clip(2000 / len(objects), 0.08, 0.8)), color=OSM_COLOUR,
                 linewidths=0, label="an object")
    axes.plot([least, 1], [least, 1], color="black", linewidth=1, label="uniform attention")
    axes.plot([size["box_share"] for size in summary["sizes"]],
              [size["attention_share"] for size in summary["sizes"]], color=IMAGE_COLOUR,
              marker="o", markersize=6, label="mean of a size class")
    axes.set(xscale="log", yscale="log", xlim=(least, 1.3), ylim=(least, 1.3), aspect="equal")
    axes.set_xlabel("box's share of the tile")
    axes.set_ylabel("share of attention inside the box")
    axes.set_title(f"{len(objects)} objects: {summary['attention_share']:.2%} of attention "
                   f"on\nboxes of {summary['box_share']:.2%} of the tile, lift "
                   f"{summary['lift']:.2f} ± {summary['lift_standard_error']:.2f}",
                   fontsize=FONT + 1)
    legend = axes.legend(fontsize=FONT - 1, loc="upper left")
    for handle in legend.legend_handles:
        handle.set_alpha(1)
    axes.grid(alpha=0.3)


def _show_sizes(axes: Axes, sizes: Sequence[dict]) -> None:
    ticks = np.arange(len(sizes))
    bars = (("by the object itself", "lift", OSM_COLOUR, -0.2),
            ("by the tile's other objects", "lift_of_others", QUIET, 0.2))
    for label, key, colour, shift in bars:
        values = [size[key] for size in sizes]
        _label(axes, axes.bar(ticks + shift, values, 0.38, color=colour, label=label))
    axes.set_xticks(ticks, [f"{size['patches']}\n{size['objects']}" for size in sizes],
                    fontsize=FONT - 1)
    axes.set_xlabel("size of the box in patches; number of objects")
    axes.set_title("lift by size: attention on the box\n/ the box's share of the tile",
                   fontsize=FONT + 1)
    _uniform(axes)


def _show_heads(axes: Axes, summary: dict) -> None:
    heads = summary["heads"]
    _label(axes, axes.bar([*(str(head["head"]) for head in heads), "mean"],
                          [*(head["lift"] for head in heads), summary["lift"]],
                          color=[OSM_COLOUR] * len(heads) + [IMAGE_COLOUR]))
    axes.set_xlabel("attention head")
    axes.set_title("lift by head, all objects", fontsize=FONT + 1)
    _uniform(axes)


def _label(axes: Axes, bars: BarContainer) -> None:
    axes.bar_label(bars, fmt="%.2f", fontsize=FONT - 2, padding=1,
                   bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.3})


def _uniform(axes: Axes) -> None:
    axes.axhline(1, color="black", linewidth=1, linestyle="--", label="uniform attention")
    axes.margins(y=0.3)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=FONT - 1, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)


def _bare(axes: Axes, width: int, height: int) -> None:
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))


def _edge(linewidth: float) -> list:
    return [withStroke(linewidth=linewidth, foreground="black")]
