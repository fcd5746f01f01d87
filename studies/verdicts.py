"""Whether a claim holds: the difference that it is about, its interval, and a verdict.

A claim holds if the difference is as large as claimed, and its 95 % interval excludes 0, or the
loss that the claim allows. It fails if the interval excludes what is claimed, or if the difference
is real and smaller. Everything else may be chance.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.intervals import intervals, sampled_figures
from studies.association import Association, Shares
from studies.benchmark_rows import Benchmark, Cell
from studies.claim_list import OWN_PLACE, RECIPES, Claim, Model
from studies.differences import compared, mean_figures

HOLDS, FAILS, CHANCE, UNKNOWN = "holds", "fails", "may be chance", "no interval"


@dataclass(frozen=True)
class Verdict:
    """What a benchmark says of a claim about a recipe."""

    city: str
    recipe: str
    title: str
    case: str
    aim: bool
    task: str                              # in words
    figure: str
    a: str                                 # the row
    a_value: float
    b: str
    b_value: float
    at_least: float
    difference: float
    interval: tuple[float, float] | None
    runs: int                              # of A: folds times seeds
    verdict: str

    @property
    def record(self) -> dict[str, Any]:
        return asdict(self)


def verdict_of(difference: float, interval: tuple[float, float] | None, at_least: float) -> str:
    """Return the verdict on a difference that should be `at_least` so large."""
    if math.isnan(difference) or interval is None:
        return UNKNOWN
    low, high = interval
    real = low > min(at_least, 0)
    if real and difference >= at_least:
        return HOLDS
    return FAILS if real or high < at_least else CHANCE


def verdicts(benchmark: Benchmark, claims: Iterable[Claim]) -> list[Verdict]:
    """Return the verdicts on all claims whose rows a benchmark has, in their order."""
    judged = [_judge(benchmark, claim, recipe) for claim in claims for recipe in claim.recipes]
    return [verdict for verdict in judged if verdict]


def _judge(benchmark: Benchmark, claim: Claim, recipe: str) -> Verdict | None:
    task = benchmark.tasks.get(claim.task)
    a = _rows_of(benchmark, claim.task, claim.a, recipe)
    rivals = [rows for model in claim.b if (rows := _rows_of(benchmark, claim.task, model, recipe))]
    if task is None or a is None or len(rivals) < len(claim.b):
        return None
    figure = task["score"]
    b = max(rivals, key=lambda rows: rows[1].figures.get(figure, math.nan))
    values = [cell.figures.get(figure, math.nan) for _, cell in (a, b)]
    paired = None
    if a[1].tiles == b[1].tiles:
        paired = compared("a", "b", figure, {name: cell.figures for name, (_, cell) in
                                             (("a", a), ("b", b))},
                          {"a": a[1].samples, "b": b[1].samples})
    difference = values[0] - values[1]
    interval = paired.interval if paired else None
    return Verdict(benchmark.city, recipe, claim.title, claim.case, claim.aim, task["title"],
                   figure, a[0], values[0], b[0], values[1], claim.at_least, difference, interval,
                   len(a[1]), verdict_of(difference, interval, claim.at_least))


def _rows_of(benchmark: Benchmark, task: str, model: Model,
             recipe: str) -> tuple[str, Cell] | None:
    """Return the name of a model's row and its runs, or None if the benchmark has none."""
    for row in RECIPES[recipe].get(model.row, (model.row,)):
        if cell := benchmark.cell(task, model.columns(row)):
            return row, cell
    return None


def verdicts_on_attention(associations: Sequence[Association]) -> list[Verdict]:
    """Return the verdicts on where objects look, and where the fused image hears of them, against
    chance; networks of one city and recipe, as of several seeds, are taken together."""
    groups: dict[tuple[str, str], list[Association]] = {}
    for each in associations:
        groups.setdefault((each.city, each.recipe), []).append(each)
    return [_on_shares(city, recipe, title, case, at_least, aim,
                       [each.shares[name] for each in group if name in each.shares])
            for (city, recipe), group in groups.items()
            for name, title, case, at_least, aim in OWN_PLACE
            if any(name in each.shares for each in group)]


def _on_shares(city: str, recipe: str, title: str, case: str, at_least: float, aim: bool,
               runs: Sequence[Shares]) -> Verdict:
    lift = mean_figures(runs)["lift"]
    samples = sampled_figures(runs)
    interval = intervals({"lift": samples["lift"] - 1}).get("lift") if samples else None
    return Verdict(city, recipe, title, case, aim, "all objects", "times chance", recipe, lift,
                   "chance", 1.0, at_least, lift - 1, interval, len(runs),
                   verdict_of(lift - 1, interval, at_least))
