"""What figures are drawn with, of pretraining, of evaluations, of studies and of tiles; no network is needed for it."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon
from torch import Tensor

from datasets.land_use_classes import UNKNOWN
from datasets.tiles import CORNERS, LABEL
from utils.files import replacing
from utils.style import LINE, OSM_GROUND, UNKNOWN_COLOUR, UNKNOWN_EDGE, class_colours, label_colour

FIGURE_FONT = 9


def draw_objects(axes: Axes, nodes: Tensor, width: int, height: int) -> None:
    """Rotated boxes of nodes [n, F + 1], a colour per label code, large ones first."""
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", facecolor=OSM_GROUND)
    boxes = nodes[:, CORNERS].unflatten(1, (4, 2)).numpy() * (width, height)               # [n, 4, 2]
    for index in np.argsort([-_box_area(box) for box in boxes]):
        axes.add_patch(Polygon(boxes[index], **object_look(int(nodes[index, LABEL]))))


def object_look(code: int) -> dict[str, Any]:
    """How an object with a label code is drawn, and shown in a legend: arguments of a matplotlib patch."""
    return {"facecolor": to_rgba(label_colour(code), 0.55), "edgecolor": LINE, "linewidth": 0.4}


def _box_area(box: np.ndarray) -> float:
    x, y = box.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def class_handles(classes: Sequence[str], seen: Collection[int]) -> list[Patch]:
    """Of a legend: of the classes that are seen, and of pixels whose class is unknown where they are."""
    colours = class_colours(classes)
    handles = [Patch(facecolor=colours[place], label=name) for place, name in enumerate(classes) if place in seen]
    if UNKNOWN in seen:
        handles.append(Patch(facecolor=UNKNOWN_COLOUR, edgecolor=UNKNOWN_EDGE, hatch="////", linewidth=0, label="unknown"))
    return handles


def bare(axes: Axes) -> None:
    """Axes of a picture: no ticks."""
    axes.set(xticks=[], yticks=[])


def to_picture(figure: Figure) -> Tensor:
    """[H, W, 3] uint8 pixels of a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.array(canvas.buffer_rgba())[..., :3])


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a picture that is whole or absent; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)
