"""The plan of the city: a bent grid of main roads, a river, a motorway, a railway, and what each
quarter between them is for.

Everything is laid out in plan metres, where main roads are nearly straight, and then bent and
turned into map metres by one `Warp`.
"""

from __future__ import annotations

import cmath
import math
import random
from dataclasses import dataclass

import numpy as np

from datasets.sample_city.geometry import Ground, Line

TILE = 224
RURAL = {"farmland", "scrub", "forest"}
# Half width in metres of the corridor that each kind of line takes from the quarters beside it.
CORRIDOR = {"motorway": 24.0, "rail": 15.0, "primary": 12.5, "secondary": 9.5, "tertiary": 7.5,
            "residential": 5.5, "service": 5.0, "unclassified": 4.5, "track": 2.5, "none": 0.6}
# Kinds of quarters in the order in which they choose their places: their fraction, then what makes
# places good: being urban, or being near an ideal of it, chance, railway, motorway, river beside.
WISHES = {"core": (0.08, 1, None, 0, 0, -1, 0), "yard": (0.04, 1, None, 0, 3, 0, -2),
          "industry": (0.09, -0.5, None, 0.3, 0.8, 0.7, 0),
          "farmland": (0.14, -1, None, 0.1, 0, 0, 0), "campus": (0.06, 0, 0.55, 1, 0, 0, 0),
          "park": (0.04, 0.8, None, 0.5, 0, 0, 0), "brownfield": (0.04, 0, 0.4, 1, 0.4, 0, 0),
          "lake": (0.03, 0, 0.4, 1, 0, 0, -1), "forest": (0.06, -1, None, 0.2, 0, 0, 0),
          "scrub": (0.04, -1, None, 0.3, 0, 0, 0), "business": (0.04, 0, 0.5, 1, 0, 0, 0),
          "slabs": (0.07, 0.5, None, 1, 0, 0, 0), "terraces": (0.10, 1, None, 0.3, 0, 0, 0),
          "detached": (1.0, 0, None, 0, 0, 0, 0)}
ESSENTIAL = {"core", "yard", "industry", "farmland", "campus", "park", "brownfield", "terraces"}
HAMLET = ("terraces", "core", "park", "detached", "campus", "industry", "farmland", "slabs",
          "brownfield")
Index = tuple[int, int]


@dataclass(frozen=True)
class Warp:
    """Plan metres to map metres: a slow sideways bend of at most about 9 degrees, then a turn
    about the middle of the city."""

    middle: complex
    turn: complex                               # unit vector of the plan's x axis on the map
    phases: tuple[float, float, float, float]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Turn complex [n] plan into map coordinates, rounded to a centimetre as OSM's are."""
        x, y = (points - self.middle).real, (points - self.middle).imag
        p, q, r, s = self.phases
        bent = (x + 22 * np.sin(y / 240 + p) + 45 * np.sin(y / 700 + q)
                + 1j * (y + 22 * np.sin(x / 260 + r) + 45 * np.sin(x / 760 + s)))
        return np.round(bent * self.turn + self.middle, 2)


@dataclass(frozen=True)
class River:
    """A meandering river whose centre line is y = f(x) in plan metres; all for arrays of x."""

    base: float
    waves: tuple[tuple[float, float, float], ...]      # amplitude, wave number, phase
    half_width: float

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the centre line's y at x."""
        return self.base + sum(a * np.sin(k * x + p) for a, k, p in self.waves)

    def half(self, x: np.ndarray) -> np.ndarray:
        """Return the half width in metres at x."""
        return self.half_width * (1 + 0.16 * np.sin(x / 83 + self.waves[0][2])
                                  + 0.1 * np.sin(x / 37))

    def near(self, points: np.ndarray, margin: float) -> np.ndarray:
        """Tell which points are within `margin` metres of the water."""
        reach = sum(a for a, _, _ in self.waves) + 2 * self.half_width + 2 * margin
        if (abs(points.imag - self.base) > reach).all():
            return np.zeros(len(points), bool)
        x = points.real
        slope = sum(a * k * np.cos(k * x + p) for a, k, p in self.waves)
        return abs(points.imag - self.at(x)) / np.hypot(1, slope) < self.half(x) + margin


@dataclass(frozen=True)
class Quarter:
    """A quadrilateral between main roads."""

    index: Index
    kind: str
    ring: Ground
    mapped: bool                 # False in the corner of the region that no OSM mapper has visited


@dataclass(frozen=True)
class Plan:
    """Everything that the districts are built on; lengths in metres, plan axes."""

    side: float
    warp: Warp
    quarters: list[Quarter]
    roads: list[tuple[Line, str, bool]]                # centre line, class, known to OSM
    rails: list[Line]
    rivers: list[River]

    def wet(self, points: np.ndarray, margin: float) -> np.ndarray:
        """Tell which points are within `margin` metres of a river."""
        wet = np.zeros(len(points), bool)
        for river in self.rivers:
            wet |= river.near(points, margin)
        return wet


def line_kind(k: int, upright: bool, visible: int) -> str:
    """Return what runs along grid line k, counted from the centre: every 16th line is a motorway,
    a river or a railway."""
    aside, k16 = max(1, round(0.28 * visible)) if visible < 16 else 4, (k + 8) % 16 - 8
    if upright and k16 == aside:
        return "rail"
    if not upright and k16 in (-aside, 1 if visible < 8 else 2):
        return "motorway" if k16 < 0 else "river"
    return "primary" if k % 4 == 0 else "secondary" if k % 2 == 0 else "tertiary"


