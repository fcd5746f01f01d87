"""Buildings with the roofs that one sees from above: gable, hip, flat with units and parapet,
halls with skylights."""

from __future__ import annotations

import random

from datasets.sample_city.geometry import Ground, rectangle
from datasets.sample_city.record import Scene

Colour = tuple[float, ...]
TILES = ((150, 92, 70), (134, 80, 64), (116, 74, 62), (160, 108, 84), (110, 92, 84), (96, 90, 88),
         (84, 80, 80), (142, 118, 100))
FLAT = ((168, 165, 158), (148, 147, 143), (130, 130, 129), (183, 181, 176), (112, 112, 114),
        (158, 150, 138), (200, 199, 196), (120, 124, 116), (95, 96, 99))
HALL = ((190, 192, 193), (165, 171, 176), (139, 150, 160), (205, 204, 200), (150, 147, 141),
        (122, 134, 128), (160, 120, 104))
ROOFS = {"gable": TILES, "hip": TILES, "row": TILES, "flat": FLAT, "hall": HALL}


def shade(rgb: Colour, factor: float) -> Colour:
    """Make a colour lighter (factor > 1) or darker."""
    return tuple(min(250.0, c * factor) for c in rgb)


def vary(rgb: Colour, rng: random.Random, spread: float = 9.0) -> Colour:
    """Choose a colour near another one: brightness mostly, hue a little."""
    light = rng.gauss(0, spread)
    return tuple(min(245.0, max(12.0, c + light + rng.gauss(0, spread * 0.25))) for c in rgb)


def pitched(scene: Scene, box: Ground, rgb: Colour, roof: str) -> None:
    """Paint a gable or hip roof over a rectangle: each face is as bright as it faces the sun.

    The ridge runs along the longer side, or for a "row" along the first edge, as in a terrace.
    """
    a, b, c, d = box
    if roof != "row" and abs(b - a) < abs(c - b):
        a, b, c, d = b, c, d, a
    u = (b - a) / abs(b - a)
    back = u * abs(c - b) / 2 if roof == "hip" else 0
    start, end = (d + a) / 2 + back, (b + c) / 2 - back              # of the ridge
    faces = [((a, b, end, start), -1j * u), ((c, d, start, end), 1j * u)]
    if roof == "hip":
        faces += [((b, c, end), u), ((d, a, start), -u)]
    for ring, downhill in faces:
        light = 1 + 0.2 * (downhill * scene.sun.conjugate()).real
        scene.surface(ring, "roof", shade(rgb, light), 9)


def flat(scene: Scene, ring: Ground, rgb: Colour, rng: random.Random) -> None:
    """Paint a flat roof: bright parapet, duller inside, technical units with their own shadow."""
    scene.surface(ring, "roof", shade(rgb, 1.12), 9)
    inner = ring.inset(0.9)
    scene.surface(inner, "roof", shade(rgb, rng.uniform(0.88, 0.98)), 9.1)
    _, u, length, _ = ring.edges[0]
    for _ in range(rng.randrange(2, 4 + int(length * ring.edges[1].length / 160)) if inner else 0):
        z = inner.centre + rng.uniform(0.1, 0.62) * (rng.choice(inner.points) - inner.centre)
        size = rng.uniform(2, 5.5), rng.uniform(1.6, 4)
        if inner.contains([z], 3.2):
            scene.surface(rectangle(z - 1.3 * scene.sun, u, *size), "roof", shade(rgb, 0.55), 9.2)
            scene.surface(rectangle(z, u, *size), "roof", shade(vary(rgb, rng, 16), 1.1), 9.3)


def fixtures(scene: Scene, box: Ground, rgb: Colour, rng: random.Random) -> None:
    """Paint what a hall has on its roof: skylight strips across, a few vents."""
    u, long, short = box.axis
    light, gap = rng.choice((1.15, 1.12, 0.72, 0.8)), rng.uniform(7, 13)
    count = int(long / gap) if rng.random() < 0.75 else 0
    for k in range(count):
        for t in (-0.26, 0.26):
            strip = rectangle(box.at((k + 0.5) * gap / long - 0.5, t), u, 1.4, short * 0.3)
            scene.surface(strip, "roof", shade(rgb, light), 9.2)
    for _ in range(rng.randrange(6)):
        vent = rectangle(box.scatter(rng, 0.42), u, 2.2, 2.2)
        scene.surface(vent, "roof", shade(rgb, rng.choice((0.6, 1.3))), 9.3)


def raise_building(scene: Scene, ring: Ground, roof: str, storeys: float, use: str, value: str,
                   rng: random.Random, rgb: Colour | None = None) -> None:
    """Build: roof, volume for shadow and statistics, and the OSM outline with building=`value`.

    Args:
        ring: footprint; a rectangle for every roof but "flat".
        roof: gable, hip, row (a gable along the first edge), flat or hall.
    """
    rgb = vary(rgb or rng.choice(ROOFS[roof]), rng)
    if roof == "flat":
        flat(scene, ring, rgb, rng)
    else:
        pitched(scene, ring, rgb, "gable" if roof == "hall" else roof)
    if roof == "hall":
        fixtures(scene, ring, rgb, rng)
    elif roof != "flat" and rng.random() < 0.5:
        u = ring.edges[0].u
        chimney = rectangle(ring.centre + u * rng.uniform(-3, 3), u, 1.2, 1.0)
        scene.surface(chimney, "roof", shade(rgb, 0.6), 9.3)
    scene.building(ring, storeys, use)
    scene.osm("building", value, ring)
