"""Lists of training, validation and test tiles, drawn as blocks of neighbouring tiles with a guard between them.

    python -m datasets.splits data_path=D                                    # 15 % validation, 15 % test
    python -m datasets.splits data_path=D split.val=0.2 split.block=6 split.seed=1

Each line of a list is `NAME.png`: val.txt, test.txt, osm-train-all.txt, and osm-train50.txt, osm-train100.txt ..., each inside the next.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.land_use_classes import CLASSES
from datasets.spatial_blocks import DRAWS, GUARD, MAX_CELLS, TEST, TRAIN, VAL, deal_blocks, shares
from datasets.stores.tile import TOTALS
from datasets.tiles import TileDataset, city_of
from utils.cli import script
from utils.config import SplitsConfig
from utils.errors import ConfigError, TileError
from utils.files import replacing

QUANTILES = 5  # groups of tiles by a total, whose shares the lists are to have alike
ROLES = {TRAIN: "training", VAL: "validation", TEST: "test", GUARD: "left out"}


@dataclass(frozen=True)
class SplitRules:
    """How tiles are dealt: the keys of configs/split/blocks.yaml, and its values.

    Raises:
        ConfigError: shares that leave no training tiles, or an impossible value.
    """

    val: float = 0.15
    test: float = 0.15
    block: int = 4
    guard: int = 1
    seed: int = 0
    train_sizes: Sequence[int] = (50, 100, 200, 500, 1000)

    def __post_init__(self) -> None:
        if min(self.val, self.test) < 0 or self.val + self.test >= 1:
            raise ConfigError(f"split.val={self.val}, split.test={self.test}: expected shares of 0 or more whose sum is below 1: the "
                              f"rest is for training")
        if self.block < 1 or self.guard < 0:
            raise ConfigError(f"split.block={self.block}, split.guard={self.guard}: expected a block of 1 or more tiles and a guard of "
                              f"0 or more")
        if wrong := [size for size in self.train_sizes if size < 1]:
            raise ConfigError(f"split.train_sizes: {wrong[0]} is no number of tiles, expected 1 or more")


@dataclass(frozen=True)
class SplitSummary:
    """What was written.

    Attributes:
        root: the dataset's folder.
        rules: how the tiles were dealt.
        guard: tiles left out around validation and test, per city: more than `rules.guard` where neighbouring tiles overlap.
        lists: file name -> names of its tiles.
        guarded: names of the tiles left out between the lists.
        incomplete: tiles in no list, by the target that they lack.
        classes: pixels of each class of land use, list in words -> [9]; empty without land use.
        means: mean of each total, list in words -> total -> number.
    """

    root: Path
    rules: SplitRules
    guard: dict[str, int]
    lists: dict[str, list[str]]
    guarded: list[str]
    incomplete: Counter[str]
    classes: dict[str, np.ndarray]
    means: dict[str, dict[str, float]]

    def __str__(self) -> str:
        rules = self.rules
        lines = [f"{self.root}: blocks of {rules.block} x {rules.block} tiles, guard {rules.guard}, seed {rules.seed}"]
        for city, guard in self.guard.items():
            if guard > rules.guard:
                lines.append(f"  {city}: guard {guard}, because neighbouring tiles overlap")
        lines += self._table()
        if self.incomplete:
            lines.append(f"  in no list   {_lacking(self.incomplete)}, which other tiles have")
        lines.append("  lists        " + ", ".join(f"{file} {len(names)}" for file, names in self.lists.items()))
        larger = [size for size in rules.train_sizes if size > len(self.lists["osm-train-all.txt"])]
        if larger:
            lines.append(f"  not made     osm-train lists of {', '.join(map(str, sorted(larger)))}: more than there are training tiles")
        return "\n".join(lines)

    def _table(self) -> list[str]:
        sizes = {"training": len(self.lists["osm-train-all.txt"]), "validation": len(self.lists.get("val.txt", [])),
                 "test": len(self.lists.get("test.txt", [])), "left out": len(self.guarded)}
        total = sum(sizes.values())
        rows = [["", "tiles", "share", *(CLASSES if self.classes else ()), *(f"mean {name}" for name in self.means.get("training", {}))]]
        for words, size in {"all": total, **sizes}.items():
            row = [words, str(size), f"{size / total:.1%}"]
            row += [f"{share:.1%}" for share in shares(self.classes[words][None])] if words in self.classes else []
            rows.append(row + [f"{mean:.4g}" for mean in self.means.get(words, {}).values()])
        widths = [max(6, len(name)) for name in rows[0]]
        return [f"  {row[0]:11}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)) for row in rows]


def write_splits(root: str | Path, rules: SplitRules) -> SplitSummary:
    """Deal the tiles of a dataset and write the lists beside them; those of an earlier split are replaced or removed.

    Only tiles that have every target (land use, population, CO2) that any tile has are dealt. Each city is dealt on its own.

    Args:
        root: folder of the dataset, in either layout.
        rules: how.

    Raises:
        TileError: no dataset, tiles that are not called `{city}_{col}_{row}`, or a city too small for such blocks.
    """
    root = Path(root)
    dataset = TileDataset(root)
    targets = _read_targets(dataset)
    complete, incomplete = _complete(targets, len(dataset.names))
    if not complete.any():
        raise TileError(f"{root}: no tile has every target that some tiles have ({_lacking(incomplete)}); expected tiles with all of them; "
                        f"keep cities with other targets in datasets of their own")
    roles = np.full(len(dataset.names), -1)  # -1: in no list
    guards = {}
    for city, members in _by_city(root, dataset.names).items():
        members = members[complete[members]]
        if len(members):
            guards[city] = max(rules.guard, _overlap(dataset.meta.get(city, {})))
            roles[members] = _deal_city(root, city, [dataset.names[i] for i in members], targets.of(members), rules, guards[city])
    names = np.array(dataset.names, dtype=object)
    train = _in_order(names[roles == TRAIN], targets.of(np.flatnonzero(roles == TRAIN)), rules.seed)
    lists = {"osm-train-all.txt": train}
    lists |= {f"osm-train{size}.txt": train[:size] for size in sorted(set(rules.train_sizes)) if size <= len(train)}
    lists |= {file: names[roles == role].tolist() for file, role in (("val.txt", VAL), ("test.txt", TEST)) if (roles == role).any()}
    _write_lists(root, lists)
    dealt = {"all": roles >= 0, **{words: roles == role for role, words in ROLES.items()}}
    return SplitSummary(
        root, rules, guards, lists, names[roles == GUARD].tolist(), incomplete,
        classes={words: targets.classes[mask].sum(0) for words, mask in dealt.items()} if targets.classes is not None else {},
        means={words: targets.means(mask) for words, mask in dealt.items() if mask.any()},
    )


@dataclass(frozen=True)
class _Targets:
    """What the tiles have: pixels of each class [n, 9] (None where no tile has land use), and totals by name [n], nan where missing."""

    classes: np.ndarray | None
    totals: dict[str, np.ndarray]

    def of(self, members: np.ndarray) -> "_Targets":
        classes = None if self.classes is None else self.classes[members]
        return _Targets(classes, {name: values[members] for name, values in self.totals.items()})

    def means(self, members: np.ndarray) -> dict[str, float]:
        return {name: float(values[members].mean()) for name, values in self.totals.items()}


def _read_targets(dataset: TileDataset) -> _Targets:
    classes, totals = np.zeros((len(dataset.names), len(CLASSES))), {name: np.full(len(dataset.names), np.nan) for name in TOTALS}
    for index in range(len(dataset.names)):
        labels = dataset.land_use(index)
        if labels is not None:
            classes[index] = np.bincount(np.asarray(labels).ravel(), minlength=256)[:len(CLASSES)]
        for name, values in totals.items():
            total = dataset.total(index, name)
            values[index] = np.nan if total is None else total
    return _Targets(classes if classes.any() else None, {name: values for name, values in totals.items() if not np.isnan(values).all()})


def _complete(targets: _Targets, tiles: int) -> tuple[np.ndarray, Counter[str]]:
    """Which tiles have every target that there is [n] bool, and how many lack which."""
    has = {name: ~np.isnan(values) for name, values in targets.totals.items()}
    if targets.classes is not None:
        has["known land use"] = targets.classes.any(1)
    complete = np.logical_and.reduce([np.ones(tiles, bool), *has.values()])
    return complete, Counter({name: int((~mask).sum()) for name, mask in has.items() if not mask.all()})


def _lacking(incomplete: Counter[str]) -> str:
    return ", ".join(f"{count} without {target}" for target, count in incomplete.items())


def _by_city(root: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Places in `names` of each city's tiles."""
    cities = [city_of(name) for name in names]
    if None in cities:
        raise TileError(f"{root}: the tile {names[cities.index(None)]} says nothing of its place, expected names CITY_COL_ROW, by which "
                        f"neighbours are kept together; rename the tiles, or write val.txt, test.txt and osm-train-all.txt by hand")
    return {city: np.flatnonzero([other == city for other in cities]) for city in sorted(set(cities))}


