"""The picture of one tile: image, OSM objects and targets side by side."""

import colorsys
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

from datasets.classes import LandUseClasses
from datasets.stores.city import MODALITIES
from datasets.stores.tile import CORNERS, LABEL
from datasets.targets import UNKNOWN
from utils.drawing import FIGURE_FONT, bare, literal
from utils.style import (
    LINE,
    OSM_GROUND,
    UNKNOWN_COLOUR,
    UNKNOWN_EDGE,
    hexadecimal,
    rgb,
)

# inches: side of a picture, titles above, and a line of a legend below
PANEL, HEAD, LINE_HEIGHT = 3.6, 0.9, 0.21
LISTED_TAGS = 12                     # the commonest; a legend of all would be larger than the tile
STRIPES = (236, 205)                 # greys of a pixel whose class is unknown
LABEL_TONES = ((0.55, 0.85), (0.9, 0.6), (0.35, 1.0))  # saturation, value; of 21 codes each
AMOUNTS = {"pop": "people", "CO2": "t CO2 a year"}


def tile_figure(
    image: Tensor, graph: Data, tags: Mapping[int, tuple[str, str | None]],
    land_use: Tensor | None, totals: Mapping[str, float], known: LandUseClasses,
    modalities: Sequence[str] = MODALITIES, counted: Mapping[str, str] | None = None,
) -> Figure:
    """Return a tile's image, its OSM objects and, if it is known, its land use.

    Totals stand in the title.

    Args:
        image: uint8 [3, H, W].
        graph: of the tile, with its `name`.
        tags: label code -> tag value and, if it is known, layer.
        land_use: uint8 [H, W].
        totals: of the tile, by the names of AMOUNTS.
        known: the classes of land use.
        modalities: what the tile has; the picture of the other one is left out.
    """
    objects = _tag_handles(tags, graph.x[:, LABEL].int().tolist())
    classes = [] if land_use is None else class_handles(
        known.names, known.colours, set(np.unique(land_use)))
    kinds = [*modalities, *["land use"] * bool(classes)]
    lines = -(-max(len(objects), len(classes)) // 2)
    figure = Figure(figsize=(PANEL * len(kinds), HEAD + PANEL + LINE_HEIGHT * lines),
                    layout="constrained")
    rows = figure.subplots(2, len(kinds), squeeze=False,
                           height_ratios=(PANEL, LINE_HEIGHT * max(lines, 0.1)))
    axes, below = (dict(zip(kinds, row, strict=True)) for row in rows)
    if "image" in axes:
        axes["image"].imshow(image.movedim(0, -1).numpy())
    if "osm" in axes:
        draw_objects(axes["osm"], graph.x, image.shape[-1], image.shape[-2])
    if classes:
        axes["land use"].imshow(painted(land_use.numpy(), known.colours), interpolation="nearest")
    count = len(graph.x)
    titles = {"osm": f"{count or 'no'} OSM object{'s' * (count > 1)}"}
    legends = {"osm": objects, "land use": classes}
    for kind, panel in axes.items():
        bare(panel)
        panel.set_title(titles.get(kind, kind), fontsize=FIGURE_FONT + 1)
        below[kind].axis("off")
        if handles := legends.get(kind):
            below[kind].legend(handles=handles, loc="upper center", borderaxespad=0, ncols=2,
                               frameon=False, fontsize=FIGURE_FONT - 1)
    amounts = [f"{total:,.4g} {what}" for name, what in (AMOUNTS | (counted or {})).items()
               if (total := totals.get(name)) is not None]
    figure.suptitle("\n".join([graph.name, ", ".join(amounts)]).strip(), fontsize=FIGURE_FONT + 2)
    return literal(figure)


def _tag_handles(tags: Mapping[int, tuple[str, str | None]], codes: list[int]) -> list[Patch]:
    """Return a legend of the commonest tags and how many objects have each.

    A tag that several layers have is named with its layer.
    """
    commonest = Counter(codes).most_common()
    shown = commonest if len(commonest) <= LISTED_TAGS else commonest[: LISTED_TAGS - 1]
    names = [tags[code][0] for code, _ in shown]
    handles = []
    for name, (code, count) in zip(names, shown, strict=True):
        layer = f" ({tags[code][1]})" if names.count(name) > 1 and tags[code][1] else ""
        handles.append(Patch(**object_look(code), label=f"{name}{layer} {count}"))
    if rest := commonest[len(shown):]:
        others = sum(count for _, count in rest)
        handles.append(Patch(visible=False, label=f"{len(rest)} other tags {others}"))
    return handles


def draw_objects(axes: Axes, nodes: Tensor, width: int, height: int) -> None:
    """Draw rotated boxes of nodes [n, F + 1], a colour per label code, large ones first."""
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", facecolor=OSM_GROUND)
    boxes = nodes[:, CORNERS].unflatten(1, (4, 2)).numpy() * (width, height)            # [n, 4, 2]
    for index in np.argsort([-_box_area(box) for box in boxes]):
        axes.add_patch(Polygon(boxes[index], **object_look(int(nodes[index, LABEL]))))


def object_look(code: int) -> dict[str, Any]:
    """Return how an object with a label code looks: arguments of a matplotlib patch."""
    return {"facecolor": to_rgba(label_colour(code), 0.55), "edgecolor": LINE, "linewidth": 0.4}


def label_colour(code: int) -> str:
    """Return a colour #rrggbb for a label code.

    Neighbouring codes get hues far apart; codes whose hue comes again get another tone.
    """
    return hexadecimal(colorsys.hsv_to_rgb(code * 0.618034 % 1, *LABEL_TONES[code // 21 % 3]))


def _box_area(box: np.ndarray) -> float:
    x, y = box.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def class_handles(classes: Sequence[str], colours: Sequence[str],
                  seen: Collection[int]) -> list[Patch]:
    """Return a legend of the classes that are seen, and of unknown pixels if there are any."""
    handles = [Patch(facecolor=colour, label=name)
               for code, (name, colour) in enumerate(zip(classes, colours, strict=True))
               if code in seen]
    if UNKNOWN in seen:
        handles.append(Patch(facecolor=UNKNOWN_COLOUR, edgecolor=UNKNOWN_EDGE, hatch="////",
                             linewidth=0, label="unknown"))
    return handles


def painted(labels: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """Return classes [H, W] in their colours, uint8 [H, W, 3]; those beyond are striped grey."""
    height, width = labels.shape
    table = rgb(colours)                                                                   # [C, 3]
    diagonal = np.add.outer(np.arange(height), np.arange(width)) // max(width // 28, 1) % 2
    stripes = np.where(diagonal, *STRIPES)[..., None].repeat(3, 2).astype(np.uint8)
    known = labels < len(table)
    return np.where(known[..., None], table[np.where(known, labels, 0)], stripes)
