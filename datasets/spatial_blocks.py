"""Deal square blocks of tiles to training, validation and test, with a guard between them.

Neighbouring tiles resemble each other, so tiles drawn one by one would let a network be tested
beside what it learnt. Here whole blocks are drawn. Tiles nearer than the guard to a validation or
test tile are left out of training, and tiles near a test tile out of validation.
"""

from collections.abc import Sequence

import numpy as np

TRAIN, VAL, TEST, GUARD = range(4)
DRAWS = 500
FEW = 9                  # blocks of a city; with fewer, other sizes are tried
MAX_CELLS = 100_000_000  # cells of the grid of tiles, empty ones included


def deal_blocks(cells: np.ndarray, profiles: Sequence[np.ndarray], val: float, test: float,
                block: int, guard: int, seed: Sequence[int]) -> tuple[np.ndarray, int] | None:
    """Return the best of many draws of blocks.

    A draw is better the smaller the sum of these fractions is: how far each list's profile is from
    that of all tiles (total variation, mean over profiles), how far validation and test are from
    the requested fractions, and how many tiles the guard takes.

    Args:
        cells: int [n, 2], column and row of each tile on its grid of fewer than MAX_CELLS cells.
        profiles: [n, k] each, such as each tile's pixels of each class.
        val, test: fractions of the tiles; 0 makes no such list.
        block: tiles along a block's side; if they make fewer than FEW blocks, other sizes are
            tried, too.
        guard: tiles along a side that are left out.
        seed: seed of the lattice's offset and the blocks' order.

    Returns:
        [n] TRAIN, VAL, TEST or GUARD, and the block's side that was used; None if every draw left
        a list empty.
    """
    best, lowest = None, np.inf
    cells = cells - cells.min(0)
    side = int(cells.max()) + 1  # what is larger means the same, and may fill the memory
    block, guard = min(block, side), min(guard, side)
    for size in _sizes(cells, block):
        rng = np.random.default_rng(seed)
        for _ in range(DRAWS):
            roles = _draw(cells, val, test, size, guard, rng)
            counts = np.bincount(roles, minlength=4)
            if not counts[TRAIN] or (val and not counts[VAL]) or (test and not counts[TEST]):
                continue
            score = _imbalance(roles, profiles) + misfit(counts / len(cells), val, test)
            if score < lowest:
                best, lowest = (roles, size), score
    return best


def misfit(shares: np.ndarray, val: float, test: float) -> float:
    """Return how far fractions of the tiles [4], by role, are from the requested ones; no tile is
    requested to be left out."""
    return abs(shares[VAL] - val) + abs(shares[TEST] - test) + shares[GUARD]


def _sizes(cells: np.ndarray, block: int) -> list[int]:
    """Return the sides of blocks to try. With few blocks the guard and the last block decide what
    each list gets, and no one size suits every city."""
    sides = cells.max(0) + 1
    if np.maximum(sides // block, 1).prod() >= FEW:
        return [block]
    side = int(sides.max())
    return list(dict.fromkeys([min(block, side), *(-(-side // parts) for parts in (1, 2, 3, 4))]))


def _draw(cells: np.ndarray, val: float, test: float, block: int, guard: int,
          rng: np.random.Generator) -> np.ndarray:
    member = block_of(cells + rng.integers(0, block, 2), block)
    sizes = np.bincount(member)
    order = rng.permutation(len(sizes))
    ends = np.concatenate([[0], np.cumsum(sizes[order])])  # tiles in the first 0, 1, 2 ... blocks
    tests = _nearest(ends, 0, test * len(cells))
    vals = _nearest(ends, tests, val * len(cells))
    of_block = np.full(len(sizes), TRAIN)
    of_block[order[:tests]] = TEST
    of_block[order[tests:vals]] = VAL
    roles = of_block[member]
    roles[(roles == VAL) & near(cells, roles == TEST, guard)] = GUARD
    roles[(roles == TRAIN) & near(cells, (roles == TEST) | (roles == VAL), guard)] = GUARD
    return roles


def block_of(cells: np.ndarray, side: int) -> np.ndarray:
    """Return the number [n], from 0, of the block of `side` x `side` cells that each tile lies in;
    `cells` is int [n, 2] >= 0 on a grid of fewer than MAX_CELLS cells."""
    lattice = (cells - cells.min(0) // side * side) // side
    return np.unique(lattice[:, 0] * (lattice[:, 1].max() + 1) + lattice[:, 1],
                     return_inverse=True)[1]


def _nearest(ends: np.ndarray, start: int, tiles: float) -> int:
    """Return the end of the run of blocks from `start`, at least one, that holds nearest to `tiles`
    tiles; for 0 tiles return `start`."""
    if not tiles or start + 1 == len(ends):
        return start
    return start + 1 + int(np.abs(ends[start + 1:] - ends[start] - tiles).argmin())


def near(cells: np.ndarray, chosen: np.ndarray, reach: int) -> np.ndarray:
    """Tell whether a chosen tile, [n] bool, lies within `reach` columns and rows of each tile, [n]
    bool. `cells` is int [n, 2] >= 0, column and row."""
    grid = np.zeros(cells.max(0) + 2 * reach + 2, np.int64)  # one more in front, for differences
    grid[tuple((cells[chosen] + reach + 1).T)] = 1
    sums = grid.cumsum(0).cumsum(1)
    low, high = cells, cells + 2 * reach + 1
    return (sums[high[:, 0], high[:, 1]] - sums[low[:, 0], high[:, 1]]
            - sums[high[:, 0], low[:, 1]] + sums[low[:, 0], low[:, 1]]) > 0


def _imbalance(roles: np.ndarray, profiles: Sequence[np.ndarray]) -> float:
    """Return the total variation between the profile of each list and that of all tiles, summed
    over lists, mean over profiles."""
    distances = [np.abs(shares(profile[roles == role]) - shares(profile)).sum() / 2
                 for profile in profiles for role in (TRAIN, VAL, TEST) if (roles == role).any()]
    return sum(distances) / max(len(profiles), 1)


def shares(profile: np.ndarray) -> np.ndarray:
    """Return sums over tiles [n, k] as fractions of their total, [k]; all 0 if it is 0."""
    total = profile.sum(0)
    return total / max(total.sum(), 1e-12)
