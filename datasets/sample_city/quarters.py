"""Built-up quarters: the core, terraces, detached houses, slabs, campus and business park,
industry, railway yard and depots."""

from __future__ import annotations

import math

from datasets.sample_city.buildings import ROOFS, vary
from datasets.sample_city.geometry import (
    Polygon,
    area,
    centre,
    contains,
    cut,
    edges,
    frontage,
    inset,
    long_axis,
    lots,
    rectangle,
    split,
)
from datasets.sample_city.site import ASPHALT, LAWN, PAVING, SOIL, Site


def beside_street(lot: Polygon, setback: float, depth: float, width: float | None = None,
                  shift: float = 0.5) -> Polygon:
    """A rectangle behind a lot's street edge that fits the lot, made smaller where it must; empty
    where nothing fits."""
    front = frontage(lot)
    if front is None:
        return []
    x, y, ux, uy, length = front
    for scale in (1.0, 0.85, 0.7, 0.55):
        w, d = (length if width is None else min(width * scale, length - 2.4)), depth * scale
        if w < 4.5:
            return []
        s = w / 2 if width is None else 1.2 + w / 2 + shift * (length - 2.4 - w)
        box = rectangle(x + s * ux - (setback + d / 2) * uy, y + s * uy + (setback + d / 2) * ux,
                        ux, uy, w, d)
        if all(contains(lot, px, py, -0.05) for px, py, _ in box):
            return box
    return []


def core(site: Site, ring: Polygon) -> None:
    """Offices, shops and flats along the street edge of tight blocks, courtyards behind, towers
    and squares between."""
    rng, scene = site.rng, site.scene
    scene.surface(ring, "paving", vary(rng.choice(PAVING), rng, 4), 0, step=24)
    for block in site.blocks(ring, 8200, 6.0, "tertiary" if rng.random() < 0.2 else "residential"):
        if not site.dry(block, 4):
            scene.surface(block, "grass", rng.choice(LAWN), 1)
            site.grove(block, 30)
            continue
        draw = rng.random()
        if draw < 0.08:
            square(site, block)
        elif draw < 0.16:
            site.parking(inset(block, 2.5), 0.8)
        else:
            scene.osm("landuse", rng.choice(("commercial", "retail", "commercial")), block,
                      step=24)
            for lot in lots(block, rng.uniform(22, 34), rng):
                downtown_lot(site, lot)


def square(site: Site, block: Polygon) -> None:
    """A paved square or a small green one, with trees and perhaps a church or the town hall."""
    rng, green = site.rng, site.rng.random() < 0.5
    site.scene.surface(block, "grass" if green else "paving",
                       LAWN[0] if green else (172, 164, 150), 1, step=24)
    site.scene.osm("leisure" if green else "amenity", "park" if green else "marketplace", block,
                   step=24)
    if green:
        site.scene.area(block, "green", 2)
    site.grove(inset(block, 3), 60)
    x, y = centre(block)
    ux, uy, _, _ = long_axis(block)
    box = rectangle(x, y, ux, uy, 34, 16)
    if rng.random() < 0.7 and site.house(box, "gable", 5, "institution",
                                         rng.choice(("church", "public"))):
        site.scene.osm("amenity", rng.choice(("place_of_worship", "townhall")), box)


def downtown_lot(site: Site, lot: Polygon) -> None:
    """One building on a lot of the core: a wall along the street sharing its sides, or a tower
    standing free."""
    rng, scene = site.rng, site.scene
    scene.surface(lot, rng.choice(("asphalt", "paving", "gravel")),
                  vary(rng.choice(ASPHALT + PAVING), rng, 6), 1.2)
    front = frontage(lot)
    if front is None:
        return
    x, y, ux, uy, _ = front
    tower = rng.random() < 0.16
    depth, setback = rng.uniform(13, 24), rng.choice((1.5, 2.0, 2.0, 3.0))
    shape = inset(lot, 4.5) if tower else cut(lot, x - uy * (depth + setback),
                                              y + ux * (depth + setback), uy, -ux)
    for ex, ey, vx, vy, d, h in edges(shape):
        if h > 0 and d > 3:
            shape = cut(shape, ex - vy * setback, ey + vx * setback, -vy, vx, h)
    if len(shape) < 3 or area(shape) < 90:
        return
    use, value = rng.choice((("commercial", "commercial"), ("commercial", "office"),
                             ("commercial", "retail"), ("commercial", "office"),
                             ("residential", "apartments"), ("commercial", "hotel"),
                             ("commercial", "yes")))
    pitched = len(shape) == 4 and not tower and rng.random() < 0.22
    storeys = rng.uniform(8, 13) if tower else rng.uniform(3, 7)
    ring = beside_street(lot, setback, depth * 0.8) if pitched else shape
    site.house(ring or shape, "hip" if pitched and ring else "flat", storeys, use, value)
    if rng.random() < 0.1 and use == "commercial":
        scene.osm("amenity", rng.choice(("bank", "restaurant", "cinema", "pharmacy")),
                  ring or shape)
    px, py = centre(lot)
    if not tower and rng.random() < 0.5 and not contains(shape, px, py, -6):
        for _ in range(rng.randrange(5)):
            site.car(px + rng.uniform(-9, 9), py + rng.uniform(-9, 9), ux, uy)


