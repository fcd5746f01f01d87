"""Figures of a pretraining run. Each function returns a matplotlib Figure, shown nowhere."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor
from torch_geometric.data import Batch

from datasets.plot import draw_objects
from datasets.stores.tile import CORNERS
from models import RoseOutput
from models.rose import Rose
from utils.drawing import FIGURE_FONT, HALO, bare, literal
from utils.style import (
    GUESS_COLOUR,
    IMAGE_COLOUR,
    OSM_COLOUR,
    QUIET,
    SERIES_COLOURS,
    TRUE_COLOUR,
)
from utils.tables import format_number

POINTS = 500  # most of a line; more rows are averaged in equal stretches


# column -> title and colour
LOSSES = {"image_loss": ("image from OSM", IMAGE_COLOUR),
          "osm_loss": ("OSM from image", OSM_COLOUR),
          "contrast_loss": ("objects and their patches", SERIES_COLOURS[2])}


def loss_figure(rows: Sequence[dict[str, float]], units: Sequence[str]) -> Figure:
    """Return losses, learning rate and speed over the steps, from the rows of metrics.csv; `units`
    are those of each loss."""
    names = [name for name in LOSSES if name in rows[0]]
    figure = Figure(figsize=(4.5 * len(names), 5.8), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)  # inches
    losses, others = figure.subplots(2, len(names), height_ratios=(1.6, 1))
    for axes, name, unit in zip(losses, names, units, strict=True):
        _draw_line(axes, rows, name, *LOSSES[name])
        axes.set_ylabel(unit)
        _mark_epochs(axes, rows)
    _draw_line(others[0], rows, "lr", "learning rate", QUIET)
    _draw_line(others[1], rows, "samples_per_second", "tiles a second", QUIET)
    for axes in others[2:]:
        axes.remove()
    return figure


def _draw_line(axes: Axes, rows: Sequence[dict[str, float]], name: str, title: str,
               colour: str) -> None:
    values = [row[name] for row in rows]
    stretches = np.array_split(np.arange(len(rows)), min(len(rows), POINTS))
    axes.plot([rows[stretch[-1]]["global_step"] for stretch in stretches],
              [np.take(values, stretch).mean() for stretch in stretches], color=colour,
              marker="o" if len(rows) < 20 else None, markersize=3)
    axes.set(xlabel="step")
    axes.set_title(f"{title}: {format_number(values[0])} at first, {format_number(values[-1])} at "
                   "last", fontsize=FIGURE_FONT + 1)
    axes.set_ylim(0, 1.06 * max(values) or 1)
    axes.grid(alpha=0.3)


def _mark_epochs(axes: Axes, rows: Sequence[dict[str, float]]) -> None:
    last = {row["epoch"]: row["global_step"] for row in rows}
    top = axes.secondary_xaxis("top")
    marked = sorted(last)[:: max(len(last) // 6, 1)]
    top.set_xticks([last[epoch] for epoch in marked], [f"{epoch:.0f}" for epoch in marked],
                   fontsize=7)
    top.set_xlabel("epochs done", fontsize=7)


def image_figure(images: Tensor, graphs: Batch, out: RoseOutput, rose: Rose) -> Figure:
    """Return a row a tile: OSM objects, image, what Rose saw of it, and its reconstruction;
    true patches in it are framed. With image_target=patch_norm each patch has its true mean and
    deviation, which the title says.

    Args:
        images: [B, 3, H, W] normalised.
        rose: the network that `out` is of.
    """
    count, _, height, width = images.shape
    grid, patch = rose.image_encoder.grid(images), rose.image_encoder.patch
    hidden = out.image_mask.unflatten(1, grid)                                 # [B, rows, columns]
    hidden = hidden.repeat_interleave(patch, 1).repeat_interleave(patch, 2)             # [B, H, W]
    filled = torch.where(hidden[:, None], rose.unpatchify(out.image_pred, grid), images)
    true, filled = rose.denormalise(images).numpy(), rose.denormalise(filled).numpy()
    seen = np.where(hidden[..., None].numpy(), 225, true).astype(np.uint8)
    share = out.image_mask.float().mean().item()
    titles = ("OSM objects: all shown", "image", f"shown of the image: {1 - share:.0%}",
              "reconstruction; framed: true pixels"
              + "\nhidden patches: true mean, contrast" * (rose.image_target == "patch_norm"))
    figure = Figure(figsize=(10, 2.55 * count + 0.3), layout="constrained")
    for row, cells in enumerate(figure.subplots(count, 4, squeeze=False)):
        draw_objects(cells[0], graphs[row].x, width, height)
        for axes, picture in zip(cells[1:], (true, seen, filled), strict=True):
            axes.imshow(picture[row])
        for index in (~out.image_mask[row]).nonzero()[:, 0].tolist():
            corner = (index % grid[1] * patch - 0.5, index // grid[1] * patch - 0.5)
            cells[3].add_patch(Rectangle(corner, patch, patch, fill=False, edgecolor=TRUE_COLOUR,
                                         linewidth=0.5))
        cells[0].set_ylabel(graphs.name[row], fontsize=FIGURE_FONT)
        for axes, title in zip(cells, titles, strict=True):
            bare(axes)
            if row == 0:
                axes.set_title(title, fontsize=FIGURE_FONT)
    return figure


def osm_figure(explained: dict[str, float], pictures: Tensor, graphs: Batch, out: RoseOutput,
               captions: Sequence[Sequence[str]]) -> Figure:
    """Return what is explained of each feature group, and the boxes of hidden objects.

    Args:
        explained: feature group -> share of its variance.
        pictures: [B, H, W, 3] uint8.
        captions: per tile, a line for each of its masked nodes.
    """
    figure = Figure(figsize=(13, 5), layout="constrained")
    bars, *cells = figure.subplots(1, 1 + len(pictures), width_ratios=(0.55, *[1] * len(pictures)),
                                   squeeze=False)[0]
    names = list(explained)[::-1]
    bars.barh(names, [max(explained[name], 0) for name in names], color=OSM_COLOUR)
    for row, name in enumerate(names):
        text = f"{explained[name]:.2f}" if explained[name] > 0 else "not yet"
        bars.text(max(explained[name], 0) + 0.02, row, text, va="center", fontsize=FIGURE_FONT)
    bars.set(xlim=(0, 1.25), xticks=(0, 0.5, 1))
    bars.set_xlabel("share explained\n1: exact, 0: the mean object", fontsize=FIGURE_FONT - 1)
    bars.set_title("OSM from image,\nby feature group", fontsize=FIGURE_FONT)
    bars.spines[["top", "right"]].set_visible(False)
    masked = out.node_mask.nonzero()[:, 0]
    for tile, axes in enumerate(cells):
        axes.imshow(pictures[tile].numpy())
        mine = (graphs.batch[masked] == tile).nonzero()[:, 0]
        for number, index in enumerate(mine.tolist(), start=1):
            # a prediction has no label column: count its corners from its own end
            predicted = out.osm_pred[index, CORNERS.start + 1 : CORNERS.stop + 1]
            _outline(axes, graphs.x[masked[index], CORNERS], TRUE_COLOUR, "-", pictures.shape[2],
                     str(number))
            _outline(axes, predicted, GUESS_COLOUR, "--", pictures.shape[2], str(number))
        axes.set(xlim=(0, pictures.shape[2]), ylim=(pictures.shape[1], 0))
        bare(axes)
        axes.set_title(f"{graphs.name[tile]}\nhidden objects: true (white), guessed (yellow)",
                       fontsize=FIGURE_FONT - 1)
        axes.set_xlabel("\n".join(captions[tile]), fontsize=7, loc="left")
    return figure


def _outline(axes: Axes, corners: Tensor, colour: str, style: str, size: int,
             text: str = "") -> None:
    points = corners.reshape(4, 2).numpy() * size
    axes.add_patch(Polygon(points, fill=False, edgecolor=colour, linestyle=style, linewidth=1.2))
    if text:
        x, y = points[:, 0].max() + 1, points[:, 1].min()  # at its upper right corner, not over it
        edge = [withStroke(linewidth=2, foreground=HALO)]
        axes.text(np.clip(x, 2, size - 14), np.clip(y, 12, size - 2), text, color=colour,
                  fontsize=8, va="bottom", path_effects=edge)


def to_picture(figure: Figure) -> Tensor:
    """Return the pixels of a figure, uint8 [H, W, 3]."""
    canvas = FigureCanvasAgg(literal(figure))
    canvas.draw()
    return torch.from_numpy(np.array(canvas.buffer_rgba())[..., :3])
