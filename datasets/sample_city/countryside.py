"""Open quarters: park and lake, forest, fields, brownfield and scrub."""

from __future__ import annotations

import cmath
import math

from datasets.sample_city.buildings import Colour, shade
from datasets.sample_city.geometry import Ground, Line, blob, rectangle
from datasets.sample_city.site import LAWN, Site, fit

# Crop, its colour, and metres between its rows.
CROPS = (("barley", (156, 147, 104), 5.5), ("beet", (118, 125, 80), 3.6),
         ("stubble", (178, 163, 122), 5.5), ("ploughed", (136, 118, 95), 4.2),
         ("ploughed", (154, 136, 110), 4.2), ("maize", (100, 115, 72), 3.2),
         ("rape", (160, 152, 104), 5.5), ("meadow", (112, 122, 82), math.inf))
# Houses of a farmyard: position in its box, length, depth, use, value of the OSM tag building.
BARNS = ((-0.2, 0.1, 16, 10, "residential", "farm"), (0.1, 0.2, 34, 14, "other", "barn"),
         (0.14, -0.22, 28, 15, "other", "barn"), (-0.24, -0.24, 20, 10, "other", "shed"))


def patches(site: Site, ring: Ground, count: int, sizes: tuple[float, float],
            materials: tuple[str, ...]) -> None:
    """Paint irregular patches of other growth or ground."""
    rng = site.rng
    for _ in range(count):
        patch = blob(ring.scatter(rng, 0.45), rng.uniform(*sizes), rng, rng.uniform(1, 1.6),
                     cmath.rect(1, rng.uniform(0, 3)))
        if ring.contains(patch):
            site.paint(patch, rng.choice(materials), 1, spread=8)


def park(site: Site, ring: Ground) -> None:
    """Lay out lawns, groves, curved paths, a pond, pitches and a wood."""
    rng, short = site.rng, ring.axis[2]
    site.ground(ring, "grass", 0, LAWN[0], osm=("leisure", "park", "Stadtpark"))
    patches(site, ring, 9, (18, 46), ("grass",))
    open_ground: list[Ground | Line] = []
    for spot in ((-0.27, 0.2), (0.27, 0.22), (0.28, -0.22)):
        box = rectangle(ring.at(*spot), ring.u, 106, 70)
        if rng.random() < 0.6 and ring.contains(box, 2) and site.dry(box):
            site.pitch(box.centre, ring.u)
            open_ground.append(box)
    if site.dry(blob(ring.at(-0.22, -0.2), 0.2 * short, rng)):
        open_ground.append(site.pond(ring.at(-0.22, -0.2), min(50, 0.16 * short)))
    for axis in (ring.u, 1j * ring.u):
        site.street(ring.split(axis, 0.5)[2], "footway")
    if rng.random() < 0.8:
        site.house(rectangle(ring.at(0.05), ring.u, 22, 12), "hip", 2, "other", "pavilion")
    site.grove(ring, 95, avoid=open_ground)
    wood = blob(ring.at(0.02, 0.3), 0.17 * short, rng, 1.4, ring.u)
    wood = [z for z in wood if ring.contains([z], 1)]
    if len(wood) > 8 and site.dry(wood):
        site.woodland(wood, ("natural", "wood"))


def forest(site: Site, ring: Ground) -> None:
    """Plant a forest with a track through it."""
    site.paint(ring, "grass", 0, (96, 104, 66))
    tag = site.rng.choice((("landuse", "forest"), ("natural", "wood")))
    *halves, line = ring.split(ring.u, site.rng.uniform(0.35, 0.65), 4.5)
    site.street(line, "track")
    for half in halves:
        if wood := half.inset(site.rng.uniform(4, 20)):
            site.woodland(wood, tag)
    site.grove(ring, 40)


def lake(site: Site, ring: Ground) -> None:
    """Dig a lake in parkland, a beach on its shore."""
    short = ring.axis[2]
    site.ground(ring, "grass", 0, LAWN[2], osm=("leisure", "park"))
    beach = blob(ring.centre + short * (0.33 - 0.05j), 26, site.rng, 1.5, 1j)
    site.ground(beach, "soil", 3.3, (192, 176, 142), osm=("natural", "beach"))
    water = site.pond(ring.centre, 0.37 * short)
    site.grove(ring, 130, avoid=[water, beach])


