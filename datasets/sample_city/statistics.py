"""What is known about the city beside imagery and OSM: land use, population and CO2."""

from __future__ import annotations

import random

import numpy as np
from PIL import Image, ImageDraw

from datasets.sample_city.geometry import WIDEST, ribbon
from datasets.sample_city.plan import Plan
from datasets.sample_city.record import CLASS, USES, MapRings, Rings, Scene
from datasets.sample_city.streets import STREETS

CELL = 56                                   # metres: four cells along a tile
# Persons, and tonnes of CO2 a year, per m2 of floor and per m2 of road.
PERSONS = {"residential": 1 / 42, "commercial": 1 / 900, "institution": 1 / 1500,
           "industrial": 0.0, "other": 0.0}
TONNES = {"residential": 0.022, "commercial": 0.055, "institution": 0.045, "industrial": 0.16,
          "other": 0.01}
ROAD_TONNES = {"motorway": 0.30, "primary": 0.11, "secondary": 0.07, "tertiary": 0.035,
               "residential": 0.008, "service": 0.006}


def forget(scene: Scene, plan: Plan, seed: int) -> None:
    """Record what nobody knows: strips along some borders of quarters, and some blocks."""
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


def land_use(scene: Scene, plan: Plan) -> np.ndarray:
    """Draw the classes of the whole city, uint8 [side, side]; 255 where nobody knows."""
    image = Image.new("L", (int(plan.side),) * 2, CLASS["undeveloped"])
    areas = scene.areas.on_map(plan.warp)
    draw(image, areas, areas.numbers[:, 1].astype(int))
    return np.asarray(image)


def density(scene: Scene, plan: Plan, per_floor: dict[str, float],
            per_road: dict[str, float]) -> np.ndarray:
    """Sum buildings and roads per square kilometre in each cell, [side / 56, side / 56].

    Args:
        per_floor: per m2 of floor of each use.
        per_road: per m2 of road of each class; the others count nothing.
    """
    image = Image.new("F", (int(plan.side),) * 2)
    roads = Rings()
    for line, kind in scene.roads:
        if kind in per_road:
            roads.add(ribbon(line, STREETS[kind].half), per_road[kind])
    roads = roads.on_map(plan.warp)
    draw(image, roads, roads.numbers[:, 0])
    buildings = scene.buildings.on_map(plan.warp)
    rates = np.array([per_floor[use] for use in USES], np.float32)
    draw(image, buildings, buildings.numbers[:, 1] * rates[buildings.numbers[:, 2].astype(int)])
    cells = int(plan.side) // CELL
    pixels = np.asarray(image).reshape(cells, CELL, cells, CELL)
    return pixels.mean((1, 3), dtype=np.float64) * 1e6


def draw(image: Image.Image, rings: MapRings, values: np.ndarray) -> None:
    """Fill polygons on an image of the whole city, each with its value."""
    window = (0, 0, image.width, image.height)
    near = rings.near(window)
    rings.draw(ImageDraw.Draw(image), near, values[near].tolist(), window)
