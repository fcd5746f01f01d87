"""The section of a grid, as `--multirun` leaves it: a row a run, the best, links to their pages."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.blocks import Block, Section, table
from reports.figures import better_of
from reports.links import run_link
from reports.markup import element
from reports.read import number
from utils.cli.grid import FILE, ROW, ROW_RULE
from utils.cli.program import run_name
from utils.contents import read_json
from utils.errors import ReportError
from utils.tables import format_number, label_of

_BEST = 3  # figures whose best run is named above the table


def is_grid(folder: Path) -> bool:
    """Return whether a folder holds the runs of a grid."""
    return (folder / FILE).is_file()


def grid_section(folder: Path, page: Path, report: str) -> Section:
    """Return the section of the grid in `folder`; raise ReportError if a file cannot be read.

    Args:
        page: the folder of the page.
        report: the name of the runs' own pages.
    """
    rows = _rows(folder)
    if not rows:
        raise ReportError(f"{folder}: has {FILE} and no run that it is of, expected folders with "
                          f"{ROW}; make the grid again, or give the folder of a run")
    keys = list(dict.fromkeys(key for _, row in rows for key in row["swept"]))
    figures = list(dict.fromkeys(name for _, row in rows for name in row.get("figures", {})))
    failed = [row for _, row in rows if "error" in row]
    header = ["run", *keys, *map(label_of, figures), *["error"] * bool(failed)]
    shown = [[run_link(run, str(row["number"] + 1), page, report),
              *(row["swept"].get(key) for key in keys),
              *(format_number(number(row.get("figures", {}).get(name))) for name in figures),
              *[row.get("error", "")] * bool(failed)] for run, row in rows]
    lines = [f"{len(rows)} runs, which differ in {', '.join(keys) or 'nothing'}"
             + (f"; {len(failed)} of them failed." if failed else ".")]
    places = element("p", "The runs lie in ", element("code", str(folder)), "; the numbers lead to "
                     "their own pages.", class_="note")
    return Section("Grid", f"Grid: {folder.resolve().name}", folder, lines,
                   _best([row for _, row in rows], figures),
                   [Block("All runs", [element("div", table(header, shown), class_="figures"),
                                       places])])


def _rows(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return folder and row of the runs of the newest grid in `folder`, in their order."""
    files = sorted(folder.glob(f"*/{ROW}"), key=lambda file: file.stat().st_mtime)
    rows = [(file.parents[1], read_json(file, ROW_RULE, "make the grid again", ReportError))
            for file in files]
    return sorted(((run, row) for run, row in rows if row["grid"] == rows[-1][1]["grid"]),
                  key=lambda pair: pair[1]["number"])


def _best(rows: Sequence[Mapping[str, Any]],
          figures: Sequence[str]) -> list[tuple[str, str, str]]:
    headline = []
    for name in [name for name in figures if better_of(name)][:_BEST]:
        known = [(number(row["figures"].get(name)), row) for row in rows if "figures" in row]
        known = [pair for pair in known if not math.isnan(pair[0])]
        if known:
            value, row = better_of(name)(known, key=lambda pair: pair[0])
            headline.append((label_of(name), format_number(value),
                             f"the best, run {row['number'] + 1}: {run_name(row['swept'])}"))
    return headline