def choose_kinds(cells: dict[Index, complex], inside: set[Index], lines: dict,
                 centres: list[tuple[complex, float]], rng: random.Random) -> dict[Index, str]:
    """Give each quarter a use: offices in the middle, industry and the railway yard along the
    lines, fields at the edge.

    Args:
        cells: quarter -> its centre.
        inside: the quarters in the scene.
        lines: (upright, k) -> kind of grid line.
        centres: town centres and how far each reaches.
    """
    score = {c: max(math.exp(-(abs(z - centre) / reach) ** 2) for centre, reach in centres)
             + rng.uniform(-0.06, 0.06) for c, z in cells.items()}
    free = sorted((c for c in cells if c in inside), key=lambda c: -score[c])
    kinds = {c: rng.choice(("farmland", "farmland", "forest", "scrub", "detached")) for c in cells
             if c not in inside}
    if len(free) < 12:
        return kinds | {c: HAMLET[k % len(HAMLET)] for k, c in enumerate(free)}

    def beside(c: Index, kind: str) -> bool:
        return kind in (lines[True, c[0]], lines[True, c[0] + 1], lines[False, c[1]],
                        lines[False, c[1] + 1])

    noise = {c: rng.random() for c in free}
    total = len(free)
    for kind, (fraction, urban, ideal, chance, rail, motorway, river) in WISHES.items():
        wish = {c: noise[c] * chance + rail * beside(c, "rail") + motorway * beside(c, "motorway")
                + river * beside(c, "river")
                + (urban * score[c] if ideal is None else -abs(score[c] - ideal)) for c in free}
        count = max(math.floor(fraction * total + 0.5), int(kind in ESSENTIAL))
        for c in sorted(free, key=wish.get, reverse=True)[:count]:
            kinds[c] = kind
            free.remove(c)
    return kinds


def make_plan(tiles: int, seed: int) -> Plan:
    """Lay out a square city of tiles x tiles tiles of 224 m."""
    rng = random.Random(f"plan {seed}")
    side = float(tiles * TILE)
    visible = max(4, round(side / 384))
    pitch = max(170.0, side / visible)
    middle = side / 2 * (1 + 1j)
    angle = math.radians(rng.choice((-1, 1)) * rng.uniform(9, 21))
    warp = Warp(middle, cmath.rect(1, angle), tuple(rng.uniform(0, 6.28) for _ in range(4)))
    reach = math.ceil(side / 2 * (math.cos(angle) + abs(math.sin(angle))) / pitch + 0.6)
    span = range(-reach, reach + 1)
    lines = {(upright, k): line_kind(k, upright, visible) for upright in (True, False)
             for k in span}
    position = {key: side / 2 + (key[1] + rng.uniform(-0.2, 0.2)) * pitch for key in lines}
    wave = 2 * math.pi / pitch
    rivers = {k: River(position[False, k],
                       ((0.15 * pitch, wave / rng.uniform(3.4, 4.2), rng.uniform(0, 6.28)),
                        (0.05 * pitch, wave / rng.uniform(1.5, 1.9), rng.uniform(0, 6.28))),
                       min(24.0, 0.06 * pitch)) for k in span if lines[False, k] == "river"}
    node = {}
    for i in span:
        for j in span:
            x, y = position[True, i], position[False, j]
            x += 0 if lines[True, i] == "rail" else rng.uniform(-0.13, 0.13) * pitch
            y += 0 if lines[False, j] == "motorway" else rng.uniform(-0.13, 0.13) * pitch
            node[i, j] = complex(x, rivers[j].at(x) if j in rivers else y)
    corners = {(i, j): [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
               for i in span[:-1] for j in span[:-1]}
    cells = {c: sum(node[n] for n in around) / 4 for c, around in corners.items()}
    on_map = dict(zip(cells, warp(np.array([*cells.values()])).tolist(), strict=True))

    def within(c: Index, margin: float) -> bool:
        return all(-margin < v < side + margin for v in (on_map[c].real, on_map[c].imag))

    centres = [(middle, 0.42 * min(side, 4000))]
    for _ in range(int((side / 4000) ** 2 * 1.5)):
        centres.append((complex(rng.uniform(0, side), rng.uniform(0, side)),
                        rng.uniform(900, 1700)))
    kinds = choose_kinds(cells, {c for c in cells if within(c, 0)}, lines, centres, rng)
    away = cmath.rect(1, rng.uniform(0, 6.28))
    mapped = {c: kinds[c] not in RURAL or ((z - middle) / away).real < 0.12 * side
              for c, z in cells.items()}
    roads, rails, border = [], [], {}
    for (i, j), here in node.items():
        for upright, there, sides in ((False, (i + 1, j), ((i, j), (i, j - 1))),
                                      (True, (i, j + 1), ((i, j), (i - 1, j)))):
            if there not in node:
                continue
            kind = lines[upright, i if upright else j]
            beside = [c for c in sides if c in kinds]
            if kind in ("tertiary", "secondary") and all(kinds[c] in RURAL for c in beside):
                kind = "unclassified" if kind == "secondary" else rng.choice(("track", "none"))
            known = kind in ("motorway", "primary") or any(mapped[c] for c in beside)
            if kind == "rail":
                rails.append([here, node[there]])
            elif kind not in ("river", "none"):
                roads.append(([here, node[there]], kind, known))
            width = rivers[j].half_width * 1.25 + 13 if kind == "river" else CORRIDOR[kind]
            border[(i, j), there] = border[there, (i, j)] = width
    quarters = []
    for c, around in corners.items():
        widths = [border[a, b] for a, b in zip(around, around[1:] + around[:1], strict=True)]
        if within(c, pitch):
            ring = Ground(tuple(node[n] for n in around), tuple(widths))
            quarters.append(Quarter(c, kinds[c], ring, mapped[c]))
    return Plan(side, warp, quarters, roads, rails, list(rivers.values()))
