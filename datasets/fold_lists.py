"""The folds of a dataset: which tiles each one trains on, validates and tests."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.dealt_lists import LEAST_FOLDS
from datasets.folds import deal_folds, roles_of
from datasets.keys import SplitConfig
from datasets.spatial_blocks import TEST, TRAIN, VAL, block_of
from datasets.split_report import ROLES
from datasets.tile_targets import TileTargets
from datasets.tiles import TileDataset
from utils.errors import TileError

RARE = 3  # blocks that a class must lie in for a list each to have it


class _Unfit(TileError):
    """Folds of which a list, or a class in a list, is empty."""


def roles_of_folds(dataset: TileDataset, cities: Mapping[str, np.ndarray],
                   cells: Mapping[str, np.ndarray], targets: TileTargets, rules: SplitConfig,
                   folds: int, guards: Mapping[str, int],
                   seeds: Mapping[str, int]) -> tuple[np.ndarray, dict[str, int]]:
    """Return the roles of the dataset's tiles in every fold, int [folds, tiles], -1 for those of no
    given city, and the block used in each city.

    Args:
        cities: city -> indices [t] of its tiles.
        cells: city -> columns and rows [t, 2] of its tiles.
        seeds: city -> seed of its draws, besides `split.seed`.

    Raises:
        TileError: a city has fewer blocks than folds; or a fold leaves a list empty, or without a
            class that lies in RARE blocks or more.
    """
    def deal(folds: int, rules: SplitConfig) -> tuple[np.ndarray, dict[str, int]]:
        roles = np.full((folds, len(dataset.names)), -1)
        blocks, holders = {}, np.zeros(len(dataset.classes), int)
        for city, own in cities.items():
            of_city = targets.of(own)
            dealt = deal_folds(cells[city], of_city.profiles(), folds, rules.block, guards[city],
                               [rules.seed, seeds[city]])
            if dealt is None:
                raise _Unfit(f"{dataset.root}: split.fold={rules.fold}: the {len(own)} usable "
                             f"tiles of {city} make fewer than {folds} blocks "
                             f"(split.block={rules.block}), expected one or more for each fold")
            of_tile, blocks[city] = dealt
            for fold in range(1, folds + 1):
                roles[fold - 1, own] = roles_of(cells[city], of_tile, fold, folds, guards[city])
            if of_city.classes is not None:
                member = block_of(cells[city] - cells[city].min(0), blocks[city])
                holders += np.array([len(np.unique(member[pixels > 0]))
                                     for pixels in of_city.classes.T])
        _check(dataset, roles, targets, rules, holders)
        return roles, blocks

    try:
        return deal(folds, rules)
    except _Unfit as error:
        raise TileError(f"{error}; {_remedy(deal, folds, rules)}") from error


def _check(dataset: TileDataset, roles: np.ndarray, targets: TileTargets, rules: SplitConfig,
           holders: np.ndarray) -> None:
    """Raise _Unfit for the first fold that has an empty list, or a list without a class.

    `holders` [C] are the blocks that each class lies in.
    """
    for fold, of_fold in enumerate(roles, 1):
        which = f"{dataset.root}: split.fold={rules.fold}: fold {fold} of {len(roles)}"
        for role in (TRAIN, VAL, TEST):
            own = of_fold == role
            if not own.any():
                raise _Unfit(f"{which} leaves no tile for {ROLES[role]}, of "
                             f"{(of_fold >= 0).sum()} and with a guard of {rules.guard}")
            if targets.classes is None:
                continue
            lacking = (targets.classes[own].sum(0) == 0) & (holders >= RARE)
            if lacking.any():
                number = int(lacking.argmax())
                raise _Unfit(f"{which} has no pixel of {dataset.classes[number]} for "
                             f"{ROLES[role]}, which lies in {holders[number]} blocks; expected "
                             "every class in every list")


def _remedy(deal: Callable[[int, SplitConfig], Any], folds: int, rules: SplitConfig) -> str:
    """Return the first of a few other keys that make folds without such a fault."""
    tried = [(f"split.block={block}", folds, replace(rules, block=block))
             for block in (rules.block // 2, rules.block // 4) if block >= 1]
    tried += [(f"split.fold=1/{fewer}", fewer, rules)
              for fewer in range(folds - 1, LEAST_FOLDS - 1, -1)]
    tried += [(f"split.seed={seed}", folds, replace(rules, seed=seed))
              for seed in range(rules.seed + 1, rules.seed + 4)]
    tried += [("split.guard=0", folds, replace(rules, guard=0))] if rules.guard else []
    for words, count, others in tried:
        try:
            deal(count, others)
        except TileError:
            continue
        return f"pass {words}, which does"
    return "give more tiles, or do without folds"
