"""The plan of the city: a bent grid of main roads, a river, a motorway, a railway, and what each
quarter between them is for.

Everything is laid out in plan metres, where main roads are nearly straight, and then bent and
turned into map metres by one `Warp`.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np

from datasets.sample_city.geometry import Point, Polygon, centre

TILE = 224
RURAL = {"farmland", "scrub", "forest"}
# Half width in metres of the corridor that each kind of line takes from the quarters beside it.
CORRIDOR = {"motorway": 24.0, "rail": 15.0, "primary": 12.5, "secondary": 9.5, "tertiary": 7.5,
            "residential": 5.5, "service": 3.5,
            "unclassified": 4.5, "track": 2.5, "none": 0.6}
QUOTAS = (("core", 0.08), ("yard", 0.04), ("industry", 0.09), ("farmland", 0.14), ("campus", 0.06),
          ("park", 0.04), ("brownfield", 0.04),
          ("lake", 0.03), ("forest", 0.06), ("scrub", 0.04), ("business", 0.04), ("slabs", 0.07),
          ("terraces", 0.10), ("detached", 1.0))
ESSENTIAL = {"core", "yard", "industry", "farmland", "campus", "park", "brownfield", "terraces"}
HAMLET = ("terraces", "core", "park", "detached", "campus", "industry", "farmland", "slabs",
          "brownfield")


@dataclass(frozen=True)
class Warp:
    """Plan metres to map metres: a slow sideways bend of at most about 9 degrees, then a turn
    about the middle of the city."""

    middle: float
    turn: float
    phases: tuple[float, float, float, float]

    def __call__(self, xy: np.ndarray) -> np.ndarray:
        """[n, 2] plan coordinates to [n, 2] map coordinates, rounded to a centimetre as OSM's
        are."""
        x, y = (xy - self.middle).T
        p, q, r, s = self.phases
        bx = x + 22 * np.sin(y / 240 + p) + 45 * np.sin(y / 700 + q)
        by = y + 22 * np.sin(x / 260 + r) + 45 * np.sin(x / 760 + s)
        c, d = math.cos(self.turn), math.sin(self.turn)
        return np.round(np.stack([c * bx - d * by, d * bx + c * by], 1) + self.middle, 2)


@dataclass(frozen=True)
class River:
    """A meandering river whose centre line is y = f(x) in plan metres."""

    base: float
    waves: tuple[tuple[float, float, float], ...]      # amplitude, wave number, phase
    half_width: float

    def at(self, x: float) -> float:
        """Centre line's y at x."""
        return self.base + sum(a * math.sin(k * x + p) for a, k, p in self.waves)

    def half(self, x: float) -> float:
        """Half width in metres at x."""
        return self.half_width * (1 + 0.16 * math.sin(x / 83 + self.waves[0][2])
                                  + 0.1 * math.sin(x / 37))

    def near(self, x: float, y: float, margin: float) -> bool:
        """True within `margin` metres of the water."""
        gap = abs(y - self.at(x))
        if gap > 4 * (self.half_width + margin):
            return False
        slope = sum(a * k * math.cos(k * x + p) for a, k, p in self.waves)
        return gap / math.hypot(1, slope) < self.half(x) + margin


@dataclass(frozen=True)
class Quarter:
    """A quadrilateral between main roads."""

    index: tuple[int, int]
    kind: str
    ring: Polygon
    mapped: bool                 # False in the corner of the region that no OSM mapper has visited


@dataclass(frozen=True)
class Plan:
    """Everything that the districts are built on; lengths in metres, plan axes."""

    side: float
    warp: Warp
    quarters: list[Quarter]
    roads: list[tuple[list[Point], str, bool]]         # centre line, class, known to OSM
    rails: list[list[Point]]
    rivers: list[River]

    def wet(self, x: float, y: float, margin: float) -> bool:
        """True within `margin` metres of a river."""
        return any(r.near(x, y, margin) for r in self.rivers)


