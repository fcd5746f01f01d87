"""Open quarters: park, forest, lake, fields, brownfield and scrub."""

from __future__ import annotations

import math

from datasets.sample_city.buildings import shade, vary
from datasets.sample_city.geometry import (
    Polygon,
    area,
    blob,
    centre,
    clipped,
    contains,
    contains_any,
    divide,
    edges,
    inset,
    long_axis,
    lots,
    ragged,
    rectangle,
    split,
)
from datasets.sample_city.site import LAWN, SOIL, Site

CROPS = (((156, 147, 104), "barley"), ((118, 125, 80), "beet"), ((178, 163, 122), "stubble"),
         ((136, 118, 95), "ploughed"),
         ((154, 136, 110), "ploughed"), ((100, 115, 72), "maize"), ((160, 152, 104), "rape"),
         ((112, 122, 82), "meadow"))


def park(site: Site, ring: Polygon) -> None:
    """Lawns, groves, curved paths, a pond, pitches and a playground."""
    rng, scene = site.rng, site.scene
    scene.surface(ring, "grass", LAWN[0], 0, step=24)
    scene.osm("leisure", "park", ring, "Stadtpark", step=24)
    ux, uy, long, short = long_axis(ring)
    x, y = centre(ring)
    for _ in range(9):
        s, t = rng.uniform(-0.4, 0.4) * long, rng.uniform(-0.4, 0.4) * short
        meadow = blob(x + s * ux - t * uy, y + s * uy + t * ux, rng.uniform(18, 46), rng)
        if all(contains(ring, px, py) for px, py, _ in meadow):
            scene.surface(meadow, "grass", vary(rng.choice(LAWN), rng, 9), 1)
    taken = []
    for s, t in ((-0.27, 0.2), (0.27, 0.22), (0.28, -0.22)):
        px, py = x + s * long * ux - t * short * uy, y + s * long * uy + t * short * ux
        box = rectangle(px, py, ux, uy, 106, 70)
        if rng.random() < 0.6 and all(contains(ring, qx, qy, 2)
                                      for qx, qy, _ in box) and site.dry(box):
            site.pitch(px, py, ux, uy)
            taken.append(box)
    ponds = []
    px, py = x - 0.22 * long * ux + 0.2 * short * uy, y - 0.22 * long * uy - 0.2 * short * ux
    if site.dry(blob(px, py, 0.2 * short, rng)):
        ponds.append(site.pond(px, py, min(50, 0.16 * short)))
    paths(site, ring, taken + ponds)
    if rng.random() < 0.8:
        box = rectangle(x + 0.05 * long * ux, y + 0.05 * long * uy, ux, uy, 22, 12)
        site.house(box, "hip", 2, "other", "pavilion")
    before = len(scene.trees)
    site.grove(ring, 95)
    clear(scene, before, taken + ponds)
    px, py = x + 0.02 * long * ux + 0.3 * short * uy, y + 0.02 * long * uy - 0.3 * short * ux
    wood = blob(px, py, 0.17 * short, rng, 1.4, math.atan2(uy, ux))
    wood = [p for p in wood if contains(ring, p[0], p[1], 1)]
    if len(wood) > 8 and site.dry(wood):
        woodland(site, wood)
        scene.osm("natural", "wood", wood)


def clear(scene, start: int, taken: list[Polygon]) -> None:
    """Remove the trees recorded from `start` on that stand on pitches or ponds."""
    rows = [scene.trees[k:k + 4] for k in range(start, len(scene.trees), 4)]
    del scene.trees[start:]
    boxes = [(min(p[0] for p in r), max(p[0] for p in r), min(p[1] for p in r),
              max(p[1] for p in r), r) for r in taken]
    for row in rows:
        x, y = row[0], row[1]
        if not any(a - 4 < x < b + 4 and c - 4 < y < d + 4 and contains_any(r, x, y)
                   for a, b, c, d, r in boxes):
            scene.trees.extend(row)


def paths(site: Site, ring: Polygon, taken: list[Polygon]) -> None:
    """Curved footways from the middle of each side to the next one, but none across what is
    taken."""
    sides = edges(ring)
    middles = [(x + ux * d / 2, y + uy * d / 2) for x, y, ux, uy, d, _ in sides]
    x, y = centre(ring)
    for a, b, bend in zip(middles, middles[1:] + middles[:1], (0.35, 0.62, 0.3, 0.5, 0.4),
                          strict=False):
        line = []
        for k in range(15):
            t = k / 14
            w = 2 * t * (1 - t) * (1 - bend) * 2
            line.append(((1 - t) ** 2 * a[0] + t**2 * b[0] + w * x * 0.5
                         + (2 * t * (1 - t) - w * 0.5) * (a[0] + b[0]) / 2,
                         (1 - t) ** 2 * a[1] + t**2 * b[1] + w * y * 0.5
                         + (2 * t * (1 - t) - w * 0.5) * (a[1] + b[1]) / 2))
        if not any(contains_any(other, *p) for other in taken for p in line):
            site.street(line, "footway")


