"""Figures of a pretraining run. Each function returns a matplotlib Figure; nothing here touches a
display."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor
from torch_geometric.data import Batch

from datasets.plot import draw_objects
from datasets.stores.tile import CORNERS
from datasets.tiles import denormalise
from models import RoseOutput
from utils.drawing import FIGURE_FONT, bare
from utils.style import GUESS_COLOUR, IMAGE_COLOUR, OSM_COLOUR, TRUE_COLOUR


def loss_figure(rows: Sequence[dict[str, float]]) -> Figure:
    """Both losses and the learning rate over the steps, from the rows of metrics.csv."""
    steps = [row["global_step"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name, title, colour in zip(figure.subplots(1, 2), ("image_loss", "osm_loss"),
                                         ("image from OSM", "OSM from image"),
                                         (IMAGE_COLOUR, OSM_COLOUR), strict=True):
        values = [row[name] for row in rows]
        axes.plot(steps, values, color=colour, marker="o" if len(rows) < 20 else None,
                  markersize=3)
        axes.set(xlabel="step", ylabel="mean squared error")
        axes.set_title(f"{title}: {values[0]:.4g} at first, {values[-1]:.4g} at last",
                       fontsize=FIGURE_FONT + 1)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        _mark_epochs(axes, rows)
    return figure


def _mark_epochs(axes: Axes, rows: Sequence[dict[str, float]]) -> None:
    last = {row["epoch"]: row["global_step"] for row in rows}
    top = axes.secondary_xaxis("top")
    chosen = sorted(last)[:: max(len(last) // 6, 1)]
    top.set_xticks([last[epoch] for epoch in chosen], [f"{epoch:.0f}" for epoch in chosen],
                   fontsize=7)
    top.set_xlabel("epochs done", fontsize=7)


def image_figure(images: Tensor, graphs: Batch, out: RoseOutput, patch: int, unpatchify) -> Figure:
    """One row a tile: its OSM objects, the image, what Rose saw of it, and its reconstruction with
    the true patches framed.

    Args:
        images: [B, 3, H, W] normalised.
        patch: side of a patch in pixels.
        unpatchify: pixels [B, L, p * p * 3] and a grid -> images [B, 3, H, W].
    """
    count, _, height, width = images.shape
    grid = (height // patch, width // patch)
    hidden = _upsample(out.image_mask, grid, patch)                                     # [B, H, W]
    filled = torch.where(hidden[:, None], unpatchify(out.image_pred, grid), images)
    true, filled = denormalise(images).numpy(), denormalise(filled).numpy()
    seen = np.where(hidden[..., None].numpy(), 225, true).astype(np.uint8)
    share = out.image_mask.float().mean().item()
    titles = ("OSM objects: all shown", "image", f"shown of the image: {1 - share:.0%}",
              "reconstruction; framed: true pixels")
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


def osm_figure(explained: dict[str, float], images: Tensor, graphs: Batch, out: RoseOutput,
               captions: Sequence[Sequence[str]]) -> Figure:
    """What is explained of each feature group, and hidden objects with their true and their
    reconstructed boxes.

    Args:
        explained: feature group -> share of its variance.
        captions: per tile, a line for each of its masked nodes.
    """
    figure = Figure(figsize=(13, 5), layout="constrained")
    bars, *cells = figure.subplots(1, 1 + len(images), width_ratios=(0.55, *[1] * len(images)),
                                   squeeze=False)[0]
    names = list(explained)[::-1]
    bars.barh(names, [max(explained[name], 0) for name in names], color=OSM_COLOUR)
    for place, name in enumerate(names):
        text = f"{explained[name]:.2f}" if explained[name] > 0 else "not yet"
        bars.text(max(explained[name], 0) + 0.02, place, text, va="center", fontsize=FIGURE_FONT)
    bars.set(xlim=(0, 1.25), xticks=(0, 0.5, 1))
    bars.set_xlabel("share explained\n1: exact, 0: the mean object", fontsize=FIGURE_FONT - 1)
    bars.set_title("OSM from image,\nby feature group", fontsize=FIGURE_FONT)
    bars.spines[["top", "right"]].set_visible(False)
    masked = out.node_mask.nonzero()[:, 0]
    for tile, axes in enumerate(cells):
        axes.imshow(denormalise(images[tile]).numpy(), alpha=0.85)
        mine = (graphs.batch[masked] == tile).nonzero()[:, 0]
        for number, index in enumerate(mine.tolist(), start=1):
            # a prediction has no label column: count its corners from its own end
            predicted = out.osm_pred[index, CORNERS.start + 1 : CORNERS.stop + 1]
            _outline(axes, graphs.x[masked[index], CORNERS], TRUE_COLOUR, "-", images.shape[-1],
                     str(number))
            _outline(axes, predicted, GUESS_COLOUR, "--", images.shape[-1], str(number))
        axes.set(xlim=(0, images.shape[-1]), ylim=(images.shape[-2], 0))
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
        edge = [withStroke(linewidth=2, foreground="black")]
        axes.text(np.clip(x, 2, size - 14), np.clip(y, 12, size - 2), text, color=colour,
                  fontsize=8, va="bottom", path_effects=edge)


def _upsample(mask: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """[B, L] per patch -> [B, H, W] per pixel."""
    return mask.unflatten(1, grid).repeat_interleave(patch, 1).repeat_interleave(patch, 2)
