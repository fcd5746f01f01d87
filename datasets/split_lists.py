"""Lists of training, validation and test tiles: blocks of neighbours with a guard between."""

import hashlib
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets.dealt_lists import (
    FOLDS,
    changed_lists,
    dealing,
    fold_folder,
    list_name,
    lists_in,
    parse_fold,
)
from datasets.fold_lists import roles_of_folds
from datasets.keys import SplitConfig
from datasets.list_quality import shortcomings_of
from datasets.spatial_blocks import (
    DRAWS,
    GUARD,
    MAX_CELLS,
    TEST,
    TRAIN,
    VAL,
    deal_blocks,
    misfit,
)
from datasets.split_report import FAR, ROLES, SplitSummary, is_poor, lacking
from datasets.stores.city import city_of, grid_cells
from datasets.stores.open import open_store
from datasets.tile_targets import TileTargets, complete_tiles, fifths, read_targets
from datasets.tiles import TileDataset
from utils.errors import ConfigError, TileError
from utils.files import replacing
from utils.locks import locked


@dataclass
class SplitRules(SplitConfig):
    """How tiles are dealt: the keys of `split`.

    Raises:
        ConfigError: the fractions leave no training tiles, or a value is impossible.
    """

    def __post_init__(self) -> None:
        if min(self.val, self.test) < 0 or self.val + self.test >= 1:
            raise ConfigError(f"split.val={self.val}, split.test={self.test}: expected shares of "
                              "0 or more whose sum is below 1: the rest is for training")
        if self.block < 1 or self.guard < 0:
            raise ConfigError(f"split.block={self.block}, split.guard={self.guard}: expected a "
                              "block of 1 or more tiles and a guard of 0 or more")
        self.fold_of = self.fold and parse_fold("split.fold", self.fold)  # (k, n)
        if wrong := [size for size in self.train_sizes if size < 1]:
            raise ConfigError(f"split.train_sizes: {wrong[0]} is no number of tiles, expected 1 "
                              "or more")


def write_splits(root: str | Path, rules: SplitRules) -> SplitSummary:
    """Deal the tiles of the dataset at `root` and write the lists beside them; those of an earlier
    split are replaced or removed.

    Only tiles that have every target (land use, population, CO2) that any tile has are dealt. Each
    city is dealt on its own.

    Raises:
        TileError: `root` holds no dataset, tiles are not named `{city}_{col}_{row}`, or a city is
            too small for such blocks.
    """
    root = Path(root)
    dataset = TileDataset(root)
    targets = read_targets(dataset)
    complete, incomplete = complete_tiles(targets, len(dataset.names))
    if not complete.any():
        raise TileError(f"{root}: no tile has every target that some tiles have "
                        f"({lacking(incomplete)}); expected tiles with all of them; keep cities "
                        "with other targets in datasets of their own")
    cities = {city: members[complete[members]]
              for city, members in _by_city(root, dataset.names).items()
              if complete[members].any()}
    guards = {city: max(rules.guard, _overlap(dataset.meta.get(city, {}))) for city in cities}
    of_folds: dict[str, dict[str, list[str]]] = {}
    if rules.fold_of:
        fold, folds = rules.fold_of
        rules = replace(rules, val=1 / folds, test=1 / folds)
        of_each, blocks = _deal_folds(dataset, cities, targets, rules, guards)
        roles = of_each[fold - 1]
        of_folds = {fold_folder(number, folds): _lists_of(dataset, targets, of_fold, rules)
                    for number, of_fold in enumerate(of_each, 1)}
    else:
        roles, blocks = _deal(dataset, cities, targets, rules, guards)
    lists = _lists_of(dataset, targets, roles, rules)
    with locked(root / ".lock-splits", "writing lists", "choose another dataset", TileError):
        _write_lists(root, lists | {f"{folder}/{file}": tiles for folder, own in of_folds.items()
                                    for file, tiles in own.items()})
    names = np.array(dataset.names, dtype=object)
    dealt = {"all": roles >= 0, **{name: roles == role for role, name in ROLES.items()}}
    return SplitSummary(
        root, rules, guards, blocks, lists, names[roles == GUARD].tolist(), incomplete,
        classes={} if targets.classes is None else
        {name: targets.classes[mask].sum(0) for name, mask in dealt.items()},
        means={name: targets.means(mask) for name, mask in dealt.items() if mask.any()},
        closer=_closer(dataset, cities, targets, rules, guards, _fractions(roles))
        if is_poor(_fractions(roles), rules) and not rules.fold_of else {},
        folds=of_folds,
        notes=_notes(lists, dealt, targets, dataset.classes), names=dataset.classes,
    )


