"""The values that labels have inside the imagery, and what is said of those that are no class."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from datasets.prepare.targets.colours import NEAR, least_apart, nearest_colours
from datasets.prepare.targets.legend import LISTED, Legend, as_key, in_order, is_number, listing
from datasets.targets import CLASSES, UNKNOWN
from utils.errors import PrepareError, printable


@dataclass
class LabelValues:
    """The values of labels inside the imagery.

    Attributes:
        path: of the labels.
        counts: pixels or polygons of each value; "" where there is none.
        unit: what is counted.
        names: value -> its name as the labels write it, if that is another text.
        weigh: returns the area of each value, in any unit.
    """

    path: Path
    counts: Counter[str]
    unit: str
    names: Mapping[str, str]
    weigh: Callable[[], Mapping[str, float]]

    @cached_property
    def areas(self) -> Mapping[str, float]:
        """The area of each value but ""."""
        return {value: area for value, area in self.weigh().items() if value}

    @property
    def values(self) -> list[str]:
        """All but "", in order."""
        return in_order(value for value in self.counts if value)

    def with_shares(self, values: Iterable[str]) -> str:
        """Return values with their shares of the labelled area, the largest first."""
        total = sum(self.areas.values()) or 1
        order = sorted(values, key=lambda value: -self.areas.get(value, 0))
        shown = [f"{printable(self.names.get(value, value))} "
                 f"({self.areas.get(value, 0) / total:.1%})" for value in order[:LISTED]]
        return ", ".join(shown) + (f" and {len(order) - LISTED:,} more" * (len(order) > LISTED))

    def check(self, legend: Legend, tolerance: int) -> None:
        """Raise PrepareError if there are values that the labels must not hold, or some without a
        class and none with one."""
        if wrong := [value for value in self.counts if legend.refuses(value)]:
            raise PrepareError(f"{self.path}: {self._refusal(wrong, legend)}")
        unnamed = [value for value in self.values if value not in legend.meaning]
        if unnamed and not self._present(legend, tolerance):
            raise PrepareError(
                f"{self.path}: {legend.key} gives a class to none of the values inside the "
                f"imagery, which are {self.with_shares(self.values)}; it names "
                f"{listing(list(legend.meaning))}. Map them to "
                f"{'0..8 or to ' * (not legend.own)}{listing(legend.classes)}"
                + (self._of_near(unnamed, legend, tolerance) or "."))

    def notes(self, legend: Legend, tolerance: int) -> list[str]:
        """Return what the user should know of the classes and the values that have none."""
        name, notes = self.path.name, []
        if legend.own:
            numbered = [f"{number} {item}" for number, item in enumerate(legend.classes)]
            notes.append(f"{name}: {len(numbered)} classes, by {legend.key}: "
                         f"{listing(numbered)}")
        unnamed = Counter({value: count for value, count in self.counts.items()
                           if value and value not in legend.meaning})
        if near := self._near(unnamed, legend, tolerance):
            for value in near:
                del unnamed[value]
        if unnamed:
            values = ", ".join(f"{printable(self.names.get(value, value))} ({count})"
                               for value, count in unnamed.most_common(LISTED))
            share = f"{unnamed.total() / self.counts.total():.2%} of all {self.unit}"
            if self.unit != "pixels":
                area = sum(self.areas.get(value, 0) for value in unnamed)
                share += f", {area / (sum(self.areas.values()) or 1):.2%} of their area"
            notes.append(f"{name}: {unnamed.total()} {self.unit} of values that {legend.key} "
                         f"does not name are unknown: {values}; {share}"
                         + self._of_near(list(unnamed), legend, tolerance))
        if self.counts[""]:
            notes.append(f"{name}: {self.counts['']} {self.unit} without a value are unknown")
        present = self._present(legend, tolerance)
        absent = [item for number, item in enumerate(legend.classes) if number not in present]
        if legend.own and absent:
            notes.append(f"{name}: no {self.unit.removesuffix('s')} inside the imagery is of "
                         f"{listing(absent)}: such a class cannot be learned here")
        return notes

    def _refusal(self, wrong: list[str], legend: Legend) -> str:
        """Return why labels cannot hold values, and the keys to paste that mend it."""
        if legend.key:
            numbers = [value for value in self.values if is_number(value) and value != str(UNKNOWN)]
            free = numbers[1:] if numbers[0] == "0" and (
                len(numbers) == len(legend.classes) + 1) else numbers
            meant = dict.fromkeys(numbers) | dict(zip(free, legend.classes, strict=False))
            last = max(int(value) for value in legend.meaning
                       if is_number(value) and value != str(UNKNOWN))
            return (f"{legend.key} lists {len(legend.classes)} classes, for the numbers 0 to "
                    f"{last}, and the labels hold {self.with_shares(wrong)} "
                    "beside. Say which number is which class, null for none: "
                    f"{as_key('classes', meant)}.")
        if len(self.values) > LISTED:
            remedy = ("classes=all, or with classes= a yaml file of lines such as "
                      f"`{wrong[0]}: forest`")
        elif any(is_number(value) for value in self.values):
            named = {value: self.names.get(value, f"class{value}")
                     for value in self.values if value != str(UNKNOWN)}
            remedy = f"{as_key('classes', named)} (with your own names) or classes=all"
        else:
            names = [self.names.get(value, value) for value in self.values]
            remedy = f"{as_key('classes', names)} or classes=all"
        one = self.names.get(wrong[0], wrong[0])
        return (f"the values {self.with_shares(wrong)} are no land use classes, which are 0..8 "
                f"({', '.join(CLASSES)}; 9 and 255 are unknown). Make what the labels hold the "
                f"classes: {remedy}. Or say with label_map= which of the nine each is, such as "
                f"{as_key('label_map', {one: 'green'})}, or a yaml file of lines such as "
                f"`{printable(one)}: green`.")

    def _present(self, legend: Legend, tolerance: int) -> set[int]:
        """Return the numbers of the classes that values have."""
        named = [value for value in self.values if value in legend.meaning]
        unnamed = [value for value in self.values if value not in legend.meaning]
        named += self._near(unnamed, legend, tolerance).values()
        return {legend.meaning[value] for value in named} - {UNKNOWN}

    def _near(self, values: Iterable[str], legend: Legend, tolerance: int) -> dict[str, str]:
        """Return the values that are no colour of the legend, but within a tolerance of one, and
        that colour."""
        colours, named = _colours(values), _colours(legend.meaning)
        if not colours or not named or not tolerance:
            return {}
        distance, index = nearest_colours(colours, named)
        return {colours[at]: named[index[at]] for at in np.flatnonzero(distance <= tolerance)}

    def _of_near(self, values: list[str], legend: Legend, tolerance: int) -> str:
        """Return what helps where colours are near, but not equal, to the legend's."""
        colours, named = _colours(values), _colours(legend.meaning)
        most = safe_tolerance(legend)
        if not colours or not named or most <= tolerance:
            return ""
        distance, index = nearest_colours(colours, named)
        near = np.flatnonzero(distance <= min(most, NEAR)).tolist()
        if not near:
            return ""
        commonest = max(near, key=lambda at: self.counts[colours[at]])
        share = sum(self.counts[colours[at]] for at in near) / self.counts.total()
        return (f". Of them {share:.1%} of all {self.unit} are nearly a colour that is named, as "
                f"JPEG and smoothed edges make them: {colours[commonest]} is "
                f"{distance[commonest]} of 255 from {named[index[commonest]]}. "
                f"colour_tolerance={max(distance[near])} counts them as those")


def safe_tolerance(legend: Legend) -> int:
    """Return the largest tolerance at which no colour is near two classes; 0 without colours."""
    return (_apart(legend) - 1) // 2 if legend.coloured else 0


def check_tolerance(legend: Legend, tolerance: int) -> None:
    """Raise PrepareError for a tolerance at which a colour may be of two classes, or that has no
    colour to be near."""
    if not tolerance:
        return
    if not legend.coloured:
        raise PrepareError(f"colour_tolerance={tolerance}: neither classes= nor label_map= names "
                           "a colour (#rrggbb); name colours, or leave it out.")
    if tolerance > (most := safe_tolerance(legend)):
        raise PrepareError(f"colour_tolerance={tolerance}: colours of two classes are "
                           f"{_apart(legend)} of 255 apart, so a colour could be of both; "
                           f"expected {most} or less.")


def _apart(legend: Legend) -> int:
    return least_apart({value: legend.meaning[value] for value in _colours(legend.meaning)})


def _colours(values: Iterable[str]) -> list[str]:
    return [value for value in values if value.startswith("#")]

