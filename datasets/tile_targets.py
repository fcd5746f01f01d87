"""What the tiles of a dataset have to learn, read once to deal them to lists."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from datasets.stores.tile import TOTALS
from datasets.tiles import TileDataset

QUANTILES = 5  # groups of tiles by a total, of which every list should have equal fractions


@dataclass(frozen=True)
class TileTargets:
    """What the tiles have: pixels of each class [n, C] (None if no tile has land use), and totals
    by name [n], nan where missing."""

    classes: np.ndarray | None
    totals: dict[str, np.ndarray]

    def of(self, members: np.ndarray) -> "TileTargets":
        """Return the targets of some tiles, by index or mask."""
        classes = None if self.classes is None else self.classes[members]
        return TileTargets(classes, {name: values[members] for name, values in self.totals.items()})

    def profiles(self) -> list[np.ndarray]:
        """Return what every list should have equal fractions of: classes, and fifths of the tiles
        by each total; [n, k] each."""
        classes = [] if self.classes is None else [self.classes]
        return classes + [np.eye(QUANTILES)[fifths(values)] for values in self.totals.values()]

    def means(self, members: np.ndarray) -> dict[str, float]:
        """Return each total's mean over some tiles."""
        return {name: float(values[members].mean()) for name, values in self.totals.items()}


def fifths(values: np.ndarray) -> np.ndarray:
    """Return the fifth [n] of each value, 0 to 4; equal values are in the same."""
    return np.searchsorted(np.quantile(values, np.arange(1, QUANTILES) / QUANTILES), values)


def read_targets(dataset: TileDataset) -> TileTargets:
    """Return the targets of all tiles, a total by what it is the sum of where the dataset says."""
    tiles = len(dataset.names)
    count = len(dataset.classes)
    classes = np.zeros((tiles, count))
    totals = {name: np.full(tiles, np.nan) for name in TOTALS}
    for index in range(tiles):
        labels = dataset.land_use(index)
        if labels is not None:
            classes[index] = np.bincount(np.asarray(labels).ravel(), minlength=256)[:count]
        for name, values in totals.items():
            total = dataset.total(index, name)
            values[index] = np.nan if total is None else total
    shown = {name: dataset.counted(name) or name for name in TOTALS}
    if len({*shown.values()}) < len(shown):
        shown = {name: name for name in TOTALS}  # both are sums of the same
    return TileTargets(classes if classes.any() else None,
                       {shown[name]: values for name, values in totals.items()
                        if not np.isnan(values).all()})


def complete_tiles(targets: TileTargets, tiles: int) -> tuple[np.ndarray, Counter[str]]:
    """Tell which tiles have every target that any has, [n] bool, and how many lack which."""
    has = {name: ~np.isnan(values) for name, values in targets.totals.items()}
    if targets.classes is not None:
        has["known land use"] = targets.classes.any(1)
    complete = np.logical_and.reduce([np.ones(tiles, bool), *has.values()])
    return complete, Counter({name: int((~mask).sum()) for name, mask in has.items()
                              if not mask.all()})