def _overlap(meta: dict) -> int:
    """How many tiles further on the pixels of a tile still are."""
    side = meta.get("tile_px") or 1
    return math.ceil(side / (meta.get("stride") or side)) - 1


def _deal_city(root: Path, city: str, names: list[str], targets: _Targets, rules: SplitRules, guard: int) -> np.ndarray:
    cells = np.array([name.split("_")[-2:] for name in names], dtype=np.int64)  # [n, 2]
    columns, rows = (cells.max(0) - cells.min(0) + 1).tolist()
    if columns * rows > MAX_CELLS:
        raise TileError(f"{root}: the {len(names)} tiles of {city} are numbered over {columns} columns and {rows} rows, expected "
                        f"neighbours to differ by 1; rename them CITY_COL_ROW, counting tiles")
    rng = np.random.default_rng([rules.seed, _key(city)])
    roles = deal_blocks(cells, _profiles(targets), rules.val, rules.test, rules.block, guard, rng)
    if roles is None:
        why = f"a guard of {guard}" + (" (neighbouring tiles overlap)" if guard > rules.guard else "")
        remedy = f"split.block (now {rules.block})" + (f" or split.guard (now {rules.guard})" if 0 < rules.guard == guard else "")
        raise TileError(f"{root}: the {len(names)} usable tiles of {city}, on {columns} x {rows} places, are too few for blocks of "
                        f"{rules.block} x {rules.block} tiles and {why}: each of {DRAWS} draws left training, validation or test empty. "
                        f"Lower {remedy}, or set split.val=0 or split.test=0")
    return roles


