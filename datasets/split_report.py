"""The report of a split: how the tiles were dealt, and what is not as it should be."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.keys import SplitConfig
from datasets.spatial_blocks import GUARD, TEST, TRAIN, VAL, shares
from utils.tables import format_number

FAR = 0.05     # distance from a requested fraction that is reported
MANY = 0.2     # fraction of tiles left out that is reported
MANY_CLASSES = 12  # more of them have a line each, not a column
ROLES = {TRAIN: "training", VAL: "validation", TEST: "test", GUARD: "left out"}


@dataclass(frozen=True)
class SplitSummary:
    """What was written.

    Attributes:
        root: the dataset's folder.
        rules: how the tiles were dealt.
        guard: tiles left out around validation and test, per city: more than `rules.guard` if
            neighbouring tiles overlap.
        block: tiles along a block's side, per city: not `rules.block` if that makes few blocks.
        lists: file name -> names of its tiles.
        guarded: names of the tiles left out between the lists.
        incomplete: number of tiles in no list, by the target that they lack.
        classes: name of a role -> pixels of each class of land use [C]; empty without land use.
        means: name of a role -> total -> its mean.
        closer: another `split.block` -> fractions of the tiles [4], by role, that come closer to
            the requested ones; mostly empty.
        notes: what the lists cannot teach or measure.
        names: of the classes of land use.
        folds: folder of a fold -> its lists, as `lists`; empty without folds.
    """

    root: Path
    rules: SplitConfig
    guard: dict[str, int]
    block: dict[str, int]
    lists: dict[str, list[str]]
    guarded: list[str]
    incomplete: Counter[str]
    classes: dict[str, np.ndarray]
    means: dict[str, dict[str, float]]
    closer: dict[int, np.ndarray]
    notes: list[str]
    names: Sequence[str]
    folds: dict[str, dict[str, list[str]]]

    def __str__(self) -> str:
        rules = self.rules
        block = rules.block if rules.block in self.block.values() else max(self.block.values())
        lines = [f"{self.root}: blocks of {block} x {block} tiles, guard {rules.guard}, seed "
                 f"{rules.seed}"]
        for city, used in self.block.items():
            if used != rules.block:
                lines.append(f"  {city}: blocks of {used} x {used} tiles, since "
                             f"split.block={rules.block} makes only a few")
        for city, guard in self.guard.items():
            if guard > rules.guard:
                lines.append(f"  {city}: guard {guard}, because neighbouring tiles overlap")
        lines += self._table() + self._shortcomings()
        if self.incomplete:
            lines.append(f"  in no list   {lacking(self.incomplete)}, which other tiles have")
        lines.append("  lists        "
                     + ", ".join(f"{file} {len(names)}" for file, names in self.lists.items()))
        for folder, own in self.folds.items():
            sizes = [f"{file} {len(own.get(file, []))}"
                     for file in ("osm-train-all.txt", "val.txt", "test.txt")]
            lines.append(f"  {folder}  {', '.join(sizes)}")
        larger = [size for size in rules.train_sizes
                  if size > len(self.lists["osm-train-all.txt"])]
        if larger:
            lines.append("  not made     osm-train lists of "
                         f"{', '.join(map(str, sorted(larger)))}: more than there are training "
                         "tiles")
        return "\n".join(lines)

    def _sizes(self) -> dict[str, int]:
        """Return the number of tiles by name of a role, in the order of the roles."""
        return {"training": len(self.lists["osm-train-all.txt"]),
                "validation": len(self.lists.get("val.txt", [])),
                "test": len(self.lists.get("test.txt", [])), "left out": len(self.guarded)}

    def _shortcomings(self) -> list[str]:
        """Describe what is not as it should be, and what would help."""
        lines, rules, sizes = [], self.rules, np.array([*self._sizes().values()])
        fractions = sizes / sizes.sum()
        if is_poor(fractions, rules):
            remedies = [f"split.block={block} comes closer: {_in_words(others)}"
                        for block, others in self.closer.items()]
            if max(self.guard.values()) > rules.guard:
                remedies.append("tiles that do not overlap (stride=tile_px) need a smaller guard")
            elif not remedies:
                remedies.append("more tiles come closer"
                                + (", and so does a lower split.guard" if rules.guard else ""))
            lines.append(f"  shares       validation and test got {_in_words(fractions)}; "
                         f"asked were {rules.val:.0%} and {rules.test:.0%}; {'; '.join(remedies)}")
        if self.classes:
            present = self.classes["all"] > 0
            absences = []
            for role, size in self._sizes().items():
                absent = np.flatnonzero(present & (self.classes[role] == 0))
                if size and role != "left out" and len(absent):
                    names = ", ".join(self.names[number] for number in absent)
                    absences.append(f"absent in {role}: {names}")
            if absences:
                lines.append(f"  classes      {'; '.join(absences)} (another split.seed may mend "
                             "it)")
        return lines + [f"  note         {note}" for note in self.notes]

    def _table(self) -> list[str]:
        sizes, totals = self._sizes(), list(self.means["all"])
        total = sum(sizes.values())
        rows = [["", "tiles", "share", *(self.names if self.classes else ()),
                 *(f"mean {name}" for name in totals)]]
        for role, size in {"all": total, **sizes}.items():
            row = [role, str(size), f"{size / total:.1%}"]
            if self.classes:
                row += [f"{fraction:.1%}" if size else "-"
                        for fraction in shares(self.classes[role][None])]
            rows.append(row + [format_number(self.means[role][name]) if size else "-"
                               for name in totals])
        if self.classes and len(self.names) > MANY_CLASSES:
            rows = [list(column) for column in zip(*rows, strict=True)]
        first = max(11, *(len(row[0]) for row in rows))
        widths = [max(6, len(name)) for name in rows[0]]
        return [f"  {row[0]:{first}}"
                + "".join(f"  {cell:>{width}}"
                          for cell, width in zip(row[1:], widths[1:], strict=True))
                for row in rows]


def lacking(incomplete: Counter[str]) -> str:
    """Return how many tiles lack which target."""
    return ", ".join(f"{count} without {target}" for target, count in incomplete.items())


def is_poor(fractions: np.ndarray, rules: SplitConfig) -> bool:
    """Return whether fractions of the tiles [4], by role, are far from the requested ones."""
    distances = abs(fractions[VAL] - rules.val), abs(fractions[TEST] - rules.test)
    return bool(max(distances) > FAR or fractions[GUARD] > MANY)


def _in_words(fractions: np.ndarray) -> str:
    return (f"{fractions[VAL]:.0%} and {fractions[TEST]:.0%}, left out "
            f"{fractions[GUARD]:.0%}")
