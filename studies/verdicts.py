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
from studies.claim_cells import Benchmark, Cell
from studies.claim_list import OWN_PLACE, RECIPES, Claim, Model
from studies.differences import mean_figures

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
    a = _cell_of(benchmark, claim.task, claim.a, recipe)
    rivals = [cell for model in claim.b if (cell := _cell_of(benchmark, claim.task, model, recipe))]
    if a is None or len(rivals) < len(claim.b):
        return None
    b = max(rivals, key=lambda cell: cell.value)
    difference, interval = a.value - b.value, a.interval_of_difference(b)
    return Verdict(benchmark.city, recipe, claim.title, claim.case, claim.aim,
                   claim.task.replace("_", " "), a.score, a.record["row"], a.value,
                   b.record["row"], b.value, claim.at_least, difference, interval, a.runs,
                   verdict_of(difference, interval, claim.at_least))


def _cell_of(benchmark: Benchmark, task: str, model: Model, recipe: str) -> Cell | None:
    """Return the cell of a model; None if the benchmark has none."""
    cells = (benchmark.cell({"task": task, **model.columns(row)})
             for row in RECIPES[recipe].get(model.row, (model.row,)))
    return next(filter(None, cells), None)


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
