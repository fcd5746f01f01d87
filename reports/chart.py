"""Charts as SVG: sharp at every size, readable without scripts; chart.js adds the reading of
single values."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from reports.markup import Markup, element
from utils.tables import format_number

WIDTH, HEIGHT = 460, 270
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 42    # margins
POINTS = 500                                 # of a line; more are averaged
DOTS = 30                                    # points up to which each is marked


@dataclass(frozen=True)
class Series:
    """A line of a chart: its name, its tone ("image", "osm" or "plain", which the page's style
    colours) and a value for each x."""

    name: str
    tone: str
    values: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on pixels from `start` to `end`; `whole`: they are whole
    numbers."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """A few round values within the axis."""
        if self.log:
            return [10.0**power for power in range(math.ceil(math.log10(self.low)),
                                                   math.floor(math.log10(self.high)) + 1)]
        raw = max((self.high - self.low) / 5, 1 if self.whole else 0)
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(place * step, 12)
                for place in range(first, math.floor(self.high / step + 1e-9) + 1)]


def line_chart(title: str, x_name: str, x: Sequence[float], series: Sequence[Series],
               mark: tuple[float, str] | None = None,
               log: bool = False) -> Markup:
    """Lines over a common x, with the values from 0 up.

    Args:
        x_name: of x, as `step`.
        x: [n] whole numbers in ascending order.
        series: with n values each; nan leaves a gap.
        mark: an x to mark, and why.
        log: a logarithmic axis, for values above 0.
    """
    x, series = _thinned(x, series)
    finite = [value for line in series for value in line.values if math.isfinite(value)]
    across = Axis(*_range(x), LEFT, WIDTH - RIGHT, whole=True)
    up = Axis(min(finite), max(finite), HEIGHT - BOTTOM, TOP,
              True) if log else Axis(*_range([0.0, *finite]), HEIGHT - BOTTOM, TOP)
    drawn = [_grid(across, up, x_name)]
    if mark:
        at = across.at(mark[0])
        drawn.append(element("line", element("title", mark[1]), x1=at, x2=at, y1=TOP,
                             y2=HEIGHT - BOTTOM, class_="mark"))
    for line in series:
        points = [(across.at(place), up.at(value)) if math.isfinite(value) else None
                  for place, value in zip(x, line.values, strict=True)]
        drawn += [_polyline(list(part), line.tone) for known, part in groupby(points, bool)
                  if known]
        if len(x) <= DOTS:
            drawn += [element("circle", cx=point[0], cy=point[1], r=2.6, class_=f"dot {line.tone}")
                      for point in points if point]
    cursor = [element("line", y1=TOP, y2=HEIGHT - BOTTOM),
              [element("circle", r=4.5, class_=f"dot {line.tone}") for line in series]]
    data = {"name": x_name, "x": [_short(place) for place in x],
            "at": [across.at(place) for place in x], "series": [
        {"name": line.name, "text": [format_number(value) for value in line.values],
         "at": [up.at(value) if math.isfinite(value) else None for value in line.values]}
        for line in series]}
    svg = element("svg", drawn, element("g", cursor, class_="cursor", hidden=True),
                  viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
                  tabindex="0", aria_label=f"{title}: {_in_words(x_name, x, series)}")
    keys = [element("span", element("i", class_=f"stroke {line.tone}"), line.name, class_="key")
            for line in series]
    if mark:
        keys.append(element("span", element("i", class_="stroke mark"), mark[1], class_="key"))
    caption = element("figcaption", element("b", title), element("span", keys, class_="keys")
                      if len(keys) > 1 else None)
    return element("figure", caption, svg, element("output", _in_words(x_name, x, series)),
                   class_="chart",
                   data_chart=json.dumps(data, separators=(",", ":")))


def scatter_chart(title: str, unit: str, points: Sequence[tuple[str, float, float]]) -> Markup:
    """Estimates over truth with the line on which they are equal; each point says its name.

    Args:
        unit: of both.
        points: (name, true, estimate), all finite.
    """
    low, high = _range([0.0, *(value for _, *pair in points for value in pair)])
    side = WIDTH - LEFT - RIGHT
    across, up = Axis(low, high, LEFT, LEFT + side), Axis(low, high, TOP + side, TOP)
    dots = [element("circle", element("title", f"{name}: true {format_number(true)}, estimated "
                                               f"{format_number(estimate)}"),
                    cx=across.at(true), cy=up.at(estimate), r=5 if len(points) < 200 else 3,
                    class_="dot image spot")
            for name, true, estimate in points]
    equal = element("line", x1=across.at(low), y1=up.at(low), x2=across.at(high), y2=up.at(high),
                    class_="mark")
    named = element("text", "estimated", x=LEFT + 6, y=TOP + 12)
    svg = element("svg", _grid(across, up, f"true, {unit}"), named, equal, dots,
                  viewBox=f"0 0 {WIDTH} {TOP + side + BOTTOM}", role="img",
                  aria_label=f"{title}: {len(points)} tiles")
    return element("figure", element("figcaption", element("b", title)), svg,
                   element("p", f"Estimated over true {unit}; on the dashed line they are equal. "
                                "A point names its tile.", class_="note"),
                   class_="chart")


def bar_chart(rows: Sequence[tuple[str, float, str | None, float | None]],
              mark: str | None = None) -> Markup:
    """Shares as horizontal bars: (name, share, colour, what to compare it with) each; a nan share
    has none.

    Args:
        mark: what the thin lines across the bars are.
    """
    lines = []
    for name, share, colour, other in rows:
        width = 0 if math.isnan(share) else min(max(share, 0), 1)
        bar = element("span",
                      element("span", class_="bar",
                              style=f"width:{width:.2%}"
                              + (f";background:{colour}" if colour else "")),
                      element("span", class_="tick", style=f"left:{min(max(other, 0), 1):.2%}",
                              title=f"{mark}: {format_number(other)}")
                      if other is not None and math.isfinite(other) else None, class_="track")
        lines.append(element("li", element("span", name, class_="name"), bar,
                             element("span", format_number(share), class_="value")))
    note = element("p", element("i", class_="tick-key"), mark, class_="note") if mark else None
    return element("div", element("ul", lines, class_="bars"), note)


def _grid(across: Axis, up: Axis, x_name: str) -> Markup:
    bottom, right = max(up.start, up.end), across.end
    lines = [element("line", x1=LEFT, x2=right, y1=up.at(value), y2=up.at(value))
             for value in up.ticks()]
    names = [element("text", _short(value), x=LEFT - 8, y=up.at(value) + 4, text_anchor="end")
             for value in up.ticks()]
    names += [element("text", _short(value), x=across.at(value), y=bottom + 18,
                      text_anchor="middle") for value in across.ticks()]
    names.append(element("text", x_name, x=(LEFT + right) / 2, y=bottom + 36,
                         text_anchor="middle"))
    return element("g", lines, names, class_="grid")


def _polyline(points: Sequence[tuple[float, float]], tone: str) -> Markup:
    return element("polyline", points=" ".join(f"{x:g},{y:g}" for x, y in points), class_=tone)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest, apart from each other."""
    low, high = min(values), max(values)
    return (low,
            high + 0.04 * (high - low) * (low == 0)) if high > low else (low - 0.5 * (low != 0),
                                                                         high
                                                                         + (abs(high)
                                                                            or 1.0) * 0.5)


def _thinned(x: Sequence[float], series: Sequence[Series]) -> tuple[list[float], list[Series]]:
    """At most POINTS of each line: the last x and the mean value of as many equal stretches."""
    size = -(-len(x) // POINTS)
    starts = range(0, len(x), size)
    return [x[min(start + size, len(x)) - 1] for start in starts], [
        Series(line.name, line.tone,
               [_mean(line.values[start : start + size]) for start in starts]) for line in series]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _in_words(x_name: str, x: Sequence[float], series: Sequence[Series]) -> str:
    """The first and the last value of each line."""
    ends = [f"{line.name} {format_number(line.values[0])} → {format_number(line.values[-1])}"
            for line in series]
    return f"{x_name} {_short(x[0])} to {_short(x[-1])}: {', '.join(ends)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.6g}"
