"""What districts are made of: streets that stop at the river, dry ground, trees, cars, parkings,
pitches, pools."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import pairwise

from datasets.sample_city.buildings import raise_building, shade, vary
from datasets.sample_city.geometry import (
    Point,
    Polygon,
    area,
    blob,
    centre,
    contains,
    divide,
    edges,
    inset,
    long_axis,
    rectangle,
)
from datasets.sample_city.plan import Plan, Quarter
from datasets.sample_city.record import Scene

LAWN = ((104, 118, 72), (114, 124, 80), (96, 112, 70), (122, 126, 84), (110, 116, 78),
        (128, 126, 90))
ASPHALT = ((116, 116, 117), (104, 104, 106), (126, 125, 124), (134, 132, 129))
PAVING = ((158, 152, 143), (146, 141, 134), (168, 162, 151))
SOIL = ((158, 136, 108), (146, 124, 98), (170, 150, 122), (134, 116, 94))
CARS = ((222, 222, 222), (196, 198, 200), (60, 60, 64), (92, 94, 98), (150, 152, 156),
        (128, 44, 40), (52, 70, 110), (236, 236, 234))


@dataclass
class Site:
    """One quarter under construction: where to record, the plan around it, its own random
    numbers."""

    scene: Scene
    plan: Plan
    rng: random.Random
    quarter: Quarter

    def dry(self, ring: Polygon, margin: float = 11.0) -> bool:
        """True where a polygon keeps clear of rivers: its corners, middle and edge midpoints are
        `margin` metres away."""
        points = [p[:2] for p in ring] + [centre(ring)]
        points += [((x + ux * d / 2), (y + uy * d / 2)) for x, y, ux, uy, d, _ in edges(ring)]
        return len(ring) >= 3 and not any(self.plan.wet(x, y, margin) for x, y in points)

    def street(self, line: list[Point], kind: str) -> None:
        """Record a street, without the parts that a river takes."""
        dense = []
        for a, b in pairwise(line):
            n = max(1, int(math.dist(a, b) / 12))
            dense += [(a[0] + (b[0] - a[0]) * k / n, a[1] + (b[1] - a[1]) * k / n)
                      for k in range(n)]
        run: list[Point] = []
        for p in [*dense, line[-1], None]:
            if p is not None and not self.plan.wet(*p, 9):
                run.append(p)
                continue
            if len(run) > 1:
                self.scene.roads.append((run, kind, self.scene.known("highway")))
            run = []

    def blocks(self, ring: Polygon, largest: float, half: float = 5.5,
               kind: str = "residential") -> list[Polygon]:
        """Divide a quarter into blocks of at most `largest` m2 and record the streets between
        them."""
        streets: list[list[Point]] = []
        parts = divide(ring, largest, half, self.rng, streets)
        for line in streets:
            self.street(line, kind)
        return parts

    def tree(self, x: float, y: float, smallest: float = 2.2, largest: float = 4.8) -> None:
        """Plant a tree on dry ground."""
        if not self.plan.wet(x, y, 3):
            self.scene.tree(x, y, self.rng.uniform(smallest, largest), self.rng.random())

    def grove(self, ring: Polygon, per_hectare: float, smallest: float = 2.4, largest: float = 5.2,
              avoid: list[Polygon] = ()) -> None:
        """Scatter trees over a convex polygon, clumped, but not on the convex polygons in
        `avoid`."""
        xs, ys = [p[0] for p in ring], [p[1] for p in ring]
        phase, count = self.rng.uniform(0,
                                        6), (max(xs)
                                             - min(xs)) * (max(ys) - min(ys)) / 1e4 * per_hectare
        for _ in range(int(count)):
            x, y = self.rng.uniform(min(xs), max(xs)), self.rng.uniform(min(ys), max(ys))
            if math.sin(x / 19 + phase) + math.sin(y / 23 - phase) > -0.5 and contains(ring, x, y,
                                                                                       2.5) \
                    and not any(contains(a, x, y, -2) for a in avoid):
                self.tree(x, y, smallest, largest)

    def hedge(self, ring: Polygon, share: float) -> None:
        """Bushes and small trees along a share of a polygon's edges."""
        for x, y, ux, uy, length, _ in edges(ring):
            if self.rng.random() < share:
                s = self.rng.uniform(0, 3)
                while s < length:
                    self.tree(x + ux * s - uy * 1.4, y + uy * s + ux * 1.4, 1.1, 2.3)
                    s += self.rng.uniform(1.8, 5)

    def car(self, x: float, y: float, ux: float, uy: float, truck: bool = False) -> None:
        """A parked or driving car (or lorry) seen from above, with windscreen and a little
        shadow."""
        rgb, (a, b) = self.rng.choice(CARS), (self.rng.uniform(9, 14),
                                              2.6) if truck else (4.4, 1.9)
        sun = self.scene.sun
        self.scene.surface(rectangle(x - 0.8 * sun[0], y - 0.8 * sun[1], ux, uy, a, b), "car",
                           (62, 62, 66), 6.4)
        self.scene.surface(rectangle(x, y, ux, uy, a, b), "car", rgb, 6.5)
        if not truck:
            self.scene.surface(rectangle(x + ux * 0.7, y + uy * 0.7, ux, uy, 0.8, 1.6), "car",
                               (48, 52, 58), 6.6)

    def parking(self, ring: Polygon, full: float = 0.6, mapped: bool = True,
                level: float = 2.0) -> None:
        """A car park: asphalt, stall lines, rows of cars, a few trees on islands."""
        if len(ring) < 3:
            return
        self.scene.surface(ring, "asphalt", vary(self.rng.choice(ASPHALT), self.rng, 5), level)
        ux, uy, long, short = long_axis(ring)
        x, y = centre(ring)
        for r in range(-int(short / 34) - 1, int(short / 34) + 2):
            for side in (-1, 1):
                across = r * 17 + side * 2.6
                for k in range(int(long / 2.7)):
                    s = (k + 0.5) * 2.7 - long / 2
                    px, py = x + s * ux - across * uy, y + s * uy + across * ux
                    if not contains(ring, px, py, 3.0):
                        continue
                    if k % 14 == 0:
                        self.tree(px, py, 1.6, 2.8)
                        continue
                    edge = rectangle(px + 1.35 * ux, py + 1.35 * uy, -uy, ux, 4.8, 0.25)
                    self.scene.surface(edge, "line", (176, 176, 172), level + 0.1)
                    if self.rng.random() < full:
                        self.car(px, py, -uy * side, ux * side)
        if mapped and area(ring) > 300:
            self.scene.osm("amenity", "parking", ring)

    def pitch(self, x: float, y: float, ux: float, uy: float, large: bool = True) -> Polygon:
        """A sports field with lines: football on grass, or a small hard court."""
        a, b = (98, 62) if large else (30, 16)
        ring = rectangle(x, y, ux, uy, a, b)
        rgb = (106, 128,
               72) if large else self.rng.choice(((150, 92, 78), (86, 118, 104), (96, 112, 136)))
        self.scene.surface(ring, "grass" if large else "paving", rgb, 3)
        if large:
            for k in range(0, 10, 2):
                stripe = rectangle(x + (k - 4.5) * 9.8 * ux, y + (k - 4.5) * 9.8 * uy, ux, uy, 9.8,
                                   b)
                self.scene.surface(stripe, "grass", shade(rgb, 1.06), 3.1)
        for ex, ey, vx, vy, length, _ in edges(inset(ring, 1.2)):
            self.scene.surface(rectangle(ex + vx * length / 2, ey + vy * length / 2, vx, vy,
                                         length, 0.45), "line", (214, 216, 208), 3.2)
        self.scene.surface(rectangle(x, y, -uy, ux, b - 2.4, 0.45), "line", (214, 216, 208), 3.2)
        self.scene.osm("leisure", "pitch", ring)
        return ring

    def pool(self, x: float, y: float, ux: float, uy: float) -> None:
        """A garden pool on its terrace."""
        self.scene.surface(rectangle(x, y, ux, uy, 10.5, 6.5), "paving", (190, 184, 172), 2.2)
        basin = rectangle(x, y, ux, uy, 8, 4)
        self.scene.surface(basin, "water", (104, 168, 182), 2.3)
        if self.rng.random() < 0.35:
            self.scene.osm("leisure", "swimming_pool", basin)

    def pond(self, x: float, y: float, radius: float) -> Polygon:
        """A pond or lake with a pale shore and reeds."""
        turn, stretch = self.rng.uniform(0, 3.1), self.rng.uniform(1.05, 1.3)
        shape = self.rng.getstate()
        shore = blob(x, y, radius + 2.6, self.rng, stretch, turn)
        self.rng.setstate(shape)
        water = blob(x, y, radius, self.rng, stretch, turn)
        self.scene.surface(shore, "soil", (136, 128, 100), 3.4)
        self.scene.surface(water, "water", (62, 82, 84), 3.5)
        self.scene.area(water, "water", 5)
        self.scene.osm("natural", "water", water)
        for px, py, _ in shore:
            if self.rng.random() < 0.5:
                self.tree(px + self.rng.uniform(-4, 4), py + self.rng.uniform(-4, 4), 1.6, 4)
        return water

    def house(self, ring: Polygon, roof: str, storeys: float, use: str, value: str,
              rgb=None) -> bool:
        """Raise a building where the ground is dry."""
        if len(ring) < 3 or not self.dry(ring):
            return False
        raise_building(self.scene, ring, roof, storeys, use, value, self.rng, rgb)
        return True