def _lists_of(dataset: TileDataset, targets: TileTargets, roles: np.ndarray,
              rules: SplitRules) -> dict[str, list[str]]:
    """Return the names of the tiles of each list."""
    names = np.array(dataset.names, dtype=object)
    train = _in_order(names[roles == TRAIN], targets.of(np.flatnonzero(roles == TRAIN)),
                      rules.seed)
    lists = {"osm-train-all.txt": train}
    lists |= {f"osm-train{size}.txt": train[:size] for size in sorted(set(rules.train_sizes))
              if size <= len(train)}
    return lists | {file: names[roles == role].tolist()
                    for file, role in (("val.txt", VAL), ("test.txt", TEST))
                    if (roles == role).any()}


def _notes(lists: dict[str, list[str]], dealt: dict[str, np.ndarray],
           targets: TileTargets, names: Sequence[str]) -> list[str]:
    """Return what the lists of a split cannot teach or measure."""
    if targets.classes is None and not targets.totals:
        return ["no tile has a target (land use, population or CO2), so the lists are of no use "
                "for an evaluation; make the tiles with prepare_dataset.py labels=..., "
                "population=... or co2=..."]
    notes = []
    for file, role in (("osm-train-all.txt", TRAIN), ("val.txt", VAL), ("test.txt", TEST)):
        if file in lists:
            of_list = targets.of(dealt[ROLES[role]])
            classes = None if of_list.classes is None else of_list.classes.sum(0)
            notes += shortcomings_of(file, len(lists[file]), role == TRAIN, of_list.totals,
                                     classes, names)
    return notes


def drop_missing(root: str | Path) -> int:
    """Remove the lines of tiles that the dataset at `root` no longer has from its lists, and lists
    that become empty.

    Returns:
        How many different tiles were removed; with 0 no file is touched.

    Raises:
        TileError: `root` holds no dataset.
    """
    root = Path(root)
    names, dropped, lists = set(open_store(root).names), set(), {}
    for path in lists_in(root):
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        lines = text.splitlines()
        missing = {line for line in lines if line.strip()
                   and line.strip().removesuffix(".png") not in names}
        dropped |= {line.strip().removesuffix(".png") for line in missing}
        if missing:
            text = "".join(f"{line}\n" for line in lines if line not in missing)
        if text.strip() or not missing:
            lists[list_name(root, path)] = text
    if dropped:
        with nullcontext() if changed_lists(root) else dealing(root, lists):
            _replace_lists(root, lists)
    return len(dropped)


