"""The colours of all figures, maps and pages, each stated here alone.

Colour-blind readers can distinguish classes: any two of the nine of land use differ by at least
LEAST_DIFFERENCE (CIEDE2000) in normal vision, protanopia, deuteranopia and tritanopia, and any two
of twenty by LEAST_OF_TWENTY. So do the series of plots and the layers of OSM objects. Further
classes differ in normal vision. `python -m benchmarks.palette` finds such colours.
"""

import colorsys
from collections.abc import Iterable, Sequence

import numpy as np

# Of any two of the nine classes, series or layers, and of twenty classes; 1 is just visible.
LEAST_DIFFERENCE, LEAST_OF_TWENTY = 14, 10

# Land use as maps colour it: water blue, plants green, fields yellow, built-up land warm, streets
# dark.
CLASS_COLOURS = {
    "water": "#4aa8ea", "green": "#2a8257", "farmland": "#f9e15c", "undeveloped": "#b3a692",
    "residential": "#e2812a", "commercial": "#c2251f", "institution": "#8c5aa6",
    "industrial": "#4f2a20", "transport": "#434853",
}
# Of classes of other names, the first that is free: the nine above, and eleven more.
PALETTE = ("#4aa8ea", "#c2251f", "#4b1e78", "#f9e15c", "#878787", "#d2f0d2", "#e2812a", "#434853",
           "#8c5aa6", "#96f0ff", "#4f2a20", "#2a8257", "#b3a692", "#f0a5c3", "#0000d2", "#696978",
           "#7869ff", "#c3d296", "#c378b4", "#3c5a4b")
EVENLY = 0.8192, 0.6711, 0.5497                  # steps that fill a cube of colours evenly
STRIPES = (236, 205)                             # greys of a pixel whose class is unknown
UNKNOWN_COLOUR, UNKNOWN_EDGE = "#ececec", "#b0b0b0"  # of the same in a legend, hatched
NO_TILE, NO_VALUE = "#d2d2d2", "#6f6f6f"         # ground without a tile, a tile without a value

IMAGE_COLOUR, OSM_COLOUR = "#2a6f97", "#bc6c25"
DARK_PAGE = {IMAGE_COLOUR: "#74a6c6", OSM_COLOUR: "#d79a60"}  # what they become on dark pages
SERIES_COLOURS = (IMAGE_COLOUR, OSM_COLOUR, "#56b893", "#9a7fe8", "#8f2e1c", "#2b3236")
TRUE_COLOUR, GUESS_COLOUR = "#ffffff", "#ffd60a"  # outlines over imagery
OBJECT_COLOUR = "#40e0ff"                        # of the chosen object, over imagery and heat
OSM_GROUND = "#f4f1ea"                           # below objects drawn without imagery
DARK_GROUND = "#3a3f44"                          # the same, below bright colours of layers
LABEL_TONES = ((0.55, 0.85), (0.9, 0.6), (0.35, 1.0))  # saturation, value; of 21 codes each
QUIET, LINE = "#999999", "#444444"               # bars beside those that matter, and thin lines

# matplotlib's maps of colours: of amounts, and of differences with a sign
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
SHARES, HEAT = "Blues", "inferno"          # of shares with a number in each cell, and of attention

# Bright, to be seen over imagery; from what lies below to what lies above.
LAYER_COLOURS = {
    "landuse": "#f0e442", "leisure": "#00c48c", "nature": "#2f7bff", "amenity": "#f4a6ff",
    "road": "#ffffff", "building": "#ff5a00",
}


def class_colours(classes: Sequence[str]) -> list[str]:
    """Return a colour #rrggbb for each class: the nine of land use have their own."""
    own = [CLASS_COLOURS.get(name.casefold()) for name in classes]
    free = [colour for colour in PALETTE if colour not in own]
    free += [_hex(24 / 255 + 0.8 * (index * step % 1) for step in EVENLY)
             for index in range(1, len(classes))]
    return [colour or free.pop(0) for colour in own]


def label_colour(code: int) -> str:
    """Return a colour #rrggbb for a label code.

    Neighbouring codes get hues far apart; codes whose hue comes again get another tone.
    """
    return _hex(colorsys.hsv_to_rgb(code * 0.618034 % 1, *LABEL_TONES[code // 21 % 3]))


def _hex(shares: Iterable[float]) -> str:
    return "#" + bytes(round(255 * share) for share in shares).hex()


def rgb(colours: Sequence[str]) -> np.ndarray:
    """Return colours #rrggbb as numbers, uint8 [n, 3]."""
    return np.array([list(bytes.fromhex(colour[1:])) for colour in colours],
                    np.uint8).reshape(-1, 3)


def painted(labels: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """Return classes [H, W] in their colours, uint8 [H, W, 3]; those beyond are striped grey."""
    height, width = labels.shape
    table = rgb(colours)                                                                   # [C, 3]
    diagonal = np.add.outer(np.arange(height), np.arange(width)) // max(width // 28, 1) % 2
    stripes = np.where(diagonal, *STRIPES)[..., None].repeat(3, 2).astype(np.uint8)
    known = labels < len(table)
    return np.where(known[..., None], table[np.where(known, labels, 0)], stripes)