def line_kind(k: int, upright: bool, visible: int) -> str:
    """What runs along grid line k, counted from the centre: every 16th line is a motorway, a river
    or a railway."""
    aside, k16 = max(1, round(0.28 * visible)) if visible < 16 else 4, (k + 8) % 16 - 8
    if upright and k16 == aside:
        return "rail"
    if not upright and k16 in (-aside, 1 if visible < 8 else 2):
        return "motorway" if k16 < 0 else "river"
    return "primary" if k % 4 == 0 else "secondary" if k % 2 == 0 else "tertiary"


def urbanity(x: float, y: float, centres: list[tuple[float, float, float]]) -> float:
    """1 in a town centre, falling to 0 far from all of them."""
    return max(math.exp(-(((x - cx) ** 2 + (y - cy) ** 2) / r**2)) for cx, cy, r in centres)


def choose_kinds(cells: dict, lines, centres, rng: random.Random) -> dict[tuple[int, int], str]:
    """Give each quarter a use: offices in the middle, industry and the railway yard along the
    lines, fields at the edge.

    Args:
        cells: quarter index -> (x, y, inside the scene).
        lines: (upright, k) -> kind of grid line.
    """
    score = {c: urbanity(x, y, centres) + rng.uniform(-0.06, 0.06)
             for c, (x, y, _) in cells.items()}
    inside = sorted((c for c in cells if cells[c][2]), key=lambda c: -score[c])
    kinds = {c: rng.choice(("farmland", "farmland", "forest", "scrub", "detached")) for c in cells
             if not cells[c][2]}
    if len(inside) < 12:
        return kinds | {c: HAMLET[k % len(HAMLET)] for k, c in enumerate(inside)}

    def beside(c, kind: str) -> bool:
        return kind in (lines[True, c[0]], lines[True, c[0] + 1], lines[False, c[1]],
                        lines[False, c[1] + 1])

    noisy = {c: rng.random() for c in inside}
    wishes = {
        "core": lambda c: score[c] - beside(c, "motorway"),
        "yard": lambda c: 3 * beside(c, "rail") + score[c] - 2 * beside(c, "river"),
        "industry": lambda c: 0.8 * beside(c, "rail") + 0.7 * beside(c, "motorway")
        - 0.5 * score[c] + 0.3 * noisy[c],
        "farmland": lambda c: -score[c] + 0.1 * noisy[c],
        "campus": lambda c: noisy[c] - abs(score[c] - 0.55),
        "business": lambda c: noisy[c] - abs(score[c] - 0.5),
        "park": lambda c: 0.5 * noisy[c] + 0.8 * score[c],
        "lake": lambda c: noisy[c] - abs(score[c] - 0.4) - beside(c, "river"),
        "brownfield": lambda c: noisy[c] + 0.4 * beside(c, "rail") - abs(score[c] - 0.4),
        "forest": lambda c: -score[c] + 0.2 * noisy[c],
        "scrub": lambda c: -score[c] + 0.3 * noisy[c],
        "slabs": lambda c: 0.5 * score[c] + noisy[c],
        "terraces": lambda c: score[c] + 0.3 * noisy[c], "detached": lambda c: 0.0}
    free = list(inside)
    for kind, share in QUOTAS:
        count = math.floor(share * len(inside) + 0.5)
        for c in sorted(free, key=wishes[kind],
                        reverse=True)[: max(count, int(kind in ESSENTIAL))]:
            kinds[c] = kind
            free.remove(c)
    return kinds


