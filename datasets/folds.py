"""Deal blocks of tiles to folds, each of which is the test list of one of several runs.

Fold k of n is tested, the next one validates, the others train: the n test lists together are all
tiles, each in one of them. As in spatial_blocks.py, neighbours stay together, and a guard is left
out between the lists.
"""

from collections.abc import Sequence

import numpy as np

from datasets.spatial_blocks import GUARD, TEST, TRAIN, VAL, block_of, near, shares

DRAWS = 60
FEW = 9              # blocks of a city; with fewer, other sizes are tried


def deal_folds(cells: np.ndarray, profiles: Sequence[np.ndarray], folds: int, block: int,
               guard: int, seed: Sequence[int]) -> tuple[np.ndarray, int] | None:
    """Return the best of many draws of blocks.

    A draw is better the smaller the sum of these is: how far each fold's profile is from that of
    all tiles (total variation, mean over profiles), how far its tiles are from their share, the
    fraction that the guard takes, and how many columns of a profile its lists lack.

    Args:
        cells: int [t, 2], column and row of each tile on its grid of fewer than MAX_CELLS cells.
        profiles: [t, k] each, such as each tile's pixels of each class.
        block: tiles along a block's side; if they make few blocks, other sizes are tried, too.

    Returns:
        [t] the fold of each tile, from 1, and the block's side that was used; None if there are
        fewer blocks than folds, whatever their size.
    """
    best, lowest = None, np.inf
    cells = cells - cells.min(0)
    for size in _sizes(cells, block, folds):
        rng = np.random.default_rng(seed)
        for _ in range(DRAWS):
            member = block_of(cells + rng.integers(0, size, 2), size)
            if member.max() + 1 < folds:
                continue
            dealt = _stratified(member, profiles, folds, rng)
            score = _score(cells, profiles, dealt, folds, guard)
            if score < lowest:
                best, lowest = (dealt, size), score
    return best


def roles_of(cells: np.ndarray, dealt: np.ndarray, fold: int, folds: int, guard: int) -> np.ndarray:
    """Return TRAIN, VAL, TEST or GUARD of each tile [t] where `fold` is tested and the next one
    validates."""
    cells, guard = cells - cells.min(0), min(guard, int(np.ptp(cells, axis=0).max()) + 1)
    roles = np.full(len(cells), TRAIN)
    roles[dealt == fold], roles[dealt == fold % folds + 1] = TEST, VAL
    roles[(roles == VAL) & near(cells, roles == TEST, guard)] = GUARD
    roles[(roles == TRAIN) & near(cells, (roles == TEST) | (roles == VAL), guard)] = GUARD
    return roles


def _sizes(cells: np.ndarray, block: int, folds: int) -> list[int]:
    """Return the sides of blocks to try: the given one, and smaller ones if it makes few."""
    side = int(cells.max()) + 1
    block = min(block, side)
    if block_of(cells, block).max() + 1 >= max(FEW, 2 * folds):
        return [block]
    parts = range(2, max(4, folds) + 1)
    return list(dict.fromkeys([block, *(min(block, -(-side // part)) for part in parts)]))


def _stratified(member: np.ndarray, profiles: Sequence[np.ndarray], folds: int,
                rng: np.random.Generator) -> np.ndarray:
    """Return the fold of each tile, given its block: the blocks of the rarest column of all
    profiles are dealt first, each to the fold that lacks most of it (iterative stratification:
    Sechidis et al. 2011)."""
    blocks = member.max() + 1
    columns = [np.bincount(member, profile[:, column], blocks)
               for profile in profiles for column in range(profile.shape[1])]
    sizes = np.bincount(member, minlength=blocks)
    masses = np.stack([*(column for column in columns if column.any()), sizes], 1)      # [K, m]
    masses = masses / masses.sum(0)
    lacks = np.full((folds, masses.shape[1]), 1 / folds)
    order = rng.permutation(folds)  # which of equal ones comes first
    fold_of, free = np.zeros(blocks, int), rng.permutation(blocks)
    while len(free):
        holders = np.count_nonzero(masses[free], axis=0)
        rarest = np.where(holders > 0, holders, blocks + 1).argmin()
        own = free[masses[free, rarest] > 0]
        for index in own[np.argsort(-masses[own, rarest], kind="stable")]:
            best = max(order, key=lambda fold: (lacks[fold, rarest], lacks[fold, -1]))
            fold_of[index] = best
            lacks[best] -= masses[index]
        free = free[masses[free, rarest] == 0]
    return fold_of[member] + 1


def _score(cells: np.ndarray, profiles: Sequence[np.ndarray], dealt: np.ndarray, folds: int,
           guard: int) -> float:
    score = 0.0
    for fold in range(1, folds + 1):
        own, roles = dealt == fold, roles_of(cells, dealt, fold, folds, guard)
        score += abs(own.mean() - 1 / folds) + (roles == GUARD).mean() / folds
        for profile in profiles:
            apart = np.abs(shares(profile[own]) - shares(profile)).sum() / 2
            score += apart / folds / len(profiles)
        score += sum(np.count_nonzero(profile.any(0) & ~profile[roles == role].any(0))
                     for profile in profiles for role in (TRAIN, VAL, TEST))
        score += sum(not (roles == role).any() for role in (TRAIN, VAL, TEST))
    return score
