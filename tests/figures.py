"""Figures as tests look at them."""

import warnings
from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text


def laid_out(figure: Figure) -> Figure:
    """Return the figure, laid out without a warning and with all its parts on the page."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
        extent = figure.get_tightbbox()
    assert min(extent.x0, extent.y0) > -0.05
    assert extent.x1 < figure.get_figwidth() + 0.05
    assert extent.y1 < figure.get_figheight() + 0.05
    return figure


def words(texts: Iterable[Text]) -> list[str]:
    """Return what is written in tick labels or in a legend."""
    return [text.get_text() for text in texts]


def texts(axes: Axes) -> list[str]:
    """Return what is written within axes."""
    return words(axes.texts)