def woodland(site: Site, ring: Polygon, spacing: float = 6.4) -> None:
    """Closed canopy: crowns on a jittered lattice over dark ground."""
    rng = site.rng
    site.scene.surface(ring, "canopy", (52, 62, 42), 1.5, step=24)
    xs, ys = [p[0] for p in ring], [p[1] for p in ring]
    p, q = rng.uniform(0, 6), rng.uniform(0, 6)
    y = min(ys)
    while y < max(ys):
        x = min(xs) + rng.uniform(0, spacing)
        while x < max(xs):
            tx, ty = x + rng.uniform(-3.3, 3.3), y + rng.uniform(-3.3, 3.3)
            stand = math.sin(tx / 71 + p) + math.sin(ty / 58 + q) + 0.6 * math.sin((tx + ty) / 31)
            if contains_any(ring, tx, ty) and not site.plan.wet(tx, ty, 6):
                tone = min(1.0, max(0.0, 0.45 + 0.2 * stand + rng.gauss(0, 0.16)))
                site.scene.tree(tx, ty, rng.uniform(2.6, 4.6) + 0.4 * stand, tone)
            x += spacing
        y += spacing


def forest(site: Site, ring: Polygon) -> None:
    """A forest with a clearing and a track."""
    site.scene.surface(ring, "grass", (96, 104, 66), 0, step=24)
    key, value = site.rng.choice((("landuse", "forest"), ("natural", "wood")))
    ux, uy, _, _ = long_axis(ring)
    parts = split(ring, (ux, uy), site.rng.uniform(0.35, 0.65), 4.5)
    site.street(parts[2], "track")
    for part in parts[:2]:
        if len(part) >= 3:
            wood = ragged(part, 40, site.rng)
            woodland(site, wood)
            site.scene.osm(key, value, wood)
    site.grove(ring, 22)


def lake(site: Site, ring: Polygon) -> None:
    """A lake in parkland, a beach on its shore."""
    rng, scene = site.rng, site.scene
    scene.surface(ring, "grass", LAWN[2], 0, step=24)
    if rng.random() < 0.7:
        scene.osm("leisure", "park", ring, step=24)
    x, y = centre(ring)
    _, _, _, short = long_axis(ring)
    beach = blob(x + 0.33 * short, y - 0.05 * short, 26, rng, 1.5, 1.4)
    scene.surface(beach, "soil", (192, 176, 142), 3.3)
    scene.osm("natural", "beach", beach)
    water = site.pond(x, y, 0.4 * short)
    start = len(scene.trees)
    site.grove(ring, 130)
    clear(scene, start, [water, beach])


def farmland(site: Site, ring: Polygon) -> None:
    """Field parcels with crop rows and tramlines, hedges between some, a farmyard."""
    rng, scene = site.rng, site.scene
    scene.surface(ring, "grass", (118, 120, 76), 0, step=24)
    for k, block in enumerate(divide(ring, rng.uniform(22000, 60000), 1.2, rng)):
        if k == 0 and rng.random() < 0.7 and area(block) > 6000:
            yard, block, _ = split(block, long_axis(block)[:2], 0.24)
            farmyard(site, yard)
        for field in lots(block, rng.uniform(50, 120), rng) if rng.random() < 0.8 else [block]:
            rgb, crop = rng.choice(CROPS)
            if len(field) >= 3:
                plough(site, field, vary(rgb, rng, 7), crop)
                scene.osm("landuse", "meadow" if crop == "meadow" else "farmland", field, step=24)
                if rng.random() < 0.3:
                    site.hedge(field, 0.35)
    x, y = centre(ring)
    copse = blob(x + rng.uniform(-70, 70), y + rng.uniform(-70, 70), rng.uniform(16, 34), rng, 1.3,
                 rng.uniform(0, 3))
    if rng.random() < 0.5 and all(contains(ring, px, py, 3) for px, py, _ in copse):
        woodland(site, copse)
        scene.area(copse, "green", 2)
        scene.osm("natural", "wood", copse)
    for _ in range(5):
        p = rng.choice(ring)
        q = ring[ring.index(p) - 1]
        t = rng.random()
        site.tree(p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1]), 3, 5.5)


def plough(site: Site, field: Polygon, rgb, crop: str) -> None:
    """One field: rows along its long side, tramlines, a headland where the tractor turns, patches
    of other growth."""
    rng, scene = site.rng, site.scene
    ux, uy, long, short = long_axis(field)
    period = {"maize": 3.2, "beet": 3.6, "ploughed": 4.2}.get(crop, 5.5)
    rows = (0.0, 0.0) if crop == "meadow" else (-uy * 2 * math.pi / period,
                                                ux * 2 * math.pi / period)
    scene.surface(inset(field, 0.8), "grass" if crop == "meadow" else "crop", shade(rgb, 0.96), 1,
                  (-rows[1], rows[0]), step=24)
    inner = inset(field, 9)
    scene.surface(inner, "grass" if crop == "meadow" else "crop", rgb, 1.1, rows, step=24)
    x, y = centre(field)
    for _ in range(rng.randrange(3)):
        s, t = rng.uniform(-0.3, 0.3) * long, rng.uniform(-0.3, 0.3) * short
        patch = blob(x + s * ux - t * uy, y + s * uy + t * ux, rng.uniform(7, 24), rng, 1.4,
                     math.atan2(uy, ux))
        if all(contains(inner, px, py) for px, py, _ in patch) and len(inner) > 2:
            scene.surface(patch, "crop", shade(rgb, rng.choice((0.94, 1.06, 1.1))), 1.2, rows)
    if crop not in ("meadow", "ploughed"):
        for k in range(-int(short / 42), int(short / 42) + 1):
            for side in (-0.9, 0.9):
                t = k * 21 + side
                strip = rectangle(x - t * uy, y + t * ux, ux, uy, long * 0.94, 0.6)
                strip = clipped(strip, inner)
                scene.surface(strip, "soil", shade(rgb, 0.82), 1.3, step=24)


