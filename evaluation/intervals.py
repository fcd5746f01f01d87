"""Intervals of figures, and of differences of figures, by a bootstrap over spatial blocks.

Neighbouring tiles resemble each other, so drawing tiles one by one would make intervals too
narrow. Whole blocks of neighbours are drawn with replacement, within each city, and every figure
is computed of the tiles drawn (block bootstrap: Kuensch 1989, Lahiri 2003). The 2.5 and 97.5 % of
the figures over all draws are the ends of the interval. The same tiles are always drawn alike, so
that two models are compared draw by draw.

A seed is another training, which moves a figure as other tiles do. So where a model has two seeds
or more, each draw also draws its seeds with replacement, for each model on its own (hierarchical
bootstrap: Davison and Hinkley 1997, section 3.8; why a comparison must: Bouthillier et al.,
Accounting for Variance in Machine Learning Benchmarks, MLSys 2021). A seed is drawn once for all
folds: the trainings of its folds may start from one pretraining, so they are not independent, and
where they are, drawing them together is right as well. A model that is measured again, as on tiles
with objects removed, is no other training: its seeds are drawn as they are for the model as it was.
With one seed only tiles are drawn, and the interval says nothing of other trainings.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.spatial_blocks import block_of
from datasets.stores.city import city_of
from evaluation.tallies import NOWHERE, Tallies
from utils.files import digest_of

DRAWS = 2000
LEVEL = 0.95
LARGEST, SMALLEST = 8, 2  # tiles along a block's side
ENOUGH = 20               # blocks: the side is the largest one that makes as many
FEW = 10                  # blocks below which an interval is a rough one
BIASED = ("ece",)         # a sum of absolute values, which the noise of a draw only raises
_AT_ONCE = 1 << 22        # numbers that a few draws may take in memory

Interval = tuple[float, float]


@dataclass(frozen=True)
class Blocks:
    """Tiles as blocks of neighbours.

    Attributes:
        side: tiles along a block's side; 1 if no tile's name says a place.
        of_tile: int [n], the block of each tile.
        cities: the blocks of each city, which are drawn on their own.
    """

    side: int
    of_tile: np.ndarray
    cities: list[np.ndarray]

    def __len__(self) -> int:
        return sum(map(len, self.cities))

    def draws(self, seed: int) -> Iterator[np.ndarray]:
        """Yield how often each block is drawn, float64 [d, blocks], for DRAWS draws in all."""
        rng = np.random.default_rng(seed)
        step = max(1, _AT_ONCE // len(self))
        for start in range(0, DRAWS, step):
            drawn = np.zeros((min(step, DRAWS - start), len(self)))
            for own in self.cities:
                drawn[:, own] = _with_replacement(rng, len(own), len(drawn))
            yield drawn


def blocks_of(names: Sequence[str], cells: np.ndarray) -> Blocks:
    """Return tiles, at `cells` [n, 2] of their cities' grids, as blocks of neighbours.

    The side is the largest one, from LARGEST to SMALLEST, that makes ENOUGH blocks of all cities
    together. A tile without a place is a block of its own.
    """
    placed = cells[:, 0] != NOWHERE
    cities = [city_of(name) if on_grid else None
              for name, on_grid in zip(names, placed, strict=True)]
    _, city = np.unique([other or "" for other in cities], return_inverse=True)
    for side in range(LARGEST, SMALLEST - 1, -1):
        of_tile = np.empty(len(names), np.int64)
        count = 0
        for number in range(city.max() + 1):
            own = city == number
            own_blocks = (block_of(cells[own], side) if placed[own].all()
                          else np.arange(own.sum()))
            of_tile[own] = count + own_blocks
            count += own_blocks.max() + 1
        if count >= ENOUGH:
            break
    return Blocks(side if placed.any() else 1, of_tile,
                  [np.unique(of_tile[city == number]) for number in range(city.max() + 1)])


def sampled_figures(runs: Sequence[Tallies]) -> dict[str, np.ndarray]:
    """Return each figure [DRAWS] of a model, the `mean_over` the runs that have it in a draw.

    Runs on the same tiles, as of several seeds, share the draws of tiles, and are themselves drawn
    with replacement. Runs of other tiles, as of several folds, have independent draws of tiles, and
    share those of their seeds. Figures that a bootstrap cannot judge (BIASED) are left out. The
    result is empty if a run has a single block.
    """
    samples = [_sampled(run) for run in runs]
    if not samples or not all(samples):
        return {}
    drawn = _drawn_runs(runs)
    return {name: mean_over(runs, [sample[name] for sample in samples], drawn)
            for name in samples[0] if name not in BIASED}


def mean_over(runs: Sequence[Tallies], values: Sequence[np.ndarray],
              drawn: np.ndarray | float = 1.0) -> np.ndarray:
    """Return the mean over runs of their values [...] that are not nan; nan where all are.

    All sets of tiles weigh the same, however many seeds were run on each: two models with unlike
    numbers of seeds differ by what they do, and not by how hard their folds are.

    Args:
        drawn: [..., runs], how often each run counts; 1: all alike.
    """
    tiles = [frozenset(run.names) for run in runs]
    weights = drawn * np.array([1 / tiles.count(own) for own in tiles])
    values = np.stack(values, -1)                                                  # [..., runs]
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return (weights * np.where(known, values, 0)).sum(-1) / (weights * known).sum(-1)


def intervals(samples: dict[str, np.ndarray]) -> dict[str, Interval]:
    """Return the ends of the interval of each figure or difference; of one that fewer than half of
    the draws define, none."""
    ends = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
    return {name: tuple(np.nanpercentile(values, ends).tolist())
            for name, values in samples.items() if 2 * np.isfinite(values).sum() > len(values)}


def bootstrap_of(runs: Sequence[Tallies]) -> dict[str, Any]:
    """Return how intervals of runs come about: the blocks of all their tiles together, the sides
    of these, the numbers of seeds on the same tiles, and the draws."""
    sets = {frozenset(run.names): run for run in runs}
    blocks = [blocks_of(run.names, run.cells) for run in sets.values()]
    return {"blocks": sum(map(len, blocks)), "side": sorted({each.side for each in blocks}),
            "seeds": seeds_of(runs), "draws": DRAWS, "level": LEVEL}


def seeds_of(runs: Sequence[Tallies]) -> list[int]:
    """Return how many runs there are on the same tiles, ascending: [2], or [1, 2] if some tiles
    have more than others."""
    return sorted({*Counter(frozenset(run.names) for run in runs).values()})


def _sampled(run: Tallies) -> dict[str, np.ndarray]:
    names, cells, moments = _in_order(run)
    blocks = blocks_of(names, cells)
    if len(blocks) < 2:
        return {}
    sums = np.zeros((len(blocks), moments.shape[1]))                                    # [K, m]
    np.add.at(sums, blocks.of_tile, moments)
    with np.errstate(invalid="ignore"):
        each = [run.figures(drawn @ sums) for drawn in blocks.draws(_seed_of(names))]
    return {name: np.concatenate([figures[name] for figures in each]) for name in each[0]}


def _drawn_runs(runs: Sequence[Tallies]) -> np.ndarray:
    """Return how often each run counts in each draw, float64 [DRAWS, runs]: as often as its seed is
    drawn among those of its model, 1 if there is one alone.

    The draws follow from the runs' models, or where these are not known from the tiles and what
    was measured there. So two models have independent ones, and the same model always the same,
    whatever the order of its runs, and whatever was done to the tiles it is measured on.
    """
    drawn = np.ones((DRAWS, len(runs)))
    known = [(run.model, _digest(run)) for run in runs]
    for trainings in _trainings(runs):
        if len(trainings) > 1:
            ordered = sorted(sorted((*known[index], index) for index in own) for own in trainings)
            rng = np.random.default_rng(_seed_of([
                model or digest for own in ordered for model, digest, _ in own]))
            counts = _with_replacement(rng, len(ordered), DRAWS)                   # [DRAWS, seeds]
            for column, own in enumerate(ordered):
                drawn[:, [index for *_, index in own]] = counts[:, [column]]
    return drawn


def _trainings(runs: Sequence[Tallies]) -> list[list[list[int]]]:
    """Return groups of trainings, among which draws choose, each the indices of its runs.

    A training is a seed with its runs on all sets of tiles that have the same seeds. Where runs
    do not know their seeds, or two have the same one, it is a single run, and a set of tiles is a
    group.
    """
    of_tiles: dict[frozenset[str], list[int]] = {}
    for index, run in enumerate(runs):
        of_tiles.setdefault(frozenset(run.names), []).append(index)
    groups: list[list[list[int]]] = []
    of_seeds: dict[frozenset[int], dict[int, list[int]]] = {}
    for own in of_tiles.values():
        seeds = {runs[index].seed: index for index in own}
        if None in seeds or len(seeds) < len(own):
            groups.append([[index] for index in own])
            continue
        shared = of_seeds.setdefault(frozenset(seeds), {})
        for seed, index in seeds.items():
            shared.setdefault(seed, []).append(index)
    return [*groups, *([*shared.values()] for shared in of_seeds.values())]


def _digest(run: Tallies) -> str:
    names, _, moments = _in_order(run)
    return digest_of([names, digest_of(moments.tobytes())])


def _in_order(run: Tallies) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return names, cells and moments of a run's tiles, by name, whatever the list's order."""
    order = np.argsort(np.array(run.names, dtype=object), kind="stable")
    return [run.names[index] for index in order], run.cells[order], run.moments[order]


def _seed_of(value: Any) -> int:
    return int(digest_of(value)[:16], 16)


def _with_replacement(rng: np.random.Generator, count: int, draws: int) -> np.ndarray:
    """Return [draws, count], how often each of `count` is among as many drawn of them."""
    return rng.multinomial(count, np.full(count, 1 / count), draws)
