"""Which differences between models are real: each with its interval, drawn around 0."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from reports.blocks import Block, folded, table
from reports.figures import over_in_words
from reports.markup import Markup, element
from reports.read import number
from utils.contents import Either, Fields, Flag, Items, Null, Number, Text
from utils.tables import NOTHING, format_number, label_of

_NUMBER = Either([Number(), Null()])
DIFFERENCE = Fields({"cell": Text(), "minus": Text(), "figure": Text(), "difference": _NUMBER,
                     "interval": Either([Items([_NUMBER, _NUMBER]), Null()]), "real": Flag()})


def interval_of(bounds: Sequence[float | None] | None) -> tuple[float, float] | None:
    """Return low and high of a file's interval; None if it has none."""
    low, high = map(number, bounds or (None, None))
    return None if math.isnan(low) or math.isnan(high) else (low, high)


def signed(value: float, form: Callable[[float], str] = format_number) -> str:
    """Return a difference with its sign; `-` for nan."""
    return NOTHING if math.isnan(value) else f"{'+' * (value > 0)}{form(value)}"


def decimals(value: float) -> str:
    """Return a number in three decimals."""
    return f"{value:.3f}"


def in_brackets(interval: Sequence[float], form: Callable[[float], str] = format_number) -> str:
    """Return an interval of a difference, each end with its sign."""
    return f"[{', '.join(signed(end, form) for end in interval)}]"


def differences_block(records: Sequence[Mapping[str, Any]], score: str,
                      seeds: Collection[int]) -> Block:
    """Return the block of a study's paired differences, those of its score first; `seeds` as
    `over_in_words` takes them."""
    by_figure: dict[str, list[Mapping[str, Any]]] = {score: []}
    for record in records:
        by_figure.setdefault(record["figure"], []).append(record)
    first, *others = [(name, rows) for name, rows in by_figure.items() if rows]
    real = sum(record["real"] for record in first[1])
    return Block("Which differences are real", [
        element("p", f"{real} of {len(first[1])} differences in {label_of(first[0])} are real: "
                f"their 95 % interval ({over_in_words(seeds)}; both models on the same draws of "
                "tiles) does not hold 0. The others may be chance.", class_="note"),
        _table(*first),
        *(folded(f"In {label_of(name)}", _table(name, rows)) for name, rows in others)])


def _table(name: str, records: Sequence[Mapping[str, Any]]) -> Markup:
    reach = max((abs(value) for record in records for value in (
        number(record["difference"]), *(interval_of(record["interval"]) or ()))
        if math.isfinite(value)), default=0.0) or 1.0
    rows = [[record["cell"], record["minus"], signed(number(record["difference"])),
             "real" if record["real"] else "may be chance",
             in_brackets(interval) if (interval := interval_of(record["interval"])) else None,
             drawn_interval(record, reach)] for record in records]
    content = table(["model", "minus", f"difference in {label_of(name)}", "it is",
                     "95 % interval", "around 0"], rows, sortable=True)
    return element("div", content, class_="differences tall" if len(rows) > 14 else "differences")


def drawn_interval(record: Mapping[str, Any], reach: float) -> Markup:
    """Return the interval as a bar, 0 in the middle and `reach` at either end; one that does not
    hold 0 in colour."""
    def place(value: float) -> float:
        return 50 * (1 + max(-1.0, min(1.0, value / reach)))

    interval, difference = interval_of(record["interval"]), number(record["difference"])
    bar = dot = None
    if interval:
        low, high = map(place, interval)
        bar = element("i", class_="bar" if interval[0] <= 0 <= interval[1] else "bar real",
                      style=f"left:{low:.1f}%;width:{high - low:.1f}%")
    if math.isfinite(difference):
        dot = element("i", class_="dot", style=f"left:{place(difference):.1f}%")
    return element("span", element("i", class_="zero"), bar, dot, class_="around",
                   aria_hidden="true")
