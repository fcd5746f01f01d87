"""Convex polygons whose edges remember the street beside them.

A polygon is a counter-clockwise list of (x, y, h): h is the half width in metres of the street
along the edge that starts at this vertex, 0 where the edge borders no street. Cutting convex
polygons keeps them convex, so blocks, lots and roofs need nothing more.
"""

from __future__ import annotations

import math

Polygon = list[tuple[float, float, float]]
Point = tuple[float, float]
WIDEST = 13.0  # metres; local streets join no line with a wider corridor: motorway, railway, river


def cut(polygon: Polygon, x: float, y: float, nx: float, ny: float, h: float = 0.0) -> Polygon:
    """The part of a polygon on the side of the line through (x, y) that the normal (nx, ny) points
    to; the new edge carries h."""
    kept: Polygon = []
    signed = [(px - x) * nx + (py - y) * ny for px, py, _ in polygon]
    for k, (ax, ay, ah) in enumerate(polygon):
        a, b = signed[k], signed[(k + 1) % len(polygon)]
        if a >= 0:
            kept.append((ax, ay, ah))
        if (a >= 0) != (b >= 0):
            bx, by, _ = polygon[(k + 1) % len(polygon)]
            t = a / (a - b)
            kept.append((ax + t * (bx - ax), ay + t * (by - ay), h if a >= 0 else ah))
    return kept


def edges(polygon: Polygon) -> list[tuple[float, float, float, float, float, float]]:
    """(x, y, ux, uy, length, h) of each edge: its start, unit direction, length and street half
    width."""
    result = []
    for k, (ax, ay, h) in enumerate(polygon):
        bx, by, _ = polygon[(k + 1) % len(polygon)]
        length = math.hypot(bx - ax, by - ay)
        if length > 1e-6:
            result.append((ax, ay, (bx - ax) / length, (by - ay) / length, length, h))
    return result


def inset(polygon: Polygon, distance: float | None = None) -> Polygon:
    """The polygon moved inwards: by `distance` on every edge, or by each edge's own street half
    width."""
    result = polygon
    for x, y, ux, uy, _, h in edges(polygon):
        d = h if distance is None else distance
        result = cut(result, x - uy * d, y + ux * d, -uy, ux, h)
        if len(result) < 3:
            return []
    return result


def area(polygon: Polygon) -> float:
    """Area in square metres; 0 for fewer than three vertices."""
    total = 0.0
    for k, (ax, ay, _) in enumerate(polygon):
        bx, by, _ = polygon[(k + 1) % len(polygon)]
        total += ax * by - bx * ay
    return total / 2


def centre(polygon: Polygon) -> Point:
    """Mean of the vertices."""
    n = len(polygon)
    return sum(p[0] for p in polygon) / n, sum(p[1] for p in polygon) / n


def contains(polygon: Polygon, x: float, y: float, margin: float = 0.0) -> bool:
    """True where (x, y) lies inside, at least `margin` metres from every edge."""
    return all((y - ay) * ux - (x - ax) * uy >= margin for ax, ay, ux, uy, _, _ in edges(polygon))


def long_axis(polygon: Polygon) -> tuple[float, float, float, float]:
    """(ux, uy, long, short): direction of the long side of the tightest box along an edge, and
    both sides of that box."""
    best = (math.inf, 1.0, 0.0, 0.0, 0.0)
    for _, _, ux, uy, _, _ in edges(polygon):
        along = [px * ux + py * uy for px, py, _ in polygon]
        across = [py * ux - px * uy for px, py, _ in polygon]
        a, b = max(along) - min(along), max(across) - min(across)
        if a * b < best[0]:
            best = (a * b, ux, uy, a, b) if a >= b else (a * b, -uy, ux, b, a)
    return best[1:]


def split(polygon: Polygon, axis: Point, at: float,
          h: float = 0.0) -> tuple[Polygon, Polygon, list[Point]]:
    """Cut a polygon across `axis` at the fraction `at` of its extent, leaving a street of half
    width h between the parts.

    Returns:
        Both parts and the street's centre line, which reaches the centre lines of the streets at
        its ends but ends before a motorway, a railway or a river.
    """
    ux, uy = axis
    along = [px * ux + py * uy for px, py, _ in polygon]
    s = min(along) + at * (max(along) - min(along))
    first = cut(polygon, (s - h) * ux, (s - h) * uy, -ux, -uy, h)
    second = cut(polygon, (s + h) * ux, (s + h) * uy, ux, uy, h)
    line = []
    for k, (ax, ay, ah) in enumerate(polygon):
        bx, by, _ = polygon[(k + 1) % len(polygon)]
        a, b = along[k] - s, along[(k + 1) % len(polygon)] - s
        if (a >= 0) != (b >= 0):
            t = a / (a - b)
            reach = ah if ah <= WIDEST else 0.0
            out = reach if b > a else -reach
            line.append((ax + t * (bx - ax) + uy * out, ay + t * (by - ay) - ux * out))
    return first, second, line


