"""Blocks of a section: tables, lists of facts, bars, figures, tabs."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.markup import Markup, element
from reports.read import picture
from utils.tables import NOTHING, format_number

_NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?%?")


@dataclass(frozen=True)
class Block:
    """A part of a section, with its own title."""

    title: str
    content: Sequence[Markup | None]


@dataclass(frozen=True)
class Section:
    """What a page shows of one run."""

    kind: str  # what was done, in a word or two
    title: str  # of this run
    folder: Path  # of this run
    lines: Sequence[str]  # sentences below the title
    headline: Sequence[tuple[str, str, str]]  # (what, figure, remark) of numbers that matter most
    blocks: Sequence[Block]  # the rest


def table(header: Sequence[str], rows: Iterable[Sequence[Any]],
          caption: str | None = None, sortable: bool = False) -> Markup:
    """Return a table that scrolls within the page where it is wide; None is shown as undefined.

    Columns of numbers are aligned right; the first column names the rows. A `caption` is above
    the table, unless a heading says what it is. A click on a column's name sorts a `sortable` one.
    """
    rows = list(rows)
    sides = ["number" if any(map(_is_figure, cells))
             and all(cell is None or _is_figure(cell) for cell in cells) else None
             for cells in zip(*rows, strict=True)] or [None] * len(header)
    head = element("tr", [element("th", name, scope="col", class_=side)
                          for name, side in zip(header, sides, strict=True)])
    body = [element("tr", element("th", _cell(row[0]), scope="row", class_=sides[0]),
                    [element("td", _cell(cell), class_=side)
                     for cell, side in zip(row[1:], sides[1:], strict=True)]) for row in rows]
    whole = element("table", element("caption", caption) if caption else None,
                    element("thead", head), element("tbody", body),
                    class_="sortable" if sortable else None)
    return element("div", whole, class_="scroll", tabindex="0", role="region",
                   aria_label=caption or ", ".join(map(str, header)))


def _cell(value: Any) -> Any:
    return format_number(value) if _is_number(value) else NOTHING if value is None else value


def _is_figure(value: Any) -> bool:
    """Return whether a cell is a number, or one in writing, such as 1,003 or 95%."""
    return _is_number(value) or (isinstance(value, str) and bool(_NUMBER.fullmatch(value)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def bars(rows: Sequence[tuple[str, float, str, float]], mark: str) -> Markup:
    """Return shares as horizontal bars, each with a thin line to compare it with.

    Args:
        rows: (name, share, colour, share to compare with); nan where there is none.
        mark: what the thin lines are.
    """
    lines = []
    for name, share, colour, other in rows:
        bar = element("span", class_="bar", style=f"width:{_width(share)};background:{colour}")
        tick = element("span", class_="tick", style=f"left:{_width(other)}",
                       title=f"{mark}: {format_number(other)}")
        lines.append(element("li", element("span", name, class_="name"),
                             element("span", bar, tick if math.isfinite(other) else None,
                                     class_="track"),
                             element("span", format_number(share), class_="value")))
    note = element("p", element("i", class_="tick-key"), mark, class_="note")
    return element("div", element("ul", lines, class_="bars"), note)


def _width(share: float) -> str:
    return "0" if math.isnan(share) else f"{min(max(share, 0), 1):.2%}"


def facts(values: Mapping[str, Any]) -> Markup:
    """Return names and their values as a list."""
    return element("dl", [element("div", element("dt", name), element("dd", value))
                          for name, value in values.items()], class_="facts")


def folded(title: str, *content: Any) -> Markup:
    """Return content behind a title that opens it."""
    return element("details", element("summary", title), *content)


def settings(values: Mapping[str, Any], title: str) -> Markup:
    """Return all keys of a run, behind a title."""
    return folded(title, facts({name: element("code", _setting(value))
                                for name, value in values.items()}))


def _setting(value: Any) -> str:
    """Return a key's value as a command line takes it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_setting(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_setting, value))}]"
    return str(value)


def drawn(folder: Path, name: str, alt: str, caption: str, small: bool = False) -> Markup | None:
    """Return the figure `name` that a run drew into its `folder`, or None if there is none.

    Older runs drew it as PNG alone, which stands on light ground on every page. A `small` figure
    is less tall than the page is wide.
    """
    paths = [path for kind in ("svg", "png")
             if (path := folder / "figures" / f"{name}.{kind}").is_file()]
    if not paths:
        return None
    uri, width, height = picture(paths[0], large=20_000)
    image = element("img", src=uri, alt=alt, width=width, height=height)
    classes = ["picture", *["small"] * small, *["card"] * (paths[0].suffix == ".png")]
    return element("figure", image, element("figcaption", caption), class_=" ".join(classes))


def tabs(panels: Mapping[str, Sequence[Markup | None]], label: str) -> Markup:
    """Return panels, of which one is shown at a time where scripts run; one alone has no tab."""
    if len(panels) == 1:
        return element("div", next(iter(panels.values())))
    shown = [element("section", element("h4", name), content, data_tab=name, aria_label=name)
             for name, content in panels.items()]
    return element("div", shown, class_="tabs", data_label=label)


def gradient(colours: Sequence[str]) -> str:
    """Return the style of a ramp of colours, from left to right."""
    return f"background:linear-gradient(90deg,{','.join(colours)})"


def swatch(colour: str) -> Markup:
    """Return a small square of a colour."""
    return element("span", class_="swatch", style=f"background:{colour}")
