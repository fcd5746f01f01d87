"""Main roads, local streets, motorway, railway, river: how they look, who drives there, what OSM
knows."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from datasets.sample_city.buildings import vary
from datasets.sample_city.geometry import Ground, Line, along, beside, dense, rectangle, ribbon
from datasets.sample_city.plan import Plan, Quarter, River
from datasets.sample_city.record import Scene
from datasets.sample_city.site import Site

MARKING, PAVEMENT = (206, 206, 198), (160, 156, 149)


class Profile(NamedTuple):
    """The cross-section of a street; offsets in metres, to the left of its line where positive."""

    half: float                 # half width of a carriageway
    bands: tuple                # (offset, half width, material, colour, level), painted in order
    dashes: tuple = ()          # offsets of dashed lines
    lanes: tuple = ()           # offsets; right of the line cars drive along it
    cars: float = 0.0           # probability every 7 m of a lane
    trucks: float = 0.0         # fraction of them
    parked: float = 0.0         # probability every 6 m of either kerb
    trees: tuple = ()           # (offset, step, probability, spread, smallest, largest radius)
    transport: float = 0.0      # half width of the land-use area


def street(half: float, wide: float, rgb: tuple, level: float = 5.0, **more) -> Profile:
    """Return the profile of a street with pavements up to `wide` metres from its line and trees
    on them, or of one without, where both widths are equal."""
    bands = ((0, wide, "paving", PAVEMENT, level - 1), (0, half, "asphalt", rgb, level))
    trees = tuple((side * (wide - 0.7), 11, 0.6, 0, 1.9, 3.2 + wide / 16) for side in (-1, 1))
    return Profile(half, bands if wide > half else bands[1:],
                   lanes=(-half * 0.55, half * 0.55), trees=trees if wide > half else (), **more)


STREETS = {
    "primary": street(7.2, 11.0, (112, 112, 113), 5.3, dashes=(-3.4, 0, 3.4), cars=0.1,
                      trucks=0.07, transport=11.0),
    "secondary": street(5.6, 8.6, (116, 116, 116), 5.3, dashes=(0,), cars=0.08, trucks=0.07,
                        transport=8.6),
    "tertiary": street(4.3, 6.9, (120, 119, 118), 5.15, dashes=(0,), cars=0.06),
    "residential": street(3.1, 5.0, (124, 123, 121), cars=0.09, parked=0.16),
    "service": street(3.0, 3.0, (128, 126, 123), cars=0.035),
    "unclassified": street(2.9, 2.9, (132, 129, 124), cars=0.018),
    "track": Profile(1.6, ((0, 1.6, "soil", (160, 146, 120), 5),)),
    "footway": Profile(1.3, ((0, 1.3, "soil", (178, 168, 148), 5),)),
    "motorway": Profile(
        5.6, ((0, 24, "grass", (112, 116, 78), 3.6), (-7.6, 5.8, "asphalt", (126, 125, 123), 3.8),
              (7.6, 5.8, "asphalt", (126, 125, 123), 3.8),
              *((t, 0.2, "line", MARKING, 3.9) for t in (-12.6, -5, 5, 12.6))),
        dashes=(-8.8, 8.8), lanes=(-10.6, -6.8, 6.8, 10.6), cars=0.08, trucks=0.3,
        trees=((-19.4, 6, 0.35, 2, 1.6, 3.8), (19.4, 6, 0.35, 2, 1.6, 3.8)), transport=15),
    "rail": Profile(
        6.2, ((0, 15, "scrub", (116, 114, 82), 3.6), (0, 6.2, "gravel", (130, 122, 112), 3.7),
              (-2.4, 1.4, "gravel", (100, 93, 86), 3.8), (2.4, 1.4, "gravel", (100, 93, 86), 3.8),
              *((t, 0.18, "line", (162, 156, 150), 3.9) for t in (-3.15, -1.65, 1.65, 3.15))),
        trees=((-11.5, 5, 0.4, 2.5, 1.2, 3.4), (11.5, 5, 0.4, 2.5, 1.2, 3.4)), transport=12),
}


def pave(site: Site, line: Line, kind: str) -> None:
    """Paint a street, and put cars and trees on it."""
    scene, rng, profile = site.scene, site.rng, STREETS[kind]
    for offset, half, material, rgb, level in profile.bands:
        rgb = vary(rgb, rng, 4)
        scene.surface(ribbon(beside(line, offset), half), material, rgb, level)
        for end in (line[0], line[-1]) if level >= 5 else ():       # round where streets meet
            scene.surface([end + half * 1j ** (k / 3) for k in range(12)], material, rgb, level)
    total = sum(abs(b - a) for a, b in pairwise(line))
    for z, u, s in along(line, 9.0) if total > 28 else ():
        for t in profile.dashes if 14 < s < total - 14 else ():
            scene.surface(rectangle(z + 1j * u * t, u, 3.6, 0.4), "line", MARKING, 6)
    for z, u, _ in along(line, 7.0):
        for lane in profile.lanes:
            if rng.random() < profile.cars:
                site.car(z + 1j * lane * u, u if lane < 0 else -u, rng.random() < profile.trucks)
    for z, u, _ in along(line, 5.8):
        if rng.random() < profile.parked:
            site.car(z + rng.choice((-2.2j, 2.2j)) * u, u)
    for offset, step, probability, spread, *sizes in profile.trees:
        points = np.array([z + 1j * u * offset for z, u, _ in along(line, step)
                           if rng.random() < probability])
        wander = site.numbers.uniform(-spread, spread, (len(points), 2)) @ (1, 1j)
        site.plant(points + wander, *sizes)
    if profile.transport:
        scene.area(ribbon(line, profile.transport), "transport", 3)


def build_streets(scene: Scene, plan: Plan, rng: random.Random) -> None:
    """Paint every street of the plan and of the quarters, and turn them all into OSM lines; a
    motorway has one for each direction, and of a railway OSM has the land."""
    site = Site(scene, plan, rng, Quarter((0, 0), "streets", Ground(), True))
    for points, kind, known in [*plan.roads, *scene.streets]:
        line = dense(points, 16)
        pave(site, line, kind)
        if kind == "motorway":
            scene.roads += [(beside(line, -7.6), kind), (beside(line, 7.6)[::-1], kind)]
        elif known:
            scene.roads.append((line, kind))
        else:
            scene.omitted["highway"] += 1
    for points in plan.rails:
        line = dense(points, 16)
        pave(site, line, "rail")
        scene.osm("landuse", "railway", ribbon(line, 13))
    for river in plan.rivers:
        build_river(site, river)


def build_river(site: Site, river: River) -> None:
    """Paint water with banks, footways and trees; OSM has it in pieces of half a kilometre."""
    scene, side = site.scene, site.plan.side
    xs = np.arange(-0.35 * side - 400, 1.35 * side + 400, 12.0)
    line = (xs + 1j * river.at(xs)).tolist()
    half = river.half(xs)
    for k in range(0, len(line) - 1, 40):
        outline = {more: ribbon(line[k:k + 41], half[k:k + 41] + more) for more in (0, 2.2, 5, 13)}
        scene.surface(outline[13], "grass", vary((108, 116, 74), site.rng, 4), 3.2)
        scene.surface(outline[2.2], "soil", (128, 120, 96), 3.4)
        scene.surface(outline[0], "water", (70, 86, 84), 3.5)
        scene.area(outline[13], "green", 1)
        scene.area(outline[0], "water", 2)
        scene.osm("natural", "water", outline[0], "Aue")
        scene.rivers.append(outline[5])
    for bank in (half + 9, -half - 9):
        path = (xs + 1j * (river.at(xs) + bank)).tolist()
        pave(site, path, "footway")
        scene.roads.append((path, "footway"))
        trees = np.array(path)[site.numbers.random(len(path)) < 0.9]
        site.plant(trees + site.numbers.uniform(-4, 4, (len(trees), 2)) @ (1, 1j), 1.8, 4.4)
