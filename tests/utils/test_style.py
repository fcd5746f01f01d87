"""All readers can distinguish the colours: measured as they see them."""

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from datasets.targets import CLASSES, UNKNOWN
from utils import style
from utils.style import (
    CLASS_COLOURS,
    LAYER_COLOURS,
    LEAST_DIFFERENCE,
    SERIES_COLOURS,
    class_colours,
    label_colour,
    painted,
    rgb,
)

# From linear RGB to the linear RGB that looks the same to such a reader: Machado, Oliveira and
# Fernandes, A Physiologically-based Model for Simulation of Color Vision Deficiency (IEEE TVCG 15,
# 2009), severity 1.
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


def test_the_measure_gives_the_published_differences():
    one = np.array([[50, 2.6772, -79.7751], [50, 2.5, 0], [2.0776, 0.0795, -1.1350],
                    [6.7747, -0.2908, -2.4247]])
    other = np.array([[50, 0, -82.7485], [58, 24, 15], [0.9033, -0.0636, -0.5514],
                      [5.8714, -0.0985, -2.2286]])
    np.testing.assert_allclose(difference(one, other), [2.0425, 19.4535, 0.9082, 0.6377],
                               atol=2e-4)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("colours",
                         [[*CLASS_COLOURS.values()], SERIES_COLOURS, [*LAYER_COLOURS.values()]],
                         ids=["classes", "series", "layers"])
def test_any_two_differ_for_every_reader(colours, vision):
    apart, which = least_difference(colours, vision)
    assert apart >= LEAST_DIFFERENCE, which


def test_a_palette_of_red_and_green_alone_would_be_found_out():
    assert least_difference(["#3f9b57", "#c8324b"], "normal")[0] > 50
    assert least_difference(["#3f9b57", "#c8324b"], "deuteranopia")[0] < LEAST_DIFFERENCE


def test_a_class_of_every_kind_has_a_colour_of_its_own():
    names = [*CLASSES, *(f"further {i}" for i in range(20))]
    colours = class_colours(names)
    assert list(CLASS_COLOURS) == list(CLASSES)
    assert len(set(colours)) == len(names)
    assert colours[:9] == list(CLASS_COLOURS.values())
    assert class_colours(["pond", "water"])[1] == CLASS_COLOURS["water"]
    assert least_difference(colours[:19], "normal")[0] > 10


def test_neighbouring_labels_differ():
    colours = [label_colour(code) for code in range(300)]
    assert len(set(colours)) > 200
    assert min(np.abs(rgb(colours[:-1]).astype(int) - rgb(colours[1:])).max(1)) > 60


def test_classes_are_painted_and_unknown_ones_striped():
    labels = np.full((56, 56), UNKNOWN, np.uint8)
    labels[:20], labels[20:30] = 0, 8
    picture = painted(labels, class_colours(CLASSES))
    assert (picture.shape, picture.dtype) == ((56, 56, 3), np.uint8)
    assert (picture[:20] == rgb([CLASS_COLOURS["water"]])).all()
    assert (picture[20:30] == rgb([CLASS_COLOURS["transport"]])).all()
    assert set(np.unique(picture[30:])) == set(style.STRIPES)


def test_all_are_colours_that_matplotlib_and_pages_know():
    for name, value in vars(style).items():
        if name.endswith("COLOUR") or name.startswith("NO_"):
            assert np.allclose(np.array(to_rgb(value)) * 255, rgb([value])[0])
    assert all(name in colormaps for name in (style.SEQUENTIAL, style.DIVERGING, style.SHARES,
                                              style.HEAT))
