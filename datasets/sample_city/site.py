"""What districts are made of: streets that stop at the river, dry ground, trees, cars, parkings,
pitches, pools."""

from __future__ import annotations

import cmath
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely

from datasets.sample_city.buildings import Colour, raise_building, shade, vary
from datasets.sample_city.geometry import Ground, Line, blob, dense, rectangle
from datasets.sample_city.plan import CORRIDOR, Plan, Quarter
from datasets.sample_city.record import Scene

LAWN = ((104, 118, 72), (114, 124, 80), (96, 112, 70), (122, 126, 84), (110, 116, 78),
        (128, 126, 90))
ASPHALT = ((116, 116, 117), (104, 104, 106), (126, 125, 124), (134, 132, 129))
COLOURS = {"grass": LAWN, "asphalt": ASPHALT,
           "paving": ((158, 152, 143), (146, 141, 134), (168, 162, 151)),
           "soil": ((158, 136, 108), (146, 124, 98), (170, 150, 122), (134, 116, 94)),
           "gravel": ((140, 136, 128), (150, 144, 134), (128, 121, 112)),
           "scrub": ((126, 124, 86), (120, 120, 82), (132, 128, 92))}
CARS = ((222, 222, 222), (196, 198, 200), (60, 60, 64), (92, 94, 98), (150, 152, 156),
        (128, 44, 40), (52, 70, 110), (236, 236, 234))
COURTS = ((150, 92, 78), (86, 118, 104), (96, 112, 136))


def polygon(ring: Iterable[complex]) -> shapely.Polygon:
    """Convert a ring for shapely."""
    return shapely.Polygon([(z.real, z.imag) for z in ring])


def fit(ground: Ground, z: complex, u: complex, length: float, depth: float) -> Ground:
    """Return a rectangle centred on z, as large as fits the ground up to the given size; nothing
    below a third of it."""
    for scale in (1.0, 0.85, 0.7, 0.55, 0.4):
        box = rectangle(z, u, length * scale, depth * scale)
        if ground.contains(box, 2):
            return box
    return Ground()


