"""Whether a claim holds: the difference that it is about, its interval, and a verdict.

reports.claims.RULE says it in words.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.intervals import intervals, sampled_figures, seeds_of
from evaluation.run import RESULTS
from reports.attention_study import PARTS
from reports.claims import CHANCE, FAILS, HOLDS, LESS, LOSS, TIMES_CHANCE
from reports.differences import decimals, in_brackets, signed
from studies.association import Association, Shares
from studies.benchmark_plan import TASKS
from studies.benchmark_results import Result, Results, difference, in_common, read_cells
from studies.claim_list import OWN_PLACE, Claim, Reason, cell_of
from studies.differences import mean_figures
from utils.contents import Fields, Text, read_json
from utils.errors import CheckpointError, ConfigError
from utils.tables import label_of

_BENCHMARK = Fields({"benchmark": Text()})
UNKNOWN = "no interval"


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
    a_value: float                         # of the folds and seeds that A and B both have
    b: str
    b_value: float
    at_least: float
    difference: float
    interval: tuple[float, float] | None
    runs: int                              # folds times seeds that both have
    seeds: list[int]                       # numbers of these runs on the same tiles
    verdict: str
    hears: str                             # of the claim
    because: str = ""                      # of one that fails, its reason of cells as measured
    equal: bool = False                    # of the claim

    @property
    def record(self) -> dict[str, Any]:
        return asdict(self)


def verdict_of(difference: float, interval: tuple[float, float] | None, at_least: float,
               equal: bool = False) -> str:
    """Return the verdict on a difference that should be `at_least` so large, and above 0 unless it
    may be `equal`."""
    if math.isnan(difference) or interval is None:
        return UNKNOWN
    low, high = interval
    sure = high >= 0 if equal else low > min(at_least, 0)
    if sure and difference >= at_least:
        return HOLDS
    if low > 0 and difference < at_least:
        return LESS
    if high < at_least:
        return FAILS
    return LOSS if high < 0 else CHANCE


@dataclass(frozen=True)
class Benchmark:
    """A finished benchmark: its city, and the results of its cells."""

    city: str
    results: Results


def read_benchmarks(folders: Sequence[str]) -> list[Benchmark]:
    """Return the benchmarks in folders.

    Raises:
        CheckpointError: one cannot be read.
        ConfigError: two are of one city, so that a claim would have two verdicts.
    """
    benchmarks, places = [], {}
    for folder in folders:
        benchmarks.append(read_benchmark(Path(folder)))
        city = benchmarks[-1].city
        if city in places:
            raise ConfigError(f"runs=[{','.join(folders)}]: {places[city]} and {folder} are both "
                              f"of the city {city}, expected one benchmark a city; leave one out")
        places[city] = folder
    return benchmarks


def read_benchmark(folder: Path) -> Benchmark:
    """Return the benchmark in a folder; raise CheckpointError if it cannot be read."""
    record = read_json(folder / RESULTS, _BENCHMARK, "give the folder of a finished benchmark, as "
                       "in runs=[runs/benchmark]", CheckpointError)
    return Benchmark(record["benchmark"], read_cells(folder))


def verdicts(benchmark: Benchmark, claims: Iterable[Claim]) -> list[Verdict]:
    """Return the verdicts on all claims whose cells a benchmark has, in their order."""
    judged = [_judge(benchmark, claim, recipe) for claim in claims for recipe in claim.recipes]
    return [verdict for verdict in judged if verdict]


def unmeasured(benchmark: Benchmark, claims: Iterable[Claim]) -> list[str]:
    """Return a line a recipe: how many claims lack cells of a benchmark, and of what they are."""
    lacking: dict[str, list[Claim]] = {}
    for claim in claims:
        for recipe in claim.recipes:
            if not _known(benchmark, claim, recipe):
                lacking.setdefault(recipe, []).append(claim)
    return [f"{recipe} on {benchmark.city}: {_counted(own)} ("
            + "; ".join(dict.fromkeys(", ".join(filter(None, (TASKS[claim.a.task].title,
                                                              claim.case))) for claim in own)) + ")"
            for recipe, own in lacking.items()]


def _counted(claims: Sequence[Claim]) -> str:
    counts = Counter("aim" if claim.aim else "claim" for claim in claims)
    return " and ".join(f"{counts[kind]} {kind}{'s' * (counts[kind] > 1)}"
                        for kind in ("claim", "aim") if counts[kind])


def _known(benchmark: Benchmark, claim: Claim, recipe: str) -> bool:
    return all(cell_of(cell, recipe) in benchmark.results for cell in (claim.a, *claim.b))


def _judge(benchmark: Benchmark, claim: Claim, recipe: str) -> Verdict | None:
    def value(result: Result) -> float:
        return result.means[figure] if result.samples else result.spread[figure][0]

    results = benchmark.results
    if not _known(benchmark, claim, recipe):
        return None
    a, *rivals = (cell_of(cell, recipe) for cell in (claim.a, *claim.b))
    figure = results[a].score
    values = {cell: value(results[cell]) for cell in rivals}
    b = max(rivals, key=lambda cell: (not math.isnan(values[cell]), values[cell]))
    own, rival = in_common(results[a], results[b])
    less, interval = math.nan, None
    if all(_same_tiles(results[a], results[cell]) for cell in rivals):
        paired = difference(results, a, b)
        less, interval = ((paired.difference, paired.interval) if paired
                          else (value(own) - value(rival), None))
    seeds = {*Counter(run["fold"] for run in own.runs).values()}
    verdict = verdict_of(less, interval, claim.at_least, claim.equal)
    return Verdict(benchmark.city, recipe, claim.title, claim.case, claim.aim,
                   TASKS[a.task].title, figure, a.row, value(own), b.row, value(rival),
                   claim.at_least, less, interval, len(own.runs), sorted(seeds), verdict,
                   claim.hears, _because(results, claim.reason, recipe)
                   if verdict in (FAILS, LOSS) and claim.reason else "", claim.equal)


def _because(results: Results, reason: Reason, recipe: str) -> str:
    """Return a reason with its figures; "" if its cells are not there, or may be equal."""
    better, worse = cell_of(reason.better, recipe), cell_of(reason.worse, recipe)
    paired = difference(results, better, worse)
    if paired is None or paired.interval is None or paired.interval[0] <= 0:
        return ""
    figure = results[better].score
    values = (f"{each.means[figure]:.3f}" for each in in_common(results[better], results[worse]))
    return (f"{reason.words}: {label_of(figure)} {' against '.join(values)}: "
            f"{signed(paired.difference, decimals)} {in_brackets(paired.interval, decimals)}")


def _same_tiles(a: Result, b: Result) -> bool:
    """Whether two cells measured the same tiles; by their folds, where one has no tallies."""
    if a.samples and b.samples:
        a_tiles, b_tiles = ({frozenset(run.names) for run in each.tallies} for each in (a, b))
        return a_tiles == b_tiles
    return {run["fold"] for run in a.runs} == {run["fold"] for run in b.runs}


def verdicts_on_attention(associations: Sequence[Association]) -> list[Verdict]:
    """Return the verdicts on where objects look, and where the fused image hears of them, against
    chance; networks of one city and recipe, as of several seeds, are taken together."""
    groups: dict[tuple[str, str], list[Association]] = {}
    for each in associations:
        groups.setdefault((each.city, each.recipe), []).append(each)
    return [_on_shares(city, recipe, title, case, at_least, aim, name if name in PARTS else "",
                       [each.shares[name] for each in group if name in each.shares])
            for (city, recipe), group in groups.items()
            for name, title, case, at_least, aim in OWN_PLACE
            if any(name in each.shares for each in group)]


def _on_shares(city: str, recipe: str, title: str, case: str, at_least: float, aim: bool,
               hears: str, runs: Sequence[Shares]) -> Verdict:
    lift = mean_figures(runs)["lift"]
    samples = sampled_figures(runs)
    interval = intervals({"lift": samples["lift"] - 1}).get("lift") if samples else None
    return Verdict(city, recipe, title, case, aim, "all objects", TIMES_CHANCE, recipe, lift,
                   "chance", 1.0, at_least, lift - 1, interval, len(runs), seeds_of(runs),
                   verdict_of(lift - 1, interval, at_least), hears)
