"""Main roads, local streets, motorway, railway, river: how they look, who drives there, what OSM
knows."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np

from datasets.sample_city.buildings import vary
from datasets.sample_city.geometry import Point, rectangle
from datasets.sample_city.plan import Plan, Quarter
from datasets.sample_city.record import Scene
from datasets.sample_city.site import Site

# Per class: carriageway half width, half width with pavements, colour, cars per km, street trees.
LOOK = {"motorway": (5.6, 6.2, (128, 127, 125), 26, False),
        "primary": (7.2, 11.0, (112, 112, 113), 30, True),
        "secondary": (5.6, 8.6, (116, 116, 116), 24, True),
        "tertiary": (4.3, 6.9, (120, 119, 118), 18, True),
        "residential": (3.1, 5.0, (124, 123, 121), 26, True),
        "service": (2.8, 3.2, (128, 126, 123), 10, False),
        "unclassified": (2.7, 3.1, (132, 129, 124), 5, False),
        "track": (1.6, 1.6, (160, 146, 120), 0, False),
        "footway": (1.3, 1.3, (178, 168, 148), 0, False)}
MAIN = ("motorway", "primary", "secondary")


def dense_line(points: list[Point], step: float = 16.0) -> list[Point]:
    """The same line with a vertex at least every `step` metres, so that it can bend."""
    line = []
    for a, b in pairwise(points):
        n = max(1, int(math.dist(a, b) / step))
        line += [(a[0] + (b[0] - a[0]) * k / n, a[1] + (b[1] - a[1]) * k / n) for k in range(n)]
    return [*line, points[-1]]


def beside(points: list[Point], offset: float) -> list[Point]:
    """A line moved `offset` metres to its left."""
    line = []
    for k, (x, y) in enumerate(points):
        (ax, ay), (bx, by) = points[max(0, k - 1)], points[min(len(points) - 1, k + 1)]
        d = math.hypot(bx - ax, by - ay) or 1
        line.append((x - (by - ay) / d * offset, y + (bx - ax) / d * offset))
    return line


def ribbon(points: list[Point], half: float) -> list[tuple[float, float, float]]:
    """The polygon within `half` metres of a line, square ends."""
    return [(*p, 0.0) for p in beside(points, -half) + beside(points, half)[::-1]]


def disc(x: float, y: float, radius: float) -> list[tuple[float, float, float]]:
    """A round patch that hides the corner where ribbons meet."""
    return [(x + radius * math.cos(k * math.pi / 6), y + radius * math.sin(k * math.pi / 6), 0.0)
            for k in range(12)]


def pave(scene: Scene, line: list[Point], kind: str, rng: random.Random) -> None:
    """Paint a street: pavements, carriageway, markings."""
    half, wide, rgb, _, _ = LOOK[kind]
    rgb = vary(rgb, rng, 5)
    lift = 0.3 if kind in ("primary", "secondary") else 0.15 if kind == "tertiary" else 0.0
    material = "soil" if kind in ("track", "footway") else "asphalt"
    if wide > half + 0.5:
        scene.surface(ribbon(line, wide), "paving", vary((160, 156, 149), rng, 5), 4 + lift)
    scene.surface(ribbon(line, half), material, rgb, 5 + lift)
    for end in (line[0], line[-1]):
        scene.surface(disc(*end, half), material, rgb, 5 + lift)
    if kind not in ("primary", "secondary", "tertiary"):
        return
    total = sum(math.dist(a, b) for a, b in pairwise(line))
    for x, y, ux, uy, s in along(line, 9.0):
        if 14 < s < total - 14:
            scene.surface(rectangle(x, y, ux, uy, 4.0, 0.4), "line", (206, 206, 198), 6)
            for t in (-3.4, 3.4) if kind == "primary" else ():
                scene.surface(rectangle(x - t * uy, y + t * ux, ux, uy, 3.0, 0.35), "line",
                              (196, 196, 190), 6)
    if kind == "tertiary":
        return
    for s, sign in ((12.0, 1), (total - 12.0, -1)):
        for x, y, ux, uy, t in along(line, 1.0) if total > 60 else ():
            if abs(t - s) < 0.5:
                for k in range(-int(half), int(half) + 1):
                    stripe = rectangle(x - k * uy + sign * ux, y + k * ux + sign * uy, ux, uy, 3.2,
                                       0.5)
                    scene.surface(stripe, "line", (192, 192, 187), 6.1)


def along(line: list[Point], step: float):
    """Yield (x, y, ux, uy, distance) every `step` metres of a line."""
    s, target = 0.0, step / 2
    for a, b in pairwise(line):
        d = math.dist(a, b)
        while d > 0 and target <= s + d:
            t = (target - s) / d
            yield a[0] + t * (b[0] - a[0]), a[1] + t * (b[1]
                                                        - a[1]), (b[0]
                                                                  - a[0]) / d, (b[1]
                                                                                - a[1]) / d, target
            target += step
        s += d


def traffic(site: Site, line: list[Point], kind: str) -> None:
    """Driving cars on both sides, and parked ones along residential streets; street trees on the
    pavements."""
    half, wide, _, per_km, trees = LOOK[kind]
    rng, lane = site.rng, half * (0.5 if kind != "primary" else 0.68)
    for x, y, ux, uy, _ in along(line, 7.0):
        for side in (-1, 1):
            if rng.random() < per_km * 0.0035:
                site.car(x + side * lane * uy, y - side * lane * ux, ux * side, uy * side,
                         truck=rng.random() < 0.07 and kind in MAIN)
    if kind == "residential":
        for x, y, ux, uy, _ in along(line, 5.8):
            if rng.random() < 0.16:
                side = rng.choice((-1, 1))
                site.car(x + side * 2.2 * uy, y - side * 2.2 * ux, ux, uy)
    if trees:
        rows = (rng.random() < 0.6,
                rng.random() < 0.6) if kind == "residential" else (rng.random() < 0.85,) * 2
        for x, y, ux, uy, _ in along(line, rng.uniform(9, 14)):
            for side, row in zip((-1, 1), rows, strict=True):
                if row and rng.random() < 0.72 and not site.plan.wet(x, y, 16):
                    edge = side * (wide - 0.7)
                    site.tree(x - edge * uy, y + edge * ux, 1.9, 3.9 if wide > 6 else 3.2)


def build_streets(scene: Scene, plan: Plan, rng: random.Random) -> None:
    """Paint every street of the plan and of the quarters, and turn them all into OSM lines."""
    site = Site(scene, plan, rng, Quarter((0, 0), "streets", [], True))
    local, scene.roads = scene.roads, []
    for points, kind, known in [*plan.roads, *local]:
        line = dense_line(points)
        if kind == "motorway":
            motorway(site, line)
            continue
        pave(scene, line, kind, rng)
        traffic(site, line, kind)
        if kind in ("primary", "secondary"):
            scene.area(ribbon(line, LOOK[kind][1]), "transport", 3)
        if known:
            scene.roads.append((line, kind, True))
        else:
            scene.omitted["highway"] += 1
    for points in plan.rails:
        railway(site, dense_line(points))
    for river in plan.rivers:
        build_river(site, river)


def motorway(site: Site, line: list[Point]) -> None:
    """Two carriageways with shoulders and lane lines on green verges; OSM has one line for each
    direction."""
    scene, rng = site.scene, site.rng
    scene.surface(ribbon(line, 24), "grass", (112, 116, 78), 3.6)
    scene.area(ribbon(line, 15), "transport", 4)
    for side in (-1, 1):
        lane = beside(line, 7.6 * side)
        lane = lane if side < 0 else lane[::-1]
        scene.surface(ribbon(lane, 5.8), "asphalt", (126, 125, 123), 3.8)
        for offset in (-5.0, 2.6):
            scene.surface(ribbon(beside(lane, offset), 0.2), "line", (204, 204, 198), 3.9)
        for x, y, ux, uy, _ in along(lane, 12.0):
            scene.surface(rectangle(x + 1.2 * uy, y - 1.2 * ux, ux, uy, 5, 0.4), "line",
                          (206, 206, 200), 3.9)
        for x, y, ux, uy, _ in along(lane, 9.0):
            if rng.random() < 0.2:
                t = rng.choice((-0.8, 3.0))
                site.car(x + t * uy, y - t * ux, ux, uy, truck=rng.random() < 0.3)
        scene.roads.append((lane, "motorway", True))
        for x, y, ux, uy, _ in along(lane, 6.0):
            if rng.random() < 0.35:
                t = rng.uniform(9.5, 14)
                site.tree(x + t * uy, y - t * ux, 1.6, 3.8)


def railway(site: Site, line: list[Point]) -> None:
    """Double track on ballast with bushes along the bank; OSM has the land as landuse=railway."""
    scene, rng = site.scene, site.rng
    scene.surface(ribbon(line, 15), "scrub", (116, 114, 82), 3.6)
    scene.surface(ribbon(line, 6.2), "gravel", (130, 122, 112), 3.7)
    scene.area(ribbon(line, 12), "transport", 4)
    for t in (-2.4, 2.4):
        scene.surface(ribbon(beside(line, t), 1.4), "gravel", (100, 93, 86), 3.8)
        for r in (-0.75, 0.75):
            scene.surface(ribbon(beside(line, t + r), 0.18), "line", (162, 156, 150), 3.9)
    scene.osm("landuse", "railway", ribbon(line, 13))
    for x, y, ux, uy, _ in along(line, 5.0):
        for side in (-1, 1):
            if rng.random() < 0.4:
                t = side * rng.uniform(9, 14)
                site.tree(x - t * uy, y + t * ux, 1.2, 3.4)


def build_river(site: Site, river) -> None:
    """Water with banks, a footway and trees along it; OSM has it in pieces of half a kilometre."""
    scene, rng, side = site.scene, site.rng, site.plan.side
    reach = 0.35 * side + 400
    xs = np.arange(-reach, side + reach, 12.0)
    line = [(float(x), river.at(float(x))) for x in xs]

    def outline(part: list[Point], more: float):
        half = [river.half(x) + more for x, _ in part]
        sides = []
        for sign in (-1, 1):
            moved = [beside(part, sign * h)[k] for k, h in enumerate(half)]
            sides.append(moved)
        return [(*p, 0.0) for p in sides[0] + sides[1][::-1]]

    for k in range(0, len(line) - 1, 40):
        part = line[k:k + 41]
        scene.surface(outline(part, 13), "grass", vary((108, 116, 74), rng, 4), 3.2)
        scene.surface(outline(part, 2.2), "soil", (128, 120, 96), 3.4)
        scene.surface(outline(part, 0), "water", (70, 86, 84), 3.5)
        scene.area(outline(part, 13), "green", 1)
        scene.area(outline(part, 0), "water", 2)
        scene.osm("natural", "water", outline(part, 0), "Aue")
        scene.rivers.append(outline(part, 5))
    for sign in (-1, 1):
        bank = [(x, y + sign * (river.half(x) + 9)) for x, y in line]
        pave(scene, bank, "footway", rng)
        scene.roads.append((bank, "footway", True))
        for x, y, _, _, _ in along(bank, 7.0):
            if rng.random() < 0.6:
                scene.tree(x + rng.uniform(-3, 3), y + sign * rng.uniform(-5, 4),
                           rng.uniform(1.8, 4.4), rng.random())
