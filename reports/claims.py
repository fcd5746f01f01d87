"""The section of claims: each with its difference, interval and verdict."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.blocks import Block, Section, facts, table
from reports.differences import decimals, drawn_interval, in_brackets, interval_of, signed
from reports.evaluation import RESULTS
from reports.figures import over_in_words
from reports.markup import Markup, element
from reports.read import json_object, number, reading
from reports.study import holds
from utils.contents import Either, Fields, Flag, Items, Null, Number, Table, Text, Whole
from utils.tables import NOTHING, format_number, label_of

CLAIMED = "claims"
HOLDS, LESS, LOSS, FAILS, CHANCE = ("holds", "real, but less", "a real loss", "fails",
                                    "may be chance")
NOT_MEASURED = "Not measured, and so not counted"
TIMES_CHANCE = "times chance"  # a figure that is shown whole: 1 and its difference from chance
RULE = (f"A claim *{HOLDS}* if its difference is as large as it says (above 0 if it says nothing) "
        "and the interval excludes 0; one that allows a loss holds if the whole interval is above "
        "that loss, and one of being at least equal if the difference is 0 or more and the "
        f"interval is not wholly below 0. It is *{LESS}* if the whole interval is above 0 and the "
        f"difference smaller than it says. It is *{LOSS}* if the whole interval is below 0 and has "
        f"the loss that it allows in it. It *{FAILS}* if the interval excludes what it says and is "
        f"not wholly above 0. Else it *{CHANCE}*.")
_NUMBER = Either([Number(), Null()])
_CLAIM = Fields({
    **dict.fromkeys(("city", "recipe", "title", "case", "task", "figure", "a", "b", "verdict"),
                    Text()),
    **dict.fromkeys(("a_value", "b_value", "difference"), _NUMBER), "at_least": Number(),
    "aim": Flag(), "runs": Whole(least=0),
    "interval": Either([Items([_NUMBER, _NUMBER]), Null()])},
    {"seeds": Items(Whole(least=1)), "equal": Flag()})
_CLAIMS = Fields({CLAIMED: Items(_CLAIM), "measured": Items(Table(Text())), "runs": Items(Text()),
                  "attention": Items(Text())}, {"reasons": Items(Text()),
                                                   "unmeasured": Items(Text())})


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
        if reasons := record.get("reasons"):
            blocks.append(Block("Why claims fail", [
                element("ul", [element("li", reason) for reason in reasons])]))
        blocks.append(Block("Made of", [facts({
            "benchmarks": ", ".join(record["runs"]),
            "attention studies": ", ".join(record["attention"]) or "none"})]))
        words = [RULE.replace("*", ""), held(claims)]
        if lacking := record.get("unmeasured"):
            words.append(f"{NOT_MEASURED}: {'. '.join(lacking)}.")
    return Section("Study", f"Claims: {folder.resolve().name}", folder, words, _headline(claims),
                   blocks)


def shown(claim: Mapping[str, Any]) -> str:
    """Return a verdict with its difference and interval, in writing."""
    return f"{claim['verdict']}: {' '.join(filter(None, _figures(claim)))}"


def asked(claim: Mapping[str, Any]) -> str:
    """Return how large the difference should be, in writing; "" if above 0, or above chance, or
    0 or more, which the title says."""
    least = claim["at_least"]
    if claim["figure"] == TIMES_CHANCE:
        return f"{1 + least:g} times or more" if least else ""
    return f"a loss of {-least:g} allowed" if least < 0 else f"by {least:g} or more" * bool(least)


def _figures(claim: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return difference and interval in writing."""
    difference, ends = number(claim["difference"]), interval_of(claim["interval"])
    if claim["figure"] == TIMES_CHANCE:
        return (NOTHING if math.isnan(difference) else f"{1 + difference:.2f}",
                f"[{', '.join(f'{1 + end:.2f}' for end in ends)}]" if ends else None)
    return signed(difference, decimals), in_brackets(ends, decimals) if ends else None


def held(claims: Iterable[Mapping[str, Any]]) -> str:
    """Return how many claims and aims hold, of each recipe and city, in a sentence or more."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for claim in claims:
        groups.setdefault((claim["recipe"], claim["city"]), []).append(claim)
    return " ".join(f"{recipe.capitalize()} on {city}: {_counted(own)}; intervals "
                    f"{over_in_words({seeds for claim in own for seeds in claim.get('seeds', ())})}"
                    "." for (recipe, city), own in groups.items())


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
    reach: dict[str, float] = {}  # of the bars, those of a figure on one scale
    for claim in claims:
        ends = interval_of(claim["interval"]) or (0.0,)
        reach[claim["figure"]] = max(reach.get(claim["figure"], 0.0), *map(abs, ends))
    rows = [[
        claim["title"], ", ".join(filter(None, (claim["task"], claim["case"]))), claim["recipe"],
        claim["city"], claim["verdict"], f"{claim['a']} less {claim['b']}",
        f"{format_number(number(claim['a_value']))} - {format_number(number(claim['b_value']))}",
        label_of(claim["figure"]), _figures(claim)[0],
        asked(claim) or ("no less" if claim.get("equal") else "more"), _figures(claim)[1],
        " or ".join(map(str, claim.get("seeds", ()))) or None,
        drawn_interval(claim, reach[claim["figure"]] or 1.0)] for claim in claims]
    content = table(["claim", "of", "recipe", "city", "it", "models", "their figures", "figure",
                     "difference", "asked", "95 % interval", "seeds", "around 0"], rows,
                    sortable=True)
    return element("div", content, class_="differences tall" if len(rows) > 14 else "differences")
