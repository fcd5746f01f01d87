"""Main roads, local streets, motorway, railway, river: how they look, who drives there, what OSM
knows."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np

from datasets.sample_city.buildings import vary
from datasets.sample_city.geometry import Ground, Line, along, beside, dense, rectangle, ribbon
from datasets.sample_city.plan import Plan, Quarter, River
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
LIFT = {"primary": 0.3, "secondary": 0.3, "tertiary": 0.15}     # levels above the smaller streets
MARKING = (206, 206, 198)


def pave(scene: Scene, line: Line, kind: str, rng: random.Random) -> None:
    """Paint a street: pavements, carriageway, markings, zebra crossings."""
    half, wide, rgb, _, _ = LOOK[kind]
    rgb, level = vary(rgb, rng, 5), 5 + LIFT.get(kind, 0)
    material = "soil" if kind in ("track", "footway") else "asphalt"
    if wide > half + 0.5:
        scene.surface(ribbon(line, wide), "paving", vary((160, 156, 149), rng, 5), level - 1)
    scene.surface(ribbon(line, half), material, rgb, level)
    for end in (line[0], line[-1]):                                 # round where streets meet
        scene.surface([end + half * 1j ** (k / 3) for k in range(12)], material, rgb, level)
    if kind not in LIFT:
        return
    total = sum(abs(b - a) for a, b in pairwise(line))
    for z, u, s in along(line, 9.0):
        for t in (-3.4, 0, 3.4) if kind == "primary" else (0,):
            if 14 < s < total - 14:
                dash = rectangle(z + 1j * u * t, u, 4.0 if t == 0 else 3.0, 0.4)
                scene.surface(dash, "line", MARKING, 6)
    if kind == "tertiary" or total < 60:
        return
    steps = list(along(line, 1.0))
    for z, u, _ in (steps[12], steps[-13]):
        for k in range(-int(half), int(half) + 1):
            scene.surface(rectangle(z + 1j * u * k, u, 3.2, 0.5), "line", (192, 192, 187), 6.1)


def traffic(site: Site, line: Line, kind: str) -> None:
    """Put driving cars on both sides, parked ones along residential streets, and street trees on
    the pavements."""
    half, wide, _, per_km, trees = LOOK[kind]
    rng, lane = site.rng, half * (0.5 if kind != "primary" else 0.68)
    for z, u, _ in along(line, 7.0):
        for side in (-1, 1):
            if rng.random() < per_km * 0.0035:
                truck = rng.random() < 0.07 and kind in ("primary", "secondary")
                site.car(z - 1j * side * lane * u, u * side, truck)
    for z, u, _ in along(line, 5.8) if kind == "residential" else ():
        if rng.random() < 0.16:
            site.car(z - rng.choice((-2.2j, 2.2j)) * u, u)
    if trees:
        rows = [side for side in (-1j, 1j)
                if rng.random() < (0.6 if kind == "residential" else 0.9)]
        row_of_trees(site, line, rng.uniform(9, 14), 0.72,
                     [side * (wide - 0.7) for side in rows], 0, 1.9, 3.9 if wide > 6 else 3.2)


def row_of_trees(site: Site, line: Line, step: float, fraction: float, offsets: list[complex],
                 spread: float, smallest: float, largest: float) -> None:
    """Plant trees every `step` metres of a line at its `offsets`, up to `spread` metres aside."""
    points = [z + u * offset for z, u, _ in along(line, step) for offset in offsets
              if site.rng.random() < fraction]
    wander = site.numbers.uniform(-spread, spread, (len(points), 2)) @ (1, 1j)
    site.plant(points + wander, smallest, largest)


def build_streets(scene: Scene, plan: Plan, rng: random.Random) -> None:
    """Paint every street of the plan and of the quarters, and turn them all into OSM lines."""
    site = Site(scene, plan, rng, Quarter((0, 0), "streets", Ground(), True))
    local, scene.roads = scene.roads, []
    for points, kind, known in [*plan.roads, *local]:
        line = dense(points, 16)
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
        railway(site, dense(points, 16))
    for river in plan.rivers:
        build_river(site, river)


def motorway(site: Site, line: Line) -> None:
    """Two carriageways with shoulders and lane lines on green verges; OSM has one line for each
    direction."""
    scene, rng = site.scene, site.rng
    scene.surface(ribbon(line, 24), "grass", (112, 116, 78), 3.6)
    scene.area(ribbon(line, 15), "transport", 4)
    for lane in (beside(line, -7.6), beside(line, 7.6)[::-1]):
        scene.surface(ribbon(lane, 5.8), "asphalt", (126, 125, 123), 3.8)
        for offset in (-5.0, 2.6):
            scene.surface(ribbon(beside(lane, offset), 0.2), "line", MARKING, 3.9)
        for z, u, _ in along(lane, 12.0):
            scene.surface(rectangle(z - 1.2j * u, u, 5, 0.4), "line", MARKING, 3.9)
        for z, u, _ in along(lane, 9.0):
            if rng.random() < 0.2:
                site.car(z - 1j * rng.choice((-0.8, 3.0)) * u, u, truck=rng.random() < 0.3)
        scene.roads.append((lane, "motorway", True))
        row_of_trees(site, lane, 6.0, 0.35, [-11.75j], 2, 1.6, 3.8)


def railway(site: Site, line: Line) -> None:
    """Double track on ballast with bushes along the bank; OSM has the land as landuse=railway."""
    scene = site.scene
    scene.surface(ribbon(line, 15), "scrub", (116, 114, 82), 3.6)
    scene.surface(ribbon(line, 6.2), "gravel", (130, 122, 112), 3.7)
    scene.area(ribbon(line, 12), "transport", 4)
    for t in (-2.4, 2.4):
        scene.surface(ribbon(beside(line, t), 1.4), "gravel", (100, 93, 86), 3.8)
        for rail in (t - 0.75, t + 0.75):
            scene.surface(ribbon(beside(line, rail), 0.18), "line", (162, 156, 150), 3.9)
    scene.osm("landuse", "railway", ribbon(line, 13))
    row_of_trees(site, line, 5.0, 0.4, [-11.5j, 11.5j], 2.5, 1.2, 3.4)


def build_river(site: Site, river: River) -> None:
    """Water with banks, a footway and trees along it; OSM has it in pieces of half a kilometre."""
    scene, rng, side = site.scene, site.rng, site.plan.side
    reach = 0.35 * side + 400
    xs = np.arange(-reach, side + reach, 12.0)
    line = (xs + 1j * river.at(xs)).tolist()
    half = river.half(xs)
    for k in range(0, len(line) - 1, 40):
        outline = {more: ribbon(line[k:k + 41], (half[k:k + 41] + more).tolist())
                   for more in (0, 2.2, 5, 13)}
        scene.surface(outline[13], "grass", vary((108, 116, 74), rng, 4), 3.2)
        scene.surface(outline[2.2], "soil", (128, 120, 96), 3.4)
        scene.surface(outline[0], "water", (70, 86, 84), 3.5)
        scene.area(outline[13], "green", 1)
        scene.area(outline[0], "water", 2)
        scene.osm("natural", "water", outline[0], "Aue")
        scene.rivers.append(outline[5])
    for bank in (half + 9, -half - 9):
        path = (xs + 1j * (river.at(xs) + bank)).tolist()
        pave(scene, path, "footway", rng)
        scene.roads.append((path, "footway", True))
        row_of_trees(site, path, 7.0, 0.6, [0], 4, 1.8, 4.4)
