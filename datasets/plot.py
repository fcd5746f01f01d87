"""The picture of one tile: what is known of it, side by side."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon
from torch import Tensor
from torch_geometric.data import Data

from datasets.stores.tile import CORNERS, LABEL
from datasets.targets import CLASSES, UNKNOWN
from utils.drawing import FIGURE_FONT, bare
from utils.style import (
    LINE,
    OSM_GROUND,
    UNKNOWN_COLOUR,
    UNKNOWN_EDGE,
    class_colours,
    label_colour,
    painted,
)

# inches: side of a picture, titles above, and a line of a legend below
PANEL, HEAD, LINE_HEIGHT = 3.6, 0.9, 0.21
LISTED_TAGS = 12                     # the commonest; a legend of all would be larger than the tile
AMOUNTS = {"pop": "{:,.4g} people", "CO2": "{:,.4g} t CO2 a year"}


def tile_figure(
    image: Tensor, graph: Data, tags: Mapping[int, tuple[str, str | None]],
    land_use: Tensor | None, totals: Mapping[str, float],
) -> Figure:
    """Draw a tile's image, its OSM objects and, where there is one, its land use; its totals stand
    in the title.

    Args:
        image: uint8 [3, H, W].
        graph: of the tile, with its `name`.
        tags: label code -> tag value and, where it is known, layer.
        land_use: uint8 [H, W].
        totals: of the tile, by the names of AMOUNTS.
    """
    handles_of_tags = _tag_handles(tags, graph.x[:, LABEL].int().tolist())
    classes = [] if land_use is None else class_handles(CLASSES, set(np.unique(land_use)))
    columns, lines = 2 + bool(classes), -(-max(len(handles_of_tags), len(classes)) // 2)
    figure = Figure(figsize=(PANEL * columns, HEAD + PANEL + LINE_HEIGHT * lines),
                    layout="constrained")
    axes, below = figure.subplots(2, columns, height_ratios=(PANEL, LINE_HEIGHT * max(lines, 0.1)))
    axes[0].imshow(image.movedim(0, -1).numpy())
    draw_objects(axes[1], graph.x, image.shape[-1], image.shape[-2])
    if classes:
        axes[2].imshow(painted(land_use.numpy(), class_colours(CLASSES)), interpolation="nearest")
    for one, title, legend, handles in zip(axes, ("image", _counted(len(graph.x), "OSM object"),
                                                  "land use"), below,
                                           ([], handles_of_tags, classes),
                                           strict=False):
        bare(one)
        one.set_title(title, fontsize=FIGURE_FONT + 1)
        legend.axis("off")
        if handles:
            legend.legend(handles=handles, loc="upper center", borderaxespad=0, ncols=2,
                          frameon=False, fontsize=FIGURE_FONT - 1)
    known = [text.format(total) for name, text in AMOUNTS.items()
             if (total := totals.get(name)) is not None]
    figure.suptitle("\n".join([graph.name, ", ".join(known)]).strip(), fontsize=FIGURE_FONT + 2)
    return figure


def _tag_handles(tags: Mapping[int, tuple[str, str | None]], codes: list[int]) -> list[Patch]:
    """Of a legend: the commonest tags and how many objects have each; a tag that several layers
    have with its layer."""
    commonest = Counter(codes).most_common()
    shown = commonest if len(commonest) <= LISTED_TAGS else commonest[: LISTED_TAGS - 1]
    names = [tags[code][0] for code, _ in shown]
    handles = []
    for name, (code, count) in zip(names, shown, strict=True):
        layer = f" ({tags[code][1]})" if names.count(name) > 1 and tags[code][1] else ""
        handles.append(Patch(**object_look(code), label=f"{name}{layer} {count}"))
    if rest := commonest[len(shown):]:
        handles.append(Patch(visible=False, label=f"{len(rest)} other tags "
                                                  f"{sum(count for _, count in rest)}"))
    return handles


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'s' * (count > 1)}"


def draw_objects(axes: Axes, nodes: Tensor, width: int, height: int) -> None:
    """Rotated boxes of nodes [n, F + 1], a colour per label code, large ones first."""
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", facecolor=OSM_GROUND)
    boxes = nodes[:, CORNERS].unflatten(1, (4, 2)).numpy() * (width, height)            # [n, 4, 2]
    for index in np.argsort([-_box_area(box) for box in boxes]):
        axes.add_patch(Polygon(boxes[index], **object_look(int(nodes[index, LABEL]))))


def object_look(code: int) -> dict[str, Any]:
    """How an object with a label code is drawn, and shown in a legend: arguments of a matplotlib
    patch."""
    return {"facecolor": to_rgba(label_colour(code), 0.55), "edgecolor": LINE, "linewidth": 0.4}


def _box_area(box: np.ndarray) -> float:
    x, y = box.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def class_handles(classes: Sequence[str], seen: Collection[int]) -> list[Patch]:
    """Of a legend: of the classes that are seen, and of pixels whose class is unknown where they
    are."""
    colours = class_colours(classes)
    handles = [Patch(facecolor=colours[place], label=name) for place, name in enumerate(classes)
               if place in seen]
    if UNKNOWN in seen:
        handles.append(Patch(facecolor=UNKNOWN_COLOUR, edgecolor=UNKNOWN_EDGE, hatch="////",
                             linewidth=0, label="unknown"))
    return handles