def _by_city(root: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the indices in `names` of each city's tiles."""
    cities = [city_of(name) for name in names]
    if None in cities:
        raise TileError(f"{root}: the tile {names[cities.index(None)]} says nothing of its place, "
                        "expected names CITY_COL_ROW, by which neighbours are kept together; "
                        "rename the tiles, or write val.txt, test.txt and osm-train-all.txt by "
                        "hand")
    return {city: np.flatnonzero([other == city for other in cities])
            for city in sorted(set(cities))}


def _overlap(meta: dict) -> int:
    """Return over how many of the next tiles a tile's pixels extend."""
    side = meta.get("tile_px") or 1
    return math.ceil(side / (meta.get("stride") or side)) - 1


def _deal(dataset: TileDataset, cities: dict[str, np.ndarray], targets: TileTargets,
          rules: SplitRules, guards: dict[str, int]) -> tuple[np.ndarray, dict[str, int]]:
    """Return the role of each tile of the dataset, -1 for those of no given city, and the block
    used in each city."""
    roles, blocks = np.full(len(dataset.names), -1), {}
    for city, members in cities.items():
        names = [dataset.names[member] for member in members]
        roles[members], blocks[city] = _deal_city(
            dataset.root, city, names, targets.of(members), rules, guards[city])
    return roles, blocks


def _deal_folds(dataset: TileDataset, cities: dict[str, np.ndarray], targets: TileTargets,
                rules: SplitRules, guards: dict[str, int]) -> tuple[np.ndarray, dict[str, int]]:
    """Return the role of each tile in each fold, [n, tiles], as `_deal`."""
    cells = {city: _cells(dataset.root, city, [dataset.names[member] for member in members])
             for city, members in cities.items()}
    return roles_of_folds(dataset, cities, cells, targets, rules, rules.fold_of[1], guards,
                          {city: _key(city) for city in cities})


def _closer(dataset: TileDataset, cities: dict[str, np.ndarray], targets: TileTargets,
            rules: SplitRules, guards: dict[str, int],
            fractions: np.ndarray) -> dict[int, np.ndarray]:
    """Return the size of blocks that comes notably closer to the request than `fractions` [4], if
    one does, and its fractions."""
    tried = {rules.block: fractions}
    for block in (max(1, rules.block // 2), 2 * rules.block, 3 * rules.block):
        try:
            roles, _ = _deal(dataset, cities, targets, replace(rules, block=block), guards)
        except TileError:
            continue
        tried[block] = _fractions(roles)
    misfits = {block: misfit(others, rules.val, rules.test) for block, others in tried.items()}
    best = min(misfits, key=misfits.get)
    return {best: tried[best]} if misfits[rules.block] - misfits[best] > FAR else {}


def _fractions(roles: np.ndarray) -> np.ndarray:
    return np.bincount(roles[roles >= 0], minlength=len(ROLES)) / (roles >= 0).sum()


def _deal_city(root: Path, city: str, names: list[str], targets: TileTargets, rules: SplitRules,
               guard: int) -> tuple[np.ndarray, int]:
    cells = _cells(root, city, names)

    def deal(**shares: float) -> tuple[np.ndarray, int] | None:
        fractions = {"val": rules.val, "test": rules.test} | shares
        return deal_blocks(cells, targets.profiles(), *fractions.values(), rules.block, guard,
                           [rules.seed, _key(city)])

    dealt = deal()
    if dealt is None:
        why, remedy = f"a guard of {guard}", "Give more tiles"
        if guard > rules.guard:
            why += " (neighbouring tiles overlap)"
            remedy = "Make tiles that do not overlap (stride=tile_px)"
        elif guard:
            remedy = f"Lower split.guard (now {guard})"
        columns, rows = (np.ptp(cells, axis=0) + 1).tolist()
        raise TileError(f"{root}: the {len(names)} usable tiles of {city}, on {columns} x {rows} "
                        f"places, are too few for blocks of tiles (split.block={rules.block}) and "
                        f"{why}: each of {DRAWS} draws left training, validation or test empty. "
                        + ", or set ".join([remedy, *(
                            f"split.{name}=0" for name in ("val", "test") if deal(**{name: 0}))]))
    return dealt


def _cells(root: Path, city: str, names: list[str]) -> np.ndarray:
    """Return column and row [n, 2] of a city's tiles; raise TileError if their grid is too large
    to be one."""
    cells = grid_cells(names)
    columns, rows = (cells.max(0) - cells.min(0) + 1).tolist()
    if columns * rows > MAX_CELLS:
        raise TileError(f"{root}: the {len(names)} tiles of {city} are numbered over {columns} "
                        f"columns and {rows} rows, expected neighbours to differ by 1; rename "
                        "them CITY_COL_ROW, counting tiles")
    return cells


def _in_order(names: np.ndarray, targets: TileTargets, seed: int) -> list[str]:
    """Return training tiles in an order of which every beginning is a fair sample.

    Tiles are grouped by their commonest class (without land use, by fifths of a total) and
    shuffled by a hash of seed and name. The first tiles of all groups come first, so that small
    lists know every group; then each group follows in proportion to its size.
    """
    if targets.classes is not None:
        group = targets.classes.argmax(1)
    elif targets.totals:
        group = fifths(next(iter(targets.totals.values())))
    else:
        group = np.zeros(len(names), int)
    keys = np.array([_key(f"{seed} {name}") for name in names], np.uint64)
    rank = np.empty(len(names))
    for value in np.unique(group):
        members = np.flatnonzero(group == value)
        rank[members[np.argsort(keys[members])]] = np.arange(len(members)) / len(members)
    return names[np.lexsort((keys, rank))].tolist()


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _write_lists(root: Path, lists: dict[str, list[str]]) -> None:
    """Write all lists or, if one cannot be written, none."""
    texts = {file: "".join(f"{name}.png\n" for name in names) for file, names in lists.items()}
    with dealing(root, texts):
        _replace_lists(root, texts)


def _replace_lists(root: Path, texts: dict[str, str]) -> None:
    """Write lists in place of all that are there. Earlier ones go before the first one comes: at
    no moment does a list lie beside one of another split, whose training tiles may be its test."""
    with ExitStack() as stack:
        for file, text in texts.items():
            (root / file).parent.mkdir(exist_ok=True)
            path = stack.enter_context(replacing(root / file))
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
            with path.open("rb") as written:  # a full disk is found before the first change
                os.fsync(written.fileno())
        for old in lists_in(root):
            old.unlink()
    for folder in root.glob(FOLDS):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
