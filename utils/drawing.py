"""What figures are drawn with, of pretraining, of evaluations, of studies and of tiles; no network
is needed for it."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from utils.files import replacing

FIGURE_FONT = 9


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
    """Write a figure as a picture that is whole or absent; its folder is made where it is
    missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)
