"""Convex ground whose edges remember the street beside them.

Points are complex numbers, x + iy in metres: z + u * (s + 1j * t) lies s metres ahead of z along
the unit direction u, and t metres to its left. Cutting convex ground keeps it convex, so blocks,
lots and roofs need nothing more.
"""

from __future__ import annotations

import cmath
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Line = list[complex]
WIDEST = 13.0  # metres; local streets join no line with a wider corridor: motorway, railway, river
SMALLEST = 60  # m2; smaller pieces of ground are dropped


class Edge(NamedTuple):
    """One side of a polygon."""

    start: complex
    u: complex              # unit direction; the ground lies to its left
    length: float
    street: float           # half width of the street along it, 0 without one


@dataclass(frozen=True)
class Ground:
    """A convex polygon, counter-clockwise; false where nothing is left of it."""

    points: tuple[complex, ...] = ()
    streets: tuple[float, ...] = ()     # half width of the street along the edge from each point

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[complex]:
        return iter(self.points)

    @cached_property
    def edges(self) -> list[Edge]:
        """Every side longer than a micrometre."""
        ends = self.points[1:] + self.points[:1]
        return [Edge(a, (b - a) / abs(b - a), abs(b - a), street)
                for a, b, street in zip(self.points, ends, self.streets, strict=True)
                if abs(b - a) > 1e-6]

    @cached_property
    def area(self) -> float:
        """Square metres."""
        return sum((a.conjugate() * b).imag for a, b in pairwise((*self, *self.points[:1]))) / 2

    @cached_property
    def centre(self) -> complex:
        """Mean of the vertices."""
        return sum(self) / len(self)

    @cached_property
    def axis(self) -> tuple[complex, float, float]:
        """(u, long, short): direction of the long side of the tightest box along an edge, and the
        lengths of that box's sides."""
        boxes = []
        for edge in self.edges:
            turned = [z / edge.u for z in self]
            xs, ys = [z.real for z in turned], [z.imag for z in turned]
            a, b = max(xs) - min(xs), max(ys) - min(ys)
            boxes.append((edge.u, a, b) if a >= b else (1j * edge.u, b, a))
        return min(boxes, key=lambda box: box[1] * box[2])

    @property
    def u(self) -> complex:
        """Direction of the long side."""
        return self.axis[0]

    def at(self, s: float, t: float = 0.0) -> complex:
        """Return the point at fractions s and t of the long and short side from the centre."""
        u, long, short = self.axis
        return self.centre + u * (s * long + 1j * t * short)

    def scatter(self, rng: random.Random, extent: float) -> complex:
        """Return a random point within `extent` times both sides from the centre."""
        return self.at(rng.uniform(-extent, extent), rng.uniform(-extent, extent))

    def contains(self, points: Iterable[complex], margin: float = 0.0) -> bool:
        """Tell whether every point lies inside, at least `margin` metres from every edge."""
        return all(((z - edge.start) / edge.u).imag >= margin
                   for z in points for edge in self.edges)

    def cut(self, z: complex, u: complex, street: float = 0.0) -> Ground:
        """Keep what lies to the left of the line through z along u; the new edge has `street`."""
        kept = []
        left = [((point - z) / u).imag for point in self]
        for k, (a, beside) in enumerate(zip(self.points, self.streets, strict=True)):
            here, there = left[k], left[k + 1 - len(self)]
            if here >= 0:
                kept.append((a, beside))
            if (here >= 0) != (there >= 0):
                b = self.points[k + 1 - len(self)]
                kept.append((a + here / (here - there) * (b - a), street if here >= 0 else beside))
        return Ground(*zip(*kept, strict=True)) if len(kept) > 2 else Ground()

    def inset(self, distance: float | None = None) -> Ground:
        """Move every edge inwards: by `distance`, or by the half width of its own street."""
        ground = self
        for z, u, _, street in self.edges:
            ground = ground.cut(z + 1j * u * (street if distance is None else distance), u, street)
        return ground

    def clipped(self, frame: Ground) -> Ground:
        """Keep what lies inside another convex polygon."""
        ground = self
        for edge in frame.edges:
            ground = ground.cut(edge.start, edge.u)
        return ground

    def split(self, u: complex, at: float, street: float = 0.0) -> tuple[Ground, Ground, Line]:
        """Cut across u at the fraction `at` of the extent, a street of half width `street` between.

        Returns:
            Both parts and the street's centre line, which reaches the centre lines of the streets
            at its ends but ends before a motorway, a railway or a river.
        """
        along = [(z / u).real for z in self]
        s = min(along) + at * (max(along) - min(along))
        line = []
        for k, (a, beside) in enumerate(zip(self.points, self.streets, strict=True)):
            here, there = along[k] - s, along[k + 1 - len(self)] - s
            if (here >= 0) != (there >= 0):
                reach = beside if beside <= WIDEST else 0.0
                line.append(a + here / (here - there) * (self.points[k + 1 - len(self)] - a)
                            - 1j * u * (reach if there > here else -reach))
        return (self.cut(u * (s - street), 1j * u, street),
                self.cut(u * (s + street), -1j * u, street), line)

    def divide(self, largest: float, street: float, rng: random.Random,
               lines: list[Line]) -> list[Ground]:
        """Halve across the long side until no part is larger than `largest` m2; append the centre
        lines of the streets between the parts to `lines`."""
        if self.area <= largest:
            return [self] if self.area > SMALLEST else []
        *halves, line = self.split(self.u, rng.uniform(0.42, 0.58), street)
        lines.append(line)
        return [piece for half in halves for piece in half.divide(largest, street, rng, lines)]

    def lots(self, width: float, rng: random.Random) -> list[Ground]:
        """Cut into two back-to-back rows along the long side, each into lots about `width` metres
        wide."""
        u, _, short = self.axis
        rows = self.split(1j * u, rng.uniform(0.46, 0.54))[:2] if short > 34 else [self]
        lots = []
        for rest in filter(None, rows):
            count = max(1, round(rest.axis[1] / width))
            for k in range(count - 1):
                lot, rest, _ = rest.split(u, (1 + rng.uniform(-0.08, 0.08)) / (count - k))
                lots.append(lot)
            lots.append(rest)
        return [lot for lot in lots if lot.area > SMALLEST]

    @cached_property
    def front(self) -> Edge | None:
        """The longest edge along a street; None for a lot that no street reaches."""
        return max((edge for edge in self.edges if edge.street > 0), default=None,
                   key=lambda edge: edge.length)


