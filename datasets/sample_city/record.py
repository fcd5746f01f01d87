"""What stands in the city: painted surfaces, buildings, trees, streets, OSM objects and land-use
areas, recorded in plan metres."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass, field

import numpy as np

from datasets.sample_city.geometry import Polygon
from datasets.targets import CLASSES

MATERIALS = ("grass", "canopy", "soil", "crop", "asphalt", "paving", "water", "roof", "gravel",
             "car", "scrub", "line")
MATERIAL = {name: code for code, name in enumerate(MATERIALS)}
CLASS = {name: code for code, name in enumerate(CLASSES)}
LAYERS = ("amenity", "building", "landuse", "leisure", "natural", "highway")
USES = ("residential", "commercial", "institution", "industrial", "other")


@dataclass
class Rings:
    """Polygons or lines as one flat coordinate array, a few dozen bytes each."""

    flat: array = field(default_factory=lambda: array("d"))
    ends: array = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.ends)

    def add(self, points, step: float | None = None) -> None:
        """Append (x, y, ...) points; with `step`, edges longer than that many metres get extra
        vertices so that they can bend."""
        if step is None:
            for p in points:
                self.flat.extend(p[:2])
        else:
            for a, b in zip(points, [*points[1:], points[0]], strict=True):
                n = max(1, int(max(abs(b[0] - a[0]), abs(b[1] - a[1])) / step))
                for k in range(n):
                    self.flat.extend((a[0] + (b[0] - a[0]) * k / n, a[1] + (b[1] - a[1]) * k / n))
        self.ends.append(len(self.flat) // 2)

    def arrays(self, warp) -> tuple[np.ndarray, np.ndarray]:
        """Map coordinates [n, 2] and where each ring starts [rings + 1]."""
        xy = np.frombuffer(self.flat,
                           dtype=np.float64).reshape(-1, 2) if len(self.flat) else np.zeros((0, 2))
        return warp(xy), np.concatenate([[0],
                                         np.asarray(self.ends, dtype=np.int64)]).astype(np.int64)


@dataclass
class Scene:
    """Recorder that the districts write into. Levels order painting: a higher level covers a lower
    one."""

    sun: tuple[float, float]                       # unit vector towards the sun, plan axes
    turn: float                                    # rotation from plan to map axes, radians
    surfaces: Rings = field(default_factory=Rings)
    # per surface: level, material, r, g, b, row frequency x, y
    looks: array = field(default_factory=lambda: array("f"))
    footprints: Rings = field(default_factory=Rings)
    volumes: array = field(default_factory=lambda: array("f"))    # per building: storeys, use
    trees: array = field(default_factory=lambda: array("f"))      # x, y, crown radius, tone
    areas: Rings = field(default_factory=Rings)
    area_classes: array = field(default_factory=lambda: array("f"))   # per area: level, class
    objects: Rings = field(default_factory=Rings)
    # per OSM object: layer, value, name
    tags: list[tuple[int, str, str]] = field(default_factory=list)
    roads: list[tuple[list, str]] = field(default_factory=list)       # centre line, highway class
    omitted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LAYERS, 0))
    rivers: list[Polygon] = field(default_factory=list)               # outlines with their banks
    drop: float = 0.0                      # share of the current district's objects that OSM lacks
    memory: random.Random = field(default_factory=lambda: random.Random(0))

    def surface(self, ring: Polygon, material: str, rgb, level: float, rows=(0.0, 0.0),
                step: float | None = None) -> None:
        """Record a painted polygon; `rows` is the angular frequency of crop rows in radians per
        metre, plan axes."""
        if len(ring) < 3:
            return
        self.surfaces.add(ring, step)
        self.looks.extend((level, MATERIAL[material], *rgb, *rows))

    def area(self, ring: Polygon, name: str, level: float = 0.0) -> None:
        """Record a land-use area; class "unknown" hides what is below it."""
        if len(ring) >= 3:
            self.areas.add(ring, 24.0)
            self.area_classes.extend((level, CLASS.get(name, 255)))

    def known(self, layer: str) -> bool:
        """Whether OSM has the next object of a layer; counts those it lacks."""
        if self.memory.random() < self.drop:
            self.omitted[layer] += 1
            return False
        return True

    def osm(self, layer: str, value: str, ring: Polygon, name: str = "",
            step: float | None = None) -> None:
        """Record an OSM polygon, unless the district's mappers missed it."""
        if len(ring) >= 3 and self.known(layer):
            self.objects.add(ring, step)
            self.tags.append((LAYERS.index(layer), value, name))

    def volume(self, ring: Polygon, storeys: float, use: str) -> None:
        """Record a building's footprint for shadows and statistics."""
        self.footprints.add(ring)
        self.volumes.extend((storeys, USES.index(use)))

    def tree(self, x: float, y: float, radius: float, tone: float) -> None:
        """Record a tree crown, radius in metres, tone in [0, 1] from blue-green to
        yellow-green."""
        self.trees.extend((x, y, radius, tone))
