"""What is known about the city beside imagery and OSM: land use, population and CO2."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from datasets.sample_city.geometry import WIDEST, ribbon
from datasets.sample_city.plan import Plan
from datasets.sample_city.record import CLASS, USES, MapRings, Rings, Scene
from datasets.sample_city.streets import LOOK

CELL = 56                                   # metres: four cells along a tile
# Persons, and tonnes of CO2 a year, per m2 of floor and per m2 of road.
PERSONS = {"residential": 1 / 42, "commercial": 1 / 900, "institution": 1 / 1500,
           "industrial": 0.0, "other": 0.0}
TONNES = {"residential": 0.022, "commercial": 0.055, "institution": 0.045, "industrial": 0.16,
          "other": 0.01}
ROAD_TONNES = {"motorway": 0.30, "primary": 0.11, "secondary": 0.07, "tertiary": 0.035,
               "residential": 0.008, "service": 0.006}


@dataclass
class Statistics:
    """Land-use areas and sources of people and CO2 in map metres."""

    side: float
    areas: MapRings             # level, land-use class
    buildings: MapRings         # level, storeys, use
    roads: MapRings             # level, tonnes of CO2

    def labels(self, row: int, col: int, shape: tuple[int, int]) -> np.ndarray:
        """Land-use classes of a window, uint8 [h, w]; 255 where nobody knows."""
        image = Image.new("L", shape[::-1], CLASS["undeveloped"])
        self._draw(image, row, col, self.areas, self.areas.numbers[:, 1].astype(int))
        return np.asarray(image)

    def densities(self, row: int, col: int,
                  shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Persons and tonnes of CO2 a year per square kilometre in each cell of a window, float64
        [h / 56, w / 56] each."""
        persons, tonnes = Image.new("F", shape[::-1]), Image.new("F", shape[::-1])
        self._draw(tonnes, row, col, self.roads, self.roads.numbers[:, 1])
        storeys, uses = self.buildings.numbers[:, 1], self.buildings.numbers[:, 2].astype(int)
        result = []
        for image, rates in ((persons, PERSONS), (tonnes, TONNES)):
            rate = np.array([rates[use] for use in USES], np.float32)
            self._draw(image, row, col, self.buildings, storeys * rate[uses])
            cells = np.asarray(image).reshape(shape[0] // CELL, CELL, shape[1] // CELL, CELL)
            result.append(cells.mean((1, 3), dtype=np.float64) * 1e6)
        return result[0], result[1]

    def _draw(self, image: Image.Image, row: int, col: int, rings: MapRings,
              values: np.ndarray) -> None:
        window = (col, self.side - row - image.height, col + image.width, self.side - row)
        near = rings.near(window)
        rings.draw(ImageDraw.Draw(image), near, values[near].tolist(), window)


def make_statistics(scene: Scene, plan: Plan, seed: int) -> Statistics:
    """Collect what the scene's areas, buildings and roads say; nobody knows some blocks, and
    strips along some borders."""
    rng = random.Random(f"labels {seed}")
    small = min(1.0, plan.side / 1200)
    for quarter in plan.quarters:
        for start, u, length, street in quarter.ring.inset().edges:
            if rng.random() < 0.4 * small and street < WIDEST:
                strip = ribbon([start, start + u * length], rng.uniform(2, 5))
                scene.area(strip, "unknown", 6)
        if rng.random() < 0.09:
            half = small * rng.uniform(30, 55)
            corners = (-1 - 1j, 1 - 0.8j, 0.9 + 1j, -1 + 0.9j)
            scene.area([quarter.ring.centre + half * z for z in corners], "unknown", 6)
    roads = Rings()
    for line, kind, _ in scene.roads:
        if kind in ROAD_TONNES:
            roads.add(ribbon(line, LOOK[kind][0]), 0, ROAD_TONNES[kind])
    return Statistics(plan.side, *(rings.on_map(plan.warp)
                                   for rings in (scene.areas, scene.buildings, roads)))
