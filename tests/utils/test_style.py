"""All readers can distinguish the colours: measured as they see them."""

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from benchmarks.palette import VISIONS, difference, extended, in_sequence, least_difference
from datasets.targets import CLASSES
from utils import style
from utils.style import (
    CLASS_COLOURS,
    LAYER_COLOURS,
    LEAST_DIFFERENCE,
    LEAST_OF_TWENTY,
    PALETTE,
    SERIES_COLOURS,
    WISHES,
    class_colours,
    rgb,
)


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
    assert class_colours(["pond", "Water"])[1] == CLASS_COLOURS["water"]
    assert least_difference(colours, "normal")[0] > 5


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("names", [
    [f"class {number}" for number in range(20)],
    [*CLASSES, *(f"class {number}" for number in range(11))],
    ["forest", "street", "town", *(f"class {number}" for number in range(17))]])
def test_any_two_of_twenty_classes_differ_for_every_reader(names, vision):
    apart, which = least_difference(class_colours(names), vision)
    assert apart >= LEAST_OF_TWENTY, which


def test_the_palette_is_what_its_search_finds():
    assert tuple(in_sequence(extended([*CLASS_COLOURS.values()], len(PALETTE)))) == PALETTE


def test_names_get_the_colours_that_readers_expect():
    assert {*WISHES} <= {*PALETTE}
    of = dict(zip(names := ["works", "park", "Forest edge", "street", "research", "river", "meadow",
                            "water"], class_colours(names), strict=True))
    assert of["water"] == CLASS_COLOURS["water"] != of["river"]  # the paper's own comes first
    assert of["Forest edge"] == CLASS_COLOURS["green"]
    assert of["street"] == CLASS_COLOURS["transport"]            # a tree is no part of it
    assert of["research"] == "#c2251f"                           # nor is a sea: the first free one
    assert len({*of.values()}) == len(of)


def test_as_many_classes_as_a_label_holds_have_colours_of_their_own():
    assert len({*class_colours([str(number) for number in range(254)])}) == 254


def test_all_are_colours_that_matplotlib_and_pages_know():
    for name, value in vars(style).items():
        if name.endswith("COLOUR") or name.startswith("NO_"):
            assert np.allclose(np.array(to_rgb(value)) * 255, rgb([value])[0])
    assert all(name in colormaps for name in (style.SEQUENTIAL, style.DIVERGING, style.SHARES,
                                              style.HEAT))
