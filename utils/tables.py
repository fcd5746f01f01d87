"""Numbers as a reader wants them: four significant digits, aligned, with their spread over
seeds."""

import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence

HEADER_WIDTH = 16  # characters; longer names of columns are broken over lines
NOTHING = "-"      # for a number that is not defined
LABELS = {"miou": "mIoU", "f1": "F1", "mae": "MAE", "rmse": "RMSE", "r2": "R²"}


def text_table(columns: Mapping[str, Mapping[str, float]],
               std: Mapping[str, Mapping[str, float]] | None, rows: Sequence[str]) -> str:
    """A table in plain text, one line a figure and one column a model.

    Args:
        columns: label of the column -> figure -> value; a figure that a column lacks is shown as
            one that is not defined.
        std: for the columns that have one, figure -> standard deviation; None where there is none
            at all.
        rows: names of the figures, in order.
    """
    std = std or {}
    cells = [[label_of(name) for name in rows]]
    cells += [[with_std(values.get(name, math.nan), std.get(column, {}).get(name))
               for name in rows] for column, values in columns.items()]
    headers = [textwrap.wrap(header, HEADER_WIDTH, break_long_words=False)
               for header in ("", *columns)]
    tall = max(map(len, headers))
    table = [[""] * (tall - len(header)) + header + column
             for header, column in zip(headers, cells, strict=True)]
    widths = [max(map(len, column)) for column in table]
    lines = ["  ".join(_aligned(cell, width, place > 0)
                       for place, (cell, width) in enumerate(zip(line, widths,
                                                                 strict=True))).rstrip()
             for line in zip(*table, strict=True)]
    return "\n".join([*lines[:tall], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[tall:]])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """A table in Markdown; numbers stand to the right, and are shown by `format_number`."""
    texts = [[_escaped(cell) for cell in header],
             *[[_escaped(cell) for cell in row] for row in rows]]
    columns = list(zip(*texts, strict=True))
    right = [bool(rows) and all(_numeric(row[place]) for row in rows)
             for place in range(len(header))]
    widths = [max(3, *map(len, column)) for column in columns]
    rule = ["-" * (width - 1) + ":" if to_right else "-" * width
            for width, to_right in zip(widths, right, strict=True)]
    lines = [[_aligned(*cell) for cell in zip(line, widths, right, strict=True)] for line in texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample, n - 1) of the values that are not nan; nan for
    what too few of them leave unknown."""
    known = [value for value in values if not math.isnan(value)]
    mean = statistics.fmean(known) if known else math.nan
    return mean, statistics.stdev(known) if len(known) > 1 else math.nan


def with_std(mean: float, std: float | None) -> str:
    """`mean ± std`, both to the last digit of the mean unless nothing were left of the std; the
    mean alone where there is no std."""
    text = format_number(mean)
    if std is None or not (math.isfinite(mean) and math.isfinite(std)):
        return text
    rounded = f"{std:.{len(text.partition('.')[2])}f}"
    return f"{text} ± {format_number(std) if 'e' in text or (std and not float(rounded)) else rounded}"


def format_number(value: float) -> str:
    """Four significant digits, whole numbers in full: 0.5432, 12.35, 123457, 1.235e-05; nan is
    `-`."""
    if isinstance(value, int) or value == 0:
        return f"{value:d}" if isinstance(value, int) else "0"
    if not math.isfinite(value):
        return NOTHING if math.isnan(value) else str(value)
    exponent = int(f"{value:.3e}".split("e")[1])  # of the rounded value: 9.9996 is 10.00
    return f"{value:.3e}" if exponent < -4 or exponent > 8 else f"{value:.{max(3 - exponent, 0)}f}"


def format_share(share: float) -> str:
    """Return whole percents, without calling anything 0% or 100% that is not."""
    text = f"{share:.0%}"
    return {"0%": "<1%", "100%": ">99%"}.get(text, text) if 0 < share < 1 else text


def format_count(count: float) -> str:
    """Return a count in at most five characters: 950, 12.3k, 4.56M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.0f}"


def label_of(name: str) -> str:
    """A figure's name as it is written in prose: mIoU, F1, IoU of a class, MAE, RMSE, R², and the
    std of any."""
    if name.endswith("_std"):
        return f"{label_of(name.removesuffix('_std'))} std"
    return f"IoU {name.removeprefix('iou_')}" if name.startswith("iou_") else LABELS.get(name,
                                                                                         name.replace("_", " "))


def _aligned(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _escaped(cell: str | float) -> str:
    return " ".join(cell.split()).replace("|",
                                          "\\|") if isinstance(cell, str) else format_number(cell)


def _numeric(cell: str | float) -> bool:
    """Also a text that begins with a number, as `0.5432 ± 0.0121` does, or that stands for one."""
    if not isinstance(cell, str) or cell == NOTHING:
        return True
    first = cell.split(" ")[0].rstrip("%")
    return first.replace(".", "", 1).removeprefix("-").isdigit()
