"""The picture of one tile: what is known of it, side by side."""

from collections import Counter

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from datasets.land_use_classes import CLASSES
from datasets.tiles import LABEL, TileDataset, city_of
from utils.drawing import FIGURE_FONT, bare, class_handles, draw_objects, object_look
from utils.style import class_colours, painted

PANEL, HEAD, LINE_HEIGHT = 3.6, 0.9, 0.21  # inches: side of a picture, titles above, and a line of a legend below
LISTED_TAGS = 12                          # the commonest; a legend of all would be larger than the tile
AMOUNTS = {"pop": "{:,.4g} people", "CO2": "{:,.4g} t CO2 a year"}


def tile_figure(tiles: TileDataset, index: int) -> Figure:
    """Image, OSM objects and, where the tile has one, land use of tile `index`; its population and CO2, where known, in the title.

    Raises:
        TileError: the tile cannot be read.
    """
    image, graph = tiles.read(index)
    land_use = tiles.land_use(index)
    tags = _tag_handles(tiles, index, graph.x[:, LABEL].int().tolist())
    classes = [] if land_use is None else class_handles(CLASSES, set(np.unique(land_use)))
    columns, lines = 2 + bool(classes), -(-max(len(tags), len(classes)) // 2)
    figure = Figure(figsize=(PANEL * columns, HEAD + PANEL + LINE_HEIGHT * lines), layout="constrained")
    axes, below = figure.subplots(2, columns, height_ratios=(PANEL, LINE_HEIGHT * max(lines, 0.1)))
    axes[0].imshow(image.movedim(0, -1).numpy())
    draw_objects(axes[1], graph.x, image.shape[-1], image.shape[-2])
    if classes:
        axes[2].imshow(painted(land_use.numpy(), class_colours(CLASSES)), interpolation="nearest")
    for one, title, legend, handles in zip(axes, ("image", _counted(len(graph.x), "OSM object"), "land use"), below, ([], tags, classes),
                                           strict=False):
        bare(one)
        one.set_title(title, fontsize=FIGURE_FONT + 1)
        legend.axis("off")
        if handles:
            legend.legend(handles=handles, loc="upper center", borderaxespad=0, ncols=2, frameon=False, fontsize=FIGURE_FONT - 1)
    known = [text.format(total) for name, text in AMOUNTS.items() if (total := tiles.total(index, name)) is not None]
    figure.suptitle("\n".join([graph.name, ", ".join(known)]).strip(), fontsize=FIGURE_FONT + 2)
    return figure


def _tag_handles(tiles: TileDataset, index: int, codes: list[int]) -> list[Patch]:
    """Of a legend: the commonest tags and how many objects have each; a tag that several layers have with its layer."""
    commonest = Counter(codes).most_common()
    shown = commonest if len(commonest) <= LISTED_TAGS else commonest[: LISTED_TAGS - 1]
    names = [tiles.tag(index, code) for code, _ in shown]
    layers = tiles.meta.get(city_of(tiles.names[index]), {}).get("label_layers", [])
    handles = []
    for name, (code, count) in zip(names, shown, strict=True):
        layer = f" ({layers[code]})" if names.count(name) > 1 and code < len(layers) else ""
        handles.append(Patch(**object_look(code), label=f"{name}{layer} {count}"))
    if rest := commonest[len(shown):]:
        handles.append(Patch(visible=False, label=f"{len(rest)} other tags {sum(count for _, count in rest)}"))
    return handles


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'s' * (count > 1)}"
