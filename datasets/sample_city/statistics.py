"""What is known about the city beside imagery and OSM: land use, population and CO2 rasters."""

from __future__ import annotations

import random

import numpy as np
from PIL import Image, ImageDraw

from datasets.sample_city.geometry import WIDEST, centre, edges, inset
from datasets.sample_city.paint import meets, ring_boxes
from datasets.sample_city.plan import Plan
from datasets.sample_city.record import CLASS, USES, Scene
from datasets.sample_city.streets import LOOK, ribbon

CELL = 56                                   # metres: four cells along a tile
PERSONS = {"residential": 1 / 42, "commercial": 1 / 900, "institution": 1 / 1500,
           "industrial": 0.0, "other": 0.0}   # per m2 of floor
TONNES = {"residential": 0.022, "commercial": 0.055, "institution": 0.045, "industrial": 0.16,
          "other": 0.01}        # CO2 per m2 and year
ROAD_TONNES = {"motorway": 0.30, "primary": 0.11, "secondary": 0.07, "tertiary": 0.035,
               "residential": 0.008, "service": 0.006}


class Areas:
    """Land-use areas and sources of people and CO2 in map metres."""

    def __init__(self, scene: Scene, plan: Plan, seed: int):
        rng = random.Random(f"labels {seed}")
        small = min(1.0, plan.side / 1200)
        # uncertain strips along some borders, some blocks nobody labelled
        for quarter in plan.quarters:
            for x, y, ux, uy, length, h in edges(inset(quarter.ring)):
                if rng.random() < 0.4 * small and h < WIDEST:
                    scene.area(ribbon([(x, y), (x + ux * length, y + uy * length)],
                                      rng.uniform(2, 5)), "unknown", 6)
            if rng.random() < 0.09:
                x, y = centre(quarter.ring)
                half = small * rng.uniform(30, 55)
                scene.area([(x + i * half, y + j * half, 0.0)
                            for i, j in ((-1, -1), (1, -0.8), (0.9, 1), (-1, 0.9))], "unknown", 6)
        points, starts = scene.areas.arrays(plan.warp)
        table = np.asarray(scene.area_classes, dtype=np.float32).reshape(-1, 2)
        self.side = plan.side
        self.order = np.argsort(table[:, 0], kind="stable")
        self.classes = table[:, 1].astype(int)
        self.rings, self.boxes = np.split(points, starts[1:-1]), ring_boxes(points, starts)
        walls, wall_starts = scene.footprints.arrays(plan.warp)
        self.walls, self.wall_boxes = np.split(walls,
                                               wall_starts[1:-1]), ring_boxes(walls, wall_starts)
        self.volumes = np.asarray(scene.volumes, dtype=np.float32).reshape(-1, 2)
        roads = [(line, kind) for line, kind, _ in scene.roads if kind in ROAD_TONNES]
        self.roads = [plan.warp(np.array(ribbon(line, LOOK[kind][0]))[:, :2])
                      for line, kind in roads]
        self.road_tonnes = np.array([ROAD_TONNES[kind] for _, kind in roads])
        self.road_boxes = np.array([[*r.min(0), *r.max(0)] for r in self.roads]).reshape(-1, 4)

    def labels(self, row: int, col: int, shape: tuple[int, int]) -> np.ndarray:
        """Land-use classes of a window, uint8 [h, w]; 255 where nobody knows."""
        image = Image.new("L", shape[::-1], CLASS["undeveloped"])
        near = set(meets(self.boxes, *self._window(row, col, shape)).tolist())
        self._draw(image, self.rings, [n for n in self.order.tolist() if n in near], self.classes,
                   row, col)
        return np.asarray(image)

    def densities(self, row: int, col: int,
                  shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Persons and tonnes of CO2 a year per square kilometre in each cell of a window, float32
        [h / 56, w / 56] each."""
        window = self._window(row, col, shape)
        near = meets(self.wall_boxes, *window).tolist()
        result = []
        for rates in (PERSONS, TONNES):
            rate = self.volumes[:, 0] * np.array([rates[u] for u in USES],
                                                 np.float32)[self.volumes[:, 1].astype(int)]
            image = Image.new("F", shape[::-1])
            if rates is TONNES:
                self._draw(image, self.roads, meets(self.road_boxes, *window).tolist(),
                           self.road_tonnes, row, col)
            self._draw(image, self.walls, near, rate, row, col)
            cells = np.asarray(image).reshape(shape[0] // CELL, CELL, shape[1] // CELL, CELL)
            result.append(cells.mean((1, 3), dtype=np.float64) * 1e6)
        return result[0], result[1]

    def _window(self, row, col, shape) -> tuple[float, float, float, float]:
        return col, self.side - row - shape[0], col + shape[1], self.side - row

    def _draw(self, image: Image.Image, rings, chosen, values, row: int, col: int) -> None:
        pen = ImageDraw.Draw(image)
        for n in chosen:
            pen.polygon(((rings[n] - (col, self.side - row)) * (1, -1) - 0.5).ravel().tolist(),
                        fill=values[n].item())
