"""What stands in the city: painted surfaces, buildings, trees, streets, OSM objects and land-use
areas, recorded in plan metres as complex numbers."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import ImageDraw

from datasets.sample_city.geometry import Line
from datasets.targets import CLASSES, UNKNOWN

MATERIALS = ("grass", "canopy", "soil", "crop", "asphalt", "paving", "water", "roof", "gravel",
             "car", "scrub", "line")
MATERIAL = {name: code for code, name in enumerate(MATERIALS)}
CLASS = {name: code for code, name in enumerate(CLASSES)} | {"unknown": UNKNOWN}
LAYERS = ("amenity", "building", "landuse", "leisure", "natural", "highway")
USES = ("residential", "commercial", "institution", "industrial", "other")
BEND = 24.0                 # metres; longer edges get vertices so that they can bend
Window = tuple[float, float, float, float]          # x0, y0, x1, y1 in map metres


@dataclass
class Rings:
    """Polygons in plan metres, each with a level and more numbers, in a few dozen bytes each."""

    flat: array = field(default_factory=lambda: array("d"))
    ends: array = field(default_factory=lambda: array("q"))
    numbers: array = field(default_factory=lambda: array("f"))

    def __len__(self) -> int:
        return len(self.ends)

    def add(self, ring: Iterable[complex], level: float, *numbers: float) -> None:
        """Append a polygon; higher levels cover lower ones."""
        self.flat.extend([v for z in ring for v in (z.real, z.imag)])
        self.ends.append(len(self.flat) // 2)
        self.numbers.extend((level, *numbers))

    def on_map(self, warp: Callable[[np.ndarray], np.ndarray]) -> MapRings:
        """Return the polygons in map metres, with more vertices on long edges so that they can
        bend."""
        if not len(self):
            return MapRings(np.zeros((0, 2)), np.zeros(1, int), np.zeros((0, 4)), np.zeros((0, 8)))
        corners = np.array(self.flat).view(complex)
        starts = np.concatenate([[0], np.array(self.ends, int)])
        following = np.roll(corners, -1)
        following[starts[1:] - 1] = corners[starts[:-1]]
        sides = following - corners
        counts = np.maximum(1, (abs(sides) / BEND).astype(int))
        firsts = np.concatenate([[0], np.cumsum(counts)])
        steps = np.arange(firsts[-1]) - np.repeat(firsts[:-1], counts)
        dense = np.repeat(corners, counts) + np.repeat(sides / counts, counts) * steps
        points, starts = warp(dense).view(float).reshape(-1, 2), firsts[starts]
        boxes = np.concatenate([np.minimum.reduceat(points, starts[:-1]),
                                np.maximum.reduceat(points, starts[:-1])], 1)
        numbers = np.array(self.numbers, np.float32).reshape(len(self), -1)
        return MapRings(points, starts, boxes, numbers)


@dataclass(frozen=True)
class MapRings:
    """Polygons in map metres."""

    points: np.ndarray          # [n, 2] vertices of all of them
    starts: np.ndarray          # [polygons + 1] of each in points
    boxes: np.ndarray           # [polygons, 4] x0 y0 x1 y1
    numbers: np.ndarray         # [polygons, k] level, then more

    def near(self, window: Window, margin: float = 0.0) -> np.ndarray:
        """Return the polygons within `margin` metres of a window, lowest level first."""
        x0, y0, x1, y1 = self.boxes.T
        near = np.flatnonzero((x0 < window[2] + margin) & (x1 > window[0] - margin)
                              & (y0 < window[3] + margin) & (y1 > window[1] - margin))
        return near[np.argsort(self.numbers[near, 0], kind="stable")]

    def pixels(self, indices: np.ndarray, window: Window, scale: int) -> Iterator[np.ndarray]:
        """Yield the vertices [n, 2] of chosen polygons in pixels of 1 / `scale` metres."""
        for k in indices:
            ring = self.points[self.starts[k]:self.starts[k + 1]]
            yield (ring - (window[0], window[3])) * (scale, -scale) - 0.5

    def draw(self, pen: ImageDraw.ImageDraw, indices: np.ndarray, fills: Iterable[float],
             window: Window, scale: int = 1) -> None:
        """Fill chosen polygons, each with its own value."""
        for ring, fill in zip(self.pixels(indices, window, scale), fills, strict=True):
            pen.polygon(ring.ravel().tolist(), fill=fill)


@dataclass
class Scene:
    """Recorder that the districts write into."""

    sun: complex                                        # unit vector towards the sun, plan axes
    surfaces: Rings = field(default_factory=Rings)      # level, material, r, g, b, crop rows x, y
    buildings: Rings = field(default_factory=Rings)     # level 0, storeys, use
    areas: Rings = field(default_factory=Rings)         # level, land-use class
    objects: Rings = field(default_factory=Rings)       # level 0
    tags: list[tuple[str, str, str]] = field(default_factory=list)  # per object: layer, value, name
    trees: array = field(default_factory=lambda: array("d"))        # x, y, crown radius, tone
    streets: list[tuple[Line, str, bool]] = field(default_factory=list)  # class, known to OSM
    roads: list[tuple[Line, str]] = field(default_factory=list)     # the lines of OSM, their class
    rivers: list[Line] = field(default_factory=list)    # outlines that no other area enters
    omitted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LAYERS, 0))
    drop: float = 0.0                      # fraction of the current district's objects OSM lacks
    memory: random.Random = field(default_factory=lambda: random.Random(0))

    def surface(self, ring: Iterable[complex], material: str, rgb, level: float,
                rows: complex = 0) -> None:
        """Record a painted polygon; `rows` is the angular frequency of crop rows in radians per
        metre, plan axes."""
        if ring:
            self.surfaces.add(ring, level, MATERIAL[material], *rgb, rows.real, rows.imag)

    def area(self, ring: Iterable[complex], name: str, level: float = 0.0) -> None:
        """Record a land-use area; class "unknown" hides what is below it."""
        self.areas.add(ring, level, CLASS[name])

    def known(self, layer: str) -> bool:
        """Tell whether OSM has the next object of a layer; count those that it lacks."""
        lacks = self.memory.random() < self.drop
        self.omitted[layer] += lacks
        return not lacks

    def osm(self, layer: str, value: str, ring: Iterable[complex], name: str = "") -> None:
        """Record an OSM polygon, unless the district's mappers missed it."""
        if ring and self.known(layer):
            self.objects.add(ring, 0)
            self.tags.append((layer, value, name))

    def building(self, ring: Iterable[complex], storeys: float, use: str) -> None:
        """Record a building's footprint for shadows and statistics."""
        self.buildings.add(ring, 0, storeys, USES.index(use))