def divide(polygon: Polygon, largest: float, h: float, rng,
           streets: list[list[Point]] | None = None) -> list[Polygon]:
    """Halve a polygon across its long side until no part is larger than `largest` m2; centre lines
    of new streets go to `streets`."""
    if len(polygon) < 3 or area(polygon) <= largest:
        return [polygon] if len(polygon) >= 3 and area(polygon) > 60 else []
    ux, uy, _, _ = long_axis(polygon)
    first, second, line = split(polygon, (ux, uy), rng.uniform(0.42, 0.58), h)
    if streets is not None and len(line) == 2:
        streets.append(line)
    return divide(first, largest, h, rng, streets) + divide(second, largest, h, rng, streets)


def lots(block: Polygon, width: float, rng) -> list[Polygon]:
    """Cut a block into two back-to-back rows along its long side and each row into lots about
    `width` metres wide."""
    ux, uy, _, short = long_axis(block)
    rows = split(block, (-uy, ux), rng.uniform(0.46, 0.54))[:2] if short > 34 else (block,)
    parcels = []
    for row in rows:
        rest = row
        if len(rest) < 3:
            continue
        count = max(1, round(long_axis(rest)[2] / width))
        for k in range(count - 1):
            lot, rest, _ = split(rest, (ux, uy), (1 + rng.uniform(-0.08, 0.08)) / (count - k))
            parcels.append(lot)
        parcels.append(rest)
    return [p for p in parcels if len(p) >= 3 and area(p) > 60]


def rectangle(x: float, y: float, ux: float, uy: float, length: float, depth: float) -> Polygon:
    """A rectangle centred on (x, y), `length` metres along the unit vector (ux, uy) and `depth`
    across it."""
    a, b = length / 2, depth / 2
    return [(x + i * a * ux - j * b * uy, y + i * a * uy + j * b * ux, 0.0)
            for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def frontage(lot: Polygon) -> tuple[float, float, float, float, float] | None:
    """(x, y, ux, uy, length) of a lot's longest street edge, the lot to its left; None for a lot
    that no street reaches."""
    sides = [e for e in edges(lot) if e[5] > 0]
    return max(sides, key=lambda e: e[4])[:5] if sides else None


def blob(x: float, y: float, radius: float, rng, stretch: float = 1.0, turn: float = 0.0,
         points: int = 40) -> Polygon:
    """A rounded natural outline around (x, y): a circle with a few slow waves, stretched along the
    angle `turn`."""
    waves = [(k, rng.uniform(0, 0.22 / k), rng.uniform(0, 6.28)) for k in (2, 3, 4, 6)]
    ring = []
    for k in range(points):
        t = 2 * math.pi * k / points
        r = radius * (1 + sum(a * math.sin(m * t + p) for m, a, p in waves))
        px, py = r * math.cos(t) * stretch, r * math.sin(t) / stretch
        ring.append((x + px * math.cos(turn) - py * math.sin(turn),
                     y + px * math.sin(turn) + py * math.cos(turn), 0.0))
    return ring


def ragged(polygon: Polygon, depth: float, rng) -> Polygon:
    """A natural edge inside a convex polygon: its outline drawn back by a slowly varying 0 to
    `depth` metres."""
    waves = [(rng.uniform(28, 70), rng.uniform(0, 6.28)) for _ in range(3)]
    x0, y0 = centre(polygon)
    ring, walked = [], 0.0
    for x, y, ux, uy, length, _ in edges(polygon):
        for k in range(max(1, int(length / 9))):
            s = k * 9.0
            back = depth * (0.5 + sum(math.sin((walked + s) / w + p) for w, p in waves) / 6)
            px, py = x + ux * s, y + uy * s
            d = math.hypot(px - x0, py - y0) or 1.0
            t = min(0.8, back / d)
            ring.append((px + (x0 - px) * t, py + (y0 - py) * t, 0.0))
        walked += length
    return ring


def clipped(ring: Polygon, frame: Polygon) -> Polygon:
    """The part of a convex ring inside a convex frame; empty where they do not meet."""
    for x, y, ux, uy, _, _ in edges(frame) if len(frame) >= 3 else []:
        ring = cut(ring, x, y, -uy, ux)
        if len(ring) < 3:
            return []
    return ring if len(frame) >= 3 else []


def contains_any(ring: Polygon, x: float, y: float) -> bool:
    """True where (x, y) lies inside a ring that need not be convex."""
    inside = False
    for k, (ax, ay, _) in enumerate(ring):
        bx, by, _ = ring[k - 1]
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            inside = not inside
    return inside
