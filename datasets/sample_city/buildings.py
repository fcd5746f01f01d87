"""Buildings with the roofs that one sees from above: gable, hip, flat with units and parapet,
halls with skylights."""

from __future__ import annotations

import math

from datasets.sample_city.geometry import Polygon, centre, contains, inset, rectangle
from datasets.sample_city.record import Scene

ROOFS = {
    "tile": ((150, 92, 70), (134, 80, 64), (116, 74, 62), (160, 108, 84), (110, 92, 84),
             (96, 90, 88), (84, 80, 80), (142, 118, 100)),
    "flat": ((168, 165, 158), (148, 147, 143), (130, 130, 129), (183, 181, 176), (112, 112, 114),
             (158, 150, 138), (200, 199, 196),
             (120, 124, 116), (95, 96, 99)),
    "hall": ((190, 192, 193), (165, 171, 176), (139, 150, 160), (205, 204, 200), (150, 147, 141),
             (122, 134, 128), (160, 120, 104)),
}


def shade(rgb, factor: float):
    """A colour made lighter (factor > 1) or darker."""
    return tuple(min(250.0, c * factor) for c in rgb)


def vary(rgb, rng, spread: float = 9.0):
    """A colour near another one: brightness mostly, hue a little."""
    light = rng.gauss(0, spread)
    return tuple(min(245.0, max(12.0, c + light + rng.gauss(0, spread * 0.25))) for c in rgb)


def facing(scene: Scene, dx: float, dy: float, tilt: float = 0.2) -> float:
    """Brightness of a roof face that slopes down towards (dx, dy)."""
    return 1 + tilt * (dx * scene.sun[0] + dy * scene.sun[1]) / (math.hypot(dx, dy) or 1)


def pitched(scene: Scene, box: Polygon, rgb, hipped: bool, row: bool = False) -> None:
    """A gable or hip roof over a rectangle: two or four faces, each as bright as it faces the sun.

    The ridge runs along the longer side, or with `row` along the first edge, as in a terrace.
    """
    p = [q[:2] for q in box]
    if not row and math.dist(p[0], p[1]) < math.dist(p[1], p[2]):
        p = p[1:] + p[:1]
    long, short = math.dist(p[0], p[1]), math.dist(p[1], p[2])
    ux, uy = (p[1][0] - p[0][0]) / long, (p[1][1] - p[0][1]) / long
    back = short / 2 if hipped else 0.0
    r0 = ((p[3][0] + p[0][0]) / 2 + ux * back, (p[3][1] + p[0][1]) / 2 + uy * back)
    r1 = ((p[1][0] + p[2][0]) / 2 - ux * back, (p[1][1] + p[2][1]) / 2 - uy * back)
    faces = [((p[0], p[1], r1, r0), (uy, -ux)), ((p[2], p[3], r0, r1), (-uy, ux))]
    if hipped:
        faces += [((p[1], p[2], r1), (ux, uy)), ((p[3], p[0], r0), (-ux, -uy))]
    for ring, (dx, dy) in faces:
        scene.surface([(*q, 0.0) for q in ring], "roof", shade(rgb, facing(scene, dx, dy)), 9)


def flat(scene: Scene, ring: Polygon, rgb, rng, units: int) -> None:
    """A flat roof: bright parapet, a slightly other surface inside, `units` boxes with their own
    shadow."""
    scene.surface(ring, "roof", shade(rgb, 1.12), 9)
    inner = inset(ring, 0.9)
    scene.surface(inner, "roof", shade(rgb, rng.uniform(0.88, 0.98)), 9.1)
    if len(inner) < 3:
        return
    x, y = centre(inner)
    ux, uy = _direction(ring)
    for _ in range(units):
        corner = rng.choice(inner)
        t = rng.uniform(0.1, 0.62)
        cx, cy = x + t * (corner[0] - x), y + t * (corner[1] - y)
        a, b = rng.uniform(2, 5.5), rng.uniform(1.6, 4)
        if contains(inner, cx, cy, 3.2):
            dark = rectangle(cx - 1.3 * scene.sun[0], cy - 1.3 * scene.sun[1], ux, uy, a, b)
            scene.surface(dark, "roof", shade(rgb, 0.55), 9.2)
            scene.surface(rectangle(cx, cy, ux, uy, a, b), "roof", shade(vary(rgb, rng, 16), 1.1),
                          9.3)


def hall(scene: Scene, box: Polygon, rgb, rng) -> None:
    """A low industrial roof: two faint slopes, skylight strips across, a few vents."""
    pitched(scene, box, rgb, False)
    p = [q[:2] for q in box]
    if math.dist(p[0], p[1]) < math.dist(p[1], p[2]):
        p = p[1:] + p[:1]
    long, short = math.dist(p[0], p[1]), math.dist(p[1], p[2])
    ux, uy = (p[1][0] - p[0][0]) / long, (p[1][1] - p[0][1]) / long
    x, y = centre(box)
    strip, gap = rng.choice((1.15, 1.12, 0.72, 0.8)), rng.uniform(7, 13)
    if rng.random() < 0.75:
        for k in range(int(long / gap)):
            s = (k + 0.5) * gap - long / 2
            for t in (-0.26, 0.26):
                scene.surface(rectangle(x + s * ux - t * short * uy, y + s * uy + t * short * ux,
                                        ux, uy, 1.4, short * 0.3), "roof",
                              shade(rgb, strip), 9.2)
    for _ in range(rng.randrange(6)):
        s, t = rng.uniform(-0.44, 0.44) * long, rng.uniform(-0.4, 0.4) * short
        vent = rectangle(x + s * ux - t * uy, y + s * uy + t * ux, ux, uy, 2.2, 2.2)
        scene.surface(vent, "roof", shade(rgb, rng.choice((0.6, 1.3))), 9.3)


def raise_building(scene: Scene, ring: Polygon, roof: str, storeys: float, use: str, value: str,
                   rng, rgb=None) -> None:
    """A building: roof, volume for shadow and statistics, and its OSM outline with
    building=`value`.

    Args:
        ring: footprint; a rectangle for every roof but "flat".
        roof: gable, hip, row (a gable along the first edge), flat or hall.
    """
    rgb = vary(rgb or rng.choice(ROOFS["tile" if roof in ("gable", "hip", "row") else roof]), rng)
    if roof == "flat":
        flat(scene, ring, rgb, rng, rng.randrange(2, 4 + int(_size(ring) / 160)))
    elif roof == "hall":
        hall(scene, ring, rgb, rng)
    else:
        pitched(scene, ring, rgb, roof == "hip", roof == "row")
        if rng.random() < 0.5:
            x, y = centre(ring)
            ux, uy = _direction(ring)
            s = rng.uniform(-3, 3)
            scene.surface(rectangle(x + s * ux, y + s * uy, ux, uy, 1.2, 1.0), "roof",
                          shade(rgb, 0.6), 9.3)
    scene.volume(ring, storeys, use)
    scene.osm("building", value, ring)


def _direction(ring: Polygon) -> tuple[float, float]:
    length = math.dist(ring[0][:2], ring[1][:2]) or 1.0
    return (ring[1][0] - ring[0][0]) / length, (ring[1][1] - ring[0][1]) / length


def _size(ring: Polygon) -> float:
    return math.dist(ring[0][:2], ring[1][:2]) * math.dist(ring[1][:2], ring[2][:2])