def farmyard(site: Site, ring: Polygon) -> None:
    """Farmhouse, barns, a yard and a few trees."""
    scene = site.scene
    scene.surface(ring, "gravel", (150, 140, 122), 1, step=24)
    scene.osm("landuse", "farmyard", ring, step=24)
    ux, uy, long, short = long_axis(ring)
    x, y = centre(ring)
    barns = ((0.1, 0.2, 34, 14, "barn"), (0.14, -0.22, 28, 15, "barn"),
             (-0.24, -0.24, 20, 10, "shed"))
    for s, t, a, b, value in ((-0.2, 0.1, 16, 10, "farm"), *barns):
        box = rectangle(x + s * long * ux - t * short * uy, y + s * long * uy + t * short * ux, ux,
                        uy, a, b)
        if all(contains(ring, px, py, 1) for px, py, _ in box):
            site.house(box, "gable", 2, "residential" if value == "farm" else "other", value)
    site.grove(ring, 40)
    site.hedge(ring, 0.6)


def brownfield(site: Site, ring: Polygon) -> None:
    """Cleared ground: bare soil, old slabs, rubble heaps, wheel tracks, pioneer scrub; here and
    there a building site."""
    rng, scene = site.rng, site.scene
    scene.surface(ring, "scrub", (126, 124, 86), 0, step=24)
    scene.surface(ragged(ring, 34, rng), "soil", rng.choice(SOIL), 0.5)
    scene.osm("landuse", rng.choice(("brownfield", "construction", "brownfield")), ring, step=24)
    waste(site, ring, 34)
    for block in divide(ring, 26000, 0.5, rng):
        x, y = centre(block)
        ux, uy, long, short = long_axis(block)
        slab = rectangle(x, y, ux, uy, long * rng.uniform(0.25, 0.5),
                         short * rng.uniform(0.25, 0.5))
        if rng.random() < 0.6 and site.dry(slab):
            scene.surface(slab, "paving", (156, 150, 140), 1.4)
        if rng.random() < 0.3:
            site.house(rectangle(x + long * 0.3 * ux, y + long * 0.3 * uy, ux, uy, 26, 15), "hall",
                       2, "other", "ruins")
    site.grove(ring, 16, 1.2, 3.4)


def waste(site: Site, ring: Polygon, patches: int) -> None:
    """Irregular patches of soil, gravel and scrub, and wheel tracks that wander across."""
    rng, scene = site.rng, site.scene
    ux, uy, long, short = long_axis(ring)
    x, y = centre(ring)
    for _ in range(patches):
        s, t = rng.uniform(-0.5, 0.5) * long, rng.uniform(-0.5, 0.5) * short
        patch = blob(x + s * ux - t * uy, y + s * uy + t * ux, rng.uniform(6, 38), rng,
                     rng.uniform(1, 1.7), rng.uniform(0, 3))
        if all(contains(ring, px, py) for px, py, _ in patch):
            material, rgb = rng.choice((("scrub", (120, 120, 82)), ("scrub", (132, 128, 92)),
                                        ("soil", SOIL[1]), ("soil", SOIL[2]),
                                        ("gravel", (158, 150, 138)), ("grass", (128, 130, 88))))
            scene.surface(patch, material, vary(rgb, rng, 6), 1)
    for _ in range(4):
        heading, px, py = rng.uniform(0, 6.28), x + rng.uniform(-0.3,
                                                                0.3) * long * ux, y + rng.uniform(
                                                                    -0.3, 0.3) * long * uy
        for _ in range(26):
            heading += rng.uniform(-0.25, 0.25)
            vx, vy = math.cos(heading), math.sin(heading)
            for side in (-1, 1):
                if contains(ring, px, py, 4):
                    scene.surface(rectangle(px - side * vy, py + side * vx, vx, vy, 7.6, 0.8),
                                  "soil", (178, 160, 132), 1.3)
            px, py = px + 7 * vx, py + 7 * vy


def scrub(site: Site, ring: Polygon) -> None:
    """Land that nobody uses: rough grass, bushes, bare earth."""
    rng, scene = site.rng, site.scene
    scene.surface(ring, "scrub", (126, 124, 86), 0, step=24)
    if rng.random() < 0.5:
        scene.osm("natural", rng.choice(("scrub", "grassland")), ring, step=24)
    waste(site, ring, 46)
    site.grove(ring, 55, 1.0, 3.2)
