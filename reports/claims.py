"""The section of claims: each with its difference, interval and verdict."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.blocks import Block, Section, facts, table
from reports.differences import drawn_interval, interval_of
from reports.evaluation import RESULTS
from reports.markup import Markup, element
from reports.read import json_object, number, reading
from reports.study import holds
from utils.contents import Either, Fields, Flag, Items, Null, Number, Table, Text, Whole
from utils.tables import NOTHING, format_number, label_of

CLAIMED = "claims"
HOLDS = "holds"
_NUMBER = Either([Number(), Null()])
_CLAIM = Fields({
    **dict.fromkeys(("city", "recipe", "title", "case", "task", "figure", "a", "b", "verdict"),
                    Text()),
    **dict.fromkeys(("a_value", "b_value", "difference"), _NUMBER), "at_least": Number(),
    "aim": Flag(), "runs": Whole(least=0), "interval": Either([Items([_NUMBER, _NUMBER]), Null()])})
_CLAIMS = Fields({CLAIMED: Items(_CLAIM), "measured": Items(Table(Text())), "runs": Items(Text()),
                  "attention": Items(Text())})


def is_claims(folder: Path) -> bool:
    """Return whether a folder holds verdicts on claims."""
    return holds(folder, b'"claims"', b'"verdict"')


def claims_section(folder: Path, page: Path, report: str) -> Section:
    """Return the section of the claims in `folder`; as `study_section`."""
    with reading(folder / RESULTS, "the verdicts on claims"):
        record = _CLAIMS.check(json_object(folder / RESULTS), "")
        claims = record[CLAIMED]
        blocks = [Block(title, [_table([claim for claim in claims if claim["aim"] is aim])])
                  for aim, title in ((False, "Claims of the paper"), (True, "Aims beyond it"))
                  if any(claim["aim"] is aim for claim in claims)]
        if rows := record["measured"]:
            blocks.append(Block("Why, as measured", [table(
                list(rows[0]), [[row.get(name, NOTHING) for name in rows[0]] for row in rows])]))
        blocks.append(Block("Made of", [facts({
            "benchmarks": ", ".join(record["runs"]),
            "attention studies": ", ".join(record["attention"]) or "none"})]))
    line = ("A claim holds if its 95 % interval, over folds and seeds, paired by tile, excludes 0, "
            "and an aim if the difference is also as large as asked. It fails if the interval "
            "excludes what is claimed, or if a real difference is too small.")
    return Section("Study", f"Claims: {folder.resolve().name}", folder, [line],
                   _headline(claims), blocks)


def shown(claim: Mapping[str, Any]) -> str:
    """Return a verdict with its difference and interval, in writing."""
    difference = number(claim["difference"])
    sign = "+" if difference > 0 else ""
    ends = interval_of(claim["interval"])
    interval = f" [{', '.join(f'{end:.3f}' for end in ends)}]" if ends else ""
    return f"{claim['verdict']}: {sign}{difference:.3f}{interval}"


def held(claims: Iterable[Mapping[str, Any]]) -> str:
    """Return how many claims and aims hold, of each recipe and city, in a sentence or more."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for claim in claims:
        groups.setdefault((claim["recipe"], claim["city"]), []).append(claim)
    return " ".join(f"{recipe.capitalize()} on {city}: {_counted(own)}."
                    for (recipe, city), own in groups.items())


def _counted(claims: Sequence[Mapping[str, Any]]) -> str:
    counts = []
    for aim, noun in ((False, "claims"), (True, "aims")):
        if own := [claim["verdict"] == HOLDS for claim in claims if claim["aim"] is aim]:
            counts.append(f"{sum(own)} of {len(own)} {noun} hold")
    return ", ".join(counts)


def _headline(claims: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    groups = dict.fromkeys((claim["recipe"], claim["city"]) for claim in claims)
    return [(f"{recipe}, {city}", _counted(own := [
        claim for claim in claims if (claim["recipe"], claim["city"]) == (recipe, city)]),
        f"{max(claim['runs'] for claim in own)} runs a model") for recipe, city in groups]


def _table(claims: Sequence[Mapping[str, Any]]) -> Markup:
    reach = max((abs(end) for claim in claims for end in interval_of(claim["interval"]) or ()),
                default=0.0) or 1.0
    rows = [[
        claim["title"], ", ".join(filter(None, (claim["task"], claim["case"]))), claim["recipe"],
        claim["city"], claim["verdict"], f"{claim['a']} less {claim['b']}",
        f"{format_number(number(claim['a_value']))} - {format_number(number(claim['b_value']))}",
        label_of(claim["figure"]), f"{number(claim['difference']):+.3f}",
        f"{claim['at_least']:+g}" if claim["at_least"] else "above 0",
        _interval(claim), drawn_interval(claim, reach)] for claim in claims]
    content = table(["claim", "of", "recipe", "city", "it", "models", "their figures", "figure",
                     "difference", "asked", "95 % interval", "around 0"], rows, sortable=True)
    return element("div", content, class_="differences tall" if len(rows) > 14 else "differences")


def _interval(claim: Mapping[str, Any]) -> str:
    ends = interval_of(claim["interval"])
    return f"[{', '.join(f'{end:.3f}' for end in ends)}]" if ends else NOTHING
