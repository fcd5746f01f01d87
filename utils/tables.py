"""Numbers as a reader wants them, alone and in tables: few digits, aligned, with their spread."""

import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence

HEADER_WIDTH = 16  # characters; longer names of columns are broken over lines
NOTHING = "-"      # for a number that is not defined
LABELS = {"miou": "mIoU", "f1": "F1", "mae": "MAE", "rmse": "RMSE", "r2": "R²", "ece": "ECE"}


def text_table(columns: Mapping[str, Mapping[str, float]],
               std: Mapping[str, Mapping[str, float]] | None, rows: Sequence[str]) -> str:
    """Return a table in plain text with a line for each figure and a column for each model.

    Args:
        columns: label of the column -> figure -> value, or text that stands for it; a figure that
            a column lacks is shown as undefined.
        std: label of the column -> figure -> standard deviation, for columns that have one.
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
    right = [False] + [True] * len(columns)
    lines = ["  ".join(map(_aligned, line, widths, right)).rstrip()
             for line in zip(*table, strict=True)]
    return "\n".join([*lines[:tall], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[tall:]])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """Return a table in Markdown; numbers are aligned right and shown by `format_number`."""
    texts = [[_escaped(cell) for cell in header],
             *[[_escaped(cell) for cell in row] for row in rows]]
    columns = list(zip(*texts, strict=True))
    right = [bool(rows) and all(_numeric(row[column]) for row in rows)
             for column in range(len(header))]
    widths = [max(3, *map(len, column)) for column in columns]
    rule = ["-" * (width - 1) + ":" if to_right else "-" * width
            for width, to_right in zip(widths, right, strict=True)]
    lines = [map(_aligned, line, widths, right) for line in texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (of a sample, n - 1) of the values that are not nan.

    The mean of no value and the standard deviation of fewer than two are nan.
    """
    known = [value for value in values if not math.isnan(value)]
    mean = statistics.fmean(known) if known else math.nan
    return mean, statistics.stdev(known) if len(known) > 1 else math.nan


def with_std(mean: float, std: float | None) -> str:
    """Return `mean ± std`, or the mean alone if there is no std.

    The std ends at the last digit of the mean, unless it would be shown as 0.
    """
    text = format_number(mean)
    if std is None or isinstance(mean, str) or not (math.isfinite(mean) and math.isfinite(std)):
        return text
    rounded = f"{std:.{len(text.partition('.')[2])}f}"
    lost = "e" in text or (std and not float(rounded))
    return f"{text} ± {format_number(std) if lost else rounded}"


def format_number(value: float) -> str:
    """Return four significant digits (0.5432, 12.35, 1.235e-05), whole numbers in full, `-` for
    nan; text as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value == 0:
        return str(int(value))
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


def format_bytes(count: float) -> str:
    """Return bytes in three significant digits: 0 bytes, 950 bytes, 12.3 kB, 4.56 MB, 1.2 TB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * size:
            return f"{float(f'{count / size:.3g}'):g} {unit}"
    return f"{count:.0f} bytes"


def label_of(name: str) -> str:
    """Return a figure's name in prose: mIoU, F1, IoU of a class, MAE, RMSE, R², the std of any."""
    if name.endswith("_std"):
        return f"{label_of(name.removesuffix('_std'))} std"
    if name.startswith("iou_"):
        return f"IoU {name.removeprefix('iou_')}"
    return LABELS.get(name, name.replace("_", " "))


def _aligned(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _escaped(cell: str | float) -> str:
    if not isinstance(cell, str):
        return format_number(cell)
    return " ".join(cell.split()).replace("|", "\\|")


def _numeric(cell: str | float) -> bool:
    """Return whether a cell is a number, begins with one (`0.5432 ± 0.0121`) or stands for one."""
    if not isinstance(cell, str) or cell == NOTHING:
        return True
    first = cell.split(" ")[0].rstrip("%")
    return first.replace(".", "", 1).removeprefix("-").isdigit()