def make_plan(tiles: int, seed: int) -> Plan:
    """Lay out a square city of tiles x tiles tiles of 224 m."""
    rng = random.Random(f"plan {seed}")
    side = float(tiles * TILE)
    visible = max(4, round(side / 384))
    pitch = max(170.0, side / visible)
    middle = side / 2
    turn = math.radians(rng.choice((-1, 1)) * rng.uniform(9, 21))
    warp = Warp(middle, turn, tuple(rng.uniform(0, 6.28) for _ in range(4)))
    reach = math.ceil(side / 2 * (abs(math.cos(turn)) + abs(math.sin(turn))) / pitch + 0.6)
    span = range(-reach, reach + 1)
    lines = {(upright, k): line_kind(k, upright, visible) for upright in (True, False)
             for k in span}
    position = {key: middle + (key[1] + rng.uniform(-0.2, 0.2)) * pitch for key in lines}
    wave = 2 * math.pi / pitch
    rivers = {k: River(position[False, k],
                       ((0.15 * pitch, wave / rng.uniform(3.4, 4.2), rng.uniform(0, 6.28)),
                        (0.05 * pitch, wave / rng.uniform(1.5, 1.9), rng.uniform(0, 6.28))),
                       min(24.0, 0.06 * pitch)) for k in span if lines[False, k] == "river"}
    node = {}
    for i in span:
        for j in span:
            x = position[True, i] + (0 if lines[True, i] == "rail"
                                     else rng.uniform(-0.13, 0.13) * pitch)
            y = position[False, j] + (0 if lines[False, j] == "motorway"
                                      else rng.uniform(-0.13, 0.13) * pitch)
            node[i, j] = (x, rivers[j].at(x) if j in rivers else y)
    quads = {(i, j): [node[i, j], node[i + 1, j], node[i + 1, j + 1], node[i, j + 1]]
             for i in span[:-1] for j in span[:-1]}
    cells = {}
    for c, quad in quads.items():
        x, y = centre([(*p, 0.0) for p in quad])
        mx, my = warp(np.array([[x, y]]))[0]
        cells[c] = (x, y, 0 <= mx <= side and 0 <= my <= side)
    centres = [(middle, middle, 0.42 * min(side, 4000))]
    for _ in range(int((side / 4000) ** 2 * 1.5)):
        centres.append((rng.uniform(0, side), rng.uniform(0, side), rng.uniform(900, 1700)))
    kinds = choose_kinds(cells, lines, centres, rng)
    away = rng.uniform(0, 6.28)
    mapped = {c: kinds[c] not in RURAL or (x - middle) * math.cos(away)
              + (y - middle) * math.sin(away) < 0.12 * side
              for c, (x, y, _) in cells.items()}
    roads, rails, border = [], [], {}
    for (i, j), here in node.items():
        for upright, there, sides in ((False, (i + 1, j), ((i, j), (i, j - 1))),
                                      (True, (i, j + 1), ((i, j), (i - 1, j)))):
            if there not in node:
                continue
            kind = lines[upright, i if upright else j]
            beside = [c for c in sides if c in kinds]
            lonely = all(kinds[c] in RURAL for c in beside)
            if lonely and kind in ("tertiary", "secondary"):
                kind = "unclassified" if kind == "secondary" else rng.choice(("track", "none"))
            known = kind in ("motorway", "primary") or any(mapped[c] for c in beside)
            if kind == "rail":
                rails.append([here, node[there]])
            elif kind not in ("river", "none"):
                roads.append(([here, node[there]], kind, known))
            border[(i, j),
                   there] = rivers[j].half_width * 1.25 + 13 if kind == "river" else CORRIDOR[kind]
    quarters = []
    for (i, j), quad in quads.items():
        a, b, c, d = (i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)
        widths = (border[a, b], border[b, c], border[d, c], border[a, d])
        mx, my = warp(np.array([cells[i, j][:2]]))[0]
        if -pitch < mx < side + pitch and -pitch < my < side + pitch:
            quarters.append(Quarter((i, j), kinds[i, j],
                                    [(*p, h) for p, h in zip(quad, widths, strict=True)],
                                    mapped[i, j]))
    return Plan(side, warp, quarters, roads, rails, list(rivers.values()))
