"""Colours that all readers can distinguish: how far apart they are, and a search for more.

    python -m benchmarks.palette      # eleven colours beside the nine of land use (utils/style.py)

Two colours are as far apart as the reader for whom they differ least sees them: CIEDE2000 (Sharma,
Wu and Dalal 2005) in normal vision, and in protanopia, deuteranopia and tritanopia as Machado,
Oliveira and Fernandes simulate them (IEEE TVCG 15, 2009; severity 1). From a lattice of colours,
the search takes again and again the one that is furthest from its nearest neighbour.
"""

import itertools

import numpy as np

from utils.style import CLASS_COLOURS, UNKNOWN_COLOUR, rgb

COLOURS = 20
_STEPS = 18           # of a channel in the lattice
_LIGHTNESS = 22, 93   # of CIELAB: neither black nor white, which are no classes
_FROM_UNKNOWN = 8     # least difference from the grey of unknown pixels

# from linear RGB to the linear RGB that looks the same to such a reader
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.1191920, 0.9503041]])  # of linear sRGB


def seen(colours, vision) -> np.ndarray:
    """Return colours #rrggbb as a reader sees them, in CIELAB [n, 3]."""
    srgb = rgb(colours) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    # of the white point's X, Y, Z
    share = np.clip(linear @ np.transpose(VISIONS[vision]), 0, 1) @ XYZ.T / XYZ.sum(1)
    root = np.where(share > (6 / 29) ** 3, np.cbrt(share), share * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]),
                     200 * (root[:, 1] - root[:, 2])], axis=1)


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return CIEDE2000 [n] of CIELAB colours [n, 3] (Sharma, Wu and Dalal 2005)."""
    (light, a, b), (light2, a2, b2) = one.T, other.T
    mean = (np.hypot(a, b) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - np.sqrt(mean**7 / (mean**7 + 25.0**7)) / 2
    chroma, chroma2 = np.hypot(stretch * a, b), np.hypot(stretch * a2, b2)
    hue = np.degrees(np.arctan2(b, stretch * a)) % 360
    hue2 = np.degrees(np.arctan2(b2, stretch * a2)) % 360
    turn = (hue2 - hue + 180) % 360 - 180
    light_mean, mean, middle = (light + light2) / 2, (chroma + chroma2) / 2, (hue + turn / 2) % 360
    cosines = np.cos(np.radians([middle - 30, 2 * middle, 3 * middle + 6, 4 * middle - 63]))
    tone = 1 + np.array([-0.17, 0.24, 0.32, -0.20]) @ cosines
    off = (light_mean - 50) ** 2
    lighter = (light2 - light) / (1 + 0.015 * off / np.sqrt(20 + off))
    fuller = (chroma2 - chroma) / (1 + 0.045 * mean)
    other_hue = 2 * np.sqrt(chroma * chroma2) * np.sin(np.radians(turn / 2))
    other_hue /= 1 + 0.015 * mean * tone
    angle = np.radians(60 * np.exp(-((middle - 275) / 25) ** 2))
    blues = -2 * np.sqrt(mean**7 / (mean**7 + 25.0**7)) * np.sin(angle)
    return np.sqrt(lighter**2 + fuller**2 + other_hue**2 + blues * fuller * other_hue)


def least_difference(colours, vision) -> tuple[float, tuple[str, str]]:
    """Return the least difference of any two of the colours, and which two."""
    lab = seen(colours, vision)
    first, second = np.triu_indices(len(lab), 1)
    apart = difference(lab[first], lab[second])
    nearest = apart.argmin()
    return apart[nearest], (colours[first[nearest]], colours[second[nearest]])


def extended(colours: list[str], count: int) -> list[str]:
    """Return `count` colours: the given, then each as far as the lattice allows from all before."""
    channel = np.linspace(0, 255, _STEPS).round().astype(int)
    lattice = [f"#{bytes(levels).hex()}"
               for levels in itertools.product(channel.tolist(), repeat=3)]
    light = seen(lattice, "normal")[:, 0]
    lattice = [colour for colour, level in zip(lattice, light, strict=True)
               if _LIGHTNESS[0] < level < _LIGHTNESS[1]]
    lattice_seen = {vision: seen(lattice, vision) for vision in VISIONS}

    def apart(colour: str) -> np.ndarray:
        return np.min([difference(np.broadcast_to(seen([colour], vision), lab.shape), lab)
                       for vision, lab in lattice_seen.items()], axis=0)
    nearest = np.min([apart(colour) for colour in colours], axis=0)
    nearest[apart(UNKNOWN_COLOUR) < _FROM_UNKNOWN] = 0
    colours = list(colours)
    while len(colours) < count:
        colours.append(lattice[int(nearest.argmax())])
        nearest = np.minimum(nearest, apart(colours[-1]))
    return colours


def in_sequence(colours: list[str]) -> list[str]:
    """Return the colours so that each is as far as possible from all before; the first stays."""
    ordered, rest = colours[:1], colours[1:]
    while rest:
        apart = [min(least_difference([colour, other], vision)[0] for other in ordered
                     for vision in VISIONS) for colour in rest]
        ordered.append(rest.pop(int(np.argmax(apart))))
    return ordered


if __name__ == "__main__":
    palette = in_sequence(extended([*CLASS_COLOURS.values()], COLOURS))
    print(palette)
    for size in (5, 9, 12, 16, COLOURS):
        least = min(least_difference(palette[:size], vision)[0] for vision in VISIONS)
        print(f"the first {size} differ by {least:.1f} or more")