def farmland(site: Site, ring: Ground) -> None:
    """Lay out fields with crop rows and tramlines, hedges between some, a farmyard, a copse."""
    rng = site.rng
    site.paint(ring, "grass", 0, (118, 120, 76))
    for k, block in enumerate(ring.divide(rng.uniform(22000, 60000), 1.2, rng, [])):
        if k == 0 and rng.random() < 0.7 and block.area > 6000:
            grounds, block, _ = block.split(block.u, 0.24)
            farmyard(site, grounds)
        for field in block.lots(rng.uniform(50, 120), rng) if rng.random() < 0.8 else [block]:
            crop, rgb, period = rng.choice(CROPS)
            plough(site, field, crop, shade(rgb, rng.gauss(1, 0.05)), period)
            if rng.random() < 0.3:
                site.hedge(field, 0.35)
    copse = blob(ring.scatter(rng, 0.2), rng.uniform(16, 34), rng, 1.3)
    if rng.random() < 0.5 and ring.contains(copse, 3):
        site.woodland(copse, ("natural", "wood"))
        site.scene.area(copse, "green", 2)


def plough(site: Site, field: Ground, crop: str, rgb: Colour, period: float) -> None:
    """Plough one field: rows along its long side, tramlines, a headland where the tractor turns."""
    scene, rng = site.scene, site.rng
    u, long, short = field.axis
    rows = 1j * u * math.tau / period
    material = "grass" if crop == "meadow" else "crop"
    inner = field.inset(9)
    scene.surface(field.inset(0.8), material, shade(rgb, 0.96), 1, 1j * rows)
    scene.surface(inner, material, rgb, 1.1, rows)
    scene.osm("landuse", "meadow" if crop == "meadow" else "farmland", field)
    for _ in range(rng.randrange(3)):
        patch = blob(field.scatter(rng, 0.3), rng.uniform(7, 24), rng, 1.4, u)
        if inner and inner.contains(patch):
            scene.surface(patch, material, shade(rgb, rng.choice((0.94, 1.06, 1.1))), 1.2, rows)
    if crop in ("meadow", "ploughed"):
        return
    for k in range(-int(short / 42), int(short / 42) + 1):
        for side in (-0.9, 0.9):
            tramline = rectangle(field.centre + 1j * u * (k * 21 + side), u, long * 0.94, 0.6)
            scene.surface(tramline.clipped(inner), "soil", shade(rgb, 0.82), 1.3)


def farmyard(site: Site, ring: Ground) -> None:
    """Build farmhouse, barns, a yard and a few trees."""
    site.ground(ring, "gravel", 1, (150, 140, 122), osm=("landuse", "farmyard"))
    for s, t, length, depth, use, value in BARNS:
        site.house(fit(ring, ring.at(s, t), ring.u, length, depth), "gable", 2, use, value)
    site.grove(ring, 40)
    site.hedge(ring, 0.6)


def brownfield(site: Site, ring: Ground) -> None:
    """Clear the ground: bare soil, old slabs, wheel tracks, scrub; here and there a ruin."""
    rng = site.rng
    value = rng.choice(("brownfield", "construction", "brownfield"))
    site.ground(ring, "scrub", 0, osm=("landuse", value))
    site.paint(ring.inset(rng.uniform(6, 16)), "soil", 0.5)
    waste(site, ring, 34)
    for block in ring.divide(26000, 0.5, rng, []):
        slab = fit(block, block.centre, block.u, rng.uniform(30, 80), rng.uniform(20, 60))
        if rng.random() < 0.6:
            site.scene.surface(slab, "paving", (156, 150, 140), 1.4)
        if rng.random() < 0.3:
            site.house(rectangle(block.at(0.3), block.u, 26, 15), "hall", 2, "other", "ruins")
    site.grove(ring, 16, 1.2, 3.4)


def waste(site: Site, ring: Ground, count: int) -> None:
    """Paint patches of soil, gravel and scrub, and wheel tracks that wander across."""
    rng = site.rng
    patches(site, ring, count, (6, 38), ("scrub", "scrub", "soil", "soil", "gravel", "grass"))
    for _ in range(4):
        z, u = ring.scatter(rng, 0.3), cmath.rect(1, rng.uniform(0, 6.28))
        for _ in range(26):
            u *= cmath.rect(1, rng.uniform(-0.25, 0.25))
            for wheel in (-1j, 1j) if ring.contains([z], 4) else ():
                site.paint(rectangle(z + wheel * u, u, 7.6, 0.8), "soil", 1.3, (178, 160, 132))
            z += 7 * u


def scrub(site: Site, ring: Ground) -> None:
    """Leave land to itself: rough grass, bushes, bare earth."""
    value = site.rng.choice(("scrub", "grassland"))
    site.ground(ring, "scrub", 0, osm=("natural", value) if site.rng.random() < 0.5 else None)
    waste(site, ring, 46)
    site.grove(ring, 55, 1.0, 3.2)