def rectangle(z: complex, u: complex, length: float, depth: float) -> Ground:
    """Return a rectangle centred on z, `length` metres along u and `depth` across it."""
    a, b = u * length / 2, 1j * u * depth / 2
    return Ground((z - a - b, z + a - b, z + a + b, z - a + b), (0.0,) * 4)


def blob(z: complex, radius: float, rng: random.Random, stretch: float = 1.0,
         u: complex = 1) -> Line:
    """Return a rounded natural outline: a circle with a few slow waves, stretched along u."""
    waves = [(k, rng.uniform(0, 0.22 / k), rng.uniform(0, 6.28)) for k in (2, 3, 4, 6)]
    outline = []
    for k in range(40):
        angle = math.tau * k / 40
        spoke = cmath.rect(radius, angle) * (
            1 + sum(a * math.sin(m * angle + phase) for m, a, phase in waves))
        outline.append(z + u * complex(spoke.real * stretch, spoke.imag / stretch))
    return outline


def dense(line: Line, step: float) -> Line:
    """Return the line with vertices about every `step` metres, so that it can bend."""
    points = []
    for a, b in pairwise(line):
        count = max(1, int(abs(b - a) / step))
        points += [a + (b - a) * k / count for k in range(count)]
    return [*points, line[-1]]


def along(line: Line, step: float) -> Iterator[tuple[complex, complex, float]]:
    """Yield point, direction and distance from the start every `step` metres of a line."""
    walked, target = 0.0, step / 2
    for a, b in pairwise(line):
        length = abs(b - a)
        while length > 0 and target <= walked + length:
            u = (b - a) / length
            yield a + u * (target - walked), u, target
            target += step
        walked += length


def beside(line: Line, offset: float | np.ndarray) -> Line:
    """Move a line to its left by `offset` metres, one for all points or one for each."""
    points = np.array(line)
    directions = np.gradient(points)
    return (points + 1j * directions / abs(directions) * offset).tolist()


def ribbon(line: Line, half: float | np.ndarray) -> Line:
    """Return the polygon within `half` metres of a line, square ends."""
    return beside(line, -half) + beside(line, half)[::-1]
