"""All maps of a place side by side in one picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from reports.scene import Layer, scene_layers, scene_size
from utils.drawing import FIGURE_FONT, bare, save_figure
from utils.tables import format_share

PANEL = 4.3          # inches along a panel's longer side
ACROSS = 2           # panels in a row
LEGEND_COLUMNS = 3
FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".pdf", ".svg")


def save_poster(folders: Sequence[Path], path: Path) -> None:
    """Draw the imagery of the first scene, and all maps over their imagery in the ground's shape.

    `path` ends in one of FORMATS. Raise ReportError if a folder holds no scene, or one of its
    pictures cannot be read.
    """
    scenes = [(scene_size(folder), scene_layers(folder)) for folder in folders]
    panels = [(size, layers[0], None) for size, layers in scenes[:1]]
    panels += [(size, layers[0], layer) for size, layers in scenes for layer in layers[1:]]
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(PANEL * across, (PANEL + 0.6) * down), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)  # inches
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(panels):]:
        axes.axis("off")
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, *panel)
    save_figure(figure, path)


def _draw(axes: Axes, size: tuple[float, float], ground: Layer, layer: Layer | None) -> None:
    bare(axes)
    shown, extent = layer or ground, (0, size[0], size[1], 0)
    axes.set_anchor("N")
    axes.set_title(shown.name, fontsize=FIGURE_FONT + 2)
    with Image.open(ground.file) as picture:
        axes.imshow(picture.convert("RGB"), extent=extent)
    if layer is None:
        return
    with Image.open(layer.file) as picture:
        axes.imshow(picture.convert("RGBA"), extent=extent, interpolation="nearest",
                    alpha=layer.opacity)
    if layer.legend:
        handles = [Patch(facecolor=colour, label=f"{name} {format_share(share)}")
                   for name, colour, share, _ in layer.legend]
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0),
                    ncols=LEGEND_COLUMNS, frameon=False, fontsize=FIGURE_FONT)
    if layer.scale:
        low, high, colours, unit = layer.scale
        colour_of = ScalarMappable(Normalize(low, high),
                                   LinearSegmentedColormap.from_list("scale", list(colours)))
        bar = axes.figure.colorbar(colour_of, cax=axes.inset_axes([0.15, -0.07, 0.7, 0.03]),
                                   orientation="horizontal")
        bar.set_label(unit, fontsize=FIGURE_FONT)