def neighbourhood(site: Site, ring: Polygon, largest: float, fill) -> None:
    """A residential quarter: blocks filled by `fill(site, block)`, a school, a playground park and
    shops among them."""
    rng, scene = site.rng, site.scene
    scene.surface(ring, "grass", rng.choice(LAWN), 0, step=24)
    blocks = site.blocks(ring, largest)
    whole = rng.random() < 0.4
    if whole:
        scene.osm("landuse", "residential", ring, step=24)
    special = rng.sample(range(len(blocks)),
                         min(len(blocks), 2 + len(blocks) // 9)) if len(blocks) > 5 else []
    for k, block in enumerate(blocks):
        if not site.dry(block, 2):
            site.grove(block, 25)
        if special and k == special[0]:
            school(site, block)
        elif k in special:
            pocket_park(site, block)
        else:
            if not whole:
                scene.osm("landuse", "residential", block, step=24)
            fill(site, block)


def terraces(site: Site, ring: Polygon) -> None:
    """Rows of narrow houses."""
    neighbourhood(site, ring, 5300, terrace_block)


def detached(site: Site, ring: Polygon) -> None:
    """Houses in their gardens."""
    neighbourhood(site, ring, 6600, detached_block)


def slabs(site: Site, ring: Polygon) -> None:
    """Apartment slabs on lawns."""
    neighbourhood(site, ring, 17000, slab_block)


def school(site: Site, block: Polygon) -> None:
    """School grounds: two flat-roofed wings, a court, trees; amenity=school is mapped on the
    grounds or on the house itself."""
    rng, scene = site.rng, site.scene
    scene.surface(block, "grass", rng.choice(LAWN), 1, step=24)
    scene.area(block, "institution", 2)
    value = rng.choice(("school", "school", "kindergarten"))
    on_grounds = rng.random() < 0.6
    if on_grounds:
        scene.osm("amenity", value, block, step=24)
    ux, uy, long, short = long_axis(block)
    x, y = centre(block)
    built = []
    for s, t, a, b in ((-0.16, 0.12, min(52, long * 0.4), 15), (0.2, -0.16, 26, 18)):
        box = rectangle(x + s * long * ux - t * short * uy, y + s * long * uy + t * short * ux, ux,
                        uy, a, b)
        if all(contains(block, px, py, 2) for px, py, _ in box):
            built.append(box)
            if site.house(box, "flat", 2.5, "institution", value if rng.random() < 0.8
                          else "yes") and not on_grounds and len(built) == 1:
                scene.osm("amenity", value, box)
    court = rectangle(x - 0.26 * long * ux + 0.3 * short * uy,
                      y - 0.26 * long * uy - 0.3 * short * ux, ux, uy, 30, 16)
    if all(contains(block, px, py, 1) for px, py, _ in court) and site.dry(court):
        site.pitch(*centre(court), ux, uy, large=False)
    site.hedge(inset(block, 2), 0.8)
    site.grove(block, 14, avoid=built)


def pocket_park(site: Site, block: Polygon) -> None:
    """A neighbourhood park with a playground and a path."""
    rng, scene = site.rng, site.scene
    scene.surface(block, "grass", LAWN[rng.randrange(3)], 1, step=24)
    scene.area(block, "green", 2)
    scene.osm("leisure", rng.choice(("park", "garden")), block, step=24)
    ux, uy, long, _ = long_axis(block)
    x, y = centre(block)
    play = rectangle(x + long * 0.18 * ux, y + long * 0.18 * uy, ux, uy, 17, 12)
    if site.dry(play):
        scene.surface(play, "soil", (196, 178, 142), 2)
        scene.osm("leisure", "playground", play)
    site.street(split(block, (ux, uy), 0.4)[2], "footway")
    site.grove(block, 62)


def terrace_block(site: Site, block: Polygon) -> None:
    """Rows of narrow houses that share walls, gardens behind."""
    rng, scene = site.rng, site.scene
    rgb, depth, setback = rng.choice(ROOFS["tile"]), rng.uniform(9, 11.5), rng.uniform(3, 6)
    row_mapped = rng.random() < 0.25
    for lot in lots(block, rng.uniform(7, 9), rng):
        scene.surface(lot, "grass", vary(rng.choice(LAWN), rng, 8), 1.1)
        if rng.random() < 0.07:
            continue
        box = beside_street(lot, setback, depth)
        if not box or not site.house(box, "row", 2.5, "residential",
                                     "terrace" if row_mapped else "house", rgb):
            continue
        px, py = centre(lot)
        ux, uy = frontage(lot)[2:4]
        if rng.random() < 0.55:
            t = rng.uniform(-2, 1)
            scene.surface(rectangle(px - t * uy, py + t * ux, ux, uy, 5, 4), "paving",
                          rng.choice(PAVING), 1.4)
        if rng.random() < 0.6:
            site.tree(px - uy * rng.uniform(2, 11), py + ux * rng.uniform(2, 11), 1.3, 3.6)
        if rng.random() < 0.3:
            x, y = frontage(lot)[:2]
            site.car(x + 2.2 * ux + uy * 2.4, y + 2.2 * uy - ux * 2.4, ux, uy)


def detached_block(site: Site, block: Polygon) -> None:
    """Free-standing houses with drives, garages, hedges, garden trees and a pool here and
    there."""
    rng, scene = site.rng, site.scene
    width = rng.uniform(15, 21)
    for lot in lots(block, width, rng):
        front = frontage(lot)
        scene.surface(lot, "grass", vary(rng.choice(LAWN), rng, 9), 1.1)
        if front is None or rng.random() < 0.04:
            site.grove(lot, 120)
            continue
        x, y, ux, uy, length = front
        setback, side = rng.uniform(5, 8.5), rng.choice((0.1, 0.9))
        box = beside_street(lot, setback, rng.uniform(8.5, 12.5), rng.uniform(9.5, 14), shift=side)
        if not box or not site.house(box, rng.choice(("gable", "gable", "hip")),
                                     rng.uniform(1.5, 2.6), "residential",
                                     rng.choice(("detached", "house", "house", "yes"))):
            continue
        s = length * (0.86 if side < 0.5 else 0.14)
        drive = rectangle(x + s * ux - 4.5 * uy, y + s * uy + 4.5 * ux, ux, uy, 3.2, 14)
        if site.dry(drive, 5):
            scene.surface(drive, rng.choice(("paving", "asphalt", "gravel")),
                          vary(rng.choice(PAVING), rng, 8), 1.4)
            garage = rectangle(x + s * ux - 13.5 * uy, y + s * uy + 13.5 * ux, ux, uy, 4, 6.5)
            if rng.random() < 0.6 and length > 15 and all(contains(lot, px, py, 0)
                                                          for px, py, _ in garage):
                site.house(garage, "flat", 1, "other", "garage")
            elif rng.random() < 0.6:
                site.car(x + s * ux - 4 * uy, y + s * uy + 4 * ux, -uy, ux)
        px, py = centre(lot)
        back = (px - uy * 7, py + ux * 7)
        if rng.random() < 0.12 and contains(lot, *back,
                                            5.5) and not contains(box, *back,
                                                                  -6) and site.dry(rectangle(*back,
                                                                                             ux,
                                                                                             uy,
                                                                                             11,
                                                                                             7)):
            site.pool(*back, ux, uy)
        else:
            site.grove(lot, 55, 1.5, 4.2, avoid=[box])
        site.hedge(lot, 0.24)


def slab_block(site: Site, block: Polygon) -> None:
    """Parallel apartment slabs on lawns, car parks between, paths and trees."""
    rng = site.rng
    ux, uy, long, short = long_axis(block)
    x, y = centre(block)
    rgb, gap = rng.choice(ROOFS["flat"]), rng.uniform(34, 44)
    site.hedge(inset(block, 1), 0.3)
    count, built = max(1, int(long / gap)), []
    for k in range(count):
        s = (k + 0.5) / count * long - long / 2
        length = min(rng.uniform(44, 66), short - 16)
        if length < 18:
            break
        box = rectangle(x + s * ux, y + s * uy, -uy, ux, length, rng.uniform(11.5, 14))
        if all(contains(block, px, py, 3) for px, py, _ in box):
            built.append(box)
            site.house(box, "flat", rng.uniform(4, 9), "residential",
                       rng.choice(("apartments", "apartments", "residential", "yes")), rgb)
        lot = rectangle(x + (s + gap / 2) * ux, y + (s + gap / 2) * uy, -uy, ux, length * 0.7, 17)
        if k + 1 < count and k % 2 == 0 and all(contains(block, px, py, 2)
                                                for px, py, _ in lot) and site.dry(lot):
            site.parking(lot, 0.7, mapped=rng.random() < 0.6)
    site.grove(block, 48, avoid=built)


def pavilions(site: Site, ring: Polygon, values: tuple[str, ...], use: str) -> None:
    """Large flat-roofed buildings on lawns with car parks. Campus and business park look alike:
    only their tags tell them apart."""
    rng, scene = site.rng, site.scene
    scene.surface(ring, "grass", rng.choice(LAWN), 0, step=24)
    for block in site.blocks(ring, 11500, 5.0, "service"):
        if not site.dry(block, 4):
            site.grove(block, 60)
            continue
        ux, uy, _, _ = long_axis(block)
        first, second, _ = split(block, (ux, uy), rng.uniform(0.62, 0.74))
        house, rest = (first, second) if area(first) > area(second) else (second, first)
        x, y = centre(house)
        _, _, a, b = long_axis(house)
        rgb, deep = rng.choice(ROOFS["flat"]), rng.uniform(0.3, 0.55)
        wings = [fit(house, x, y, ux, uy, a * 0.78, b * deep)]
        if rng.random() < 0.7:
            end = rng.choice((-0.27, 0.27)) * a
            wings.append(fit(house, x + end * ux + 0.22 * b * uy, y + end * uy - 0.22 * b * ux,
                             -uy, ux, b * 0.42, a * 0.2))
        built = [wing for wing in wings if site.house(wing, "flat", rng.uniform(2.5, 5.5), use,
                                                      rng.choice(values), rgb)]
        if rng.random() < 0.75:
            site.parking(inset(rest, 5), 0.65, mapped=rng.random() < 0.7)
        site.grove(house, 40, avoid=built)
        site.grove(rest, 10)


def fit(frame: Polygon, x: float, y: float, ux: float, uy: float, length: float,
        depth: float) -> Polygon:
    """A rectangle around (x, y), as large as fits a convex frame up to the given size; empty below
    a third of it."""
    for scale in (1.0, 0.85, 0.7, 0.55, 0.4):
        box = rectangle(x, y, ux, uy, length * scale, depth * scale)
        if all(contains(frame, px, py, 3) for px, py, _ in box):
            return box
    return []


def campus(site: Site, ring: Polygon) -> None:
    """A university or a hospital. Its kind is drawn apart from `rng`, so that nothing on the
    ground gives it away."""
    draw = site.scene.memory
    value = draw.choice(("university", "hospital", "university"))
    site.scene.osm("amenity", value, ring, step=24)
    if draw.random() < 0.4:
        site.scene.osm("landuse", "institutional", ring, step=24)
    pavilions(site, ring, (value, value, "public", "yes"), "institution")


def business(site: Site, ring: Polygon) -> None:
    """A business park."""
    site.scene.osm("landuse", "commercial", ring, step=24)
    pavilions(site, ring, ("office", "office", "commercial", "yes"), "commercial")


def industry(site: Site, ring: Polygon) -> None:
    """Halls and warehouses in asphalt yards, lorries, tanks, stacked goods."""
    rng, scene = site.rng, site.scene
    scene.surface(ring, "gravel", (140, 136, 128), 0, step=24)
    scene.osm("landuse", "industrial", ring, step=24)
    for block in site.blocks(ring, 21000, 6.0, "service"):
        for lot in lots(block, rng.uniform(48, 74), rng):
            if not site.dry(lot, 3):
                scene.surface(lot, "scrub", (118, 118, 84), 1)
                continue
            yard = rng.choice(("asphalt", "asphalt", "gravel", "soil"))
            scene.surface(lot, yard, vary(rng.choice(SOIL if yard == "soil" else ASPHALT), rng, 7),
                          1)
            front = frontage(lot)
            box = beside_street(lot, rng.uniform(7, 12), rng.uniform(26, 52), rng.uniform(30, 60),
                                rng.random())
            if front is None or not box:
                site.grove(lot, 30)
                continue
            site.house(box, "hall", rng.uniform(2.4, 4), "industrial",
                       rng.choice(("industrial", "warehouse", "industrial", "yes")))
            x, y, ux, uy, length = front
            for _ in range(rng.randrange(3, 12)):
                px, py = x + ux * rng.uniform(4, length - 4), y + uy * rng.uniform(4, length - 4)
                px, py = px - uy * rng.uniform(3, 70), py + ux * rng.uniform(3, 70)
                if contains(lot, px, py, 7) and not contains(box, px, py, -6):
                    site.car(px, py, -uy, ux, truck=True)
            if rng.random() < 0.25:
                clutter(site, lot, box)
            site.hedge(lot, 0.15)


def clutter(site: Site, lot: Polygon, box: Polygon) -> None:
    """Round tanks and stacks of goods in the free part of a yard."""
    rng = site.rng
    for px, py, _ in lot:
        x, y = 0.7 * px + 0.3 * centre(lot)[0], 0.7 * py + 0.3 * centre(lot)[1]
        if contains(lot, x, y, 7) and not contains(box, x, y, -8):
            r = rng.uniform(3.5, 6)
            ring = [(x + r * math.cos(k * math.pi / 9), y + r * math.sin(k * math.pi / 9), 0.0)
                    for k in range(18)]
            site.house(ring, "flat", 3, "industrial", "storage_tank", (196, 196, 190))


def yard(site: Site, ring: Polygon) -> None:
    """Transport: a railway yard of parallel tracks, a large car park and the bus station."""
    rng, scene = site.rng, site.scene
    scene.surface(ring, "gravel", (128, 121, 112), 0, step=24)
    scene.osm("landuse", "railway", ring, step=24)
    # the railway is the widest border
    _, _, ux, uy, _, _ = max(edges(site.quarter.ring), key=lambda e: e[5])
    long = long_axis(ring)[2]
    tracks, depot, _ = split(ring, (-uy, ux), 0.5)
    x, y = centre(tracks)
    for r in range(-14, 15):
        if rng.random() < 0.15:
            continue
        track(site, tracks, x - r * 6.2 * uy, y + r * 6.2 * ux, ux, uy, long)
    for k, part in enumerate(site.blocks(depot, 9000, 4.5, "service")):
        if not site.dry(part, 5):
            continue
        if k == 0:
            scene.surface(part, "asphalt", ASPHALT[0], 1, step=24)
            scene.osm("amenity", "bus_station", part)
            px, py = centre(part)
            for s in range(-3, 4):
                site.house(rectangle(px + s * 11 * ux, py + s * 11 * uy, -uy, ux, 32, 3.2), "flat",
                           1.3, "other", "roof", (176, 178, 178))
                site.car(px + (s * 11 + 4) * ux, py + (s * 11 + 4) * uy, -uy, ux, truck=True)
        elif k == 1:
            box = rectangle(*centre(part), ux, uy, 60, 22)
            site.house(box, "hall", 3, "other", "train_station")
        else:
            site.parking(inset(part, 3), 0.75)
    site.hedge(inset(ring, 2), 0.5)


def track(site: Site, ring: Polygon, x: float, y: float, ux: float, uy: float,
          long: float) -> None:
    """One track on its sleepers, here and there a train of wagons."""
    rng = site.rng
    wagon = 0
    colour = rng.choice(((120, 84, 66), (96, 100, 104), (140, 138, 130), (84, 98, 90)))
    for k in range(-int(long / 28), int(long / 28) + 1):
        px, py = x + k * 14 * ux, y + k * 14 * uy
        if not contains(ring, px, py, 8):
            continue
        site.scene.surface(rectangle(px, py, ux, uy, 14.2, 2.8), "gravel", (104, 96, 88), 2)
        for side in (-0.75, 0.75):
            site.scene.surface(rectangle(px - side * uy, py + side * ux, ux, uy, 14.2, 0.35),
                               "line", (158, 152, 146), 2.1)
        wagon = wagon - 1 if wagon else rng.choice((0, 0, 0, 0, 0, 9))
        if wagon:
            sx, sy = site.scene.sun
            site.scene.surface(rectangle(px - 1.4 * sx, py - 1.4 * sy, ux, uy, 12.6, 2.9), "car",
                               (64, 60, 58), 6.4)
            site.scene.surface(rectangle(px, py, ux, uy, 12.6, 2.9), "car", vary(colour, rng, 12),
                               6.5)
