"""Figures as SVG: the same file each time, clear ground, ink of the page, nothing that runs."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from utils.drawing import save_figures, themed_svg

TEXT = '</text><script>alert("x")</script>'


def figure(**options) -> Figure:
    drawn = Figure(figsize=(4, 2), layout="constrained")
    axes = drawn.subplots()
    axes.plot([0, 1], [1, 0], color="#2a6f97", **options)
    axes.set_title(TEXT)
    return drawn


def test_ground_is_clear_and_black_is_the_ink_of_the_page():
    svg = themed_svg(figure())
    assert not re.search("(fill|stroke): (#ffffff|#000000)", svg)
    assert svg.count("stroke: currentColor") > 4  # of the frame alone
    assert svg.count("stroke: #2a6f97") == 2  # of the line and of the rule
    assert "@media(prefers-color-scheme:dark){svg{color:#e7ebec}" in svg
    assert '[style*="stroke: #2a6f97"]{stroke:#74a6c6!important}' in svg


def test_the_ground_that_a_figure_gave_its_axes_stays():
    drawn = figure()
    drawn.axes[0].set_facecolor("#d2d2d2")
    assert "fill: #d2d2d2" in themed_svg(drawn)


def test_text_is_text_and_never_markup():
    root = ElementTree.fromstring(themed_svg(figure()))
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "script" not in names
    assert TEXT in [element.text for element in root.iter()]


def test_the_same_figure_gives_the_same_file(tmp_path):
    for folder in ("one", "other"):
        save_figures({"line": figure(), "nothing": None}, tmp_path / folder)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["line.png", "line.svg"]
    assert len({(tmp_path / folder / "line.svg").read_text() for folder in ("one", "other")}) == 1


@pytest.mark.parametrize(("noise", "kind"), [(255, "webp"), (1, "png")])
def test_photographs_are_packed_and_plain_pictures_stay_exact(noise, kind):
    drawn = Figure(figsize=(3, 3))
    pixels = np.random.default_rng(0).integers(0, noise, (200, 200, 3), np.uint8)
    drawn.subplots().imshow(pixels, interpolation="nearest")
    assert re.findall("data:image/([a-z]+);base64", themed_svg(drawn)) == [kind]


@pytest.mark.parametrize("name", [r"$\frac$", "$5 shop$", "_x_", r"\$a$"])
def test_a_name_is_no_formula(tmp_path, name):
    drawn = figure(label=name)
    drawn.axes[0].set(title=name, xlabel=name, yscale="log")
    drawn.axes[0].set_xticks([0, 1], [name, "b"])
    drawn.legend(handles=drawn.axes[0].lines)
    save_figures({"line": drawn}, tmp_path)
    texts = [element.text for element in ElementTree.parse(tmp_path / "line.svg").iter()]
    assert texts.count(name) == 4
