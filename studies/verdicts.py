"""Whether a claim holds: the difference that it is about, its interval, and a verdict.

A claim holds if the difference is as large as claimed, and its 95 % interval excludes 0, or the
loss that the claim allows. It fails if the interval excludes what is claimed, or if the difference
is real and smaller. Everything else may be chance.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.intervals import intervals, sampled_figures
from evaluation.run import RESULTS
from studies.association import Association, Shares
from studies.benchmark_plan import TASKS, Cell
from studies.benchmark_results import Results, difference, read_cells
from studies.claim_list import OWN_PLACE, Claim, cells_of
from studies.differences import mean_figures
from utils.contents import Fields, Text, read_json
from utils.errors import CheckpointError

_BENCHMARK = Fields({"benchmark": Text()})
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


@dataclass(frozen=True)
class Benchmark:
    """A finished benchmark: its city, and the results of its cells."""

    city: str
    results: Results


def read_benchmark(folder: Path) -> Benchmark:
    """Return the benchmark in a folder; raise CheckpointError if it cannot be read."""
    record = read_json(folder / RESULTS, _BENCHMARK, "give the folder of a finished benchmark, as "
                       "in runs=[runs/benchmark]", CheckpointError)
    return Benchmark(record["benchmark"], read_cells(folder))


def verdicts(benchmark: Benchmark, claims: Iterable[Claim]) -> list[Verdict]:
    """Return the verdicts on all claims whose cells a benchmark has, in their order."""
    judged = [_judge(benchmark, claim, recipe) for claim in claims for recipe in claim.recipes]
    return [verdict for verdict in judged if verdict]


def _judge(benchmark: Benchmark, claim: Claim, recipe: str) -> Verdict | None:
    def present(cell: Cell) -> Cell | None:
        return next((each for each in cells_of(cell, recipe) if each in benchmark.results), None)

    def value(cell: Cell) -> float:
        result = benchmark.results[cell]
        return result.means[figure] if result.samples else result.spread[figure][0]

    a, rivals = present(claim.a), [present(cell) for cell in claim.b]
    if a is None or None in rivals:
        return None
    figure = benchmark.results[a].score
    b = max(rivals, key=lambda cell: (not math.isnan(value(cell)), value(cell)))
    paired = difference(benchmark.results, a, b)
    less, interval = value(a) - value(b), None
    if paired:
        less, interval = paired.difference, paired.interval
    return Verdict(benchmark.city, recipe, claim.title, claim.case, claim.aim,
                   TASKS[a.task].title, figure, a.row, value(a), b.row, value(b), claim.at_least,
                   less, interval, len(benchmark.results[a].runs),
                   verdict_of(less, interval, claim.at_least))


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
