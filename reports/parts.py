"""The parts that sections of a report are made of: tables, lists of facts, figures, tabs."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.markup import Markup, element
from reports.read import picture
from utils.tables import NOTHING, format_number

_WRITTEN = re.compile(r"-?\d[\d,]*(\.\d+)?%?")


@dataclass(frozen=True)
class Block:
    """A part of a section, with a title of its own."""

    title: str
    content: Sequence[Markup | None]


@dataclass(frozen=True)
class Section:
    """What a page says of one run's folder.

    Attributes:
        kind: what was done, in a word or two.
        title: of this run.
        folder: where it lies.
        lines: sentences below the title.
        headline: (what, figure, remark) of the few numbers that matter most.
        blocks: the rest.
    """

    kind: str
    title: str
    folder: Path
    lines: Sequence[str]
    headline: Sequence[tuple[str, str, str]]
    blocks: Sequence[Block]


def table(header: Sequence[str], rows: Iterable[Sequence[Any]],
          caption: str | None = None) -> Markup:
    """A table that scrolls within the page where it is wide; columns of numbers stand to the
    right, the first column names the rows.

    Args:
        rows: of as many cells as the header; None is shown as nothing known.
        caption: above the table; None where a heading says what it is.
    """
    rows = list(rows)
    sides = ["number" if any(map(_is_figure, cells))
             and all(cell is None or _is_figure(cell) for cell in cells) else None
             for cells in zip(*rows, strict=True)] or [None] * len(header)
    head = element("tr",
                   [element("th", name, scope="col", class_=side)
                    for name, side in zip(header, sides, strict=True)])
    body = [element("tr", element("th", _cell(row[0]), scope="row", class_=sides[0]),
                    [element("td", _cell(cell), class_=side)
                     for cell, side in zip(row[1:], sides[1:], strict=True)]) for row in rows]
    whole = element("table", element("caption", caption) if caption else None,
                    element("thead", head), element("tbody", body))
    return element("div", whole, class_="scroll", tabindex="0", role="region",
                   aria_label=caption or ", ".join(map(str, header)))


def _cell(value: Any) -> Any:
    return format_number(value) if _is_number(value) else NOTHING if value is None else value


def _is_figure(value: Any) -> bool:
    """Whether it is a number, or one in writing, such as 1,003 or 95%."""
    return _is_number(value) or (isinstance(value, str) and bool(_WRITTEN.fullmatch(value)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def facts(values: Mapping[str, Any]) -> Markup:
    """Names and what they are, as a list."""
    return element("dl", [element("div", element("dt", name), element("dd", value))
                          for name, value in values.items()], class_="facts")


def folded(title: str, *content: Any) -> Markup:
    """Content behind a title that opens it."""
    return element("details", element("summary", title), *content)


def settings(values: Mapping[str, Any], title: str) -> Markup:
    """All keys of a run, behind a title."""
    return folded(title,
                  facts({name: element("code", _value(value)) for name, value in values.items()}))


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_value(item)}" for name, item in value.items())
    return "[" + ", ".join(map(_value, value)) + "]" if isinstance(value,
                                                                   list | tuple) else str(value)


def pictured(path: Path, alt: str, caption: str, small: bool = False) -> Markup:
    """A picture from a file, with a caption; `small`: not as tall as the page is wide."""
    uri, width, height = picture(path)
    image = element("img", src=uri, alt=alt, width=width, height=height)
    return element("figure", image, element("figcaption", caption),
                   class_=f"picture{' small' * small}")


def tabs(panels: Mapping[str, Sequence[Markup | None]], label: str) -> Markup:
    """Panels of which one is shown at a time; without scripts all are, one below the other. A
    single panel needs no tabs."""
    if len(panels) == 1:
        return element("div", next(iter(panels.values())))
    shown = [element("section", element("h4", name), content, data_tab=name, aria_label=name)
             for name, content in panels.items()]
    return element("div", shown, class_="tabs", data_label=label)


def swatch(colour: str) -> Markup:
    """A small square of a colour."""
    return element("span", class_="swatch", style=f"background:{colour}")
