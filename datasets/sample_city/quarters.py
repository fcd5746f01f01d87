"""Built-up quarters: the core, terraces, detached houses, slabs, campus and business park,
industry, railway yard and depots."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable

from datasets.sample_city.buildings import FLAT, TILES, vary
from datasets.sample_city.geometry import Ground, rectangle
from datasets.sample_city.site import ASPHALT, LAWN, Site, fit

DOWNTOWN = (("commercial", "commercial"), ("commercial", "office"), ("commercial", "retail"),
            ("commercial", "office"), ("residential", "apartments"), ("commercial", "hotel"),
            ("commercial", "yes"))
WAGONS = ((120, 84, 66), (96, 100, 104), (140, 138, 130), (84, 98, 90))


def beside_street(lot: Ground, setback: float, depth: float, width: float | None = None,
                  shift: float = 0.5) -> Ground:
    """Return a rectangle behind a lot's street edge, made smaller until it fits the lot; nothing
    where it does not. Without `width` it is as wide as the lot."""
    if lot.front is None:
        return Ground()
    start, u, length, _ = lot.front
    for scale in (1.0, 0.85, 0.7, 0.55):
        w, d = (length if width is None else min(width * scale, length - 2.4)), depth * scale
        s = w / 2 if width is None else 1.2 + w / 2 + shift * (length - 2.4 - w)
        box = rectangle(start + u * complex(s, setback + d / 2), u, w, d)
        if w >= 4.5 and lot.contains(box, -0.05):
            return box
    return Ground()


def core(site: Site, ring: Ground) -> None:
    """Offices, shops and flats along the street edge of tight blocks, courtyards behind, towers
    and squares between."""
    rng = site.rng
    site.paint(ring, "paving", 0)
    for block in site.blocks(ring, 8200, 6.0, "tertiary" if rng.random() < 0.2 else "residential"):
        draw = rng.random()
        if site.riverside(block):
            continue
        if draw < 0.08:
            square(site, block)
        elif draw < 0.16:
            site.parking(block.inset(2.5), 0.8)
        else:
            site.scene.osm("landuse", rng.choice(("commercial", "retail", "commercial")), block)
            for lot in block.lots(rng.uniform(22, 34), rng):
                downtown_lot(site, lot)


def square(site: Site, block: Ground) -> None:
    """A paved square or a small green one, with trees and perhaps a church or the town hall."""
    rng, scene = site.rng, site.scene
    if rng.random() < 0.5:
        site.paint(block, "grass", 1, LAWN[0])
        scene.osm("leisure", "park", block)
        scene.area(block, "green", 2)
    else:
        site.paint(block, "paving", 1, (172, 164, 150))
        scene.osm("amenity", "marketplace", block)
    site.grove(block.inset(3), 60)
    box = rectangle(block.centre, block.u, 34, 16)
    if rng.random() < 0.7 and site.house(box, "gable", 5, "institution",
                                         rng.choice(("church", "public"))):
        scene.osm("amenity", rng.choice(("place_of_worship", "townhall")), box)


def downtown_lot(site: Site, lot: Ground) -> None:
    """One building on a lot of the core: a wall along the street sharing its sides, or a tower
    standing free."""
    rng = site.rng
    site.paint(lot, rng.choice(("asphalt", "paving", "gravel")), 1.2)
    if lot.front is None:
        return
    start, u, _, _ = lot.front
    tower = rng.random() < 0.16
    depth, setback = rng.uniform(13, 24), rng.choice((1.5, 2.0, 2.0, 3.0))
    ring = lot.inset(4.5) if tower else lot.cut(start + 1j * u * (depth + setback), -u)
    for edge in ring.edges:
        if edge.street > 0 and edge.length > 3:
            ring = ring.cut(edge.start + 1j * edge.u * setback, edge.u, edge.street)
    if ring.area < 90:
        return
    use, value = rng.choice(DOWNTOWN)
    box = Ground()
    if len(ring) == 4 and not tower and rng.random() < 0.22:
        box = beside_street(lot, setback, depth * 0.8)
    ring = box or ring
    site.house(ring, "hip" if box else "flat", rng.uniform(8, 13) if tower else rng.uniform(3, 7),
               use, value)
    if rng.random() < 0.1 and use == "commercial":
        site.scene.osm("amenity", rng.choice(("bank", "restaurant", "cinema", "pharmacy")), ring)
    if not tower and rng.random() < 0.5 and not ring.contains([lot.centre], -6):
        for _ in range(rng.randrange(5)):
            site.car(lot.centre + complex(rng.uniform(-9, 9), rng.uniform(-9, 9)), u)


def neighbourhood(site: Site, ring: Ground, largest: float,
                  fill: Callable[[Site, Ground], None]) -> None:
    """A residential quarter: blocks of one kind, a school and playground parks among them."""
    rng, scene = site.rng, site.scene
    site.paint(ring, "grass", 0)
    blocks = site.blocks(ring, largest)
    whole = rng.random() < 0.4
    if whole:
        scene.osm("landuse", "residential", ring)
    count = min(len(blocks), 2 + len(blocks) // 9) if len(blocks) > 5 else 0
    special = dict(zip(rng.sample(range(len(blocks)), count), [school] + [pocket_park] * count,
                       strict=False))
    for k, block in enumerate(blocks):
        site.riverside(block)
        if k not in special and not whole:
            scene.osm("landuse", "residential", block)
        special.get(k, fill)(site, block)


def terraces(site: Site, ring: Ground) -> None:
    """Rows of narrow houses."""
    neighbourhood(site, ring, 5300, terrace_block)


def detached(site: Site, ring: Ground) -> None:
    """Houses in their gardens."""
    neighbourhood(site, ring, 6600, detached_block)


def slabs(site: Site, ring: Ground) -> None:
    """Apartment slabs on lawns."""
    neighbourhood(site, ring, 17000, slab_block)


def school(site: Site, block: Ground) -> None:
    """School grounds: two flat-roofed wings, a court, trees; amenity=school is mapped on the
    grounds or on the house itself."""
    rng, scene = site.rng, site.scene
    site.paint(block, "grass", 1)
    scene.area(block, "institution", 2)
    value = rng.choice(("school", "school", "kindergarten"))
    on_grounds = rng.random() < 0.6
    if on_grounds:
        scene.osm("amenity", value, block)
    wings = [fit(block, block.at(-0.16, 0.12), block.u, min(52, block.axis[1] * 0.4), 15),
             fit(block, block.at(0.2, -0.16), block.u, 26, 18)]
    for k, wing in enumerate(wings):
        stands = site.house(wing, "flat", 2.5, "institution",
                            value if rng.random() < 0.8 else "yes")
        if stands and not on_grounds and k == 0:
            scene.osm("amenity", value, wing)
    court = rectangle(block.at(-0.26, -0.3), block.u, 30, 16)
    if block.contains(court, 1) and site.dry(court):
        site.pitch(court.centre, block.u, large=False)
    site.hedge(block.inset(2), 0.8)
    site.grove(block, 14, avoid=filter(None, wings))


def pocket_park(site: Site, block: Ground) -> None:
    """A neighbourhood park with a playground and a path."""
    rng, scene = site.rng, site.scene
    site.paint(block, "grass", 1, rng.choice(LAWN[:3]))
    scene.area(block, "green", 2)
    scene.osm("leisure", rng.choice(("park", "garden")), block)
    playground = rectangle(block.at(0.18), block.u, 17, 12)
    if site.dry(playground):
        scene.surface(playground, "soil", (196, 178, 142), 2)
        scene.osm("leisure", "playground", playground)
    site.street(block.split(block.u, 0.4)[2], "footway")
    site.grove(block, 62)


def terrace_block(site: Site, block: Ground) -> None:
    """Rows of narrow houses that share walls, gardens behind."""
    rng = site.rng
    rgb, depth, setback = rng.choice(TILES), rng.uniform(9, 11.5), rng.uniform(3, 6)
    value = "terrace" if rng.random() < 0.25 else "house"
    trees = []
    for lot in block.lots(rng.uniform(7, 9), rng):
        site.paint(lot, "grass", 1.1, spread=8)
        box = beside_street(lot, setback, depth)
        if rng.random() < 0.07 or not site.house(box, "row", 2.5, "residential", value, rgb):
            continue
        start, u, _, _ = lot.front
        if rng.random() < 0.55:
            patio = rectangle(lot.centre + 1j * u * rng.uniform(-2, 1), u, 5, 4)
            site.paint(patio, "paving", 1.4)
        if rng.random() < 0.6:
            trees.append(lot.centre + u * 1j * rng.uniform(2, 11))
        if rng.random() < 0.3:
            site.car(start + u * (2.2 - 2.4j), u)
    site.plant(trees, 1.3, 3.6)


def detached_block(site: Site, block: Ground) -> None:
    """Free-standing houses with drives, garages, hedges, garden trees and a pool here and
    there."""
    rng = site.rng
    for lot in block.lots(rng.uniform(15, 21), rng):
        site.paint(lot, "grass", 1.1, spread=9)
        if lot.front is None or rng.random() < 0.04:
            site.grove(lot, 120)
            continue
        start, u, length, _ = lot.front
        side = rng.choice((0.1, 0.9))
        box = beside_street(lot, rng.uniform(5, 8.5), rng.uniform(8.5, 12.5),
                            rng.uniform(9.5, 14), shift=side)
        if not site.house(box, rng.choice(("gable", "gable", "hip")), rng.uniform(1.5, 2.6),
                          "residential", rng.choice(("detached", "house", "house", "yes"))):
            continue
        gate = start + u * length * (0.86 if side < 0.5 else 0.14)
        drive = rectangle(gate + 4.5j * u, u, 3.2, 14)
        garage = rectangle(gate + 13.5j * u, u, 4, 6.5)
        if site.dry(drive, 5):
            site.paint(drive, rng.choice(("paving", "asphalt", "gravel")), 1.4, spread=8)
            if rng.random() < 0.6 and length > 15 and lot.contains(garage):
                site.house(garage, "flat", 1, "other", "garage")
            elif rng.random() < 0.6:
                site.car(gate + 4j * u, 1j * u)
        back = lot.centre + 7j * u
        if (rng.random() < 0.12 and lot.contains([back], 5.5) and not box.contains([back], -6)
                and site.dry(rectangle(back, u, 11, 7))):
            site.pool(back, u)
        else:
            site.grove(lot, 55, 1.5, 4.2, avoid=[box])
        site.hedge(lot, 0.24)


def slab_block(site: Site, block: Ground) -> None:
    """Parallel apartment slabs on lawns, car parks between, paths and trees."""
    rng = site.rng
    u, long, short = block.axis
    rgb, gap = rng.choice(FLAT), rng.uniform(34, 44)
    site.hedge(block.inset(1), 0.3)
    count, boxes = max(1, int(long / gap)), []
    for k in range(count if short > 34 else 0):
        z = block.at((k + 0.5) / count - 0.5)
        length = min(rng.uniform(44, 66), short - 16)
        box = rectangle(z, 1j * u, length, rng.uniform(11.5, 14))
        if block.contains(box, 3):
            boxes.append(box)
            site.house(box, "flat", rng.uniform(4, 9), "residential",
                       rng.choice(("apartments", "apartments", "residential", "yes")), rgb)
        lot = rectangle(z + u * gap / 2, 1j * u, length * 0.7, 17)
        if k + 1 < count and k % 2 == 0 and block.contains(lot, 2) and site.dry(lot):
            site.parking(lot, 0.7, mapped=rng.random() < 0.6)
    site.grove(block, 48, avoid=boxes)


def pavilions(site: Site, ring: Ground, values: tuple[str, ...], use: str) -> None:
    """Large flat-roofed buildings on lawns with car parks. Campus and business park look the same:
    only their tags distinguish them."""
    rng = site.rng
    site.paint(ring, "grass", 0)
    for block in site.blocks(ring, 11500, 5.0, "service"):
        if site.riverside(block):
            continue
        rest, house = sorted(block.split(block.u, rng.uniform(0.62, 0.74))[:2],
                             key=lambda part: part.area)
        _, long, short = house.axis
        u, rgb = block.u, rng.choice(FLAT)
        wings = [fit(house, house.centre, u, long * 0.78, short * rng.uniform(0.3, 0.55), 3)]
        if rng.random() < 0.7:
            end = house.centre + u * complex(rng.choice((-0.27, 0.27)) * long, -0.22 * short)
            wings.append(fit(house, end, 1j * u, short * 0.42, long * 0.2, 3))
        standing = [wing for wing in wings if site.house(wing, "flat", rng.uniform(2.5, 5.5), use,
                                                         rng.choice(values), rgb)]
        if rng.random() < 0.75:
            site.parking(rest.inset(5), 0.65, mapped=rng.random() < 0.7)
        site.grove(house, 40, avoid=standing)
        site.grove(rest, 10)


def campus(site: Site, ring: Ground) -> None:
    """A university or a hospital. Its kind is drawn apart from `rng`, so that nothing on the
    ground gives it away."""
    draw = site.scene.memory
    value = draw.choice(("university", "hospital", "university"))
    site.scene.osm("amenity", value, ring)
    if draw.random() < 0.4:
        site.scene.osm("landuse", "institutional", ring)
    pavilions(site, ring, (value, value, "public", "yes"), "institution")


def business(site: Site, ring: Ground) -> None:
    """A business park."""
    site.scene.osm("landuse", "commercial", ring)
    pavilions(site, ring, ("office", "office", "commercial", "yes"), "commercial")


def industry(site: Site, ring: Ground) -> None:
    """Halls and warehouses in yards, lorries, tanks."""
    rng = site.rng
    site.paint(ring, "gravel", 0)
    site.scene.osm("landuse", "industrial", ring)
    for block in site.blocks(ring, 21000, 6.0, "service"):
        for lot in block.lots(rng.uniform(48, 74), rng):
            if site.riverside(lot):
                continue
            site.paint(lot, rng.choice(("asphalt", "asphalt", "gravel", "soil")), 1)
            box = beside_street(lot, rng.uniform(7, 12), rng.uniform(26, 52), rng.uniform(30, 60),
                                rng.random())
            if not box:
                site.grove(lot, 30)
                continue
            site.house(box, "hall", rng.uniform(2.4, 4), "industrial",
                       rng.choice(("industrial", "warehouse", "industrial", "yes")))
            start, u, length, _ = lot.front
            for _ in range(rng.randrange(3, 12)):
                z = start + u * complex(rng.uniform(4, length - 4), rng.uniform(3, 70))
                if lot.contains([z], 7) and not box.contains([z], -6):
                    site.car(z, 1j * u, truck=True)
            tanks = [0.7 * corner + 0.3 * lot.centre for corner in lot]
            for z in tanks if rng.random() < 0.25 else ():
                if lot.contains([z], 7) and not box.contains([z], -8):
                    radius = rng.uniform(3.5, 6)
                    tank = [z + cmath.rect(radius, k * math.pi / 9) for k in range(18)]
                    site.house(Ground(tuple(tank), (0.0,) * 18), "flat", 3, "industrial",
                               "storage_tank", (196, 196, 190))
            site.hedge(lot, 0.15)


def yard(site: Site, ring: Ground) -> None:
    """Transport: a railway yard of parallel tracks, a large car park and the bus station."""
    rng = site.rng
    site.paint(ring, "gravel", 0, (128, 121, 112))
    site.scene.osm("landuse", "railway", ring)
    u = max(site.quarter.ring.edges, key=lambda edge: edge.street).u    # the railway is widest
    tracks, depot, _ = ring.split(1j * u, 0.5)
    for row in range(-14, 15):
        if rng.random() < 0.85:
            track(site, tracks, tracks.centre + 6.2j * u * row, u, ring.axis[1])
    for k, block in enumerate(site.blocks(depot, 9000, 4.5, "service")):
        if not site.dry(block, 5):
            continue
        if k == 0:
            site.paint(block, "asphalt", 1, ASPHALT[0])
            site.scene.osm("amenity", "bus_station", block)
            for s in range(-3, 4):
                platform = block.centre + 11 * s * u
                site.house(rectangle(platform, 1j * u, 32, 3.2), "flat", 1.3, "other", "roof",
                           (176, 178, 178))
                site.car(platform + 4 * u, 1j * u, truck=True)
        elif k == 1:
            site.house(rectangle(block.centre, u, 60, 22), "hall", 3, "other", "train_station")
        else:
            site.parking(block.inset(3), 0.75)
    site.hedge(ring.inset(2), 0.5)


def track(site: Site, ring: Ground, middle: complex, u: complex, long: float) -> None:
    """One track on its sleepers, here and there a train of wagons."""
    rng, scene = site.rng, site.scene
    wagons, rgb = 0, rng.choice(WAGONS)
    for k in range(-int(long / 28), int(long / 28) + 1):
        z = middle + 14 * k * u
        if not ring.contains([z], 8):
            continue
        scene.surface(rectangle(z, u, 14.2, 2.8), "gravel", (104, 96, 88), 2)
        for rail in (-0.75j, 0.75j):
            scene.surface(rectangle(z + rail * u, u, 14.2, 0.35), "line", (158, 152, 146), 2.1)
        wagons = wagons - 1 if wagons else rng.choice((0, 0, 0, 0, 0, 9))
        if wagons:
            shadow = rectangle(z - 1.4 * scene.sun, u, 12.6, 2.9)
            scene.surface(shadow, "car", (64, 60, 58), 6.4)
            scene.surface(rectangle(z, u, 12.6, 2.9), "car", vary(rgb, rng, 12), 6.5)