@dataclass
class Site:
    """One quarter under construction: where to record, the plan around it, its own random
    numbers."""

    scene: Scene
    plan: Plan
    rng: random.Random
    quarter: Quarter
    numbers: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = np.random.default_rng(self.rng.getrandbits(64))

    def dry(self, ring: Ground | Line, margin: float = 11.0) -> bool:
        """Tell whether corners, edge midpoints and middle are `margin` metres from every river."""
        corners = np.array([*ring], complex)
        points = np.concatenate([corners, (corners + np.roll(corners, 1)) / 2, [corners.mean()]])
        return not self.plan.wet(points, margin).any()

    def paint(self, ring: Ground | Line, material: str, level: float, rgb: Colour | None = None,
              spread: float = 6.0) -> None:
        """Record a surface in a given colour, or near one of its material's colours."""
        rgb = rgb or vary(self.rng.choice(COLOURS[material]), self.rng, spread)
        self.scene.surface(ring, material, rgb, level)

    def ground(self, ring: Ground | Line, material: str, level: float, rgb: Colour | None = None,
               osm: tuple[str, ...] | None = None, use: str | None = None) -> None:
        """Paint a polygon; give it an OSM tag (layer, value and name) and a land use of its own."""
        self.paint(ring, material, level, rgb)
        if osm:
            self.scene.osm(*osm[:2], ring, *osm[2:])
        if use:
            self.scene.area(ring, use, 2)

    def street(self, line: Line, kind: str) -> None:
        """Record a street, without the parts that a river takes."""
        points = dense(line, 12)
        wet = self.plan.wet(np.array(points), 9).tolist()
        run: Line = []
        for z, ends in zip([*points, 0], [*wet, True], strict=True):
            if not ends:
                run.append(z)
                continue
            if len(run) > 1:
                self.scene.streets.append((run, kind, self.scene.known("highway")))
            run = []

    def blocks(self, ring: Ground, largest: float, kind: str = "residential") -> list[Ground]:
        """Divide a quarter into blocks of at most `largest` m2 and record the streets between
        them."""
        lines: list[Line] = []
        blocks = ring.divide(largest, CORRIDOR[kind], self.rng, lines)
        for line in lines:
            self.street(line, kind)
        return blocks

    def riverside(self, block: Ground) -> bool:
        """Turn a block that a river touches into a meadow with trees; False for any other."""
        if self.dry(block, 4):
            return False
        self.paint(block, "grass", 1)
        self.grove(block, 40)
        return True

    def plant(self, points: Sequence[complex] | np.ndarray, smallest: float = 2.2,
              largest: float = 4.8) -> None:
        """Plant trees of random size on the dry ones of some points."""
        points = np.asarray(points, complex)
        points = points[~self.plan.wet(points, 3)]
        count = len(points)
        self.crowns(points, self.numbers.uniform(smallest, largest, count),
                    self.numbers.random(count))

    def crowns(self, points: np.ndarray, radii: np.ndarray, tones: np.ndarray) -> None:
        """Record tree crowns."""
        rows = np.stack([points.real, points.imag, radii, tones], 1)
        self.scene.trees.frombytes(rows.tobytes())

    def grove(self, ground: Ground, per_hectare: float, smallest: float = 2.4,
              largest: float = 5.2, avoid: Iterable[Ground | Line] = ()) -> None:
        """Scatter trees over the ground, clumped, but not on the polygons in `avoid`."""
        x0, y0, x1, y1 = polygon(ground).bounds
        count = int((x1 - x0) * (y1 - y0) / 1e4 * per_hectare)
        x, y = self.numbers.uniform(x0, x1, count), self.numbers.uniform(y0, y1, count)
        a, b = self.numbers.uniform(0, 6, 2)
        free = np.sin(x / 19 + a) + np.sin(y / 23 - b) > -0.5
        free &= shapely.contains_xy(polygon(ground).buffer(-2.5), x, y)
        taken = shapely.union_all(shapely.buffer([polygon(ring) for ring in avoid], 2))
        free &= ~shapely.contains_xy(taken, x, y)
        self.plant(x[free] + 1j * y[free], smallest, largest)

    def woodland(self, ring: Ground | Line, tag: tuple[str, str]) -> None:
        """Cover a polygon with closed canopy: crowns on a jittered lattice over dark ground."""
        self.ground(ring, "canopy", 1.5, (52, 62, 42), osm=tag)
        wood = polygon(ring)
        x0, y0, x1, y1 = wood.bounds
        x, y = (axis.ravel() + self.numbers.uniform(-3.3, 3.3, axis.size)
                for axis in np.meshgrid(np.arange(x0, x1, 6.4), np.arange(y0, y1, 6.4)))
        inside = shapely.contains_xy(wood, x, y) & ~self.plan.wet(x + 1j * y, 6)
        x, y = x[inside], y[inside]
        a, b = self.numbers.uniform(0, 6, 2)
        stand = np.sin(x / 71 + a) + np.sin(y / 58 + b) + 0.6 * np.sin((x + y) / 31)
        tones = np.clip(0.45 + 0.2 * stand + self.numbers.normal(0, 0.16, len(x)), 0, 1)
        radii = self.numbers.uniform(2.6, 4.6, len(x)) + 0.4 * stand
        self.crowns(x + 1j * y, radii, tones)

    def hedge(self, ring: Ground, fraction: float) -> None:
        """Plant bushes and small trees along a fraction of a polygon's edges."""
        for start, u, length, _ in ring.edges:
            if self.rng.random() < fraction:
                steps = np.cumsum(self.numbers.uniform(1.8, 5, int(length / 1.8)))
                self.plant(start + u * (steps[steps < length] + 1.4j), 1.1, 2.3)

    def vehicle(self, z: complex, u: complex, length: float, width: float, rgb: Colour) -> None:
        """Put a vehicle there, with a little shadow."""
        shadow = rectangle(z - 0.3 * width * self.scene.sun, u, length, width)
        self.scene.surface(shadow, "car", (62, 62, 66), 6.4)
        self.scene.surface(rectangle(z, u, length, width), "car", rgb, 6.5)

    def car(self, z: complex, u: complex, truck: bool = False) -> None:
        """Put a parked or driving car there, with its windscreen, or a lorry."""
        if truck:
            self.vehicle(z, u, self.rng.uniform(9, 14), 2.6, self.rng.choice(CARS))
        else:
            self.vehicle(z, u, 4.4, 1.9, self.rng.choice(CARS))
            self.scene.surface(rectangle(z + 0.7 * u, u, 0.8, 1.6), "car", (48, 52, 58), 6.6)

    def parking(self, ring: Ground, full: float = 0.6, mapped: bool = True) -> None:
        """Lay out a car park: asphalt, stall lines, rows of cars, a few trees on islands."""
        if not ring:
            return
        self.paint(ring, "asphalt", 2)
        u, long, short = ring.axis
        aisles = int(short / 34) + 1
        trees = []
        for row in range(-aisles, aisles + 1):
            for side in (-1, 1):
                for k in range(int(long / 2.7)):
                    z = ring.centre + u * complex((k + 0.5) * 2.7 - long / 2,
                                                  row * 17 + side * 2.6)
                    if not ring.contains([z], 3.0):
                        continue
                    if k % 14 == 0:
                        trees.append(z)
                        continue
                    stall = rectangle(z + 1.35 * u, 1j * u, 4.8, 0.25)
                    self.scene.surface(stall, "line", (176, 176, 172), 2.1)
                    if self.rng.random() < full:
                        self.car(z, 1j * u * side)
        self.plant(trees, 1.6, 2.8)
        if mapped and ring.area > 300:
            self.scene.osm("amenity", "parking", ring)

    def pitch(self, z: complex, u: complex, large: bool = True) -> Ground:
        """Lay out a sports field with lines: football on grass, or a small hard court."""
        a, b = (98, 62) if large else (30, 16)
        ring = rectangle(z, u, a, b)
        rgb = (106, 128, 72) if large else self.rng.choice(COURTS)
        self.scene.surface(ring, "grass" if large else "paving", rgb, 3)
        for k in range(0, 10, 2) if large else ():
            stripe = rectangle(z + (k - 4.5) * 9.8 * u, u, 9.8, b)
            self.scene.surface(stripe, "grass", shade(rgb, 1.06), 3.1)
        lines = [rectangle(e.start + e.u * e.length / 2, e.u, e.length, 0.45)
                 for e in ring.inset(1.2).edges]
        for line in [*lines, rectangle(z, 1j * u, b - 2.4, 0.45)]:
            self.scene.surface(line, "line", (214, 216, 208), 3.2)
        self.scene.osm("leisure", "pitch", ring)
        return ring

    def pond(self, z: complex, radius: float) -> Line:
        """Dig a pond or lake with a pale shore and reeds; return its outline."""
        turn = cmath.rect(1, self.rng.uniform(0, 3.1))
        water = blob(z, radius, self.rng, self.rng.uniform(1.05, 1.25), turn)
        shore = [z + (point - z) * (1 + 2.6 / radius) for point in water]
        self.paint(shore, "soil", 3.4, (136, 128, 100))
        self.ground(water, "water", 3.5, (62, 82, 84), ("natural", "water"), "water")
        reeds = np.array(shore)[self.numbers.random(len(shore)) < 0.5]
        self.plant(reeds + self.numbers.uniform(-4, 4, (len(reeds), 2)) @ (1, 1j), 1.6, 4)
        return water

    def house(self, ring: Ground, roof: str, storeys: float, use: str, value: str,
              rgb: Colour | None = None) -> bool:
        """Raise a building where the ground is dry; tell whether it stands."""
        stands = bool(ring) and self.dry(ring)
        if stands:
            raise_building(self.scene, ring, roof, storeys, use, value, self.rng, rgb)
        return stands
