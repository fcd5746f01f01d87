"""Tables that compare models: a row a model, or a matrix over two keys; the best has a sign."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reports.blocks import table, tabs
from reports.figures import better_of
from reports.markup import Markup, element
from utils.tables import NOTHING, format_number, label_of, with_std

BEST, AHEAD = "★", "▲"
TALL = 14  # rows from which a table scrolls within its block
_ROW_KEYS = ("modality", "mode")  # what a reader compares down a column of a matrix


class Estimate(NamedTuple):
    """A figure with its spread; nan where it is not defined."""

    mean: float = math.nan
    std: float = math.nan
    interval: tuple[float, float] | None = None  # of 95 %

    @property
    def shown(self) -> list[Any]:
        """Return it as texts and markup: mean ± std, and the interval below them."""
        low_high = self.interval and f"[{', '.join(map(format_number, self.interval))}]"
        return [with_std(self.mean, self.std),
                element("small", low_high, class_="interval") if low_high else None]


@dataclass(frozen=True)
class Compared:
    """A row of a comparison: a model, or a prediction that needs none."""

    keys: Mapping[str, str]               # key -> value in writing; empty without a model
    figures: Mapping[str, Estimate]
    name: Any                             # of the row: text or a link
    ahead: frozenset[str] = field(default=frozenset())  # figures in which it beats Rose


def comparison(models: Sequence[Compared], others: Sequence[Compared], names: Sequence[str],
               heading: str, choose: Callable | None = None) -> Markup:
    """Return a table with a row a model, which a click on a column's name sorts.

    Args:
        others: predictions without a model, listed after the models.
        names: the figures, a column each.
        heading: of the column of the rows' names.
        choose: `max` or `min`, whichever is better for all figures; None: as each is known.
    """
    rows = [*models, *others]
    keys = list(models[0].keys)
    best = {name: _best([row.figures.get(name, Estimate()).mean for row in rows],
                        choose or better_of(name)) for name in names}
    cells = [[row.name, *(_key(row.keys.get(key, "")) for key in keys),
              *(_signed(row, name, number in best[name]) for name in names)]
             for number, row in enumerate(rows)]
    header = [heading, *(_key(key.replace("_", " ")) for key in keys), *map(label_of, names)]
    return _framed(table(header, cells, sortable=True), len(rows))


def matrices(models: Sequence[Compared], others: Sequence[Mapping[str, Compared]],
             names: Sequence[str]) -> Markup | None:
    """Return a matrix over the two keys in which models differ, a tab a figure.

    None if they differ in fewer or more keys; keys that change together count as one. The sign of
    the best is given within each column, where what the columns name is the same.

    Args:
        others: of each model, its predictions without a model by label.
    """
    axes = _axes(models) if len(models) > 3 and names else []
    if len(axes) != 2:
        return None
    rows, columns = axes if not set(axes[1]) & {*_ROW_KEYS} else axes[::-1]
    place = {(_value(model, rows), _value(model, columns)): model for model in models}
    if len(place) < len(models):
        return None  # runs of the same keys, as a grid can have them
    down, across = ([*dict.fromkeys(axis)] for axis in zip(*place, strict=True))
    without = {(label, _value(model, columns)): other for model, given in
               zip(models, others, strict=True) for label, other in given.items()}
    labels = [*dict.fromkeys(label for label, _ in without)]
    lines = [(element("span", row), [place.get((row, column)) for column in across])
             for row in down]
    lines += [(f"without a model: {label}", [without.get((label, column)) for column in across])
              for label in labels]

    def matrix(name: str) -> Markup:
        best = [_best([cell.figures.get(name, Estimate()).mean if cell else math.nan
                       for cell in column], better_of(name))
                for column in zip(*(cells for _, cells in lines), strict=True)]
        body = [[head, *(_signed(cell, name, number in best[column]) if cell else NOTHING
                         for column, cell in enumerate(cells))]
                for number, (head, cells) in enumerate(lines)]
        return _framed(table([_axis(rows), *across], body,
                             f"{label_of(name)}: {_axis(rows)} down, {_axis(columns)} across",
                             sortable=True), len(lines))

    return tabs({label_of(name): [matrix(name)] for name in names}, "figure")


def signs(ahead: bool, intervals: bool, spread: str) -> Markup:
    """Return the line that explains a comparison's signs.

    Args:
        ahead: whether a row has the sign of one that beats Rose.
        intervals: whether figures have an interval.
        spread: what stands after ±, in words; empty if nothing does.
    """
    parts = [f"{BEST} the best of its column", *[f"± {spread}"] * bool(spread),
             *["in brackets the 95 % interval"] * intervals,
             *[f"{AHEAD} better than Rose (image and OSM fused, pretrained where any is) under "
               "the same keys"] * ahead]
    return element("p", f"{'; '.join(parts)}.", class_="note")


def differing(keys: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the names of the keys whose values differ; all if none does."""
    names = list(keys[0])
    return [name for name in names if len({each.get(name) for each in keys}) > 1] or names


def _signed(row: Compared, name: str, best: bool) -> Markup:
    """Return a figure with its signs; a reader of the screen hears them in words."""
    marks = [element("span", f"{sign} ", role="img", aria_label=words, title=words, class_="sign")
             for sign, words, shown in ((AHEAD, "beats Rose", name in row.ahead),
                                        (BEST, "the best", best)) if shown]
    content = element("span", marks, row.figures.get(name, Estimate()).shown)
    return element("strong", content) if best else content


def _key(words: str) -> Markup:
    return element("span", words, class_="key")


def _best(values: Sequence[float], choose: Callable | None) -> set[int]:
    """Return the places of the best of several values; none if it is not known which is."""
    known = [value for value in values if not math.isnan(value)]
    if choose is None or len(known) < 2:
        return set()
    best = choose(known)
    return {number for number, value in enumerate(values) if value == best}


def _axes(models: Sequence[Compared]) -> list[list[str]]:
    """Return the keys in which models differ, together those whose values change together."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for key in models[0].keys:
        values = [model.keys.get(key) for model in models]
        if len(set(values)) > 1:
            groups.setdefault(tuple(map(values.index, values)), []).append(key)
    return list(groups.values())


def _value(model: Compared, keys: Sequence[str]) -> str:
    return ", ".join(str(model.keys.get(key)) for key in keys)


def _axis(keys: Sequence[str]) -> str:
    return " and ".join(key.replace("_", " ") for key in keys)


def _framed(content: Markup, rows: int) -> Markup:
    return element("div", content, class_="figures tall" if rows > TALL else "figures")