def _profiles(targets: _Targets) -> list[np.ndarray]:
    """What the lists are to have in equal shares: classes, and fifths of the tiles by each total."""
    return ([] if targets.classes is None else [targets.classes]) + [np.eye(QUANTILES)[_fifths(v)] for v in targets.totals.values()]


def _fifths(values: np.ndarray) -> np.ndarray:
    """The fifth [n] of each value, 0 to 4; equal values are in the same."""
    return np.searchsorted(np.quantile(values, np.arange(1, QUANTILES) / QUANTILES), values)


def _in_order(names: np.ndarray, targets: _Targets, seed: int) -> list[str]:
    """Training tiles in an order of which every beginning is a fair sample.

    Tiles are grouped by their commonest class (without land use, by fifths of a total) and shuffled by a hash of seed and name. The first
    tiles of all groups come first, so that small lists know every group; then each goes on in proportion to its size.
    """
    if targets.classes is not None:
        group = targets.classes.argmax(1)
    elif targets.totals:
        group = _fifths(next(iter(targets.totals.values())))
    else:
        group = np.zeros(len(names), int)
    keys = np.array([_key(f"{seed} {name}") for name in names], np.uint64)
    place = np.empty(len(names))
    for value in np.unique(group):
        members = np.flatnonzero(group == value)
        place[members[np.argsort(keys[members])]] = np.arange(len(members)) / len(members)
    return names[np.lexsort((keys, place))].tolist()


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _write_lists(root: Path, lists: dict[str, list[str]]) -> None:
    """All lists or, when one cannot be written, none; a list of another split beside them would let training tiles into the test."""
    with ExitStack() as stack:
        for file, names in lists.items():
            path = stack.enter_context(replacing(root / file))
            path.write_text("".join(f"{name}.png\n" for name in names), encoding="utf-8")
        for old in [*root.glob("osm-train*.txt"), root / "val.txt", root / "test.txt"]:
            if old.name not in lists:
                old.unlink(missing_ok=True)


@script("splits", SplitsConfig)
def main(cfg: SplitsConfig) -> None:
    split = cfg.split
    print(write_splits(cfg.data_path, SplitRules(split.val, split.test, split.block, split.guard, split.seed, split.train_sizes)))


if __name__ == "__main__":
    main()
