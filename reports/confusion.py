"""Which class was taken for which, as a table that says each cell in words."""

from collections.abc import Sequence

from reports.markup import Markup, element
from reports.parts import swatch
from utils.style import class_colours

_DARK = 0.7  # share from which a cell's text is light


def confusion_table(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Markup:
    """A table of the shares of each true class's pixels, rows truth, columns prediction.

    Args:
        confusion: [C][C] numbers of pixels.
        classes: names of the C classes.
    """
    colours = class_colours(classes)
    total, right = sum(map(sum, confusion)), sum(row[place] for place, row in enumerate(confusion))
    named = [[swatch(colour), name] for name, colour in zip(classes, colours, strict=True)]
    head = element("tr", element("th", "true class", class_="corner", scope="col"),
                   [element("th", element("span", name), scope="col") for name in named],
                   element("th", "pixels", scope="col"))
    rows = [_row(place, row, classes, named[place]) for place, row in enumerate(confusion)]
    whole = element("table", element("caption", "Classes taken for each other: "
                                                f"{_percent(right, total)} of {total:,} pixels "
                                                "right. Rows: the true class. Columns: what was "
                                                "predicted."),
                    element("thead", head), element("tbody", rows), class_="confusion")
    return element("div", element("div", whole, class_="scroll", tabindex="0", role="region",
                                  aria_label="confusion matrix"),
                   element("output", "Point at a cell to read it.", class_="needs-script"),
                   class_="confusion-block")


def _row(place: int, row: Sequence[int], classes: Sequence[str],
         named: Sequence[Markup | str]) -> Markup:
    truth = sum(row)
    cells = [_cell(count, truth, classes[place], classes[column], column == place)
             for column, count in enumerate(row)]
    return element("tr", element("th", named, scope="row"), cells,
                   element("td", f"{truth:,}" if truth else "absent", class_="number"),
                   class_=None if truth else "absent")


def _cell(count: int, truth: int, true: str, predicted: str, same: bool) -> Markup:
    share = count / truth if truth else 0
    words = f"{true}, rightly found" if same else f"{true}, taken for {predicted}"
    return element("td", _percent(count, truth) if count else "", style=f"--share:{share:.3f}",
                   title=
        f"{words}: {count:,} pixels, {_percent(count, truth)} of {true}",
                   class_=" ".join(["light"] * (share >= _DARK) + ["right"] * same) or None)


def _percent(count: int, total: int) -> str:
    """Whole percents, without calling anything 0% or 100% that is not."""
    text = f"{count / max(total, 1):.0%}"
    return {"0%": "<1%", "100%": ">99%"}.get(text, text) if 0 < count < total else text
