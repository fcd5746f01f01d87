"""The section of a grid, as `--multirun` leaves it: its runs compared, with links to them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.blocks import Block, Section, table
from reports.comparison import Compared, Estimate, comparison, matrices, signs
from reports.figures import better_of
from reports.links import run_link
from reports.markup import Markup, element
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
    names = [name for name in figures if name.removesuffix("_std") not in figures or
             not name.endswith("_std")]
    done = [_compared(run, row, keys, names, page, report) for run, row in rows
            if "error" not in row]
    failed = [[_link(run, row, page, report), *(row["swept"].get(key, "") for key in keys),
               row["error"]] for run, row in rows if "error" in row]
    lines = [f"{len(rows)} runs, which differ in {', '.join(keys) or 'nothing'}"
             + (f"; {len(failed)} of them failed." if failed else ".")]
    places = element("p", "The runs lie in ", element("code", str(folder)), "; the numbers lead to "
                     "their own pages.", class_="note")
    blocks = [Block("All runs", [
        matrices(done, [{}] * len(done), [name for name in names if better_of(name)]),
        comparison(done, [], names, "run"), signs(False, False, _spread(rows)), places,
    ])] if done else []
    if failed:
        blocks.append(Block("Failed runs", [table(["run", *keys, "error"], failed)]))
    return Section("Grid", f"Grid: {folder.resolve().name}", folder, lines,
                   _best([row for _, row in rows], figures), blocks)


def _compared(run: Path, row: Mapping[str, Any], keys: Sequence[str], names: Sequence[str],
              page: Path, report: str) -> Compared:
    figures = {name: number(value) for name, value in row.get("figures", {}).items()}
    return Compared({key: str(row["swept"].get(key, "")) for key in keys},
                    {name: Estimate(figures[name], figures.get(f"{name}_std", math.nan))
                     for name in names if name in figures}, _link(run, row, page, report))


def _link(run: Path, row: Mapping[str, Any], page: Path, report: str) -> Markup:
    return run_link(run, str(row["number"] + 1), page, report)


def _spread(rows: Sequence[tuple[Path, Mapping[str, Any]]]) -> str:
    """Return what ± is in words; nothing if no run has it."""
    several = any(name.endswith("_std") and not math.isnan(number(value)) for _, row in rows
                  for name, value in row.get("figures", {}).items())
    return "the standard deviation over a run's seeds" if several else ""


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
