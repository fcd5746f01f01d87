"""The colours of all figures, maps and pages, each stated here alone.

Colour-blind readers can distinguish the series of plots, the layers of OSM objects and the classes
of land use: any two differ by at least LEAST_DIFFERENCE (CIEDE2000) in normal vision, protanopia,
deuteranopia and tritanopia; of twenty classes by LEAST_OF_TWENTY (benchmarks/palette.py).
"""

from collections.abc import Iterable, Sequence

import numpy as np

LEAST_DIFFERENCE, LEAST_OF_TWENTY = 14, 10  # as above, for every reader; 1 is just visible

# Land use as maps colour it: water blue, plants green, built-up land warm, streets dark.
CLASS_COLOURS = {
    "water": "#4aa8ea", "green": "#2a8257", "farmland": "#f9e15c", "undeveloped": "#b3a692",
    "residential": "#e2812a", "commercial": "#c2251f", "institution": "#8c5aa6",
    "industrial": "#4f2a20", "transport": "#434853",
}
# Of other classes: those above and eleven more. Words in a name that wish for one come first.
PALETTE = ("#4aa8ea", "#c2251f", "#4b0f87", "#f9e15c", "#696978", "#c3d2e1", "#e2812a", "#b3a692",
           "#96ffc3", "#2a8257", "#4f2a20", "#8c5aa6", "#3c5a4b", "#878796", "#0000e1", "#7869ff",
           "#b4c378", "#5a4b78", "#ff3c69", "#434853")
WISHES = {
    "#4aa8ea": "water lake river pond sea", "#434853": "road street rail paved parking",
    "#2a8257": "wood forest tree vegetation", "#b4c378": "grass meadow lawn open",
    "#3c5a4b": "park garden wetland", "#f9e15c": "farm crop field agric", "#4f2a20": "industr work",
    "#e2812a": "resident urban town hous building", "#c2251f": "commerc retail shop",
    "#8c5aa6": "school instit public", "#b3a692": "bare soil sand",
}
EVENLY = 0.8192, 0.6711, 0.5497                  # steps that fill a cube of colours evenly
UNKNOWN_COLOUR, UNKNOWN_EDGE = "#ececec", "#b0b0b0"  # of no class in a legend, hatched
NO_TILE, NO_VALUE = "#d2d2d2", "#6f6f6f"         # ground without a tile, a tile without a value

IMAGE_COLOUR, OSM_COLOUR = "#2a6f97", "#bc6c25"
DARK_PAGE = {IMAGE_COLOUR: "#74a6c6", OSM_COLOUR: "#d79a60"}  # what they become on dark pages
SERIES_COLOURS = (IMAGE_COLOUR, OSM_COLOUR, "#56b893", "#9a7fe8", "#8f2e1c", "#2b3236")
TRUE_COLOUR, GUESS_COLOUR = "#ffffff", "#ffd60a"  # outlines over imagery
OBJECT_COLOUR = "#40e0ff"                        # of the chosen object, over imagery and heat
OSM_GROUND = "#f4f1ea"                           # below objects drawn without imagery
QUIET, LINE = "#999999", "#444444"               # bars beside those that matter, and thin lines

# matplotlib's maps of colours: of amounts, differences with a sign, shares in cells, attention
SEQUENTIAL, DIVERGING, SHARES, HEAT = "viridis", "RdBu_r", "Blues", "inferno"

# Bright, to be seen over imagery; from what lies below to what lies above.
LAYER_COLOURS = {
    "landuse": "#f0e442", "leisure": "#00c48c", "nature": "#2f7bff", "amenity": "#f4a6ff",
    "road": "#ffffff", "building": "#ff5a00"}


def class_colours(classes: Sequence[str]) -> list[str]:
    """Return a colour #rrggbb for each class: the nine of land use have their own."""
    folded = {name: f" {name.casefold().replace('_', ' ')}" for name in classes}
    taken = {name: CLASS_COLOURS[text[1:]] for name, text in folded.items()
             if text[1:] in CLASS_COLOURS}
    for name, text in folded.items():
        wishes = [colour for colour, words in WISHES.items() if colour not in taken.values()
                  and any(f" {word}" in text for word in words.split())]
        if wishes and name not in taken:
            taken[name] = wishes[0]
    free = [colour for colour in PALETTE if colour not in taken.values()]
    free += [hexadecimal(24 / 255 + 0.8 * (index * step % 1) for step in EVENLY)
             for index in range(1, len(classes))]
    return [taken.get(name) or free.pop(0) for name in classes]


def hexadecimal(shares: Iterable[float]) -> str:
    """Return red, green and blue of 0 to 1 as #rrggbb."""
    return "#" + bytes(round(255 * share) for share in shares).hex()


def rgb(colours: Sequence[str]) -> np.ndarray:
    """Return colours #rrggbb as numbers, uint8 [n, 3]."""
    return np.array([list(bytes.fromhex(one[1:])) for one in colours], np.uint8).reshape(-1, 3)
